"""Least work of driven tasks: exact optima and finite-time bounds to compare a protocol with.

Trap 0 -> a in time t, U = k (x - c)^2 / 2, mobility m (underdamped: 1/g, any mass):

    W* = k a^2 / (2 + m k t),  c(s) = a (1 + m k s) / (2 + m k t), jumps at both ends        (1)
    constant speed  W = a^2 / (m t^2) (t + (e^{-m k t} - 1) / (m k))   (overdamped)          (2)

The same trap told no end, a particle to be brought to a, loss W + alpha (<x> - a)^2:

    <x_t> = a alpha m t / (1 + alpha m t),  W* = <x_t>^2 / (m t)                             (5)

Trap stiffness k0 -> k1, q = 1/(m t), s^2 = <x^2>, s linear in time, s0 = sqrt(T/k0):

    s1 = (s0 q + sqrt(s0^2 q^2 + (k1 + 2q) T)) / (k1 + 2q)
    W* = k1 s1^2/2 - T/2 - T ln(s1/s0) + (s1 - s0)^2 q,    k = T/s^2 - s'/(m s)              (3)

Bit in U = E (x^2 - 1)^2 with full control of the energy, from equilibrium to the mixture
(e, 1 - e) of local equilibria:

    W >= T (ln 2 - H(e)) + W2^2 / (m t),   W2^2 = int_0^1 (Q0 - Q1)^2 du                     (4)

with Q the quantile functions. An end out of local equilibrium costs less:
`irrev.control.well_bound`.

Piecewise-constant protocols (K values, exact in between) of a linear system have a quadratic mean
work: `translation_optimum` solves it, also for the Euler and kick schemes themselves, so that a
learned protocol is compared with the optimum of its own chain: eq. (1) is a limit K -> infinity,
dt -> 0.

Underdamped flip (m = T = 1): the well is replaced by k x^2/2 for half a period; the linear map is
exact, so work and error are one-dimensional integrals (`bit_flip`).

Sources: T. Schmiedl, U. Seifert, Phys. Rev. Lett. 98, 108301 (2007) for (1, 3); K. Proesmans,
J. Ehrich, J. Bechhoefer, Phys. Rev. Lett. 125, 100602 (2020) for (4); K. J. Ray et al., Phys. Rev.
Research 3, 023164 (2021) for the flip. Piecewise-constant optima and the flip's integrals derived
here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import expm
from scipy.optimize import minimize, minimize_scalar
from scipy.special import ndtr, xlogy

from irrev.control.checks import require_positive
from irrev.errors import InputError

Array = NDArray[np.float64]
GRID = 40_001  # nodes of one-dimensional integrals: errors below 1e-6 of these smooth densities
REACH = 60.0  # energies in kT at which a tabulated density ends


# --- trap translation, eqs. (1, 2) --------------------------------------------------------------


def translation_work(
    distance: float, duration: float, *, stiffness: float = 1.0, mobility: float = 1.0
) -> float:
    """Least mean work of moving a trap, eq. (1), in energy units.

    Underdamped: give `mobility` as 1 / friction; the mass does not matter.

    Examples
    --------
    >>> round(translation_work(1.0, 1.0), 5)
    0.33333
    """
    require_positive(duration=duration, stiffness=stiffness, mobility=mobility)
    return stiffness * distance**2 / (2 + mobility * stiffness * duration)


def translation_protocol(
    time: ArrayLike,
    distance: float,
    duration: float,
    *,
    stiffness: float = 1.0,
    mobility: float = 1.0,
) -> Array:
    """Optimal centre of an overdamped trap at times inside (0, duration), eq. (1)."""
    rate = mobility * stiffness
    lead = 1 + rate * np.asarray(time, dtype=np.float64)
    return np.asarray(distance * lead / (2 + rate * duration), dtype=np.float64)


def linear_translation_work(
    distance: float, duration: float, *, stiffness: float = 1.0, mobility: float = 1.0
) -> float:
    """Mean work of moving an overdamped trap at constant speed, eq. (2)."""
    rate = mobility * stiffness
    held = duration + np.expm1(-rate * duration) / rate
    return float(distance**2 / (mobility * duration**2) * held)


@dataclass(frozen=True, slots=True)
class PiecewiseWork:
    """Quadratic mean work of piecewise-constant trap centres: constant + linear.c + c.Q.c."""

    constant: float
    linear: Array  # (interval,)
    quadratic: Array  # (interval, interval), symmetric

    def work(self, centres: ArrayLike) -> float:
        """Return the exact mean work of the protocol."""
        c = np.asarray(centres, dtype=np.float64)
        return float(self.constant + self.linear @ c + c @ self.quadratic @ c)

    def gradient(self, centres: ArrayLike) -> Array:
        """Return the exact gradient of the mean work, (interval,)."""
        slope = self.linear + 2 * self.quadratic @ np.asarray(centres, dtype=np.float64)
        return np.asarray(slope, dtype=np.float64)

    @property
    def optimum(self) -> Array:
        """Centres of least work, (interval,)."""
        return np.asarray(np.linalg.solve(2 * self.quadratic, -self.linear), dtype=np.float64)


def translation_optimum(
    distance: float,
    duration: float,
    *,
    n_intervals: int,
    stiffness: float = 1.0,
    mobility: float = 1.0,
    mass: float | None = None,
    substeps: int | None = None,
) -> PiecewiseWork:
    """Return the exact mean work of piecewise-constant trap centres and its optimum.

    Parameters
    ----------
    distance, duration, stiffness, mobility
        The trap moves from 0 to `distance`; jumps at both ends are part of the work.
    n_intervals
        Values of the centre, at least 1.
    mass
        Underdamped with friction 1 / mobility where given.
    substeps
        Steps an interval of the Euler or kick scheme; None: exact motion.

    Examples
    --------
    >>> best = translation_optimum(1.0, 1.0, n_intervals=10)
    >>> round(best.work(best.optimum), 5)
    0.33343
    """
    require_positive(
        duration=duration, stiffness=stiffness, mobility=mobility, n_intervals=n_intervals
    )
    motion = _mean_motion(duration, n_intervals, stiffness, mobility, mass, substeps)
    quadratic = motion.quadratic
    quadratic[-1] += motion.end
    quadratic = 0.5 * stiffness * (quadratic + quadratic.T)
    return PiecewiseWork(
        0.5 * stiffness * distance**2, -stiffness * distance * motion.end, quadratic
    )


@dataclass(frozen=True, slots=True)
class Delivery:
    """Quadratic mean work and error of a trap that is not told where to end.

    error = (mean end position - target)^2; the optimum of work + weight * error is exact.
    """

    work: PiecewiseWork
    end: Array  # mean end position = end . centres
    target: float

    def error(self, centres: ArrayLike) -> float:
        """Return the squared distance of the mean end position from the target."""
        return float((self.end @ np.asarray(centres, dtype=np.float64) - self.target) ** 2)

    def optimum(self, error_weight: float) -> Array:
        """Centres of least work + weight * error, (interval,)."""
        matrix = 2 * self.work.quadratic + 2 * error_weight * np.outer(self.end, self.end)
        pull = 2 * error_weight * self.target * self.end
        return np.asarray(np.linalg.solve(matrix, pull), dtype=np.float64)


def delivery_optimum(
    target: float,
    duration: float,
    *,
    n_intervals: int,
    stiffness: float = 1.0,
    mobility: float = 1.0,
    substeps: int | None = None,
) -> Delivery:
    """Return the exact work and error of bringing an overdamped particle to a target.

    Arguments as in `translation_optimum`; the last centre is kept, without a jump at the end.

    Examples
    --------
    >>> case = delivery_optimum(1.0, 1.0, n_intervals=1000)
    >>> best = case.optimum(4.0)
    >>> round(case.work.work(best) + 4 * case.error(best), 2), delivery_loss(1.0, 1.0, 4.0)
    (0.8, 0.8)
    """
    require_positive(
        duration=duration, stiffness=stiffness, mobility=mobility, n_intervals=n_intervals
    )
    motion = _mean_motion(duration, n_intervals, stiffness, mobility, None, substeps)
    quadratic = 0.5 * stiffness * (motion.quadratic + motion.quadratic.T)
    quadratic[-1, -1] += 0.5 * stiffness
    work = PiecewiseWork(0.0, np.zeros(n_intervals), quadratic)
    return Delivery(work, motion.end, target)


def delivery_loss(
    target: float, duration: float, error_weight: float, *, mobility: float = 1.0
) -> float:
    """Least mean work + weight * error of a delivery with jumps at both ends, eq. (5)."""
    require_positive(duration=duration, error_weight=error_weight, mobility=mobility)
    drag = 1 / (mobility * duration)
    return target**2 * error_weight * drag / (error_weight + drag)


def delivery_work(error: float, target: float, duration: float, *, mobility: float = 1.0) -> float:
    """Least mean work that leaves a squared distance `error` to the target, eq. (5)."""
    require_positive(duration=duration, mobility=mobility)
    moved = max(abs(target) - np.sqrt(max(error, 0.0)), 0.0)
    return float(moved**2 / (mobility * duration))


@dataclass(frozen=True, slots=True)
class _MeanMotion:
    """Work of the switches into each interval over the stiffness, squares left out."""

    quadratic: Array
    end: Array  # mean end position = end . centres


def _mean_motion(
    duration: float,
    n_intervals: int,
    stiffness: float,
    mobility: float,
    mass: float | None,
    substeps: int | None,
) -> _MeanMotion:
    keep = _mean_map(duration / n_intervals, stiffness, mobility, mass, substeps)
    push = (np.eye(len(keep)) - keep)[:, 0]
    mean = np.zeros((len(keep), n_intervals))  # d<state>/d centres
    quadratic = np.zeros((n_intervals, n_intervals))
    for s in range(n_intervals):  # switch into s: k (c_{s-1} - c_s) <x>, squares telescope
        if s:
            quadratic[s - 1] += mean[0]
        quadratic[s] -= mean[0]
        mean = keep @ mean
        mean[:, s] += push
    return _MeanMotion(quadratic, mean[0])


def _mean_map(
    duration: float, stiffness: float, mobility: float, mass: float | None, substeps: int | None
) -> Array:
    """Map of the mean state, relative to the trap's centre, over one interval."""
    if mass is None:
        rate = mobility * stiffness
        if substeps is None:
            return np.array([[np.exp(-rate * duration)]])
        return np.array([[(1 - rate * duration / substeps) ** substeps]])
    friction = 1 / mobility
    if substeps is None:
        drift = np.array([[0, 1], [-stiffness / mass, -friction / mass]])
        return np.asarray(expm(drift * duration), dtype=np.float64)
    dt = duration / substeps
    row = np.array([-stiffness * dt / mass, 1 - friction * dt / mass])
    step = np.array([[1 + row[0] * dt, row[1] * dt], row])
    return np.linalg.matrix_power(step, substeps)


