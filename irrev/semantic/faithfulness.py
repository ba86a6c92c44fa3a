"""Semantic faithfulness (SF): how far an answer's topic mix is from its question's.

    D = min_{A,Q} sum_ij p_c_i A_ij ln(A_ij / Q_ij),   p_c A = p_a,  p_c Q = p_q          (1)
      = KL(p_a || p_q)                                                                     (2)
    SF = 1 / (1 + D)                                                                       (3)

p_q, p_c, p_a are the shares of topics among the sentences of question, context and answer. (2) is
exact, derived here: the objective is the KL divergence of two joint laws whose second marginals
are p_a and p_q, so it is at least (2), and the rows A_i = p_a, Q_i = p_q attain it. Hence

- SF does not depend on the context, and an answer that repeats its question scores 1;
- the optimal matrices are not unique: nothing may be read from them;
- one answer topic that the question lacks makes D infinite and SF zero, the rule in real data.

Variants. `restricted`: the answer cut to the question's topics and renormalised; this is what the
published numbers are, and `kept_mass` is the share of the answer that it looks at. `smooth`
(default): p~ = (n + alpha) / (sum n + alpha K). alpha and K belong to the name of a number.

What it is worth: SF describes the departure of one topic mix from another. It does not detect
invented answers; see docs/methods/faithfulness.md for its ranking of labelled answers.

Source: Halperin, arXiv:2512.05156. The closed form, the restriction and smoothing are ours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irrev.entropy import kl_divergence
from irrev.errors import InputError

METHOD_VERSION = 1
ALPHA = 0.5  # Jeffreys' prior of a multinomial

Counts = NDArray[np.floating] | NDArray[np.integer]


def frequencies(counts: Counts) -> NDArray[np.float64]:
    """Share of each topic, shape (triplet, topic); NaN for a text without sentences."""
    n = np.asarray(counts, dtype=np.float64)
    total = n.sum(-1, keepdims=True)
    return np.divide(n, total, out=np.full_like(n, np.nan), where=total > 0)


def smoothed(counts: Counts, alpha: float = ALPHA) -> NDArray[np.float64]:
    """Share of each topic after `alpha` more sentences in each; NaN for an empty text."""
    n = np.asarray(counts, dtype=np.float64)
    total = n.sum(-1, keepdims=True)
    return np.where(total > 0, (n + alpha) / (total + alpha * n.shape[-1]), np.nan)


def to_faithfulness(divergence: NDArray[np.float64]) -> NDArray[np.float64]:
    """SF = 1 / (1 + D), eq. (3); an infinite divergence gives 0."""
    return 1.0 / (1.0 + np.asarray(divergence))


def exact_divergence(question: Counts, answer: Counts) -> NDArray[np.float64]:
    """D of eq. (2) of raw frequencies.

    Parameters
    ----------
    question, answer
        Sentences per topic, shape (triplet, topic).

    Returns
    -------
        Nats, shape (triplet,), in [0, inf]; NaN where a text is empty.

    Examples
    --------
    >>> exact_divergence(np.array([[2, 1, 1]]), np.array([[1, 1, 2]])).round(6)
    array([0.173287])
    """
    return kl_divergence(frequencies(answer), frequencies(question))


@dataclass(frozen=True, slots=True)
class Restricted:
    """The published variant: the answer seen through the question's topics only."""

    divergence: NDArray[np.float64]  # nats, (triplet,)
    kept_mass: NDArray[np.float64]  # share of the answer on those topics, (triplet,)


def restricted_divergence(question: Counts, answer: Counts) -> Restricted:
    """D of the answer cut to the question's topics and renormalised.

    Parameters
    ----------
    question, answer
        Sentences per topic, shape (triplet, topic).

    Returns
    -------
        Divergence, inf where nothing is kept, and the share kept; NaN where a text is empty.

    Examples
    --------
    >>> cut = restricted_divergence(np.array([[1, 1, 0]]), np.array([[1, 1, 2]]))
    >>> float(cut.divergence[0]), float(cut.kept_mass[0])
    (0.0, 0.5)
    """
    p_q, p_a = frequencies(question), frequencies(answer)
    inside = np.where(p_q > 0, p_a, 0.0)
    kept = np.where(np.isnan(p_q[..., 0]), np.nan, inside.sum(-1))
    share = np.full_like(inside, np.nan)
    np.divide(inside, kept[..., None], out=share, where=kept[..., None] > 0)
    divergence = np.where(kept == 0, np.inf, kl_divergence(share, p_q))
    return Restricted(divergence, kept)


def smooth_divergence(
    question: Counts, answer: Counts, *, alpha: float = ALPHA
) -> NDArray[np.float64]:
    """D of smoothed frequencies.

    Parameters
    ----------
    question, answer
        Sentences per topic, shape (triplet, topic).
    alpha
        Sentences added to each topic, above 0.

    Returns
    -------
        Nats, shape (triplet,), finite; NaN where a text is empty.
    """
    return kl_divergence(smoothed(answer, alpha), smoothed(question, alpha))


def check_counts(*texts: Counts) -> list[NDArray[np.float64]]:
    """Return counts of question, context and answer as (triplet, topic) arrays.

    Raises
    ------
    InputError
        If shapes differ, there is no topic, or a count is negative or not finite.
    """
    arrays = [np.atleast_2d(np.asarray(t, dtype=np.float64)) for t in texts]
    shapes = [a.shape for a in arrays]
    if any(a.ndim != 2 or a.shape != shapes[0] or not a.shape[1] for a in arrays):
        raise InputError(
            f"counts have shapes {shapes}; give question, context and answer as (triplet, topic) "
            "over the same topics."
        )
    low = min((float(a.min()) for a in arrays if a.size), default=0.0)
    if not low >= 0 or not all(np.isfinite(a).all() for a in arrays):
        raise InputError(f"counts run down to {low}; counts of sentences are finite and >= 0.")
    return arrays
