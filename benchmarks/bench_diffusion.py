"""Cost of the diffusion methods: the network's share of a run, and two sizes of mixtures.

The share test prints how much of a run is spent inside network calls, of the process's CPU time so
that a busy machine does not count; the number of calls is that of the formula (classes + 1) x
levels x paths, or 2 x levels x paths for prompts.
"""

import os
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from irrev.diffusion.class_entropy import class_entropy
from irrev.diffusion.exact import GaussianMixture
from irrev.diffusion.guidance import prompt_entropy
from irrev.diffusion.line import line_mixture, speed_accuracy_line
from irrev.diffusion.models.digits import DigitTrainer, load_digits
from irrev.diffusion.schedules import cosine, edm_grid
from irrev.simulate.mixtures import binary_mixture


class Timed:
    """A denoiser that adds up the time inside its calls and, if asked, watches the memory.

    Reading the memory costs about 0.1 ms a call, which is not the run's: off where time counts.
    """

    def __init__(self, denoiser, *, memory=False):
        self.memory = memory
        self.denoiser, self.seconds, self.rows, self.peak = denoiser, 0.0, 0, 0
        for name in ("dim", "num_classes", "sigma_range", "dtype", "device", "jvp"):
            setattr(self, name, getattr(denoiser, name))

    def __call__(self, x, sigma, cond=None):
        start = time.process_time()
        out = self.denoiser(x, sigma, cond)
        self.seconds += time.process_time() - start
        self.rows += len(x)
        if self.memory:
            self.peak = max(self.peak, resident())
        return out


def resident():
    """Memory of this process, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def digits():
    """The digit model at batch 512: 10 classes + null, 2,048 paths."""
    trainer = DigitTrainer(steps=20)
    trainer.run()
    data = load_digits()
    model = Timed(trainer.denoiser())
    x, y = np.resize(data.test, (2048, 1, 8, 8)), np.resize(data.test_labels, 2048)

    def run(sigmas):
        return class_entropy(model, y, sigmas, data=x, batch=512)

    return model, run, 64, 11 * 64 * 2048


def tiny_stable_diffusion():
    """A U-Net of a million weights: two prompts against the null condition, 64 paths."""
    from irrev.diffusion.models.diffusers import stable_diffusion_from_pipeline
    from tests.irrev.diffusion.models.tiny import tiny_stable_diffusion as make

    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # of Diffusers' and Transformers' own imports
        pipe = make(Path(folder))
    model = Timed(stable_diffusion_from_pipeline(pipe, ["a cat", "a dog"]))

    def run(sigmas):
        return prompt_entropy(model, [0, 1], sigmas, n_paths=32, batch=32)

    return model, run, 16, 2 * 16 * 64


@pytest.mark.parametrize("make", [digits, tiny_stable_diffusion])
def test_network_share(benchmark, capsys, make):
    """Share of the computing time of a run that is inside network calls; calls by the formula."""
    torch.set_num_threads(1)
    model, run, n_levels, rows = make()
    grid = edm_grid(n_levels, sigma_min=0.05, sigma_max=14)
    run(grid[:2])  # warm-up
    model.seconds, model.rows, spent = 0.0, 0, []

    def timed():
        start = time.process_time()
        ds = run(grid)
        spent.append(time.process_time() - start)
        return ds

    ds = benchmark.pedantic(timed, rounds=1, iterations=1)
    assert model.rows == rows
    assert int(np.sum(ds.attrs["n_rows"])) in (rows, rows // 2)  # one prompt's or all of it
    with capsys.disabled():
        each = 1e6 * model.seconds / rows
        print(f"\n{make.__name__}: {model.seconds / spent[0]:.1%} of {spent[0]:.2f} s CPU inside "
              f"network calls, {each:.1f} us a state")  # fmt: skip


def test_memory_of_paths(capsys):
    """Exact binary mixture in 4 dimensions, 16 levels: memory of 500 and of 50,000 paths."""
    torch.set_num_threads(1)
    mixture = binary_mixture(4, distance=3.0)
    grid, peaks = edm_grid(16, sigma_min=0.05, sigma_max=80), {}
    for n_paths in (500, 50_000):
        exact = GaussianMixture(mixture.weights, mixture.means, mixture.variances)
        model = Timed(exact, memory=True)
        x, y = mixture.sample(n_paths, np.random.default_rng(0))
        before, start = resident(), time.process_time()
        class_entropy(model, y, grid, data=x, draws=50)
        peaks[n_paths] = (model.peak - before) / 2**20
        with capsys.disabled():
            print(f"\n{n_paths:,} paths: {peaks[n_paths]:.1f} MiB more than before, "
                  f"{time.process_time() - start:.1f} s CPU")  # fmt: skip
    assert peaks[50_000] < peaks[500] + 32  # the batch's share, whatever the number of paths


@pytest.mark.parametrize("n_nodes", [4_001, 40_001])
def test_speed_accuracy_line_speed(benchmark, n_nodes):
    """Two-peak mixture, cosine schedule, 32 times."""
    data = line_mixture([0.5, 0.5], [-2, 2], [0.5, 0.5])
    start = line_mixture([1], [1], [1])
    benchmark.pedantic(
        speed_accuracy_line, (data, cosine(), start), {"n_times": 32, "n_nodes": n_nodes},
        rounds=1, iterations=1,
    )  # fmt: skip
