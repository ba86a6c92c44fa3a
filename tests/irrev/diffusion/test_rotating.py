"""The rotating force: costs with a known split."""

import numpy as np
import pytest

from irrev.diffusion.rotating import RotatingForce, gaussian_costs, point_velocity


@pytest.mark.parametrize(
    ("cov", "rotation", "total", "excess", "housekeeping"),
    [
        (np.eye(2), 0, 1.147724, 1.147724, 0.0),
        (np.eye(2), 3, 12.094996, 1.147724, 10.947273),
        (np.diag([1, 0.09]), 3, 8.101656, 3.564892, 4.536763),
    ],
)
def test_gaussian_costs__table(cov, rotation, total, excess, housekeeping):
    """Adaptive integration at 1e-10; tolerance 1e-5 absolute."""
    got = gaussian_costs(RotatingForce(rotation=rotation), cov)
    assert (got.total, got.excess, got.housekeeping) == pytest.approx(
        (total, excess, housekeeping), abs=1e-5
    )


def test_rotating_force__terminal_covariance():
    """0.803163 I from the unit Gaussian: propagated covariance plus spread."""
    force = RotatingForce(rotation=3)
    p = force.propagator(10.0)
    cov = p @ p.T + force.spread(np.array([10.0]))[0] * np.eye(2)
    np.testing.assert_allclose(cov, 0.803163 * np.eye(2), atol=1e-6)


def test_point_velocity__of_one_point_carries_mean_and_spread():
    """One data point: nu = d(mean)/dt + (dS/dt)/(2S)(x - mean) + rotation of the rest."""
    force, t, h = RotatingForce(rotation=2.0, duration=3.0), 1.2, 1e-5
    data, x = np.array([[1.0, 2.0]]), np.array([[0.3, -0.4], [2.0, 1.0]])
    spread = force.spread(np.array([t - h, t, t + h]))
    means = [data @ force.propagator(s).T for s in (t - h, t, t + h)]
    got = point_velocity(force, data, t, spread[1], x)
    gap = x - means[1]
    rest = force.matrix(t).copy()
    np.fill_diagonal(rest, 0)
    growth = (spread[2] - spread[0]) / (2 * h) / (2 * spread[1])
    expected = (means[2] - means[0]) / (2 * h) + growth * gap + gap @ rest.T
    np.testing.assert_allclose(got, expected, atol=1e-6)
