import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from irrev.errors import InputError
from irrev.semantic.faithfulness import (
    check_counts,
    exact_divergence,
    frequencies,
    restricted_divergence,
    smooth_divergence,
    to_faithfulness,
)

ROUNDING = 1e-12  # sums of some tens of terms of order one
pairs = arrays(np.int64, (2, 6), elements=st.integers(0, 40)).filter(lambda n: n.sum(1).all())


@pytest.mark.parametrize(
    ("question", "answer", "divergence", "faithfulness"),
    [
        ((0.5, 0.5), (0.9, 0.1), 0.368064, 0.730960),
        ((0.5, 0.25, 0.25), (0.25, 0.25, 0.5), 0.173287, 0.852307),
        ((0.2, 0.8), (0.2, 0.8), 0.0, 1.0),
        ((0.5, 0.5, 0.0), (0.25, 0.25, 0.5), np.inf, 0.0),
    ],
)
def test_exact_divergence__matches_closed_forms(question, answer, divergence, faithfulness):
    d = exact_divergence(np.array([question]), np.array([answer]))[0]
    assert d == pytest.approx(divergence, abs=5e-7)  # six printed decimals
    assert to_faithfulness(d) == pytest.approx(faithfulness, abs=5e-7)


def test_restricted_divergence__reproduces_the_published_group_means(released):
    """Published: 0.906 for comprehensive questions, 0.780 for focused ones."""
    cut = restricted_divergence(released.question, released.answer)
    sf = to_faithfulness(cut.divergence)
    assert sf[released.group == "A"].mean() == pytest.approx(0.9056, abs=5e-5)
    assert sf[released.group == "B"].mean() == pytest.approx(0.7798, abs=5e-5)
    assert round(sf[released.group == "A"].mean(), 3) == 0.906
    assert round(sf[released.group == "B"].mean(), 3) == 0.780
    dropped = 1 - cut.kept_mass
    assert (dropped.min(), dropped.max()) == pytest.approx((0.381, 0.655), abs=5e-4)


def test_exact_divergence__is_infinite_on_every_released_triplet(released):
    assert np.isinf(exact_divergence(released.question, released.answer)).all()


@pytest.mark.parametrize(("alpha", "sf"), [(0.05, 0.449), (0.1, 0.538), (0.5, 0.787), (1, 0.875)])
def test_smooth_divergence__depends_on_alpha_as_derived(released, alpha, sf):
    d = smooth_divergence(released.question[0], released.answer[0], alpha=alpha)
    assert to_faithfulness(d) == pytest.approx(sf, abs=5e-4)


@given(pairs, st.permutations(range(6)))
def test_divergences__ignore_the_order_of_topics(n, order):
    q, a = n[:1], n[1:]
    for form in (
        exact_divergence,
        smooth_divergence,
        lambda x, y: restricted_divergence(x, y).divergence,
    ):
        assert form(q[:, order], a[:, order]) == pytest.approx(form(q, a), abs=ROUNDING)


@given(pairs)
def test_exact_divergence__merging_topics_never_raises_it(n):
    merged = np.concatenate([n[:, :4], n[:, 4:].sum(1, keepdims=True)], axis=1)
    assert exact_divergence(*merged) <= exact_divergence(*n) + ROUNDING


def test_exact_divergence__merging_topics_of_equal_ratio_changes_nothing():
    q, a = np.array([6, 2, 4]), np.array([3, 1, 8])
    assert exact_divergence(np.array([8, 4]), np.array([4, 8])) == pytest.approx(
        exact_divergence(q, a), abs=ROUNDING
    )


@given(pairs)
def test_divergences__an_empty_topic_changes_all_but_the_smoothed(n):
    wider = np.concatenate([n, np.zeros((2, 1), np.int64)], axis=1)
    assert exact_divergence(*wider) == pytest.approx(exact_divergence(*n), abs=ROUNDING)
    cut, wide_cut = restricted_divergence(*n), restricted_divergence(*wider)
    assert wide_cut.divergence == pytest.approx(cut.divergence, abs=ROUNDING)
    assert wide_cut.kept_mass == pytest.approx(cut.kept_mass, abs=ROUNDING)


@given(pairs)
def test_divergences__stay_within_their_bounds(n):
    p_q, p_a = frequencies(n)
    variation = 0.5 * np.abs(p_q - p_a).sum()
    assert exact_divergence(*n) >= 2 * variation**2 - ROUNDING  # Pinsker
    cut = restricted_divergence(*n)
    assert 0 <= cut.kept_mass <= 1 + ROUNDING
    for d in (exact_divergence(*n), smooth_divergence(*n), cut.divergence):
        assert 0 <= to_faithfulness(d) <= 1


@given(pairs)
def test_divergences__an_answer_that_follows_the_question_scores_one(n):
    assert to_faithfulness(exact_divergence(n[0], n[0])) == 1
    assert to_faithfulness(smooth_divergence(n[0], n[0])) == 1


def test_divergences__a_batch_equals_a_loop(released):
    batch = smooth_divergence(released.question, released.answer)
    pairs = zip(released.question, released.answer, strict=True)
    assert [float(smooth_divergence(q, a)) for q, a in pairs] == pytest.approx(batch, abs=ROUNDING)


def test_divergences__an_empty_text_is_nan_and_never_zero():
    full, empty = np.array([[1, 2]]), np.array([[0, 0]])
    for q, a in ((full, empty), (empty, full)):
        assert np.isnan(exact_divergence(q, a)).all()
        assert np.isnan(smooth_divergence(q, a)).all()
        assert np.isnan(restricted_divergence(q, a).divergence).all()


def test_restricted_divergence__nothing_in_common_scores_zero():
    cut = restricted_divergence(np.array([[1, 0]]), np.array([[0, 1]]))
    assert cut.divergence == [np.inf]
    assert cut.kept_mass == [0]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (([[1, 2]], [[1, 2, 3]]), r"shapes.*over the same topics"),
        (([[1, -2]], [[1, 2]]), r"run down to -2"),
        (([[1, np.nan]], [[1, 2]]), r"finite"),
    ],
)
def test_check_counts__says_how_to_mend(counts, message):
    with pytest.raises(InputError, match=message):
        check_counts(*map(np.array, counts))
