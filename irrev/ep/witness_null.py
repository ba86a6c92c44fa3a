"""Surrogate nulls and power of the witness test.

Surrogates, for data whose Gaussian null is in doubt, one channel of each pair at a time:

    shift   X_j(f) exp(-i omega tau), tau uniform on the circle, at least 10 correlation times
            and 8 M samples from no shift: a shift tau turns the phase by only pi tau / M across
            a band, so short shifts leave the coherence standing. One uninterrupted record only.
    phase   independent uniform phases at every frequency.

    p = (1 + #{T_b >= T}) / (B + 1),      T = sum_m -(K_m - 1) log(1 - coh_m^2)            (1)

Power. Under the alternative 2 T is close to a noncentral chi-square with 2 M degrees of freedom
and noncentrality 2 n W. Circular shifts preserve the law of each channel; both nulls are
second-order. Derived here.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import fft
from scipy.optimize import brentq
from scipy.stats import chi2, ncx2

from irrev.ep.recording import Plan
from irrev.ep.spectra import band_edges, fourier_rows, transform_length
from irrev.ep.whitening import Whitening
from irrev.errors import InputError

SEPARATION_TIMES = 10  # correlation times between a channel and its shifted self
SEPARATION_BANDS = 8  # times M samples
CHUNK = 1 << 21  # random phases drawn at once


def surrogate_p(
    x: NDArray[np.floating],
    whitening: Whitening,
    plan: Plan,
    ds: xr.Dataset,
    *,
    kind: Literal["shift", "phase"],
    draws: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the surrogate p-value of every pair of a result.

    Parameters
    ----------
    x
        Record, shape (time, channel).
    whitening, plan
        As used for the result.
    ds
        Result of kind `witness`: pairs and their channels; NaN p-values stay NaN.
    kind
        "shift" or "phase".
    draws
        Surrogates per pair.
    rng
        One child per pair, so that the numbers do not depend on the order of work.

    Returns
    -------
        Shape (pair,), at least 1 / (draws + 1).

    Raises
    ------
    InputError
        If shifts are asked of a segmented or too short record.
    """
    if kind == "shift" and len(plan.segments) > 1:
        raise InputError('shifts need one uninterrupted record; use null="phase" for segments.')
    pairs = zip(ds["channel_i"].to_numpy(), ds["channel_j"].to_numpy(), strict=True)
    children = rng.spawn(ds.sizes["pair"])
    p = np.full(ds.sizes["pair"], np.nan)
    blocks = _band_blocks(x, whitening, plan)
    n = transform_length(int(np.diff(plan.segments[0])[0]))
    for k, (i, j) in enumerate(pairs):
        if not np.isfinite(ds["log_p"].to_numpy()[k]):
            continue
        cross = [b[i] * b[j].conj() for b in blocks]
        power = [float(np.sum(np.abs(b[i]) ** 2) * np.sum(np.abs(b[j]) ** 2)) for b in blocks]
        if kind == "shift":
            memory = whitening.correlation_time[[i, j]].max()
            apart = int(np.ceil(max(SEPARATION_TIMES * memory, SEPARATION_BANDS * len(blocks))))
            sums = _shifted(cross, plan, n, apart, draws, children[k])
        else:
            sums = np.stack([_random_phase(c, draws, children[k]) for c in cross])
        null = _statistic(sums, power, cross)
        observed = _statistic(np.array([[np.abs(c.sum()) ** 2] for c in cross]), power, cross)
        p[k] = (1 + np.sum(null >= observed[0])) / (draws + 1)
    return p


def witness_power(W: float, n: int, *, n_bands: int = 16, alpha: float = 0.05) -> float:
    """Return the probability that the witness test rejects.

    Parameters
    ----------
    W
        True witness, nats per sample; the exact one, not its leading term.
    n
        Samples.
    n_bands
        Bands of the test.
    alpha
        Level of the test.

    Returns
    -------
        Power, between `alpha` and 1.

    Examples
    --------
    >>> round(witness_power(15.91 / 1024, 1024), 2)
    0.91
    """
    return float(ncx2.sf(chi2.isf(alpha, 2 * n_bands), 2 * n_bands, 2 * n * max(W, 1e-300)))


