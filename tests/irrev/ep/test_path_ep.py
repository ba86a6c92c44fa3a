import numpy as np
import pytest

from irrev.ep.features import InTime, polynomial
from irrev.ep.path_ep import learn_force, learn_temporal_score, path_ep
from irrev.ep.steps import steps_of, tracks_from
from irrev.simulate.chains import simulate
from irrev.simulate.driven import BreathingTrap
from irrev.simulate.systems import rotation

TRAP = BreathingTrap()
TEST = {"n_trajectories": 20_000, "n_steps": 100, "seed": 3}


def exact_force(x, t):
    return TRAP.force(x, t[:, None])


def exact_score(x, t):
    return TRAP.temporal_score(x[:, 0], t)


def endpoint_ep(x: np.ndarray, dt: float) -> np.ndarray:
    """-d ln p + int D^-1 F o dx with the exact density and midpoint F = -x/(1+t)."""
    n = x.shape[1] - 1
    mid, dx = 0.5 * (x[:, 1:, 0] + x[:, :-1, 0]), np.diff(x[..., 0], axis=1)
    t = dt * (np.arange(n) + 0.5)
    change = TRAP.log_density(x[:, -1, 0], n * dt) - TRAP.log_density(x[:, 0, 0], 0.0)
    return -change - np.sum(mid / (1 + t) * dx, axis=1)


def r_squared(found, true):
    return 1 - np.sum((found - true) ** 2) / np.sum((true - true.mean()) ** 2)


def test_path_ep__exact_fields_give_the_endpoint_formula_and_the_fluctuation_theorem():
    x = simulate(TRAP.chain(0.05, 20), n_trajectories=50_000, n_steps=20, seed=1)
    found = path_ep(x, exact_force, exact_score, dt=0.05, exact=True)
    assert r_squared(found.ep, endpoint_ep(x, 0.05)) > 0.999
    assert found.holds
    assert found.mean == pytest.approx(TRAP.ep(1.0), abs=4 * found.ep.std() / np.sqrt(50_000))


def test_path_ep__without_h_single_trajectories_break_the_theorem():
    """<exp(-J)> = .9808 +- .0004 at 2e5 trajectories; .0018 here."""
    x = simulate(TRAP.chain(0.05, 20), n_trajectories=50_000, n_steps=20, seed=1)
    found = path_ep(x, exact_force, None, dt=0.05)
    assert found.ift == pytest.approx(0.9808, abs=4 * found.ift_error)
    assert not found.holds


@pytest.mark.parametrize(("exact", "ift"), [(True, 0.9998), (False, 0.9963)])
def test_path_ep__an_exact_h_needs_the_trapezoid_rule(exact, ift):
    """dt = 0.05: midpoints are narrower than either end, which shifts <sum h dt> by 0.0036."""
    x = simulate(TRAP.chain(0.05, 20), n_trajectories=200_000, n_steps=20, seed=1)
    found = path_ep(x, exact_force, exact_score, dt=0.05, exact=exact)
    assert found.ift == pytest.approx(ift, abs=4 * found.ift_error / 2)  # shared noise: half
    mean_h = float((found.without_h - found.ep).mean())
    assert mean_h == pytest.approx(0.0 if exact else -0.0036, abs=0.0012)


@pytest.mark.parametrize(
    ("n", "least"), [(10_000, 0.95), pytest.param(100_000, 0.99, marks=pytest.mark.slow)]
)
def test_path_ep__learned_fields_reach_single_trajectories_only_with_h(n, least):
    x = simulate(TRAP.chain(0.01, 100), n_trajectories=n, n_steps=100, seed=2)
    test = simulate(TRAP.chain(0.01, 100), **TEST)
    force = learn_force(x, InTime(polynomial(1, 3, powers=[[1], [3]]), 3), np.eye(1), dt=0.01)
    score = learn_temporal_score(x, InTime(polynomial(1, 2, powers=[[0], [2]]), 3), dt=0.01)
    true = path_ep(test, exact_force, exact_score, dt=0.01, exact=True).ep
    found = path_ep(test, force, score, dt=0.01)
    assert r_squared(found.ep, true) >= least
    assert r_squared(found.without_h, true) < 0.5
    assert abs(found.ift - 1) <= 3 * found.ift_error
    # The mean needs no h: both agree within the sampling error of sum h dt.
    gap = (found.ep - found.without_h).std() / np.sqrt(len(test))
    assert found.mean == pytest.approx(found.without_h.mean(), abs=4 * gap + 0.1 * TRAP.ep(1.0))


def test_learn_temporal_score__constants_force_a_zero_mean():
    x = simulate(TRAP.chain(0.01, 100), n_trajectories=2000, n_steps=100, seed=2)
    basis = InTime(polynomial(1, 2, powers=[[0], [2]]), 3)
    h = learn_temporal_score(x, basis, dt=0.01)
    total = sum(float(h(s.mid, s.time).sum()) for s in steps_of(tracks_from(x, dt=0.01)))
    assert total == pytest.approx(0.0, abs=1e-6 * x.size)


def test_path_ep__large_values_are_flagged():
    """Rotation over 2 units of time: mean 16 nats, where exp(-EP) says nothing."""
    system = rotation()
    x = simulate(system.chain(0.01), n_trajectories=200, n_steps=200, seed=1)
    found = path_ep(x, lambda y, t: y @ system.force.T, dt=0.01)
    assert not found.reliable
    assert found.mean == pytest.approx(
        2 * system.finite_dt_ep_rate(0.01), abs=4 * found.ep.std() / np.sqrt(200)
    )
