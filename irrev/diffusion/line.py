"""Reference solver of the speed-accuracy relation for Gaussian mixtures on a line.

In one dimension a flow keeps quantiles, and its velocity is a gradient. With the mixture
P_t = sum_k w_k N(m mu_k, S_k^2), S_k^2 = m^2 s_k^2 + noise^2, and a start of density rho P_tau,

    nu = sum_k r_k [dm/dt mu_k + (dS_k/dt)/S_k (x - m mu_k)]                                (1)
    v_2^2 = int nu^2 P_t dx                                                                 (2)
    dW1/dt = int sign(F~ - F) nu P_t (1 - rho(y)) dx,   y = F_tau^-1(F_t(x)),  F~ = G(y)    (3)

F, F~ are the distribution functions of the true and the perturbed flow, G that of the start. No
differential equation is solved and nothing diverges at the ends.

With an exact velocity the generated law, and with it eta, is the same for every schedule here:
it is the same monotone map. Differences between schedules in a published one-dimensional table
can only come from its numerics; c_1, c_2 and v_loss(t) do differ.

Source: Ikeda et al., arXiv:2407.04495 (quantities); equations (1)-(3) are derived here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from irrev.diffusion.schedules import Schedule
from irrev.errors import InputError

Array = NDArray[np.float64]
N_NODES = 40001
REACH = 12.0  # standard deviations beyond the outer modes
SCORES = np.linspace(-9.0, 9.0, 6001)


@dataclass(frozen=True)
class LineMixture:
    """Gaussian mixture on a line; a single Gaussian is one of one component."""

    weights: Array  # (component,)
    means: Array
    sds: Array

    def cdf(self, x: Array) -> Array:
        """Return P(X <= x)."""
        return ndtr((x[..., None] - self.means) / self.sds) @ self.weights

    def survival(self, x: Array) -> Array:
        """Return P(X > x)."""
        return ndtr((self.means - x[..., None]) / self.sds) @ self.weights

    def density(self, x: Array) -> Array:
        """Return the probability density."""
        z = (x[..., None] - self.means) / self.sds
        return (np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / self.sds) @ self.weights

    def quantiles(self, scores: Array) -> Array:
        """Return the quantiles at standard-normal scores, by bisection on the smaller tail."""
        reach = np.max(np.abs(self.means)) + 40 * np.max(self.sds)
        low, high = np.full_like(scores, -reach), np.full_like(scores, reach)
        tail = ndtr(-np.abs(scores))
        for _ in range(80):
            middle = 0.5 * (low + high)
            left = np.where(scores < 0, self.cdf(middle) < tail, self.survival(middle) > tail)
            low, high = np.where(left, middle, low), np.where(left, high, middle)
        return 0.5 * (low + high)


@dataclass(frozen=True)
class Uniform:
    """Uniform start on an interval."""

    low: float
    high: float

    def cdf(self, x: Array) -> Array:
        """Return P(X <= x)."""
        return np.clip((x - self.low) / (self.high - self.low), 0, 1)

    def density(self, x: Array) -> Array:
        """Return the probability density."""
        return np.where((x >= self.low) & (x <= self.high), 1 / (self.high - self.low), 0.0)


@dataclass(frozen=True)
class SpeedAccuracy:
    """Relation eta <= c_1 <= c_2 of one schedule and one perturbed start."""

    time: Array  # (time,) quadrature nodes
    time_weight: Array  # (time,)
    v2_squared: Array  # (time,)
    v_loss_squared: Array  # (time,)
    w1_data: float  # W1 of data and generated law
    w1_start: float  # W1 of the two starts
    chi_squared: float  # D_0
    eta: float
    c1: float
    c2: float

    @property
    def slack(self) -> float:
        """Return the smaller of c_1 - eta and c_2 - c_1."""
        return min(self.c1 - self.eta, self.c2 - self.c1)


def line_mixture(weights: ArrayLike, means: ArrayLike, sds: ArrayLike) -> LineMixture:
    """Make a mixture; weights are normalised.

    Examples
    --------
    >>> float(line_mixture([1], [0], [1]).cdf(np.array(0.0)))
    0.5
    """
    w, mu, sd = (np.atleast_1d(np.asarray(a, dtype=float)) for a in (weights, means, sds))
    if not w.shape == mu.shape == sd.shape or np.any(sd <= 0) or np.any(w < 0):
        raise InputError(f"weights {w}, means {mu}, sds {sd}; give one each, sds positive.")
    return LineMixture(w / w.sum(), mu, sd)


def marginal(data: LineMixture, schedule: Schedule, time: float) -> LineMixture:
    """Return the law of x_t."""
    m, s = float(schedule.signal(np.array(time))), float(schedule.noise(np.array(time)))
    return LineMixture(data.weights, m * data.means, np.sqrt((m * data.sds) ** 2 + s**2))


def velocity(data: LineMixture, schedule: Schedule, time: float, x: Array) -> Array:
    """Return the mean velocity at x, equation (1)."""
    t = np.array(time)
    m, dm = float(schedule.signal(t)), float(schedule.signal_rate(t))
    s, ds = float(schedule.noise(t)), float(schedule.noise_rate(t))
    law = marginal(data, schedule, time)
    growth = (m * dm * data.sds**2 + s * ds) / law.sds**2
    gap = x[:, None] - law.means
    z = gap / law.sds
    log_r = np.log(law.weights) - np.log(law.sds) - z**2 / 2
    r = np.exp(log_r - log_r.max(axis=1, keepdims=True))
    r /= r.sum(axis=1, keepdims=True)
    return np.sum(r * (dm * data.means + growth * gap), axis=1)


def speed_accuracy_line(
    data: LineMixture,
    schedule: Schedule,
    start: LineMixture | Uniform,
    *,
    n_times: int = 64,
    n_nodes: int = N_NODES,
) -> SpeedAccuracy:
    """Solve the speed-accuracy relation on a line.

    Parameters
    ----------
    data
        Data law.
    schedule
        Forward process; its end law is the reference that `start` replaces.
    start
        Law from which the generation starts instead.
    n_times
        Gauss-Legendre nodes in time.
    n_nodes
        Nodes in space.
    """
    nodes, weights = np.polynomial.legendre.leggauss(n_times)
    tau = schedule.duration
    times, weights = 0.5 * tau * (nodes + 1), 0.5 * tau * weights
    end = marginal(data, schedule, tau)
    table = end.quantiles(SCORES)
    chi = chi_squared(start, end)
    v2, loss = np.empty(n_times), np.empty(n_times)
    for i, t in enumerate(times):
        x, density, y, sign = _flow(data, schedule, float(t), start, table, n_nodes)
        nu = velocity(data, schedule, float(t), x)
        ratio = start.density(y) / end.density(y)
        v2[i] = np.trapezoid(nu**2 * density, x)
        loss[i] = np.trapezoid(sign * nu * density * (1 - ratio), x) ** 2 / chi
    w1_data, w1_start = (_w1(data, schedule, t, start, table, n_nodes) for t in (0.0, tau))
    eta = (w1_data - w1_start) ** 2 / (tau * chi)
    c1, c2 = float(weights @ loss), float(weights @ v2)
    return SpeedAccuracy(times, weights, v2, loss, w1_data, w1_start, chi, eta, c1, c2)


def optimal_transport_line(
    data: LineMixture, start: LineMixture | Uniform, *, duration: float = 1.0
) -> SpeedAccuracy:
    """Solve the relation for the optimal path from N(0, 1): c_1 = eta and c_2 = W2^2 exactly.

    Quantile gaps keep their sign along the path, so W1 is linear in time.
    """
    from irrev.diffusion.schedules import cond_ot

    schedule = cond_ot(duration=duration)
    solved = speed_accuracy_line(data, schedule, start, n_times=2)
    # Over places, not over quantiles: these jump across an empty gap.
    x, density, y, _ = _flow(data, schedule, 0.0, start, SCORES, N_NODES)
    w2 = float(np.trapezoid((x - y) ** 2 * density, x))
    flat = np.ones(2)
    return SpeedAccuracy(
        solved.time,
        solved.time_weight,
        flat * w2 / duration**2,
        flat * solved.eta / duration,
        solved.w1_data,
        solved.w1_start,
        solved.chi_squared,
        solved.eta,
        solved.eta,
        w2 / duration,
    )


def chi_squared(start: LineMixture | Uniform, end: LineMixture) -> float:
    """Return the Pearson distance int (start - end)^2 / end dx.

    Raises
    ------
    InputError
        If it is infinite: a start with twice the variance of the end, or more.
    """
    if isinstance(start, LineMixture) and np.max(start.sds) ** 2 >= 2 * np.max(end.sds) ** 2:
        raise InputError(
            f"start has standard deviation {np.max(start.sds):.3g}, the end "
            f"{np.max(end.sds):.3g}: the chi-square distance is infinite; use less than 1.41 x."
        )
    reach = np.max(np.abs(end.means)) + 37 * np.max(end.sds)  # exp(-37^2/2) is the smallest double
    x = np.linspace(-reach, reach, 400001)
    p = end.density(x)
    ratio = np.divide(start.density(x), p, out=np.ones_like(p), where=p > 0)
    return float(np.trapezoid((ratio - 1) ** 2 * p, x))


def _flow(
    data: LineMixture,
    schedule: Schedule,
    time: float,
    start: LineMixture | Uniform,
    table: Array,
    n_nodes: int,
) -> tuple[Array, Array, Array, Array]:
    """Return nodes, density, their images at the end, and sign(F~ - F) at one time."""
    law = marginal(data, schedule, time)
    reach = REACH * law.sds
    x = np.linspace(np.min(law.means - reach), np.max(law.means + reach), n_nodes)
    score = _scores(law, x)
    y = np.interp(score, SCORES, table)
    return x, law.density(x), y, np.sign(start.cdf(y) - ndtr(score))


def _scores(law: LineMixture, x: Array) -> Array:
    """Standard-normal score of x, from the smaller tail."""
    lower = law.cdf(x)
    left = lower < 0.5
    out = np.empty_like(x)
    out[left] = ndtri(lower[left])
    out[~left] = -ndtri(law.survival(x[~left]))
    return np.clip(out, SCORES[0], SCORES[-1])


def _w1(
    data: LineMixture,
    schedule: Schedule,
    time: float,
    start: LineMixture | Uniform,
    table: Array,
    n_nodes: int,
) -> float:
    law = marginal(data, schedule, time)
    reach = REACH * law.sds
    x = np.linspace(np.min(law.means - reach), np.max(law.means + reach), n_nodes)
    score = _scores(law, x)
    y = np.interp(score, SCORES, table)
    return float(np.trapezoid(np.abs(ndtr(score) - start.cdf(y)), x))
