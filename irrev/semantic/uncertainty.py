"""Spread of smoothed faithfulness under few sentences, and the test that decides.

    posterior    p_q ~ Dir(n_q + alpha), p_a ~ Dir(n_a + alpha):  quantiles of SF         (1)
    bootstrap    sentences of question and answer drawn with replacement                  (2)
    permutation  sentences of both pooled and dealt again to texts of the same lengths    (3)
                 p = (1 + #{SF_perm <= SF}) / (1 + draws),  excess = D - median(D_perm)

Neither (1) nor (2) is an error bar of SF: the divergence of draws exceeds the divergence of means,
so both lie low, and an interval need not hold the point (on the released ten triplets the
posterior never does). Report them by name, with `prior_dominated` (fewer question sentences than
topics), and decide by (3): a small p says that question and answer are not two samples of one
topic mix. A short question makes SF small by itself; `excess` has that removed.

Memberships may be soft: everything here resamples sentences, never counts.

Source: ours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irrev.semantic.faithfulness import ALPHA, smooth_divergence, to_faithfulness

METHOD_VERSION = 1
INTERVAL = (0.025, 0.5, 0.975)
MOST_CELLS = 2_000_000  # held at once; the draws do not depend on it
TIE = 1e-12  # relative; equal counts in another order differ by rounding


@dataclass(frozen=True, slots=True)
class Spread:
    """Posterior and bootstrap quantiles of smoothed faithfulness and its permutation test."""

    post_low: float
    post_median: float
    post_high: float
    boot_low: float
    boot_high: float
    p_perm: float
    excess: float  # nats


def faithfulness_spread(
    question: NDArray[np.float64],
    answer: NDArray[np.float64],
    *,
    rng: np.random.Generator,
    alpha: float = ALPHA,
    draws: int = 1000,
    permutations: int = 999,
) -> Spread:
    """Resample one question and answer.

    Parameters
    ----------
    question, answer
        Memberships of sentences, shape (sentence, topic), rows sum to 1; at least one row each.
    rng
        Source of all draws.
    alpha
        Smoothing.
    draws
        Posterior and bootstrap draws.
    permutations
        Reshuffles of the test.

    Returns
    -------
        Quantiles, p-value and excess.
    """
    n_q, n_a = question.sum(0), answer.sum(0)
    post = to_faithfulness(_posterior(n_q, n_a, alpha, draws, rng))
    boot = smooth_divergence(
        _redraw(question, draws, rng), _redraw(answer, draws, rng), alpha=alpha
    )
    null = permuted_divergence(question, answer, rng=rng, alpha=alpha, permutations=permutations)
    d = float(smooth_divergence(n_q, n_a, alpha=alpha))
    low, median, high = np.quantile(post, INTERVAL)
    boot_low, boot_high = np.quantile(to_faithfulness(boot), (INTERVAL[0], INTERVAL[-1]))
    beyond = int(np.sum(null >= d * (1 - TIE)))
    p = (1 + beyond) / (1 + permutations)
    excess = d - float(np.median(null))
    values = (low, median, high, boot_low, boot_high, p, excess)
    return Spread(*(float(v) for v in values))


def permuted_divergence(
    question: NDArray[np.float64],
    answer: NDArray[np.float64],
    *,
    rng: np.random.Generator,
    alpha: float = ALPHA,
    permutations: int = 999,
) -> NDArray[np.float64]:
    """Smoothed divergence with the sentences dealt again, nats, shape (permutation,)."""
    pooled = np.concatenate([question, answer])
    n_q = np.empty((permutations, pooled.shape[1]))
    for rows in _pieces(permutations, len(pooled)):
        order = np.argsort(rng.random((len(rows), len(pooled))), axis=1)
        chosen = np.zeros(order.shape)
        np.put_along_axis(chosen, order[:, : len(question)], 1.0, axis=1)
        n_q[rows] = chosen @ pooled
    return smooth_divergence(n_q, np.maximum(pooled.sum(0) - n_q, 0.0), alpha=alpha)


def _redraw(
    sentences: NDArray[np.float64], draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return counts per topic of bootstrap texts, shape (draw, topic)."""
    n = len(sentences)
    counts = np.empty((draws, sentences.shape[1]))
    for rows in _pieces(draws, n):
        counts[rows] = rng.multinomial(n, np.full(n, 1.0 / n), size=len(rows)) @ sentences
    return counts


def _pieces(draws: int, n_sentences: int) -> list[NDArray[np.int64]]:
    """Split draws into pieces of at most `MOST_CELLS` draws times sentences."""
    n_pieces = -(-draws * n_sentences // MOST_CELLS)
    return np.array_split(np.arange(draws), min(max(n_pieces, 1), draws))


def _posterior(
    n_q: NDArray[np.float64],
    n_a: NDArray[np.float64],
    alpha: float,
    draws: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """KL(p_a || p_q) of Dirichlet draws, in logarithms: shares underflow for small alpha."""
    log_q, log_a = (_log_dirichlet(n + alpha, draws, rng) for n in (n_q, n_a))
    return np.maximum(np.sum(np.exp(log_a) * (log_a - log_q), axis=1), 0.0)


def _log_dirichlet(
    weight: NDArray[np.float64], draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw logarithms of shares; Gamma(w) = Gamma(w + 1) U^(1/w) keeps small weights finite."""
    size = (draws, len(weight))
    log_gamma = (
        np.log(rng.standard_gamma(weight + 1.0, size)) - rng.exponential(size=size) / weight
    )
    return log_gamma - np.logaddexp.reduce(log_gamma, axis=1, keepdims=True)
