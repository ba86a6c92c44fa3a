"""The rotating force: costs with a known split."""

import numpy as np
import pytest

from irrev.diffusion.rotating import (
    RotatingForce,
    gaussian_costs,
    point_costs,
    point_velocity,
)
from irrev.diffusion.transport import optimal_path


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


def test_point_costs__of_one_point_is_a_closed_form():
    """E|nu|^2 = |dm/dt|^2 + 2 S [(dS/dt/2S)^2 + G^2]: mean, growth and rotation of the rest."""
    force, data = RotatingForce(rotation=2.0), np.array([[1.0, 2.0]])
    got = point_costs(force, data, np.random.default_rng(0), n_states=400, n_times=20)
    h = 1e-4
    expected = np.empty(20)
    for i, t in enumerate(got.time):
        before, here, after = force.spread(np.array([t - h, t, t + h]))
        moved = (force.propagator(t + h) - force.propagator(t - h)) @ data[0] / (2 * h)
        growth, g = (after - before) / (2 * h) / (2 * here), force.matrix(t)[1, 0]
        expected[i] = moved @ moved + 2 * here * (growth**2 + g**2)
    assert got.total == pytest.approx(expected.sum() * 0.5, abs=4 * got.stderr)


def test_point_costs__rotation_costs_and_optimal_transport_is_cheapest():
    """A roll of 60 points: the cost grows with g; the optimal plan to its noise costs least."""
    angle = np.linspace(1.5 * np.pi, 4.5 * np.pi, 60)
    data = (angle / 10)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rng, costs = np.random.default_rng(0), []
    for g in (0.0, 3.0, 5.0):
        force = RotatingForce(rotation=g)
        got = point_costs(force, data, rng, n_states=300, n_times=30)
        costs.append((got.total, got.stderr))
    assert costs[0][0] < costs[1][0] < costs[2][0]
    force, rows = RotatingForce(), rng.integers(60, size=300)
    end = data[rows] @ force.propagator(10.0).T
    end += np.sqrt(force.spread(np.array([10.0]))[0]) * rng.standard_normal((300, 2))
    best = optimal_path(data[rng.integers(60, size=300)], end, duration=10.0).cost()
    assert best < costs[0][0] + 4 * costs[0][1]
