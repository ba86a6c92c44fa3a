"""One commit a run: finished results out of the scratch into the branch, with their provenance."""

from collections.abc import Iterator, Mapping, Sequence
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
from storage.results import merge_rows, stack_rows


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
    keep: frozenset[str]  # shards that are planned: their old rows stay
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
    extras, rows, found, seconds = {}, [], [], {}
    for key, result in pending.load(done, at=run.at):
        identity = done[key].identity
        rows.append(result.pop("row"))
        found.append(done[key])
        seconds[identity["shard"]] = float(rows[-1].variables["seconds"].values[0])
        name = f"{identity['source']}/{node_name(identity['condition'])}"
        extras |= {f"results/{run.flow}/{part}/{name}": ds for part, ds in result.items()}
    bad = [f for f in run.findings if not f.key]
    rows += [blank(run.kind, "shard") for _ in bad]
    new = [_identified(stack_rows(rows), found + bad)] if rows else []
    groups = {key: group for group, key in run.inputs.items()}

    def writes(base: str) -> Mapping[str, xr.Dataset]:
        old = repo.read(run.group, at=base) if repo.has(run.group, at=base) else None
        table = merge_rows(old, new, set(run.keep))
        tables = {
            **extras,
            f"inputs/catalogue/{run.flow}": validate(run.catalogue, "catalogue"),
            f"quarantine/{run.flow}": _quarantine(run),
            f"runs/{run.run_id}": _timings(run, seconds),
        }
        if table is not None:
            tables[run.group] = _decided(table, run)
        return OneByOne(tables, pending, groups, run.at)

    version = repo.commit(writes, message=run.message, metadata=run.metadata)
    pending.drop([*done, *groups])
    return version


@task(retries=2, retry_delay_seconds=[2, 10], cache_policy=NO_CACHE, persist_result=False)
def publish(ref: StoreRef, run: Publication) -> str:
    """Commit a run of a flow."""
    return publish_run(ref, run)


class OneByOne(Mapping[str, xr.Dataset]):
    """What a run writes: its inputs, each in memory only while it is written, and its tables."""

    def __init__(
        self, tables: dict[str, xr.Dataset], pending: Pending, inputs: dict[str, str], at: str
    ) -> None:
        self._tables, self._pending, self._at = tables, pending, at
        self._inputs = inputs  # pending key -> group

    def items(self) -> Iterator[tuple[str, xr.Dataset]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Read the inputs one after another, then give the tables."""
        for key, kept in self._pending.load(self._inputs, at=self._at):
            yield self._inputs[key], kept["data"]
        yield from self._tables.items()

    def __getitem__(self, group: str) -> xr.Dataset:
        return dict(self.items())[group]

    def __iter__(self) -> Iterator[str]:
        yield from self._inputs.values()
        yield from self._tables

    def __len__(self) -> int:
        return len(self._inputs) + len(self._tables)


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


def _quarantine(run: Publication) -> xr.Dataset:
    items, reasons = zip(*run.quarantine, strict=True) if run.quarantine else ((), ())
    columns = {
        "item": items,
        "reason": reasons,
        "when": [run.when] * len(items),
        "run": [run.run_id] * len(items),
    }
    table = xr.Dataset({name: ("entry", _texts(values)) for name, values in columns.items()})
    return validate(table, "quarantine")


def _timings(run: Publication, seconds: Mapping[str, float]) -> xr.Dataset:
    reasons = {f.identity["shard"]: f.reason for f in run.findings}
    columns = {
        "shard": ("shard", _texts(list(seconds))),
        "seconds": ("shard", np.array(list(seconds.values()), dtype=np.float64)),
        "reason": ("shard", _texts([reasons[name] for name in seconds])),
    }
    return validate(xr.Dataset(columns), "run")