def required_samples(
    W: float, *, power: float = 0.8, n_bands: int = 16, alpha: float = 0.05
) -> int:
    """Return how many samples the witness test needs.

    Parameters
    ----------
    W
        Witness to be found, nats per sample, positive.
    power
        Wanted probability of rejection, above `alpha`.
    n_bands, alpha
        Bands and level of the test.

    Returns
    -------
        Samples.

    Raises
    ------
    InputError
        If W is not positive or the power not between `alpha` and 1.

    Examples
    --------
    >>> required_samples(0.001)
    12593
    """
    if not (W > 0 and alpha < power < 1):
        raise InputError(f"W={W}, power={power}; use W > 0 and {alpha} < power < 1.")
    return int(np.ceil(noncentrality(power, n_bands=n_bands, alpha=alpha) / (2 * W)))


def noncentrality(power: float, *, n_bands: int = 16, alpha: float = 0.05) -> float:
    """Return 2 n W at which the test has the given power.

    Examples
    --------
    >>> round(noncentrality(0.5), 3)
    15.023
    """
    critical = chi2.isf(alpha, 2 * n_bands)

    def missing(delta: float) -> float:
        return float(ncx2.sf(critical, 2 * n_bands, delta)) - power

    return float(np.asarray(brentq(missing, 1e-9, 1e4, xtol=1e-10)))


def detection_threshold(
    n: int, leading: float, *, power: float = 0.5, n_bands: int = 16, alpha: float = 0.05
) -> float:
    """Return the weakest coupling that is found, from W = leading coupling^4.

    Valid while the drive is weak: elsewhere solve with the exact W.

    Examples
    --------
    >>> round(detection_threshold(4096, 17.5754458162), 4)
    0.1011
    """
    delta = noncentrality(power, n_bands=n_bands, alpha=alpha)
    return float((delta / (2 * n * leading)) ** 0.25)


def _band_blocks(
    x: NDArray[np.floating], whitening: Whitening, plan: Plan
) -> list[NDArray[np.complexfloating]]:
    """Whitened Fourier coefficients of the test bands, each (channel, ordinate)."""
    lengths = np.diff(plan.segments, axis=1)[:, 0]
    parts: list[list[NDArray[np.complexfloating]]] = [[] for _ in range(plan.test_bands)]
    for length in np.unique(lengths):
        rows = fourier_rows(x, plan.segments[lengths == length], whitening)
        edges = band_edges(transform_length(int(length)), plan.test_bands, plan.cycles)
        for m in range(plan.test_bands):
            block = rows[:, :, edges[m] : edges[m + 1]]
            parts[m].append(block.reshape(len(rows), -1))
    return [np.concatenate(p, axis=1) for p in parts]


def _shifted(
    cross: Sequence[NDArray[np.complexfloating]],
    plan: Plan,
    n: int,
    apart: int,
    draws: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """|sum over the band of c(f) exp(-i omega tau)|^2, shape (band, draw), from one FFT a band."""
    if 2 * apart > n // 2:
        raise InputError(
            f"shifts must exceed {apart} samples of {n}; use null='phase' or a longer record."
        )
    tau = rng.integers(apart, n - apart + 1, size=draws)
    edges = band_edges(n, plan.test_bands, plan.cycles)
    out = np.empty((len(cross), draws))
    for m, values in enumerate(cross):
        padded = np.zeros(n, dtype=np.complex128)
        padded[edges[m] : edges[m + 1]] = values
        out[m] = np.abs(np.asarray(fft.fft(padded))[tau]) ** 2
    return out


def _random_phase(
    cross: NDArray[np.complexfloating], draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    modulus = np.abs(cross)
    step = max(1, CHUNK // modulus.size)
    sums = [
        np.exp(2j * np.pi * rng.random((min(step, draws - first), modulus.size))) @ modulus
        for first in range(0, draws, step)
    ]
    return np.abs(np.concatenate(sums)) ** 2


def _statistic(
    square: NDArray[np.float64], power: list[float], cross: Sequence[NDArray[np.complexfloating]]
) -> NDArray[np.float64]:
    counts = np.array([c.size for c in cross], dtype=np.float64)
    coh2 = np.minimum(square / np.array(power)[:, None], 1 - 1e-15)
    return -np.sum((counts[:, None] - 1) * np.log1p(-coh2), axis=0)
