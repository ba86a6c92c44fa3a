"""Conversions between parametrisations give one denoiser."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from irrev.diffusion.denoiser import (
    DenoiserBase,
    EdmDenoiser,
    NetworkDenoiser,
    ddpm_sigmas,
    edm_scaling,
    ou_sigma,
    ou_time,
    process_coefficients,
    time_of_sigma,
)
from irrev.diffusion.exact import GaussianMixture
from irrev.errors import InputError

MIXTURE = GaussianMixture([0.5, 0.3, 0.2], [[3, 0], [-1.5, 2.6], [-1.5, -2.6]], 0.25)
X = torch.tensor(np.random.default_rng(0).normal(size=(50, 2)) * 3)


def exact_network(prediction, process):
    """The exact prediction of a process, from its own state and noise ratio."""

    def network(x_t, sigma, cond):
        level = sigma[:, None]
        alpha, noise = process_coefficients(level, process)
        x = x_t / alpha
        x0 = MIXTURE(x, sigma, cond)
        e = (x - x0) / level
        outputs = {
            "x0": x0,
            "epsilon": e,
            "v": alpha * e - noise * x0,
            "velocity": e - x0,
        }
        return outputs[prediction]

    return network


@pytest.mark.parametrize(
    ("prediction", "process"),
    [
        ("x0", "ve"),
        ("epsilon", "ve"),
        ("epsilon", "vp"),
        ("epsilon", "cond_ot"),
        ("v", "vp"),
        ("velocity", "cond_ot"),
    ],
)
@pytest.mark.parametrize("sigma", [0.05, 1.0, 30.0])
def test_network_denoiser__every_parametrisation_gives_the_same_denoiser(
    prediction, process, sigma
):
    """Rounding only: 1e-12 relative to states of size up to 30."""
    model = NetworkDenoiser(
        exact_network(prediction, process),
        dim=(2,),
        num_classes=3,
        prediction=prediction,
        process=process,
        time=lambda s: s,
    )
    cond = torch.arange(50) % 3
    torch.testing.assert_close(model(X, sigma, cond), MIXTURE(X, sigma, cond), rtol=0, atol=1e-11)


def test_network_denoiser__names_the_process_that_a_prediction_needs():
    with pytest.raises(InputError, match="prediction='v' needs process='vp', not 've'"):
        NetworkDenoiser(lambda x, t, c: x, dim=(2,), prediction="v")


def test_edm_denoiser__inverts_its_preconditioning():
    sigma_data = 0.5

    def network(x, noise, cond):
        sigma = torch.exp(4 * noise)
        c = edm_scaling(sigma[:, None], sigma_data)
        state = x / c.input
        return (MIXTURE(state, sigma, cond) - c.skip * state) / c.out

    model = EdmDenoiser(network, dim=(2,), sigma_data=sigma_data)
    torch.testing.assert_close(model(X, 2.0), MIXTURE(X, 2.0), rtol=0, atol=1e-11)


def test_ou_time__inverts_ou_sigma():
    time = torch.linspace(0.01, 5, 20, dtype=torch.float64)
    torch.testing.assert_close(ou_time(ou_sigma(time)), time)


def test_ddpm_sigmas__match_stable_diffusion():
    """Scaled-linear beta 0.00085 to 0.012 in 1000 steps; published values are float32."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    sigmas = ddpm_sigmas(torch.cumprod(1 - betas, 0))
    assert sigmas[[0, 500, 999]].tolist() == pytest.approx(
        [0.029168, 1.618280, 14.614647], rel=3e-5
    )


def test_time_of_sigma__inverts_the_table_and_clamps():
    table = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    sigma = torch.tensor([0.01, 0.1, 10**0.5, 10.0, 99.0], dtype=torch.float64)
    assert time_of_sigma(sigma, table).tolist() == pytest.approx([0, 0, 1.5, 2, 2])


def test_jvp__falls_back_to_a_central_difference_without_a_forward_rule():
    """The quadratic's error is rounding: 1e-7 over a step of 1e-2."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * x

    class NoRule(DenoiserBase):
        dim = (3,)

        def __call__(self, x, sigma, cond=None):
            if torch._C._functorch.maybe_current_level() is not None:
                raise NotImplementedError("no forward rule")
            return x * x

    x, v = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 0.0, 1.0]])
    _, jv = NoRule().jvp(x, 1.0, None, v)
    torch.testing.assert_close(jv, 2 * x * v, rtol=0, atol=1e-3)


def test_jvp__takes_expanded_directions():
    v = torch.ones(1, 2, dtype=torch.float64).expand(50, 2)
    value, slope = MIXTURE.jvp(X, 1.0, None, v)
    h = 1e-6
    difference = (MIXTURE(X + h * v, 1.0) - MIXTURE(X - h * v, 1.0)) / (2 * h)
    torch.testing.assert_close(value, MIXTURE(X, 1.0))
    torch.testing.assert_close(slope, difference, rtol=0, atol=1e-8)


def test_jvp__threads_do_not_disturb_each_other():
    """Forward derivatives of torch share one count of levels over all threads."""
    v = torch.ones_like(X)

    def slope(sigma):
        return MIXTURE.jvp(X, sigma, None, v)[1]

    levels = [0.1 + 0.1 * i for i in range(60)]
    alone = [slope(s) for s in levels]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(slope, levels))
    for one, other in zip(alone, together, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-14)
