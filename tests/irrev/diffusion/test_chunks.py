"""Calls cut to the memory there is."""

import numpy as np
import pytest
import torch

from irrev.diffusion.chunks import Chunked, chunked, default_rows, vjp
from irrev.diffusion.jacobian import denoiser_trace, top_eigenpair
from irrev.diffusion.paths import ForwardPaths, NoiseStream, evaluate, walk
from irrev.diffusion.schedules import edm_grid
from irrev.diffusion.speed_accuracy import start_sensitivity
from irrev.errors import InputError
from irrev.simulate.mixtures import three_class_mixture

X = torch.tensor(np.random.default_rng(0).normal(size=(13, 2)))
COND = torch.arange(13) % 4 - 1


def test_chunked__halves_its_rows_until_they_fit_and_remembers(make_denoiser, counting):
    """16 rows fail, 8 and 6 too, 4 fit: for the first call and for all later ones."""
    exact = make_denoiser(three_class_mixture())
    model = counting(exact, fail_above=5)
    cut = Chunked(model, 16)
    torch.testing.assert_close(cut(X, 1.0, COND), exact(X, 1.0, COND))
    assert (cut.rows, model.calls) == (3, 5)
    cut(X, 1.0, COND)
    assert model.calls == 10


def test_chunked__says_what_shape_a_model_returned(make_denoiser):
    exact = make_denoiser(three_class_mixture())
    cut = Chunked(exact, 4)
    cut.denoiser = lambda x, sigma, cond: exact(x, sigma, cond)[:, :1]
    with pytest.raises(InputError, match=r"returned shape \(13, 1\) for states of \(13, 2\)"):
        cut(X, 1.0, COND)


def test_chunked__a_level_for_each_row_follows_its_row(make_denoiser):
    exact = make_denoiser(three_class_mixture())
    sigma = torch.linspace(0.1, 3, 13, dtype=torch.float64)
    torch.testing.assert_close(Chunked(exact, 4)(X, sigma, COND), exact(X, sigma, COND))


def test_chunked__derivatives_are_those_of_the_whole(make_denoiser):
    exact = make_denoiser(three_class_mixture())
    cut, v = Chunked(exact, 4), torch.ones_like(X)
    for got, expected in zip(cut.jvp(X, 1.0, COND, v), exact.jvp(X, 1.0, COND, v), strict=True):
        torch.testing.assert_close(got, expected)
    torch.testing.assert_close(vjp(cut, X, 1.0, COND, v), vjp(exact, X, 1.0, COND, v))


def test_chunked__memory_of_a_cpu_counts_too(make_denoiser, counting):
    class Small(type(counting(make_denoiser(three_class_mixture())))):
        def __call__(self, x, sigma, cond=None):
            if len(x) > 2:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")
            return super().__call__(x, sigma, cond)

    cut = Chunked(Small(make_denoiser(three_class_mixture())), 8)
    assert cut(X, 1.0, None).shape == X.shape
    assert cut.rows == 2


def test_chunked__gives_up_when_one_row_does_not_fit(make_denoiser, counting):
    model = counting(make_denoiser(three_class_mixture()))
    model.fail_above = 0.5
    with pytest.raises(torch.OutOfMemoryError):
        Chunked(model)(X, 1.0, None)


def test_chunked__other_errors_are_not_hidden(make_denoiser):
    with pytest.raises(RuntimeError, match="must match"):
        Chunked(make_denoiser(three_class_mixture()), 4)(torch.ones(13, 5), 1.0, None)


@pytest.mark.parametrize(
    ("dim", "gpu", "cpu"), [((1, 8, 8), 16384, 2048), ((4, 64, 64), 256, 8), ((9, 999, 999), 1, 1)]
)
def test_default_rows__go_by_the_size_of_a_sample_and_the_device(dim, gpu, cpu):
    assert (default_rows(dim, "cuda"), default_rows(dim)) == (gpu, cpu)


def test_everything_that_calls_a_model_gets_along_with_little_memory(make_denoiser, counting):
    """Walks, traces, eigenpairs and samplers on a model that takes five rows at a time."""
    model = chunked(counting(make_denoiser(three_class_mixture()), fail_above=5))
    generator = torch.Generator().manual_seed(0)
    grid = edm_grid(4, sigma_min=0.1, sigma_max=20)
    *_, last = walk(model, grid, ForwardPaths(X), [0, 1, 2], NoiseStream(0))
    assert last.denoised.shape == (3, 13, 2)
    assert evaluate(model, X, 1.0, torch.tensor([0, -1])).shape == (2, 13, 2)
    assert denoiser_trace(model, X, 1.0, generator=generator).per_state.shape == (13,)
    assert top_eigenpair(model, X, 1.0, generator=generator)[0].shape == (13,)
    assert start_sensitivity(model, grid, shift=0.1, n_samples=20).w1_upper > 0
