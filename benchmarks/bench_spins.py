"""Per-unit bound of the disordered spin model where sampling noise dominates, on two processes.

1000 spins, k = 6, beta = 2, 10,000 states with one virtual redraw of each spin: all units, five
folds. Single pairs of 100 spins are in `bench_solvers.py`.
"""

import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import numpy as np
import pytest

from irrev.ep.blockwise import join
from irrev.ep.multipartite import check_flips, fit_units, solve
from irrev.simulate.spins import simulate_spins, spin_couplings, spin_ep, virtual_flips
from irrev.stats import deal_blocks

BETA = 2.0
PIECE = 25  # units a task


@cache
def sample(n_spins, n_states):
    coupling = spin_couplings(n_spins, np.random.default_rng(0))
    parts = [
        simulate_spins(coupling, beta=BETA, n_states=n_states // 100, seed=1, chunk=c)
        for c in range(100)
    ]
    states = np.vstack(parts)
    flips = virtual_flips(states, coupling, np.random.default_rng(5), beta=BETA)
    return (*check_flips(states, flips), spin_ep(states, coupling, beta=BETA))


def fit_piece(size, first):
    """Fit some units in a worker, which makes the sample anew: it is a function of its size."""
    states, flips, _, _ = sample(*size)
    folds = deal_blocks(50, 5, np.random.default_rng(0))
    units, start = np.arange(first, min(first + PIECE, size[0])), time.process_time()
    sums = fit_units(states, flips, units, folds)
    return sums, time.process_time() - start


@pytest.mark.parametrize("size", [(100, 10_000), (1000, 10_000)], ids=lambda s: f"{s[0]} spins")
def test_units_of_spins(size):
    _, _, attempts, truth = sample(*size)
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(sample, [size[0]] * 2, [size[1]] * 2))
        wall = time.perf_counter()
        firsts = range(0, size[0], PIECE)
        parts, used = zip(*pool.map(fit_piece, [size] * len(firsts), firsts), strict=True)
        wall = time.perf_counter() - wall
    sums = join(parts)
    est = solve(
        sums,
        n_units=size[0],
        n_attempts=attempts,
        level=0.95,
        draws=1000,
        null_draws=200,
        seed=1,
    )
    lowest = float(np.nanmin(est.unit_values) * size[0])
    print(
        f"\n{size[0]} spins, {size[1]} states, truth {truth:.3f}: {est}\n"
        f"certified {est.certified:.3f}, train {est.train:.3f}, {est.n_skipped} units left out, "
        f"lowest unit {lowest:.4f} nat, {np.sum(est.unit_values < 0)} negative\n"
        f"{wall:.0f} s on 2 processes, {sum(used):.0f} s of CPU"
    )
