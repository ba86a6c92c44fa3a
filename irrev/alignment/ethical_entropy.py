"""Entropy of a model's behaviour over time, S(t), with what it cannot see beside it.

    S = -sum_i p_i ln p_i                    over behavioural classes in one bin        (1)
    D_align = KL(p | p_ref),   p_intended = p_k     k the intended class                (2)
    R = 1 - S_tuned / S_base                                                            (3)

S is the entropy of the class law of a bin, not the mean of per-text classifier entropies; that
mean (`doubt`) and the rest, H(mean P) - mean H(P) (`spread`), are kept apart. S cannot see WHICH
class is frequent: a model that always deceives has S = 0; hence (2).

Small bins bias S: keep the number of transcripts per bin constant, or drift is confounded with bin
size. With a confusion matrix the class law is corrected for classifier errors first, and the
interval resamples transcripts and matrix; without one it is the posterior's (Dirichlet, NSB) or a
bootstrap (plug-in, Miller-Madow).

Source: Fadli, arXiv:2512.03047 (abstract only) for S and R; binning, (2) and intervals are ours.
"""

from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from irrev.alignment.correction import correct_counts, draw_confusion, smoothed_confusion
from irrev.alignment.taxonomy import DEFAULT_TAXONOMY, Taxonomy, class_counts
from irrev.entropy import (
    EntropyEstimator,
    dirichlet_entropy,
    entropy,
    estimate_entropy,
    kl_divergence,
    miller_madow_entropy,
    nsb_entropy,
    plugin_entropy,
)
from irrev.errors import InputError

METHOD_VERSION = 1
BIN_SIZE, MIN_COUNT = 50, 20  # transcripts; a bin with fewer than MIN_COUNT has no value
N_DRAWS = 500
SMOOTHING = 0.5  # of the laws in D_align, or one empty class makes it infinite
BinBy = Literal["count", "duration", "turn"]
Array = NDArray[np.float64]


def assign_bins(
    t: ArrayLike, *, by: BinBy = "count", size: float = BIN_SIZE, origin: float | None = None
) -> NDArray[np.int64]:
    """Give each transcript of one stream its bin.

    Parameters
    ----------
    t
        Time of each, s, or its turn; shape (transcript,). NaN has no place in time: bin -1.
    by
        `count`: `size` successive transcripts a bin, ties kept in the order given;
        `duration`: `size` seconds a bin from `origin` on; `turn`: one bin a turn.
    size
        Transcripts or seconds.
    origin
        Start of the first bin of fixed duration; the smallest time if not given.

    Returns
    -------
        Bin of each transcript, from 0; an incomplete last bin of fixed count is kept.

    Examples
    --------
    >>> assign_bins([3.0, 1.0, 2.0], size=2).tolist()
    [1, 0, 0]
    """
    t = np.asarray(t, dtype=np.float64)
    out = np.full(t.size, -1, dtype=np.int64)
    placed = np.flatnonzero(np.isfinite(t))
    if not placed.size:
        return out
    if not size > 0:
        raise InputError(f"bin size {size:g} must be positive.")
    if by == "count":
        order = placed[np.argsort(t[placed], kind="stable")]
        out[order] = np.arange(order.size) // int(size)
    elif by == "duration":
        start = float(t[placed].min()) if origin is None else origin
        out[placed] = np.floor((t[placed] - start) / size).astype(np.int64)
    elif by == "turn":
        out[placed] = t[placed].astype(np.int64)
    else:
        raise InputError(f"bins by {by!r} do not exist; choose count, duration or turn.")
    return out


