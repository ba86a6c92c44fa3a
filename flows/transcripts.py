"""Chat logs: ingestion -> classes -> entropy of behaviour and drift -> store."""

from functools import partial
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture

from flows.runners import ModelPlace, model_place, threads
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
from storage.layout import node_name
from tasks.alignment import infer_behaviour


@flow(name="transcripts", task_runner=threads(16))
def transcripts(config: str = "pipeline.yaml") -> RunSummary:
    """Measure the behaviour of every model and variant under every stress."""
    with open_run(config, "transcripts") as run:
        # A run with nothing to do starts no workers; nothing is then sent to this place.
        place = model_place(run.pipeline.compute.device if run.place != "idle" else "cpu")
        ingested = ingest(run)
        plan = plan_run(run, ingested)
        findings = measure(run, plan, partial(infer, place))
        return publish_findings(run, ingested, plan, findings)


def infer(place: ModelPlace, run: Run, shard: Shard) -> PrefectFuture[Any]:
    """Hand one shard to its task; only a classifier asks for a model's place."""
    encodes = bool(shard.config["classifier"])
    return infer_behaviour.submit(
        shard.id,
        run.repo.ref,
        shard.input.at,
        shard.input.group,
        f"results/transcripts/embeddings/{shard.item}/{node_name(shard.condition)}",
        shard.config,
        str(run.pipeline.folder),
        shard.seed,
        place.device if encodes else "cpu",
        place.resources if encodes else None,
        run.pipeline.compute.timeout,
    )
