"""Ways to choose the directions of a fit.

`lbfgs`: quasi-Newton ascent (L-BFGS, 10 pairs) in the metric of independent units. One
iteration is one value product and one gradient product. The first direction is one Newton step
for independent units, further ones add correlations, so that early stopping regularises.

Source: J. Nocedal, Math. Comput. 35, 773 (1980).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from irrev.ep.ascent import Ascent, Fit
from irrev.ep.objective import Dual

MEMORY = 10  # pairs of differences kept
PATIENCE = 3  # iterates without gain on validation before the fit stops
MAX_ITERATIONS = 500
TOLERANCE = 1e-13  # twice the value left, nats

History = list[tuple[NDArray[np.float64], NDArray[np.float64]]]


def lbfgs(
    train: Dual,
    validation: Dual | None = None,
    *,
    patience: int = PATIENCE,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
    start: NDArray[np.float64] | None = None,
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

    Returns
    -------
        The best rescaled iterate; 0 if none beats 0 on validation.
    """
    metric = train.observables.metric()
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
        history = [*history[1 - MEMORY :], (step * direction, previous - gradient)]
    return ascent.fit(converged=converged and not ascent.separable)


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
