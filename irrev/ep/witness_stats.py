"""Exact corrections, null laws and errors of witness statistics from band sums.

G_m is a complex Wishart matrix with K_m degrees of freedom, v_m the share of band m. Per pair

    l = -log(1 - |G_12|^2 / G_11 G_22),     R = (Im G_12)^2 / (G_11 G_22 - |G_12|^2)
    W       = 1/2 sum v [l - 1/(K-1)]                       exact at any coherence          (1)
    sigma   = 1/2 sum v [4 (K-2) R - 2] / K                 exact at any spectrum           (2)
    W_irr   = 1/2 sum v [log(1+R) - psi(K-1/2) + psi(K-1)]  exact for reversible pairs      (3)

and for N channels, with t = tr(G^-T G) - N,

    sigma_N = 1/2 sum v [(K-N) t - N(N-1)] / K              exact at any spectrum           (4)
    W_total = 1/2 sum v [sum log G_ii - log det G - N psi(K) + sum_{j<N} psi(K-j)]          (5)

Null laws. Independent channels: (K-1) l is exponential, so sum (K-1) l ~ Gamma(M). Reversible
pair, any real spectrum: log(1+R) has mean psi(K-1/2) - psi(K-1) and variance psi'(K-1) -
psi'(K-1/2); the sum over bands is matched by a Gamma law. For N channels the same arguments hold
for log det Re G - log det G and for sum log G_ii - log det G, whose nulls do not depend on the
spectrum and are independent of Re G, of the G_ii (Basu), so that means and variances are
differences of psi(K - j/2), psi(K - j), psi(K) and of their derivatives.

Errors are the delta method at the estimate plus the exact null variance. For sigma_N, with
Q = S^-T S, it reads var t = tr((Q - Q^-1)^2) / K; for two channels that is 32 R (1 + R) / K.

Source of the quantities: Bi and Calhoun, arXiv:2604.03775. Corrections, laws and errors were
derived here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaincc, gammaln, ndtri, polygamma

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
SMALLEST_P = 1e-290  # below it the continued fraction takes over from gammaincc


@dataclass(frozen=True, slots=True)
class Estimate:
    """A rate in nats per sample and its standard error; arrays over pairs, or scalars."""

    value: Array
    stderr: Array


@dataclass(frozen=True, slots=True)
class Test:
    """A statistic and the logarithm of its p-value."""

    statistic: Array
    log_p: Array

    __test__ = False  # not a pytest class


def coherence(gram: NDArray[np.complex128], first: Indices, second: Indices) -> Array:
    """Return |G_ij|^2 / (G_ii G_jj), shape (band, pair); NaN where a channel is constant."""
    power = np.diagonal(gram, axis1=1, axis2=2).real
    product = power[:, first] * power[:, second]
    cross = gram[:, first, second]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (cross.real**2 + cross.imag**2) / product


def phase_ratio(gram: NDArray[np.complex128], first: Indices, second: Indices) -> Array:
    """Return R = (Im G_ij)^2 / (G_ii G_jj - |G_ij|^2), shape (band, pair)."""
    power = np.diagonal(gram, axis1=1, axis2=2).real
    cross = gram[:, first, second]
    delta = power[:, first] * power[:, second] - cross.real**2 - cross.imag**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return cross.imag**2 / delta


def witness_estimate(coh2: Array, counts: Array, share: Array) -> Estimate:
    """Return (1) and its standard error.

    Parameters
    ----------
    coh2
        Sample coherence, shape (band, pair).
    counts
        K, shape (band,) or (band, pair), at least 2.
    share
        v, shape (band,).

    Returns
    -------
        Shape (pair,); may be slightly negative, never clipped.
    """
    k, v = _columns(counts), share[:, None]
    value = 0.5 * np.sum(v * (-np.log1p(-coh2) - 1 / (k - 1)), axis=0)
    debiased = coh2 - (1 - coh2) / (k - 1)
    spread = np.maximum(0.0, np.sum(v**2 * 2 * debiased / k, axis=0))
    return Estimate(value, 0.5 * np.sqrt(spread + np.sum(v**2 / (k - 1) ** 2, axis=0)))


def independence_test(coh2: Array, counts: Array) -> Test:
    """Test that two channels are independent: exact for Gaussian data at any spectra."""
    statistic = -np.sum((_columns(counts) - 1) * np.log1p(-coh2), axis=0)
    return Test(statistic, log_gamma_sf(float(len(counts)), statistic))


def irreversibility_estimate(ratio: Array, counts: Array, share: Array) -> Estimate:
    """Return (2) and its standard error from R, shape (band, pair); K must exceed 3."""
    k, v = _columns(counts), share[:, None]
    four_r = ((k - 2) * 4 * ratio - 2) / k
    value = 0.5 * np.sum(v * four_r, axis=0)
    shrink, d = ((k - 2) / k) ** 2, 2 * (k - 1)
    slope = np.sum(v**2 * shrink * 8 * four_r * (1 + four_r / 4) / k, axis=0)
    null = np.sum(v**2 * shrink * 32 * (d - 1) / ((d - 2) ** 2 * (d - 4)), axis=0)
    return Estimate(value, 0.5 * np.sqrt(np.maximum(0.0, slope) + null))


def irreversible_witness(ratio: Array, counts: Array, share: Array) -> Array:
    """Return (3), shape (pair,)."""
    k = _columns(counts)
    bias = digamma(k - 0.5) - digamma(k - 1.0)
    return 0.5 * np.sum(share[:, None] * (np.log1p(ratio) - bias), axis=0)


def reversibility_test(ratio: Array, counts: Array) -> Test:
    """Test that a pair is time-reversible, whatever its coherence."""
    k = _columns(counts)
    mean = np.sum(digamma(k - 0.5) - digamma(k - 1.0), axis=0)
    variance = np.sum(polygamma(1, k - 1.0) - polygamma(1, k - 0.5), axis=0)
    return _matched_gamma(np.sum(np.log1p(ratio), axis=0), mean, variance)


def set_irreversibility(
    gram: NDArray[np.complex128], counts: Array, share: Array
) -> tuple[Estimate, Test]:
    """Return (4) with its standard error, and the test that all channels are reversible.

    Parameters
    ----------
    gram
        Phase-restored sums, shape (band, channel, channel), K > N + 1 in every band.
    counts, share
        K and v, shape (band,).

    Returns
    -------
        Estimate in nats per sample; test of a real spectrum.
    """
    n = gram.shape[1]
    k, v = counts.astype(np.float64), share
    ratio = np.linalg.solve(gram.transpose(0, 2, 1), gram)  # Q
    t = np.trace(ratio, axis1=1, axis2=2).real - n
    value = 0.5 * np.sum(v * ((k - n) * t - n * (n - 1)) / k)
    # tr (Q - Q^-1)^2 = 2 tr Q^2 - 2 N, since Q^-1 is the complex conjugate of Q.
    square = 2 * (np.einsum("mij,mji->m", ratio, ratio).real - n)
    shrink, free = ((k - n) / k) ** 2, k - n + 2
    d = 2 * (free - 1)
    pairs = n * (n - 1) / 2
    null = pairs * 32 * (d - 1) / ((d - 2) ** 2 * (d - 4))
    slope = np.sum(v**2 * shrink * (square - _null_square(n, free)) / k)
    stderr = 0.5 * np.sqrt(max(0.0, slope) + np.sum(v**2 * shrink * null))
    j = np.arange(n)
    log_ratio = np.linalg.slogdet(gram.real).logabsdet - np.linalg.slogdet(gram).logabsdet
    half, whole = k[:, None] - j / 2, k[:, None] - j
    mean = np.sum(digamma(half) - digamma(whole))
    variance = np.sum(polygamma(1, whole) - polygamma(1, half))
    test = _matched_gamma(np.asarray(log_ratio.sum()), mean, variance)
    return Estimate(np.asarray(value), np.asarray(stderr)), test


def total_witness(
    gram: NDArray[np.complex128], counts: Array, share: Array
) -> tuple[Estimate, Test]:
    """Return (5) with its standard error, and the test that all channels are independent."""
    n = gram.shape[1]
    k = counts.astype(np.float64)
    power = np.diagonal(gram, axis1=1, axis2=2).real
    raw = np.log(power).sum(axis=1) - np.linalg.slogdet(gram).logabsdet
    whole = k[:, None] - np.arange(n)
    mean = n * digamma(k) - digamma(whole).sum(axis=1)
    variance = polygamma(1, whole).sum(axis=1) - n * polygamma(1, k)
    coh2 = np.abs(gram) ** 2 / (power[:, :, None] * power[:, None, :])
    upper = coh2[:, *np.triu_indices(n, 1)]
    debiased = 2 * np.sum(upper - (1 - upper) / (k[:, None] - 1), axis=1)
    slope = max(0.0, float(np.sum(share**2 * debiased / k)))
    stderr = 0.5 * np.sqrt(slope + np.sum(share**2 * variance))
    value = 0.5 * np.sum(share * (raw - mean))
    # Bands weighted by K: the likelihood-ratio statistic.
    test = _matched_gamma(np.sum(k * raw), np.sum(k * mean), np.sum(k**2 * variance))
    return Estimate(np.asarray(value), np.asarray(stderr)), test


def normal_quantile(level: float) -> float:
    """Return z of a two-sided normal interval.

    Examples
    --------
    >>> round(normal_quantile(0.95), 3)
    1.96
    """
    return float(ndtri(0.5 + level / 2))


def log_gamma_sf(shape: float | Array, x: Array) -> Array:
    """Return log Q(shape, x), the log survival function of a Gamma law, without underflow.

    Examples
    --------
    >>> log_gamma_sf(1.0, np.array([2.0, 5000.0])).tolist()
    [-2.0, -5000.0]
    """
    shape_of_x, x = np.shape(x), np.atleast_1d(np.asarray(x, dtype=np.float64))
    shape = np.broadcast_to(np.asarray(shape, dtype=np.float64), x.shape)
    tail = gammaincc(shape, np.maximum(x, 0.0))
    with np.errstate(divide="ignore"):
        out = np.asarray(np.log(tail))
    far = (tail < SMALLEST_P) & np.isfinite(x)
    if far.any():
        y, a = x[far], shape[far]
        out[far] = a * np.log(y) - y - gammaln(a) + np.log(_tail_fraction(a, y))
    return np.where(np.isposinf(x), -np.inf, out).reshape(shape_of_x)


def _tail_fraction(shape: Array, x: Array) -> Array:
    """Evaluate Gamma(a, x) e^x x^-a by its continued fraction, from the innermost term out."""
    value = np.zeros_like(x)
    for i in range(200, 0, -1):
        value = i * (i - shape) / (x + 2 * i + 1 - shape - value)
    return 1 / (x + 1 - shape - value)


def _null_square(n: int, free: Array) -> Array:
    """Mean of tr(Q - Q^-1)^2 for a reversible set, exact for two channels.

    For N = 2 it is 32 E[R + R^2] with 2 (K-1) R ~ F(1, 2 (K-1)).
    """
    d = 2 * (free - 1)
    first = 1 / (d - 2)
    second = 3 / ((d - 2) * (d - 4))
    return n * (n - 1) / 2 * 32 * (first + second)


def _matched_gamma(statistic: Array, mean: float | Array, variance: float | Array) -> Test:
    shape = mean**2 / variance
    return Test(
        np.asarray(statistic), log_gamma_sf(shape, np.asarray(statistic * mean / variance))
    )


def _columns(counts: Array) -> Array:
    """Return K as columns (band, pair) or (band, 1)."""
    return counts if counts.ndim == 2 else counts[:, None]
