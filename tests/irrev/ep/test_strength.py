"""Channels that grow and fade together: reversible, and not to be taken for irreversible."""

import numpy as np
import pytest
from scipy.signal import lfilter

from irrev.ep.strength import BLOCKS, mean_squares, sum_strength
from irrev.ep.witness import witness
from irrev.ep.witness_pieces import HeldSamples, witness_pieces

POLE = 0.95
N = 80  # records


def fading(n: int, strength: float, rng: np.random.Generator, n_channels: int = 2) -> np.ndarray:
    """White channels times exp(strength v), v a common autoregression of variance 1."""
    v = lfilter([np.sqrt(1 - POLE**2)], [1, -POLE], rng.standard_normal(n + 500))[500:]
    return rng.standard_normal((n, n_channels)) * np.exp(strength * v)[:, None]


def strength_of(x: np.ndarray):
    blocks = np.stack([mean_squares(channel)[None] for channel in x.T])
    return sum_strength(blocks, blocks)


@pytest.mark.parametrize("strength", [0.4, 0.6])
def test_witness__shared_changes_of_strength_are_not_irreversible(strength, rng):
    """Counted as if steady, 0.29 and 0.68 of such records were rejected at 5 %."""
    rows = [witness(fading(3000, strength, rng), fs=1.0) for _ in range(N)]
    error = 4 * np.sqrt(0.05 * 0.95 / N)
    for name in ("p_irr", "p_irr_N"):
        assert np.mean([float(r[name].item()) < 0.05 for r in rows]) < 0.05 + error
    assert all("shared_strength" in r["status"].item() for r in rows)
    sigma, se = (np.array([r[k].item() for r in rows]) for k in ("sigma", "sigma_se"))
    assert sigma.mean() < 4 * sigma.std() / np.sqrt(N)
    assert abs(sigma.mean()) < se.mean()  # the correction itself is an estimate
    assert sigma.std() == pytest.approx(se.mean(), rel=0.5)


def test_factor__is_the_covariance_of_mean_squares_less_that_of_gaussian_channels(rng):
    """E[v^4] / E[v^2]^2 = exp(4 s^2) for changes that are slow against a block."""
    v = np.repeat(rng.standard_normal(4000), 1024)
    x = rng.standard_normal((v.size, 2)) * np.exp(0.3 * v)[:, None]
    one = (np.array([0]), np.array([1]))
    for n_bands in (16, 64):
        factor = strength_of(x).factor(*one, np.zeros(1), n_bands)
        assert factor[0] == pytest.approx(np.exp(4 * 0.3**2), rel=0.1)


@pytest.mark.parametrize("mix", [0.0, 0.5, 0.95])
def test_factor__is_exactly_one_for_steady_gaussian_channels(mix, rng):
    common = rng.standard_normal((20_000, 1))
    x = mix * common + np.sqrt(1 - mix**2) * rng.standard_normal((20_000, 12))
    first, second = np.triu_indices(12, 1)
    coh2 = np.full(first.size, mix**4)
    for n_bands in (16, 64):
        assert (strength_of(x).factor(first, second, coh2, n_bands) == 1.0).all()


def test_strength__adds_over_chunks_and_over_tiles(rng):
    x = fading(64 * 128, 0.5, rng, n_channels=5)
    whole, half = strength_of(x), len(x) // 2
    parts = strength_of(x[:half]) + strength_of(x[half:])
    for name in ("n_blocks", "total", "product"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12)
    assert whole.n_blocks.tolist() == [len(x) // block for block in BLOCKS]


def test_witness_pieces__see_the_same_strength(rng):
    x = fading(16_384, 0.6, rng, n_channels=5)
    pieces = witness_pieces(HeldSamples(x), fs=1.0, piece=4096, tile=2)
    segments = [[k, k + 4096] for k in range(0, 16_384, 4096)]
    whole = witness(x, fs=1.0, segments=segments)
    for name in ("p_irr", "sigma_se", "p_irr_N"):
        np.testing.assert_allclose(pieces[name], whole[name], rtol=1e-6)
    assert (pieces["status"] == whole["status"]).all()
