"""A two-dimensional process with a rotating, non-conservative force: cost with a known split.

    f(x, t) = [[H, -G], [G, H]] x,   H = -h (1 - t/tau) - T,  G = g (1 - t/tau),
    T = T_end (t/tau)^2                                                                     (1)

From a data point y the state is Gaussian with mean exp(a) R(b) y, a = int H, b = int G, and
covariance S I with dS/dt = 2 H S + 2 T, S(0) = 0, so the score of any finite data set is that of a
mixture. On Gaussian data the velocity is linear and `transport.gaussian_cost_split` applies.

Rotation raises the dissipative cost without moving the density: all of it is housekeeping when
the data are isotropic.

Source: Ikeda et al., arXiv:2407.04495, equation (99) and appendix G; the split is derived here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from irrev.diffusion.transport import CostSplit, gaussian_cost_split
from irrev.errors import ConvergenceError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RotatingForce:
    """Parameters of equation (1); defaults as published, the duration is our inference."""

    rotation: float = 0.0  # g
    contraction: float = 1.1  # h
    end_temperature: float = 0.5  # T_end
    duration: float = 10.0  # tau: ends at standard deviation 0.896

    def temperature(self, time: float) -> float:
        """Return T at a time."""
        return self.end_temperature * (time / self.duration) ** 2

    def matrix(self, time: float) -> Array:
        """Return the force matrix at a time, shape (2, 2)."""
        left = 1 - time / self.duration
        h, g = -self.contraction * left - self.temperature(time), self.rotation * left
        return np.array([[h, -g], [g, h]])

    def propagator(self, time: float) -> Array:
        """Return exp(a) R(b): where the mean of one data point goes, shape (2, 2)."""
        s, tau = time / self.duration, self.duration
        a = -self.contraction * tau * (s - s**2 / 2) - self.end_temperature * tau * s**3 / 3
        b = self.rotation * tau * (s - s**2 / 2)
        return np.exp(a) * np.array([[np.cos(b), -np.sin(b)], [np.sin(b), np.cos(b)]])

    def spread(self, times: Array) -> Array:
        """Return S at rising times > 0, shape (time,)."""

        def rate(t: float, s: Array) -> Array:
            return 2 * self.matrix(t)[0, 0] * s + 2 * self.temperature(t)

        end = float(np.max(times))
        solution = solve_ivp(rate, (0, end), [0.0], t_eval=times, rtol=1e-10, atol=1e-14)
        return solution.y[0]


def gaussian_costs(force: RotatingForce, cov: Array) -> CostSplit:
    """Integrate the speed cost and its parts for Gaussian data.

    Parameters
    ----------
    force
        The process.
    cov
        Covariance of the data, shape (2, 2), positive definite.

    Returns
    -------
        Integrals over the duration, data units squared per time.
    """

    def rate(t: float, state: Array) -> Array:
        c = state[:4].reshape(2, 2)
        # nu = f - T grad ln p with grad ln p = -C^-1 x.
        gradient = force.matrix(t) + force.temperature(t) * np.linalg.inv(c)
        split = gaussian_cost_split(c, gradient)
        moved = gradient @ c
        return np.concatenate([(moved + moved.T).ravel(), [split.total, split.excess]])

    start = np.concatenate([np.asarray(cov, dtype=float).ravel(), [0.0, 0.0]])
    solution = solve_ivp(rate, (0, force.duration), start, rtol=1e-10, atol=1e-13)
    if not solution.success:
        raise ConvergenceError(f"{solution.message}; use a positive definite cov.", solution.y)
    total, excess = solution.y[4:, -1]
    return CostSplit(float(total), float(excess), float(total - excess))


def point_velocity(
    force: RotatingForce, data: Array, time: float, spread: float, x: Array
) -> Array:
    """Return the mean velocity at places x for a finite data set.

    Parameters
    ----------
    data
        Data points, shape (sample, 2).
    time, spread
        Time > 0 and S there, from `RotatingForce.spread`.
    x
        Places, shape (place, 2).
    """
    means = data @ force.propagator(time).T
    score = (_weights(means, spread, x) @ means - x) / spread
    return x @ force.matrix(time).T - force.temperature(time) * score


def point_means(force: RotatingForce, data: Array, time: float, spread: float, x: Array) -> Array:
    """Return the expected data point of places x; parameters as in `point_velocity`."""
    return _weights(data @ force.propagator(time).T, spread, x) @ data


def _weights(means: Array, spread: float, x: Array) -> Array:
    """Return the posterior of the data points, shape (place, sample)."""
    # |x - m|^2 without |x|^2, which is the same for all points
    log_r = (x @ means.T - 0.5 * np.sum(means**2, axis=1)) / spread
    r = np.exp(log_r - log_r.max(axis=1, keepdims=True))
    return r / r.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class PointCosts:
    """Speed cost of a finite data set, Monte Carlo."""

    time: Array  # (time,) midpoints
    speed_cost: Array  # E|nu|^2 there
    total: float  # its integral, w_D
    stderr: float  # of the integral


def point_costs(
    force: RotatingForce,
    data: Array,
    rng: np.random.Generator,
    *,
    n_states: int = 2000,
    n_times: int = 101,
) -> PointCosts:
    """Integrate the speed cost of a finite data set under its exact mean velocity.

    Parameters
    ----------
    force
        The process.
    data
        Data points, shape (sample, 2).
    rng
        Source of the states.
    n_states, n_times
        States at each time and midpoints in time.
    """
    times = (np.arange(n_times) + 0.5) / n_times * force.duration
    mean, error = np.empty(n_times), np.empty(n_times)
    for i, (t, spread) in enumerate(zip(times, force.spread(times), strict=True)):
        points = data[rng.integers(len(data), size=n_states)] @ force.propagator(t).T
        x = points + np.sqrt(spread) * rng.standard_normal((n_states, 2))
        squares = np.sum(point_velocity(force, data, float(t), float(spread), x) ** 2, axis=1)
        mean[i], error[i] = squares.mean(), squares.std() / np.sqrt(n_states)
    step = force.duration / n_times
    return PointCosts(
        times, mean, float(mean.sum() * step), float(np.sqrt(np.sum(error**2)) * step)
    )
