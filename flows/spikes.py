"""Spike trains: ingestion -> MaxEnt entropy production -> store."""

from prefect import flow

from flows.runners import threads
from flows.steps import (
    RunSummary,
    ingest,
    measure,
    open_run,
    plan_run,
    publish_findings,
    submit_to,
)
from tasks.entropy_production import infer_maxent


@flow(name="spikes", task_runner=threads(16))
def spikes(config: str = "pipeline.yaml") -> RunSummary:
    """Infer the entropy production of every recording under every condition."""
    with open_run(config, "spikes") as run:
        ingested = ingest(run)
        plan = plan_run(run, ingested)
        findings = measure(run, plan, submit_to(infer_maxent))
        return publish_findings(run, ingested, plan, findings)