# --- stiffening trap, eq. (3) -------------------------------------------------------------------


@dataclass(frozen=True)
class Stiffening:
    """Optimal change of a trap's stiffness, eq. (3); overdamped.

    Examples
    --------
    >>> round(Stiffening(1.0, 2.0, 1.0).work, 6)
    0.402918
    """

    start: float
    end: float
    duration: float
    mobility: float = 1.0
    kT: float = 1.0  # noqa: N815

    @property
    def _widths(self) -> tuple[float, float]:
        q = 1 / (self.mobility * self.duration)
        s0 = np.sqrt(self.kT / self.start)
        stiff = self.end + 2 * q
        s1 = (s0 * q + np.sqrt((s0 * q) ** 2 + stiff * self.kT)) / stiff
        return float(s0), float(s1)

    @property
    def work(self) -> float:
        """Least mean work."""
        s0, s1 = self._widths
        q = 1 / (self.mobility * self.duration)
        free = 0.5 * self.end * s1**2 - 0.5 * self.kT - self.kT * np.log(s1 / s0)
        return float(free + (s1 - s0) ** 2 * q)

    @property
    def free_energy(self) -> float:
        """Free-energy difference of the two equilibria: the work in infinite time."""
        return float(0.5 * self.kT * np.log(self.end / self.start))

    def stiffness(self, time: ArrayLike) -> Array:
        """Optimal stiffness inside (0, duration)."""
        s0, s1 = self._widths
        speed = (s1 - s0) / self.duration
        s = s0 + speed * np.asarray(time, dtype=np.float64)
        return np.asarray(self.kT / s**2 - speed / (self.mobility * s), dtype=np.float64)

    def piecewise_optimum(self, n_intervals: int, *, substeps: int | None = None) -> Array:
        """Piecewise-constant stiffnesses of least work, (interval,); found numerically."""
        middles = (np.arange(n_intervals) + 0.5) / n_intervals * self.duration
        found = minimize(
            lambda k: self.piecewise_work(k, substeps=substeps), self.stiffness(middles)
        )
        return np.asarray(found.x, dtype=np.float64)

    def piecewise_work(self, values: ArrayLike, *, substeps: int | None = None) -> float:
        """Exact mean work of piecewise-constant stiffnesses (interval,).

        `substeps` Euler steps an interval, or exact motion where None.
        """
        k = np.asarray(values, dtype=np.float64)
        dt = self.duration / len(k)
        variance, before, work = self.kT / self.start, self.start, 0.0
        for now in k:
            work += 0.5 * (now - before) * variance
            before = now
            keep, rest = self._decay(now, dt, substeps)
            variance = keep * variance + (1 - keep) * rest
        return float(work + 0.5 * (self.end - before) * variance)

    def _decay(self, k: float, dt: float, substeps: int | None) -> tuple[float, float]:
        """Factor of the variance over an interval and the variance it decays to."""
        rate = self.mobility * k
        if substeps is None:
            return float(np.exp(-2 * rate * dt)), self.kT / k
        step = dt / substeps
        return float((1 - rate * step) ** (2 * substeps)), self.kT / (k * (1 - rate * step / 2))


