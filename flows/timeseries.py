"""Time series: ingestion -> cross-spectral witness of all pairs -> store."""

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
from tasks.witness import infer_witness


@flow(name="timeseries", task_runner=threads(16))
def timeseries(config: str = "pipeline.yaml") -> RunSummary:
    """Measure witness and irreversibility of every pair of channels of every recording."""
    with open_run(config, "timeseries") as run:
        ingested = ingest(run)
        plan = plan_run(run, ingested)
        findings = measure(run, plan, infer)
        return publish_findings(run, ingested, plan, findings)


def infer(run: Run, shard: Shard) -> PrefectFuture[Any]:
    """Hand one shard to its task."""
    return infer_witness.submit(
        shard.id,
        run.repo.ref,
        shard.input.at,
        shard.input.group,
        shard.config,
        shard.seed,
        run.pipeline.compute.timeout,
    )
