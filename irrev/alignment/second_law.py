"""Goal-entropy dynamics, the stability bound quoted by the paper, and an audit of its numbers.

    S(t) = -sum_i p_i(t) ln p_i(t),   p(t) from hops at rate r into each goal and resets at gamma
    gamma_for(S*) = least gamma whose steady entropy is at most S*                     (1)
    gamma_crit = (lambda_max / 2) ln N,   quoted from the paper, never a pass/fail limit  (2)

Three things the paper states do not hold in general. dS/dt >= 0 is a theorem for doubly
stochastic mixing (uniform hops without alignment work), not for noisy dynamics of a policy. The
steady entropy falls smoothly with gamma: there is no sharp threshold in this model. And (2)
changes when a network is written in other parameters, while S and its ceiling ln(goals) do not.
`audit_abstract` recomputes what the printed numbers imply.

Source: Fadli, The second law of intelligence, arXiv:2511.10704 (abstract only). The dynamics,
(1) and the audit are derived here.
"""

from dataclasses import dataclass
from math import comb, exp, log, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as distributions
from scipy.optimize import root_scalar

from irrev.entropy import entropy
from irrev.errors import InputError
from irrev.simulate.goals import (
    LogitPaths,
    goal_law,
    peaked_law,
    share_with_entropy,
    simulate_logits,
    steady_law,
)

METHOD_VERSION = 1
MAX_GAMMA_RATIO = 1e12  # gamma / r beyond which the steady entropy is zero to rounding


def goal_entropy(
    times: ArrayLike,
    *,
    hop_rate: float,
    gamma_eff: float = 0.0,
    n_goals: int = 5,
    start_entropy: float = 0.32,
) -> NDArray[np.float64]:
    """Compute the exact goal entropy S(t) under uniform hops and alignment work.

    Parameters
    ----------
    times
        Times, shape (time,); infinity gives the steady value.
    hop_rate
        Rate r into each goal, 1/time.
    gamma_eff
        Rate of alignment work, 1/time.
    n_goals
        Number of goals.
    start_entropy
        S(0), nats, with its peak on the intended goal.

    Returns
    -------
        Entropy, nats, shape (time,).

    Examples
    --------
    >>> goal_entropy([0.0, 1.0, np.inf], hop_rate=0.05, gamma_eff=0.5).round(6).tolist()
    [0.32, 0.692076, 0.949594]
    """
    start = peaked_law(share_with_entropy(start_entropy, n_goals), n_goals)
    law = goal_law(times, start=start, hop_rate=hop_rate * n_goals, gamma_eff=gamma_eff)
    return entropy(law)


def gamma_for(target_entropy: float, *, n_goals: int = 5, hop_rate: float = 1.0) -> float:
    """Find the least alignment work whose steady entropy is at most the target, eq. (1).

    Parameters
    ----------
    target_entropy
        S*, nats, positive.
    n_goals
        Number of goals G, at least 2.
    hop_rate
        Rate r into each goal; the answer scales with it.

    Returns
    -------
        Rate gamma, in the unit of `hop_rate`; 0 if the target is ln G or more.

    Raises
    ------
    InputError
        If the target is not positive: noise makes S = 0 cost an infinite rate.

    Examples
    --------
    >>> round(gamma_for(0.2 * np.log(5)), 4)
    58.6385
    """
    if not target_entropy > 0 or n_goals < 2 or not hop_rate > 0:
        raise InputError(
            f"target_entropy={target_entropy:g}, n_goals={n_goals}, hop_rate={hop_rate:g}; "
            "the target and the rate must be positive, with two goals or more."
        )
    if target_entropy >= log(n_goals):
        return 0.0

    def excess(log_ratio: float) -> float:
        law = steady_law(float(n_goals), float(np.exp(log_ratio)), n_goals=n_goals)
        return float(entropy(law)) - target_entropy

    if excess(log(MAX_GAMMA_RATIO)) > 0:
        raise InputError(f"target_entropy={target_entropy:g} is zero to rounding; raise it.")
    low = -30.0  # gamma / r = 1e-13: the steady law is uniform to rounding
    if excess(low) <= 0:
        return 0.0
    found = root_scalar(excess, bracket=(low, log(MAX_GAMMA_RATIO)), xtol=1e-13)
    return hop_rate * exp(found.root)


def gamma_crit(lambda_max: float, n_parameters: int | float) -> float:
    """Quote the paper's bound (lambda_max / 2) ln N, eq. (2); it depends on the parametrisation.

    Examples
    --------
    >>> round(gamma_crit(1.2, 7e9), 6)
    13.601506
    """
    if lambda_max < 0 or n_parameters < 1:
        raise InputError(
            f"lambda_max={lambda_max:g}, n_parameters={n_parameters:g}; an eigenvalue of a "
            "Fisher matrix is not negative and a network has a parameter."
        )
    return 0.5 * lambda_max * log(n_parameters)


