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
from irrev.diffusion import TRAINING_VERSION
from storage.inputs import scratch_place
from storage.lookup import content_key
from tasks.batches import Step
from tasks.diffusion import StudyRef, measure_study, train_model
from tasks.pieces import drop_pieces

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
        summary = publish_findings(run, ingested, plan, findings)
        drop_pieces(run.repo.ref, {p.shard.key for p in plan.todo})
        return summary


def model_of(run: Run, ingested: Ingested) -> tuple[str, str] | None:
    """Find the trained model in the store, or train it; None for models that need none."""
    model = run.spec.stage_config(run.block, None)["model"]
    if model["kind"] != "digits":
        return None
    training = {name: model[name] for name in ("kind", "steps", "seed")}
    key = content_key({"train": training, "version": TRAINING_VERSION})
    group, at = f"models/digits-{key[:12]}", run.repo.resolve()
    if run.repo.has(group, at=at):
        return group, at
    timeout = run.pipeline.compute.timeout
    ingested.new[group] = train_model.submit(
        "digits", run.repo.ref, key, training, timeout
    ).result()
    return scratch_place(key), run.pending.snapshot()


def infer(model_at: tuple[str, str] | None, place: ModelPlace, run: Run, shard: Shard) -> Step:
    """Hand one shard to its task."""
    study_at = StudyRef(
        ref=run.repo.ref,
        at=shard.input.at,
        group=shard.input.group,
        model_at=model_at,
        config=shard.stage.json,
        folder=str(run.pipeline.folder),
        seed=shard.seed,
        device=place.device,
        note=place.note,
    )
    arguments = (study_at, shard.key, place.resources, run.pipeline.compute.timeout)
    return Step(measure_study, arguments)
