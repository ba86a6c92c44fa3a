"""Time series: ingestion -> cross-spectral witness of all pairs -> store."""

from prefect import flow

from flows.measuring import StepOf, measure, submit_to
from flows.plan import items_of
from flows.runners import threads
from flows.scope import WHOLE, Scope
from flows.shards import Shard
from flows.steps import (
    Run,
    RunSummary,
    ingest,
    open_run,
    plan_run,
    publish_findings,
)
from tasks.batches import Step
from tasks.witness import infer_witness, infer_witness_in_place


@flow(name="timeseries", task_runner=threads())
def timeseries(config: str = "pipeline.yaml", scope: Scope = WHOLE) -> RunSummary:
    """Measure witness and irreversibility of every pair of channels of every recording."""
    with open_run(config, "timeseries", scope) as run:
        ingested = ingest(run)
        plan = plan_run(run, ingested)
        findings = measure(run, plan, _step_of(run))
        return publish_findings(run, ingested, plan, findings)


def _step_of(run: Run) -> StepOf:
    """Measure records in memory, or piece by piece from the file that they stay in."""
    in_memory = submit_to(infer_witness)
    places = {item.name: str(item.path) for item in items_of(run.pipeline, "timeseries")}

    def step(run: Run, shard: Shard) -> Step:
        if "piece" not in shard.config["witness"]:
            return in_memory(run, shard)
        place = (shard.id, run.repo.ref, shard.input.at, shard.input.group, places[shard.item])
        return Step(infer_witness_in_place, (*place, shard.config, run.pipeline.compute.timeout))

    return step
