import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irrev.errors import InputError
from irrev.simulate.chains import simulate
from irrev.simulate.ou import (
    exact_ou,
    gaussian_start,
    linear_ep_rate,
    linear_force,
    stationary_cov,
)
from irrev.simulate.systems import LinearSystem, rotation

seeds = st.integers(0, 2**32 - 1)


def random_system(seed: int, dim: int = 3) -> LinearSystem:
    rng = np.random.default_rng(seed)
    drift = rng.normal(size=(dim, dim))
    drift -= (1.0 + np.abs(np.linalg.eigvals(drift).real).max()) * np.eye(dim)
    root = rng.normal(size=(dim, dim))
    return LinearSystem("random", drift, root @ root.T + 0.1 * np.eye(dim))


@given(seeds)
def test_linear_ep_rate__is_the_mean_square_force(seed):
    """<f . D f> = tr(M^T D M S)."""
    s = random_system(seed)
    expected = np.trace(s.force.T @ s.diffusion @ s.force @ s.cov)
    assert s.ep_rate == pytest.approx(expected, rel=1e-8, abs=1e-10)


@given(seeds)
def test_linear_ep_rate__does_not_depend_on_coordinates(seed):
    s = random_system(seed)
    turn = np.random.default_rng(seed).normal(size=(3, 3)) + 3 * np.eye(3)
    other = turn @ s.drift @ np.linalg.inv(turn)
    assert linear_ep_rate(other, turn @ s.diffusion @ turn.T) == pytest.approx(s.ep_rate, rel=1e-6)


@given(seeds)
def test_linear_force__vanishes_with_detailed_balance(seed):
    """A = -D H with H positive: a gradient flow."""
    s = random_system(seed)
    drift = -s.diffusion @ np.linalg.inv(s.cov)
    assert np.abs(linear_force(drift, s.diffusion)).max() < 1e-8
    assert linear_ep_rate(drift, s.diffusion) == pytest.approx(0.0, abs=1e-8)


@given(seeds, st.floats(0.01, 1.0))
def test_exact_ou__keeps_the_stationary_covariance(seed, dt):
    s = random_system(seed)
    chain = s.chain(dt)
    kept = chain.moves[0] @ s.cov @ chain.moves[0].T + chain.roots[0] @ chain.roots[0].T
    assert kept == pytest.approx(s.cov, rel=1e-7, abs=1e-9)


def test_exact_ou__two_half_steps_make_one():
    s = random_system(4)
    b = np.array([1.0, -2.0, 0.5])
    one = exact_ou(s.drift, s.diffusion, dt=0.4, shift=b)
    half = exact_ou(s.drift, s.diffusion, dt=0.2, shift=b)
    P = half.moves[0]
    twice = P @ P
    assert twice == pytest.approx(one.moves[0], rel=1e-12)
    assert P @ half.shifts[0] + half.shifts[0] == pytest.approx(one.shifts[0], rel=1e-12)
    cov = half.roots[0] @ half.roots[0].T
    assert P @ cov @ P.T + cov == pytest.approx(one.roots[0] @ one.roots[0].T, rel=1e-11)


def test_exact_ou__unstable_drift_runs_from_a_given_start():
    """dx = x dt + sqrt(2) dW from 0: variance e^{2t} - 1."""
    start = gaussian_start([0.0], [[0.0]])
    x = simulate(
        exact_ou([[1.0]], [[1.0]], dt=0.1, start=start), n_trajectories=40_000, n_steps=5, seed=2
    )[:, -1, 0]
    var = np.expm1(1.0)
    assert x.var() == pytest.approx(var, abs=4 * var * np.sqrt(2 / 40_000))


def test_exact_ou__sampled_lag_covariance_is_the_propagated_one():
    s = rotation()
    n = 100_000
    x = simulate(s.chain(0.3), n_trajectories=n, n_steps=2, seed=3)
    lag = np.einsum("ni,nj->ij", x[:, 2], x[:, 1]) / n
    expected = s.chain(0.3).moves[0] @ s.cov
    assert lag == pytest.approx(expected, abs=4 * np.sqrt(2 / n))


@pytest.mark.parametrize(
    ("dt", "exact", "second"),
    [(0.1, 7.1905, 8.0045), (0.05, 7.5972, 8.0038), (0.01, 7.9199, 8.0002)],
)
def test_finite_dt_ep_rate__matches_published_values(dt, exact, second):
    """Rotation k = 1, w = 2: 2 w/k e^{-k dt} sin(w dt)/dt."""
    system = rotation()
    found = system.finite_dt_ep_rate(dt)
    assert found == pytest.approx(4 * np.exp(-dt) * np.sin(2 * dt) / dt, rel=1e-9)
    assert found == pytest.approx(exact, abs=5.1e-5)
    assert 2 * found - system.finite_dt_ep_rate(2 * dt) == pytest.approx(second, abs=5.1e-5)


def test_finite_dt_ep_rate__the_fitted_force_is_shifted():
    assert rotation().finite_dt_ep_rate(0.01, fitted=True) == pytest.approx(7.8805, abs=5.1e-5)


def test_stationary_cov__names_the_growing_direction():
    with pytest.raises(InputError, match=r"real part 1\.0; need < 0"):
        stationary_cov([[1.0]], [[1.0]])
