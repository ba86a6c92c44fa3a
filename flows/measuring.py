"""Computing every shard that is not up to date; what is finished is kept at once.

Only as many shards are under way as the workers can take, so memory does not grow with their
number.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from typing import Any

import xarray as xr
from prefect import get_run_logger
from prefect.futures import PrefectFuture
from prefect.utilities.annotations import quote

from flows import progress
from flows.estimate import estimate_plan, formula
from flows.flight import Tell, in_flight
from flows.plan import Plan, Planned
from flows.scope import Scope
from flows.shards import Shard
from flows.steps import (
    Run,
    RunSummary,
    brief,
    ingest,
    open_run,
    plan_run,
    publish_findings,
)
from flows.taken_over import take_over
from irrev.errors import IrrevError
from tasks.batches import Batch, Step, measure_batch
from tasks.cluster import PlaceError, slots, usage
from tasks.keeping import Keeper
from tasks.pieces import drop_pieces
from tasks.publish import Finding

TASK_S = 10.0  # work that a Prefect task should carry
StepOf = Callable[[Run, Shard], Step]
Keyed = tuple[str, Planned]  # content key, shard


def submit_to(call: Callable[..., Any]) -> StepOf:
    """Hand each shard to a call of the common form: name, data's place, parameters, seed."""

    def step(run: Run, shard: Shard) -> Step:
        place = (shard.id, run.repo.ref, shard.input.at, shard.input.group)
        return Step(call, (*place, shard.config, shard.seed, run.pipeline.compute.timeout))

    return step


def measure_in_pieces(
    config: str, flow: str, scope: Scope, call: Callable[..., Any]
) -> RunSummary:
    """Run a flow whose call also takes the shard's key and keeps its pieces under it."""

    def step(run: Run, shard: Shard) -> Step:
        where = (run.repo.ref, shard.input.at, shard.input.group, shard.config, shard.seed)
        return Step(call, (shard.id, shard.key, *where, run.pipeline.compute.timeout))

    with open_run(config, flow, scope) as run:
        ingested = ingest(run)
        plan = plan_run(run, ingested)
        summary = publish_findings(run, ingested, plan, measure(run, plan, step))
        drop_pieces(run.repo.ref, {p.shard.key for p in plan.todo})
        return summary


def measure(run: Run, plan: Plan, step_of: StepOf) -> list[Finding]:
    """Compute every shard that is not up to date.

    A shard that fails does not stop the others. Results are put into the store's scratch at
    least every two seconds, so a run that is killed loses no more than that.

    Raises
    ------
    PlaceError
        If the place where work runs is gone; what was finished is in the scratch.
    """
    log = get_run_logger()
    todo = {p.shard.key: p for p in plan.todo}
    log.info("%s: %d of %d shards to measure", run.spec.name, len(todo), len(plan.shards))
    pending = run.pending
    recovered = dict.fromkeys(pending.keys() & todo.keys(), "")
    recovered |= take_over(run, {k: p for k, p in todo.items() if k not in recovered})
    findings = [_finding(todo[key], key, branch) for key, branch in recovered.items()]
    if findings:
        progress.report("taken over", len(findings), len(todo))
    left = [(key, p) for key, p in todo.items() if key not in recovered]
    with _costed(run, plan, [p for _, p in left]), Keeper(pending) as keeper:
        _compute(run, left, step_of, keeper, findings, len(todo))
    return sorted(findings, key=lambda f: f.identity["shard"])


def _compute(
    run: Run,
    left: Sequence[Keyed],
    step_of: StepOf,
    keeper: Keeper,
    findings: list[Finding],
    total: int,
) -> None:
    """Compute shards, keep what is finished, and add what was found."""
    log = get_run_logger()
    for (key, planned), outcome in _outcomes(run, list(_batches(run, left)), step_of):
        if isinstance(outcome, BaseException):
            findings.append(_failure(planned, outcome))
            log.warning("%s: %s", planned.shard.id, findings[-1].error)
        else:
            findings.append(_finding(planned, key))
            keeper.add(key, outcome)
            log.info("%s: %s", planned.shard.id, _in_words(outcome["row"]))
        progress.report(run.spec.name, len(findings), total)


@contextmanager
def _costed(run: Run, plan: Plan, left: list[Planned]) -> Iterator[None]:
    """Note what computing is expected to take, and what it takes."""
    if not left:
        yield
        return
    part = replace(plan, shards=left)
    estimate = estimate_plan(part, run.repo, run.pipeline.compute)
    before, start = usage.now(), time.perf_counter()
    yield
    run.cost["shards"] = len(left)
    run.cost["formula"] = formula(part, gpus=bool(estimate.gpu_seconds))[0]
    run.cost["estimate"] = estimate.totals() | {"seconds": estimate.seconds}
    run.cost["actual"] = usage.since(before) | {"seconds": time.perf_counter() - start}


def _batches(run: Run, left: Sequence[Keyed]) -> Iterator[list[Keyed]]:
    """Cut shards into batches of about ten seconds, yet enough batches for all workers."""
    most = max(1, len(left) // (4 * slots()))
    batch: list[Keyed] = []
    seconds = 0.0
    for key, planned in left:
        cost = run.spec.cost(planned.shard.input.size, planned.shard.config).seconds
        if batch and (len(batch) == most or seconds + cost > TASK_S):
            yield batch
            batch, seconds = [], 0.0
        batch.append((key, planned))
        seconds += cost
    if batch:
        yield batch


def _outcomes(
    run: Run, batches: Sequence[list[Keyed]], step_of: StepOf
) -> Iterator[tuple[Keyed, Any]]:
    """Compute batches and yield each shard's outcome."""

    def start(batch: list[Keyed], tell: Tell) -> PrefectFuture[None]:
        steps = [step_of(run, planned.shard) for _, planned in batch]
        name = batch[0][1].shard.id
        name = name if len(batch) == 1 else f"{name} and {len(batch) - 1} more"
        work = Batch(steps, lambda place, outcome: tell((place, outcome)), stop)
        return measure_batch.submit(name, quote(work))  # pyright: ignore[reportArgumentType]

    stop = Event()
    heard: dict[int, int] = {}  # batch -> shards that were told of; they come in order
    try:
        for news in in_flight(batches, start):
            if news.job is None:
                continue
            if not news.ended:
                place, outcome = news.what
                heard[id(news.job)] = place + 1
                yield news.job[place], outcome
            else:
                first = heard.pop(id(news.job), 0)
                if isinstance(news.what, PlaceError):
                    raise news.what
                if isinstance(news.what, BaseException):  # Prefect's own, not a shard's
                    yield from ((keyed, news.what) for keyed in news.job[first:])
    finally:
        stop.set()


def _in_words(row: xr.Dataset) -> str:
    """Say how long a shard took, and how many units each rule removed where there are rules."""
    words = f"done in {float(row['seconds'].item()):.1f} s"
    removed = (
        json.loads(str(row["units_removed"].item()) or "{}") if "units_removed" in row else {}
    )
    rules = ", ".join(f"{rule} removed {n}" for rule, n in removed.items())
    return f"{words}; of the units {rules}" if rules else words


def _finding(planned: Planned, key: str, branch: str = "") -> Finding:
    reason = planned.reason + (f"; taken over from {branch}" if branch else "")
    return Finding(planned.shard.row(), key=key, reason=reason)


def _failure(planned: Planned, error: BaseException) -> Finding:
    """Keep the reason; an error of the input is final until something changes."""
    status = "quarantined" if isinstance(error, IrrevError) else "failed"
    return Finding(planned.shard.row(), status=status, error=brief(error), reason=planned.reason)
