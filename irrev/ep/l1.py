"""Sparse couplings: the path of L1-penalised fits in the metric of the observables' sizes.

    maximise  f(theta) - lambda sum_k size_k |theta_k|,   lambda = z / sqrt(n)       (1)

for falling z, each level started from the one before. z is the number of standard errors by which
the mean of an observable must exceed what the others explain. Where few of many observables
matter, this is the tightest of the solvers.

Only observables that may be nonzero take part: those that are, and those whose slope exceeds the
penalty, checked on all observables until none is missing. Their values are held in a table, so an
inner step costs n_samples x (active observables). Inner steps are Newton steps that stop where a
coupling would change its sign. Every level is rescaled on validation samples like every iterate
of the other solvers; the path ends at the first level without gain.

Source: G. Andrew, J. Gao, Proc. ICML, 33 (2007) for steps within an orthant; the metric and the
rescaling are derived here.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from irrev.ep.ascent import MAX_SCALE, Fit
from irrev.ep.explicit import ExplicitObservables
from irrev.ep.objective import Dual

RATIO = 0.7  # between two levels
MIN_LEVEL = 0.8  # standard errors: below, noise alone passes
LEVEL_PATIENCE = 1  # levels without gain before the path ends
INNER_TOLERANCE = 1e-3  # relative gain at which a level is done (1e-2 costs half of the value)
MAX_INNER = 50
MAX_HALVINGS = 12
TIGHT = 1e-13  # relative gain and ridge of a fit without penalty
RIDGE = 1e-3  # of a Newton step: few samples may carry the weight, in single precision
TINY = float(np.finfo(float).tiny)
MAX_TABLE = 1 << 25  # samples x active observables: 128 MiB, then the path ends
MIN_SAMPLES = 12  # per nonzero coupling: with fewer, noise outweighs what a level adds
NEAR = 0.9  # of the penalty: slopes from which an observable may become nonzero
MAX_CHECKS = 8  # rounds of adding observables that were left out


def l1_path(
    train: Dual,
    validation: Dual | None = None,
    *,
    ratio: float = RATIO,
    min_level: float = MIN_LEVEL,
    max_scale: float = MAX_SCALE,
) -> Fit:
    """Fit the L1 path and keep the rescaled level that validation likes best.

    Parameters
    ----------
    train
        Objective of the training samples; its observables offer `select`.
    validation
        Objective of the samples that choose the level; None fits without penalty, to convergence.
    ratio, min_level
        Factor between two penalties z of eq. (1), from the first that leaves anything, and the
        last one.
    max_scale
        Largest rescaling.

    Returns
    -------
        The best level; 0 if none beats 0 on validation. `passes` counts full gradients as 1/2
        and inner steps by their share of the observables.
    """
    if validation is None:
        return _unpenalised(train)
    size = train.observables.metric().size
    scale = size / np.sqrt(train.observables.n_samples)
    path = _Path(train, scale, np.zeros(size.size), np.zeros(train.observables.n_samples))
    choice = _Choice(train, validation, max_scale)
    gradient = train.gradient(path.reverse)
    previous = float(np.max(np.abs(gradient) / scale, initial=0.0))
    while (level := ratio * previous) >= min_level:
        found = path.descend(level, gradient)
        if found is None:
            break
        previous, gradient = level, found
        if train.value(float(path.theta @ train.mean), path.reverse) > train.cap:
            break  # separable: no maximum without the penalty, and little sense with it
        if path.theta.any():
            choice.offer(path.theta, path.reverse)
        if choice.since >= LEVEL_PATIENCE:
            break
    return choice.fit(path.passes)


def _unpenalised(train: Dual) -> Fit:
    """Return the end of the path at penalty 0, in double precision."""
    every = np.arange(train.observables.n_samples)
    table = ExplicitObservables(
        train.observables.columns(every), train.observables.reverse_columns(every)
    )
    dual, zero = Dual(table, train.mean, train.probability), np.zeros(train.mean.size)
    fitted = orthant_newton(dual, zero, zero, tolerance=TIGHT, ridge=TIGHT)
    assert fitted is not None  # no limit on nonzero couplings was given
    theta, reverse, products = fitted
    value = dual.value(float(theta @ dual.mean), reverse)
    return Fit(
        theta=theta,
        scale=1.0,
        train=np.array([0.0, value]),
        validation=np.array([0.0, value]),
        value_train=value,
        log_normaliser=dual.log_mean_exp(reverse),
        saturated=value > dual.cap,
        converged=value <= dual.cap,
        passes=0.5 * products,
    )


@dataclass(slots=True)
class _Path:
    """The fit of the present level."""

    train: Dual
    scale: NDArray[np.float64]  # penalty of each observable at z = 1
    theta: NDArray[np.float64]
    reverse: NDArray[np.float64]  # theta . g~ of the training samples
    passes: float = 0.5

    def descend(self, level: float, gradient: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Fit one level and return the gradient there; None where the table grows too large."""
        penalty = level * self.scale
        active = (self.theta != 0) | (np.abs(gradient) > NEAR * penalty)
        for _ in range(MAX_CHECKS):
            chosen = np.flatnonzero(active)
            if chosen.size == 0:
                return gradient
            if chosen.size * self.reverse.size > MAX_TABLE:
                return None
            inner = self._fit_active(chosen, penalty[chosen])
            if inner is None:
                return None
            self.passes += 0.5 + inner * chosen.size / self.theta.size
            gradient = self.train.gradient(self.reverse)
            missing = (np.abs(gradient) > 1.01 * penalty) & ~active
            if not missing.any():
                break
            active |= missing
        return gradient

    def _fit_active(self, chosen: NDArray[np.int64], penalty: NDArray[np.float64]) -> int | None:
        """Fit the chosen observables, all others zero; return the number of products."""
        table = self.train.observables.select(chosen)
        dual = Dual(table, self.train.mean[chosen], self.train.probability)
        start = self.theta[chosen]
        limit = int(self.reverse.size / MIN_SAMPLES)
        fitted = orthant_newton(dual, start, penalty, max_free=limit)
        if fitted is None:
            return None
        theta, reverse, steps = fitted
        self.theta = np.zeros(self.theta.size)
        self.theta[chosen] = theta
        self.reverse = reverse
        return steps