# --- bit erasure, eq. (4) -----------------------------------------------------------------------


def erasure_bound(
    error: float, duration: float, *, barrier: float = 4.0, mobility: float = 1.0, kT: float = 1.0
) -> float:
    """Least mean work of erasing a bit into local equilibria, eq. (4).

    Parameters
    ----------
    error
        Final probability of the wrong well, in [0, 1/2].
    duration
        Time of the erasure.
    barrier
        E of U = E (x^2 - 1)^2 at both ends, energy units.
    """
    require_positive(duration=duration, barrier=barrier, mobility=mobility, kT=kT)
    _check_error(error)
    entropy = -xlogy(error, error) - xlogy(1 - error, 1 - error)
    distance = erasure_distance(error, barrier=barrier / kT)
    return float(kT * (np.log(2) - entropy) + distance / (mobility * duration))


def erasure_distance(error: float, *, barrier: float = 4.0) -> float:
    """Squared 2-Wasserstein distance W2^2 of eq. (4); `barrier` in kT.

    Examples
    --------
    >>> round(erasure_distance(0.0, barrier=4.0), 4)
    1.4759
    """
    _check_error(error)
    u = _midpoints()
    wrong = u / (2 * error) if error > 0 else np.full_like(u, np.inf)
    right = 0.5 * (1 + (u - error) / (1 - error))
    moved = erasure_quantile(np.where(u < error, wrong, right), barrier=barrier)
    return float(np.mean((erasure_quantile(u, barrier=barrier) - moved) ** 2))


