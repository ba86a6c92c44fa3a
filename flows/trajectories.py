"""Trajectories: ingestion -> entropy production learned from currents -> store."""

from functools import partial
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture

from flows.blocks import TrajectoriesBlock
from flows.runners import ModelPlace, model_place, threads
from flows.shards import Shard
from flows.steps import (
    Run,
    RunSummary,
    ingest,
    measure,
    open_run,
    plan_run,
    publish_findings,
)
from tasks.currents import infer_currents


@flow(name="trajectories", task_runner=threads(16))
def trajectories(config: str = "pipeline.yaml") -> RunSummary:
    """Measure the entropy production of every set of trajectories under every condition."""
    with open_run(config, "trajectories") as run:
        ingested = ingest(run)
        plan = plan_run(run, ingested)
        place = _place(run) if plan.todo else None
        findings = measure(run, plan, partial(infer, place=place))
        return publish_findings(run, ingested, plan, findings)


def _place(run: Run) -> ModelPlace | None:
    """Networks may need a GPU; closed forms never do."""
    networks = isinstance(run.block, TrajectoriesBlock) and run.block.ep.features == "network"
    return model_place(run.pipeline.compute.device) if networks else None


def infer(run: Run, shard: Shard, *, place: ModelPlace | None) -> PrefectFuture[Any]:
    """Hand one shard to its task."""
    return infer_currents.submit(
        shard.id,
        run.repo.ref,
        shard.input.at,
        shard.input.group,
        shard.config,
        shard.seed,
        run.pipeline.compute.timeout,
        place.device if place else "cpu",
        place.resources if place else None,
    )
