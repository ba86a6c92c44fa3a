"""The steps that all flows share: open, ingest, measure, publish.

A flow strings them together; what is particular to it are its spec and its measuring task.
"""

import json
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import xarray as xr
from prefect import Task, get_run_logger
from prefect.futures import PrefectFuture, as_completed

from flows import catalogue, progress
from flows.blocks import Block
from flows.catalogue import Entry
from flows.config import Pipeline, load
from flows.plan import Plan, Planned, plan_flow, plan_inputs, split_known
from flows.runners import cluster
from flows.shards import Shard
from flows.sources import Item
from flows.specs import SPECS, FlowSpec
from irrev.errors import IrrevError
from storage.inputs import scratch_place
from storage.leases import at_work
from storage.manifest import code_version, run_metadata
from storage.pending import Pending
from storage.repository import Repository
from tasks.ingest import Reading, read_source
from tasks.publish import Finding, Publication, publish

FLUSH_S = 2.0  # finished results are at most this long in memory only
BATCH_ITEMS = 32  # a task carries seconds of work; reading a small file takes 0.05 s
BATCH_BYTES = 2**26  # held in memory by one worker
ERROR_LENGTH = 500
Submit = Callable[["Run", Shard], PrefectFuture[Any]]


@dataclass(frozen=True)
class Run:
    """One run of one flow."""

    id: str
    pipeline: Pipeline
    spec: FlowSpec
    block: Block
    repo: Repository
    started: datetime
    place: str  # where work runs

    @property
    def pending(self) -> Pending:
        """Return the scratch of the store."""
        return Pending(self.repo)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did."""

    flow: str
    run_id: str
    version: str  # id of the new version, or of the present one if nothing was to do
    changed: bool
    done: int
    failed: int
    quarantined: int
    up_to_date: int

    @property
    def clean(self) -> bool:
        """Say whether nothing failed and nothing is in quarantine."""
        return not (self.failed or self.quarantined)


@contextmanager
def open_run(config: str, flow: str) -> Iterator[Run]:
    """Read the configuration, open the store and, if there is work, the place where it runs."""
    pipeline = load(config)
    repo = Repository.open(pipeline.store_ref(), create=True, project=pipeline.project)
    now = datetime.now(UTC)
    name = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    spec = SPECS[flow]
    idle = plan_flow(pipeline, spec, repo).idle
    with at_work(repo), nullcontext("idle") if idle else cluster(pipeline.compute) as place:
        yield Run(name, pipeline, spec, pipeline.flows.chosen()[flow], repo, now, place)


# --- ingestion -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ingested:
    """All inputs of a run: those on record and those read now."""

    entries: list[Entry]
    new: dict[str, str]  # group -> pending key
    failed: dict[str, str]  # item -> why its reading failed; it is tried again in the next run


def ingest(run: Run) -> Ingested:
    """Read every item that is not on record; one task a batch of items."""
    at = run.repo.resolve()
    entries, unread = split_known(
        run.pipeline, run.spec, catalogue.load(run.repo, run.spec.name, at=at)
    )
    stamps = {item.name: catalogue.stamp(item.path) for item in unread}  # before reading
    items = {item.name: item for item in unread}
    futures = {_submit_reading(run, batch): batch for batch in _batches(run, unread)}
    new, failed = {}, {}
    for future in as_completed(list(futures)):
        outcome = future.result(raise_on_failure=False)
        if isinstance(outcome, IrrevError):
            raise outcome  # on_error: stop, or a store that cannot be written
        if isinstance(outcome, BaseException):
            failed |= {item.name: _brief(outcome) for item in futures[future]}
            continue
        for reading in outcome:
            entry = _entry(run, items[reading.item], stamps[reading.item], reading)
            entries.append(entry)
            if reading.key:
                new[entry.group] = reading.key
        progress.report("read", len(new) + sum(bool(e.error) for e in entries), len(unread))
    return Ingested(sorted(entries, key=lambda e: e.item), new, failed)


def _batches(run: Run, unread: list[Item]) -> Iterator[list[Item]]:
    """Cut items into batches of one source: few enough for all workers, small enough to hold."""
    most = max(1, min(BATCH_ITEMS, len(unread) // (4 * run.pipeline.compute.workers)))
    for _, group in groupby(unread, key=lambda item: item.source):
        batch: list[Item] = []
        for item in group:
            size = sum(_bytes(i.path) for i in (*batch, item))
            if batch and (len(batch) == most or size > BATCH_BYTES):
                yield batch
                batch = []
            batch.append(item)
        yield batch


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else BATCH_BYTES  # a folder is its own batch


def _submit_reading(run: Run, batch: list[Item]) -> PrefectFuture[list[Reading]]:
    source = run.pipeline.sources[batch[0].source]
    name = batch[0].name if len(batch) == 1 else f"{batch[0].name} and {len(batch) - 1} more"
    places = [(item.name, str(item.path)) for item in batch]
    return read_source.submit(
        name, run.repo.ref, places, run.spec.read_config(source), source.on_error
    )


def _entry(run: Run, item: Item, stamp: str, reading: Reading) -> Entry:
    source = run.pipeline.sources[item.source]
    return Entry(
        item=item.name,
        source=item.source,
        uri=_relative(item, run.pipeline),
        stamp=stamp,
        sha256=reading.sha256,
        read_hash=catalogue.read_hash(run.spec.read_config(source)),
        group=f"inputs/{source.kind}/{item.name}",
        selections=json.dumps(reading.selections),
        size=json.dumps(reading.size),
        checks=json.dumps(reading.checks),
        error=reading.error,
    )


def _relative(item: Item, pipeline: Pipeline) -> str:
    return os.path.relpath(item.path, pipeline.folder)


# --- measuring -------------------------------------------------------------------------------


def plan_run(run: Run, ingested: Ingested) -> Plan:
    """Compare what is planned with what the store has."""
    at = run.repo.resolve()
    waiting = run.pending.snapshot() if ingested.new else at
    inputs = []
    for entry in ingested.entries:
        place = entry.as_input(at)
        if key := ingested.new.get(entry.group):
            place = replace(entry.as_input(waiting), group=scratch_place(key))
        inputs.append(place)
    return plan_inputs(run.pipeline, run.spec, run.repo, inputs)


def measure(run: Run, plan: Plan, submit: Submit) -> list[Finding]:
    """Compute every shard that is not up to date; one task a shard.

    A shard that fails does not stop the others. Results are put into the store's scratch at
    least every two seconds, so a run that is killed loses no more than that.
    """
    log = get_run_logger()
    todo = plan.todo
    log.info("%s: %d of %d shards to measure", run.spec.name, len(todo), len(plan.shards))
    pending = run.pending
    recovered = pending.keys() & {p.shard.key for p in todo}
    findings = [_finding(p) for p in todo if p.shard.key in recovered]
    if findings:
        progress.report("taken over", len(findings), len(todo))
    futures = {submit(run, p.shard): p for p in todo if p.shard.key not in recovered}
    ready: dict[str, dict[str, xr.Dataset]] = {}
    flushed = time.monotonic()
    for future in as_completed(list(futures)):
        planned = futures[future]
        outcome = future.result(raise_on_failure=False)
        if isinstance(outcome, BaseException):
            findings.append(_failure(planned, outcome))
            log.warning("%s: %s", planned.shard.id, findings[-1].error)
        else:
            findings.append(_finding(planned))
            ready[planned.shard.key] = outcome
            log.info("%s: %s", planned.shard.id, _in_words(outcome["row"]))
        if time.monotonic() - flushed > FLUSH_S:
            pending.put(ready)
            ready, flushed = {}, time.monotonic()
        progress.report(run.spec.name, len(findings), len(todo))
    if ready:
        pending.put(ready)
    return sorted(findings, key=lambda f: f.identity["shard"])


def submit_to(task: Task[..., Any]) -> Submit:
    """Hand each shard to a task of the common form: name, data's place, parameters, seed."""

    def submit(run: Run, shard: Shard) -> PrefectFuture[Any]:
        return task.submit(
            shard.id,
            run.repo.ref,
            shard.input.at,
            shard.input.group,
            shard.config,
            shard.seed,
            run.pipeline.compute.timeout,
        )

    return submit


