"""Diffusion models: samples and a model -> decisions, information and cost -> store."""

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
from storage.inputs import scratch_place
from storage.lookup import content_key
from tasks.batches import Step
from tasks.diffusion import infer_diffusion, train_model

IDLE = ModelPlace(None, "cpu", "")


@flow(name="diffusion", task_runner=threads())
def diffusion(config: str = "pipeline.yaml", scope: Scope = WHOLE) -> RunSummary:
    """Follow paths of data and of the model over the noise levels, for every source."""
    with open_run(config, "diffusion", scope) as run:
        working = run.place != "idle"
        place = model_place(run.pipeline.compute.device) if working else IDLE
        ingested = ingest(run)
        plan = plan_run(run, ingested)
        model_at = model_of(run, ingested) if plan.todo else None
        findings = measure(run, plan, partial(infer, model_at, place))
        return publish_findings(run, ingested, plan, findings)


def model_of(run: Run, ingested: Ingested) -> tuple[str, str] | None:
    """Find the trained model in the store, or train it; None for models that need none."""
    model = run.spec.stage_config(run.block, None)["model"]
    if model["kind"] != "digits":
        return None
    key = content_key({"train": model, "version": run.spec.version})
    group, at = f"models/digits-{key[:12]}", run.repo.resolve()
    if run.repo.has(group, at=at):
        return group, at
    timeout = run.pipeline.compute.timeout
    ingested.new[group] = train_model.submit("digits", run.repo.ref, key, model, timeout).result()
    return scratch_place(key), run.pending.snapshot()


def infer(model_at: tuple[str, str] | None, place: ModelPlace, run: Run, shard: Shard) -> Step:
    """Hand one shard to its task."""
    arguments = (
        shard.id,
        run.repo.ref,
        shard.input.at,
        shard.input.group,
        model_at,
        shard.config,
        shard.seed,
        place.device,
        place.note,
        place.resources,
        run.pipeline.compute.timeout,
    )
    return Step(infer_diffusion, arguments)
