"""Observable sets: products against columns, windows, sparse against dense."""

import numpy as np
import pytest

from irrev.binning import SpikeBins
from irrev.ep.composite import Restricted, Windows
from irrev.ep.maxent import maxent_ep
from irrev.ep.samples import SETS, build_samples
from irrev.ep.sets import DenseSteps, ProductSet, set_spec
from irrev.errors import InputError
from tests.closed_forms import SPIN_CHAINS

MIXED = SPIN_CHAINS[2]


@pytest.mark.parametrize("name", [n for n in SETS if n != "delayed"])
@pytest.mark.parametrize("forward", [True, False])
def test_sets__products_are_theta_times_the_columns(name, forward, rng):
    states = rng.uniform(0, 6, (400, 5)) if name == "angles" else rng.choice([-1.0, 1.0], (400, 5))
    observables = build_samples(states, observables=(name,)).observables
    theta, w = rng.normal(size=observables.n_observables), rng.random(399)
    rows = np.arange(399)
    columns = observables.columns(rows) if forward else observables.reverse_columns(rows)
    values = observables.values(theta) if forward else observables.reverse_values(theta)
    total = observables.total(w) if forward else observables.reverse_total(w)
    np.testing.assert_allclose(values, columns @ theta, atol=1e-11)
    np.testing.assert_allclose(total, w @ columns, atol=1e-10)
    chosen = np.flatnonzero(rng.random(observables.n_observables) < 0.4)
    table = observables.select(chosen)
    read = table.columns(rows) if forward else table.reverse_columns(rows)
    np.testing.assert_allclose(read, columns[:, chosen], atol=1e-6)  # single precision
    if not forward:
        backwards = build_samples(states[::-1].copy(), observables=(name,)).observables
        np.testing.assert_allclose(columns, backwards.columns(rows)[::-1], atol=1e-12)


@pytest.mark.parametrize("name", ["lin", "same-time", "triple", "current"])
def test_product_set__sizes_are_those_of_the_columns(name, rng):
    observables = ProductSet(
        DenseSteps(rng.normal(size=(3000, 4)).cumsum(axis=0) % 3, np.arange(2999)),
        set_spec(name, 4),
    )
    rows = np.arange(2999)
    spread = [observables.columns(rows).var(axis=0)]
    if not observables.odd:
        spread.append(observables.reverse_columns(rows).var(axis=0))
    np.testing.assert_allclose(observables.metric().size ** 2, np.mean(spread, axis=0), rtol=1e-9)


@pytest.mark.parametrize("names", [("lin",), ("lin", "pair", "delayed"), ("same-time", "triple")])
def test_sets__sparse_and_dense_spikes_agree(names, rng):
    spikes = rng.random((500, 4)) < 0.1
    spikes[200:240] = False
    bins = SpikeBins.from_dense(spikes, 0.01, [(0, 230), (240, 500)])
    window = 3 if "delayed" in names else 1
    sparse = build_samples(bins, observables=names, window=window)
    dense = build_samples(2.0 * spikes - 1.0, observables=names, window=window)
    dense = dense.take(np.flatnonzero(np.isin(dense.starts, sparse.starts)))
    few = rng.permutation(sparse.starts.size)[:100]
    a, b = (s.observables.take(np.sort(few)) for s in (sparse, dense))
    theta, w = rng.normal(size=a.n_observables), rng.random(100)
    np.testing.assert_allclose(a.values(theta), b.values(theta), atol=2e-6)  # float32 couplings
    np.testing.assert_allclose(a.total(w), b.total(w), atol=1e-10)
    np.testing.assert_allclose(a.columns(np.arange(50)), b.columns(np.arange(50)), atol=1e-12)


