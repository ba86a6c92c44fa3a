"""Time series: ingestion -> cross-spectral witness of all pairs -> store."""

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
from tasks.witness import infer_witness


@flow(name="timeseries", task_runner=threads(16))
def timeseries(config: str = "pipeline.yaml") -> RunSummary:
    """Measure witness and irreversibility of every pair of channels of every recording."""
    with open_run(config, "timeseries") as run:
        ingested = ingest(run)
        plan = plan_run(run, ingested)
        findings = measure(run, plan, submit_to(infer_witness))
        return publish_findings(run, ingested, plan, findings)
