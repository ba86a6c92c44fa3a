"""Rates and steps with exact entropy production; paths that visit states as the law says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irrev.ep.plugin import plugin_ep
from irrev.errors import InputError
from irrev.simulate import markov
from irrev.simulate.markov import (
    ep_rate,
    ep_step,
    random_rates,
    ring_rates,
    simulate_chain,
    stationary,
    step_matrix,
)

EXACT = 1e-12


@given(st.integers(3, 9), st.floats(0.05, 3), st.floats(0.05, 3))
def test_ep_rate__ring_is_its_closed_form(n, forward, backward):
    known = (forward - backward) * np.log(forward / backward)
    assert ep_rate(ring_rates(n, forward=forward, backward=backward)) == pytest.approx(
        known, abs=1e-9
    )


@given(st.integers(0, 1000), st.integers(2, 12), st.floats(0.0, 2.0), st.floats(0.0, 1.0))
def test_random_rates__bound_of_a_sampled_path_is_below_the_rate(seed, n, drive, density):
    """Data processing: ep of one step / dt <= ep rate; equal as dt falls; 0 without drive."""
    rates = random_rates(n, np.random.default_rng(seed), drive=drive, density=density)
    law, rate = stationary(rates), ep_rate(rates)
    np.testing.assert_allclose(law @ rates, 0, atol=1e-9 * np.abs(rates).max())
    assert rate >= -EXACT
    assert ep_step(step_matrix(rates, 0.3)) / 0.3 <= rate + 1e-9 * (1 + rate)
    undriven = random_rates(n, np.random.default_rng(seed), drive=0.0, density=density)
    assert ep_rate(undriven) == pytest.approx(0.0, abs=1e-9)


def test_ep_step__of_a_short_step_is_the_rate():
    rates = random_rates(5, np.random.default_rng(1))
    dt = 1e-6
    # Second-order term of exp(W dt): relative |W| dt.
    relative = 10 * np.abs(rates).max() * dt * np.log(1 / dt)
    assert ep_step(step_matrix(rates, dt)) / dt == pytest.approx(ep_rate(rates), rel=relative)


@pytest.fixture(params=["compiled", "numpy"])
def loop(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(markov, "_compiled", lambda: None)
    return request.param


def test_simulate_chain__counts_give_the_exact_value(loop):
    """Delta method over blocks gives the error of the counting estimate."""
    step = step_matrix(random_rates(4, np.random.default_rng(3), drive=0.7), 0.2)
    n = 200_000 if loop == "compiled" else 20_000
    path = simulate_chain(step, n_steps=n, seed=5)
    blocks = [plugin_ep(part) for part in np.split(path[:n], 20)]
    error = np.std(blocks) / np.sqrt(20)
    assert plugin_ep(path) == pytest.approx(ep_step(step), abs=4 * error + 16 / n)


def test_simulate_chain__numbers_depend_on_seed_and_chunk_only(monkeypatch):
    step = step_matrix(ring_rates(5, forward=1.0, backward=0.5), 0.5)
    first = simulate_chain(step, n_steps=500, seed=1, chunk=2)
    assert not np.array_equal(first, simulate_chain(step, n_steps=500, seed=1, chunk=3))
    monkeypatch.setattr(markov, "_compiled", lambda: None)
    np.testing.assert_array_equal(first, simulate_chain(step, n_steps=500, seed=1, chunk=2))


def test_stationary__refuses_what_is_no_process():
    with pytest.raises(InputError, match="rows must sum to 0"):
        stationary(np.array([[0.5, 0.2], [0.1, 0.3]]))
    with pytest.raises(InputError, match="never meet"):
        stationary(np.eye(3))
