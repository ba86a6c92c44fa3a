"""The solvers by name, and the rule of `auto`.

`auto` looks at d observables and n training samples:

- `lbfgs` always;
- `sizes` too where spikes are synchronous: their number varies `SYNCHRONY` times as much as that
  of independent units, whose metric then suppresses what the units share;
- the `l1` path too on dense states with n < 100 d and d <= 10,000: the sampling noise 2 d / n of
  a full fit is above 0.02 nats.

Several fits are combined on validation. Joint sets of at most 300 observables are fitted in the
metric of their full covariance whatever the solver. Rescaling on validation makes every choice
safe: nothing is worse than 0 there.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from irrev.ep.ascent import MAX_SCALE, Fit
from irrev.ep.l1 import l1_path
from irrev.ep.limits import Scaled, rescale, value_at
from irrev.ep.objective import Dual
from irrev.ep.samples import sparse, synchrony
from irrev.ep.solvers import bb, chord, lbfgs, sizes
from irrev.ep.trust_region import newton
from irrev.errors import InputError

Solver = Literal["auto", "lbfgs", "sizes", "l1", "newton", "bb", "chord"]

SOLVERS: dict[str, Callable[[Dual, Dual | None], Fit]] = {
    "lbfgs": lbfgs,
    "sizes": sizes,
    "l1": l1_path,
    "newton": newton,
    "bb": bb,
    "chord": chord,
}
SYNCHRONY = 3.0  # cultures that burst have 4 to 22, retina and cortex 1 to 3
L1_SAMPLES = 100  # per observable: with more, sampling noise 2 d / n is below 0.02 nats
MAX_L1 = 10_000  # observables; beyond, active tables outgrow the data


def check_solver(solver: str) -> None:
    """Refuse a solver that is not known."""
    if solver not in get_args(Solver):
        raise InputError(f"solver is {solver!r}; use one of {', '.join(get_args(Solver))}.")


def auto_solvers(train: Dual) -> tuple[str, ...]:
    """Return the solvers that `auto` tries on a problem."""
    n, d = train.observables.n_samples, train.observables.n_observables
    names = ["lbfgs"]
    if _synchronous(train):
        names.append("sizes")
    if not sparse(train.observables) and n < L1_SAMPLES * d and d <= MAX_L1:
        names.append("l1")
    return tuple(names)


def _synchronous(train: Dual) -> bool:
    return synchrony(train.observables) >= SYNCHRONY


def warm_fit(train: Dual, validation: Dual, start: NDArray[np.float64] | None) -> Fit:
    """Fit as `auto` does on spikes, from given couplings."""
    solvers = (lbfgs, sizes) if _synchronous(train) else (lbfgs,)
    return combine(train, validation, [fit(train, validation, start=start) for fit in solvers])


def choose_fit(train: Dual, validation: Dual, solver: Solver = "auto") -> Fit:
    """Fit by the named solver; "auto" combines those of its rule."""
    names = auto_solvers(train) if solver == "auto" else (solver,)
    return combine(train, validation, [SOLVERS[name](train, validation) for name in names])


def combine(train: Dual, validation: Dual, fits: Sequence[Fit]) -> Fit:
    """Return the combination sum_i c_i theta_i, 0 <= c_i <= 1, that validation likes best.

    Two numbers chosen on thousands of samples cost no more than the noise of a choice between
    two fits, and two fits err on different samples. Each is cut at its own limit while they are
    weighed; the combination then gets a scale and a limit like every fit. A single fit is kept
    as it is.
    """
    if len(fits) == 1:
        return fits[0]
    raw = np.stack([validation.observables.reverse_values(f.theta) for f in fits])
    held = np.stack([np.clip(r, -f.limit, f.limit) for r, f in zip(raw, fits, strict=True)])
    forward = np.array([float(f.theta @ validation.mean) for f in fits])
    if validation.limited:
        forward = np.array([-validation.average(r) for r in held])

    def loss(c: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        reverse = c @ held
        slope = forward - held @ validation.weights(reverse)
        return validation.log_mean_exp(reverse) - float(c @ forward), -slope

    alone = [f - validation.log_mean_exp(r) for f, r in zip(forward, held, strict=True)]
    best = int(np.argmax(alone))
    start, bounds = np.eye(len(fits))[best], [(0.0, 1.0)] * len(fits)
    c = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    theta = np.sum([x * f.theta for x, f in zip(c, fits, strict=True)], axis=0)
    found = Scaled(1.0, inf, -loss(c)[0], validation.log_mean_exp(c @ held))
    if validation.limited:
        found = rescale(validation, float(theta @ validation.mean), c @ raw, max_scale=MAX_SCALE)
    if found.value <= alone[best]:
        return replace(fits[best], passes=sum(f.passes for f in fits))
    reverse = train.observables.reverse_values(theta)
    value_train = value_at(train, float(theta @ train.mean), reverse, found)
    return replace(
        fits[best],
        theta=found.scale * theta,
        train=np.append(fits[best].train, value_train),
        validation=np.append(fits[best].validation, found.value),
        value_train=value_train,
        log_normaliser=found.log_normaliser,
        limit=found.limit_scaled,
        saturated=value_train > train.cap
        or (found.at_top(validation.observables.n_samples) and any(f.saturated for f in fits)),
        passes=sum(f.passes for f in fits) + 0.5,
    )
