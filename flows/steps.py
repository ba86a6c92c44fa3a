"""The steps that all flows share: open, ingest, measure, publish.

A flow strings them together; what is particular to it are its spec and its measuring task.
"""

import json
import os
import platform
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture

from flows import catalogue, progress
from flows.blocks import Block
from flows.catalogue import Entry
from flows.config import Pipeline, load
from flows.flight import in_flight
from flows.plan import Plan, plan_flow, plan_inputs, split_known
from flows.runners import cluster
from flows.scope import WHOLE, Scope
from flows.sources import Item
from flows.specs import SPECS, FlowSpec
from irrev.errors import IrrevError
from storage.inputs import part_key, part_name, scratch_place
from storage.leases import at_work
from storage.manifest import code_version, run_metadata
from storage.pending import Pending
from storage.repository import Repository
from tasks.cluster import slots
from tasks.ingest import Reading, read_source
from tasks.publish import Finding, Publication, publish

BATCH_ITEMS = 32  # a task carries seconds of work; reading a small file takes 0.05 s
BATCH_BYTES = 2**26  # held in memory by one worker
ERROR_LENGTH = 500


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
    scope: Scope
    cost: dict[str, Any]  # of measuring: by formula, as estimated, as it came out

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
def open_run(config: str, flow: str, scope: Scope = WHOLE) -> Iterator[Run]:
    """Read the configuration, open the store and, if there is work, the place where it runs."""
    pipeline = load(config).on_branch(scope.branch)
    repo = Repository.open(pipeline.store_ref(), create=True, project=pipeline.project)
    now = datetime.now(UTC)
    name = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    spec = SPECS[flow]
    idle = plan_flow(pipeline, spec, repo, scope).idle
    with at_work(repo), nullcontext("idle") if idle else cluster(pipeline.place()) as place:
        block = pipeline.flows.chosen()[flow]
        before = repo.resolve()
        yield Run(name, pipeline, spec, block, repo, now, place, scope, {})
    # the command line writes its page itself, once for all flows
    if _scheduled() and not scope.branch and repo.resolve() != before:
        _write_page(pipeline, repo)


def _scheduled() -> bool:
    """Say whether this flow run belongs to a deployment."""
    context = FlowRunContext.get()
    return bool(context and context.flow_run and context.flow_run.deployment_id)


def _write_page(pipeline: Pipeline, repo: Repository) -> None:
    """Write the report after a scheduled run; its results are safe without it."""
    from flows.page import write_page  # half a second that the start of a run does not pay

    log = get_run_logger()
    try:
        log.info("report %s", write_page(pipeline, repo))
    except (IrrevError, OSError) as error:
        log.warning("no report was written: %s", error)


# --- ingestion -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ingested:
    """All inputs of a run: those on record and those read now."""

    entries: list[Entry]
    new: dict[str, str]  # group -> pending key
    failed: dict[str, str]  # item -> why its reading failed; it is tried again in the next run
    left: list[str]  # items on record that are no longer there


def ingest(run: Run) -> Ingested:
    """Read every item that is not on record; one task a batch of items."""
    at = run.repo.resolve()
    entries, unread, left = split_known(
        run.pipeline, run.spec, catalogue.load(run.repo, run.spec.name, at=at), run.scope
    )
    stamps = {item.name: catalogue.stamp(item.path) for item in unread}  # before reading
    items = {item.name: item for item in unread}
    new, failed, n_read = {}, {}, 0
    for news in in_flight(_batches(run, unread), lambda batch, _: _submit_reading(run, batch)):
        if not news.ended:
            continue
        if isinstance(news.what, IrrevError):
            raise news.what  # on_error: stop, or a store that cannot be written
        if isinstance(news.what, BaseException):
            failed |= {item.name: brief(news.what) for item in news.job or ()}
            continue
        for reading in news.what:
            if reading.failed:
                failed[reading.item] = reading.error[:ERROR_LENGTH]
                continue
            entry = _entry(run, items[reading.item], stamps[reading.item], reading)
            entries.append(entry)
            if reading.key:
                new[entry.group] = reading.key
            for number in range(reading.parts):
                new[f"{entry.group}/{part_name(number)}"] = part_key(reading.key, number)
        n_read += len(news.what)
        progress.report("read", n_read, len(unread))
    return Ingested(sorted(entries, key=lambda e: e.item), new, failed, left)


def _batches(run: Run, unread: list[Item]) -> Iterator[list[Item]]:
    """Cut items into batches of one source: few enough for all workers, small enough to hold."""
    most = max(1, min(BATCH_ITEMS, len(unread) // (4 * slots())))
    for _, group in groupby(unread, key=lambda item: item.source):
        batch: list[Item] = []
        held = 0
        for item in group:
            size = _bytes(item.path)
            if batch and (len(batch) == most or held + size > BATCH_BYTES):
                yield batch
                batch, held = [], 0
            batch.append(item)
            held += size
        yield batch


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else BATCH_BYTES  # a folder is its own batch


def _submit_reading(run: Run, batch: list[Item]) -> PrefectFuture[list[Reading]]:
    source = run.pipeline.sources[batch[0].source]
    name = batch[0].name if len(batch) == 1 else f"{batch[0].name} and {len(batch) - 1} more"
    places = [(item.name, str(item.path)) for item in batch]
    return read_source.submit(
        name,
        run.repo.ref,
        places,
        run.spec.read_config(source),
        source.on_error,
        run.pipeline.compute.timeout,
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
    return plan_inputs(
        run.pipeline,
        run.spec,
        run.repo,
        inputs,
        scope=run.scope,
        failed=ingested.failed,
        left=ingested.left,
    )


def brief(error: BaseException) -> str:
    """Return an error as one line of the quarantine."""
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
    changed = bool(
        findings or plan.gone or plan.left or ingested.new or ingested.failed
    ) or _new_quarantine(run, ingested)
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
            gone=frozenset(plan.gone),
            left=frozenset(plan.left),
            looked_at=frozenset(
                [*(e.item for e in ingested.entries), *(p.shard.id for p in plan.shards)]
            ),
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
    cost: dict[str, Any] = {"cost": run.cost} if run.cost else {}
    return cost | run_metadata(
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
