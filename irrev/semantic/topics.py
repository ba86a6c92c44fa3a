"""Unit vectors -> topics, counts of sentences per topic, and one model for a whole corpus.

    k-means: topic of x = argmin_c |x - mu_c|^2                                            (1)
    UDIB:    topic of x = argmin_c |x - mu_c|^2 + V_c - tau ln(n_c / n)                    (2)
    soft:    r_c(x) = softmax_c(-|x - mu_c|^2 / T)                                         (3)

mu_c is the mean of a topic, V_c the mean squared distance to it: |x - mu_c|^2 + V_c is the mean
squared distance of x to the topic's members, so one pass costs O(n K d) (identity derived here).
Counts are sums of (1), (2) or (3) over the sentences of a text.

Scores from different topic models are not comparable. For many triplets fit once on a sample of
all sentences, keep the model with its `model_id` (a hash of all that decides an assignment), and
assign; a fit per triplet, as published for single ones, gives each triplet a scale of its own.

Source: UDIB and the number-of-topics rule: Halperin, arXiv:2509.03533; k-means++: Arthur,
Vassilvitskii, SODA 2007; the soft assignment is ours.
"""

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.errors import FormatError, InputError
from irrev.semantic.udib import sweep_temperature

METHOD_VERSION = 1
SOFT_TEMPERATURE = 0.1  # squared distance of unit vectors runs from 0 to 4
MAX_LLOYD_STEPS = 200
MIN_TOPICS, MAX_TOPICS = 3, 20
FIT_SENTENCES = 20_000  # a sample of so many fixes 20 centres well enough


@dataclass(frozen=True, slots=True)
class TopicModel:
    """Centres of topics and what else decides an assignment."""

    centroids: NDArray[np.float64]  # (topic, dimension)
    offset: NDArray[np.float64]  # (topic,), V_c - tau ln(n_c / n) of eq. (2); zero for k-means
    method: str
    encoder: str  # name of the encoder of the vectors it was fitted on
    n_fitted: int  # sentences it was fitted on

    @property
    def n_topics(self) -> int:
        """Number of topics."""
        return len(self.centroids)

    @property
    def model_id(self) -> str:
        """First 16 digits of the SHA-256 of centres, offsets, method and encoder."""
        digest = hashlib.sha256(f"{self.method}\0{self.encoder}\0".encode())
        digest.update(np.ascontiguousarray(self.centroids, dtype="<f8").tobytes())
        digest.update(np.ascontiguousarray(self.offset, dtype="<f8").tobytes())
        return digest.hexdigest()[:16]

    def to_dataset(self) -> xr.Dataset:
        """Return the kind `semantic/topics`."""
        return xr.Dataset(
            {
                "centroid": (("topic", "dimension"), self.centroids),
                "offset": ("topic", self.offset),
            },
            attrs={
                "topic_model_id": self.model_id,
                "method": self.method,
                "encoder": self.encoder,
                "n_fitted": self.n_fitted,
            },
        )

    @classmethod
    def from_dataset(cls, ds: xr.Dataset) -> "TopicModel":
        """Read what `to_dataset` wrote.

        Raises
        ------
        InputError
            If the numbers do not give the stored `topic_model_id`.
        """
        model = cls(
            ds["centroid"].to_numpy(),
            ds["offset"].to_numpy(),
            ds.attrs["method"],
            ds.attrs["encoder"],
            int(ds.attrs["n_fitted"]),
        )
        if model.model_id != ds.attrs["topic_model_id"]:
            raise InputError(
                f"topic model {ds.attrs['topic_model_id']} hashes to {model.model_id}: its "
                "numbers were changed; fit it again."
            )
        return model


def save_topics(model: TopicModel, path: str | Path) -> None:
    """Write a topic model to an NPZ file, so that later answers are scored under the same one."""
    attrs = np.array(json.dumps(model.to_dataset().attrs))
    np.savez(path, attrs=attrs, centroid=model.centroids, offset=model.offset)


def load_topics(path: str | Path) -> TopicModel:
    """Read what `save_topics` wrote.

    Raises
    ------
    FormatError
        If the file is none of ours.
    InputError
        If its numbers do not give its `topic_model_id`.
    """
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            attrs = json.loads(str(file["attrs"]))
            columns = {"centroid": (("topic", "dimension"), file["centroid"])}
            ds = xr.Dataset({**columns, "offset": ("topic", file["offset"])}, attrs=attrs)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise FormatError(
            f"{path}: no topic model ({error}); write one by save_topics."
        ) from error
    return TopicModel.from_dataset(ds)