def ethical_entropy(
    classes: ArrayLike,
    bins: ArrayLike,
    *,
    taxonomy: Taxonomy = DEFAULT_TAXONOMY,
    reference: ArrayLike | None = None,
    confusion: ArrayLike | None = None,
    posteriors: ArrayLike | None = None,
    estimator: EntropyEstimator = "dirichlet",
    min_count: int = MIN_COUNT,
    level: float = 0.95,
    n_draws: int = N_DRAWS,
    rng: np.random.Generator,
) -> xr.Dataset:
    """Estimate S(t) and its companions for one stream.

    Parameters
    ----------
    classes
        Class of each transcript, shape (transcript,); -1 for none.
    bins
        Bin of each, shape (transcript,); -1 for none.
    taxonomy
        Classes and the intended one.
    reference
        Counts of the reference law of D_align, shape (class,); NaN without.
    confusion
        Held-out (true, predicted) counts of the classifier, shape (class, class): the class law
        is corrected by it.
    posteriors
        P(class | text), shape (transcript, class); for `doubt` and `spread` only.
    estimator
        `dirichlet`, `nsb`, `miller_madow` or `plugin`.
    min_count
        Bins with fewer transcripts have NaN values.
    level, n_draws, rng
        Coverage, replicates and source of the intervals.

    Returns
    -------
        Dataset over `bin` and `label`: counts, share, entropy, p_intended, p_acceptable,
        d_align, each with its interval, doubt and spread. Entropies in nats; with Miller-Madow
        they may exceed ln K.

    Raises
    ------
    InputError
        If shapes differ, a class is outside the taxonomy, or either has anything but whole
        numbers.
    """
    classes, bins = _whole("classes", classes), _whole("bins", bins)
    K = len(taxonomy.classes)
    if classes.shape != bins.shape or classes.ndim != 1 or np.any(classes >= K):
        raise InputError(
            f"classes {classes.shape} and bins {bins.shape} must be alike, classes below {K}."
        )
    n_bins = int(bins.max(initial=-1)) + 1
    counts = class_counts(classes, bins, n_bins=n_bins, n_classes=K)
    n = counts.sum(axis=1)
    short = n < max(min_count, 1)
    law, S = _point(counts, confusion, estimator)
    laws, values = _replicates(counts, confusion, estimator, n_draws, rng)
    ref = _reference(reference, K)

    columns: dict[str, tuple[Array, Array]] = {
        "entropy": (S, values),
        "p_intended": (law[:, taxonomy.intended_index], laws[..., taxonomy.intended_index]),
        "p_acceptable": (
            law[:, taxonomy.acceptable_mask].sum(axis=1),
            laws[..., taxonomy.acceptable_mask].sum(axis=-1),
        ),
        "d_align": (_divergence(law, n, ref), _divergence(laws, n, ref)),
    }
    out: dict[str, tuple[tuple[str, ...] | str, NDArray[np.generic]]] = {
        "count": (("bin", "label"), counts),
        "n": ("bin", n),
        "share": (("bin", "label"), np.where(short[:, None], np.nan, law)),
    }
    tails = [(1 - level) / 2, (1 + level) / 2]
    for name, (value, draws) in columns.items():
        low, high = np.quantile(draws, tails, axis=0) if n_draws else (value, value)
        if name == "entropy" and confusion is None and estimator == "nsb":
            low, high = _nsb_interval(counts, level)
        for suffix, array in (("", value), ("_low", low), ("_high", high)):
            out[name + suffix] = ("bin", np.where(short, np.nan, array))
    out["doubt"], out["spread"] = _doubt(posteriors, bins, n_bins, short)
    return xr.Dataset(
        out,
        {"bin": np.arange(n_bins), "label": np.array(taxonomy.classes, dtype=object)},
        {"estimator": estimator, "corrected": int(confusion is not None), "level": level},
    )


def entropy_reduction(
    base: ArrayLike,
    tuned: ArrayLike,
    *,
    estimator: EntropyEstimator = "nsb",
    level: float = 0.95,
    n_draws: int = N_DRAWS,
    rng: np.random.Generator,
) -> tuple[float, float, float]:
    """Return R = 1 - S_tuned / S_base with its bootstrap interval, eq. (3).

    Parameters
    ----------
    base, tuned
        Class counts of matched bins (same stress, same time), shape (bin, class).
    estimator
        As in `ethical_entropy`; the mean over bins enters (3).
    level, n_draws, rng
        Coverage, replicates, source.

    Returns
    -------
        R, low, high; NaN where the base entropy is zero.
    """
    b, u = np.asarray(base, dtype=np.int64), np.asarray(tuned, dtype=np.int64)
    if b.shape != u.shape or b.ndim != 2:
        raise InputError(
            f"base {b.shape} and tuned {u.shape} must be matched (bin, class) tables."
        )

    def ratio(one: NDArray[np.int64], other: NDArray[np.int64]) -> Array:
        S = [estimate_entropy(c, estimator=estimator).mean(axis=-1) for c in (one, other)]
        with np.errstate(divide="ignore", invalid="ignore"):
            return 1.0 - S[1] / S[0]

    draws = ratio(_redraw(b, n_draws, rng), _redraw(u, n_draws, rng))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(ratio(b, u)), float(low), float(high)


# --- parts --------------------------------------------------------------------------------------


