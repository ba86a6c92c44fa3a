"""Faithfulness of one source of triplets: read its texts again, embed, assign topics, score."""

import time
from typing import Any

import numpy as np
import xarray as xr

from irrev.errors import InputError
from irrev.semantic.embeddings import embed, open_encoder
from irrev.semantic.records import answer_table, faithfulness_row
from irrev.semantic.scoring import TEXTS, faithfulness, sentences_of
from storage.inputs import load_input
from storage.repository import StoreRef
from tasks.cluster import on_worker
from tasks.topics import read_again, topics_of
from tasks.vectors import known_vectors


def measure_faithfulness(
    ref: StoreRef,
    at: str,
    group: str,
    source: str,
    vectors_at: str,
    config: dict[str, Any],
    folder: str,
    seed: int,
    device: str,
) -> dict[str, xr.Dataset]:
    """Score every answer of one file under the topic model of its source.

    Returns
    -------
        `row` (one shard of kind triplets/faithfulness without its identity), `answers` and, if
        wanted, `embeddings`.
    """
    start = time.perf_counter()
    triplets = load_input(ref, group, at)
    rows = list(read_again(triplets, config["reading"]))
    if not rows:
        raise InputError(f"{triplets.attrs['uri']}: no usable triplet; see its bad lines.")
    encoder = open_encoder(config["encoder"], folder=folder, device=device)
    texts = [[getattr(r, name) for r in rows] for name in TEXTS]
    sentences = sentences_of(*texts)
    known = known_vectors(ref, sentences, encoder, first=vectors_at)
    vectors = embed(sentences, encoder, known=known.vectors)
    scores = faithfulness(
        *texts,
        encoder=encoder,
        topics=topics_of(ref, source, config, folder),
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
        rng=np.random.default_rng(seed),
    )
    parts = {"answers": answer_table(scores, triplets)}
    if config["keep_vectors"]:
        parts["embeddings"] = known.fresh(vectors.only(sentences)).to_dataset()
    seconds = ("shard", np.array([time.perf_counter() - start]))
    return {"row": row.assign(seconds=seconds), **parts}


def infer_faithfulness(
    name: str,
    ref: StoreRef,
    at: str,
    group: str,
    source: str,
    vectors_at: str,
    config: dict[str, Any],
    folder: str,
    seed: int,
    device: str,
    resources: dict[str, float] | None,
    timeout_s: float,
) -> dict[str, xr.Dataset]:
    """Score one file on a worker that has `resources`."""
    return on_worker(
        measure_faithfulness,
        (ref, at, group, source, vectors_at, config, folder, seed, device),
        resources=resources,
        timeout_s=timeout_s,
    )
