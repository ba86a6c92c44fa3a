"""Paths over noise levels and their likelihood ratios."""

import itertools

import numpy as np
import pytest
import torch

from irrev.diffusion.paths import (
    ForwardPaths,
    GeneratedPaths,
    NoiseStream,
    StoredPaths,
    bridge_log_ratio,
    walk,
)
from irrev.diffusion.schedules import edm_grid
from irrev.diffusion.speed_accuracy import generate_ode
from irrev.errors import InputError
from irrev.simulate.mixtures import binary_mixture, three_class_mixture

GRID = edm_grid(32, sigma_min=0.05, sigma_max=80)


def test_bridge_log_ratio__is_the_difference_of_squared_reconstruction_errors():
    """The cancellation-free form equals the plain one; float64 rounding of squares of 1e3."""
    rng = np.random.default_rng(0)
    x, x_next = torch.tensor(rng.normal(size=(2, 7, 3)))
    d, ref = torch.tensor(rng.normal(size=(4, 7, 3))), torch.tensor(rng.normal(size=(7, 3)))
    sigma, after = 2.0, 1.5
    r = (after / sigma) ** 2
    v = after**2 * (1 - r)

    def error(denoised):
        return -((x_next - r * x - (1 - r) * denoised) ** 2).sum(-1) / (2 * v)

    expected = (error(d) - error(ref)).T
    torch.testing.assert_close(bridge_log_ratio(x, x_next, d, ref, sigma, after), expected)


@pytest.mark.parametrize("null", [True, False])
def test_walk__log_ratios_are_the_exact_posterior(make_denoiser, null):
    """On the states themselves: mean |p - exact| falls to a per cent at 32 levels."""
    mixture = three_class_mixture()
    model = make_denoiser(mixture)
    x0, _ = mixture.sample(4000, np.random.default_rng(0))
    prior = torch.log(model.class_weights())
    for level in walk(
        model, GRID, ForwardPaths(torch.tensor(x0)), [0, 1, 2], NoiseStream(1), null=null
    ):
        path = torch.softmax(level.log_ratio + prior, 1)
        exact = torch.softmax(model.log_likelihood(level.x, level.sigma) + prior, 1)
        # Unbiased up to the discretisation: the mean gap is noise of at most 0.5/sqrt(4000).
        assert float((path - exact).mean(0).abs().max()) < 4 * 0.5 / 4000**0.5
        assert float((path - exact).abs().mean()) < 0.02


def test_walk__data_paths_have_the_forward_law(make_denoiser):
    """Var(x_sigma) = Var(x_0) + sigma^2 at each level, 4 standard errors of a variance."""
    mixture = binary_mixture(4, distance=2.0)
    x0, _ = mixture.sample(4000, np.random.default_rng(0))
    start = ForwardPaths(torch.tensor(x0))
    for level in walk(make_denoiser(mixture), GRID, start, [0, 1], NoiseStream(2)):
        noise = (level.x - torch.tensor(x0)).var().item() / level.sigma**2
        assert noise == pytest.approx(1, abs=4 * (2 / 16000) ** 0.5)


def test_walk__generated_paths_end_in_the_class_that_was_asked_for(make_denoiser):
    mixture = binary_mixture(2, distance=4.0)
    target = torch.arange(400) % 2
    *_, last = walk(
        make_denoiser(mixture),
        GRID,
        GeneratedPaths(target, (2,), dtype=torch.float64),
        [0, 1],
        NoiseStream(3),
    )
    # x has mean +-4 and sd 1 along the first axis: a wrong sign is a 4 sd event.
    assert torch.equal((last.x[:, 0] < 0).long(), target)
    assert last.x[:, 0].abs().mean().item() == pytest.approx(4, abs=4 / 20 + 0.02)


@pytest.mark.parametrize(("null", "expected"), [(True, 4), (False, 3)])
def test_walk__number_of_rows_is_conditions_times_levels_times_samples(
    make_denoiser, counting, null, expected
):
    model = counting(make_denoiser(three_class_mixture()))
    x0 = torch.zeros(11, 2, dtype=torch.float64)
    for _ in walk(model, GRID, ForwardPaths(x0), [0, 1, 2], NoiseStream(0), null=null):
        pass
    assert model.rows == expected * 32 * 11
    assert model.calls == 32


def test_stored_paths__deterministic_sampler_is_refused(make_denoiser):
    mixture = binary_mixture(8, distance=3.0)
    model = make_denoiser(mixture)
    z = torch.tensor(np.random.default_rng(0).normal(size=(100, 8))) * 80
    states = torch.stack([z, *(generate_ode_to(model, z, k) for k in range(2, 33))])
    with pytest.raises(InputError, match=r"quadratic variation of Brownian.*eta=1"):
        list(walk(model, GRID, StoredPaths(states), [0, 1], NoiseStream(0)))


def generate_ode_to(model, z, n):
    """Euler states of the probability flow after n levels."""
    x = z
    for sigma, after in itertools.pairwise(GRID[:n]):
        slope = (x - model(x, float(sigma))) / sigma
        x = x + (after - sigma) * slope
    return x


def test_stored_paths__ancestral_samples_are_scored(make_denoiser):
    mixture = binary_mixture(8, distance=3.0)
    model = make_denoiser(mixture)
    target = torch.zeros(200, dtype=torch.long)
    source = GeneratedPaths(target, (8,), dtype=torch.float64)
    made = list(walk(model, GRID, source, [0, 1], NoiseStream(5)))
    stored = StoredPaths(torch.stack([level.x for level in made]))
    again = list(walk(model, GRID, stored, [0, 1], NoiseStream(99)))
    torch.testing.assert_close(again[-1].log_ratio, made[-1].log_ratio)
    assert np.median(stored.variation) == pytest.approx(1, abs=0.1)


def test_noise_stream__depends_on_the_batch_and_not_on_the_type():
    x = torch.empty(3, 2, dtype=torch.float64)
    a = NoiseStream(1, 0).like(x)
    torch.testing.assert_close(NoiseStream(1, 0).like(x.float()).double(), a, rtol=0, atol=1e-6)
    assert not torch.equal(NoiseStream(1, 1).like(x), a)


def test_generate_ode__carries_gaussian_noise_to_gaussian_data(make_denoiser):
    """N(0, s0^2): the flow is x -> s0/sqrt(s0^2 + sigma_max^2) x; Heun error below 1e-3."""
    from irrev.diffusion.exact import GaussianMixture

    model = GaussianMixture([1.0], [[0.0]], 0.25)
    z = torch.linspace(-80, 80, 9, dtype=torch.float64)[:, None]
    out = generate_ode(model, z, edm_grid(256))
    torch.testing.assert_close(out, z * 0.5 / (0.25 + 6400) ** 0.5, rtol=1e-3, atol=1e-6)