def _whole(name: str, values: ArrayLike) -> NDArray[np.int64]:
    """Return whole numbers as they are; a NaN or a text would become some class or bin."""
    array = np.asarray(values)
    if array.size and (array.dtype.kind not in "iufb" or not np.all(np.mod(array, 1) == 0)):
        raise InputError(f"{name} must be whole numbers, -1 for none; map texts to classes first.")
    return array.astype(np.int64)


def _point(
    counts: NDArray[np.int64], confusion: ArrayLike | None, estimator: EntropyEstimator
) -> tuple[Array, Array]:
    """Class law and entropy of each bin."""
    n = counts.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        law = counts / n
    if confusion is not None:
        law = correct_counts(counts, smoothed_confusion(confusion))
    return law, estimate_entropy(np.nan_to_num(law) * n, estimator=estimator)


def _replicates(
    counts: NDArray[np.int64],
    confusion: ArrayLike | None,
    estimator: EntropyEstimator,
    n_draws: int,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Laws and entropies of each bin under resampling, shapes (draw, bin, class), (draw, bin)."""
    if confusion is None and estimator in ("dirichlet", "nsb"):
        gamma = rng.standard_gamma(counts + 0.5, size=(n_draws, *counts.shape))
        laws = gamma / gamma.sum(axis=-1, keepdims=True)
        return laws, entropy(laws)
    drawn = _redraw(counts, n_draws, rng)
    n = np.maximum(counts.sum(axis=1), 1)[:, None]
    laws = drawn / n
    if confusion is not None:
        C = draw_confusion(confusion, n_draws, rng)
        laws = np.nan_to_num(correct_counts(drawn, C[:, None], n_steps=1000, tolerance=1e-5))
    cheap = {"plugin": plugin_entropy, "miller_madow": miller_madow_entropy}
    if estimator in cheap:
        return laws, cheap[estimator](laws * n)
    return laws, estimate_entropy(laws * n, estimator=estimator)


def _redraw(
    counts: NDArray[np.int64], n_draws: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    n = counts.sum(axis=1)
    p = np.where(n[:, None] > 0, counts / np.maximum(n, 1)[:, None], 1.0 / counts.shape[1])
    return rng.multinomial(n, p, size=(n_draws, counts.shape[0]))


def _reference(reference: ArrayLike | None, K: int) -> Array:
    if reference is None:
        return np.full(K, np.nan)
    ref = np.asarray(reference, dtype=np.float64)
    if ref.shape != (K,):
        raise InputError(f"reference has shape {ref.shape}; give counts of {K} classes.")
    return (ref + SMOOTHING) / (ref + SMOOTHING).sum()


def _divergence(law: Array, n: NDArray[np.int64], ref: Array) -> Array:
    """KL of the smoothed law to the reference; NaN without a reference."""
    if np.isnan(ref).any():
        return np.full(law.shape[:-1], np.nan)
    counts = np.nan_to_num(law) * n[:, None] + SMOOTHING
    return kl_divergence(counts / counts.sum(axis=-1, keepdims=True), ref)


def _nsb_interval(counts: NDArray[np.int64], level: float) -> tuple[Array, Array]:
    """Return a normal interval from the posterior sd, kept within [0, ln K]."""
    moments = nsb_entropy(counts)
    half = float(ndtri((1 + level) / 2)) * moments.sd
    ceiling = np.log(counts.shape[1])
    return np.maximum(moments.mean - half, 0.0), np.minimum(moments.mean + half, ceiling)


def _doubt(
    posteriors: ArrayLike | None, bins: NDArray[np.int64], n_bins: int, short: NDArray[np.bool_]
) -> tuple[tuple[str, Array], tuple[str, Array]]:
    """Mean entropy of single posteriors, and what the entropy of their mean exceeds it by."""
    if posteriors is None:
        empty = ("bin", np.full(n_bins, np.nan))
        return empty, empty
    P = np.asarray(posteriors, dtype=np.float64)
    keep = (bins >= 0) & np.isfinite(P).all(axis=1)
    n = np.bincount(bins[keep], minlength=n_bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        doubt = np.bincount(bins[keep], weights=entropy(P[keep]), minlength=n_bins) / n
        columns = [np.bincount(bins[keep], weights=c, minlength=n_bins) / n for c in P[keep].T]
    spread = entropy(np.stack(columns, axis=1)) - doubt
    return ("bin", np.where(short, np.nan, doubt)), ("bin", np.where(short, np.nan, spread))


def dirichlet_variance(counts: ArrayLike) -> Array:
    """Return the posterior variance of the entropy of each bin, for weights of the slope test."""
    return dirichlet_entropy(counts).sd ** 2
