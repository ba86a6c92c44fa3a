import numpy as np
import pytest

from irrev.semantic import uncertainty as module
from irrev.semantic.faithfulness import restricted_divergence, smooth_divergence, to_faithfulness
from irrev.semantic.uncertainty import faithfulness_spread, permuted_divergence


def sentences(counts):
    return np.repeat(np.eye(len(counts)), counts, axis=0)


def of(released, i, **options):
    question, answer = sentences(released.question[i]), sentences(released.answer[i])
    return faithfulness_spread(question, answer, rng=np.random.default_rng(i), **options)


@pytest.mark.parametrize(
    ("i", "p", "excess"),
    [(0, 0.69, -0.04), (2, 0.91, -0.10), (5, 0.06, 0.16), (8, 0.03, 0.18)],
)
def test_faithfulness_spread__permutation_reproduces_the_reference_p(released, i, p, excess):
    """Reference to 0.01; two runs of 999 reshuffles differ by up to 4 sqrt(2 p (1 - p) / 999)."""
    spread = of(released, i)
    assert spread.p_perm == pytest.approx(p, abs=4 * np.sqrt(2 * p * (1 - p) / 999) + 0.005)
    # Median of 999 draws with a spread of about 0.06: 1.25 * 0.06 / sqrt(999), twice, x 4.
    assert spread.excess == pytest.approx(excess, abs=0.015)


def test_faithfulness_spread__the_posterior_never_holds_the_released_points(released):
    """That is why it is no error bar."""
    point = to_faithfulness(smooth_divergence(released.question, released.answer))
    for i in range(10):
        spread = of(released, i, permutations=1)
        assert spread.post_low < spread.post_median < spread.post_high < point[i]
    first = of(released, 0, permutations=1)
    assert (first.post_low, first.post_high) == pytest.approx((0.29, 0.61), abs=0.03)


def test_faithfulness_spread__pieces_change_no_draw(released, monkeypatch):
    whole = of(released, 0)
    monkeypatch.setattr(module, "MOST_CELLS", 5_000)
    assert of(released, 0) == whole


def test_faithfulness_spread__small_alpha_stays_finite(released):
    spread = of(released, 0, alpha=0.01)
    assert 0 <= spread.post_low <= spread.post_high <= 1


def test_permutation_p__is_uniform_when_question_and_answer_are_one_mix(rng):
    """P(p <= 0.1) and P(p <= 0.5) within binomial error; ties make the test conservative only."""
    law, identity, n = rng.dirichlet(np.ones(8)), np.eye(8), 400
    p = np.empty(n)
    for k in range(n):
        question, answer = (identity[rng.choice(8, m, p=law)] for m in (12, 40))
        null = permuted_divergence(question, answer, rng=rng, permutations=99)
        d = smooth_divergence(question.sum(0), answer.sum(0))
        p[k] = (1 + np.sum(null >= d - 1e-12)) / 100
    for level in (0.1, 0.5):
        error = np.sqrt(level * (1 - level) / n)
        assert np.mean(p <= level) <= level + 4 * error
        assert np.mean(p <= level) >= level - 4 * error - 0.05


def test_permutation_p__is_small_for_two_mixes(rng):
    question, answer = np.eye(4)[np.zeros(10, int)], np.eye(4)[rng.integers(1, 4, 40)]
    spread = faithfulness_spread(question, answer, rng=rng, draws=10)
    assert spread.p_perm == 1 / 1000
    assert spread.excess > 0


def test_short_questions__lower_the_score_of_a_perfect_answer(released):
    """10 against 100 sentences of one law: mean smoothed 0.746, restricted 0.822 (references).

    2000 draws; a standard deviation near 0.06 gives 0.0013 a mean, the reference as much again.
    """
    rng = np.random.default_rng(0)
    law = released.answer[0] / released.answer[0].sum()
    q, a = rng.multinomial(10, law, 2000), rng.multinomial(100, law, 2000)
    smooth = to_faithfulness(smooth_divergence(q, a))
    restricted = to_faithfulness(restricted_divergence(q, a).divergence)
    assert smooth.mean() == pytest.approx(0.746, abs=0.008)
    assert restricted.mean() == pytest.approx(0.822, abs=0.008)
    assert np.quantile(smooth, 0.05) == pytest.approx(0.647, abs=0.02)
