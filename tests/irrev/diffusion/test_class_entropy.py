"""Class-conditional entropy against closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from irrev.diffusion.class_entropy import class_entropy, solve
from irrev.diffusion.entropy_sums import path_weights, summarise
from irrev.diffusion.exact import GaussianMixture
from irrev.diffusion.partitions import finest, partition
from irrev.diffusion.paths import ForwardPaths
from irrev.diffusion.schedules import edm_grid
from irrev.errors import InputError
from irrev.simulate.mixtures import (
    binary_entropy,
    binary_mixture,
    binary_surprise_variance,
    hierarchy_mixture,
    three_class_mixture,
)

GRID = edm_grid(64, sigma_min=0.05, sigma_max=80)
BIAS = 0.002  # of the bridge kernel at 32 levels and more, nats


def test_class_entropy__binary_mixture_matches_the_closed_form(make_denoiser):
    """4 standard errors plus the known bias, at every level, with every summary of the curve."""
    mixture = binary_mixture(16, distance=4.0)
    x, y = mixture.sample(8000, np.random.default_rng(0))
    ds = class_entropy(make_denoiser(mixture), y, GRID, data=x, draws=100, batch=2000)
    snr = 16 / (1 + GRID**2)
    exact = np.array([binary_entropy(g) for g in snr])
    gap = np.abs(ds.entropy_mean[:, 0] - exact)
    assert np.all(gap <= 4 * ds.entropy_mean_se[:, 0] + BIAS)
    # An exact model's cross-entropy is its entropy; each path's surprise has the known variance.
    variance = np.array([binary_surprise_variance(g) for g in snr])
    spread = np.sqrt(variance / 8000)
    assert np.all(np.abs(ds.cross_entropy[:, 0] - exact) <= 4 * spread + BIAS)
    half = 4 * np.sqrt(1 / 1.04401 - 1 / 16)
    low, high = float(ds.sigma_half_low[0]), float(ds.sigma_half_high[0])
    assert float(ds.sigma_half[0]) == pytest.approx(half, abs=2 * (high - low) + 0.01)
    assert bool(ds.closed[0])
    assert float(ds.rate_closure[0]) == pytest.approx(
        1, abs=2 * float(ds.rate_closure_high[0] - ds.rate_closure_low[0]) + 0.01
    )


def test_class_entropy__hierarchy_is_a_sum_of_two_binary_questions(make_denoiser):
    """Four classes: H = H(A^2/v) + H(B^2/v); the superclass has the first term alone."""
    x, y = hierarchy_mixture().sample(6000, np.random.default_rng(1))
    model = make_denoiser(hierarchy_mixture())
    side = partition("side", {"right": [0, 1], "left": [2, 3]})
    ds = class_entropy(
        model, y, GRID, data=x, draws=0, batch=2000, partitions=[finest(range(4)), side]
    )
    for sigma, first, second in ((5.0, 0.273406, 0.650471), (1.0, 1.2142e-7, 0.217722)):
        v = 0.25 + sigma**2
        assert binary_entropy(36 / v) == pytest.approx(first, rel=1e-4)
        assert binary_entropy(2.25 / v) == pytest.approx(second, abs=1e-6)
    v = 0.25 + GRID**2
    far = np.array([binary_entropy(36 / w) for w in v])
    near = np.array([binary_entropy(2.25 / w) for w in v])
    # Log ratios start from zero at sigma_max, where the class is already known a little.
    start = np.log(4) - far[0] - near[0]
    margin = 4 * ds.entropy_mean_se + BIAS + start
    assert np.all(np.abs(ds.entropy_mean[:, 0] - far - near) <= margin[:, 0])
    assert np.all(np.abs(ds.entropy_mean[:, 1] - far) <= margin[:, 1])
    np.testing.assert_allclose(
        ds.entropy_mean[:, 0], ds.entropy_mean[:, 1] + ds.entropy_within[:, 1], atol=1e-10
    )


def test_class_entropy__rate_is_the_mixture_form_of_i_mmse(make_denoiser):
    """Three classes with unequal prior: table values at sigma = 1 and 2, 4 standard errors."""
    mixture = three_class_mixture()
    x, y = mixture.sample(20000, np.random.default_rng(2))
    grid = np.array([80.0, *edm_grid(40, sigma_min=2.0, sigma_max=60), 1.4, 1.0])
    ds = class_entropy(
        make_denoiser(mixture), y, grid, data=x, prior=mixture.weights, draws=50, batch=5000
    )
    expected = {2.0: (0.407891, 0.694316), 1.0: (0.049284, 0.231816)}
    for sigma, (entropy, rate) in expected.items():
        k = int(np.argmin(np.abs(grid - sigma)))
        error = float(ds.entropy_mean_se[k, 0])
        assert float(ds.entropy_mean[k, 0]) == pytest.approx(entropy, abs=4 * error + BIAS)
        # |D_c - D|^2/sigma^2 is at most 27/sigma^2 with mean `rate`: sd < sqrt(27 rate)/sigma.
        spread = np.sqrt(27 * rate) / sigma / np.sqrt(20000)
        assert float(ds.rate_mix[k, 0]) == pytest.approx(rate, abs=4 * spread)


@settings(max_examples=5)
@given(st.integers(0, 1000), st.sampled_from([1, 3, 7]))
def test_summarise__sums_of_batches_are_the_sums_of_all(seed, parts):
    """Adding is associative to rounding, and resolves to the same Dataset."""
    mixture = three_class_mixture()
    model = GaussianMixture(mixture.weights, mixture.means, mixture.variances)
    x, y = mixture.sample(21, np.random.default_rng(seed))
    questions, prior = [finest(range(3))], np.full(3, 1 / 3)
    pieces = [
        summarise(
            model, part, GRID[::8], source=ForwardPaths(torch.tensor(rows)), questions=questions,
            prior=prior, batch=k, draws=4,
        )
        for k, (rows, part) in enumerate(zip(np.split(x, parts), np.split(y, parts), strict=True))
    ]  # fmt: skip
    left = pieces[0]
    for piece in pieces[1:]:
        left = left + piece
    right = pieces[-1]
    for piece in reversed(pieces[:-1]):
        right = piece + right
    np.testing.assert_allclose(left.sums, right.sums, atol=1e-12)
    assert left.n_rows == 21 * 4 * len(GRID[::8])
    if len(np.unique(y)) == 3:
        assert solve(left, GRID[::8], questions, prior).sizes["noise_level"] == len(GRID[::8])


def test_class_entropy__bias_on_overlapping_classes_is_of_first_order(make_denoiser):
    """Two Gaussians at +-2: the bridge lacks the spread of x_0, too sure by 0.02 at 32 levels."""
    mixture = binary_mixture(2, distance=2.0)
    x, y = mixture.sample(6000, np.random.default_rng(4))
    model, bias, error = make_denoiser(mixture), [], []
    for n in (16, 32, 64):
        grid = edm_grid(n, sigma_min=0.05, sigma_max=80)
        ds = class_entropy(model, y, grid, data=x, draws=0, batch=2000)
        bias.append(float(ds.entropy_mean[-1, 0]) - binary_entropy(4 / (1 + 0.05**2)))
        error.append(float(ds.entropy_mean_se[-1, 0]))
    assert -0.03 < bias[1] < 0
    for coarse, fine, stderr in zip(bias, bias[1:], error, strict=False):
        assert fine / coarse == pytest.approx(0.5, abs=0.1 + 4 * stderr / abs(coarse))


def test_class_entropy__counts_the_calls_of_the_formula(make_denoiser, counting):
    """(classes + null) x levels x paths rows, for a partition only its own classes."""
    mixture = three_class_mixture()
    x, y = mixture.sample(50, np.random.default_rng(0))
    model = counting(make_denoiser(mixture))
    ds = class_entropy(model, y, GRID, data=x, draws=0, batch=20)
    assert model.rows == ds.attrs["n_rows"] == 4 * 64 * 50
    model.rows = 0
    pair = partition("0/2", [[0], [2]])
    class_entropy(model, y, GRID, data=x, draws=0, batch=20, partitions=[pair])
    assert model.rows == 3 * 64 * np.isin(y, [0, 2]).sum()


def test_class_entropy__same_seed_gives_the_same_bits(make_denoiser):
    mixture = binary_mixture(2, distance=2.0)
    x, y = mixture.sample(100, np.random.default_rng(0))
    model = make_denoiser(mixture)
    one, two = (class_entropy(model, y, GRID[::4], data=x, draws=10, seed=3) for _ in range(2))
    assert one.identical(two)


def test_class_entropy__has_no_half_point_where_more_than_half_is_left(make_denoiser):
    """Classes 0.2 standard deviations apart keep most of the entropy without noise."""
    mixture = binary_mixture(2, distance=0.2)
    x, y = mixture.sample(60, np.random.default_rng(0))
    ds = class_entropy(make_denoiser(mixture), y, GRID[::4], data=x, draws=20)
    assert float(ds.entropy_mean.min()) > 0.5 * np.log(2)
    assert all(np.isnan(float(ds[f"sigma_half{end}"][0])) for end in ("", "_low", "_high"))
    assert np.isfinite(float(ds.sigma_peak[0]))


def test_path_weights__make_the_sample_count_as_the_prior():
    labels = np.array([0, 0, 0, 1])
    weight = path_weights(labels, np.array([0.5, 0.5]))
    assert weight[:3].sum() == pytest.approx(weight[3])
    assert weight.mean() == pytest.approx(1)


def test_class_entropy__full_noise_forgets_the_class(make_denoiser):
    """At sigma = 1e4 the entropy is the prior's to |mu|^2/sigma^2 = 1e-8."""
    mixture = three_class_mixture()
    x, y = mixture.sample(30, np.random.default_rng(0))
    ds = class_entropy(make_denoiser(mixture), y, np.array([1e4, 9e3]), data=x, draws=0)
    assert float(ds.entropy_mean[1, 0]) == pytest.approx(np.log(3), abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0, 3])}, "model of 3 classes; give indices 0..2"),
        ({"guidance": 2.0}, "guidance only for generated paths"),
        ({"data": np.zeros((3, 2))}, "3 rows of data, 2 labels"),
        ({"data": None, "guidance": 2.0, "null": False}, "needs the null condition"),
        ({"labels": np.array([0.5, 1.0])}, "type float64 for a model of 3 classes"),
        (
            {"data": np.array([[0, 0], [np.nan, 1]])},
            "NaN or infinity in 1 of 2 rows, first in row 1",
        ),
        ({"data": np.zeros((2, 3))}, r"data of shape \(2, 3\) for a model of \(2,\)"),
        ({"prior": [0.5, 0.5]}, "for 3 classes; give one positive share each"),
        ({"prior": [1.0, 0.5, -0.5]}, "give one positive share each, with sum 1"),
        ({"partitions": [partition("q", [[0], [5]])]}, r"classes \[0, 5\] of a model of 3"),
        ({"level": 95}, "level between 0 and 1"),
        ({"batch": 0}, "use batch >= 1"),
    ],
)
def test_class_entropy__says_how_to_mend_bad_input(make_denoiser, change, message):
    arguments = {"labels": np.array([0, 1]), "data": np.zeros((2, 2))} | change
    labels = arguments.pop("labels")
    with pytest.raises(InputError, match=message):
        class_entropy(make_denoiser(three_class_mixture()), labels, GRID, **arguments)


def test_class_entropy__names_a_question_without_data(make_denoiser):
    mixture = three_class_mixture()
    with pytest.raises(InputError, match=r"no path has a class of \['0/1'\]"):
        class_entropy(
            make_denoiser(mixture), np.array([2]), GRID, partitions=[partition("0/1", [[0], [1]])]
        )


@pytest.mark.parametrize(("data", "value"), [(True, torch.nan), (False, torch.inf)])
def test_class_entropy__refuses_a_model_that_gives_no_numbers(data, value):
    """Below noise 1 the model breaks: no half point of such a curve is a result."""
    mixture = binary_mixture(2, distance=4.0)

    class Broken(GaussianMixture):
        def __call__(self, x, sigma, cond=None):
            out = super().__call__(x, sigma, cond)
            return torch.full_like(out, value) if float(sigma) < 1 else out

    model = Broken(mixture.weights, mixture.means, mixture.variances)
    x, y = mixture.sample(40, np.random.default_rng(0))
    grid = edm_grid(8, sigma_min=0.05, sigma_max=80)
    first = grid[grid < 1][0]
    with pytest.raises(InputError, match=rf"NaN or infinity at noise {first:.3g}"):
        class_entropy(model, y, grid, data=x if data else None, draws=10)
