"""Look into items that were never read, so that a plan can name their shards; stores nothing."""

from pathlib import Path

from flows.config import Pipeline
from flows.plan import Plan, plan_inputs
from flows.scope import WHOLE, Scope
from flows.shards import Input
from flows.specs import SPECS
from irrev import readers
from irrev.errors import FormatError, InputError
from storage.repository import Repository

MOST = 200  # items that are looked into; a hundred thousand would take as long as reading them


def read_ahead(
    pipeline: Pipeline, plan: Plan, repo: Repository | None, scope: Scope = WHOLE
) -> Plan:
    """Return the plan with the shards of its unread items, if they are many of some of them."""
    spec = SPECS[plan.flow]
    known = {p.shard.item: p.shard.input for p in plan.shards}
    shards = {p.shard.id for p in plan.shards}
    for name, reason in plan.quarantined:
        if name not in shards:
            known[name] = _unreadable(name, "", reason)
    looked = []
    sample = plan.unread[:: max(1, len(plan.unread) // MOST)][:MOST]
    chosen = {item.name for item in sample}
    for item in sample:
        source = pipeline.sources[item.source]
        reading = spec.read_config(source)
        try:
            sha256 = readers.content_hash(Path(item.path))
            ds = readers.look_into(item.path, kind=reading["kind"], **reading["options"])
            parts = readers.split(ds, reading["kind"], **reading["split"])
            looked.append(Input(item.name, item.source, sha256, "", "", parts, readers.size(ds)))
        except (FormatError, InputError) as error:
            looked.append(_unreadable(item.name, item.source, str(error)))
        except Exception:  # of a disk, or a bug: the run stores it as a failure and goes on
            chosen.remove(item.name)
    rest = [item for item in plan.unread if item.name not in chosen]
    return plan_inputs(pipeline, spec, repo, [*known.values(), *looked], rest, scope=scope)


def _unreadable(item: str, source: str, reason: str) -> Input:
    return Input(item, source, "", "", "", {}, {}, reason)
