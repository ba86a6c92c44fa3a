"""Guidance moves the decision to larger noise; prompts against everything else."""

import numpy as np
import pytest
import torch

from irrev.diffusion.guidance import compare_guidance, prompt_entropy
from irrev.diffusion.paths import GeneratedPaths, NoiseStream, walk
from irrev.diffusion.schedules import edm_grid
from irrev.errors import InputError
from irrev.simulate.mixtures import binary_mixture

MIXTURE = binary_mixture(1, distance=4.0)
GRID = edm_grid(64, sigma_min=0.05, sigma_max=80)


def test_compare_guidance__moves_the_half_points_of_a_binary_mixture(make_denoiser):
    """Exact at w = 1: 3.785; N = 20000 references 4.66 and 6.62 at w = 2, tolerance 0.05.

    6000 paths add four standard errors, read from the bootstrap.
    """
    ds = compare_guidance(
        make_denoiser(MIXTURE), np.zeros(6000, int), GRID, [1.0, 2.0], draws=50, batch=2000
    ).squeeze("partition")
    expected = {"sigma_half": (3.785, 4.66), "sigma_half_cross": (3.785, 6.62)}
    for name, values in expected.items():
        for k, value in enumerate(values):
            stderr = float(ds[f"{name}_high"][k] - ds[f"{name}_low"][k]) / 3.92
            assert float(ds[name][k]) == pytest.approx(value, abs=0.05 + 4 * stderr)
    assert float(ds.sigma_half_shift[1]) > 1


@pytest.mark.parametrize(("weight", "mean", "sd"), [(1.0, 4.0, 0.96), (2.0, 4.18, 0.93)])
def test_generated_paths__guided_samples_have_the_known_moments(make_denoiser, weight, mean, sd):
    """At 128 levels, tolerance 0.02 for the grid plus 4 standard errors of 4000 samples."""
    grid = edm_grid(128, sigma_min=0.05, sigma_max=80)
    source = GeneratedPaths(torch.zeros(4000, dtype=torch.long), (1,), weight, torch.float64)
    *_, last = walk(make_denoiser(MIXTURE), grid, source, [0], NoiseStream(1))
    x = last.x[:, 0]
    assert float(x.mean()) == pytest.approx(mean, abs=0.02 + 4 * sd / 4000**0.5)
    assert float(x.std()) == pytest.approx(sd, abs=0.02 + 4 * sd / 8000**0.5)


def prompt_reference(sigma):
    """Exact entropy of `component 0 or the whole mixture`, prior one half, by quadrature."""
    x = np.linspace(-12 * (sigma + 5), 12 * (sigma + 5), 40001)
    v = 1 + sigma**2
    first, second = (np.exp(-((x - m) ** 2) / 2 / v) / np.sqrt(2 * np.pi * v) for m in (4, -4))
    whole = 0.5 * first + 0.5 * second
    mix = 0.5 * first + 0.5 * whole
    p = np.divide(0.5 * first, mix, out=np.full_like(mix, 0.5), where=mix > 0)
    q = 1 - p
    h = -np.where(p > 0, p * np.log(p, where=p > 0, out=np.zeros_like(p)), 0)
    h -= np.where(q > 0, q * np.log(q, where=q > 0, out=np.zeros_like(q)), 0)
    return np.trapezoid(mix * h, x)


def test_prompt_entropy__matches_the_exact_question(make_denoiser):
    """The null condition contains the prompt, so the entropy stays above zero for ever."""
    ds = prompt_entropy(make_denoiser(MIXTURE), [0, 1], GRID, n_paths=4000, draws=20, batch=2000)
    exact = np.array([prompt_reference(s) for s in GRID])
    for k in range(2):
        gap = np.abs(ds.entropy_mean[:, k] - exact)
        assert np.all(gap <= 4 * ds.entropy_mean_se[:, k] + 0.002)
    assert exact[-1] > 0.4
    assert ds.attrs["reference"] == "unconditional"
    assert ds.attrs["prior"] == 0.5


def test_prompt_entropy__target_side_closes_on_its_cross_entropy(make_denoiser):
    """E|D_c - D_mix|^2/sigma^2 integrates to the fall of E[-ln p(c|x)], derived here."""
    ds = prompt_entropy(
        make_denoiser(MIXTURE), [0], GRID, n_paths=4000, sides="target", draws=50, batch=2000
    )
    error = float(ds.rate_closure_high[0] - ds.rate_closure_low[0]) / 3.92
    assert float(ds.rate_closure[0]) == pytest.approx(1, abs=4 * error + 0.02)


def test_prompt_entropy__says_what_it_needs(make_denoiser):
    with pytest.raises(InputError, match=r"0 prompts, prior=0.5"):
        prompt_entropy(make_denoiser(MIXTURE), [], GRID)
