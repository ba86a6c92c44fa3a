"""Noise grids of samplers and time schedules of forward processes.

A schedule is x_t = m_t y + s_t e, 0 <= t <= duration, m_0 = 1, s_0 = 0. Its noise ratio s/m is the
noise level of every denoiser here, and its temperature is

    T = m s d(s/m)/dt >= 0                                                                 (1)

    VE         m = 1,                     s = sigma_max t           T = s ds/dt
    VP-linear  m = exp(-1/2 int beta),    s = sqrt(1 - m^2)         T = beta/2
    cosine     m = cos(pi t/2),           s = sin(pi t/2)
    cond-OT    m = 1 - t,                 s = t

The OT path joins data and noise by the optimal plan; it is not of this form (see `transport`).

Sources: Karras et al., arXiv:2206.00364 (EDM grid); Ikeda et al., arXiv:2407.04495 (schedules and
their temperature); Stancevic et al., arXiv:2504.13612 (entropic time).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irrev.errors import InputError

Array = NDArray[np.float64]


def edm_grid(
    n_levels: int, *, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0
) -> Array:
    """Return the EDM noise levels, descending.

    Parameters
    ----------
    n_levels
        Number of levels, at least 2.
    sigma_min, sigma_max
        Ends of the grid, data units, 0 < sigma_min < sigma_max.
    rho
        Warp: 1 is uniform, large is logarithmic.

    Returns
    -------
        Levels, shape (noise_level,), from sigma_max down to sigma_min.

    Examples
    --------
    >>> edm_grid(3, sigma_min=1.0, sigma_max=4.0, rho=2.0).tolist()
    [4.0, 2.25, 1.0]
    """
    if n_levels < 2 or not 0 < sigma_min < sigma_max:
        raise InputError(
            f"n_levels={n_levels}, sigma_min={sigma_min}, sigma_max={sigma_max}; "
            "use at least 2 levels and 0 < sigma_min < sigma_max."
        )
    share = np.linspace(0, 1, n_levels)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return (high + share * (low - high)) ** rho


def check_grid(sigmas: Array) -> Array:
    """Return the levels as float64 if they are positive and strictly falling."""
    grid = np.asarray(sigmas, dtype=np.float64)
    if grid.ndim != 1 or len(grid) < 2 or not np.all(np.diff(grid) < 0) or grid[-1] <= 0:
        raise InputError(
            f"noise levels {np.array2string(grid, threshold=6)} are not positive and strictly "
            "falling; sort them from large to small, as edm_grid does."
        )
    return grid


def entropic_grid(sigmas: Array, mmse: Array, n_levels: int) -> Array:
    """Place noise levels at equal steps of the information about x_0.

    The clock is phi(sigma) = int mmse(s) s^-3 ds, the entropy H(x_0 | x_sigma) up to a constant.

    Parameters
    ----------
    sigmas
        Measured noise levels, any order, shape (noise_level,).
    mmse
        E|x_0 - D|^2 there, positive, shape (noise_level,).
    n_levels
        Levels of the new grid; the ends are those of `sigmas`.

    Returns
    -------
        New levels, descending, shape (n_levels,).
    """
    order = np.argsort(sigmas)
    log_sigma = np.log(np.asarray(sigmas, dtype=float)[order])
    rate = np.asarray(mmse, dtype=float)[order] / np.exp(2 * log_sigma)  # per ln sigma
    if np.any(rate <= 0):
        raise InputError("mmse has values <= 0; measure it on held-out data, it is positive.")
    fine = np.linspace(log_sigma[0], log_sigma[-1], 4001)
    fine_rate = np.exp(np.interp(fine, log_sigma, np.log(rate)))
    steps = 0.5 * (fine_rate[1:] + fine_rate[:-1]) * np.diff(fine)
    phi = np.concatenate([[0.0], np.cumsum(steps)])
    return np.exp(np.interp(np.linspace(phi[-1], 0, n_levels), phi, fine))


@dataclass(frozen=True)
class Schedule:
    """One forward process: signal m_t and noise s_t with their time derivatives."""

    name: str
    duration: float
    signal: Callable[[Array], Array]
    noise: Callable[[Array], Array]
    signal_rate: Callable[[Array], Array]
    noise_rate: Callable[[Array], Array]

    def ratio(self, time: Array) -> Array:
        """Return the noise ratio s/m, infinite where the signal is gone."""
        with np.errstate(divide="ignore"):
            return self.noise(time) / self.signal(time)

    def temperature(self, time: Array) -> Array:
        """Return T of equation (1), written without dividing by m."""
        m, s = self.signal(time), self.noise(time)
        with np.errstate(divide="ignore", invalid="ignore"):
            decay = np.where(m > 0, s * self.signal_rate(time) / m, -np.inf)
        return s * (self.noise_rate(time) - decay)


def _zeros(time: Array) -> Array:
    return np.zeros_like(np.asarray(time, dtype=float))


def variance_exploding(*, sigma_max: float = 80.0, duration: float = 1.0) -> Schedule:
    """Add noise at constant speed up to sigma_max; the signal stays."""
    rate = sigma_max / duration
    return Schedule(
        "ve",
        duration,
        lambda t: _zeros(t) + 1.0,
        lambda t: rate * np.asarray(t, dtype=float),
        _zeros,
        lambda t: _zeros(t) + rate,
    )


def cosine(*, duration: float = 1.0) -> Schedule:
    """Walk the variance-preserving circle at constant angular speed."""
    w = np.pi / (2 * duration)
    return Schedule(
        "cosine",
        duration,
        lambda t: np.cos(w * np.asarray(t)),
        lambda t: np.sin(w * np.asarray(t)),
        lambda t: -w * np.sin(w * np.asarray(t)),
        lambda t: w * np.cos(w * np.asarray(t)),
    )


def cond_ot(*, duration: float = 1.0) -> Schedule:
    """Fade linearly from data to noise."""
    return Schedule(
        "cond_ot",
        duration,
        lambda t: 1 - np.asarray(t, dtype=float) / duration,
        lambda t: np.asarray(t, dtype=float) / duration,
        lambda t: _zeros(t) - 1 / duration,
        lambda t: _zeros(t) + 1 / duration,
    )


def vp_linear(*, beta0: float = 0.1, beta1: float = 20.0, duration: float = 1.0) -> Schedule:
    """Preserve variance with a rate that grows linearly from beta0 to beta1."""

    def beta(t: Array) -> Array:
        return beta0 + (beta1 - beta0) * np.asarray(t, dtype=float) / duration

    def integral(t: Array) -> Array:
        t = np.asarray(t, dtype=float)
        return beta0 * t + (beta1 - beta0) * t**2 / (2 * duration)

    def noise(t: Array) -> Array:
        return np.sqrt(-np.expm1(-integral(t)))

    def noise_rate(t: Array) -> Array:
        with np.errstate(divide="ignore"):
            return 0.5 * beta(t) * np.exp(-integral(t)) / noise(t)

    return Schedule(
        "vp_linear",
        duration,
        lambda t: np.exp(-0.5 * integral(t)),
        noise,
        lambda t: -0.5 * beta(t) * np.exp(-0.5 * integral(t)),
        noise_rate,
    )


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "ve": variance_exploding,
    "vp_linear": vp_linear,
    "cosine": cosine,
    "cond_ot": cond_ot,
}
