"""What would run, why, and at what cost; reads the store and file stamps, starts nothing."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from flows import catalogue
from flows.catalogue import Entry
from flows.config import Pipeline
from flows.driven_tasks import DrivenTask
from flows.scope import WHOLE, Scope
from flows.shards import Input, Shard, make_shards
from flows.sources import Item
from flows.specs import FlowSpec
from storage.lookup import explain
from storage.repository import Repository

# a flow without sources measures its model alone
NO_INPUT = Input(item="model", source="", sha256="", group="", at="", selections={}, size={})


@dataclass(frozen=True, slots=True)
class Planned:
    """A shard and why it would run; an empty reason means that it is up to date."""

    shard: Shard
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of one flow."""

    flow: str
    unread: list[Item]  # items whose content is not known yet
    shards: list[Planned]
    quarantined: list[tuple[str, str]]  # item or shard, reason
    gone: list[str]  # stored shards that are no longer planned
    left: list[str]  # items on record that are no longer there

    @property
    def todo(self) -> list[Planned]:
        """Return the shards that would run."""
        return [p for p in self.shards if p.reason]

    @property
    def idle(self) -> bool:
        """Say whether there is nothing to do."""
        return not (self.unread or self.todo or self.gone or self.left)


def items_of(pipeline: Pipeline, flow: str) -> list[Item]:
    """Return all items of a flow's sources, in the order of the file."""
    block = pipeline.flows.chosen()[flow]
    return [
        item
        for name in block.sources
        for item in pipeline.sources[name].items(name, pipeline.folder)
    ]


def split_known(
    pipeline: Pipeline, spec: FlowSpec, entries: dict[str, Entry], scope: Scope = WHOLE
) -> tuple[list[Entry], list[Item], list[str]]:
    """Separate items whose reading is on record, those to be read, and names of those that left.

    With a release in scope all its items are taken as they were read then, whatever became of
    their files.
    """
    if scope.release:
        sources = pipeline.flows.chosen()[spec.name].sources
        taken = [e for e in entries.values() if e.source in sources and scope.takes(e.item)]
        return taken, [], []
    known = _stated(pipeline, spec, scope)
    unread: list[Item] = []
    hashes = {
        name: catalogue.read_hash(spec.read_config(pipeline.sources[name]))
        for name in pipeline.flows.chosen()[spec.name].sources
    }
    for item in scope.chosen(items_of(pipeline, spec.name)):
        entry = catalogue.still_known(entries.get(item.name), item, hashes[item.source])
        if entry is not None:
            known.append(entry)
        else:
            unread.append(item)
    there = {e.item for e in known} | {i.name for i in unread}
    return known, unread, [name for name in entries if name not in there] if scope.whole else []


def _stated(pipeline: Pipeline, spec: FlowSpec, scope: Scope) -> list[Entry]:
    """Return the entries of sources that need no reading."""
    named = ((n, pipeline.sources[n]) for n in pipeline.flows.chosen()[spec.name].sources)
    taken = ((n, s) for n, s in named if isinstance(s, DrivenTask) and scope.takes(n))
    return [catalogue.stated(n, s) for n, s in taken]


def plan_flow(
    pipeline: Pipeline, spec: FlowSpec, repo: Repository | None, scope: Scope = WHOLE
) -> Plan:
    """Plan one flow from what is on record.

    Items that were never read, or whose file changed, appear as `unread`: their conditions are
    not known before they are read.
    """
    if repo is None:
        stated = [e.as_input("") for e in _stated(pipeline, spec, scope)]
        unread = scope.chosen(items_of(pipeline, spec.name))
        return plan_inputs(pipeline, spec, None, stated, unread, scope=scope)
    at = repo.resolve()
    entries = catalogue.load(repo, spec.name, at=at)
    known, unread, left = split_known(pipeline, spec, entries, scope)
    inputs = [e.as_input(at) for e in known]
    return plan_inputs(pipeline, spec, repo, inputs, unread, scope=scope, left=left)


def plan_inputs(
    pipeline: Pipeline,
    spec: FlowSpec,
    repo: Repository | None,
    inputs: Iterable[Input],
    unread: Iterable[Item] = (),
    *,
    scope: Scope = WHOLE,
    failed: Collection[str] = (),
    left: Sequence[str] = (),
) -> Plan:
    """Compare the shards of the given inputs with the stored results.

    Results of items that are out of scope, not yet read, or could not be read this time
    (`failed`) stay as they are; items that `left` are passed on.
    """
    inputs, unread = list(inputs), list(unread)
    block = pipeline.flows.chosen()[spec.name]
    if spec.pieces is not None:
        if not block.sources:
            inputs = [NO_INPUT]
        sources = pipeline.sources
        inputs = [replace(i, selections=spec.pieces(block, sources.get(i.source))) for i in inputs]
    configs = {
        name: spec.config_of(block, pipeline.sources.get(name), name, repo, pipeline.folder)
        for name in set(block.sources) or {NO_INPUT.source}
    }
    shards = make_shards(
        [i for i in inputs if not i.error],
        configs=configs,
        method=spec.method,
        method_version=spec.version,
        seed=pipeline.seed,
    )
    stored = _stored_rows(repo, spec) if repo is not None else {}
    planned, quarantined = [], [(i.item, i.error) for i in inputs if i.error]
    for shard in shards:
        row = stored.get(shard.id)
        reason = explain(row, shard.row(), method=spec.method) or ""
        if not reason and row is not None and row["status"] == "quarantined":
            quarantined.append((shard.id, row["error"]))
        planned.append(Planned(shard, reason))
    gone = []
    if scope.whole:
        waiting = {item.name for item in unread} | set(failed)
        names = {s.id for s in shards}
        gone = [n for n, row in stored.items() if n not in names and row["source"] not in waiting]
    return Plan(spec.name, unread, planned, quarantined, gone, list(left))


def _stored_rows(repo: Repository, spec: FlowSpec) -> dict[str, dict[str, str]]:
    """Return the identity of every stored result by shard."""
    if not repo.has(spec.group):
        return {}
    names = (
        "shard",
        "source",
        "input_hash",
        "config",
        "method_version",
        "seed",
        "status",
        "error",
    )
    ds = repo.read(spec.group)[list(names)].load()
    columns = [ds[name].to_numpy().astype(object) for name in names]
    return {
        str(values[0]): dict(zip(names, map(str, values), strict=True))
        for values in zip(*columns, strict=True)
    }
