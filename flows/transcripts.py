"""Chat logs: ingestion -> classes -> entropy of behaviour and drift -> store."""

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
from tasks.alignment import infer_behaviour


@flow(name="transcripts", task_runner=threads(16))
def transcripts(config: str = "pipeline.yaml") -> RunSummary:
    """Measure the behaviour of every model and variant under every stress."""
    with open_run(config, "transcripts") as run:
        ingested = ingest(run)
        plan = plan_run(run, ingested)
        findings = measure(run, plan, infer)
        return publish_findings(run, ingested, plan, findings)


def infer(run: Run, shard: Shard) -> PrefectFuture[Any]:
    """Hand one shard to its task."""
    return infer_behaviour.submit(
        shard.id,
        run.repo.ref,
        shard.input.at,
        shard.input.group,
        shard.config,
        shard.seed,
        run.pipeline.compute.timeout,
    )
