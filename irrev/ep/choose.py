"""The solvers by name, and the rule of `auto`.

`auto` looks at d observables and n training samples:

- few observables (d <= 300) with n >= 10 d each: `lbfgs` in the metric of their full covariance;
- n >= 100 d: `lbfgs`, since the sampling noise 2 d / n of a full fit is below 0.02 nats;
- fewer samples, dense states, d <= 10,000: `lbfgs` and the `l1` path, validation keeps the better;
- sparse spikes or more observables: `lbfgs`.

The metric of the first row is what `lbfgs` uses by itself for joint sets of at most 300
observables. Rescaling on validation makes every choice safe: nothing is worse than 0 there.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from irrev.ep.ascent import Fit
from irrev.ep.l1 import l1_path
from irrev.ep.objective import Dual
from irrev.ep.samples import sparse
from irrev.ep.solvers import bb, chord, lbfgs
from irrev.ep.trust_region import newton

Solver = Literal["auto", "lbfgs", "l1", "newton", "bb", "chord"]

SOLVERS: dict[str, Callable[[Dual, Dual | None], Fit]] = {
    "lbfgs": lbfgs,
    "l1": l1_path,
    "newton": newton,
    "bb": bb,
    "chord": chord,
}
L1_SAMPLES = 100  # per observable: with more, sampling noise 2 d / n is below 0.02 nats
MAX_L1 = 10_000  # observables; beyond, active tables outgrow the data


def auto_solvers(train: Dual) -> tuple[str, ...]:
    """Return the solvers that `auto` tries on a problem."""
    n, d = train.observables.n_samples, train.observables.n_observables
    if sparse(train.observables) or n >= L1_SAMPLES * d or d > MAX_L1:
        return ("lbfgs",)
    return ("lbfgs", "l1")


def choose_fit(train: Dual, validation: Dual, solver: Solver = "auto") -> Fit:
    """Fit by the named solver; "auto" lets validation choose among those of its rule."""
    names = auto_solvers(train) if solver == "auto" else (solver,)
    fits = [SOLVERS[name](train, validation) for name in names]
    best = max(fits, key=lambda f: float(f.validation.max()))
    return replace(best, passes=sum(f.passes for f in fits))
