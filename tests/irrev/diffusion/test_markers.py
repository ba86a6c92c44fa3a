"""Markers on curves whose shape is known: the binary mixture's travelling wave."""

import numpy as np
import pytest

from irrev.diffusion.markers import (
    closure,
    crossing,
    entropy_rate,
    peak,
    window,
)
from irrev.diffusion.moments import spectral_marker
from irrev.simulate.mixtures import binary_entropy, binary_mmse, binary_surprise_variance

SIGMAS = np.geomspace(400, 0.05, 600)


def curve(function, power, var=1.0):
    return np.array([function(power / (var + s**2)) for s in SIGMAS])


@pytest.mark.parametrize(
    ("d", "where", "height"), [(256, 13.0345, 0.476700), (4096, 52.1129, 0.479339)]
)
def test_peak__binary_mixture_in_high_dimension(d, where, height):
    """|mu|^2 = d, s0 = 1. Grid spacing 1.5 %: smoothing lowers the peak by O(spacing^2) = 2e-4."""
    rate = entropy_rate(curve(binary_entropy, d), SIGMAS)
    assert peak(rate, SIGMAS) == pytest.approx(where, rel=1e-3)
    assert rate.max() == pytest.approx(height, rel=5e-4)


def test_entropy_rate__is_half_the_mmse_times_the_snr_slope():
    """dH/d ln sigma = g mmse sigma^2/(1 + sigma^2), away from the ends of the grid."""
    snr = 16 / (1 + SIGMAS**2)
    expected = np.array([g * binary_mmse(g) for g in snr]) * SIGMAS**2 / (1 + SIGMAS**2)
    got = entropy_rate(curve(binary_entropy, 16.0), SIGMAS)
    np.testing.assert_allclose(got[2:-2], expected[2:-2], atol=2e-4)


def test_markers__binary_mixture_snr_of_each():
    """Half entropy at 1.04401, surprise variance at 1.02694, window 1.3109 wide in ln sigma."""
    power, var = 1e4, 0.0
    sigmas = np.geomspace(2000, 5, 600)
    snr = power / (var + sigmas**2)
    entropy = np.array([binary_entropy(g) for g in snr])
    variance = np.array([binary_surprise_variance(g) for g in snr])
    assert power / crossing(entropy, sigmas, 0.5 * np.log(2)) ** 2 == pytest.approx(
        1.04401, rel=1e-4
    )
    assert power / peak(variance, sigmas) ** 2 == pytest.approx(1.02694, rel=1e-3)
    low, high = window(entropy_rate(entropy, sigmas), sigmas)
    assert np.log(high / low) == pytest.approx(1.3109, abs=2e-3)
    assert power / high**2 == pytest.approx(0.3192, rel=3e-3)
    assert power / low**2 == pytest.approx(4.3921, rel=3e-3)


def test_closure__of_the_exact_rate_is_one():
    """The part above sigma = 400 is |mu|^2/(2 sigma^2 ln 2), below 1e-4."""
    rate = entropy_rate(curve(binary_entropy, 16.0), SIGMAS)
    assert closure(rate, SIGMAS, np.log(2)) == pytest.approx(1, abs=1e-3)


def test_crossing__outside_the_grid_gives_its_end():
    sigmas = np.array([4.0, 2.0, 1.0])
    assert crossing(np.array([1.0, 0.9, 0.8]), sigmas, 0.5) == 1.0
    assert crossing(np.array([0.4, 0.3, 0.2]), sigmas, 0.5) == 4.0


def test_peak__at_the_edge_stays_there():
    assert peak(np.array([3.0, 2.0, 1.0]), np.array([4.0, 2.0, 1.0])) == 4.0


def test_spectral_marker__total_and_between_classes():
    """Two points at +-3: Lambda = 9 either way; within-class spread adds to the total only."""
    data = np.array([[3.0, 1], [3, -1], [-3, 1], [-3, -1]])
    labels = np.array([0, 0, 1, 1])
    assert spectral_marker(data) == pytest.approx(3)
    wider = data * np.array([1, 9])
    assert spectral_marker(wider, labels) == pytest.approx(3)
    assert spectral_marker(wider) == pytest.approx(9)
