"""The published alternating minimisation of semantic faithfulness, for audit.

    A-step   A_ij = Q_ij u_j / sum_k Q_ik u_k,   u such that p_c A = p_a                   (1)
    Q-step   Q_ij = A_ij / (nu_i + xi_j)                                                   (2)
             nu, xi maximise  sum_ij p_c_i A_ij ln(nu_i + xi_j) - p_c nu - p_q xi          (3)

(3) is concave and flat along nu + c, xi - c; damped Newton with xi_K fixed. Alternating
minimisation over convex sets never raises the objective, from the second A-step on: a random start
breaks p_c Q = p_q. The limit is KL(p_a || p_q), the closed form of `faithfulness`, and a small
relative change is no proof of being there, so the gap to the closed form comes with the result.
The matrices depend on the start; they are not returned.

Source: Halperin, arXiv:2512.05156; the Newton step is ours.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irrev.entropy import kl_divergence
from irrev.errors import InputError
from irrev.semantic.faithfulness import check_counts, frequencies

METHOD_VERSION = 1
INNER_TOLERANCE = 1e-13  # of the marginals, summed; rounding leaves about 1e-15 a topic
MAX_NEWTON = 200
MAX_STEP = 5.0  # of the exponents of the A-step, keeps them in range


@dataclass(frozen=True, slots=True)
class AuditResult:
    """Where the alternating minimisation ended."""

    divergence: float  # nats
    closed_form: float  # nats, KL(p_a || p_q)
    steps: int
    converged: bool  # relative change below the tolerance
    objective: NDArray[np.float64]  # after each A-step, (step,)

    @property
    def gap(self) -> float:
        """Distance to the closed form, nats."""
        return self.divergence - self.closed_form


def minimise_divergence(
    question: NDArray[np.floating] | NDArray[np.integer],
    context: NDArray[np.floating] | NDArray[np.integer],
    answer: NDArray[np.floating] | NDArray[np.integer],
    *,
    rng: np.random.Generator,
    tolerance: float = 1e-12,
    max_steps: int = 500,
) -> AuditResult:
    """Minimise the divergence of one triplet as published.

    Parameters
    ----------
    question, context, answer
        Sentences (or probability) per topic, shape (topic,).
    rng
        Source of the dense starting matrix.
    tolerance
        Relative change of the objective at which to stop.
    max_steps
        Most alternations.

    Returns
    -------
        Divergence, closed form, and the objective after every step.

    Raises
    ------
    InputError
        If a text is empty, or question and answer do not have the same topics: the
        programme is infeasible or its optimum lies on the border. Smooth the counts.
    """
    p_q, p_c, p_a = (frequencies(n)[0] for n in check_counts(question, context, answer))
    if np.isnan([p_q, p_c, p_a]).any():
        raise InputError("a text has no sentence; give counts above zero for all three.")
    if ((p_q > 0) != (p_a > 0)).any():
        alone = np.flatnonzero((p_q > 0) != (p_a > 0)).tolist()
        raise InputError(f"topics {alone} are in one of question and answer only; smooth counts.")
    p_c, used = p_c[p_c > 0], p_q > 0
    p_q, p_a = p_q[used], p_a[used]
    goal = rng.dirichlet(np.ones(len(p_q)), size=len(p_c))
    objective: list[float] = []
    converged = False
    while not converged and len(objective) < max_steps:
        result = _project(goal, p_c, p_a)
        objective.append(float(p_c @ kl_divergence(result, goal)))
        fall = objective[-2] - objective[-1] if len(objective) > 2 else np.inf
        converged = fall <= tolerance * objective[-1]
        goal = _fit_goal(result, p_c, p_q)
    closed_form = float(kl_divergence(p_a, p_q))
    return AuditResult(objective[-1], closed_form, len(objective), converged, np.array(objective))


def _project(
    goal: NDArray[np.float64], p_c: NDArray[np.float64], p_a: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A-step (1): maximise the concave p_a v - sum_i p_c_i ln sum_k Q_ik exp(v_k), u = exp(v)."""

    def dual(v: NDArray[np.float64]) -> _Dual:
        weighted = goal * np.exp(v - v.max())
        total = weighted.sum(1, keepdims=True)
        result = weighted / total
        reached = p_c @ result
        hessian = (result.T * p_c) @ result - np.diag(reached)
        return _Dual(float(p_a @ v - v.max() - p_c @ np.log(total[:, 0])), p_a - reached, hessian)

    weighted = goal * np.exp(_maximise(dual, np.zeros(len(p_a)), max_step=MAX_STEP))
    return weighted / weighted.sum(1, keepdims=True)


def _fit_goal(
    result: NDArray[np.float64], p_c: NDArray[np.float64], p_q: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Q-step (2): maximise (3)."""
    joint, rows = p_c[:, None] * result, len(p_c)

    def dual(multipliers: NDArray[np.float64]) -> _Dual:
        nu, xi = multipliers[:rows], multipliers[rows:]
        total = nu[:, None] + xi
        if total.min() <= 0:
            return _Dual(-np.inf, multipliers, np.empty((0, 0)))
        flow = joint / total
        curvature = flow / total
        value = float((joint * np.log(total)).sum() - p_c @ nu - p_q @ xi)
        diagonal = np.diag(np.concatenate([curvature.sum(1), curvature.sum(0)]))
        diagonal[:rows, rows:], diagonal[rows:, :rows] = curvature, curvature.T
        return _Dual(value, np.append(flow.sum(1) - p_c, flow.sum(0) - p_q), -diagonal)

    best = _maximise(dual, np.append(np.ones(rows), np.zeros(len(p_q))))
    goal = result / (best[:rows, None] + best[rows:])
    return goal / goal.sum(1, keepdims=True)


@dataclass(frozen=True, slots=True)
class _Dual:
    """A concave function at a point."""

    value: float
    gradient: NDArray[np.float64]
    hessian: NDArray[np.float64]


def _maximise(
    dual: Callable[[NDArray[np.float64]], _Dual],
    x: NDArray[np.float64],
    *,
    max_step: float = np.inf,
) -> NDArray[np.float64]:
    """Maximise by damped Newton; the last coordinate stays, which removes the flat direction."""
    at = dual(x)
    for _ in range(MAX_NEWTON):
        if np.abs(at.gradient).sum() < INNER_TOLERANCE:
            break
        step = np.append(np.linalg.solve(at.hessian[:-1, :-1], -at.gradient[:-1]), 0.0)
        length = min(1.0, max_step / float(np.abs(step).max()))
        while not _is_progress(at, ahead := dual(x + length * step), length, step):
            length /= 2
            if length < 1e-9:
                return x  # rounding hides any further progress
        x, at = x + length * step, ahead
    return x


def _is_progress(at: _Dual, ahead: _Dual, length: float, step: NDArray[np.float64]) -> bool:
    """Accept a sufficient rise, or, where rounding hides rises, a smaller gradient."""
    rise = 1e-4 * length * float(step @ at.gradient)
    if rise > 1e-13 * abs(at.value):
        return ahead.value >= at.value + rise
    smaller = np.abs(ahead.gradient).sum() < np.abs(at.gradient).sum()
    return bool(np.isfinite(ahead.value) and smaller)