def orthant_newton(
    dual: Dual,
    theta: NDArray[np.float64],
    penalty: NDArray[np.float64],
    *,
    max_free: int | None = None,
    tolerance: float = INNER_TOLERANCE,
    ridge: float = RIDGE,
) -> tuple[NDArray[np.float64], NDArray[np.float64], int] | None:
    """Maximise f - sum_k penalty_k |theta_k| by Newton steps that stop where a sign would change.

    Parameters
    ----------
    dual
        Objective of few observables.
    theta
        Start, shape (n_observables,).
    penalty
        Shape (n_observables,), not negative.
    max_free
        Give up when more couplings than this would be nonzero.
    tolerance
        Relative gain at which to stop.
    ridge
        Of the Newton steps, relative to the mean variance.

    Returns
    -------
        Couplings, theta . g~ of each sample, and the number of products with the table; None
        beyond `max_free`.
    """
    reverse = dual.observables.reverse_values(theta)
    best = _objective(dual, theta, reverse, penalty)
    products = 1
    for _ in range(MAX_INNER):
        slope = _pseudo_gradient(dual.gradient(reverse), theta, penalty)
        free = np.flatnonzero((theta != 0) | (slope != 0))
        if free.size == 0:
            break
        if max_free is not None and free.size > max_free:
            return None
        side = np.where(theta != 0, np.sign(theta), np.sign(slope))
        step = np.zeros(theta.size)
        step[free] = _newton_step(dual, reverse, free, slope[free], ridge)
        step[(theta == 0) & (step * slope <= 0)] = 0.0
        products += 3
        found = _backtrack(dual, theta, step, side, penalty, best)
        if found is None:
            break
        theta, reverse, value = found
        gain, best = value - best, value
        if gain <= tolerance * abs(best):
            break
    return theta, reverse, products


