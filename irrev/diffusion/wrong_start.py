"""How far a wrong start moves the samples of a two-dimensional flow: eta and c_1 without bias.

    W1(P_t, Q_t) = W1 of the signed measure (r - 1) P_t,   r = dQ_tau/dP_tau                (1)
    D_0 = int (r - 1) dQ_tau,   eta = (W1(0) - W1(tau))^2 / (tau D_0) <= c_1 <= w_D     (2)

Both laws follow one exact flow, so the ratio r travels with the states: it is known at the end in
closed form, and states of the true law with masses r - 1 stand for both laws at every time. The
start N(0, 0.81 I) of the published table differs from the true law of standard deviation 0.896 by
D_0 = 7e-5, and W1 is 0.005: two independent samples of 1,000 points report 0.05.

With an exact flow, the rotation of `RotatingForce` changes neither eta nor c_1. In the frame
that turns with it, by b(t), the process is the one without rotation: P_t is P_t of g = 0 turned by
b(t), and so is the flow; eta at g is eta at g = 0 of the start turned back by b(tau). An isotropic
start stays what it is, and W1 does not see a turn. Only the speed cost grows, by exactly the
integral of G^2 E|x|^2 (`rotation_cost`).

Source: Ikeda et al., arXiv:2407.04495, table II for the process; (1) and the invariance are
derived here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import qmc

from irrev.diffusion.rotating import RotatingForce, point_means, point_velocity
from irrev.diffusion.transport import optimal_path, w1_signed
from irrev.errors import InputError

Array = NDArray[np.float64]
LAST_SHARE = 0.01  # of the duration: where the flow hands over to the points themselves
N_NODES = 60  # along each axis
ROUNDING = 1e-12  # of D_0
N_REPEATS = 4  # independent sets of states, for the standard error


@dataclass(frozen=True)
class WrongStart:
    """Response of the samples to a wrong start, with its error over independent states."""

    time: Array  # (time,) falling from the duration to 0
    distance: Array  # W1(t) / sqrt(D_0), mean over the repeats
    d0: float
    eta: float
    eta_stderr: float
    c1: float  # from below: distance as straight lines between the times
    c2: float  # of the path whose start is wrong; NaN if it was not asked for


def end_states(
    force: RotatingForce, data: Array, n_states: int, rng: np.random.Generator
) -> Array:
    """Draw states at the end of the process, evenly over data and noise (scrambled Sobol)."""
    u = qmc.Sobol(3, rng=rng).random(n_states)
    rows = np.minimum((u[:, 0] * len(data)).astype(int), len(data) - 1)
    end = force.duration
    spread = force.spread(np.array([end]))[0]
    return data[rows] @ force.propagator(end).T + np.sqrt(spread) * ndtri(u[:, 1:])


def start_ratio(force: RotatingForce, data: Array, x: Array, start_sd: float) -> Array:
    """Return the density of N(0, start_sd^2 I) over the true one at the end, shape (place,)."""
    end = force.duration
    means, spread = data @ force.propagator(end).T, force.spread(np.array([end]))[0]
    squares = np.sum((x[:, None, :] - means[None]) ** 2, axis=2)
    true = np.exp(-0.5 * squares / spread).mean(axis=1) / spread
    return np.exp(-0.5 * np.sum(x**2, axis=1) / start_sd**2) / start_sd**2 / true


def start_distance(force: RotatingForce, data: Array, start_sd: float) -> float:
    """Return D_0 of N(0, start_sd^2 I) against the true law at the end (Gauss-Hermite).

    Raises
    ------
    InputError
        If it is 0, or infinite: start_sd^2 at least twice the variance of the true law.
    """
    spread = float(force.spread(np.array([force.duration]))[0])
    if start_sd**2 < 2 * spread:
        nodes, weights = np.polynomial.hermite_e.hermegauss(N_NODES)
        weights = weights / weights.sum()
        x = start_sd * np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
        excess = start_ratio(force, data, x, start_sd) - 1
        d0 = float(np.outer(weights, weights).ravel() @ excess)
        if d0 > ROUNDING:
            return d0
    raise InputError(
        f"a start of standard deviation {start_sd:g} against {spread**0.5:g} has no finite "
        "positive chi-square distance; give one that differs, below 1.41 of it."
    )


def backward_states(
    force: RotatingForce, data: Array, x: Array, *, n_steps: int = 200, every: int = 10
) -> tuple[Array, list[Array]]:
    """Carry states from the end to the data by the exact flow (Runge-Kutta of order 4).

    Parameters
    ----------
    force, data
        The process and its data points, shape (sample, 2).
    x
        States at the end, shape (place, 2).
    n_steps, every
        Steps down to 1 % of the duration, where the points' spread is 4e-6 of the end's; the last
        step sets each state on its expected data point. Steps between two kept times.

    Returns
    -------
        Kept times, falling to 0, and the states there.
    """
    grid = np.linspace(force.duration, LAST_SHARE * force.duration, 2 * n_steps + 1)
    spread = force.spread(grid[::-1])[::-1]

    def velocity(i: int, x: Array) -> Array:
        return point_velocity(force, data, float(grid[i]), float(spread[i]), x)

    times, states = [force.duration], [x]
    for step in range(n_steps):
        i = 2 * step
        h = grid[i + 2] - grid[i]
        k1 = velocity(i, x)
        k2 = velocity(i + 1, x + h / 2 * k1)
        k3 = velocity(i + 1, x + h / 2 * k2)
        k4 = velocity(i + 2, x + h * k3)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        if (step + 1) % every == 0:
            times.append(float(grid[i + 2]))
            states.append(x)
    last = point_means(force, data, float(grid[-1]), float(spread[-1]), x)
    return np.array([*times, 0.0]), [*states, last]


def point_wrong_start(
    force: RotatingForce,
    data: Array,
    *,
    start_sd: float = 0.9,
    n_states: int = 1024,
    n_steps: int = 200,
    rng: np.random.Generator,
) -> WrongStart:
    """Measure eta and c_1 of a finite data set under its exact flow.

    Parameters
    ----------
    force
        The process.
    data
        Data points, shape (sample, 2).
    start_sd
        Standard deviation of the isotropic start in place of the true law.
    n_states
        States of one repeat, at most 2,000: W1 needs an exact plan. Memory is a few arrays of
        states x points; time is their product times 4 `n_steps`.
    n_steps
        As in `backward_states`.
    rng
        Scrambles of the states.
    """
    d0 = start_distance(force, data, start_sd)
    times, runs = np.zeros(0), []
    for _ in range(N_REPEATS):
        x = end_states(force, data, n_states, rng)
        ratio = start_ratio(force, data, x, start_sd)
        times, states = backward_states(force, data, x, n_steps=n_steps)
        runs.append(_distances(states, ratio))
    return _wrong_start(times, runs, d0)


def optimal_wrong_start(
    force: RotatingForce,
    data: Array,
    *,
    start_sd: float = 0.9,
    n_states: int = 1024,
    n_times: int = 11,
    rng: np.random.Generator,
) -> WrongStart:
    """Measure the same for the optimal plan between the data and the end of the process.

    Parameters
    ----------
    force, data, start_sd, n_states, rng
        As in `point_wrong_start`; the states are paired with the data points in turn.
    n_times
        Times, evenly, both ends among them.
    """
    tau, d0 = force.duration, start_distance(force, data, start_sd)
    runs, costs = [], []
    times = np.linspace(tau, 0, n_times)
    for _ in range(N_REPEATS):
        x = end_states(force, data, n_states, rng)
        path = optimal_path(np.resize(data, (n_states, 2)), x, duration=tau)
        ratio = start_ratio(force, data, path.noise, start_sd)
        runs.append(_distances([path.states(float(t)) for t in times], ratio))
        costs.append(path.cost())
    return _wrong_start(times, runs, d0, c2=float(np.mean(costs)))


def rotation_cost(force: RotatingForce, data: Array, *, n_times: int = 2000) -> float:
    """Return int G^2 E|x|^2 dt, by which the rotation raises the speed cost of a data set."""
    times = (np.arange(n_times) + 0.5) / n_times * force.duration
    power = float(np.mean(np.sum(data**2, axis=1)))
    carried = np.array([np.linalg.det(force.propagator(float(t))) for t in times]) * power
    turn = np.array([force.matrix(float(t))[1, 0] for t in times])
    rate = turn**2 * (carried + 2 * force.spread(times))
    return float(rate.sum() * force.duration / n_times)


def _distances(states: list[Array], ratio: Array) -> Array:
    """Return W1(t) at each time, data units."""
    mass = (ratio - 1) / len(ratio)
    return np.array([w1_signed(x, mass) for x in states])


def _wrong_start(
    times: Array, runs: list[Array], d0: float, c2: float = float("nan")
) -> WrongStart:
    distances = np.stack(runs) / np.sqrt(d0)
    eta = (distances[:, -1] - distances[:, 0]) ** 2 / times[0]
    c1 = np.sum(np.diff(distances, axis=1) ** 2 / -np.diff(times), axis=1)
    return WrongStart(
        time=times,
        distance=distances.mean(axis=0),
        d0=d0,
        eta=float(eta.mean()),
        eta_stderr=float(eta.std(ddof=1) / np.sqrt(len(runs))),
        c1=float(c1.mean()),
        c2=c2,
    )
