"""Questions, contexts, answers: ingestion -> faithfulness, entropy production -> store."""

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
from tasks.semantic import infer_faithfulness


@flow(name="triplets", task_runner=threads(16))
def triplets(config: str = "pipeline.yaml") -> RunSummary:
    """Score every answer of every source."""
    with open_run(config, "triplets") as run:
        # A run with nothing to do starts no workers; nothing is then sent to this place.
        place = model_place(run.pipeline.compute.device if run.place != "idle" else "cpu")
        ingested = ingest(run)
        plan = plan_run(run, ingested)
        findings = measure(run, plan, partial(infer, place))
        return publish_findings(run, ingested, plan, findings)


def infer(place: ModelPlace, run: Run, shard: Shard) -> PrefectFuture[Any]:
    """Hand one shard to its task."""
    return infer_faithfulness.submit(
        shard.id,
        run.repo.ref,
        shard.input.at,
        shard.input.group,
        f"results/triplets/embeddings/{shard.item}/{node_name(shard.condition)}",
        shard.config,
        shard.seed,
        place.device,
        place.resources,
        run.pipeline.compute.timeout,
    )
