"""Time series: ingestion -> cross-spectral witness of all pairs -> store."""

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
from tasks.witness import infer_witness


@flow(name="timeseries", task_runner=threads())
def timeseries(config: str = "pipeline.yaml", scope: Scope = WHOLE) -> RunSummary:
    """Measure witness and irreversibility of every pair of channels of every recording."""
    with open_run(config, "timeseries", scope) as run:
        ingested = ingest(run)
        plan = plan_run(run, ingested)
        findings = measure(run, plan, submit_to(infer_witness))
        return publish_findings(run, ingested, plan, findings)
