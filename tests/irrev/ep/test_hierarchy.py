"""Observable sets with exact weights, nested levels on samples."""

import numpy as np
import pytest
from scipy.linalg import expm

from irrev.ep.explicit import ExplicitObservables
from irrev.ep.hierarchy import hierarchy_ep
from irrev.ep.objective import Dual
from irrev.ep.sets import angle_table, delayed_table, observable_table
from irrev.ep.solvers import lbfgs
from irrev.errors import InputError
from tests.closed_forms import SPIN_CHAINS

EXACT = 1e-8
MIXED = SPIN_CHAINS[2]


def bound(chain, names):
    before, after, p = chain.steps()
    table = observable_table(before, after, names)
    return lbfgs(Dual(table, table.total(p), p)).value_train


@pytest.mark.parametrize("names", ["pair", "pair+lin", "pair+lin+triple"])
def test_observable_table__population_bounds_match_the_reference(names):
    assert bound(MIXED, names.split("+")) == pytest.approx(MIXED.known[names], abs=EXACT)


def test_observable_table__current_with_its_reverse_is_nested_between_pair_and_truth():
    current = bound(MIXED, ["current"])
    assert MIXED.known["pair"] - EXACT <= current <= MIXED.ep + EXACT


def test_observable_table__current_of_synchronous_updates_needs_its_reverse():
    """More than one spin changes: the explicit reverse keeps the bound valid."""
    chain = SPIN_CHAINS[1]
    assert bound(chain, ["current"]) <= chain.ep + EXACT
    assert bound(chain, ["current"]) > 0


def test_observable_table__rotor_pair_attains_the_entropy_production_of_a_lag():
    """dx = [[-1, w], [-w, -1]] x dt + sqrt(2) dW, w = 1: 4 sin^2(w t) / (e^{2t} - 1) per lag t.

    Gauss-Hermite sums over the four Gaussian ends, 28 nodes each.
    """
    for lag, known in ((0.1, 0.1800648043), (0.7, 0.5433574667)):
        move = expm(lag * np.array([[-1.0, 1.0], [-1.0, -1.0]]))
        node, weight = np.polynomial.hermite_e.hermegauss(28)
        z = np.stack(np.meshgrid(*[node] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
        p = np.prod(np.stack(np.meshgrid(*[weight] * 4, indexing="ij"), axis=-1), axis=-1).ravel()
        before = z[:, :2]
        after = before @ move.T + np.sqrt(1 - np.exp(-2 * lag)) * z[:, 2:]
        g = after[:, :1] * before[:, 1:] - before[:, :1] * after[:, 1:]
        table = ExplicitObservables.antisymmetric(g)
        fit = lbfgs(Dual(table, table.total(p / p.sum()), p / p.sum()))
        assert fit.value_train == pytest.approx(known, abs=EXACT)


def test_delayed_table__interleaved_chains_show_only_at_lag_two():
    """Even and odd times are independent copies: lag 1 alone 0, lag 2 alone the single chain."""
    rng = np.random.default_rng(1)
    copies = [MIXED.sample(20_000, rng)[:20_000] for _ in range(2)]
    path = np.empty((40_000, 3))
    path[::2], path[1::2] = copies
    lag_one = observable_table(path[:-1], path[1:], ["pair"])
    lag_two = observable_table(path[:-2], path[2:], ["pair"])
    values = [lbfgs(Dual(t, t.forward.mean(axis=0))).value_train for t in (lag_one, lag_two)]
    # 3 observables: noise 2 d / n = 1.5e-4; at lag 2 the sd of a mean over 40,000 steps.
    assert values[0] < 6 * 1.5e-4
    assert values[1] == pytest.approx(MIXED.known["pair"], abs=4 * np.sqrt(0.4 / 40_000))
    windows = delayed_table(path, 2)
    joint = lbfgs(Dual(windows, windows.forward.mean(axis=0))).value_train
    assert joint >= values[1] - 1e-3


def test_delayed_table__one_lag_is_the_pair_set():
    path = MIXED.sample(50, np.random.default_rng(0))
    np.testing.assert_array_equal(
        delayed_table(path, 1).forward, observable_table(path[:-1], path[1:], ["pair"]).forward
    )


def test_delayed_table__reading_a_window_backwards_changes_the_sign():
    path = MIXED.sample(4, np.random.default_rng(0))
    np.testing.assert_allclose(
        delayed_table(path, 4).forward, -delayed_table(path[::-1], 4).forward
    )


def test_angle_table__changes_sign_with_the_move(rng):
    before = rng.uniform(0, 6, (20, 4))
    after = before.copy()
    after[:, 2] += rng.normal(size=20)
    ahead, back = angle_table(before, after, 2), angle_table(after, before, 2)
    assert ahead.n_observables == 3
    np.testing.assert_allclose(ahead.forward, -back.forward, atol=1e-12)


def test_hierarchy_ep__levels_reach_their_population_bounds():
    """30,000 steps of the mixed chain: order 1 nothing, order 2 most, order 3 little."""
    est = hierarchy_ep(MIXED.sample(30_000, np.random.default_rng(3)))
    known = [0.0, MIXED.known["pair+lin"], MIXED.known["pair+lin+triple"]]
    error = (est.high - est.low) / 3.92
    assert np.all(np.abs(est.value - known) <= 4 * error + 2e-3)
    np.testing.assert_allclose(np.cumsum(est.added), est.value)
    assert est.added_low[1] > 0
    # The difference of two levels with common noise is known better than either.
    assert est.added_high[2] - est.added_low[2] < est.high[2] - est.low[2]
    assert list(est.n_observables) == [3, 6, 9]
    assert "lin+pair" in str(est)


def test_hierarchy_ep__refuses_levels_that_do_not_nest():
    with pytest.raises(InputError, match="does not hold"):
        hierarchy_ep(np.ones((500, 3)), levels=(("lin",), ("pair",)))
    with pytest.raises(InputError, match="use some of lin, pair"):
        observable_table(np.ones((5, 3)), np.ones((5, 3)), ["quadruple"])
