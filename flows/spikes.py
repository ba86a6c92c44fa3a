"""Spike trains: ingestion -> MaxEnt entropy production and further estimates -> store."""

from functools import partial

from prefect import flow

from flows.blocks import is_plain
from flows.measuring import measure
from flows.runners import ModelPlace, model_place, threads
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
from irrev.ep.further import further_names, in_folds
from tasks.batches import Step
from tasks.entropy_production import infer_many, infer_maxent
from tasks.pieces import drop_pieces

STREAM_FROM = 50_000_000  # spikes: 400 MB of times
FOLDS_FROM_S = 1.0  # of the main estimate: a fold of a nested family is then worth a piece
IDLE = ModelPlace(None, "cpu", "")


@flow(name="spikes", task_runner=threads())
def spikes(config: str = "pipeline.yaml", scope: Scope = WHOLE) -> RunSummary:
    """Infer the entropy production of every recording under every condition."""
    with open_run(config, "spikes", scope) as run:
        place = model_place(run.pipeline.compute.device) if run.place != "idle" else IDLE
        ingested = ingest(run)
        plan = plan_run(run, ingested)
        findings = measure(run, plan, partial(infer, place))
        summary = publish_findings(run, ingested, plan, findings)
        drop_pieces(run.repo.ref, {p.shard.key for p in plan.todo})
        return summary


def infer(place: ModelPlace, run: Run, shard: Shard) -> Step:
    """Hand one shard to its task: whole, in pieces, or chunk by chunk."""
    timeout = run.pipeline.compute.timeout
    where = (run.repo.ref, shard.input.at, shard.input.group, shard.config, shard.seed)
    further, streamed = further_names(shard.config["further"]), streams(shard)
    if run.spec.cost(shard.input.size, shard.config).seconds > FOLDS_FROM_S:
        further = in_folds(further, shard.config["ep"]["folds"])
    if further or streamed:
        how = (further, streamed, place.device, place.resources)
        return Step(infer_many, (shard.id, shard.key, *where, *how, timeout))
    return Step(infer_maxent, (shard.id, *where, timeout))


def streams(shard: Shard) -> bool:
    """Say whether a shard goes chunk by chunk; this depends on the data and not on the place."""
    wish = shard.config["stream"]
    large = shard.input.size.get("spike", 0) >= STREAM_FROM
    return wish == "always" or (wish == "auto" and large and is_plain(shard.config["ep"]))
