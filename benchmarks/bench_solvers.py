"""Every solver on the benchmark set: held-out value, its standard error, passes, CPU time.

`auto` must never be worse than the best single solver by more than its interval, nor than the
published early-stopped ascent (gradient ascent with Barzilai-Borwein steps in raw units, the
iterate that validation likes best, no rescaling). Blocks are dealt 35 : 10 : 5 to training,
validation and test. CPU time is in units of one dense value and gradient of the same problem.
"""

import time
from dataclasses import dataclass

import numpy as np
import pytest

from irrev.binning import SpikeBins
from irrev.ep.choose import SOLVERS, choose_fit
from irrev.ep.crossfit import both_values
from irrev.ep.limits import limited, with_limits
from irrev.ep.multipartite import fit_flips, flip_table
from irrev.ep.objective import Dual
from irrev.ep.samples import build_samples
from irrev.ep.validation import held_out
from irrev.simulate.spikes import simulate_spikes
from irrev.simulate.spins import simulate_spins, spin_couplings, virtual_flips

PARTS = np.repeat([0, 1, 2], [35, 10, 5])


@dataclass
class Problem:
    train: Dual
    validation: Dual
    test: Dual


def split(observables, seed):
    """Deal 50 blocks to training, validation and test."""
    n = observables.n_samples
    part = np.random.default_rng(seed).permutation(PARTS)[np.arange(n) * 50 // n]
    pieces = [observables.take(np.flatnonzero(part == k)) for k in range(3)]
    train, validation, test = (
        Dual(p, p.total(np.full(p.n_samples, 1 / p.n_samples))) for p in pieces
    )
    return Problem(train, with_limits(validation), test)


def spins(n, n_steps, beta, draw, every=1):
    coupling = spin_couplings(n, np.random.default_rng([draw, 1]))
    states = simulate_spins(coupling, beta=beta, n_states=n_steps + 1, seed=draw, every=every)
    return split(build_samples(states).observables, draw)


def spikes(n, n_steps, strength, density, seed):
    rng = np.random.default_rng(seed)
    trains = simulate_spikes(n, n_steps, rng, strength=strength, density=density)
    return split(build_samples(SpikeBins.from_dense(trains.states, 0.01)).observables, seed)


def unit(n, n_states, seed):
    """Flips of one of n spins."""
    coupling = spin_couplings(n, np.random.default_rng(seed))
    states = simulate_spins(coupling, beta=2.0, n_states=n_states, seed=seed)
    flips = virtual_flips(states, coupling, np.random.default_rng(seed + 1), beta=2.0)
    which = int(np.argsort(flips.sum(axis=0))[n // 2])
    return split(flip_table(states[flips[:, which]], which), seed)


PROBLEMS = {
    **{f"100 spins, 30,000 redraws, draw {k}": (spins, (100, 30_000, 2.0, k)) for k in range(6)},
    "12 spins, 30,000 redraws": (spins, (12, 30_000, 1.0, 7)),
    "40 spins, 6,000 redraws": (spins, (40, 6_000, 2.0, 8)),
    "60 units, 20,000 bins": (spikes, (60, 20_000, 0.15, 0.2, 0)),
    "60 units, 20,000 bins, few strong couplings": (spikes, (60, 20_000, 0.5, 0.05, 1)),
    "150 units, 50,000 bins, strong": (spikes, (150, 50_000, 0.35, 0.05, 2)),
    "a unit of 200 spins, 20,000 states": (unit, (200, 20_000, 3)),
    "a unit of 400 spins, 3,000 states": (unit, (400, 3_000, 4)),
}


def early_stopped(problem, rate=None, patience=10, steps=1000):
    """The published ascent: raw units, best validation iterate, no rescaling."""
    train, validation = problem.train, problem.validation
    theta = np.zeros(train.mean.size)
    gradient = train.gradient(train.observables.reverse_values(theta))
    step = (1e-3 if rate is None else rate) * gradient
    best, kept, since, passes = 0.0, theta, 0, 1.0
    for _ in range(steps):
        theta = theta + step
        reverse = train.observables.reverse_values(theta)
        held = validation.value(
            float(theta @ validation.mean), validation.observables.reverse_values(theta)
        )
        passes += 1.0
        since = 0 if held > best else since + 1
        if held > best:
            best, kept = held, theta
        if since >= patience or not np.isfinite(held):
            break
        fresh = train.gradient(reverse)
        fall = gradient - fresh
        step, gradient = abs(float(step @ fall) / max(float(fall @ fall), 1e-300)) * fresh, fresh
    return kept, passes


def evaluate(problem, theta, normaliser=0.0, limit=np.inf):
    """Held-out value and its standard error by the delta method over 10 blocks."""
    a, r = limited(*both_values(problem.test.observables, theta), limit)
    out = held_out(a, r, normaliser)
    influence = a - np.exp(r - out.log_normaliser)
    sums = np.array([x.mean() for x in np.array_split(influence, 10)])
    return out.value, float(sums.std(ddof=1) / np.sqrt(10))


@pytest.mark.parametrize("name", PROBLEMS)
def test_solvers(name):
    make, arguments = PROBLEMS[name]
    problem = make(*arguments)
    d, n = problem.train.observables.n_observables, problem.train.observables.n_samples
    zero = np.zeros(d)
    start = time.process_time()
    problem.train.gradient(problem.train.observables.reverse_values(zero))
    unit_cost = time.process_time() - start
    found = {}
    kept, passes = early_stopped(problem)
    found["ascent"] = (*evaluate(problem, kept), passes, passes)
    per_unit = make is unit
    for solver in ("auto", *SOLVERS):
        if solver == "chord" and d > 4000:
            continue
        start = time.process_time()
        if per_unit and solver == "auto":
            fit = fit_flips(problem.train, problem.validation)
        else:
            fit = choose_fit(problem.train, problem.validation, solver)
        cost = (time.process_time() - start) / unit_cost
        value = evaluate(problem, fit.theta, fit.log_normaliser, fit.limit)
        found[solver] = (*value, fit.passes, cost)
    print(f"\n{name}: d = {d}, n = {n}")
    for solver, (value, error, passes, cost) in found.items():
        print(f"  {solver:7s} {value:8.4f} +- {error:.4f}  {passes:7.1f} passes  {cost:7.1f} cpu")
    best = max(value for value, *_ in found.values())
    auto, error = found["auto"][:2]
    assert auto >= best - 2 * error
