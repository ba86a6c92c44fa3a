"""Gaussian mixtures and the exact entropy of their classes."""

import numpy as np
import pytest

from irrev.errors import InputError
from irrev.simulate.mixtures import (
    binary_entropy,
    binary_mixture,
    binary_mmse,
    binary_surprise_variance,
    hierarchy_mixture,
    three_class_mixture,
)


@pytest.mark.parametrize(
    ("snr", "entropy", "mmse", "variance"),
    [
        (0.01, 0.688172, 0.990098, 0.009852),
        (0.5, 0.491802, 0.649887, 0.266381),
        (1, 0.356316, 0.449600, 0.316946),
        (4, 0.060427, 0.068597, 0.106764),
        (16, 9.3535e-5, 9.8219e-5, 2.2117e-4),
    ],
)
def test_binary_mixture__table(snr, entropy, mmse, variance):
    """Printed digits: half a unit of the last one."""
    got = binary_entropy(snr), binary_mmse(snr), binary_surprise_variance(snr)
    last = 5e-9 if snr == 16 else 5.1e-7
    assert got == pytest.approx((entropy, mmse, variance), abs=last)


@pytest.mark.parametrize("snr", [0.1, 1.0, 5.0])
def test_binary_entropy__falls_by_half_the_mmse(snr):
    """I-MMSE; central difference of step 1e-4: error 1e-9."""
    slope = (binary_entropy(snr + 1e-4) - binary_entropy(snr - 1e-4)) / 2e-4
    assert slope == pytest.approx(-0.5 * binary_mmse(snr), abs=1e-7)


@pytest.mark.parametrize(("share", "snr"), [(0.95, 0.07178), (0.5, 1.04401), (0.05, 4.98733)])
def test_binary_entropy__crossings(share, snr):
    assert binary_entropy(snr) / np.log(2) == pytest.approx(share, abs=2e-6)


@pytest.mark.parametrize(
    "mixture", [binary_mixture(3, distance=2.0), hierarchy_mixture(), three_class_mixture()]
)
def test_sample__has_the_moments_of_the_mixture(mixture):
    """Means within four standard errors for each class."""
    x, y = mixture.sample(20000, np.random.default_rng(0))
    for c in range(len(mixture.weights)):
        rows = x[y == c]
        assert len(rows) / 20000 == pytest.approx(mixture.weights[c], abs=4 * 0.5 / 141)
        error = 4 * np.sqrt(mixture.variances[c] / len(rows))
        np.testing.assert_allclose(rows.mean(0), mixture.means[c], atol=error)


def test_binary_mixture__says_what_must_be_positive():
    with pytest.raises(InputError, match="all must be positive"):
        binary_mixture(2, distance=0.0)
