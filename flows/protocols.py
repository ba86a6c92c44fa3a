"""Protocols: systems to drive -> a sweep of learned protocols with their bounds -> store."""

from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture

from flows.runners import threads
from flows.shards import Shard
from flows.steps import Run, RunSummary, ingest, measure, open_run, plan_run, publish_findings
from tasks.protocols import infer_protocol


@flow(name="protocols", task_runner=threads(16))
def protocols(config: str = "pipeline.yaml") -> RunSummary:
    """Learn a protocol for every system, duration and error weight."""
    with open_run(config, "protocols") as run:
        ingested = ingest(run)
        plan = plan_run(run, ingested)
        findings = measure(run, plan, infer)
        return publish_findings(run, ingested, plan, findings)


def infer(run: Run, shard: Shard) -> PrefectFuture[Any]:
    """Hand one point to its task."""
    return infer_protocol.submit(shard.id, shard.config, shard.seed, run.pipeline.compute.timeout)
