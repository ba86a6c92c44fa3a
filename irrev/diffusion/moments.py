"""What the moments of labelled data alone say about the noise of a decision.

    half distance   |mean(S_1) - mean(S_2)|/2 of a question with two sets                     (1)
    spectral        sqrt(Lambda), Lambda the top eigenvalue of the total covariance           (2)
    between         the same of the covariance of the class means, weighted by class counts   (3)

(2) is the noise at which the widest direction of the data drowns; in the time of
dx = -x dt + sqrt(2) dW the speciation time is (1/2) ln Lambda. None of them asks a model.
Intervals are those of resampled rows.

Source of (2): Biroli et al., Nat. Commun. 15, 9957 (2024).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from irrev.diffusion.markers import percentile_interval
from irrev.diffusion.partitions import Partition

POWER_STEPS = 40  # of the resampled eigenvalue, from the sample's own eigenvector
Array = NDArray[np.float64]


def row_counts(n: int, draws: int, rng: np.random.Generator) -> Array:
    """Return how often each row enters each resample, shape (1 + draw, row); row 0 is all ones."""
    return np.concatenate([np.ones((1, n)), rng.poisson(1.0, size=(draws, n)).astype(float)])


def half_distances(flat: Array, labels: NDArray[np.integer], question: Partition) -> float:
    """Return half the distance of the two set means, data units; NaN where there is none.

    Parameters
    ----------
    flat
        Data, shape (row, coordinate).
    labels
        Class of each row.
    question
        A partition; one of more than two sets, or a set without rows, has no such distance.
    """
    means = set_means(flat, labels, question, np.ones((1, len(flat))))
    return (
        float("nan") if means is None else 0.5 * float(np.linalg.norm(means[0, 0] - means[0, 1]))
    )


def set_means(
    flat: Array, labels: NDArray[np.integer], question: Partition, counts: Array
) -> Array | None:
    """Return the mean of both sets in every resample, shape (draw, 2, coordinate), or None."""
    if len(question.sets) != 2:
        return None
    out = []
    for members in question.sets:
        weight = counts * np.isin(labels, members)
        total = weight.sum(axis=1, keepdims=True)
        if np.any(total == 0):
            return None
        out.append(weight @ flat / total)
    return np.stack(out, axis=1)


def spectral(flat: Array, counts: Array) -> Array:
    """Return sqrt of the top eigenvalue of the total covariance in every resample, (draw,).

    NaN for a resample without rows.
    """
    with np.errstate(invalid="ignore"):  # a resample of few rows can be empty: NaN
        share = counts / counts.sum(axis=1, keepdims=True)
    means = share @ flat
    v = np.repeat(_widest(flat)[:, None], len(counts), axis=1)
    value = np.zeros(len(counts))
    for _ in range(POWER_STEPS):
        product = (flat @ v - np.sum(means.T * v, axis=0)) * share.T
        v = flat.T @ product
        value = np.linalg.norm(v, axis=0)
        v = v / np.maximum(value, np.finfo(float).tiny)
    return np.sqrt(value)


def _widest(flat: Array) -> Array:
    """Return the direction of largest variance of the sample."""
    if min(flat.shape) == 1:
        return np.ones(flat.shape[1])
    start = np.random.default_rng(0).standard_normal(min(flat.shape))
    found: Any = svds(flat - flat.mean(0), k=1, v0=start)  # its stubs know no vectors
    return found[2][0]


def spectral_between(flat: Array, labels: NDArray[np.integer], counts: Array) -> Array:
    """Return sqrt of the top eigenvalue of the covariance of class means, shape (draw,).

    NaN for a resample without rows.
    """
    member = labels[:, None] == np.unique(labels)
    out = []
    for count in counts:
        if not count.any():
            out.append(np.nan)
            continue
        share = count @ member / count.sum()
        means = (count[:, None] * member).T @ flat / np.maximum(count @ member, 1e-300)[:, None]
        centred = np.sqrt(share)[:, None] * (means - share @ means)
        out.append(np.sqrt(max(np.linalg.eigvalsh(centred @ centred.T)[-1], 0.0)))
    return np.array(out)


def spectral_marker(data: Array, labels: NDArray[np.integer] | None = None) -> float:
    """Return equation (2), or with labels equation (3), of data (sample, *dim); data units."""
    flat = np.asarray(data, dtype=float).reshape(len(data), -1)
    ones = np.ones((1, len(flat)))
    found = spectral(flat, ones) if labels is None else spectral_between(flat, labels, ones)
    return float(found[0])


def with_interval(values: Array, level: float) -> tuple[float, float, float]:
    """Return the value of the sample and the interval of its resamples."""
    if len(values) == 1:
        return float(values[0]), float(values[0]), float(values[0])
    low, high = percentile_interval(values[1:], level)
    return float(values[0]), float(low), float(high)
