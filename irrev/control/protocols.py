"""Learn the protocol that does a task at least work.

    minimise  <W> + alpha <error>  over the parameters p of the control values c = c0 + B p   (1)

The gradient over the values, g, comes from `irrev.control.response`; over the parameters it is
B^T g. The values inside the duration are free of the start and end controls, so every
parametrisation jumps at both ends where that pays. Adam with a geometrically falling rate.

The last iterate is the answer, but not where the error is a function of the law of the end: its
derivative comes from the sample before, whose noise, times alpha, moves iterates for many steps
along the steepest direction. There the answer is a mean that favours the last of the iterates,

    p = sum_i i^3 p_i / sum_i i^3                                                             (2)

Sweep alpha for the front of work against error. Evaluate on fresh trajectories only (done here,
with another seed): the last gradient's own work is biased towards luck.

Sources: J. Lyu, K. Ray, J. Crutchfield, arXiv:2510.03900; D. Kingma, J. Ba, arXiv:1412.6980; for
averages as (2) O. Shamir, T. Zhang, ICML (2013).
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from irrev.control.checks import require_choice
from irrev.control.energetics import Evaluation, evaluate
from irrev.control.response import Gradient, Method, protocol_gradient
from irrev.control.systems import ControlTask
from irrev.errors import InputError
from irrev.simulate.chains import Array
from irrev.simulate.noise import BLOCK

Shape = Literal["steps", "linear", "polynomial"]
ADAM_DECAY = (0.9, 0.99)
LAST_RATE = 0.015  # the rate at the end over the rate at the start


@dataclass(frozen=True)
class Parametrisation:
    """Linear map from parameters (parameter, control) to values (interval, control)."""

    name: Shape
    basis: Array  # (interval, parameter)

    def values(self, parameters: Array) -> Array:
        """Return the control values."""
        return self.basis @ parameters

    def pull_back(self, gradient: Array) -> Array:
        """Turn a gradient over values into one over parameters."""
        return self.basis.T @ gradient

    def fit(self, values: Array) -> Array:
        """Return the parameters of the closest protocol."""
        return np.asarray(np.linalg.lstsq(self.basis, values, rcond=None)[0], dtype=np.float64)


def parametrise(
    shape: Shape, n_intervals: int, n_parameters: int | None = None
) -> Parametrisation:
    """Build a parametrisation of piecewise-constant values on equal intervals.

    Parameters
    ----------
    shape
        "steps": a free value an interval. "linear": straight lines between equally spaced knots.
        "polynomial": Legendre polynomials of the time.
    n_intervals
        Values of the protocol.
    n_parameters
        Knots (at least 2) or polynomial terms, at most `n_intervals`.

    Examples
    --------
    >>> parametrise("polynomial", 4, 2).basis.shape
    (4, 2)
    """
    require_choice("shape", shape, Shape)
    n = n_intervals if n_parameters is None else n_parameters
    if not 1 <= n <= n_intervals or (shape == "linear" and n < 2):
        raise InputError(
            f"{n} parameters for {n_intervals} intervals; take 1 (linear: 2) to {n_intervals}."
        )
    middles = (np.arange(n_intervals) + 0.5) / n_intervals
    if shape == "steps":
        if n != n_intervals:
            raise InputError(f"steps have a parameter an interval, {n_intervals}, not {n}.")
        return Parametrisation(shape, np.eye(n_intervals))
    if shape == "linear":
        knots = np.linspace(0, 1, n)
        hats = [np.interp(middles, knots, row) for row in np.eye(n)]
        return Parametrisation(shape, np.stack(hats, axis=1))
    terms = np.polynomial.legendre.legvander(2 * middles - 1, n - 1)
    return Parametrisation(shape, np.asarray(terms, dtype=np.float64))


@dataclass(frozen=True, slots=True)
class LearnedProtocol:
    """A protocol with the record of its learning and its price on fresh trajectories."""

    values: Array  # (interval, free control), the last or those of eq. (2)
    work_history: Array  # (iteration,) mean work of each iteration's own sample
    error_history: Array  # (iteration,)
    loss_history: Array  # (iteration,) work + weight * error
    evaluation: Evaluation
    gradient: Gradient  # at the last iteration
    error_weight: float


def learn_protocol(
    task: ControlTask,
    *,
    error_weight: float = 0.0,
    n_iterations: int = 300,
    n_trajectories: int = 1000,
    rate: float | None = None,
    parametrisation: Parametrisation | None = None,
    start: ArrayLike | None = None,
    method: Method = "response",
    seed: int = 0,
    n_evaluation: int = 50_000,
) -> LearnedProtocol:
    """Minimise mean work + weight * error of a task, eqs. (1, 2).

    Parameters
    ----------
    task
        From `irrev.control.systems`.
    error_weight
        alpha, energy units; 10 to 50 kT for a bit.
    n_iterations, n_trajectories
        Steps of Adam and fresh trajectories of each.
    rate
        First step size, in the control's unit; default: the task's own, 0.05 for a trap moved
        by 1, 0.2 for a barrier of 4.
    parametrisation
        From `parametrise`; default: a free value an interval.
    start
        First values, shape (interval, free control); default: the task's guess.
    method
        "response" or, at low friction and for smooth errors, "pathwise".
    seed
        Same seed, same history. The evaluation uses seed + 1.
    n_evaluation
        Fresh trajectories of the evaluation.

    Raises
    ------
    InputError
        If an option has no meaning or the first values have another shape.
    ConvergenceError
        If trajectories leave the finite numbers; `best` holds the values.
    """
    rate = task.rate if rate is None else rate
    if n_iterations < 1 or not rate > 0:
        raise InputError(f"{n_iterations} iterations at rate {rate}; both must be positive.")
    if not 0 <= error_weight < np.inf:
        raise InputError(f"error_weight is {error_weight}; use a number of at least 0.")
    if n_evaluation < 2:
        raise InputError(f"n_evaluation is {n_evaluation}; an error bar needs at least 2.")
    shape = parametrisation or parametrise("steps", task.n_intervals)
    given = task.guess if start is None else np.asarray(start, dtype=np.float64)
    task.controls(given)  # refuses another shape
    parameters = shape.fit(given)
    first, second = np.zeros_like(parameters), np.zeros_like(parameters)
    per_iteration = -(-n_trajectories // BLOCK)
    record = np.empty((n_iterations, 2))
    mean = np.zeros_like(parameters)
    gradient = None
    target = task.error
    for i in range(n_iterations):
        gradient = protocol_gradient(
            replace(task, error=target),
            shape.values(parameters),
            n_trajectories=n_trajectories,
            seed=seed,
            error_weight=error_weight,
            method=method,
            first_block=i * per_iteration,
        )
        record[i] = gradient.work, gradient.error
        target = target if target is None else target.about(gradient.law)
        g = shape.pull_back(gradient.value)
        first += (1 - ADAM_DECAY[0]) * (g - first)
        second += (1 - ADAM_DECAY[1]) * (g * g - second)
        step = first / (1 - ADAM_DECAY[0] ** (i + 1))
        scale = np.sqrt(second / (1 - ADAM_DECAY[1] ** (i + 1))) + 1e-12
        parameters = parameters - rate * LAST_RATE ** (i / n_iterations) * step / scale
        mean += 4 * (i + 1) / (i + 2) ** 2 * (parameters - mean)  # eq. (2), one by one
    assert gradient is not None
    by_law = task.error is not None and not task.error.is_share
    values = shape.values(mean if by_law else parameters)
    return LearnedProtocol(
        values,
        record[:, 0],
        record[:, 1],
        record[:, 0] + error_weight * record[:, 1],
        evaluate(task, values, n_trajectories=n_evaluation, seed=seed + 1),
        gradient,
        error_weight,
    )
