"""Sparse couplings: the path of L1-penalised fits in the metric of the observables' sizes.

    maximise  f(theta) - lambda sum_k size_k |theta_k|,   lambda = z / sqrt(n)       (1)

for falling z, each level started from the one before. z is the number of standard errors by which
the mean of an observable must exceed what the others explain. Where few of many observables
matter, this is the tightest of the solvers.

Only observables that may be nonzero take part: those that are, and those whose slope exceeds the
penalty, checked on all observables until none is missing. Their values are held in a table, so an
inner step costs n_samples x (active observables). Inner steps are Newton steps that stop where a
coupling would change its sign; several share one tilted covariance. Every level is rescaled on
validation samples like every iterate of the other solvers; the path ends at the first level
without gain.

Source: G. Andrew, J. Gao, Proc. ICML, 33 (2007) for steps within an orthant; the metric and the
rescaling are derived here.
"""

from dataclasses import dataclass, replace
from math import inf

import numpy as np
from numpy.linalg import LinAlgError
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from irrev.ep.ascent import MAX_SCALE, Fit
from irrev.ep.explicit import ExplicitObservables
from irrev.ep.limits import rescale, value_at
from irrev.ep.objective import Dual

RATIO = 0.7  # between two levels
MIN_LEVEL = 0.8  # standard errors: below, noise alone passes
INNER_TOLERANCE = 1e-3  # relative gain at which a level is done (1e-2 costs half of the value)
MAX_INNER = 50
MAX_HALVINGS = 12
FLOP = 8.0  # of a value and a gradient of pairs by dense products, an observable and sample
CONTRACTION = 0.5  # of the gain between two steps, above which a new covariance is formed
TIGHT = 1e-13  # relative gain and ridge of a fit without penalty
RIDGE = 1e-3  # of a Newton step: few samples may carry the weight, in single precision
RIDGES = (1.0, 1e3, 1e6)  # factors on it, tried in turn
TINY = float(np.finfo(float).tiny)
MAX_TABLE = 1 << 25  # samples x active observables: 128 MiB, then the path ends
MIN_SAMPLES = 12  # per nonzero coupling: with fewer, noise outweighs what a level adds
FEW = 0.05  # of the active observables: so few that are missing wait for the next level
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
        and inner steps by their arithmetic.
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
        found = path.descend(level, gradient, choice)
        if found is None:
            break
        previous, gradient = level, found
        if train.value(float(path.theta @ train.mean), path.reverse) > train.cap:
            break  # separable: no maximum without the penalty, and little sense with it
    return choice.fit(path.passes)


def _unpenalised(train: Dual) -> Fit:
    """Return the end of the path at penalty 0, in double precision."""
    every = np.arange(train.observables.n_samples)
    table = ExplicitObservables(
        train.observables.columns(every), train.observables.reverse_columns(every)
    )
    dual, zero = Dual(table, train.mean, train.probability), np.zeros(train.mean.size)
    fitted = orthant_newton(dual, zero, zero, tolerance=TIGHT, ridge=TIGHT, reuse=False)
    assert fitted is not None  # no limit on nonzero couplings was given
    theta, reverse, work = fitted
    value = dual.value(float(theta @ dual.mean), reverse)
    return Fit(
        theta=theta,
        scale=1.0,
        train=np.array([0.0, value]),
        validation=np.array([0.0, value]),
        value_train=value,
        log_normaliser=dual.log_mean_exp(reverse),
        limit=inf,
        saturated=value > dual.cap,
        converged=value <= dual.cap,
        passes=work / (FLOP * theta.size),
    )


@dataclass(slots=True)
class _Path:
    """The fit of the present level."""

    train: Dual
    scale: NDArray[np.float64]  # penalty of each observable at z = 1
    theta: NDArray[np.float64]
    reverse: NDArray[np.float64]  # theta . g~ of the training samples
    passes: float = 0.5

    def descend(
        self, level: float, gradient: NDArray[np.float64], choice: "_Choice"
    ) -> NDArray[np.float64] | None:
        """Fit one level and return the gradient there; None where the path ends."""
        penalty = level * self.scale
        active = (self.theta != 0) | (np.abs(gradient) > penalty)
        for check in range(MAX_CHECKS):
            chosen = np.flatnonzero(active)
            if chosen.size == 0:
                return gradient
            if chosen.size * self.reverse.size > MAX_TABLE:
                return None
            work = self._fit_active(chosen, penalty[chosen])
            if work is None:
                return None
            self.passes += 0.5 + work / (FLOP * self.theta.size)
            gained = choice.offer(self.theta, self.reverse)
            if check == 0 and not gained and choice.best > 0:
                return None  # observables that are still missing would not turn a loss into a gain
            gradient = self.train.gradient(self.reverse)
            missing = (np.abs(gradient) > 1.01 * penalty) & ~active
            if np.sum(missing) <= FEW * chosen.size:
                break
            active |= missing
        return gradient

    def _fit_active(self, chosen: NDArray[np.int64], penalty: NDArray[np.float64]) -> float | None:
        """Fit the chosen observables, all others zero; return the work."""
        table = self.train.observables.select(chosen)
        dual = Dual(table, self.train.mean[chosen], self.train.probability)
        start = self.theta[chosen]
        limit = int(self.reverse.size / MIN_SAMPLES)
        fitted = orthant_newton(dual, start, penalty, max_free=limit)
        if fitted is None:
            return None
        theta, reverse, work = fitted
        self.theta = np.zeros(self.theta.size)
        self.theta[chosen] = theta
        self.reverse = reverse
        return work


