"""Statistics shared by all methods: splits, block bootstrap, multiple tests.

Everything is pure and takes its generator or indices as an argument.
"""

from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from irrev.errors import InputError


def check_seed(seed: int) -> int:
    """Return a seed that generators take; refuse anything but a whole number from 0.

    Raises
    ------
    InputError
        If it is negative or no whole number.
    """
    if not isinstance(seed, Integral) or seed < 0:
        raise InputError(f"seed is {seed!r}; use a whole number from 0 up, for example seed=1.")
    return int(seed)


def generators(seed: int, n: int) -> list[np.random.Generator]:
    """Return independent generators of one seed, for the parts of an estimate that draw.

    Raises
    ------
    InputError
        If the seed is not a whole number from 0 up.
    """
    return [np.random.default_rng(s) for s in np.random.SeedSequence(check_seed(seed)).spawn(n)]


def deal_blocks(n_blocks: int, n_folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Deal blocks at random to folds of equal size.

    Parameters
    ----------
    n_blocks
        Number of blocks, at least `n_folds`.
    n_folds
        Number of folds, at least 2.
    rng
        Source of the permutation.

    Returns
    -------
        Fold of each block, shape (n_blocks,); fold sizes differ by at most one.

    Raises
    ------
    InputError
        If there are fewer blocks than folds.

    Examples
    --------
    >>> np.bincount(deal_blocks(7, 3, np.random.default_rng(0))).tolist()
    [3, 2, 2]
    """
    if not 2 <= n_folds <= n_blocks:
        raise InputError(f"{n_blocks} blocks for {n_folds} folds; use fewer folds or longer data.")
    return rng.permutation(np.arange(n_blocks) % n_folds)


def circular_block_counts(
    n_blocks: int, n_draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw how often each of `n_blocks` equal blocks enters each bootstrap sample.

    Returns
    -------
        Counts, shape (n_draws, n_blocks), each row summing to `n_blocks`. A statistic that depends
        on sums is resampled as `counts @ block_sums`.
    """
    p = np.full(n_blocks, 1.0 / n_blocks)
    return rng.multinomial(n_blocks, p, size=n_draws).astype(np.float64)


def integrated_autocorrelation_time(x: NDArray[np.floating], *, c: float = 5.0) -> float:
    """Estimate the integrated autocorrelation time of a series, in steps.

    Parameters
    ----------
    x
        Series, shape (time,).
    c
        Width of Sokal's self-consistent window: the sum stops at the first lag m >= c tau(m).

    Returns
    -------
        1 + 2 sum of autocorrelations, at least 1; 1 for white noise or a constant series.

    References
    ----------
    A. Sokal, Monte Carlo methods in statistical mechanics, 1997.
    """
    centred = np.asarray(x, dtype=np.float64) - np.mean(x)
    n = centred.size
    padded = next_fast_len(2 * n, real=True)  # a large prime factor of n makes it 20 times slower
    spectrum = np.fft.rfft(centred, padded)
    acf = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, padded)[:n]
    if acf[0] <= 0:
        return 1.0
    tau = 2.0 * np.cumsum(acf / acf[0]) - 1.0
    window = np.arange(n) >= c * tau
    return float(max(tau[np.argmax(window)] if window.any() else tau[-1], 1.0))


def benjamini_hochberg(p: NDArray[np.floating]) -> NDArray[np.float64]:
    """Adjust p-values for the false-discovery rate under independence or positive dependence.

    Parameters
    ----------
    p
        p-values, any shape; NaN entries are no tests and stay NaN.

    Returns
    -------
        Adjusted values, same shape; reject at level a where they are at most a.

    References
    ----------
    Y. Benjamini, Y. Hochberg, J. R. Stat. Soc. B 57, 289 (1995).

    Examples
    --------
    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    return _step_up(p, 1.0)


def benjamini_yekutieli(p: NDArray[np.floating]) -> NDArray[np.float64]:
    """Adjust p-values for the false-discovery rate under any dependence.

    As `benjamini_hochberg`, times the harmonic number of the number of tests.

    References
    ----------
    Y. Benjamini, D. Yekutieli, Ann. Stat. 29, 1165 (2001).

    Examples
    --------
    >>> benjamini_yekutieli(np.array([0.01, 0.04])).round(3).tolist()
    [0.03, 0.06]
    """
    n = int(np.sum(~np.isnan(p)))
    return _step_up(p, float(np.sum(1.0 / np.arange(1, n + 1))))


def _step_up(p: NDArray[np.floating], factor: float) -> NDArray[np.float64]:
    flat = np.asarray(p, dtype=np.float64).ravel()
    q = np.full(flat.size, np.nan)
    order = np.argsort(flat, kind="stable")  # NaN sorts last
    n = int(np.sum(~np.isnan(flat)))
    ranked = flat[order[:n]] * factor * n / np.arange(1, n + 1)
    q[order[:n]] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    return q.reshape(np.shape(p))


def empirical_p(value: float, null: NDArray[np.floating]) -> float:
    """One-sided p-value of a value among draws from its null, never zero.

    Parameters
    ----------
    value
        Observed statistic; large is surprising.
    null
        Statistic under the null, shape (draw,).

    Returns
    -------
        (1 + number of draws at least as large) / (1 + number of draws).

    Examples
    --------
    >>> empirical_p(3.0, np.array([0.0, 1.0, 2.0]))
    0.25
    """
    return float((1 + np.sum(np.asarray(null) >= value)) / (1 + np.size(null)))