@dataclass(frozen=True, slots=True)
class LogitRun:
    """Final entropy of one group of Langevin runs."""

    gamma_eff: float
    mean: float  # nats
    sd: float
    intended: float  # share of runs that prefer the intended goal
    n: int


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Unregularised and regularised runs side by side."""

    base: LogitRun
    regularised: LogitRun
    welch_t: float
    welch_p: float  # two-sided
    seed: int


def compare_runs(
    *,
    gamma_eff: float,
    time: float = 5.0,
    n_goals: int = 5,
    n_trials: int = 20,
    lambda_max: float = 1.2,
    seed: int = 0,
) -> RunComparison:
    """Run the Langevin model without and with alignment work, as the paper's table does.

    Parameters
    ----------
    gamma_eff
        Rate of alignment work of the regularised runs.
    time
        When the entropy is read.
    n_goals, n_trials, lambda_max
        Goals, runs a group, and the noise D = lambda_max / 2; never tuned to printed figures.
    seed
        Of the two groups.

    Returns
    -------
        Means, spreads and Welch's t; equal variances are not assumed.
    """
    runs = []
    for gamma, child in zip((0.0, gamma_eff), np.random.SeedSequence(seed).spawn(2), strict=True):
        paths = simulate_logits(
            [time],
            n_goals=n_goals,
            gamma_eff=gamma,
            n_paths=n_trials,
            lambda_max=lambda_max,
            rng=np.random.default_rng(child),
        )
        runs.append(paths)
    base, regularised = (_summary(r, g) for r, g in zip(runs, (0.0, gamma_eff), strict=True))
    t, p = welch_test(base, regularised)
    return RunComparison(base, regularised, t, p, seed)


def welch_test(one: LogitRun, other: LogitRun) -> tuple[float, float]:
    """Return Welch's t and its two-sided p for the means of two groups of runs."""
    a, b = one.sd**2 / one.n, other.sd**2 / other.n
    t = (one.mean - other.mean) / sqrt(a + b)
    freedom = (a + b) ** 2 / (a**2 / (one.n - 1) + b**2 / (other.n - 1))
    return t, 2 * float(distributions.t.sf(abs(t), freedom))


def _summary(paths: LogitPaths, gamma: float) -> LogitRun:
    values = paths.entropy[:, -1]
    share = float(paths.intended[:, -1].mean())
    return LogitRun(gamma, float(values.mean()), float(values.std(ddof=1)), share, values.size)


# --- audit of the abstract ----------------------------------------------------------------------

PRINTED_N, PRINTED_LAMBDA = 7e9, 1.2
PRINTED_MEAN, PRINTED_SD, PRINTED_TRIALS = 1.69, 1.08, 20
PRINTED_GAMMA, PRINTED_P = 20.4, 4.19e-17


@dataclass(frozen=True, slots=True)
class AbstractAudit:
    """What the printed numbers of arXiv:2511.10704 imply; ours, recomputed."""

    gamma_crit: float
    gamma_ratio: float  # printed gamma over gamma_crit
    gamma_consistent: bool  # 20.4 is 1.5 gamma_crit to the printed digits
    least_maximum: float  # least upper end of S that allows the printed mean and sd, nats
    least_goals: int  # goals needed if S is a Shannon entropy
    welch_t: float
    welch_p: float
    pooled_p: float
    rank_p: float  # smallest two-sided p of an exact rank test of 20 against 20
    p_reproduced: bool  # whether any of these reaches the printed p


def audit_abstract() -> AbstractAudit:
    """Recompute what follows from the numbers printed in the abstract.

    Returns
    -------
        gamma_crit agrees with the print; the mean and spread of S need eleven goals or more; no
        common test of 20 against 20 runs gives the printed p.

    Examples
    --------
    >>> audit_abstract().least_goals
    11
    """
    n, mean, sd = PRINTED_TRIALS, PRINTED_MEAN, PRINTED_SD
    crit = gamma_crit(PRINTED_LAMBDA, PRINTED_N)
    # a sample in [0, M] has (n - 1) sd^2 <= n mean (M - mean)
    least = mean + sd**2 * (n - 1) / (n * mean)
    t = mean / (sd / sqrt(n))  # the second group is printed as 0.00 with spread 0.00
    welch = 2 * float(distributions.t.sf(t, n - 1))
    pooled = 2 * float(distributions.t.sf(t, 2 * (n - 1)))
    rank = 2 / comb(2 * n, n)
    return AbstractAudit(
        gamma_crit=crit,
        gamma_ratio=PRINTED_GAMMA / crit,
        gamma_consistent=round(1.5 * crit, 1) == PRINTED_GAMMA,
        least_maximum=least,
        least_goals=int(np.ceil(np.exp(least))),
        welch_t=t,
        welch_p=welch,
        pooled_p=pooled,
        rank_p=rank,
        p_reproduced=min(welch, pooled, rank) <= PRINTED_P,
    )