def _objective(
    dual: Dual,
    theta: NDArray[np.float64],
    reverse: NDArray[np.float64],
    penalty: NDArray[np.float64],
) -> float:
    return dual.value(float(theta @ dual.mean), reverse) - float(penalty @ np.abs(theta))


def _pseudo_gradient(
    gradient: NDArray[np.float64], theta: NDArray[np.float64], penalty: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the steepest slope of the penalised objective."""
    at_zero = np.sign(gradient) * np.maximum(np.abs(gradient) - penalty, 0.0)
    return np.where(theta != 0, gradient - penalty * np.sign(theta), at_zero)


def _newton_step(
    dual: Dual,
    reverse: NDArray[np.float64],
    free: NDArray[np.int64],
    slope: NDArray[np.float64],
    ridge: float,
) -> NDArray[np.float64]:
    """Solve with the tilted covariance of the free observables."""
    table = dual.observables.select(free)
    w = dual.weights(reverse)
    mean = table.reverse_total(w)
    cov = table.second_moment(w) - np.outer(mean, mean)
    cov[np.diag_indices_from(cov)] += ridge * float(np.trace(cov)) / free.size + TINY
    return cho_solve(cho_factor(cov), slope)


def _backtrack(
    dual: Dual,
    theta: NDArray[np.float64],
    step: NDArray[np.float64],
    side: NDArray[np.float64],
    penalty: NDArray[np.float64],
    best: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float] | None:
    """Halve the step until the objective rises; couplings that change sign become 0."""
    for _ in range(MAX_HALVINGS):
        moved = theta + step
        moved[moved * side < 0] = 0.0
        reverse = dual.observables.reverse_values(moved)
        value = _objective(dual, moved, reverse, penalty)
        if value > best:
            return moved, reverse, value
        step = 0.5 * step
    return None


class _Choice:
    """The rescaled level that validation likes best."""

    def __init__(self, train: Dual, validation: Dual, max_scale: float) -> None:
        self.train, self.validation, self.max_scale = train, validation, max_scale
        self.since = 0
        self._curve = [(0.0, 0.0)]
        self._best = Fit(
            theta=np.zeros(train.mean.size),
            scale=0.0,
            train=np.zeros(1),
            validation=np.zeros(1),
            value_train=0.0,
            log_normaliser=0.0,
            saturated=False,
            converged=True,
            passes=0.0,
        )

    def offer(self, theta: NDArray[np.float64], reverse: NDArray[np.float64]) -> None:
        """Rescale a level on validation; keep it if it is the best."""
        chosen = np.flatnonzero(theta)
        held = self.validation.observables.select(chosen).reverse_values(theta[chosen])
        forward = float(theta @ self.validation.mean)
        zero = np.zeros_like(held)
        scale = self.validation.search(0.0, zero, forward, held, upper=self.max_scale)
        normaliser = self.validation.log_mean_exp(scale * held)
        value = scale * forward - normaliser
        own = float(theta @ self.train.mean)
        value_train = self.train.value(scale * own, scale * reverse)
        gained = value > max(c[1] for c in self._curve)
        self._curve.append((value_train, value))
        self.since = 0 if gained else self.since + 1
        if gained:
            self._best = replace(
                self._best,
                theta=scale * theta,
                scale=scale,
                value_train=value_train,
                log_normaliser=normaliser,
                saturated=value_train > self.train.cap,
            )

    def fit(self, passes: float) -> Fit:
        """Return the best level with the curves of all."""
        train, validation = np.array(self._curve).T
        return replace(self._best, train=train, validation=validation, passes=passes)
