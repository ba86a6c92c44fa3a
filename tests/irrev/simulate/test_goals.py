"""Laws over goals: exact, by events, and Langevin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irrev.entropy import entropy
from irrev.errors import InputError
from irrev.simulate.goals import (
    goal_law,
    peaked_law,
    share_with_entropy,
    simulate_hops,
    simulate_logits,
    steady_law,
)


@given(st.floats(0.001, 1.6), st.integers(5, 30))
def test_share_with_entropy__inverts_the_entropy(target, n_goals):
    share = share_with_entropy(target, n_goals)
    assert float(entropy(peaked_law(share, n_goals))) == pytest.approx(target, abs=1e-9)
    assert 1 / n_goals <= share <= 1


def test_share_with_entropy__names_the_ceiling():
    with pytest.raises(InputError, match=r"outside \[0, ln 5\]; use more goals"):
        share_with_entropy(1.69, 5)


@given(st.floats(0, 2), st.floats(0.001, 1), st.floats(0, 50))
def test_goal_law__stays_a_law_and_ends_steady(gamma, rate, time):
    start = peaked_law(0.9, 4)
    law = goal_law([time, np.inf], start=start, hop_rate=rate, gamma_eff=gamma)
    np.testing.assert_allclose(law.sum(axis=1), 1)
    assert law.min() >= 0
    np.testing.assert_allclose(law[1], steady_law(rate, gamma, n_goals=4))


def test_goal_law__entropy_never_falls_under_uniform_hops():
    """Doubly stochastic mixing: the one setting where growth of entropy is a theorem."""
    law = goal_law(np.linspace(0, 60, 400), start=[0.7, 0.2, 0.1], hop_rate=0.2, gamma_eff=0.0)
    assert np.diff(entropy(law)).min() >= -1e-12


def test_simulate_hops__agrees_with_the_exact_law(rng):
    times, pi = [0.0, 1.0, 4.0, 20.0], np.array([0.1, 0.5, 0.2, 0.15, 0.05])
    options = {"start": peaked_law(0.94, 5), "hop_rate": 0.3, "gamma_eff": 0.2, "destinations": pi}
    paths = simulate_hops(times, n_paths=20_000, rng=rng, **options)
    law = goal_law(times, **options)
    observed = np.stack([np.bincount(c, minlength=5) for c in paths.T]) / 20_000
    stderr = np.sqrt(law * (1 - law) / 20_000)
    assert np.all(np.abs(observed - law) <= 4.5 * stderr + 1e-12)  # twenty comparisons


def test_simulate_logits__without_pull_entropy_rises_then_falls_and_intent_is_lost(rng):
    """Table of 4,000 paths at D = 0.6, both sides with their own error."""
    n = 2000
    paths = simulate_logits([1, 2, 5, 10, 50, 200], n_goals=5, gamma_eff=0.0, n_paths=n, rng=rng)
    mean, intended = paths.entropy.mean(axis=0), paths.intended.mean(axis=0)
    error = paths.entropy.std(axis=0) * np.sqrt(1 / n + 1 / 4000)
    expected = np.array([0.477, 0.534, 0.548, 0.472, 0.244, 0.126])
    assert np.all(np.abs(mean - expected) <= 4 * error + 0.0005)
    shares = np.array([0.986, 0.906, 0.713, 0.558, 0.342, 0.262])
    spread = np.sqrt(shares * (1 - shares) * (1 / n + 1 / 4000))
    assert np.all(np.abs(intended - shares) <= 4 * spread + 0.0005)
    assert mean[5] < mean[2] > mean[0]


def test_simulate_logits__strong_pull_keeps_the_start_not_zero(rng):
    """Ornstein-Uhlenbeck at gamma = 20.4: S stays near 0.32 with sd near 0.0471 (step 0.05)."""
    n = 2000
    paths = simulate_logits([5.0], n_goals=5, gamma_eff=20.4, n_paths=n, rng=rng, dt=1.0)
    values = paths.entropy[:, 0]
    assert values.mean() == pytest.approx(0.325, abs=4 * 0.047 * np.sqrt(1 / n + 1 / 4000) + 5e-4)
    assert values.std() == pytest.approx(0.0471, abs=4 * 0.047 / np.sqrt(2 * n) + 5e-4)


def test_steady_law__wants_a_rate():
    with pytest.raises(InputError, match="not both zero"):
        steady_law(0.0, 0.0, n_goals=3)