def orthant_newton(
    dual: Dual,
    theta: NDArray[np.float64],
    penalty: NDArray[np.float64],
    *,
    max_free: int | None = None,
    tolerance: float = INNER_TOLERANCE,
    ridge: float = RIDGE,
    reuse: bool = True,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float] | None:
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
    reuse
        Whether a tilted covariance serves several steps.

    Returns
    -------
        Couplings, theta . g~ of each sample, and the work, flop a sample; None beyond
        `max_free`.
    """
    reverse = dual.observables.reverse_values(theta)
    best = _objective(dual, theta, reverse, penalty)
    work, cov, last = 2.0 * theta.size, np.zeros((0, 0)), np.inf
    for _ in range(MAX_INNER):
        slope = _pseudo_gradient(dual.gradient(reverse), theta, penalty)
        free = np.flatnonzero((theta != 0) | (slope != 0))
        if free.size == 0:
            break
        if max_free is not None and free.size > max_free:
            return None
        if fresh := not cov.size:
            cov = _tilted_covariance(dual, reverse)
            work += float(theta.size) ** 2
        side = np.where(theta != 0, np.sign(theta), np.sign(slope))
        step = np.zeros(theta.size)
        step[free] = _newton_step(cov[np.ix_(free, free)], slope[free], ridge)
        step[(theta == 0) & (step * slope <= 0)] = 0.0
        work += 4.0 * theta.size
        found = _backtrack(dual, theta, step, side, penalty, best)
        gain = 0.0 if found is None else found[2] - best
        if found is not None:
            theta, reverse, best = found
        if best > dual.cap or (fresh and gain <= tolerance * abs(best)):
            break
        # A chord: an old covariance serves while its steps contract.
        if gain > CONTRACTION * last or gain <= tolerance * abs(best) or not reuse:
            cov = np.zeros((0, 0))
        last = gain
    return theta, reverse, work


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


def _tilted_covariance(dual: Dual, reverse: NDArray[np.float64]) -> NDArray[np.float64]:
    w = dual.weights(reverse)
    table = dual.observables.select(np.arange(dual.mean.size))
    mean = table.reverse_total(w)
    return table.second_moment(w) - np.outer(mean, mean)


def _newton_step(
    cov: NDArray[np.float64], slope: NDArray[np.float64], ridge: float
) -> NDArray[np.float64]:
    """Solve with the tilted covariance of the free observables.

    Where nearly equal observables and few weights leave less variance than the rounding of a
    single-precision product, the ridge grows until the step is one along the slope.
    """
    diagonal = np.diag_indices_from(cov)
    size = float(np.trace(cov)) / slope.size
    for growth in RIDGES:
        cov[diagonal] += growth * ridge * size + TINY
        try:
            return cho_solve(cho_factor(cov), slope)
        except LinAlgError:
            size = float(np.abs(cov[diagonal]).mean())
    return slope / max(size, TINY)


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
        self._curve = [(0.0, 0.0)]
        self._best = Fit(
            theta=np.zeros(train.mean.size),
            scale=0.0,
            train=np.zeros(1),
            validation=np.zeros(1),
            value_train=0.0,
            log_normaliser=0.0,
            limit=inf,
            saturated=False,
            converged=True,
            passes=0.0,
        )

    @property
    def best(self) -> float:
        """Best validation value so far, nats."""
        return max(c[1] for c in self._curve)

    def offer(self, theta: NDArray[np.float64], reverse: NDArray[np.float64]) -> bool:
        """Rescale a fit on validation; keep it if it is the best; tell whether it is.

        Levels are compared without a limit on theta . g; one that is kept gets its limit.
        """
        chosen = np.flatnonzero(theta)
        if chosen.size == 0:
            return False
        held = self.validation.observables.select(chosen).reverse_values(theta[chosen])
        track = (float(theta @ self.validation.mean), held)
        found = rescale(self.validation, *track, max_scale=self.max_scale, free=True)
        own = (float(theta @ self.train.mean), reverse)
        value_train = value_at(self.train, *own, found)
        gained = found.value > self.best
        self._curve.append((value_train, found.value))
        if gained:
            if self.validation.limited:
                found = rescale(self.validation, *track, max_scale=self.max_scale)
                value_train = value_at(self.train, *own, found)
            self._best = replace(
                self._best,
                theta=found.scale * theta,
                scale=found.scale,
                value_train=value_train,
                log_normaliser=found.log_normaliser,
                limit=found.limit_scaled,
                saturated=value_train > self.train.cap,
            )
        return gained

    def fit(self, passes: float) -> Fit:
        """Return the best level with the curves of all."""
        train, validation = np.array(self._curve).T
        return replace(self._best, train=train, validation=validation, passes=passes)
