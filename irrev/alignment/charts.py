"""Detectors on S(t): cumulative sums of standardised entropy, and a line through recent bins.

    c <- max(0, c + z - k),   z = (S - S_base) / sd_base,   alarm at c > h                   (1)

Entropies of short bins are skewed, so h is set by simulating the baseline (`cusum_threshold`);
for normal z the mean run length is Siegmund's formula. S can stay flat while classes swap: use
these beside the test on counts (`drift_test`), not instead of it.

Source: E. Page, Biometrika 41, 100 (1954); D. Siegmund, Sequential Analysis (1985).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as distributions

METHOD_VERSION = 1
CUSUM_SLACK = 0.5  # tuned to a shift of one standard deviation
DRIFT_THRESHOLD = 0.01  # nats per bin
SLOPE_WINDOW = 40  # bins
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cusum:
    """Cumulative sums of standardised entropy, both ways."""

    up: Array  # (..., bin)
    down: Array
    threshold: float

    @property
    def alarm(self) -> NDArray[np.bool_]:
        """Return which bins exceed the threshold on either side."""
        return np.maximum(self.up, self.down) > self.threshold


def cusum(z: ArrayLike, *, threshold: float, slack: float = CUSUM_SLACK) -> Cusum:
    """Add up standardised entropies, eq. (1); NaN bins leave the sums as they are.

    Parameters
    ----------
    z
        (S - S_base) / sd_base, shape (..., bin).
    threshold
        h; from `cusum_threshold`, or `siegmund_run_length` for normal z.
    slack
        k, half the shift to be found.
    """
    z = np.asarray(z, dtype=np.float64)
    up, down = np.zeros(z.shape), np.zeros(z.shape)
    u = d = np.zeros(z.shape[:-1])
    for t in range(z.shape[-1]):
        seen = np.isfinite(z[..., t])
        u = np.where(seen, np.maximum(0.0, u + z[..., t] - slack), u)
        d = np.where(seen, np.maximum(0.0, d - z[..., t] - slack), d)
        up[..., t], down[..., t] = u, d
    return Cusum(up, down, threshold)


def siegmund_run_length(threshold: float, *, slack: float = CUSUM_SLACK) -> float:
    """Return the mean run length of a one-sided CUSUM on standard normal z, in bins.

    Examples
    --------
    >>> round(siegmund_run_length(4.0)), round(siegmund_run_length(5.0))
    (338, 938)
    """
    b = threshold + 1.166
    return float((np.exp(2 * slack * b) - 2 * slack * b - 1) / (2 * slack**2))


def cusum_threshold(
    z: ArrayLike,
    *,
    run_length: float = 1000.0,
    slack: float = CUSUM_SLACK,
    n_streams: int = 200,
    rng: np.random.Generator,
) -> float:
    """Find h for a two-sided mean run length, by simulation.

    Parameters
    ----------
    z
        Standardised entropies of clean bins, shape (draw,), simulated from the baseline
        multinomial, so that their skewness is that of short bins; or shape (law, draw), one row
        a law drawn from the baseline's posterior: an estimated baseline is off by the same
        amount in all bins of a stream, which shortens run lengths.
    run_length
        Mean number of clean bins between false alarms.
    slack, n_streams, rng
        k, number of simulated streams of three run lengths each, source of the draws.

    Returns
    -------
        Threshold h.
    """
    pool = np.atleast_2d(np.asarray(z, dtype=np.float64))
    n_bins = int(3 * run_length)
    law = rng.integers(len(pool), size=(n_streams, 1))
    draws = pool[law, rng.integers(pool.shape[1], size=(n_streams, n_bins))]
    sums = cusum(draws, threshold=np.inf, slack=slack)
    peak = np.maximum.accumulate(np.maximum(sums.up, sums.down), axis=1)
    low, high = 0.0, float(peak.max())
    for _ in range(30):
        h = 0.5 * (low + high)
        crossed = peak > h
        waits = np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, n_bins)
        # censored exponential waiting times: total time over number of alarms
        mean = waits.sum() / max(int(crossed.any(axis=1).sum()), 1)
        low, high = (h, high) if mean < run_length else (low, h)
    return high


@dataclass(frozen=True, slots=True)
class EntropyDrift:
    """Slope of S over a window."""

    value: float  # nats per bin
    low: float
    high: float
    n_bins: int


def entropy_drift(
    S: ArrayLike, variance: ArrayLike | None = None, *, level: float = 0.95
) -> EntropyDrift:
    """Fit a line to S by weighted least squares.

    Parameters
    ----------
    S
        Entropies of successive bins, nats, shape (bin,); NaN bins are left out.
    variance
        Variance of each, for weights 1/variance; equal if not given.
    level
        Coverage of the interval, from t with two degrees of freedom less than bins.

    Returns
    -------
        Slope per bin with its interval; NaN with fewer than four bins.
    """
    S = np.asarray(S, dtype=np.float64)
    seen = np.isfinite(S)
    if seen.sum() < 4:
        return EntropyDrift(np.nan, np.nan, np.nan, int(seen.sum()))
    t, y = np.flatnonzero(seen).astype(float), S[seen]
    w = np.ones(y.size) if variance is None else 1.0 / np.asarray(variance)[seen]
    w = w / w.sum()
    centre = w @ t
    spread = w @ (t - centre) ** 2
    slope = float(w @ ((t - centre) * y) / spread)
    residual = y - w @ y - slope * (t - centre)
    se = np.sqrt((w @ residual**2) / (y.size - 2) / spread)
    half = float(distributions.t.ppf((1 + level) / 2, y.size - 2) * se)
    return EntropyDrift(slope, slope - half, slope + half, y.size)


def slope_alarms(
    S: ArrayLike,
    variance: ArrayLike | None = None,
    *,
    window: int = SLOPE_WINDOW,
    threshold: float = DRIFT_THRESHOLD,
    level: float = 0.95,
    n_successive: int = 2,
) -> NDArray[np.bool_]:
    """Find bins where the one-sided lower limit of dS/dt exceeds a threshold, several in a row.

    Returns
    -------
        Alarm at each bin, shape (bin,); none before the first full window.
    """
    S = np.asarray(S, dtype=np.float64)
    above = np.zeros(S.size, dtype=np.bool_)
    for stop in range(window, S.size + 1):
        part = slice(stop - window, stop)
        weights = None if variance is None else np.asarray(variance)[part]
        above[stop - 1] = entropy_drift(S[part], weights, level=2 * level - 1).low > threshold
    out = above.copy()
    for back in range(1, n_successive):
        out[back:] &= above[:-back]
        out[:back] = False
    return out


def expected_false_alarms(*, n_streams: int, bins_per_day: float, run_length: float) -> float:
    """Return the false alarms to expect per day: streams x bins per day / mean run length."""
    return n_streams * bins_per_day / run_length
