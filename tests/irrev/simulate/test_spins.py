"""Spins and spike trains against exact sums over states."""

import numpy as np
import pytest

from irrev.errors import InputError
from irrev.simulate import spins
from irrev.simulate.spikes import simulate_spikes
from irrev.simulate.spins import simulate_spins, spin_couplings, spin_ep, virtual_flips
from tests.closed_forms import SPIN_CHAINS
from tests.closed_forms import spins as spin_chain

MIXED = np.array([[0.0, 1, -0.5], [0.3, 0, 1], [1, 0, 0]])
FIELD = np.array([0.5, 0.0, 0.0])


def test_spin_ep__over_the_stationary_law_is_exact():
    """Every state once per 1e6 of its probability: rounding 8e-6 of at most 2 nats each."""
    chain = SPIN_CHAINS[2]
    law = chain.joint.sum(axis=1)
    states = np.repeat(chain.states, np.round(law * 1e6).astype(int), axis=0).astype(np.int8)
    assert spin_ep(states, MIXED, beta=1.0, field=FIELD) == pytest.approx(chain.ep, abs=2e-5)


def test_simulate_spins__visits_states_with_their_probability():
    """40,000 states 3 sweeps apart, nearly independent: sd sqrt(p (1 - p) / n), doubled."""
    states = simulate_spins(MIXED, beta=1.0, n_states=40_000, seed=3, every=9, field=FIELD)
    chain = SPIN_CHAINS[2]
    law = chain.joint.sum(axis=1)
    seen = np.bincount(((states > 0) @ np.array([4, 2, 1])), minlength=8) / 40_000
    np.testing.assert_array_less(np.abs(seen - law), 4 * 2 * np.sqrt(law * (1 - law) / 40_000))


def test_simulate_spins__one_redraw_at_a_time_changes_at_most_one_spin():
    states = simulate_spins(
        spin_couplings(20, np.random.default_rng(0)), beta=1.0, n_states=500, seed=1, every=1
    )
    assert np.abs(np.diff(states, axis=0)).sum(axis=1).max() == 2


def test_simulate_spins__depends_on_seed_and_chunk_only(monkeypatch):
    coupling = spin_couplings(12, np.random.default_rng(0))
    first, other = (
        simulate_spins(coupling, beta=2.0, n_states=50, seed=5, chunk=c) for c in (0, 1)
    )
    assert not np.array_equal(first, other)
    monkeypatch.setattr(spins, "_compiled", lambda: None)
    np.testing.assert_array_equal(
        first, simulate_spins(coupling, beta=2.0, n_states=50, seed=5, chunk=0)
    )


def test_virtual_flips__have_the_frequency_of_the_rates(rng):
    """Mean of -2 beta s h over flips, times their rate, is the exact value within its error."""
    states = simulate_spins(MIXED, beta=1.0, n_states=20_000, seed=2, field=FIELD)
    flips = virtual_flips(states, MIXED, rng, beta=1.0, field=FIELD)
    heat = -2 * states * (states @ MIXED.T + FIELD) * flips
    error = heat.mean(axis=1).std() / np.sqrt(20_000)
    assert heat.mean() == pytest.approx(
        spin_ep(states, MIXED, beta=1.0, field=FIELD), abs=4 * error
    )


def test_spin_couplings__have_the_stated_degree_and_width(rng):
    """400 x 399 entries: relative error of count and variance below 2 %."""
    coupling = spin_couplings(400, rng, degree=6)
    assert np.count_nonzero(coupling) / 400 == pytest.approx(6, rel=4 * 0.02)
    assert np.var(coupling[coupling != 0]) == pytest.approx(1 / 6, rel=4 * 0.03)
    assert not np.any(np.diag(spin_couplings(50, rng, degree=None, mean=1.0)))


def test_simulate_spins__refuses_a_spin_that_drives_itself():
    with pytest.raises(InputError, match="square one with zero diagonal"):
        simulate_spins(np.eye(3), beta=1.0, n_states=10, seed=0)


def test_simulate_spikes__entropy_production_matches_the_exact_chain():
    """Two neurons, four states: the path average against the exact sum."""
    rng = np.random.default_rng(4)
    trains = simulate_spikes(2, 40_000, rng, rate=0.4, strength=1.5, density=1.0)
    again = np.random.default_rng(4)
    scale = 1.5 / np.sqrt(2 * 0.4)
    coupling = scale * again.standard_normal((2, 2))
    bits = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
    up = 1 / (1 + np.exp(-(np.log(0.4 / 0.6) + (bits - 0.4) @ coupling.T)))
    step = np.where(bits[None] > 0, up[:, None], 1 - up[:, None]).prod(axis=2)
    law = np.linalg.matrix_power(step, 1000)[0]
    joint = law[:, None] * step
    exact = np.sum(joint * np.log(joint / joint.T))
    # Path noise: the log-ratio has variance 2 ep near equilibrium.
    assert trains.ep == pytest.approx(exact, abs=4 * np.sqrt(2 * exact / 40_000))
    assert spin_chain("none", np.zeros((2, 2))).ep == pytest.approx(0.0, abs=1e-12)
