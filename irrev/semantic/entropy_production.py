"""Semantic entropy production (SEP) of an answer, read as a step from context to answer.

    ep(A) = sum_ij p_c_i A_ij ln[ p_c_i A_ij / (p_a_j A_ji) ] = dS + ep_medium >= 0        (1)
    dS = H(p_a) - H(p_c),   ep_medium = sum_ij p_c_i A_ij ln(A_ij / A_ji)                  (2)
    ep = sum_i (p_c_i - p_a_i)(ln a_i - ln b_i) - KL(p_a || p_c)                           (3)
    eps -> inf:   ep = KL(p_c || p_a)                                                      (4)

(1) is the entropy production of a discrete-time step with the same kernel A both ways; A is the
row-normalised bridge from context to answer and a, b its scalings (`bridge`), which gives (3);
without geometry A_ij = p_a_j and (4). Equal mixes give 0. Smoothed frequencies only.

The paper minimises over a reverse matrix instead. That is trivial, derived here: with the dual it
prints the optimum is 0 for every input, and with the reverse constraints the optimum is the Bayes
inverse, which gives ep_medium = -dS and a total of 0. Its code reports D, the divergence of
`faithfulness`, in nats labelled bits; that number is kept as `sep_published`.

Source: Halperin, arXiv:2512.05156; (1) is the textbook entropy production of a Markov step.
"""

import numpy as np
from numpy.typing import NDArray

from irrev.entropy import entropy, kl_divergence
from irrev.semantic.bridge import Bridge

METHOD_VERSION = 1


def system_entropy_change(
    context: NDArray[np.float64], answer: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return dS = H(p_a) - H(p_c), nats, shape (triplet,)."""
    return entropy(answer) - entropy(context)


def independent_ep(
    context: NDArray[np.float64], answer: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Entropy production (4) of the step that forgets its topic, nats, shape (triplet,).

    Parameters
    ----------
    context, answer
        Positive distributions, shape (triplet, topic).

    Returns
    -------
        KL(p_c || p_a), never below zero.

    Examples
    --------
    >>> p_c, p_a = np.array([[0.2, 0.3, 0.5]]), np.array([[0.25, 0.25, 0.5]])
    >>> independent_ep(p_c, p_a).round(6)
    array([0.010068])
    """
    return kl_divergence(context, answer)


def bridge_ep(
    context: NDArray[np.float64], answer: NDArray[np.float64], to_answer: Bridge
) -> NDArray[np.float64]:
    """Entropy production (3) of the bridge from context to answer, nats, shape (triplet,).

    Parameters
    ----------
    context, answer
        Positive distributions, shape (triplet, topic).
    to_answer
        The bridge between them over a symmetric kernel.

    Returns
    -------
        Never below zero.
    """
    flow = (context - answer) * (to_answer.log_a - to_answer.log_b)
    return np.maximum(flow.sum(-1) - kl_divergence(answer, context), 0.0)