def test_windows__match_their_definition_and_change_sign_backwards(rng):
    """theta . g = sum over lags and places in the window, written out."""
    path = rng.choice([-1.0, 1.0], (60, 3))
    samples = build_samples(path, observables=("pair", "delayed"), window=3)
    i, j = np.triu_indices(3, 1)
    expected = [
        np.sum(
            [path[t + u + m, i] * path[t + u, j] - path[t + u, i] * path[t + u + m, j]
             for u in range(4 - m)],
            axis=0,
        )
        for t in range(57)
        for m in (1, 2, 3)
    ]  # fmt: skip
    columns = samples.observables.columns(np.arange(57))
    np.testing.assert_allclose(columns, np.reshape(expected, (57, 9)))
    back = build_samples(path[::-1].copy(), observables=("pair", "delayed"), window=3)
    np.testing.assert_allclose(columns, -back.observables.columns(np.arange(57))[::-1])
    assert isinstance(samples.parts[1].observables, Windows)


def test_restricted__is_the_set_with_other_couplings_zero(rng):
    path = rng.choice([-1.0, 1.0], (200, 4))
    whole = build_samples(path).observables
    part = Restricted(whole, np.array([1, 4]))
    theta = rng.normal(size=2)
    full = np.zeros(6)
    full[[1, 4]] = theta
    np.testing.assert_allclose(part.values(theta), whole.values(full))
    np.testing.assert_allclose(part.total(np.ones(199)), whole.total(np.ones(199))[[1, 4]])


def test_maxent_ep__every_set_runs_through_folds_interval_and_null():
    """Mixed chain: held-out values of nested sets keep their order within the interval."""
    path = MIXED.sample(20_000, np.random.default_rng(7))
    values = {}
    for names, window in (("pair", 1), ("pair+lin", 1), ("pair+lin+triple", 1), ("current", 1)):
        est = maxent_ep(path, observables=names.split("+"), window=window)
        error = (est.high - est.low) / 3.92
        assert est.p == pytest.approx(1 / 201)
        assert est.value <= MIXED.ep + 4 * error
        assert set(est.coefficients) == set(names.split("+"))
        if names in MIXED.known:
            assert est.value == pytest.approx(MIXED.known[names], abs=4 * error + 2e-3)
        values[names] = est.value
    assert values["current"] > values["pair"] - 2e-3


def test_maxent_ep__lag_and_window_are_bounds_per_step():
    """A Markov chain: D(window L) <= L ep and D(lag) <= lag ep."""
    path = MIXED.sample(20_000, np.random.default_rng(8))
    for options in ({"lag": 2}, {"window": 3, "observables": ("pair", "delayed")}):
        est = maxent_ep(path, **options, trajectory=True)
        error = (est.high - est.low) / 3.92
        assert 0 < est.value <= MIXED.ep + 4 * error
        assert np.mean(est.trajectory) == pytest.approx(est.value, abs=1e-12)
        assert est.step.size == est.n_steps


def test_maxent_ep__user_supplied_observables_with_their_reverse():
    """The two halves of each pair without antisymmetry hold the pair set: a bound above it."""
    from irrev.ep.explicit import ExplicitObservables

    path = MIXED.sample(20_000, np.random.default_rng(9))
    before, after = path[:-1], path[1:]
    i, j = np.triu_indices(3, 1)

    def halves(x0, x1):
        return np.hstack([x1[:, i] * x0[:, j], x1[:, j] * x0[:, i]])

    given = maxent_ep(ExplicitObservables(halves(before, after), halves(after, before)))
    pair = maxent_ep(path)
    error = (pair.high - pair.low) / 3.92
    assert given.value >= pair.value - error
    assert given.value <= MIXED.ep + 4 * error
    assert given.p == pytest.approx(1 / 201)
    assert given.coefficients["given"].size == 6
    assert given.observables == ("given",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observables": None}, "observables is None; name sets"),
        ({"observables": ("pears",)}, "pears.*use some of lin, pair"),
        ({"observables": ("pair", "pair")}, "each once"),
        ({"observables": ("delayed",)}, "set window to 2"),
        ({"lag": 2, "window": 2}, "only one of them above 1"),
        ({"observables": ("angles", "pair")}, "stands alone"),
    ],
)
def test_maxent_ep__says_how_to_mend_bad_sets(options, message):
    with pytest.raises(InputError, match=message):
        maxent_ep(MIXED.sample(500, np.random.default_rng(0)), **options)


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_maxent_ep__refuses_states_whose_products_are_no_numbers(size, rng):
    with pytest.raises(InputError, match="states vary by"):
        maxent_ep(size * rng.normal(size=(500, 2)))
