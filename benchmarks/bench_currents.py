"""Learning from currents: cost in trajectories and dimension, beside the cost of reading the data.

python -m pytest benchmarks/bench_currents.py --benchmark-only
python benchmarks/bench_currents.py       # scaling table
"""

import time
from functools import partial

import numpy as np
import pytest
import torch

from irrev.ep.currents import one_cell, summarise
from irrev.ep.features import polynomial
from irrev.ep.learn import learn_ep
from irrev.ep.learn_blocks import learn_blocks
from irrev.ep.networks import network_ep
from irrev.ep.steps import steps_of, tracks_from
from irrev.simulate.chains import simulate
from irrev.simulate.systems import bead_chain

DT = 0.01


def paths(n_trajectories: int, dim: int, n_steps: int = 1000) -> np.ndarray:
    chain = bead_chain(dim).chain(DT)
    return simulate(chain, n_trajectories=n_trajectories, n_steps=n_steps, seed=0)


@pytest.mark.parametrize("n_trajectories", [10, 1000])
def test_summarise_speed(benchmark, n_trajectories):
    tracks = tracks_from(paths(n_trajectories, 5), dt=DT)
    benchmark(summarise_all, tracks, 5)


@pytest.mark.parametrize("n_trajectories", [10, 1000])
def test_learn_ep_speed(benchmark, n_trajectories):
    x = paths(n_trajectories, 5)
    benchmark(learn_ep, x, dt=DT, null_draws=200)


def load_beads(n_trajectories: int, b: int):
    chain, run = bead_chain(5).chain(DT), {"n_steps": 1000, "seed": 0, "block_size": 100}
    return tracks_from(simulate(chain, n_trajectories=n_trajectories, only=[b], **run), dt=DT)


@pytest.mark.parametrize("n_blocks", [10, 1000])
def test_learn_blocks_speed(benchmark, n_blocks):
    """Blocks of 100 trajectories, simulated anew at each reading: memory does not grow."""
    load = partial(load_beads, 100 * n_blocks)
    benchmark.pedantic(learn_blocks, (load, n_blocks), {"null_draws": 200}, rounds=1)


@pytest.mark.parametrize("n_trajectories", [20, 2000])
def test_network_step_speed(benchmark, n_trajectories):
    """A hundred training steps; their cost must not grow with the data."""
    x = paths(n_trajectories, 5, 100)
    benchmark(network_ep, x, dt=DT, steps=100, null_draws=10)


def summarise_all(tracks, dim: int) -> None:
    basis = polynomial(dim, 1)
    for steps in steps_of(tracks):
        summarise(steps, basis, np.eye(dim), one_cell())


def seconds(call) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def table() -> None:
    """Print CPU seconds and nanoseconds per step and component; the floor reads the steps."""
    torch.set_num_threads(1)
    learn_ep(paths(10, 2), dt=DT, null_draws=10)
    head = ("trajectories", "dim", "reading", "sums", "learn_ep", "ns/step")
    print("{:>12} {:>4} {:>9} {:>9} {:>9} {:>8}".format(*head))
    for n, dim in ((10, 5), (100, 5), (1000, 5), (100, 2), (100, 10), (100, 20), (100, 50)):
        x = paths(n, dim)
        tracks = tracks_from(x, dt=DT)
        read = seconds(lambda: [(s.mid, s.dx) for s in steps_of(tracks)])  # noqa: B023
        sums = seconds(lambda: summarise_all(tracks, dim))  # noqa: B023
        whole = seconds(lambda: learn_ep(x, dt=DT, diffusion=np.eye(dim), null_draws=200))  # noqa: B023
        each = whole / (n * 1000) * 1e9
        print(f"{n:12} {dim:4} {read:8.3f}s {sums:8.3f}s {whole:8.2f}s {each:8.0f}")


if __name__ == "__main__":
    table()
