"""At which noise a question is decided: rate of an entropy curve and its markers.

    rate = dH / d ln sigma      centred differences on ln sigma, smoothed by [1/4, 1/2, 1/4]

    sigma_peak    largest rate, by a parabola in ln sigma through three points
    sigma_half    H = prior entropy / 2, linear in ln sigma, the crossing at the largest noise
    window        noise levels where the rate is above half its largest value
    sigma_var     largest variance of the surprise -ln p

In high dimension these differ by factors of order one: for a binary mixture they sit at
signal-to-noise 1.51, 1.04, and 1.03. Always say which one is printed.

Source of the surprise variance as a mark of symmetry breaking: Stancevic, Ambrogioni,
arXiv:2508.19897; its form for labels is ours.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SMOOTHING = np.array([0.25, 0.5, 0.25])


def entropy_rate(entropy: Array, sigmas: Array) -> Array:
    """Return dH/d ln sigma of curves, shape (..., noise_level), nats."""
    raw = np.gradient(entropy, np.log(sigmas), axis=-1)
    padded = np.concatenate([raw[..., :1], raw, raw[..., -1:]], axis=-1)
    return (
        SMOOTHING[0] * padded[..., :-2]
        + SMOOTHING[1] * padded[..., 1:-1]
        + SMOOTHING[2] * padded[..., 2:]
    )


def peak(values: Array, sigmas: Array) -> Array:
    """Return the noise level of the largest value of curves (..., noise_level), shape (...).

    Refined by a parabola in ln sigma, except at the ends of the grid.
    """
    log, k = np.log(sigmas), np.argmax(values, axis=-1)
    if len(log) < 3:
        return sigmas[k]
    inner = np.clip(k, 1, len(log) - 2)
    x = [log[inner + step] for step in (-1, 0, 1)]
    y = [_at(values, inner + step) for step in (-1, 0, 1)]
    slope = (y[1] - y[0]) / (x[1] - x[0])
    curvature = ((y[2] - y[1]) / (x[2] - x[1]) - slope) / (x[2] - x[0])
    safe = np.where(curvature < 0, curvature, -1.0)
    vertex = 0.5 * (x[0] + x[1]) - slope / (2 * safe)
    vertex = np.clip(vertex, np.minimum(x[0], x[2]), np.maximum(x[0], x[2]))
    return np.exp(np.where((k == inner) & (curvature < 0), vertex, log[k]))


def crossing(entropy: Array, sigmas: Array, level: float) -> Array:
    """Return the largest noise at which curves (..., noise_level) cross a level, shape (...).

    `sigmas` falls along the curve. A curve that is below the level from the start gives the first
    noise level, one that never falls below gives the last: the end of the grid is a bound then.
    """
    below = entropy <= level
    first = np.where(below.any(axis=-1), np.argmax(below, axis=-1), len(sigmas) - 1)
    found = below.any(axis=-1) & (first > 0)
    return np.exp(_between(entropy, sigmas, np.maximum(first, 1), level, found, first))


def window(rate: Array, sigmas: Array) -> tuple[Array, Array]:
    """Return (low, high) noise of the half-maximum interval around the largest rate.

    Curves (..., noise_level) give ends of shape (...); the grid's end where the rate stays high.
    """
    k, half = np.argmax(rate, axis=-1)[..., None], 0.5 * np.max(rate, axis=-1)
    index, last = np.arange(len(sigmas)), len(sigmas) - 1
    after = (rate < half[..., None]) & (index > k)
    before = (rate < half[..., None]) & (index < k)
    stop = np.where(after.any(axis=-1), np.argmax(after, axis=-1), last)
    start = np.where(before.any(axis=-1), last - np.argmax(before[..., ::-1], axis=-1), -1)
    low = _between(rate, sigmas, np.maximum(stop, 1), half, after.any(axis=-1), stop)
    high = _between(rate, sigmas, start + 1, half, start >= 0, np.maximum(start, 0))
    return np.exp(low), np.exp(high)


def _at(values: Array, index: NDArray[np.integer]) -> Array:
    return np.take_along_axis(values, index[..., None], axis=-1)[..., 0]


def _between(
    values: Array,
    sigmas: Array,
    right: NDArray[np.integer],
    level: Array | float,
    found: NDArray[np.bool_],
    otherwise: NDArray[np.integer],
) -> Array:
    """Return ln sigma where a curve meets a level between right - 1 and right, or a grid point."""
    log, right = np.log(sigmas), np.maximum(right, 1)
    a, b = _at(values, right - 1), _at(values, right)
    gap = np.where(found & (a != b), a - b, 1.0)
    share = np.where(found, (a - level) / gap, 0.0)
    crossing_at = log[right - 1] + share * (log[right] - log[right - 1])
    return np.where(found, crossing_at, log[otherwise])


def closure(rate: Array, sigmas: Array, entropy: Array | float) -> Array:
    """Return the integral of rates over ln sigma, divided by the prior entropy; shape (...).

    Near 1 if the rate, measured on its own, accounts for the whole entropy.
    """
    return np.asarray(-np.trapezoid(rate, np.log(sigmas), axis=-1) / entropy)


def percentile_interval(draws: Array, level: float) -> tuple[Array, Array]:
    """Return (low, high) of resampled values (draw, ...), shapes (...)."""
    tail = 50 * (1 - level)
    low, high = np.percentile(draws, [tail, 100 - tail], axis=0)
    return low, high
