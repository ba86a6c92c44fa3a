import numpy as np
import pytest

from irrev.errors import InputError
from irrev.semantic.ranking import rank_labels


def test_rank_labels__counts_pairs_and_halves_ties(rng):
    score = np.array([3.0, 1.0, 2.0, 1.0, np.nan])
    label = np.array([True, True, False, False, True])
    r = rank_labels(score, label, list("abcde"), rng=rng)
    assert r.n_pairs == 4
    assert r.auroc == pytest.approx((1 + 1 + 0 + 0.5) / 4)


def test_rank_labels__a_score_that_knows_the_question_only_is_worth_nothing_within_it(rng):
    hard = rng.random(200)
    question = np.repeat(np.arange(200), 2).astype(str)
    label = rng.random(400) > np.repeat(hard, 2)
    score = -np.repeat(hard, 2) + 0.001 * rng.normal(size=400)
    assert rank_labels(score, label, list(question), rng=rng).low > 0.7
    inside = rank_labels(score, label, list(question), same_question=True, rng=rng)
    assert inside.low < 0.5 < inside.high


def test_rank_labels__a_score_that_knows_the_length_only_falls_to_a_half(rng):
    words = rng.integers(20, 200, 300)
    label = rng.random(300) < words / 220
    names = [str(i) for i in range(300)]
    assert rank_labels(words, label, names, rng=rng).low > 0.6
    # Within a tenth the length still says a little: at most a tenth of its full reach.
    assert rank_labels(words, label, names, n_words=words, rng=rng).auroc < 0.58


def test_rank_labels__intervals_cover_a_half_for_a_score_without_knowledge():
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        question = np.repeat(np.arange(60), 3).astype(str)
        r = rank_labels(rng.random(180), rng.random(180) < 0.5, list(question), rng=rng, draws=200)
        covered += r.low <= 0.5 <= r.high
    assert covered >= 95 - 4 * np.sqrt(100 * 0.95 * 0.05)


def test_rank_labels__without_a_pair_there_is_no_number(rng):
    r = rank_labels(np.ones(2), np.array([True, True]), ["a", "b"], rng=rng)
    assert r.n_pairs == 0
    assert np.isnan(r.auroc)


def test_rank_labels__says_how_to_mend(rng):
    with pytest.raises(InputError, match="give one each"):
        rank_labels(np.ones(2), np.ones(3, bool), ["a", "b"], rng=rng)


@pytest.mark.parametrize(("n", "low"), [(1, 0.025), (5, 0.025**0.2)])
def test_rank_labels__few_questions_give_the_exact_binomial_interval(n, low, rng):
    score, label = np.array([1.0, 0.0] * n), np.array([True, False] * n)
    question = [str(k // 2) for k in range(2 * n)]
    won = rank_labels(score, label, question, same_question=True, rng=rng)
    assert (won.auroc, won.low, won.high) == pytest.approx((1.0, low, 1.0))
    lost = rank_labels(-score, label, question, same_question=True, rng=rng)
    assert (lost.auroc, lost.low, lost.high) == pytest.approx((0.0, 0.0, 1.0 - low))
