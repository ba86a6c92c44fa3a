"""Questions, contexts, answers: ingestion -> topics -> faithfulness and its fellows -> store."""

from functools import partial

from prefect import flow

from flows.measuring import measure
from flows.runners import ModelPlace, model_place, threads
from flows.scope import WHOLE, Scope
from flows.shards import Shard
from flows.steps import (
    Ingested,
    Run,
    RunSummary,
    ingest,
    open_run,
    plan_run,
    publish_findings,
)
from storage.layout import node_name
from tasks.batches import Step
from tasks.semantic import infer_faithfulness
from tasks.topics import infer_topics


@flow(name="triplets", task_runner=threads())
def triplets(config: str = "pipeline.yaml", scope: Scope = WHOLE) -> RunSummary:
    """Score every answer of every source."""
    with open_run(config, "triplets", scope) as run:
        # A run with nothing to do starts no workers; nothing is then sent to this place.
        place = model_place(run.pipeline.compute.device if run.place != "idle" else "cpu")
        ingested = ingest(run)
        fit_missing_topics(place, run, ingested)
        plan = plan_run(run, ingested)
        findings = measure(run, plan, partial(infer, place))
        return publish_findings(run, ingested, plan, findings)


def fit_missing_topics(place: ModelPlace, run: Run, ingested: Ingested) -> None:
    """Fit the topics of every source that has no model under its present parameters."""
    shards = [p.shard for p in plan_run(run, ingested).shards]
    futures = []
    for source in {s.source for s in shards if s.config.get("topic_model_id") == ""}:
        mine = [s for s in shards if s.source == source]
        futures.append(
            infer_topics.submit(
                source,
                run.repo.ref,
                [(s.input.group, s.input.at) for s in mine],
                mine[0].config,
                str(run.pipeline.folder),
                run.pipeline.seed,
                place.device,
                place.resources,
                run.id,
            )
        )
    for future in futures:
        future.result()


def infer(place: ModelPlace, run: Run, shard: Shard) -> Step:
    """Hand one shard to its task."""
    arguments = (
        shard.id,
        run.repo.ref,
        shard.input.at,
        shard.input.group,
        shard.source,
        f"results/triplets/embeddings/{shard.item}/{node_name(shard.condition)}",
        shard.config,
        str(run.pipeline.folder),
        shard.seed,
        place.device,
        place.resources,
        run.pipeline.compute.timeout,
    )
    return Step(infer_faithfulness, arguments)
