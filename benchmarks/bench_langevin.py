"""Cost of simulating against the cost of the normals alone, and streaming to a store.

python -m pytest benchmarks/bench_langevin.py --benchmark-only
python benchmarks/bench_langevin.py                 # table of ratios, floor in the same run
python benchmarks/bench_langevin.py stream FOLDER [TRAJECTORIES STEPS]   # into a store
"""

import resource
import sys
import time
from functools import partial

import numba
import numpy as np
import pytest
import torch

from irrev.simulate.chains import simulate
from irrev.simulate.driven import BreathingTrap, double_well, heavy_trap, trap
from irrev.simulate.langevin import baoab, euler_maruyama, kicks
from irrev.simulate.langevin_torch import TORCH_BLOCK, simulate_torch
from irrev.simulate.noise import BLOCK, block_rng
from irrev.simulate.systems import Ring, bead_chain, rotation
from storage.repository import Repository, StoreRef
from tasks.ensembles import write_ensemble

N_STEPS = 1000
CHAINS = {
    "trap, Euler": euler_maruyama(trap(), dt=0.01),
    "trap, kicks": kicks(heavy_trap(), dt=0.01),
    "trap, BAOAB": baoab(heavy_trap(), dt=0.01),
    "double well, Euler": euler_maruyama(double_well(), dt=0.001),
    "breathing trap, exact": BreathingTrap().chain(0.001, N_STEPS),
    "rotation, exact": rotation().chain(0.01),
    "5 beads, exact": bead_chain(5).chain(0.01),
    "5 beads, Euler": euler_maruyama(bead_chain(5).system(), dt=0.01),
    "ring, Euler": euler_maruyama(Ring(2, 1, 1).system(), dt=0.01),
}


@pytest.mark.parametrize("n_steps", [10, 1000])
@pytest.mark.parametrize("name", CHAINS)
def test_simulate_speed(benchmark, name, n_steps):
    benchmark(simulate, CHAINS[name], n_trajectories=BLOCK, n_steps=n_steps, seed=0)


@pytest.mark.parametrize("n_steps", [10, 1000])
def test_normals_speed(benchmark, n_steps):
    benchmark(normals, block_rng(0, 0), np.empty(BLOCK), n_steps)


@pytest.mark.parametrize("n_steps", [10, 1000])
def test_simulate_torch_speed(benchmark, n_steps):
    chain = CHAINS["trap, Euler"]
    run = {"n_trajectories": TORCH_BLOCK, "n_steps": n_steps, "every": n_steps, "seed": 0}
    benchmark(simulate_torch, chain, **run)


@numba.njit
def normals(rng, z, n_steps):
    """Draw what a run draws: the floor."""
    for _ in range(n_steps):
        for i in range(z.size):
            z[i] = rng.standard_normal()


def numpy_normals(rng: np.random.Generator, z: np.ndarray, n_steps: int) -> None:
    for _ in range(n_steps):
        rng.standard_normal(out=z)


def cost(call, n: int, repeats: int = 5) -> float:
    """Least CPU time of a call, nanoseconds per item."""
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times) / n * 1e9


def table() -> None:
    """Print nanoseconds per normal; each floor is measured beside its row."""
    n = BLOCK * N_STEPS
    z = np.empty(BLOCK)
    plain = cost(lambda: numpy_normals(block_rng(0, 0), z, N_STEPS), n)
    print(f"{'normals alone, numpy':24} {plain:6.2f} ns")
    print(f"{'':24} {'normals':>9} {'last state':>16} {'every state':>16}")
    for name, chain in CHAINS.items():
        floor = cost(lambda: normals(block_rng(0, 0), z, N_STEPS), n)
        row = f"{name:24} {floor:6.2f} ns"
        for every in (N_STEPS, 1):
            run = {"n_trajectories": BLOCK, "n_steps": N_STEPS, "seed": 0, "every": every}
            each = cost(partial(simulate, chain, **run), n * chain.n_noise)
            row += f" {each:6.2f} ns {each / floor:5.2f}x"
        print(row)
    torch.set_num_threads(1)
    for dtype in (torch.float32, torch.float64):
        noise = torch.empty((16, TORCH_BLOCK), dtype=dtype)
        for name in ("trap, Euler", "double well, Euler"):
            floor = cost(noise.normal_, noise.numel(), 20)
            run = {"n_trajectories": TORCH_BLOCK, "n_steps": 160, "every": 160, "seed": 0}
            call = partial(simulate_torch, CHAINS[name], dtype=dtype, **run)
            each = cost(call, TORCH_BLOCK * 160)
            kind = f"{name}, {str(dtype)[6:]}"
            print(f"{kind:24} {floor:6.2f} ns {each:6.2f} ns {each / floor:5.2f}x")


def to_store(folder: str, n_trajectories: int = 100_000, n_steps: int = 10_000) -> None:
    """Write a whole run into a store, a block a job, and report time and memory."""
    repo = Repository.open(StoreRef(folder), create=True, project="ensemble")
    run = {"n_trajectories": n_trajectories, "n_steps": n_steps, "seed": 0, "block_size": 2048}
    simulate(CHAINS["trap, Euler"], n_trajectories=8, n_steps=8, seed=0)  # compile
    before, start, cpu = peak(), time.perf_counter(), time.process_time()
    write_ensemble(repo, CHAINS["trap, Euler"], group="simulated/trap", **run)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f"{n_trajectories:,} x {n_steps:,} steps: {wall:.0f} s, {cpu:.0f} s of CPU")
    print(f"peak memory {before:.0f} MiB before, {peak():.0f} MiB after")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["stream"]:
        to_store(sys.argv[2], *map(int, sys.argv[3:]))
    else:
        table()
