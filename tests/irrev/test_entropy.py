"""Entropies of probability arrays and of counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from irrev import entropy as ent
from irrev.errors import InputError

COUNTS = [12, 3, 2, 2, 1]
laws = arrays(np.float64, 5, elements=st.floats(1e-6, 1.0)).map(lambda w: w / w.sum())
tables = arrays(np.int64, (3, 4), elements=st.integers(0, 60))


@given(laws)
def test_entropy__lies_between_zero_and_ln_k(p):
    assert -1e-12 <= ent.entropy(p) <= np.log(5) + 1e-12


@given(laws, laws)
def test_cross_entropy__is_entropy_plus_kl(p, q):
    total = ent.entropy(p) + ent.kl_divergence(p, q)
    assert ent.cross_entropy(p, q) == pytest.approx(total, abs=1e-10)


@given(laws, laws)
def test_js_divergence__is_symmetric_and_at_most_ln_2(p, q):
    value = ent.js_divergence(p, q)
    assert value == pytest.approx(ent.js_divergence(q, p), abs=1e-12)
    assert 0 <= value <= np.log(2) + 1e-12


def test_kl_divergence__is_infinite_outside_the_support():
    assert ent.kl_divergence([0.5, 0.5], [1.0, 0.0]) == np.inf
    assert ent.kl_divergence([1.0, 0.0], [0.5, 0.5]) == pytest.approx(np.log(2))


def test_entropy__says_how_to_mend_counts_given_as_probabilities():
    with pytest.raises(InputError, match=r"sum to 20 .* plugin_entropy for counts"):
        ent.entropy(COUNTS)


@pytest.mark.parametrize(
    ("estimator", "expected", "tolerance"),
    [
        ("plugin", 1.201367, 5e-7),
        ("miller_madow", 1.301367, 5e-7),
        ("dirichlet", 1.202395, 5e-7),
        ("nsb", 1.28043, 1e-3),
    ],
)
def test_estimate_entropy__matches_reference_values(estimator, expected, tolerance):
    """Values to six digits; NSB to the error of its trapezoid sum."""
    assert ent.estimate_entropy(COUNTS, estimator=estimator) == pytest.approx(
        expected, abs=tolerance
    )


def test_dirichlet_entropy__moments_match_monte_carlo(rng):
    n = 200_000
    p = rng.dirichlet(np.array(COUNTS) + 0.5, size=n)
    draws = ent.entropy(p)
    moments = ent.dirichlet_entropy(COUNTS)
    assert moments.sd == pytest.approx(0.158423, abs=5e-7)
    assert draws.mean() == pytest.approx(moments.mean, abs=4 * draws.std() / np.sqrt(n))
    # standard error of a standard deviation: sd / sqrt(2n), up to the excess kurtosis
    assert draws.std() == pytest.approx(moments.sd, abs=4 * 1.2 * draws.std() / np.sqrt(2 * n))


@pytest.mark.parametrize(
    ("law", "biases"),
    [
        ((0.9, 0.04, 0.03, 0.02, 0.01), (-0.096, -0.058, 0.148, -0.010)),
        ((0.6, 0.2, 0.1, 0.06, 0.04), (-0.110, -0.031, -0.049, -0.025)),
        ((0.2,) * 5, (-0.108, -0.009, -0.166, -0.094)),
    ],
)
def test_estimate_entropy__bias_at_twenty_counts_is_as_tabulated(law, biases, rng):
    """Two runs of 4,000 samples each: the difference has s.e. sqrt(2) sd / sqrt(4000)."""
    counts = rng.multinomial(20, law, size=4000)
    truth = float(ent.entropy(law))
    for name, bias in zip(("plugin", "miller_madow", "dirichlet", "nsb"), biases, strict=True):
        error = ent.estimate_entropy(counts, estimator=name) - truth
        tolerance = 4 * np.sqrt(2) * error.std() / np.sqrt(4000) + 0.0005
        assert error.mean() == pytest.approx(bias, abs=tolerance), name


@given(tables, st.permutations(range(4)))
def test_estimate_entropy__ignores_the_order_of_classes(counts, order):
    for name in ("plugin", "miller_madow", "dirichlet", "nsb"):
        one = ent.estimate_entropy(counts, estimator=name)
        other = ent.estimate_entropy(counts[:, order], estimator=name)
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_estimate_entropy__vectorises_over_leading_axes(rng):
    counts = rng.integers(0, 30, size=(2, 3, 5))
    for name in ("plugin", "miller_madow", "dirichlet", "nsb"):
        whole = ent.estimate_entropy(counts, estimator=name)
        one = ent.estimate_entropy(counts[1, 2], estimator=name)
        assert whole.shape == (2, 3)
        assert whole[1, 2] == pytest.approx(one, abs=1e-12)


def test_plugin_entropy__is_nan_without_counts():
    assert np.isnan(ent.plugin_entropy([0, 0, 0]))


def test_estimate_entropy__names_the_estimators_on_a_typo():
    with pytest.raises(InputError, match="plugin, miller_madow, dirichlet, nsb"):
        ent.estimate_entropy(COUNTS, estimator="nbs")
