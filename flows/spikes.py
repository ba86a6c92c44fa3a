"""Spike trains: ingestion -> MaxEnt entropy production -> store."""

from prefect import flow

from flows.measuring import measure, submit_to
from flows.runners import threads
from flows.scope import WHOLE, Scope
from flows.steps import (
    RunSummary,
    ingest,
    open_run,
    plan_run,
    publish_findings,
)
from tasks.entropy_production import infer_maxent


@flow(name="spikes", task_runner=threads())
def spikes(config: str = "pipeline.yaml", scope: Scope = WHOLE) -> RunSummary:
    """Infer the entropy production of every recording under every condition."""
    with open_run(config, "spikes", scope) as run:
        ingested = ingest(run)
        plan = plan_run(run, ingested)
        findings = measure(run, plan, submit_to(infer_maxent))
        return publish_findings(run, ingested, plan, findings)
