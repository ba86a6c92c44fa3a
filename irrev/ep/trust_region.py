"""Trust-region Newton ascent on products with the Hessian; no matrix of it is formed.

Near theta the objective is f + g.p - p.Hp / 2, H = -(hess f) (`irrev.ep.objective`, eq. 3). The
step maximises that model within |p| <= radius, measured in the observables' sizes, by conjugate
gradients that end at the border or on a direction without curvature (Steihaug, Toint). With

    rho = (gain of f) / (gain of the model)                                       (1)

a step with rho > 0 is taken; the radius shrinks by 4 below rho = 0.25 and doubles above 0.75 at
the border. One product with H costs as much as one value and one gradient.

Sources: T. Steihaug, SIAM J. Numer. Anal. 20, 626 (1983); C.-J. Lin, R. Weng, S. Keerthi, J. Mach.
Learn. Res. 9, 627 (2008) for the radius.
"""

import numpy as np
from numpy.typing import NDArray

from irrev.ep.ascent import Ascent, Fit
from irrev.ep.objective import Dual
from irrev.ep.solvers import MAX_ITERATIONS, PATIENCE, TOLERANCE

Array = NDArray[np.float64]

START_RADIUS = 1.0  # nats, since |p| is the standard deviation of p . g of independent observables
MIN_RADIUS, MAX_RADIUS = 1e-3, 1e3
SHRINK_BELOW, GROW_ABOVE = 0.25, 0.75
MAX_INNER = 100  # products with H a step
FORCING = 0.1  # residual of the inner problem relative to its start, at most


def newton(
    train: Dual,
    validation: Dual | None = None,
    *,
    patience: int = PATIENCE,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Fit:
    """Maximise f by trust-region Newton steps; parameters and result as `lbfgs`."""
    metric = train.observables.metric()
    ascent = Ascent(train, validation, patience=patience)
    gradient, value, radius = ascent.gradient(), 0.0, START_RADIUS
    converged = False
    for _ in range(max_iterations):
        if converged := bool(gradient @ metric.inverse(gradient) <= tolerance):
            break
        step, gain, border, products = _inner(train, ascent, gradient, metric.size, radius)
        ascent.passes += products
        # Rounding of f near the top must not read as a loss.
        slack = 1e-14 * max(1.0, abs(value))
        reached = ascent.attempt(step, least=value - slack)
        rho = (reached - value + slack) / gain if gain > 0 else 0.0
        if rho < SHRINK_BELOW:
            radius = max(0.25 * radius, MIN_RADIUS * 1e-9)
        elif rho > GROW_ABOVE and border:
            radius = min(2.0 * radius, MAX_RADIUS)
        if reached < value - slack:
            if radius < MIN_RADIUS * 1e-6:
                break
            continue
        value = reached
        if converged := ascent.stopped:
            break
        gradient = ascent.gradient()
    return ascent.fit(converged=converged and not ascent.separable)


def _inner(
    train: Dual, ascent: Ascent, gradient: Array, size: Array, radius: float
) -> tuple[Array, float, bool, int]:
    """Maximise the model within the radius: step, gain of the model, at the border, products."""
    # In units of the sizes, so the border is a ball and the Hessian near the identity.
    g = gradient / size
    p, r = np.zeros_like(g), g.copy()
    d, rr = r.copy(), float(r @ r)
    stop = min(FORCING, rr**0.25) ** 2 * rr
    curved, k = np.zeros_like(g), 0  # H p, products
    for k in range(1, MAX_INNER + 1):
        hd = train.hessian_product(ascent.train.reverse, d / size) / size
        bend = float(d @ hd)
        along = rr / bend if bend > 0 else np.inf
        ahead = p + along * d if bend > 0 else None
        if ahead is None or float(ahead @ ahead) >= radius**2:
            along = _to_border(p, d, radius)
            p, curved = p + along * d, curved + along * hd
            return p / size, float(g @ p - 0.5 * p @ curved), True, k
        p, curved = ahead, curved + along * hd
        r = r - along * hd
        fresh = float(r @ r)
        if fresh <= stop:
            break
        d, rr = r + fresh / rr * d, fresh
    return p / size, float(g @ p - 0.5 * p @ curved), False, k


def _to_border(p: Array, d: Array, radius: float) -> float:
    """Return the positive length along d at which |p + length d| = radius."""
    dd, pd, pp = float(d @ d), float(p @ d), float(p @ p)
    return (-pd + np.sqrt(max(pd**2 + dd * (radius**2 - pp), 0.0))) / dd
