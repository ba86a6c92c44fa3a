"""How well a score ranks labelled answers: all pairs, pairs of like length, the same question.

    auroc = sum_ij m_ij [s_i > s_j] / sum_ij m_ij,   i supported, j not, ties count 1/2    (1)

m_ij picks the pairs: all, those whose answers differ by few words, those on one question. A score
that only knows the length, or only the question, shines over all pairs and falls to 1/2 in the
others. Intervals resample questions, for answers to one question are not independent.

Source: Hanley, McNeil, Radiology 143, 29 (1982); the restriction to pairs is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from irrev.errors import InputError

FEW = 20  # questions; from fewer a bootstrap cannot tell how much others would differ
WORDS_APART = 2  # lengths count as equal within two words or a tenth of the longer answer
SHARE_APART = 0.1


@dataclass(frozen=True, slots=True)
class Ranking:
    """Probability that a supported answer has the larger score."""

    auroc: float  # 0..1, 1/2 for a score that knows nothing
    low: float  # 95 % over questions
    high: float
    n_pairs: int


def rank_labels(
    score: NDArray[np.floating],
    supported: NDArray[np.bool_],
    question: Sequence[str],
    *,
    n_words: NDArray[np.integer] | None = None,
    same_question: bool = False,
    rng: np.random.Generator,
    draws: int = 1000,
) -> Ranking:
    """Compute the pairwise ranking (1) with a bootstrap interval over questions.

    With fewer than 20 questions on either side the interval is at least the exact binomial one
    (Clopper and Pearson) of as many independent pairs: one pair won says 0.025 to 1.

    Parameters
    ----------
    score
        Larger for better supported answers, shape (answer,); NaN leaves an answer out.
    supported
        Labels, shape (answer,).
    question
        Question of each answer.
    n_words
        Words of each answer; if given, only pairs of like length count.
    same_question
        Only pairs on one question count.
    rng
        Source of the bootstrap.
    draws
        Bootstrap draws.

    Returns
    -------
        Ranking; NaN without any pair.

    Raises
    ------
    InputError
        If the shapes differ.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> rank_labels(np.array([0.9, 0.1]), np.array([True, False]), ["a", "a"], rng=rng).auroc
    1.0
    """
    score, supported = np.asarray(score, np.float64), np.asarray(supported, bool)
    names, group = np.unique(np.array(list(question), dtype=str), return_inverse=True)
    if not score.shape == supported.shape == group.shape:
        raise InputError(
            f"{score.shape} scores, {supported.shape} labels, {group.shape} questions; "
            "give one each."
        )
    good, bad = (np.flatnonzero(~np.isnan(score) & side) for side in (supported, ~supported))
    pairs = np.ones((good.size, bad.size), dtype=bool)
    if same_question:
        pairs &= group[good][:, None] == group[bad]
    if n_words is not None:
        words = np.asarray(n_words)
        longer = np.maximum(words[good][:, None], words[bad])
        apart = np.abs(words[good][:, None] - words[bad])
        pairs &= apart <= np.maximum(WORDS_APART, SHARE_APART * longer)
    left, right = score[good][:, None], score[bad]
    wins = np.where(pairs, (left > right) + 0.5 * (left == right), 0.0)
    if not pairs.any():
        return Ranking(np.nan, np.nan, np.nan, 0)
    weight = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    # A question drawn twice brings its own pairs twice, not four times.
    other = np.ones((draws, bad.size)) if same_question else weight[:, group[bad]]
    top, bottom = (
        (weight[:, group[good]] @ m * other).sum(1) for m in (wins, pairs.astype(np.float64))
    )
    values = np.divide(top, bottom, out=np.full(draws, np.nan), where=bottom > 0)
    low, high = np.nanquantile(values, (0.025, 0.975))
    auroc = float(wins.sum() / pairs.sum())
    n = min(np.unique(group[side[pairs.any(axis)]]).size for side, axis in ((good, 1), (bad, 0)))
    if n < FEW:
        exact = beta.ppf(
            (0.025, 0.975), (auroc * n, auroc * n + 1), (n - auroc * n + 1, n - auroc * n)
        )
        exact = np.where(np.isnan(exact), (0.0, 1.0), exact)  # no loss, or no win
        low, high = min(low, exact[0]), max(high, exact[1])
    return Ranking(auroc, float(low), float(high), int(pairs.sum()))
