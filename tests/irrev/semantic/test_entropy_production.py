import numpy as np
import pytest

from irrev.semantic.entropy_production import independent_ep, system_entropy_change
from irrev.semantic.faithfulness import (
    restricted_divergence,
    smooth_divergence,
    smoothed,
    to_faithfulness,
)


def test_independent_ep__is_the_divergence_of_context_from_answer():
    p_c, p_a = np.array([[0.2, 0.8]]), np.array([[0.5, 0.5]])
    expected = 0.2 * np.log(0.4) + 0.8 * np.log(1.6)
    assert independent_ep(p_c, p_a) == pytest.approx(expected, abs=1e-15)


def test_system_entropy_change__is_the_rise_from_context_to_answer():
    one, even = np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])
    assert system_entropy_change(one, even) == pytest.approx(np.log(2), abs=1e-15)


def test_independent_ep__falls_with_faithfulness_on_the_released_triplets(released):
    """The paper's claim on its own data; correlations derived for alpha = 0.5."""
    ep = independent_ep(smoothed(released.context), smoothed(released.answer))
    smooth = to_faithfulness(smooth_divergence(released.question, released.answer))
    cut = restricted_divergence(released.question, released.answer)
    assert np.corrcoef(smooth, ep)[0, 1] == pytest.approx(-0.97, abs=5e-3)
    restricted = to_faithfulness(cut.divergence)
    assert np.corrcoef(restricted, ep)[0, 1] == pytest.approx(-0.78, abs=6e-3)


def test_minimal_reverse_matrix__makes_the_published_entropy_production_zero(rng):
    """With proper reverse constraints the optimum is the Bayes inverse: a total of zero."""
    p_c, A = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(4), size=4)
    p_a = p_c @ A
    joint = p_c[:, None] * A
    medium = np.sum(joint * np.log(A / (joint / p_a)))
    change = system_entropy_change(p_c[None], p_a[None])[0]
    assert change + medium == pytest.approx(0, abs=1e-12)
    # Any other reverse law with the same marginals costs more: move mass around a square.
    for _ in range(20):
        i, k = rng.choice(4, 2, replace=False)
        j, m = rng.choice(4, 2, replace=False)
        other = joint.copy()
        moved = 0.5 * rng.random() * min(other[i, j], other[k, m])
        other[[i, k], [j, m]] -= moved
        other[[i, k], [m, j]] += moved
        assert np.sum(joint * np.log(A / (other / p_a))) >= medium
