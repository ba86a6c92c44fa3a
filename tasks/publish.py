"""One commit a run: finished results out of the scratch into the branch, with their provenance."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from prefect import task
from prefect.cache_policies import NO_CACHE

from irrev.schema import blank, validate
from irrev.verdicts import decide
from storage.layout import node_name
from storage.pending import Pending
from storage.repository import JSON, Repository, StoreRef
from storage.results import merge_rows, merge_table, stack_rows

STACKED = 256  # rows that are joined at a time


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one shard: its identity, and where its result waits or why there is none."""

    identity: dict[str, Any]  # columns of schema.SHARD that planning knows
    key: str = ""  # pending key of the result
    status: str = "done"  # done | failed | quarantined
    error: str = ""
    reason: str = ""  # why it ran


@dataclass(frozen=True, slots=True)
class Publication:
    """All that one run of a flow has to say."""

    flow: str
    kind: str  # schema kind of the results
    value: str  # the variable of it that verdicts speak of
    group: str
    findings: Sequence[Finding]
    inputs: Mapping[str, str]  # group -> pending key of the data read
    at: str  # snapshot of the scratch after the last put: no other run can take it away
    catalogue: xr.Dataset
    quarantine: Sequence[tuple[str, str]]  # item or shard, reason
    gone: frozenset[str]  # shards that are no longer planned
    left: frozenset[str]  # items that are no longer there
    looked_at: frozenset[str]  # items and shards that this run has planned
    fdr: float
    run_id: str
    when: str
    message: str
    metadata: dict[str, JSON]


def publish_run(ref: StoreRef, run: Publication) -> str:
    """Commit a run and return the id of the new version.

    The table is merged with what the branch holds at that moment, so two runs at once both
    survive. The scratch is cleared only after the commit.
    """
    repo = Repository.open(ref, create=True)
    pending = Pending(repo)
    done = {f.key: f for f in run.findings if f.key}
    table, seconds = _rows(run, pending, done)
    inputs = {key: group for group, key in run.inputs.items()}
    places = {key: _place(f.identity) for key, f in done.items()}

    def group_of(key: str, part: str) -> str:
        if key in inputs:
            return inputs[key]
        return "" if part == "row" else f"results/{run.flow}/{part}/{places[key]}"

    def writes(base: str) -> Mapping[str, xr.Dataset]:
        def there(group: str) -> xr.Dataset | None:
            return repo.read(group, at=base) if repo.has(group, at=base) else None

        entries, bad = f"inputs/catalogue/{run.flow}", f"quarantine/{run.flow}"
        tables = {
            entries: validate(
                merge_table(there(entries), run.catalogue, by="item", gone=run.left), "catalogue"
            ),
            bad: validate(_quarantine(run, there(bad)), "quarantine"),
            f"runs/{run.run_id}": _timings(run, seconds),
        }
        merged = merge_rows(there(run.group), [table] if table is not None else [], run.gone)
        if merged is not None:
            tables[run.group] = _decided(merged, run)
        return OneByOne(tables, pending, [*inputs, *done], group_of, run.at)

    version = repo.commit(writes, message=run.message, metadata=run.metadata)
    pending.drop([*done, *inputs])
    return version


def _rows(
    run: Publication, pending: Pending, done: Mapping[str, Finding]
) -> tuple[xr.Dataset | None, dict[str, float]]:
    """Collect the rows of all findings in one table, and the computing time of each."""
    parts: list[xr.Dataset] = []
    rows: list[xr.Dataset] = []
    found: list[Finding] = []
    for key, result in pending.load(done, at=run.at, part="row"):
        rows.append(result["row"])
        found.append(done[key])
        if len(rows) == STACKED:  # a row by itself takes a hundred times the memory
            parts, rows = [*parts, stack_rows(rows)], []
    bad = [f for f in run.findings if not f.key]
    parts += [stack_rows(rows)] if rows else []
    parts += [stack_rows([blank(run.kind, "shard") for _ in bad])] if bad else []
    if not parts:
        return None, {}
    table = _identified(stack_rows(parts), found + bad)
    seconds = table["seconds"].to_numpy()[: len(found)].tolist()
    return table, {f.identity["shard"]: s for f, s in zip(found, seconds, strict=True)}


def _place(identity: Mapping[str, Any]) -> str:
    return f"{identity['source']}/{node_name(identity['condition'])}"


@task(retries=2, retry_delay_seconds=[2, 10], cache_policy=NO_CACHE, persist_result=False)
def publish(ref: StoreRef, run: Publication) -> str:
    """Commit a run of a flow."""
    return publish_run(ref, run)


class OneByOne(Mapping[str, xr.Dataset]):
    """What a run writes: inputs and parts of results, each in memory only while it is written."""

    def __init__(
        self,
        tables: dict[str, xr.Dataset],
        pending: Pending,
        keys: Collection[str],
        group_of: Callable[[str, str], str],
        at: str,
    ) -> None:
        self._tables, self._pending, self._at = tables, pending, at
        self._keys = keys
        self._group_of = group_of  # pending key, part -> group; none: not written

    def items(self) -> Iterator[tuple[str, xr.Dataset]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Read what waits in the scratch one after another, then give the tables."""
        for key, kept in self._pending.load(self._keys, at=self._at):
            for part, ds in kept.items():
                if group := self._group_of(key, part):
                    yield group, ds
        yield from self._tables.items()

    def __getitem__(self, group: str) -> xr.Dataset:
        return dict(self.items())[group]

    def __iter__(self) -> Iterator[str]:
        yield from (group for group, _ in self.items())

    def __len__(self) -> int:
        return len(self._keys) + len(self._tables)


def _identified(table: xr.Dataset, findings: Sequence[Finding]) -> xr.Dataset:
    """Write the identity of each shard beside its values."""
    records = [{**f.identity, "status": f.status, "error": f.error} for f in findings]
    columns = {name: [record[name] for record in records] for name in records[0]}
    return table.assign(
        {
            name: ("shard", np.array(values, object if isinstance(values[0], str) else None))
            for name, values in columns.items()
        }
    )


def _decided(table: xr.Dataset, run: Publication) -> xr.Dataset:
    attrs = {"flow": run.flow, "method": run.kind.split("/")[1], "run": run.run_id}
    attrs["value"] = run.value
    return validate(decide(table, fdr=run.fdr).assign_attrs(attrs), run.kind)


def _texts(values: Sequence[str]) -> np.ndarray[Any, np.dtype[Any]]:
    return np.array(list(values), dtype=object)


def _quarantine(run: Publication, old: xr.Dataset | None) -> xr.Dataset:
    """Return what is set aside now: by this run, and what it did not look at."""
    items, reasons = zip(*run.quarantine, strict=True) if run.quarantine else ((), ())
    columns = {
        "item": items,
        "reason": reasons,
        "when": [run.when] * len(items),
        "run": [run.run_id] * len(items),
    }
    table = xr.Dataset({name: ("entry", _texts(values)) for name, values in columns.items()})
    return merge_table(old, table, by="item", gone=run.looked_at | run.gone | run.left)


def _timings(run: Publication, seconds: Mapping[str, float]) -> xr.Dataset:
    names = [f.identity["shard"] for f in run.findings]
    times = np.array([seconds.get(name, np.nan) for name in names], dtype=np.float64)
    columns = {
        "shard": ("shard", _texts(names)),
        "seconds": ("shard", times),
        "reason": ("shard", _texts([f.reason for f in run.findings])),
        "status": ("shard", _texts([f.status for f in run.findings])),
        "error": ("shard", _texts([f.error for f in run.findings])),
    }
    return validate(xr.Dataset(columns), "run")
