"""Chat logs: ingestion -> classes -> entropy of behaviour and drift -> store."""

from dataclasses import replace
from functools import partial

from prefect import flow

from flows.blocks import TranscriptsBlock
from flows.measuring import measure
from flows.pairs import comparison_config, comparison_key, find_pairs, known_key
from flows.plan import Plan
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
from storage.layout import node_name
from tasks.alignment import infer_behaviour
from tasks.batches import Step
from tasks.comparison import infer_alignment_work


@flow(name="transcripts", task_runner=threads())
def transcripts(config: str = "pipeline.yaml", scope: Scope = WHOLE) -> RunSummary:
    """Measure the behaviour of every model and variant under every stress."""
    with open_run(config, "transcripts", scope) as run:
        # A run with nothing to do starts no workers; nothing is then sent to this place.
        place = model_place(run.pipeline.compute.device if run.place != "idle" else "cpu")
        ingested = ingest(run)
        plan = plan_run(run, ingested)
        findings = measure(run, plan, partial(infer, place))
        summary = publish_findings(run, ingested, plan, findings)
        return replace(summary, version=compare(run, plan, summary.version))


def compare(run: Run, plan: Plan, version: str) -> str:
    """Set tuned models beside their base models, if a series of theirs is new.

    A run of a part of the pipeline does not know all streams and leaves the table as it is.
    """
    assert isinstance(run.block, TranscriptsBlock)
    if not run.scope.whole:
        return version
    bad = {name for name, _ in plan.quarantined}
    pairs = find_pairs([p.shard for p in plan.shards if p.shard.id not in bad], run.block.base_of)
    pairs = [(pair, keys) for pair, keys in pairs if run.repo.has(pair.tuned_at)]
    config = comparison_config(run.block)
    key = comparison_key(pairs, config)
    if not pairs or key == known_key(run.repo):
        return version
    return infer_alignment_work(run.repo.ref, [p for p, _ in pairs], config, key, run.id)


def infer(place: ModelPlace, run: Run, shard: Shard) -> Step:
    """Hand one shard to its task; only a classifier asks for a model's place."""
    encodes = bool(shard.config["classifier"])
    arguments = (
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
    return Step(infer_behaviour, arguments)
