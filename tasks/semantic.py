"""Faithfulness of one source of triplets: read its texts again, embed, fit topics, score."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from irrev import readers
from irrev.errors import InputError
from irrev.readers.triplets import Triplet, read_triplets
from irrev.semantic.embeddings import Embeddings, Encoder, embed, open_encoder
from irrev.semantic.records import answer_table, faithfulness_row
from irrev.semantic.scoring import faithfulness, sentences_of
from irrev.semantic.topics import TopicModel, fit_topics, load_topics
from storage.inputs import load_input
from storage.repository import Repository, StoreRef
from tasks.cluster import on_worker, worth_retrying


def read_again(triplets: xr.Dataset, reading: dict[str, Any]) -> list[Triplet]:
    """Return the rows with their texts, which are not in the store.

    Raises
    ------
    InputError
        If the file changed since it was ingested.
    """
    path = Path(triplets.attrs["uri"])
    if readers.content_hash(path) != triplets.attrs["sha256"]:
        raise InputError(f"{path}: changed since it was read; run again.")
    return [row for row in read_triplets(path, **reading) if isinstance(row, Triplet)]


def known_vectors(ref: StoreRef, place: str, encoder: Encoder) -> Embeddings | None:
    """Return what an earlier run embedded with the same encoder, or None."""
    repo = Repository.open(ref)
    if not repo.has(place):
        return None
    known = Embeddings.from_dataset(repo.read(place).load())
    return known if known.encoder_sha256 == encoder.sha256 else None


def topic_model(
    vectors: NDArray[np.float32],
    encoder: Encoder,
    config: dict[str, Any],
    rng: np.random.Generator,
) -> TopicModel:
    """Read the topic model that the configuration names, or fit one to these sentences."""
    options = {name: value for name, value in config.items() if name != "model"}
    if config["model"]:
        return load_topics(config["model"])
    return fit_topics(vectors, rng=rng, encoder=encoder.name, **options)


def measure_faithfulness(
    ref: StoreRef,
    at: str,
    group: str,
    vectors_at: str,
    config: dict[str, Any],
    seed: int,
    device: str,
) -> dict[str, xr.Dataset]:
    """Score every answer of one source under one topic model.

    Returns
    -------
        `row` (one shard of kind triplets/faithfulness without its identity), `answers`, `topics`
        and, if wanted, `embeddings`.
    """
    start = time.perf_counter()
    triplets = load_input(ref, group, at)
    rows = read_again(triplets, config["reading"])
    if not rows:
        raise InputError(f"{triplets.attrs['uri']}: no usable triplet; see its bad lines.")
    encoder = open_encoder(config["encoder"], device=device)
    texts = [[getattr(r, name) for r in rows] for name in ("question", "context", "answer")]
    sentences = sentences_of(*texts)
    vectors = embed(sentences, encoder, known=known_vectors(ref, vectors_at, encoder))
    rng = np.random.default_rng(seed)
    topics = topic_model(vectors.lookup(sentences), encoder, config["topics"], rng)
    scores = faithfulness(
        *texts,
        encoder=encoder,
        topics=topics,
        known=vectors,
        ids=[r.id for r in rows],
        seed=seed,
        **config["scoring"],
    )
    row = faithfulness_row(
        scores,
        group=[r.group for r in rows],
        label=[r.label for r in rows],
        supported=config["supported"],
        unsupported=config["unsupported"],
        **config["interval"],
        fdr=config["fdr"],
        rng=rng,
    )
    parts = {"answers": answer_table(scores, triplets), "topics": topics.to_dataset()}
    if config["keep_vectors"]:
        parts["embeddings"] = vectors.only(sentences).to_dataset()
    seconds = ("shard", np.array([time.perf_counter() - start]))
    return {"row": row.assign(seconds=seconds), **parts}


@task(
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="faithfulness {name}",
)
def infer_faithfulness(
    name: str,
    ref: StoreRef,
    at: str,
    group: str,
    vectors_at: str,
    config: dict[str, Any],
    seed: int,
    device: str,
    resources: dict[str, float] | None,
    timeout_s: float,
) -> dict[str, xr.Dataset]:
    """Score one source on a worker that has `resources`."""
    return on_worker(
        measure_faithfulness,
        (ref, at, group, vectors_at, config, seed, device),
        resources=resources,
        timeout_s=timeout_s,
    )
