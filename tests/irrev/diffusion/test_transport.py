"""Distances, optimal pairs and the needed part of a velocity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irrev.diffusion.transport import (
    gaussian_cost_split,
    gaussian_w2_squared,
    max_sliced_w1,
    optimal_path,
    w1_plan,
    w1_sorted,
    w2_moment_bound,
)
from irrev.errors import InputError


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_gaussian_cost_split__excess_never_exceeds_the_total(seed, d):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d))
    split = gaussian_cost_split(root @ root.T + 0.1 * np.eye(d), rng.normal(size=(d, d)))
    assert -1e-9 * split.total <= split.excess <= split.total * (1 + 1e-9)


def test_gaussian_cost_split__excess_is_the_bures_speed():
    """W2^2(C, C + dC)/dt^2 with dC = (MC + CM^T) dt, dt = 1e-4: error of order dt."""
    rng = np.random.default_rng(0)
    cov, gradient = np.diag([1.0, 0.3]) + 0.1, rng.normal(size=(2, 2))
    bias, h = np.array([0.2, -0.1]), 1e-4
    step = np.eye(2) + h * gradient
    moved = gaussian_w2_squared(np.zeros(2), cov, h * bias, step @ cov @ step.T) / h**2
    assert gaussian_cost_split(cov, gradient, bias).excess == pytest.approx(moved, rel=1e-3)


def test_gaussian_cost_split__symmetric_field_has_no_housekeeping():
    split = gaussian_cost_split(np.eye(3), np.diag([1.0, 2.0, 3.0]))
    assert split.housekeeping == pytest.approx(0, abs=1e-12)


def test_w1_plan__agrees_with_sorting_on_a_line():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(60, 1)), rng.normal(size=(60, 1)) + 1
    assert w1_plan(a, b) == pytest.approx(w1_sorted(a[:, 0], b[:, 0]))


def test_w1_plan__refuses_many_dimensions():
    with pytest.raises(InputError, match="max_sliced_w1 as a lower bound"):
        w1_plan(np.zeros((3, 64)), np.zeros((3, 64)))


def test_max_sliced_w1__of_a_shift_is_its_length():
    """The mean direction sees the whole shift; no direction sees more."""
    x = np.random.default_rng(0).normal(size=(200, 20))
    shift = np.full(20, 0.3)
    got = max_sliced_w1(x, x + shift, np.random.default_rng(1))
    assert got == pytest.approx(np.linalg.norm(shift))


def test_w2_moment_bound__is_exact_for_gaussians():
    """N(m, diag(4, 1/4)) to N(0, I): |m|^2 + 1 + 1/4; moments made exact by whitening."""
    x = np.random.default_rng(0).normal(size=(5000, 2))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    data = x * np.array([2, 0.5]) + np.array([3, 4])
    assert w2_moment_bound(data) == pytest.approx(25 + 1 + 0.25)


def test_optimal_path__cost_is_the_plan_of_least_square():
    """On a line the optimal pairs are the sorted ones."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 1)), 3 * rng.normal(size=(50, 1))
    path = optimal_path(a, b, duration=2.0)
    expected = np.mean((np.sort(a[:, 0]) - np.sort(b[:, 0])) ** 2) / 2
    assert path.cost() == pytest.approx(expected)


def test_optimal_path__kernel_velocity_follows_a_shift():
    """All pairs move by the same vector: the regression gives it wherever there are pairs."""
    a = np.random.default_rng(0).normal(size=(400, 2))
    path = optimal_path(a, a + np.array([1.0, -2.0]))
    got = path.velocity(path.states(0.5)[:5], 0.5, bandwidth=0.05)
    np.testing.assert_allclose(got, np.tile([1.0, -2.0], (5, 1)), atol=0.2)
