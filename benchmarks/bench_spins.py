"""Held-out bounds of the disordered spin model at sizes where sampling noise dominates.

Pairs: 100 spins, k = 6, beta = 2, one redraw a step, 30,000 steps, blocks dealt 35 : 10 : 5.
Units: 1000 spins, 10,000 states with one virtual redraw of each spin; a share of the units.
"""

import time

import numpy as np
import pytest

from irrev.ep.choose import choose_fit
from irrev.ep.multipartite import check_flips, fit_units, solve
from irrev.ep.objective import Dual
from irrev.ep.observables import DensePairs
from irrev.ep.validation import held_out
from irrev.simulate.spins import simulate_spins, spin_couplings, spin_ep, virtual_flips
from irrev.stats import deal_blocks

BETA = 2.0
EVERY_UNIT = 20  # 50 of 1000 units: the full sum takes 20 times as long


def dual(pairs):
    return Dual(pairs, pairs.total(np.full(pairs.n_samples, 1.0 / pairs.n_samples)))


@pytest.mark.parametrize("draw", range(6))
def test_pairs_of_100_spins(draw):
    rng = np.random.default_rng([draw, 1])
    coupling = spin_couplings(100, rng)
    states = simulate_spins(coupling, beta=BETA, n_states=30_001, seed=draw, every=1)
    pairs, order = DensePairs(states[:-1], states[1:]), rng.permutation(50)
    block = np.arange(30_000) * 50 // 30_000
    part = np.where(np.isin(block, order[:35]), 0, np.where(np.isin(block, order[35:45]), 1, 2))
    train, validation, test = (dual(pairs.take(np.flatnonzero(part == k))) for k in range(3))
    words = [f"\ndraw {draw}, truth {spin_ep(states, coupling, beta=BETA):.3f} nat/step"]
    start = time.process_time()
    theta = np.zeros(pairs.n_observables)
    train.gradient(train.observables.reverse_values(theta))
    dense = time.process_time() - start
    for solver in ("lbfgs", "l1", "auto"):
        start = time.process_time()
        fit = choose_fit(train, validation, solver)
        cost = (time.process_time() - start) / dense
        a = test.observables.values(fit.theta)
        value = held_out(a, -a, fit.log_normaliser).value
        words.append(f"{solver} {value:.4f} ({cost:.0f} dense passes of CPU time)")
    print("; ".join(words))


def test_units_of_1000_spins():
    coupling = spin_couplings(1000, np.random.default_rng(0))
    states = np.vstack(
        [simulate_spins(coupling, beta=BETA, n_states=100, seed=1, chunk=c) for c in range(100)]
    )
    flips = virtual_flips(states, coupling, np.random.default_rng(5), beta=BETA)
    truth = spin_ep(states, coupling, beta=BETA)
    states, flips, attempts = check_flips(states, flips)
    units = np.arange(0, 1000, EVERY_UNIT)
    folds = deal_blocks(50, 5, np.random.default_rng(0))
    wall, cpu = time.perf_counter(), time.process_time()
    sums = fit_units(states, flips, units, folds)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    est = solve(
        sums, n_units=1000, n_attempts=attempts, level=0.95, draws=1000, null_draws=200, seed=1
    )
    print(
        f"\n{units.size} of 1000 units: {EVERY_UNIT * est.value:.3f} nat/attempt scaled to all, "
        f"truth of all {truth:.3f}, lowest term {1000 * np.nanmin(est.unit_values):.3f}, "
        f"{wall:.0f} s, {cpu:.0f} s of CPU, so {EVERY_UNIT * cpu:.0f} s of CPU for all"
    )
