"""Per-unit form: exact sums over states, sampled estimates, splitting over workers."""

import numpy as np
import pytest

from irrev.ep.multipartite import (
    check_flips,
    fit_units,
    flip_table,
    multipartite_ep,
    solve,
)
from irrev.ep.objective import Dual
from irrev.ep.solvers import lbfgs
from irrev.errors import InputError
from irrev.simulate.spins import simulate_spins, spin_couplings, spin_ep, virtual_flips
from irrev.stats import deal_blocks
from tests.closed_forms import SPIN_CHAINS

EXACT = 1e-8
ASYNCHRONOUS = [SPIN_CHAINS[0], *SPIN_CHAINS[2:]]


def population(chain, unit, *, lin=False):
    """Objective of the flips of one unit with exact weights, and their probability."""
    before, after, p = chain.steps()
    flips = before[:, unit] != after[:, unit]
    table = flip_table(before[flips].astype(np.int8), unit, lin=lin, dtype=np.float64)
    # The column of the unit itself is empty without `lin`.
    table = table if lin else table.select(np.delete(np.arange(before.shape[1]), unit))
    weight = p[flips] / p[flips].sum()
    return Dual(table, table.total(weight), weight), p[flips].sum()


def bound(chain, *, lin=False):
    terms = [population(chain, i, lin=lin) for i in range(chain.states.shape[1])]
    return sum(rate * lbfgs(dual).value_train for dual, rate in terms)


@pytest.mark.parametrize("chain", ASYNCHRONOUS, ids=lambda c: c.name)
def test_multipartite__population_bound_matches_the_reference(chain):
    assert bound(chain) == pytest.approx(chain.known["multipartite"], abs=EXACT)
    assert bound(chain) >= chain.known["pair"] - EXACT
    assert bound(chain) <= chain.ep + EXACT


def test_multipartite__lin_tightens_as_the_reference_says():
    chain = SPIN_CHAINS[2]
    assert bound(chain, lin=True) == pytest.approx(chain.known["multipartite+lin"], abs=EXACT)


def test_multipartite__one_newton_step_matches_the_reference():
    chain, total = SPIN_CHAINS[0], 0.0
    for unit in range(3):
        dual, rate = population(chain, unit)
        g, weight = (
            dual.observables.columns(np.arange(dual.observables.n_samples)),
            dual.probability,
        )
        cov = (g * weight[:, None]).T @ g - np.outer(dual.mean, dual.mean)
        theta = 2 * np.linalg.solve(cov, dual.mean)
        value = dual.value(float(theta @ dual.mean), dual.observables.reverse_values(theta))
        total += rate * value
    assert total == pytest.approx(chain.known["multipartite newton1"], abs=EXACT)


def test_multipartite_ep__path_of_few_spins_gives_its_bound():
    chain = SPIN_CHAINS[2]
    path = chain.sample(60_000, np.random.default_rng(2)).astype(np.int8)
    est = multipartite_ep(path)
    error = (est.high - est.low) / 3.92
    assert est.value == pytest.approx(chain.known["multipartite"], abs=4 * error + 1e-3)
    assert est.p == pytest.approx(1 / 201)
    assert est.certified == pytest.approx(est.value, abs=0.01)
    assert np.nansum(est.unit_values) == pytest.approx(est.value, abs=1e-12)


@pytest.fixture(scope="module")
def spin_sample():
    """40 spins, k = 6, beta = 2, 3000 states with one virtual redraw of each spin."""
    coupling = spin_couplings(40, np.random.default_rng(0))
    states = simulate_spins(coupling, beta=2.0, n_states=3000, seed=1)
    flips = virtual_flips(states, coupling, np.random.default_rng(2), beta=2.0)
    return states, flips, spin_ep(states, coupling, beta=2.0)


def test_multipartite_ep__stays_below_the_truth_and_finds_most_of_it(spin_sample):
    states, flips, truth = spin_sample
    est = multipartite_ep(states, flips)
    error = (est.high - est.low) / 3.92
    assert est.value <= truth + 4 * error
    assert est.value >= 0.6 * truth  # 12 of 39 couplings matter, 500 training flips a unit
    assert est.value <= est.train
    # Few flips a block: resampling is biased, the interval must not be.
    assert est.low <= est.value <= est.high
    assert est.low - (est.high - est.low) <= est.certified <= est.high


def test_multipartite__units_split_over_workers_change_nothing(spin_sample):
    states, flips, attempts = check_flips(*spin_sample[:2])
    folds = deal_blocks(50, 5, np.random.default_rng(0))

    def part(units):
        return fit_units(states, flips, np.array(units), folds)

    whole, split = part(range(9)), part(range(4)) + part(range(4, 9))
    options = {
        "n_units": 40,
        "n_attempts": attempts,
        "level": 0.95,
        "draws": 50,
        "null_draws": 20,
        "seed": 1,
    }
    first, second = solve(whole, **options), solve(split, **options)
    assert first.value == second.value
    assert first.low == second.low
    np.testing.assert_allclose(first.null_values, second.null_values, rtol=1e-9)


def test_multipartite_ep__equilibrium_gives_nothing():
    coupling = spin_couplings(12, np.random.default_rng(0))
    symmetric = np.tril(coupling) + np.tril(coupling).T
    states = simulate_spins(symmetric, beta=1.0, n_states=3000, seed=1)
    flips = virtual_flips(states, symmetric, np.random.default_rng(2), beta=1.0)
    est = multipartite_ep(states, flips)
    assert est.low <= 0.0
    assert est.p > 0.01


def test_multipartite_ep__leaves_out_units_that_hardly_flip(spin_sample):
    states, flips, _ = spin_sample
    quiet = flips.copy()
    quiet[50:, 3] = False
    est = multipartite_ep(states[:, :6], quiet[:, :6])
    assert est.n_skipped == 1
    assert np.isnan(est.unit_values[3])
    assert "1 left out" in str(est)


def test_multipartite_ep__says_how_to_mend_bad_input():
    with pytest.raises(InputError, match="3 units change in one step; use maxent_ep"):
        multipartite_ep(np.array([[1, 1, 1], [-1, -1, -1]] * 300))
    with pytest.raises(InputError, match="pass -1/\\+1"):
        multipartite_ep(np.zeros((10, 3), int))
    with pytest.raises(InputError, match="flips hold values other than 0 and 1"):
        multipartite_ep(np.ones((500, 3), int), np.full((500, 3), np.nan))
    with pytest.raises(InputError, match="500 states for 600 blocks; use fewer"):
        multipartite_ep(np.ones((500, 3), int), np.ones((500, 3), bool), n_blocks=600)
