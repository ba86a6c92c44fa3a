"""Chat logs: ingestion -> classes -> entropy of behaviour and drift -> store."""

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
from tasks.alignment import infer_behaviour


@flow(name="transcripts", task_runner=threads(16))
def transcripts(config: str = "pipeline.yaml") -> RunSummary:
    """Measure the behaviour of every model and variant under every stress."""
    with open_run(config, "transcripts") as run:
        ingested = ingest(run)
        plan = plan_run(run, ingested)
        findings = measure(run, plan, submit_to(infer_behaviour))
        return publish_findings(run, ingested, plan, findings)
