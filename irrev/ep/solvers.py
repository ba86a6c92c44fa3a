"""Ways to choose the directions of a fit.

`lbfgs`: quasi-Newton ascent (L-BFGS, 10 pairs) in the metric of the observables' sizes. One
iteration is one value product and one gradient product; the first direction is the mean of each
observable divided by its variance, so few iterations fit the strong pairs first and early
stopping regularises.

Source: J. Nocedal, Math. Comput. 35, 773 (1980).
"""

import numpy as np
from numpy.typing import NDArray

from irrev.ep.ascent import Ascent, Fit
from irrev.ep.objective import Dual

MEMORY = 10  # pairs of differences kept
PATIENCE = 3  # iterates without gain on validation before the fit stops
MAX_ITERATIONS = 500
GRADIENT_SQUARED = 1e-13  # twice the value left at a maximum whose Hessian is near 1

History = list[tuple[NDArray[np.float64], NDArray[np.float64]]]


def lbfgs(
    train: Dual,
    validation: Dual | None = None,
    *,
    patience: int = PATIENCE,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = GRADIENT_SQUARED,
) -> Fit:
    """Maximise f by L-BFGS in the metric of the observables' sizes.

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
        Stop when the squared norm of the gradient in this metric falls below it.

    Returns
    -------
        The best rescaled iterate; 0 if none beats 0 on validation.
    """
    size = train.observables.scale()
    ascent = Ascent(train, validation, patience=patience)
    gradient = ascent.gradient() / size
    history: History = []
    converged = False
    for _ in range(max_iterations):
        if converged := bool(gradient @ gradient <= tolerance):
            break
        direction = two_loop(gradient, history)
        step = ascent.move(direction / size)
        if converged := ascent.stopped:
            break
        previous, gradient = gradient, ascent.gradient() / size
        history = [*history[1 - MEMORY :], (step * direction, previous - gradient)]
    return ascent.fit(converged=converged and not ascent.saturated)


def two_loop(gradient: NDArray[np.float64], history: History) -> NDArray[np.float64]:
    """Apply the quasi-Newton inverse Hessian to a gradient.

    Parameters
    ----------
    gradient
        Shape (n_observables,).
    history
        Pairs (step, fall of the gradient along it), oldest first.
    """
    direction = gradient.copy()
    coefficients = []
    for step, fall in reversed(history):
        rho = 1.0 / float(step @ fall)
        alpha = rho * float(step @ direction)
        direction -= alpha * fall
        coefficients.append((rho, alpha))
    if history:
        step, fall = history[-1]
        direction *= float(step @ fall) / float(fall @ fall)
    for (step, fall), (rho, alpha) in zip(history, reversed(coefficients), strict=True):
        direction += (alpha - rho * float(fall @ direction)) * step
    return direction
