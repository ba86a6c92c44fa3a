"""Cost of a protocol gradient against the cost of its normals alone.

python -m pytest benchmarks/bench_protocols.py --benchmark-only
python benchmarks/bench_protocols.py        # nanoseconds a trajectory and step, floor beside
"""

import time

import numpy as np
import pytest

from irrev.control.response import protocol_gradient
from irrev.control.systems import erase_bit, translate_trap
from irrev.simulate.noise import BLOCK, block_rng

TASKS = {
    "trap": translate_trap(),
    "heavy trap": translate_trap(duration=3.0, mass=1.0),
    "erasure": erase_bit(2.0, substeps=20),
}
SIZES = [400, 40_000]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("method", ["response", "pathwise"])
@pytest.mark.parametrize("name", TASKS)
def test_protocol_gradient_speed(benchmark, name, method, n):
    task = TASKS[name]
    benchmark(protocol_gradient, task, task.guess, n_trajectories=n, method=method)


@pytest.mark.parametrize("n", SIZES)
def test_normals_speed(benchmark, n):
    benchmark(normals, n, 200)


def normals(n: int, n_steps: int) -> None:
    """Draw what a gradient draws, block by block: the floor."""
    for block, start in enumerate(range(0, n, BLOCK)):
        rng, z = block_rng(0, block), np.empty(min(BLOCK, n - start))
        for _ in range(n_steps):
            rng.standard_normal(out=z)


def cost(call, n: int, repeats: int = 3) -> float:
    """Least CPU time of a call, nanoseconds per item."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times) / n * 1e9


def table() -> None:
    """Print the cost of each method over the floor of the same run."""
    print(f"{'':12} {'n':>6} {'normals':>10} {'response':>18} {'pathwise':>18}")
    for name, task in TASKS.items():
        n_steps = task.n_intervals * task.substeps
        for n in SIZES:
            floor = cost(lambda n=n, s=n_steps: normals(n, s), n * n_steps)
            row = f"{name:12} {n:6} {floor:7.1f} ns"
            for method in ("response", "pathwise"):
                each = cost(
                    lambda t=task, n=n, m=method: protocol_gradient(
                        t, t.guess, n_trajectories=n, method=m
                    ),
                    n * n_steps,
                    1 if n > BLOCK else 3,
                )
                row += f" {each:7.1f} ns {each / floor:5.1f}x"
            print(row, flush=True)


if __name__ == "__main__":
    table()
