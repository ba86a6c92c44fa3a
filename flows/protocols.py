"""Protocols: systems to drive -> a sweep of learned protocols with their bounds -> store."""

from prefect import flow

from flows.measuring import measure
from flows.runners import threads
from flows.scope import WHOLE, Scope
from flows.shards import Shard
from flows.steps import Run, RunSummary, ingest, open_run, plan_run, publish_findings
from tasks.batches import Step
from tasks.protocols import infer_protocol


@flow(name="protocols", task_runner=threads())
def protocols(config: str = "pipeline.yaml", scope: Scope = WHOLE) -> RunSummary:
    """Learn a protocol for every system, duration and error weight."""
    with open_run(config, "protocols", scope) as run:
        ingested = ingest(run)
        plan = plan_run(run, ingested)
        findings = measure(run, plan, infer)
        return publish_findings(run, ingested, plan, findings)


def infer(run: Run, shard: Shard) -> Step:
    """Hand one point to its task."""
    timeout = run.pipeline.compute.timeout
    return Step(infer_protocol, (shard.id, shard.config, shard.seed, timeout))
