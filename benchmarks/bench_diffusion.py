"""Cost of the diffusion methods: the network's share of a run, and two sizes of mixtures.

The share test prints how much of a run is spent inside network calls; the number of calls is that
of the formula (classes + 1) x levels x paths.
"""

import time

import numpy as np
import pytest
import torch

from irrev.diffusion.class_entropy import class_entropy
from irrev.diffusion.exact import GaussianMixture
from irrev.diffusion.line import line_mixture, speed_accuracy_line
from irrev.diffusion.models.digits import DigitTrainer, load_digits
from irrev.diffusion.schedules import cosine, edm_grid
from irrev.simulate.mixtures import binary_mixture


class Timed:
    """A denoiser that adds up the time inside its calls."""

    def __init__(self, denoiser):
        self.denoiser, self.seconds, self.rows = denoiser, 0.0, 0
        for name in ("dim", "num_classes", "sigma_range", "dtype", "device", "jvp"):
            setattr(self, name, getattr(denoiser, name))

    def __call__(self, x, sigma, cond=None):
        start = time.perf_counter()
        out = self.denoiser(x, sigma, cond)
        self.seconds += time.perf_counter() - start
        self.rows += len(x)
        return out


def test_class_entropy_network_share(benchmark, capsys):
    """Digit model at batch 512, 10 classes + null, 64 levels, 200 resamples."""
    torch.set_num_threads(1)
    trainer = DigitTrainer(steps=20)
    trainer.run()
    digits, model = load_digits(), Timed(trainer.denoiser())
    x, y = np.resize(digits.test, (512, 1, 8, 8)), np.resize(digits.test_labels, 512)
    grid = edm_grid(64, sigma_min=0.05, sigma_max=40)
    class_entropy(model, y, grid[:2], data=x, draws=2)  # warm-up
    model.seconds, model.rows = 0.0, 0
    seconds = []

    def run():
        start = time.perf_counter()
        ds = class_entropy(model, y, grid, data=x, batch=512)
        seconds.append(time.perf_counter() - start)
        return ds

    ds = benchmark.pedantic(run, rounds=1, iterations=1)
    assert ds.attrs["n_rows"] == 11 * 64 * 512
    assert model.rows == ds.attrs["n_rows"]
    with capsys.disabled():
        print(f"\nshare of time inside network calls: {model.seconds / sum(seconds):.1%}")


@pytest.mark.parametrize("n_paths", [500, 50_000])
def test_class_entropy_speed(benchmark, n_paths):
    """Exact binary mixture in 4 dimensions, 16 levels: linear in the paths, memory constant."""
    torch.set_num_threads(1)
    mixture = binary_mixture(4, distance=3.0)
    model = GaussianMixture(mixture.weights, mixture.means, mixture.variances)
    x, y = mixture.sample(n_paths, np.random.default_rng(0))
    grid = edm_grid(16, sigma_min=0.05, sigma_max=80)
    benchmark.pedantic(
        class_entropy, (model, y, grid), {"data": x, "draws": 50}, rounds=1, iterations=1
    )


@pytest.mark.parametrize("n_nodes", [4_001, 40_001])
def test_speed_accuracy_line_speed(benchmark, n_nodes):
    """Two-peak mixture, cosine schedule, 32 times."""
    data = line_mixture([0.5, 0.5], [-2, 2], [0.5, 0.5])
    start = line_mixture([1], [1], [1])
    benchmark.pedantic(
        speed_accuracy_line, (data, cosine(), start), {"n_times": 32, "n_nodes": n_nodes},
        rounds=1, iterations=1,
    )  # fmt: skip
