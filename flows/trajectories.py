"""Trajectories: ingestion -> entropy production learned from currents -> store."""

from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture

from flows.runners import threads
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
        findings = measure(run, plan, infer)
        return publish_findings(run, ingested, plan, findings)


def infer(run: Run, shard: Shard) -> PrefectFuture[Any]:
    """Hand one shard to its task."""
    return infer_currents.submit(
        shard.id,
        run.repo.ref,
        shard.input.at,
        shard.input.group,
        shard.config,
        shard.seed,
        run.pipeline.compute.timeout,
    )
