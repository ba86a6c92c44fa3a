"""Laws over goals under exploration and alignment work: exact, jump by jump, and Langevin.

Goals hop at total rate R to a goal drawn from pi; alignment work resets to goal 0 at rate gamma:

    p' = R (pi - p) + gamma (e_0 - p)                                               (1)
    p(t) = s + (p(0) - s) exp(-(R + gamma) t),   s = (R pi + gamma e_0) / (R + gamma)   (2)

With pi uniform and R = r G every goal is entered at the same rate r; gamma = 0 then makes the
entropy rise monotonically to ln G (a doubly stochastic process). The Langevin model moves logits:

    d theta = -gamma (theta - theta*) dt + sqrt(2 D) dW,   p = softmax(theta)       (3)

Its entropy rises, peaks and falls to zero at gamma = 0 while the preferred goal becomes random:
growth of entropy is no theorem for noisy dynamics of a policy.

Source: the question is that of Fadli, arXiv:2511.10704; both models are derived here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import root_scalar
from scipy.special import softmax

from irrev.entropy import entropy
from irrev.errors import InputError

MAX_RELAXATION_STEP = 0.05  # largest gamma dt of an Euler-Maruyama step


def peaked_law(share: float, n_goals: int) -> NDArray[np.float64]:
    """Return the law with `share` on goal 0 and equal rest, shape (goal,)."""
    law = np.full(n_goals, (1.0 - share) / (n_goals - 1))
    law[0] = share
    return law


def share_with_entropy(target: float, n_goals: int) -> float:
    """Find the share of goal 0, at least 1/G, whose peaked law has the given entropy.

    Parameters
    ----------
    target
        Entropy, nats, in [0, ln G].
    n_goals
        Number of goals G, at least 2.

    Raises
    ------
    InputError
        If no law over that many goals has the entropy.

    Examples
    --------
    >>> round(share_with_entropy(0.32, 5), 6)
    0.937606
    """
    if n_goals < 2 or not 0 <= target <= np.log(n_goals):
        raise InputError(
            f"entropy {target:g} is outside [0, ln {n_goals}]; use more goals or a lower entropy."
        )
    if target in (0.0, np.log(n_goals)):
        return 1.0 if target == 0 else 1.0 / n_goals

    def gap(share: float) -> float:
        return float(entropy(peaked_law(share, n_goals))) - target

    return root_scalar(gap, bracket=(1.0 / n_goals, 1.0), xtol=1e-15).root


def goal_law(
    times: ArrayLike,
    *,
    start: ArrayLike,
    hop_rate: float,
    gamma_eff: float,
    destinations: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Compute the law over goals at given times, eq. (2).

    Parameters
    ----------
    times
        Times, shape (time,), not negative; infinity gives the steady state.
    start
        Law at time 0, shape (goal,).
    hop_rate
        Total hop rate R, 1/time; rate r into each of G goals is R = r G.
    gamma_eff
        Rate of alignment work, 1/time.
    destinations
        Law pi of hop destinations, shape (goal,); uniform if not given.

    Returns
    -------
        Probabilities, shape (time, goal).
    """
    start = np.asarray(start, dtype=np.float64)
    steady = steady_law(hop_rate, gamma_eff, n_goals=start.size, destinations=destinations)
    decay = np.exp(-(hop_rate + gamma_eff) * np.asarray(times, dtype=np.float64))[:, None]
    return steady + (start - steady) * decay


