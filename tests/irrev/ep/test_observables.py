"""Sparse, dense and tabulated forms of the pair set give the same numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irrev.binning import SpikeBins
from irrev.ep import kernels
from irrev.ep.explicit import ExplicitObservables
from irrev.ep.observables import DensePairs, SpikePairs
from irrev.errors import InputError


def both_forms(seed, n_units, n_steps, activity):
    rng = np.random.default_rng(seed)
    states = rng.random((n_steps + 1, n_units)) < activity
    bins = SpikeBins.from_dense(states, 0.01)
    coded = 2.0 * states - 1.0
    sparse = SpikePairs(bins.indptr, bins.indices, np.arange(n_steps), n_units)
    return sparse, DensePairs(coded[:-1], coded[1:]), rng


@pytest.fixture(params=["compiled", "numpy"])
def kernel(request, monkeypatch):
    """Both ways to compute; the second is what a user without numba gets."""
    if request.param == "numpy":
        monkeypatch.setattr(kernels, "_compiled", lambda: None)
    return request.param


@pytest.mark.parametrize(("n_units", "activity"), [(2, 0.5), (9, 0.3), (40, 0.02), (70, 0.5)])
def test_spike_pairs__agree_with_dense_products(kernel, n_units, activity):
    """Sums of at most 70 x 70 terms near 1: rounding stays below 1e-10."""
    sparse, dense, rng = both_forms(1, n_units, 5000, activity)
    theta = rng.normal(size=sparse.n_observables)
    weights = rng.random(sparse.n_samples)
    weights /= weights.sum()
    np.testing.assert_allclose(sparse.values(theta), dense.values(theta), atol=1e-10)
    np.testing.assert_allclose(sparse.total(weights), dense.total(weights), atol=1e-10)
    np.testing.assert_allclose(sparse.metric().size, dense.metric().size, atol=1e-10)
    np.testing.assert_allclose(sparse.metric().field, dense.metric().field, atol=1e-10)
    rows = np.arange(100)
    np.testing.assert_array_equal(sparse.columns(rows), dense.columns(rows))


@given(st.integers(0, 10_000), st.integers(2, 12), st.floats(0.01, 0.9))
def test_spike_pairs__values_are_theta_times_the_table(seed, n_units, activity):
    sparse, _, rng = both_forms(seed, n_units, 50, activity)
    theta, weights = rng.normal(size=sparse.n_observables), rng.random(50)
    table = ExplicitObservables.antisymmetric(sparse.columns(np.arange(50)))
    np.testing.assert_allclose(sparse.values(theta), table.values(theta), atol=1e-11)
    np.testing.assert_allclose(sparse.total(weights), table.total(weights), atol=1e-11)
    np.testing.assert_allclose(
        sparse.reverse_values(theta), table.reverse_values(theta), atol=1e-11
    )
    np.testing.assert_allclose(
        sparse.reverse_total(weights), table.reverse_total(weights), atol=1e-11
    )


def test_spike_pairs__single_precision_is_within_its_rounding():
    """26 x 26 couplings near 1 in float32: 6e-8 x 676 x 4, worst case."""
    sparse, _, rng = both_forms(2, 300, 2000, 0.088)
    single = SpikePairs(sparse.indptr, sparse.indices, sparse.starts, 300, single=True)
    theta = rng.uniform(-1, 1, sparse.n_observables)
    np.testing.assert_allclose(single.values(theta), sparse.values(theta), atol=1.6e-4)


def test_spike_pairs__subsets_add_up(kernel):
    """The sum over samples does not depend on how they are cut."""
    sparse, _, rng = both_forms(3, 12, 3000, 0.2)
    weights = rng.random(3000)
    parts = np.split(np.arange(3000), [17, 1000, 2047])
    total = sum(sparse.take(rows).total(weights[rows]) for rows in parts)
    np.testing.assert_allclose(total, sparse.total(weights), rtol=1e-10, atol=1e-9)


def test_pair_metric__inverts_the_covariance_of_independent_units():
    """White spikes: the closed form is exact, so it agrees with a sample covariance.

    400,000 samples of 6 observables: entries of K err by sd / sqrt(n) = 0.2 % of the largest.
    """
    _, dense, _ = both_forms(4, 4, 400_000, 0.15)
    g = dense.columns(np.arange(dense.n_samples))
    metric = dense.metric()
    inverse = np.stack([metric.inverse(v) for v in np.eye(6)])
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-12)
    np.testing.assert_allclose(inverse @ np.cov(g.T), np.eye(6), atol=0.03)


def test_explicit_observables__names_shapes_that_differ():
    with pytest.raises(InputError, match=r"\(3, 2\), reverse \(3, 1\); pass two tables"):
        ExplicitObservables(np.zeros((3, 2)), np.zeros((3, 1)))
