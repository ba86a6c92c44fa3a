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


def peak(values: Array, sigmas: Array) -> float:
    """Return the noise level of the largest value, refined by a parabola in ln sigma."""
    k = int(np.argmax(values))
    if k in (0, len(values) - 1):
        return float(sigmas[k])
    x, y = np.log(sigmas[k - 1 : k + 2]), values[k - 1 : k + 2]
    slopes = np.diff(y) / np.diff(x)
    curvature = np.diff(slopes)[0] / (x[2] - x[0])
    if curvature >= 0:
        return float(sigmas[k])
    vertex = 0.5 * (x[0] + x[1]) - slopes[0] / (2 * curvature)
    return float(np.exp(np.clip(vertex, x.min(), x.max())))


def crossing(entropy: Array, sigmas: Array, level: float) -> float:
    """Return the largest noise at which a curve crosses a level.

    `sigmas` falls along the curve. A curve that is below the level from the start gives the first
    noise level, one that never falls below gives the last: the end of the grid is a bound then.
    """
    below = np.flatnonzero(entropy <= level)
    if len(below) == 0:
        return float(sigmas[-1])
    k = int(below[0])
    if k == 0:
        return float(sigmas[0])
    share = (entropy[k - 1] - level) / (entropy[k - 1] - entropy[k])
    log = np.log(sigmas)
    return float(np.exp(log[k - 1] + share * (log[k] - log[k - 1])))


def window(rate: Array, sigmas: Array) -> tuple[float, float]:
    """Return (low, high) noise of the half-maximum interval around the largest rate."""
    k, half = int(np.argmax(rate)), 0.5 * float(np.max(rate))
    high = _edge(rate[k::-1], sigmas[k::-1], half)
    low = _edge(rate[k:], sigmas[k:], half)
    return low, high


def _edge(rate: Array, sigmas: Array, half: float) -> float:
    """First crossing of half the maximum along a one-sided stretch that starts at the peak."""
    below = np.flatnonzero(rate < half)
    if len(below) == 0:
        return float(sigmas[-1])
    k = int(below[0])
    log = np.log(sigmas)
    share = (rate[k - 1] - half) / (rate[k - 1] - rate[k])
    return float(np.exp(log[k - 1] + share * (log[k] - log[k - 1])))


def closure(rate: Array, sigmas: Array, entropy: float) -> float:
    """Return the integral of a rate over ln sigma, divided by the prior entropy.

    Near 1 if the rate, measured on its own, accounts for the whole entropy.
    """
    return float(-np.trapezoid(rate, np.log(sigmas)) / entropy)


def spectral_marker(data: Array, labels: NDArray[np.integer] | None = None) -> float:
    """Return the noise sqrt(Lambda) at which the data's widest direction drowns.

    Parameters
    ----------
    data
        Data, shape (sample, *dim).
    labels
        With labels, Lambda is the top eigenvalue of the between-class covariance (classes weighted
        by their counts); without, of the total covariance.

    Returns
    -------
        Noise level, data units. In the time of dx = -x dt + sqrt(2) dW the speciation time is
        (1/2) ln Lambda (Biroli et al., Nat. Commun. 15, 9957 (2024)).
    """
    flat = np.asarray(data, dtype=float).reshape(len(data), -1)
    centred = flat - flat.mean(0)
    if labels is not None:
        y = np.asarray(labels)
        centred = np.stack([centred[y == c].mean(0) for c in np.unique(y)])[
            np.searchsorted(np.unique(y), y)
        ]
    return float(np.linalg.norm(centred, 2) / np.sqrt(len(flat)))
