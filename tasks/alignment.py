"""Behaviour of one stream: read its answers, give each its class, measure."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from irrev.alignment.alerts import StreamKey
from irrev.alignment.classifier import load_classifier
from irrev.alignment.monitor import Watch
from irrev.alignment.records import classes_of, measure_behaviour
from irrev.alignment.taxonomy import NO_CLASS, Taxonomy
from irrev.errors import InputError
from irrev.readers import content_hash
from irrev.readers.transcripts import Turn, named, read_turns
from irrev.semantic.embeddings import open_encoder
from storage.inputs import load_input
from storage.repository import StoreRef
from tasks.cluster import on_worker, worth_retrying

LABELS = "labels of the source"


def classify(
    turns: xr.Dataset, config: dict[str, Any], taxonomy: Taxonomy
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None, NDArray[np.int64] | None, str]:
    """Give every answer its class: by the source's labels, or by a classifier over its text.

    Texts are not in the store: a classifier reads them again from the source.

    Returns
    -------
        Classes, posteriors and confusion counts of the classifier if there is one, its version.
    """
    if not config["classifier"]:
        return classes_of(turns, config["labels"], taxonomy=taxonomy), None, None, LABELS
    path = Path(turns.attrs["uri"])
    if content_hash(path) != turns.attrs["sha256"]:
        raise InputError(f"{path}: changed since it was read; run again.")
    model = load_classifier(config["classifier"]["path"])
    if model.classes != taxonomy.classes:
        raise InputError(f"the classifier knows {model.classes}; set the same taxonomy.")
    encoder = open_encoder(config["classifier"]["encoder"])
    reading = {k: config["reading"][k] for k in ("format", "fields")}
    found = read_turns(path, naming=named(config["reading"]), **reading)
    said = [t for t in found if isinstance(t, Turn)]
    posteriors = model.predict_texts([t.answer for t in said], [t.question for t in said], encoder)
    classes = np.where(turns["answer_bytes"].to_numpy() > 0, posteriors.argmax(axis=1), NO_CLASS)
    return classes, posteriors, model.validation.confusion_counts, model.version


def measure_stream(
    ref: StoreRef, at: str, place: str, config: dict[str, Any], seed: int
) -> dict[str, xr.Dataset]:
    """Measure the behaviour of one model and variant under one stress.

    Returns
    -------
        `row` (one shard of kind transcripts/ethical_entropy without its identity) and `series`.
    """
    start = time.perf_counter()
    taxonomy = Taxonomy(**{k: frozen(v) for k, v in config["taxonomy"].items()})
    turns = load_input(ref, place, at)
    classes, posteriors, confusion, version = classify(turns, config, taxonomy)
    model, variant, stress = config["selection"]
    chosen = np.asarray(
        (turns["model"] == model) & (turns["variant"] == variant) & (turns["stress"] == stress)
    )
    row, series = measure_behaviour(
        turns.isel(answer=chosen),
        classes[chosen],
        StreamKey(model, variant, stress, version),
        Watch(**{k: frozen(v) for k, v in config["watch"].items()}),
        taxonomy=taxonomy,
        confusion=confusion if config["correct"] else None,
        posteriors=None if posteriors is None else posteriors[chosen],
        seed=seed,
    )
    seconds = ("shard", np.array([time.perf_counter() - start]))
    return {"row": row.assign(seconds=seconds), "series": series}


def frozen(value: Any) -> Any:
    """Turn a list of the configuration into the tuple that frozen parameters hold."""
    return tuple(value) if isinstance(value, list) else value


@task(
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="behaviour {name}",
)
def infer_behaviour(
    name: str,
    ref: StoreRef,
    at: str,
    place: str,
    config: dict[str, Any],
    seed: int,
    timeout_s: float,
) -> dict[str, xr.Dataset]:
    """Measure one stream where work runs."""
    return on_worker(measure_stream, (ref, at, place, config, seed), timeout_s=timeout_s)
