"""One topic model a source, in the store with its hash: answers of all its files are comparable.

It is fitted once, to a sample of all sentences of the files that are there, and kept: files that
come later are scored under it. Another encoder, or another parameter of the topics, fits it again.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from prefect import task
from prefect.cache_policies import NO_CACHE

from irrev import readers
from irrev.errors import InputError
from irrev.readers.triplets import Triplet, read_triplets
from irrev.semantic.embeddings import RememberingEncoder, open_encoder
from irrev.semantic.scoring import TEXTS
from irrev.semantic.sentences import split_sentences
from irrev.semantic.topics import TopicModel, fit_topics, load_topics
from storage.inputs import load_input
from storage.layout import TOPICS
from storage.repository import Repository, StoreRef
from tasks.cluster import on_worker, worth_retrying
from tasks.vectors import known_vectors

CORPUS = "results/triplets/embeddings/corpus"  # vectors of the sentences that were fitted


def topics_of(ref: StoreRef, source: str, config: dict[str, Any], folder: str) -> TopicModel:
    """Load the topic model that answers of a source are scored under.

    Raises
    ------
    InputError
        If another model than the planned one lies in the store.
    """
    if config["topics"]["model"]:
        return load_topics(Path(folder) / config["topics"]["model"])
    model = TopicModel.from_dataset(Repository.open(ref).read(f"{TOPICS}/{source}").load())
    if model.model_id != config["topic_model_id"]:
        raise InputError(
            f"the topics of {source} were fitted again ({model.model_id}) while this run was at "
            "work; run again."
        )
    return model


def read_again(triplets: xr.Dataset, reading: dict[str, Any]) -> Iterator[Triplet]:
    """Yield the rows with their texts, which are not in the store.

    Raises
    ------
    InputError
        If the file changed since it was ingested.
    """
    path = Path(triplets.attrs["uri"])
    if readers.content_hash(path) != triplets.attrs["sha256"]:
        raise InputError(f"{path}: changed since it was read; run again.")
    return (row for row in read_triplets(path, **reading) if isinstance(row, Triplet))


def sample_sentences(rows: Iterable[Triplet], size: int, rng: np.random.Generator) -> list[str]:
    """Draw sentences of a corpus evenly, all if there are no more than `size`, in one pass."""
    kept: list[str] = []
    seen = 0
    for row in rows:
        for name in TEXTS:
            for sentence in split_sentences(getattr(row, name)):
                seen += 1
                if len(kept) < size:
                    kept.append(sentence)
                elif (place := int(rng.integers(seen))) < size:
                    kept[place] = sentence
    return kept


def fit_corpus(
    ref: StoreRef,
    source: str,
    places: Sequence[tuple[str, str]],
    config: dict[str, Any],
    folder: str,
    seed: int,
    device: str,
    run_id: str,
) -> str:
    """Fit the topics of a source, commit them, and return their id.

    Parameters
    ----------
    ref
        The store.
    source
        Name of the source.
    places
        Group and snapshot of each of its inputs.
    config
        Stage config of the source.
    folder
        Where relative paths of the configuration start.
    seed
        Of the run.
    device
        Torch device of the encoder.
    run_id
        Written into the version.
    """
    key = int.from_bytes(hashlib.sha256(source.encode()).digest()[:8])
    rng = np.random.default_rng([seed, key])
    rows = (
        row
        for group, at in places
        for row in read_again(load_input(ref, group, at), config["reading"])
    )
    options = {k: v for k, v in config["topics"].items() if k not in ("model", "edition")}
    sentences = sample_sentences(rows, options["max_sentences"], rng)
    if not sentences:
        return ""
    encoder = open_encoder(config["encoder"], folder=folder, device=device)
    vectors_at = f"{CORPUS}/{source}"
    known = known_vectors(ref, sentences, encoder, first=vectors_at)
    remembering = RememberingEncoder(encoder, known.vectors)
    model = fit_topics(remembering.encode(sentences), rng=rng, encoder=encoder.name, **options)
    writes = {
        f"{TOPICS}/{source}": model.to_dataset().assign_attrs(settings=config["topic_settings"])
    }
    if config["keep_vectors"]:
        assert remembering.known is not None
        writes[vectors_at] = known.fresh(remembering.known.only(sentences)).to_dataset()
    Repository.open(ref).commit(
        writes, message=f"topics of {source}: {model.model_id}", metadata={"run_id": run_id}
    )
    return model.model_id


@task(
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="topics {source}",
)
def infer_topics(
    source: str,
    ref: StoreRef,
    places: Sequence[tuple[str, str]],
    config: dict[str, Any],
    folder: str,
    seed: int,
    device: str,
    resources: dict[str, float] | None,
    run_id: str,
) -> str:
    """Fit the topics of a source on a worker that has `resources`."""
    args = (ref, source, places, config, folder, seed, device, run_id)
    return on_worker(fit_corpus, args, resources=resources)