def steady_law(
    hop_rate: float, gamma_eff: float, *, n_goals: int, destinations: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Compute the steady law over goals, shape (goal,)."""
    if hop_rate < 0 or gamma_eff < 0 or hop_rate + gamma_eff == 0:
        raise InputError(
            f"hop_rate={hop_rate:g} and gamma_eff={gamma_eff:g}; give rates, not both zero."
        )
    pi = np.full(n_goals, 1.0 / n_goals) if destinations is None else np.asarray(destinations)
    return (hop_rate * pi + gamma_eff * np.eye(n_goals)[0]) / (hop_rate + gamma_eff)


def simulate_hops(
    times: ArrayLike,
    *,
    start: ArrayLike,
    hop_rate: float,
    gamma_eff: float,
    n_paths: int,
    rng: np.random.Generator,
    destinations: ArrayLike | None = None,
) -> NDArray[np.int64]:
    """Simulate eq. (1) event by event and read the goal at given times.

    The total rate does not depend on the goal, so events are a Poisson process and Gillespie's
    algorithm reduces to exponential waiting times and a choice of hop or reset.

    Parameters
    ----------
    times
        Increasing reading times, shape (time,).
    start, hop_rate, gamma_eff, destinations
        As in `goal_law`.
    n_paths
        Number of independent paths.
    rng
        Source of all draws.

    Returns
    -------
        Goal of each path at each time, shape (path, time).
    """
    times, start = np.asarray(times, dtype=np.float64), np.asarray(start, dtype=np.float64)
    n_goals, total = start.size, hop_rate + gamma_eff
    pi = np.full(n_goals, 1.0 / n_goals) if destinations is None else np.asarray(destinations)
    goal = rng.choice(n_goals, size=n_paths, p=start)
    out = np.empty((n_paths, times.size), dtype=np.int64)
    clock = rng.exponential(1.0 / total, size=n_paths)  # time of the next event of each path
    for column, time in enumerate(times):
        while (due := np.flatnonzero(clock <= time)).size:
            hops = rng.random(due.size) < hop_rate / total
            goal[due] = np.where(hops, rng.choice(n_goals, size=due.size, p=pi), 0)
            clock[due] += rng.exponential(1.0 / total, size=due.size)
        out[:, column] = goal
    return out


@dataclass(frozen=True, slots=True)
class LogitPaths:
    """What a Langevin run of the logits shows at the reading times."""

    time: NDArray[np.float64]  # (time,)
    entropy: NDArray[np.float64]  # (path, time), nats
    intended: NDArray[np.bool_]  # (path, time): goal 0 is the preferred one


def simulate_logits(
    times: ArrayLike,
    *,
    n_goals: int,
    gamma_eff: float,
    n_paths: int,
    rng: np.random.Generator,
    lambda_max: float = 1.2,
    start_entropy: float = 0.32,
    dt: float = 0.01,
) -> LogitPaths:
    """Simulate eq. (3) by Euler-Maruyama, started at its target.

    Parameters
    ----------
    times
        Increasing reading times, shape (time,).
    n_goals
        Number of goals.
    gamma_eff
        Rate of the pull towards the target logits, 1/time.
    n_paths
        Number of independent paths.
    rng
        Source of the noise.
    lambda_max
        Sets the noise, D = lambda_max / 2.
    start_entropy
        Entropy of the target law; goal 0 holds its peak.
    dt
        Longest step; shortened to gamma_eff dt <= 0.05.

    Returns
    -------
        Entropy and preferred goal at the reading times.
    """
    times = np.asarray(times, dtype=np.float64)
    share = share_with_entropy(start_entropy, n_goals)
    target = np.zeros(n_goals)
    target[0] = np.log(share * (n_goals - 1) / (1 - share))
    theta = np.tile(target, (n_paths, 1))
    longest = min(dt, MAX_RELAXATION_STEP / gamma_eff) if gamma_eff > 0 else None
    values = np.empty((n_paths, times.size))
    intended = np.empty((n_paths, times.size), dtype=np.bool_)
    now = 0.0
    for column, time in enumerate(times):
        # without a pull the increments are Gaussian at any length: one exact step
        n_steps = 1 if longest is None else max(1, int(np.ceil((time - now) / longest)))
        step = (time - now) / n_steps
        noise = np.sqrt(lambda_max * step)  # 2 D = lambda_max
        for _ in range(n_steps):
            pull = gamma_eff * step * (theta - target)
            theta += noise * rng.standard_normal(theta.shape) - pull
        values[:, column] = entropy(softmax(theta, axis=1))
        intended[:, column] = theta.argmax(axis=1) == 0
        now = time
    return LogitPaths(times, values, intended)
