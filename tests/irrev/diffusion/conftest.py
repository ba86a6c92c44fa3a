"""Models and states shared by the diffusion tests."""

import numpy as np
import pytest
import torch

from irrev.diffusion.exact import GaussianMixture


def as_denoiser(mixture, **options):
    """A simulated mixture as an exact denoiser."""
    return GaussianMixture(
        mixture.weights, mixture.means, mixture.variances, mixture.labels, **options
    )


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


class Counting:
    """A denoiser that counts the rows it is asked for."""

    def __init__(self, denoiser, fail_above=None):
        self.denoiser, self.rows, self.calls, self.fail_above = denoiser, 0, 0, fail_above
        for name in ("dim", "num_classes", "sigma_range", "dtype", "device", "jvp"):
            setattr(self, name, getattr(denoiser, name))

    def __call__(self, x, sigma, cond=None):
        if self.fail_above and len(x) > self.fail_above:
            raise torch.OutOfMemoryError("pretended")
        self.rows += len(x)
        self.calls += 1
        return self.denoiser(x, sigma, cond)


@pytest.fixture
def counting():
    return Counting


@pytest.fixture
def make_denoiser():
    return as_denoiser


@pytest.fixture(scope="session")
def binary_grid():
    """Posterior integrals on a line: nodes and weights of a standard normal."""
    z = np.linspace(-12, 12, 4001)
    return z, np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
