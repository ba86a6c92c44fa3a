"""Look into items that were never read, so that a plan can name their shards; stores nothing."""

from pathlib import Path

from flows.config import Pipeline
from flows.plan import Plan, plan_inputs
from flows.shards import Input
from flows.specs import SPECS
from irrev import readers
from irrev.errors import FormatError, InputError
from storage.repository import Repository


def read_ahead(pipeline: Pipeline, plan: Plan, repo: Repository | None) -> Plan:
    """Return the plan with the shards of its unread items."""
    spec = SPECS[plan.flow]
    known = {p.shard.item: p.shard.input for p in plan.shards}
    looked = []
    for item in plan.unread:
        source = pipeline.sources[item.source]
        reading = spec.read_config(source)
        try:
            sha256 = readers.content_hash(Path(item.path))
            ds = readers.open_source(item.path, kind=reading["kind"], **reading["options"])
            parts = readers.split(ds, reading["kind"], **reading["split"])
            looked.append(Input(item.name, item.source, sha256, "", "", parts, readers.size(ds)))
        except (FormatError, InputError) as error:
            looked.append(Input(item.name, item.source, "", "", "", {}, {}, str(error)))
    return plan_inputs(pipeline, spec, repo, [*known.values(), *looked])
