"""Posteriors of semantic questions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from irrev.diffusion.partitions import (
    decide,
    finest,
    hierarchy,
    pairs,
    partition,
    prior_entropy,
    true_sets,
)
from irrev.errors import InputError

COLUMNS = {c: c for c in range(6)}


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 50))
def test_decide__chain_rule_holds_on_every_state(seed, scale):
    """H(C|x) = H(S|x) + sum p(S|x) H(C|x,S) to 1e-10."""
    logits = torch.tensor(np.random.default_rng(seed).normal(size=(20, 6)) * scale)
    whole = decide(logits, finest(range(6)), COLUMNS)
    question = partition("q", [[0, 3], [1, 2, 5], [4]])
    parts = decide(logits, question, COLUMNS)
    torch.testing.assert_close(whole.entropy, parts.entropy + parts.within, rtol=0, atol=1e-10)
    torch.testing.assert_close(parts.probability.sum(1), torch.ones(20, dtype=torch.float64))


def test_decide__sets_need_not_cover_all_classes():
    """P2's rule for two classes: p(z0|x) = p(c1|x)/(p(c1|x) + p(c2|x))."""
    logits = torch.tensor(np.random.default_rng(0).normal(size=(9, 6)))
    p = torch.softmax(logits, 1)
    got = decide(logits, partition("3/5", [[3], [5]]), COLUMNS).probability[:, 0]
    torch.testing.assert_close(got, p[:, 3] / (p[:, 3] + p[:, 5]))


def test_decide__certain_states_have_no_entropy_and_no_nan():
    logits = torch.tensor([[0.0, -torch.inf, -torch.inf], [0.0, -1e4, -1e4]], dtype=torch.float64)
    decision = decide(logits, finest(range(3)), COLUMNS)
    assert decision.entropy.tolist() == [0.0, 0.0]


def test_true_sets__marks_strangers():
    question = partition("q", [[0, 3], [4]])
    assert true_sets(torch.tensor([0, 3, 4, 1]), question).tolist() == [0, 0, 1, -1]


def test_pairs__has_each_pair_once():
    assert [q.name for q in pairs([1, 4, 7])] == ["1/4", "1/7", "4/7"]


def test_hierarchy__one_question_a_node():
    tree = {"animal": {"cat": [0, 1], "dog": [2]}, "thing": [3]}
    top, below = hierarchy(tree)
    assert (top.sets, below.sets) == (((0, 1, 2), (3,)), ((0, 1), (2,)))
    assert (below.name, below.set_names) == ("animal", ("cat", "dog"))


def test_prior_entropy__renormalises_to_the_question():
    prior = np.array([0.5, 0.25, 0.25])
    assert prior_entropy(prior, partition("q", [[1], [2]])) == pytest.approx(np.log(2))


@pytest.mark.parametrize("sets", [[[0]], [[0], []], [[0, 1], [1]]])
def test_partition__says_what_sets_are_allowed(sets):
    with pytest.raises(InputError, match="at least two, none empty, no class twice"):
        partition("q", sets)
