"""Trajectories: ingestion -> entropy production learned from currents -> store."""

from functools import partial

from prefect import flow

from flows.blocks import TrajectoriesBlock
from flows.measuring import measure
from flows.runners import ModelPlace, model_place, threads
from flows.scope import WHOLE, Scope
from flows.shards import Shard
from flows.steps import (
    Run,
    RunSummary,
    ingest,
    open_run,
    plan_run,
    publish_findings,
)
from tasks.batches import Step
from tasks.currents import infer_currents


@flow(name="trajectories", task_runner=threads())
def trajectories(config: str = "pipeline.yaml", scope: Scope = WHOLE) -> RunSummary:
    """Measure the entropy production of every set of trajectories under every condition."""
    with open_run(config, "trajectories", scope) as run:
        ingested = ingest(run)
        plan = plan_run(run, ingested)
        place = _place(run) if plan.todo else None
        findings = measure(run, plan, partial(infer, place=place))
        return publish_findings(run, ingested, plan, findings)


def _place(run: Run) -> ModelPlace | None:
    """Networks may need a GPU; closed forms never do."""
    networks = isinstance(run.block, TrajectoriesBlock) and run.block.ep.features == "network"
    return model_place(run.pipeline.compute.device) if networks else None


def infer(run: Run, shard: Shard, *, place: ModelPlace | None) -> Step:
    """Hand one shard to its task."""
    arguments = (
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
    return Step(infer_currents, arguments)
