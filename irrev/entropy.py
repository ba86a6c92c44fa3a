"""Entropies and divergences of probability arrays, and entropy estimates from counts.

    H(p) = -sum_i p_i ln p_i,    KL(p|q) = sum_i p_i ln(p_i / q_i),    H(p, q) = H(p) + KL(p|q)
    JS(p, q) = (KL(p|m) + KL(q|m)) / 2,   m = (p + q) / 2,   in [0, ln 2]

All in nats, along one axis, with 0 ln 0 = 0. The plug-in entropy of n counts is too low by
about (K - 1) / (2n); no correction wins everywhere (docs/methods/ethical_entropy.md): NSB is
the safe quote for few counts, and a comparison needs equal counts whatever the estimator.

Sources: G. Miller, in Information Theory in Psychology (1955); D. Wolpert, D. Wolf,
Phys. Rev. E 52, 6841 (1995); I. Nemenman, F. Shafee, W. Bialek, NIPS 14 (2001).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma, gammaln, polygamma, rel_entr, xlogy

from irrev.errors import InputError

EntropyEstimator = Literal["plugin", "miller_madow", "dirichlet", "nsb"]
NSB_GRID = np.logspace(-3, 3, 241)  # concentration per class; from one-hot laws to the uniform one


@dataclass(frozen=True, slots=True)
class EntropyMoments:
    """Posterior mean and standard deviation of an entropy, nats."""

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]


# --- of probabilities ---------------------------------------------------------------------------


def entropy(p: ArrayLike, *, axis: int = -1) -> NDArray[np.float64]:
    """Compute the Shannon entropy of probability vectors.

    Parameters
    ----------
    p
        Probabilities; non-negative, summing to one along `axis`.
    axis
        Axis that holds the classes.

    Returns
    -------
        Entropy in nats, in [0, ln K], without `axis`.

    Raises
    ------
    InputError
        If a value is negative or a sum is not one.

    Examples
    --------
    >>> float(entropy([0.5, 0.5]).round(4))
    0.6931
    """
    p = _probabilities(p, axis)
    return np.maximum(-np.sum(xlogy(p, p), axis=axis), 0.0)


def kl_divergence(p: ArrayLike, q: ArrayLike, *, axis: int = -1) -> NDArray[np.float64]:
    """Compute KL(p|q) along `axis`, nats; infinite where p has mass and q has none."""
    p, q = _probabilities(p, axis), _probabilities(q, axis)
    return np.maximum(np.sum(rel_entr(p, q), axis=axis), 0.0)


def cross_entropy(p: ArrayLike, q: ArrayLike, *, axis: int = -1) -> NDArray[np.float64]:
    """Compute -sum p ln q along `axis`, nats; infinite where p has mass and q has none."""
    p, q = _probabilities(p, axis), _probabilities(q, axis)
    return -np.sum(xlogy(p, q), axis=axis)


def js_divergence(p: ArrayLike, q: ArrayLike, *, axis: int = -1) -> NDArray[np.float64]:
    """Compute the Jensen-Shannon divergence along `axis`, nats, in [0, ln 2].

    Examples
    --------
    >>> float(js_divergence([1.0, 0.0], [0.0, 1.0]).round(4))
    0.6931
    """
    p, q = _probabilities(p, axis), _probabilities(q, axis)
    middle = 0.5 * (p + q)
    return np.maximum(0.5 * np.sum(rel_entr(p, middle) + rel_entr(q, middle), axis=axis), 0.0)


def _probabilities(p: ArrayLike, axis: int) -> NDArray[np.float64]:
    p = np.asarray(p, dtype=np.float64)
    if np.any(p < 0):
        raise InputError(f"probabilities go down to {p.min():g}; they must not be negative.")
    total = p.sum(axis=axis)
    if not np.allclose(total[~np.isnan(total)], 1.0, rtol=0, atol=1e-6):
        raise InputError(
            f"probabilities sum to {np.nanmin(total):g} ... {np.nanmax(total):g}; "
            "divide by the sum, or use plugin_entropy for counts."
        )
    return p


# --- from counts --------------------------------------------------------------------------------


def plugin_entropy(counts: ArrayLike) -> NDArray[np.float64]:
    """Compute the entropy of the observed frequencies, classes along the last axis, nats.

    NaN where there are no counts at all. Too low by about (K - 1) / (2n).
    """
    counts, n = _counts(counts)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = counts / n[..., None]
    return np.maximum(-np.sum(xlogy(p, p), axis=-1), 0.0)


def miller_madow_entropy(counts: ArrayLike) -> NDArray[np.float64]:
    """Add (number of classes seen - 1) / (2n) to the plug-in entropy; it can exceed ln K."""
    values, n = _counts(counts)
    with np.errstate(invalid="ignore", divide="ignore"):
        return plugin_entropy(counts) + (np.sum(values > 0, axis=-1) - 1) / (2 * n)


def dirichlet_entropy(counts: ArrayLike, *, alpha: float = 0.5) -> EntropyMoments:
    """Compute the posterior moments of the entropy under a symmetric Dirichlet prior.

    Parameters
    ----------
    counts
        Counts, shape (..., class); they may be fractional.
    alpha
        Prior weight of each class, positive.

    Returns
    -------
        Mean and standard deviation, nats, shape (...).

    Examples
    --------
    >>> round(float(dirichlet_entropy([12, 3, 2, 2, 1]).mean), 6)
    1.202395
    """
    values, _ = _counts(counts)
    mean, second = _dirichlet_moments(values + alpha)
    return EntropyMoments(mean, np.sqrt(np.maximum(second - mean**2, 0.0)))


def nsb_entropy(counts: ArrayLike) -> EntropyMoments:
    """Compute the posterior moments of the entropy under the NSB prior.

    The concentration alpha has a prior that makes the prior mean entropy uniform in [0, ln K];
    the integral over it is a trapezoid sum on `NSB_GRID`.

    Parameters
    ----------
    counts
        Counts, shape (..., class).

    Returns
    -------
        Mean and standard deviation, nats, shape (...).
    """
    values, n = _counts(counts)
    K = values.shape[-1]
    # prior mean entropy at each alpha, and its trapezoid weights
    xi = digamma(K * NSB_GRID + 1) - digamma(NSB_GRID + 1)
    steps = np.diff(xi)
    weight = 0.5 * (np.append(steps, 0.0) + np.append(0.0, steps))
    alpha = NSB_GRID[:, None]
    a = values[..., None, :] + alpha  # (..., alpha, class)
    log_evidence = (
        gammaln(K * NSB_GRID)
        - gammaln(n[..., None] + K * NSB_GRID)
        + np.sum(gammaln(a) - gammaln(alpha), axis=-1)
    )
    posterior = weight * np.exp(log_evidence - log_evidence.max(axis=-1, keepdims=True))
    posterior /= posterior.sum(axis=-1, keepdims=True)
    mean, second = _dirichlet_moments(a)
    mean = np.sum(posterior * mean, axis=-1)
    second = np.sum(posterior * second, axis=-1)
    return EntropyMoments(mean, np.sqrt(np.maximum(second - mean**2, 0.0)))


def estimate_entropy(
    counts: ArrayLike, *, estimator: EntropyEstimator = "dirichlet", alpha: float = 0.5
) -> NDArray[np.float64]:
    """Estimate the entropy of counts by name of the estimator, nats, shape (...)."""
    if estimator == "plugin":
        return plugin_entropy(counts)
    if estimator == "miller_madow":
        return miller_madow_entropy(counts)
    if estimator == "dirichlet":
        return dirichlet_entropy(counts, alpha=alpha).mean
    if estimator == "nsb":
        return nsb_entropy(counts).mean
    raise InputError(f"{estimator!r} is no entropy estimator; use one of {_ESTIMATORS}.")


_ESTIMATORS = "plugin, miller_madow, dirichlet, nsb"


def _counts(counts: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = np.asarray(counts, dtype=np.float64)
    if values.ndim == 0 or np.any(values < 0):
        raise InputError("counts must be a non-negative array with the classes on its last axis.")
    return values, values.sum(axis=-1)


def _dirichlet_moments(a: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First and second moment of the entropy of Dirichlet(a) laws, classes last."""
    A = a.sum(axis=-1)
    p = a / A[..., None]
    mean = digamma(A + 1) - np.sum(p * digamma(a + 1), axis=-1)
    # second moment: all pairs i != j, then the diagonal (Wolpert and Wolf 1995)
    u = digamma(a + 1) - digamma(A + 2)[..., None]
    trigamma_A = polygamma(1, A + 2)
    pairs = np.sum(a * u, axis=-1) ** 2 - np.sum((a * u) ** 2, axis=-1)
    pairs -= trigamma_A * (A**2 - np.sum(a**2, axis=-1))
    v = digamma(a + 2) - digamma(A + 2)[..., None]
    diagonal = np.sum(a * (a + 1) * (v**2 + polygamma(1, a + 2) - trigamma_A[..., None]), axis=-1)
    return mean, (pairs + diagonal) / (A * (A + 1))