def default_n_topics(n_sentences: int) -> int:
    """Return the number of topics for a corpus: the root of its sentences, within 3 and 20.

    Examples
    --------
    >>> default_n_topics(150), default_n_topics(100_000)
    (12, 20)
    """
    return max(MIN_TOPICS, min(MAX_TOPICS, int(np.sqrt(n_sentences))))


def fit_topics(
    vectors: NDArray[np.floating],
    *,
    rng: np.random.Generator,
    method: Literal["kmeans", "udib"] = "kmeans",
    n_topics: int | None = None,
    n_starts: int = 4,
    max_sentences: int = FIT_SENTENCES,
    encoder: str = "",
) -> TopicModel:
    """Cluster sentence vectors into topics.

    Parameters
    ----------
    vectors
        Unit vectors, shape (sentence, dimension).
    rng
        Source of the starting points.
    method
        `kmeans`, or `udib`, which finds the number of topics itself.
    n_topics
        Number of topics of k-means; `default_n_topics` if not given.
    n_starts
        Starts of k-means; the one of least squared distance is kept.
    max_sentences
        Of more sentences than that, as many are drawn at random.
    encoder
        Name of the encoder, kept with the model.

    Returns
    -------
        The topic model, at most as many topics as distinct vectors.

    Raises
    ------
    InputError
        If there is no vector, a vector is not finite, or `n_topics` is given for UDIB.
    """
    x = np.asarray(vectors, dtype=np.float64)
    if x.ndim != 2 or not len(x) or not np.isfinite(x).all():
        raise InputError(
            f"vectors have shape {x.shape} and must be a non-empty finite (sentence, dimension) "
            "array; embed at least one sentence."
        )
    if len(x) > max_sentences:
        x = x[rng.choice(len(x), max_sentences, replace=False)]
    if method == "udib":
        if n_topics is not None:
            raise InputError(f"UDIB finds the number of topics; drop n_topics={n_topics}.")
        centroids, offset = sweep_temperature(x, plus_plus(x, min(15, len(x)), rng))
        return TopicModel(centroids, offset, "udib", encoder, len(x))
    n_topics = min(n_topics or default_n_topics(len(x)), len(np.unique(x, axis=0)))
    runs = [lloyd(x, plus_plus(x, n_topics, rng)) for _ in range(n_starts)]
    centroids = min(runs, key=lambda c: float(squared_distances(x, c).min(1).sum()))
    return TopicModel(centroids, np.zeros(len(centroids)), "kmeans", encoder, len(x))


def memberships(
    vectors: NDArray[np.floating], model: TopicModel, *, soft: bool = False
) -> NDArray[np.float64]:
    """Assign sentences to topics.

    Parameters
    ----------
    vectors
        Unit vectors, shape (sentence, dimension).
    model
        The topic model.
    soft
        Responsibilities (3) in place of one topic a sentence.

    Returns
    -------
        Shape (sentence, topic), rows sum to 1; 0 or 1 unless `soft`.
    """
    cost = squared_distances(np.asarray(vectors, np.float64), model.centroids) + model.offset
    if not soft:
        return np.eye(model.n_topics)[cost.argmin(1)]
    weight = np.exp((cost.min(1, keepdims=True) - cost) / SOFT_TEMPERATURE)
    return weight / weight.sum(1, keepdims=True)


def squared_distances(
    x: NDArray[np.float64], centroids: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squared distance of each vector to each centre, shape (sentence, topic), never negative."""
    cross = x @ centroids.T
    square = (x**2).sum(1)[:, None] + (centroids**2).sum(1) - 2 * cross
    return np.maximum(square, 0.0)


def plus_plus(
    x: NDArray[np.float64], n_topics: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Pick starting centres: each next one with probability proportional to squared distance."""
    chosen = [int(rng.integers(len(x)))]
    nearest = squared_distances(x, x[chosen])[:, 0]
    while len(chosen) < n_topics and nearest.sum() > 0:
        chosen.append(int(rng.choice(len(x), p=nearest / nearest.sum())))
        nearest = np.minimum(nearest, squared_distances(x, x[chosen[-1:]])[:, 0])
    return x[chosen]


def lloyd(x: NDArray[np.float64], centroids: NDArray[np.float64]) -> NDArray[np.float64]:
    """Alternate assignment and means until nothing moves; an emptied topic keeps its centre."""
    centroids, label = centroids.copy(), np.full(len(x), -1)
    for _ in range(MAX_LLOYD_STEPS):
        nearest = squared_distances(x, centroids).argmin(1)
        if np.array_equal(nearest, label):
            break
        label = nearest
        total = np.zeros_like(centroids)
        np.add.at(total, label, x)
        count = np.bincount(label, minlength=len(centroids))
        centroids[count > 0] = total[count > 0] / count[count > 0, None]
    return centroids
