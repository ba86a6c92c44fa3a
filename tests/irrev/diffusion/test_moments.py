"""What moments of labelled data say, with resamples."""

import numpy as np
import pytest
import torch

from irrev.diffusion.instability import onset, onset_with_draws, top_eigenvalues
from irrev.diffusion.moments import (
    half_distances,
    row_counts,
    set_means,
    spectral,
    spectral_between,
    with_interval,
)
from irrev.diffusion.partitions import partition
from irrev.simulate.mixtures import binary_mixture

PAIR = partition("pair", [[0], [1]])


def test_spectral__every_resample_is_the_top_eigenvalue_of_its_covariance(rng):
    """Power iteration against a full decomposition of the weighted covariance."""
    flat = rng.normal(size=(60, 5)) * np.array([3.0, 1, 1, 1, 0.5])
    counts = row_counts(60, 4, rng)
    expected = [
        np.sqrt(np.linalg.eigvalsh(np.cov(flat.T, bias=True, fweights=c.astype(int)))[-1])
        for c in counts
    ]
    np.testing.assert_allclose(spectral(flat, counts), expected, rtol=1e-6)


def test_spectral_between__every_resample_weights_classes_by_their_rows(rng):
    labels = np.arange(60) % 3
    flat = rng.normal(size=(60, 4)) + 3 * np.eye(4)[labels]
    counts = row_counts(60, 3, rng)
    for count, got in zip(counts, spectral_between(flat, labels, counts), strict=True):
        means = np.stack(
            [np.average(flat, axis=0, weights=count * (labels == k)) for k in range(3)]
        )
        cov = np.cov(means[labels].T, bias=True, fweights=count.astype(int))
        assert got == pytest.approx(np.sqrt(np.linalg.eigvalsh(cov)[-1]))


def test_spectral__interval_covers_the_truth(rng):
    """N(0, diag(9, 1)): 95 % intervals of 60 data sets cover 3 at least 50 times (p < 1e-3)."""
    hits = 0
    for _ in range(60):
        flat = rng.normal(size=(200, 2)) * np.array([3.0, 1.0])
        _, low, high = with_interval(spectral(flat, row_counts(200, 100, rng)), 0.95)
        hits += low <= 3 <= high
    assert hits >= 50


def test_set_means__half_distance_is_half_the_gap(rng):
    flat, labels = rng.normal(size=(10, 3)), np.array([0, 1] * 5)
    means = set_means(flat, labels, PAIR, np.ones((1, 10)))
    gap = flat[::2].mean(0) - flat[1::2].mean(0)
    np.testing.assert_allclose(means[0, 0] - means[0, 1], gap)
    assert half_distances(flat, labels, PAIR) == pytest.approx(np.linalg.norm(gap) / 2)


def test_onset__midpoint_of_a_binary_mixture(make_denoiser):
    """Half-way between two Gaussians it begins at sigma^2 = |mu|^2 - s_0^2 = 15.

    Levels lie 5 % apart, and the eigenvalue is linear in ln sigma to second order.
    """
    grid = np.geomspace(8, 1, 40)
    middle = torch.zeros(1, 1, 3, dtype=torch.float64)
    moved = middle + 0.01 * torch.randn(5, 1, 3, dtype=torch.float64)
    model = make_denoiser(binary_mixture(3, distance=4.0))
    values, onsets = onset_with_draws(model, torch.cat([middle, moved]), grid)
    assert onsets[:, 0] == pytest.approx(np.full(6, np.sqrt(15)), rel=5e-3)
    exact = 1 + grid**2 * (16 / (1 + grid**2) ** 2 - 1 / (1 + grid**2))
    np.testing.assert_allclose(values[:, 0], exact, rtol=0.02)


def test_onset__is_the_grid_end_or_nothing():
    grid = np.array([4.0, 2.0, 1.0])
    values = np.array([[2.0, 0.1, 0.5], [2.0, 0.2, 0.9], [2.0, 0.3, 1.1]])
    got = onset(values, grid)
    assert got[0] == 4.0
    assert np.isnan(got[1])
    assert got[2] == pytest.approx(np.sqrt(2))


def test_top_eigenvalues__follow_the_levels(make_denoiser):
    """A single Gaussian: lambda = s_0^2/(s_0^2 + sigma^2) everywhere."""
    from irrev.diffusion.exact import GaussianMixture

    grid = np.array([4.0, 1.0, 0.5])
    points = torch.ones(2, 3, dtype=torch.float64)
    got = top_eigenvalues(GaussianMixture([1.0], [[0.0] * 3], 0.25), points, grid)
    np.testing.assert_allclose(got, np.repeat(0.25 / (0.25 + grid[:, None] ** 2), 2, 1), rtol=1e-6)


def test_spectral__a_resample_without_rows_is_nan(rng):
    """A Poisson resample of three rows is empty once in twenty: it is left out, not zero."""
    flat, labels = rng.normal(size=(3, 4)), np.array([0, 1, 1])
    counts = np.array([[1.0, 1, 1], [0, 0, 0], [2, 0, 1]])
    for values in (spectral(flat, counts), spectral_between(flat, labels, counts)):
        assert np.isfinite(values).tolist() == [True, False, True]
