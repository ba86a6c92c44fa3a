"""Behaviour of one stream: read its answers, give each its class, measure."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.alignment.alerts import StreamKey
from irrev.alignment.classifier import BehaviourClassifier, load_classifier
from irrev.alignment.monitor import Watch
from irrev.alignment.records import classes_of, measure_behaviour
from irrev.alignment.taxonomy import NO_CLASS, Taxonomy
from irrev.errors import InputError
from irrev.readers import content_hash
from irrev.readers.transcripts import Turn, named, read_turns
from irrev.semantic.embeddings import Embeddings, RememberingEncoder, open_encoder
from storage.inputs import load_input
from storage.repository import StoreRef
from tasks.cluster import on_worker
from tasks.vectors import known_vectors

LABELS = "labels of the source"


@dataclass(frozen=True, slots=True)
class Classified:
    """Classes of the answers that were asked for, and what gave them."""

    classes: NDArray[np.int64]  # (answer,), -1 where there is none or it was not asked for
    posteriors: NDArray[np.float64] | None  # (answer, class), NaN where not asked for
    confusion: NDArray[np.int64] | None
    version: str
    calibration_ok: bool
    vectors: Embeddings | None  # of the texts that were read, without those stored elsewhere


def open_classifier(
    config: dict[str, Any], taxonomy: Taxonomy, folder: str
) -> BehaviourClassifier | None:
    """Load the classifier of a source; None where the labels of the source are used.

    Raises
    ------
    InputError
        If it knows other classes than the taxonomy.
    """
    if not config["classifier"]:
        return None
    model = load_classifier(Path(folder) / config["classifier"]["path"])
    if model.classes != taxonomy.classes:
        raise InputError(f"the classifier knows {model.classes}; set the same taxonomy.")
    return model


def classify(
    ref: StoreRef,
    turns: xr.Dataset,
    asked: NDArray[np.bool_],
    config: dict[str, Any],
    taxonomy: Taxonomy,
    *,
    folder: str = "",
    device: str = "cpu",
    vectors_at: str = "",
) -> Classified:
    """Give answers their classes: by the source's labels, or by a classifier over their texts.

    Texts are not in the store: a classifier reads those that are asked for again from the source.
    Their vectors come from the store where an earlier run has left them.

    Parameters
    ----------
    ref
        The store.
    turns
        Of kind `transcripts`, with the path and hash of its file.
    asked
        Which answers, shape (answer,).
    config
        `classifier`, `labels`, `reading`.
    taxonomy
        Classes.
    folder
        Where relative paths of the configuration start.
    device
        Torch device of the encoder, or `auto`.
    vectors_at
        Group of the store to look into first.
    """
    model = open_classifier(config, taxonomy, folder)
    if model is None:
        classes = classes_of(turns, config["labels"], taxonomy=taxonomy)
        return Classified(np.where(asked, classes, NO_CLASS), None, None, LABELS, True, None)
    rows = np.flatnonzero(asked & (turns["answer_bytes"].to_numpy() > 0))
    classes = np.full(asked.size, NO_CLASS)
    posteriors = np.full((asked.size, len(model.classes)), np.nan)
    encoder = open_encoder(config["classifier"]["encoder"], folder=folder, device=device)
    said = read_again(turns, rows, config["reading"])
    answers, questions = [t.answer for t in said], [t.question for t in said]
    texts = answers if model.segments == "assistant" else [*answers, *questions]
    known = known_vectors(ref, texts, encoder, first=vectors_at)
    remembering = RememberingEncoder(encoder, known.vectors)
    if rows.size:
        posteriors[rows] = model.predict_texts(answers, questions, remembering)
        classes[rows] = posteriors[rows].argmax(axis=1)
    return Classified(
        classes,
        posteriors,
        model.validation.confusion_counts,
        model.version,
        model.calibration_ok,
        known.fresh(remembering.known.only(texts)) if remembering.known else None,
    )


def read_again(turns: xr.Dataset, rows: NDArray[np.intp], reading: dict[str, Any]) -> list[Turn]:
    """Return some turns with their texts; memory is that of these turns.

    Raises
    ------
    InputError
        If the file changed since it was ingested.
    """
    path = Path(turns.attrs["uri"])
    if content_hash(path) != turns.attrs["sha256"]:
        raise InputError(f"{path}: changed since it was read; run again.")
    wanted = np.zeros(turns.sizes["answer"], dtype=np.bool_)
    wanted[rows] = True
    options = {k: reading[k] for k in ("format", "fields")}
    found = read_turns(path, naming=named(reading), **options)
    said = (t for t in found if isinstance(t, Turn))
    return [t for t, keep in zip(said, wanted, strict=True) if keep]


def measure_stream(
    ref: StoreRef,
    at: str,
    place: str,
    vectors_at: str,
    config: dict[str, Any],
    folder: str,
    seed: int,
    device: str,
) -> dict[str, xr.Dataset]:
    """Measure the behaviour of one model and variant under one stress.

    Returns
    -------
        `row` (one shard of kind transcripts/ethical_entropy without its identity), `series` and,
        if wanted, `embeddings`.
    """
    start = time.perf_counter()
    taxonomy = Taxonomy(**{k: frozen(v) for k, v in config["taxonomy"].items()})
    turns = load_input(ref, place, at)
    model, variant, stress = config["selection"]
    chosen = np.asarray(
        (turns["model"] == model) & (turns["variant"] == variant) & (turns["stress"] == stress)
    )
    found = classify(
        ref,
        turns,
        chosen,
        config,
        taxonomy,
        folder=folder,
        device=device,
        vectors_at=vectors_at,
    )
    row, series = measure_behaviour(
        turns.isel(answer=chosen),
        found.classes[chosen],
        StreamKey(model, variant, stress, found.version),
        Watch(**{k: frozen(v) for k, v in config["watch"].items()}),
        taxonomy=taxonomy,
        confusion=found.confusion,
        correct=config["correct"],
        posteriors=None if found.posteriors is None else found.posteriors[chosen],
        calibration_ok=found.calibration_ok,
        seed=seed,
    )
    seconds = ("shard", np.array([time.perf_counter() - start]))
    parts = {"row": row.assign(seconds=seconds), "series": series}
    if found.vectors is not None and config["keep_vectors"]:
        parts["embeddings"] = found.vectors.to_dataset()
    return parts


def frozen(value: Any) -> Any:
    """Turn a list of the configuration into the tuple that frozen parameters hold."""
    return tuple(value) if isinstance(value, list) else value


def infer_behaviour(
    name: str,
    ref: StoreRef,
    at: str,
    place: str,
    vectors_at: str,
    config: dict[str, Any],
    folder: str,
    seed: int,
    device: str,
    resources: dict[str, float] | None,
    timeout_s: float,
) -> dict[str, xr.Dataset]:
    """Measure one stream on a worker that has `resources`."""
    return on_worker(
        measure_stream,
        (ref, at, place, vectors_at, config, folder, seed, device),
        resources=resources,
        timeout_s=timeout_s,
    )
