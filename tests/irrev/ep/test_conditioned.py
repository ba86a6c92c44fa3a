"""Labels with couplings of their own; pairs of areas."""

import numpy as np
import pytest

from irrev.binning import SpikeBins
from irrev.ep.conditioned import area_ep, changed_unit, changes, conditioned_ep
from irrev.ep.maxent import maxent_ep
from irrev.ep.multipartite import multipartite_ep
from irrev.errors import InputError
from irrev.simulate.xy import simulate_xy, two_spin_ep
from tests.closed_forms import SPIN_CHAINS

MIXED = SPIN_CHAINS[2]


def test_conditioned_ep__labels_see_what_one_set_of_couplings_cannot():
    """A chain that runs forwards under one label and backwards under the other, half each."""
    rng = np.random.default_rng(0)
    ahead, back = MIXED.sample(10_000, rng), MIXED.sample(10_000, rng)[::-1]
    pieces = [p for a, b in zip(np.split(ahead[:10_000], 20), np.split(back[:10_000], 20),
              strict=True) for p in (a, b)]  # fmt: skip
    path, labels = np.vstack(pieces), np.repeat(np.tile(["on", "off"], 20), 500)
    est = conditioned_ep(path, labels)
    error = (est.high - est.low) / 3.92
    known = MIXED.known["pair"]
    assert est.value == pytest.approx(known, abs=4 * error + 4e-3)
    assert est.p == pytest.approx(1 / 201)
    assert est.certified == pytest.approx(est.value, abs=0.01)
    assert maxent_ep(path).value < 0.1 * known
    np.testing.assert_allclose(est.share, 0.5, atol=0.01)
    errors = (est.label_high - est.label_low) / 3.92
    assert np.all(np.abs(est.label_value - known) <= 4 * errors + 4e-3)
    assert est.value == pytest.approx(est.share @ est.label_value)
    assert "2 labels" in str(est)


def test_conditioned_ep__by_the_unit_that_changes_is_the_multipartite_bound():
    path = MIXED.sample(20_000, np.random.default_rng(2)).astype(int)
    est = conditioned_ep(path, changed_unit(path), observables=("current",))
    units = multipartite_ep(path)
    error = (units.high - units.low) / 3.92
    assert est.value == pytest.approx(units.value, abs=error + 1e-3)
    assert est.value == pytest.approx(MIXED.known["multipartite"], abs=4 * error + 2e-3)
    assert changes(path).max() == 1


def test_conditioned_ep__angles_bound_the_entropy_production_of_xy_spins():
    """Two spins, one driven: given the spin that moves, angles hold most of the exact value."""
    coupling = np.array([[0.0, 2.0], [0.0, 0.0]])
    moves = simulate_xy(coupling, beta=1.0, n_moves=12_000, seed=1)
    path = np.vstack([moves.before, moves.after()[-1:]])
    est = conditioned_ep(path, changed_unit(path), observables=("angles",))
    single = maxent_ep(path, observables=("angles",))
    error = (est.high - est.low) / 3.92
    exact = two_spin_ep(2.0, 0.0)
    assert est.value <= exact + 4 * error
    assert est.value >= 0.8 * exact
    assert single.value <= exact + 4 * error
    assert single.value > 0.5 * exact


def test_conditioned_ep__leaves_out_rare_labels_and_says_so():
    path = MIXED.sample(4_000, np.random.default_rng(3))
    labels = np.zeros(path.shape[0], int)
    labels[100:150] = 1
    est = conditioned_ep(path, labels)
    assert list(est.labels) == [0]
    assert 0.01 < est.skipped < 0.02
    with pytest.raises(InputError, match="lower min_samples"):
        conditioned_ep(path, np.arange(path.shape[0]))
    with pytest.raises(InputError, match="pass one a step"):
        conditioned_ep(path, labels[:100])


def test_area_ep__finds_the_area_that_is_driven():
    """Driven spins in one area, independent ones in the other."""
    rng = np.random.default_rng(4)
    driven = MIXED.sample(12_000, rng)
    path = np.hstack([driven, rng.choice([-1.0, 1.0], (driven.shape[0], 3))])
    est = area_ep(path, ["v"] * 3 + ["m"] * 3)
    assert est.areas == ("m", "v")
    error = (est.high[1, 1] - est.low[1, 1]) / 3.92
    assert est.value[1, 1] == pytest.approx(MIXED.known["pair"], abs=4 * error + 2e-3)
    assert est.q[1, 1] < 0.05
    assert est.low[0, 0] <= 1e-3
    assert est.low[0, 1] <= 1e-3
    np.testing.assert_array_equal(est.n_pairs, [[3, 9], [9, 3]])
    np.testing.assert_array_equal(est.value, est.value.T)


def test_changes__takes_spikes_as_they_are_binned(rng):
    spikes = rng.random((60, 4)) < 0.3
    bins = SpikeBins.from_dense(spikes, 0.01)
    np.testing.assert_array_equal(changes(bins), changes(spikes))
    with pytest.raises(InputError, match=r"shape \(60,\)"):
        changes(spikes[:, 0])


def test_changed_unit__refuses_two_changes_in_one_step():
    with pytest.raises(InputError, match="use `changes`"):
        changed_unit(np.array([[0, 1], [1, 0]]))