def _midpoints() -> Array:
    return (np.arange(GRID) + 0.5) / GRID


def erasure_quantile(u: Array, *, barrier: float) -> Array:
    """Invert the distribution function of the equilibrium in the double well; barrier in kT."""
    reach = np.sqrt(1 + np.sqrt(REACH / barrier))
    nodes = np.linspace(-reach, reach, GRID)
    p = np.exp(-barrier * (nodes**2 - 1) ** 2)
    below = np.concatenate([[0.0], np.cumsum(0.5 * (p[1:] + p[:-1]))])
    return np.interp(u, below / below[-1], nodes)


# --- momentum bit flip --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FlipCost:
    """Exact cost of a flip: mean work and probability of ending in the wrong well."""

    work: float  # kT
    error: float
    stiffness: float
    duration: float


def bit_flip(*, barrier: float, friction: float, stiffness: float) -> FlipCost:
    """Return the exact cost of the underdamped flip for half a period; m = T = 1.

    Parameters
    ----------
    barrier
        E of U = E (x^2 - 1)^2, kT.
    friction, stiffness
        Of the particle and of the auxiliary trap; friction^2 < 4 stiffness.

    Raises
    ------
    InputError
        If the trap is overdamped: then nothing swings across.

    Examples
    --------
    >>> round(bit_flip(barrier=4.0, friction=0.01, stiffness=4.0).work, 3)
    0.067
    """
    require_positive(barrier=barrier, stiffness=stiffness)
    if not 0 <= friction < 2 * np.sqrt(stiffness):
        raise InputError(
            f"friction {friction} with stiffness {stiffness}; the trap must swing: "
            "0 <= friction < 2 sqrt(stiffness)."
        )
    duration = float(np.pi / np.sqrt(stiffness - friction**2 / 4))
    move = expm(np.array([[0.0, 1.0], [-stiffness, -friction]]) * duration)
    rest = np.diag([1 / stiffness, 1.0])
    noise = (rest - move @ rest @ move.T)[0, 0]
    spread = max(move[0, 1] ** 2 + noise, 0.0)  # variance of x_end given x_start
    x, p = _well_density(barrier)
    second, fourth = p @ x**2, p @ x**4
    end2 = move[0, 0] ** 2 * second + spread
    end4 = move[0, 0] ** 4 * fourth + 6 * move[0, 0] ** 2 * second * spread + 3 * spread**2
    slope = 0.5 * stiffness + 2 * barrier
    work = slope * second - barrier * fourth + barrier * end4 - slope * end2
    width = np.sqrt(max(spread, np.finfo(float).tiny))
    error = p @ ndtr(move[0, 0] * np.abs(x) / width)
    return FlipCost(float(work), float(error), stiffness, duration)


