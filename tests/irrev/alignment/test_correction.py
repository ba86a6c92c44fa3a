"""Class laws corrected for classifier errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from irrev.alignment.correction import (
    correct_counts,
    correct_posteriors,
    draw_confusion,
    identify,
    smoothed_confusion,
)
from irrev.entropy import entropy
from irrev.errors import InputError

LAW = np.array([0.9, 0.04, 0.03, 0.02, 0.01])
C = 0.75 * np.eye(5) + 0.05


def test_correct_counts__undoes_the_entropy_that_errors_add():
    assert float(entropy(LAW)) == pytest.approx(0.453068, abs=5e-7)
    assert float(entropy(LAW @ C)) == pytest.approx(0.967346, abs=5e-7)
    corrected = correct_counts(1000 * LAW @ C, C)
    assert float(entropy(corrected)) == pytest.approx(0.453068, abs=1e-6)


@given(arrays(np.int64, 5, elements=st.integers(0, 40)).filter(lambda n: n.sum() > 0))
def test_correct_counts__stays_on_the_simplex_where_the_inverse_leaves_it(counts):
    law = correct_counts(counts, C)
    assert law.min() >= 0
    assert law.sum() == pytest.approx(1)


def test_correct_counts__perfect_classifier_changes_nothing(rng):
    counts = rng.integers(1, 50, size=(4, 5))
    expected = counts / counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(correct_counts(counts, np.eye(5)), expected, atol=1e-9)


def test_correct_counts__takes_one_matrix_a_replicate(rng):
    counts, many = rng.integers(1, 50, size=(3, 5)), draw_confusion(100 * C, 3, rng)
    together = correct_counts(counts, many)
    for row, matrix, law in zip(counts, many, together, strict=True):
        np.testing.assert_allclose(correct_counts(row, matrix), law, atol=1e-7)


def test_correct_posteriors__finds_a_shifted_law(rng):
    """Exact posteriors of two unit Gaussians two apart; s.e. of a share of n texts, times 2."""
    n, prior, law = 4000, np.array([0.5, 0.5]), np.array([0.85, 0.15])
    x = rng.normal(np.where(rng.random(n) < law[1], 1.0, -1.0), 1.0)
    odds = np.exp(2 * x)
    P = np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1)
    # errors inflate the binomial spread: half the labels' information is left at this distance
    assert correct_posteriors(P, prior)[0] == pytest.approx(0.85, abs=4 * 2 * 0.357 / n**0.5)


def test_identify__marks_a_class_that_looks_like_another(rng):
    counts = np.array([[80, 10, 10], [10, 45, 45], [10, 44, 46]])
    found = identify(counts, rng)
    assert found.unidentified.tolist() == [False, True, True]
    assert found.nearest[1:].tolist() == [2, 1]
    assert found.ill_conditioned


def test_identify__marks_a_class_without_examples(rng):
    found = identify(np.diag([100, 100, 0]), rng)
    assert found.unidentified.tolist() == [False, False, True]


def test_identify__condition_is_that_of_the_smoothed_matrix(rng):
    counts = np.round(1000 * C)
    found = identify(counts, rng)
    assert found.condition == pytest.approx(np.linalg.cond(smoothed_confusion(counts)))
    assert not found.unidentified.any()


def test_correct_counts__wants_rows_that_sum_to_one():
    with pytest.raises(InputError, match="each summing to one"):
        correct_counts(np.ones(5), np.ones((5, 5)))
