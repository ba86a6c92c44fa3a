"""Traces and eigenpairs of the denoiser's Jacobian."""

import numpy as np
import pytest
import torch

from irrev.diffusion.jacobian import exact_trace, hutchinson_trace, top_eigenpair
from irrev.simulate.mixtures import binary_mixture, three_class_mixture

POINT = torch.tensor([[0.3, 0.4]], dtype=torch.float64)


def generator():
    return torch.Generator().manual_seed(0)


def test_exact_trace__matches_the_reference_point(make_denoiser):
    """2-D mixture at (0.3, 0.4), sigma = 1: score gradient by table, trace 2.507110."""
    model = make_denoiser(three_class_mixture())
    eye = torch.eye(2, dtype=torch.float64)
    rows = torch.cat([model.jvp(POINT, 1.0, None, eye[i : i + 1])[1] for i in range(2)])
    expected = torch.tensor([[2.126055, -1.311574], [-1.311574, 0.381055]], dtype=torch.float64)
    torch.testing.assert_close(rows - eye, expected, rtol=0, atol=1e-6)
    assert float(exact_trace(model, POINT, 1.0)) - 2 == pytest.approx(2.507110, abs=1e-6)


def test_hutchinson_trace__variance_is_twice_the_off_diagonal_squares(make_denoiser):
    """Rademacher variance 6.880905 at the reference point; 4096 probes at once as states."""
    model = make_denoiser(three_class_mixture())
    x = POINT.expand(4096, 2)
    trace = hutchinson_trace(model, x, 1.0, generator=generator(), min_probes=1, max_probes=1)
    values = trace.per_state
    # Two equally likely values: the variance estimate's own relative error is below 1/sqrt(N).
    assert float(values.var()) == pytest.approx(6.880905, rel=4 / 64)
    assert trace.mean - 2 == pytest.approx(2.507110, abs=4 * (6.880905 / 4096) ** 0.5)


def test_hutchinson_trace__stops_when_probes_no_longer_matter(make_denoiser):
    """States of traces 100 and 1: their spread is not the probes' fault and asks for no more."""
    model = make_denoiser(binary_mixture(200, distance=10.0))
    x = torch.tensor(np.random.default_rng(0).normal(size=(16, 200)))
    sigma = torch.tensor([1.0] * 8 + [14.0] * 8, dtype=torch.float64)
    trace = hutchinson_trace(model, x, sigma, generator=generator(), target=0.05)
    exact = exact_trace(model, x, sigma)
    assert trace.n_probes == 4
    assert trace.stderr > 0.05 * trace.mean
    assert trace.mean == pytest.approx(float(exact.mean()), rel=4 * 0.05)


@pytest.mark.parametrize(("sigma", "expected"), [(1, 1.284199), (2, 1.101262), (3, 0.568863)])
@pytest.mark.parametrize("symmetrise", [True, False])
def test_top_eigenpair__at_the_mean_of_three_classes(make_denoiser, sigma, expected, symmetrise):
    mixture = three_class_mixture()
    mean = torch.tensor(mixture.weights @ mixture.means)[None]
    value, vector = top_eigenpair(
        make_denoiser(mixture), mean, float(sigma), generator=generator(), n_iter=300,
        tolerance=1e-9, symmetrise=symmetrise,
    )  # fmt: skip
    assert float(value) == pytest.approx(expected, abs=1e-6)
    assert float(vector.norm()) == pytest.approx(1)


@pytest.mark.parametrize("sigma", [1.0, 3.0, np.sqrt(15.0), 6.0])
def test_top_eigenpair__midpoint_of_a_binary_mixture_crosses_one(make_denoiser, sigma):
    """lambda = 1 + sigma^2 (|mu|^2/v^2 - 1/v), equal to 1 at sigma^2 = |mu|^2 - s0^2 = 15."""
    v = 1 + sigma**2
    value, _ = top_eigenpair(
        make_denoiser(binary_mixture(3, distance=4.0)), torch.zeros(1, 3, dtype=torch.float64),
        float(sigma), generator=generator(), n_iter=500, tolerance=1e-12,
    )  # fmt: skip
    assert float(value) == pytest.approx(1 + sigma**2 * (16 / v**2 - 1 / v), rel=1e-6)