def best_bit_flip(
    *, barrier: float, friction: float, error_weight: float = 0.0, reach: float = 16.0
) -> FlipCost:
    """Search the stiffness of least work + weight * error between 1/4 and `reach` times 2 E.

    At low friction the variance of response estimators explodes as 1 / friction; a direct search
    over one parameter has no such limit.
    """

    def loss(log_stiffness: float) -> float:
        cost = bit_flip(barrier=barrier, friction=friction, stiffness=float(np.exp(log_stiffness)))
        return cost.work + error_weight * cost.error

    low = max(0.5 * barrier, 0.26 * friction**2)
    found = minimize_scalar(
        loss, bounds=(np.log(low), np.log(2 * barrier * reach)), method="bounded"
    )
    return bit_flip(barrier=barrier, friction=friction, stiffness=float(np.exp(found.x)))


def _well_density(barrier: float) -> tuple[Array, Array]:
    reach = np.sqrt(1 + np.sqrt(REACH / barrier))
    x = np.linspace(-reach, reach, GRID)
    p = np.exp(-barrier * (x**2 - 1) ** 2)
    return x, p / p.sum()


def _check_error(error: float) -> None:
    if not 0 <= error <= 0.5:
        raise InputError(f"error is {error}; a probability of the wrong well lies in [0, 1/2].")
