"""Solvers of the dual problem: one way to call them, each chooses the directions of a fit.

`lbfgs`: quasi-Newton ascent (L-BFGS, 10 pairs) in the metric of independent units. One
iteration is one value product and one gradient product. The first direction is one Newton step
for independent units, further ones add correlations, so that early stopping regularises.

`sizes`: the same in units of the observables' sizes alone. Where many units fire together, the
metric of independent units suppresses just what they share; this one does not.

`bb`: gradient ascent with Barzilai-Borwein steps in units of the observables' sizes,

    theta <- theta + alpha grad f,   alpha = |dtheta|^2 / (-dtheta . dgrad)        (1)

kept from running away by a line search wherever f falls below the lowest of its last 10 values.

`chord`: quasi-Newton ascent in the metric of the full covariance K at theta = 0, so the first
point is the Newton-1 point. For few observables with many samples each.

`newton` is in `irrev.ep.trust_region`, `l1` in `irrev.ep.l1`, `auto` in `irrev.ep.choose`.

Sources: J. Nocedal, Math. Comput. 35, 773 (1980); J. Barzilai, J. Borwein, IMA J. Numer. Anal. 8,
141 (1988) with the safeguard of M. Raydan, SIAM J. Optim. 7, 26 (1997).
"""

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from irrev.ep.ascent import Ascent, Fit
from irrev.ep.composite import covariance_metric
from irrev.ep.explicit import CovarianceMetric, DiagonalMetric
from irrev.ep.objective import Dual
from irrev.ep.observables import Metric
from irrev.errors import InputError

MEMORY = 10  # pairs of differences kept
PATIENCE = 3  # iterates without gain on validation before the fit stops
MAX_ITERATIONS = 500
TOLERANCE = 1e-13  # twice the value left, nats
BB_PATIENCE = 10  # steps of unequal length: more of them gain nothing than of a search
BB_WINDOW = 10  # values of which a step must not fall below the lowest
MAX_CHORD = 4000  # observables: their covariance takes 128 MB

History = list[tuple[NDArray[np.float64], NDArray[np.float64]]]


def lbfgs(
    train: Dual,
    validation: Dual | None = None,
    *,
    patience: int = PATIENCE,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
    start: NDArray[np.float64] | None = None,
    metric: Metric | None = None,
) -> Fit:
    """Maximise f by L-BFGS in the metric of independent units.

    Parameters
    ----------
    train
        Objective of the training samples.
    validation
        Objective of the samples that choose the iterate; None runs to convergence.
    patience
        Iterates without gain on validation before stopping.
    max_iterations
        Limit on iterates.
    tolerance
        Stop when a Newton step would gain less than half of it, nats.
    start
        Couplings to start from, shape (n_observables,); default 0.
    metric
        Covariance in which directions are measured; default that of the observables.

    Returns
    -------
        The best rescaled iterate; 0 if none beats 0 on validation.
    """
    metric = train.observables.metric() if metric is None else metric
    ascent = Ascent(train, validation, patience=patience, start=start)
    gradient = ascent.gradient()
    history: History = []
    converged = False
    for _ in range(max_iterations):
        direction = two_loop(gradient, history, metric.inverse)
        if converged := bool(gradient @ direction <= tolerance):
            break
        step = ascent.move(direction)
        if converged := ascent.stopped:
            break
        previous, gradient = gradient, ascent.gradient()
        pair = (step * direction, previous - gradient)
        if converged := float(pair[0] @ pair[1]) <= 0.0:
            break  # f is concave: no curvature along a step is rounding, at the top
        history = [*history[1 - MEMORY :], pair]
    return ascent.fit(converged=converged and not ascent.separable)


def sizes(
    train: Dual,
    validation: Dual | None = None,
    *,
    start: NDArray[np.float64] | None = None,
) -> Fit:
    """Maximise f by `lbfgs` in units of the observables' sizes."""
    metric = DiagonalMetric(train.observables.metric().size)
    return lbfgs(train, validation, start=start, metric=metric)


def bb(
    train: Dual,
    validation: Dual | None = None,
    *,
    patience: int = BB_PATIENCE,
    max_iterations: int = 20 * MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Fit:
    """Maximise f by Barzilai-Borwein steps (eq. 1); parameters and result as `lbfgs`."""
    scale = 1.0 / train.observables.metric().size ** 2
    ascent = Ascent(train, validation, patience=patience)
    gradient = ascent.gradient()
    recent = deque([0.0], maxlen=BB_WINDOW)
    alpha, converged = 1.0, False
    for _ in range(max_iterations):
        direction = scale * gradient
        if converged := bool(gradient @ direction <= tolerance):
            break
        step = alpha * direction
        if ascent.attempt(step, least=min(recent)) < min(recent):
            step = ascent.move(direction) * direction
        if converged := ascent.stopped:
            break
        recent.append(ascent.train.value)
        previous, gradient = gradient, ascent.gradient()
        fall = float(step @ (previous - gradient))
        alpha = float(step @ (step / scale)) / fall if fall > 0 else 1.0
    return ascent.fit(converged=converged and not ascent.separable)


def chord(
    train: Dual, validation: Dual | None = None, *, max_iterations: int = MAX_ITERATIONS
) -> Fit:
    """Maximise f by `lbfgs` in the metric of the full covariance; one iteration: Newton-1.

    Raises
    ------
    InputError
        If there are more than `MAX_CHORD` observables.
    """
    d = train.observables.n_observables
    if d > MAX_CHORD:
        raise InputError(
            f"{d:,} observables have no covariance that fits; use solver lbfgs or newton."
        )
    metric = _Factored(covariance_metric(train.observables))
    return lbfgs(train, validation, metric=metric, max_iterations=max_iterations)


class _Factored:
    """A covariance with its factor."""

    def __init__(self, metric: CovarianceMetric) -> None:
        self.size = metric.size
        self._factor = cho_factor(metric.cov)

    def inverse(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply the inverse covariance."""
        return cho_solve(self._factor, vector)


def two_loop(
    gradient: NDArray[np.float64],
    history: History,
    inverse: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Apply the quasi-Newton inverse Hessian to a gradient.

    Parameters
    ----------
    gradient
        Shape (n_observables,).
    history
        Pairs (step, fall of the gradient along it), oldest first.
    inverse
        Inverse Hessian where the history knows nothing.
    """
    remaining = gradient.copy()
    coefficients = []
    for step, fall in reversed(history):
        rho = 1.0 / float(step @ fall)
        alpha = rho * float(step @ remaining)
        remaining -= alpha * fall
        coefficients.append((rho, alpha))
    direction = inverse(remaining)
    if history:
        step, fall = history[-1]
        direction *= float(step @ fall) / float(fall @ inverse(fall))
    for (step, fall), (rho, alpha) in zip(history, reversed(coefficients), strict=True):
        direction += (alpha - rho * float(fall @ direction)) * step
    return direction