def _in_words(row: xr.Dataset) -> str:
    """Say how long a shard took, and how many units each rule removed where there are rules."""
    words = f"done in {float(row['seconds'].item()):.1f} s"
    removed = (
        json.loads(str(row["units_removed"].item()) or "{}") if "units_removed" in row else {}
    )
    rules = ", ".join(f"{rule} removed {n}" for rule, n in removed.items())
    return f"{words}; of the units {rules}" if rules else words


def _finding(planned: Planned) -> Finding:
    return Finding(planned.shard.row(), key=planned.shard.key, reason=planned.reason)


def _failure(planned: Planned, error: BaseException) -> Finding:
    """Keep the reason; an error of the input is final until something changes."""
    status = "quarantined" if isinstance(error, IrrevError) else "failed"
    return Finding(planned.shard.row(), status=status, error=_brief(error), reason=planned.reason)


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split())[:ERROR_LENGTH]
    return text if isinstance(error, IrrevError) else f"{type(error).__name__}: {text}"


# --- publication -----------------------------------------------------------------------------


def publish_findings(
    run: Run, ingested: Ingested, plan: Plan, findings: Iterable[Finding]
) -> RunSummary:
    """Commit the run, unless nothing changed."""
    log = get_run_logger()
    findings = list(findings)
    bad = {
        **dict(plan.quarantined),
        **ingested.failed,
        **{f.identity["shard"]: f.error for f in findings if f.error},
    }
    up_to_date = sum(1 for p in plan.shards if not p.reason)
    changed = bool(findings or plan.gone or ingested.new or ingested.failed) or _new_quarantine(
        run, ingested
    )
    version = run.repo.resolve()
    failed = sum(f.status == "failed" for f in findings) + len(ingested.failed)
    done = sum(f.status == "done" for f in findings)
    if changed:
        publication = Publication(
            flow=run.spec.name,
            kind=run.spec.kind,
            value=run.spec.value,
            group=run.spec.group,
            findings=findings,
            inputs=ingested.new,
            at=run.pending.snapshot(),
            catalogue=catalogue.to_dataset(ingested.entries),
            quarantine=sorted(bad.items()),
            keep=frozenset(p.shard.id for p in plan.shards),
            fdr=run.block.fdr,
            run_id=run.id,
            when=run.started.isoformat(timespec="seconds"),
            message=f"{run.spec.name}: {done} results, {len(bad) - failed} quarantined",
            metadata=_metadata(run, ingested, findings, bad),
        )
        version = publish(run.repo.ref, publication)
    log.info(
        "%s: %d done, %d failed, %d set aside; %s",
        run.spec.name,
        done,
        failed,
        len(bad) - failed,
        f"version {version}" if changed else "no new version",
    )
    return RunSummary(
        flow=run.spec.name,
        run_id=run.id,
        version=version,
        changed=changed,
        done=done,
        failed=failed,
        quarantined=len(bad) - failed,
        up_to_date=up_to_date,
    )


def _new_quarantine(run: Run, ingested: Ingested) -> bool:
    old = catalogue.load(run.repo, run.spec.name)
    return any(e.error and old.get(e.item) != e for e in ingested.entries)


def _metadata(
    run: Run, ingested: Ingested, findings: list[Finding], bad: dict[str, str]
) -> dict[str, Any]:
    config = run.pipeline.redacted()
    return run_metadata(
        run_id=run.id,
        flow=run.spec.name,
        config=config,
        code_version=code_version(),
        inputs={e.item: e.sha256 for e in ingested.entries},
        counts={"done": sum(f.status == "done" for f in findings), "bad": len(bad)},
        quarantined=bad,
        seed=run.pipeline.seed,
        host_class=f"{platform.machine()}, {os.cpu_count()} cores, {run.place}",
        started=run.started.isoformat(timespec="seconds"),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
