"""Class laws corrected for the errors of the classifier that counted them.

With C_ij = P(predicted j | true i) and observed counts o_j, the likelihood of the true law p is
multinomial with law p C. Expectation maximisation keeps p on the simplex (an inverse may not):

    p_i <- p_i sum_j C_ij (o_j / N) / (p C)_j                                        (1)

Counting argmax labels overstates the entropy of a peaked law, since errors spread it. The same
for soft posteriors P_n with training prior pi (label shift):

    q_i <- mean_n [ P_ni q_i / pi_i / sum_k P_nk q_k / pi_k ]                        (2)

Limits: C must be the same for the data as for the labelled set it comes from; what remains of the
error is mostly that it is not. A class whose row of C is within noise of another row cannot be
told apart (`unidentified`); a condition number above 20 makes the correction worthless.

Source: A. Dempster et al., J. R. Stat. Soc. B 39, 1 (1977); M. Saerens et al., Neural Comput. 14,
21 (2002) for (2).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irrev.errors import InputError

METHOD_VERSION = 1
MAX_CONDITION = 20.0  # of C in the 2-norm; beyond it errors grow more than twentyfold
MIN_TOTAL_VARIATION = 0.1  # rows of C closer than this are one class for all purposes
SMOOTHING = 0.5  # Jeffreys
Array = NDArray[np.float64]


def correct_counts(
    counts: ArrayLike, confusion: ArrayLike, *, n_steps: int = 5000, tolerance: float = 1e-10
) -> Array:
    """Find the most likely true law behind predicted labels, eq. (1).

    Parameters
    ----------
    counts
        Predicted labels per class, shape (..., class).
    confusion
        C, rows are true classes and sum to one, shape (..., class, class).
    n_steps, tolerance
        Stop after so many steps or when no share moves by more than this.

    Returns
    -------
        Law, shape (..., class); NaN where there are no counts.

    Examples
    --------
    >>> C = 0.75 * np.eye(5) + 0.05
    >>> law = np.array([0.9, 0.04, 0.03, 0.02, 0.01])
    >>> bool(np.allclose(correct_counts(1000 * law @ C, C), law, atol=1e-6))
    True
    """
    o, C = np.asarray(counts, dtype=np.float64), np.asarray(confusion, dtype=np.float64)
    if C.shape[-2:] != (o.shape[-1],) * 2 or not np.allclose(C.sum(axis=-1), 1, atol=1e-6):
        raise InputError(
            f"confusion has shape {C.shape} for {o.shape[-1]} classes; give one row a true class, "
            "each summing to one."
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        share = o / o.sum(axis=-1, keepdims=True)
    p = np.full(np.broadcast_shapes(share.shape, C.shape[:-1]), 1.0 / o.shape[-1])
    for _ in range(n_steps):
        predicted = np.maximum(np.einsum("...i,...ij->...j", p, C), 1e-300)
        update = p * np.einsum("...ij,...j->...i", C, share / predicted)
        moved = np.nanmax(np.abs(update - p), initial=0.0)
        p = update
        if moved < tolerance:
            break
    return p / p.sum(axis=-1, keepdims=True)


def correct_posteriors(
    posteriors: ArrayLike, prior: ArrayLike, *, n_steps: int = 5000, tolerance: float = 1e-10
) -> Array:
    """Find the class law behind calibrated posteriors, eq. (2).

    Parameters
    ----------
    posteriors
        P(class | text) under the training prior, shape (text, class).
    prior
        Class law of the training set, shape (class,), positive.
    n_steps, tolerance
        As in `correct_counts`.

    Returns
    -------
        Law, shape (class,).
    """
    P, pi = np.asarray(posteriors, dtype=np.float64), np.asarray(prior, dtype=np.float64)
    if P.ndim != 2 or P.shape[0] == 0 or np.any(pi <= 0):
        raise InputError("posteriors must have shape (text, class) and the prior be positive.")
    likelihood = P / pi
    q = pi.copy()
    for _ in range(n_steps):
        weighted = likelihood * q
        update = np.mean(weighted / weighted.sum(axis=1, keepdims=True), axis=0)
        moved = np.abs(update - q).max()
        q = update
        if moved < tolerance:
            break
    return q


def smoothed_confusion(counts: ArrayLike) -> Array:
    """Turn a table of (true, predicted) counts into C with half a count added to each cell."""
    table = np.asarray(counts, dtype=np.float64) + SMOOTHING
    return table / table.sum(axis=-1, keepdims=True)


def draw_confusion(counts: ArrayLike, n_draws: int, rng: np.random.Generator) -> Array:
    """Draw C from its posterior, rows Dirichlet(counts + 1/2), shape (draw, class, class)."""
    table = np.asarray(counts, dtype=np.float64) + SMOOTHING
    gamma = rng.standard_gamma(table, size=(n_draws, *table.shape))
    return gamma / gamma.sum(axis=-1, keepdims=True)


@dataclass(frozen=True, slots=True)
class Identification:
    """What the confusion matrix allows to say."""

    unidentified: NDArray[np.bool_]  # (class,)
    nearest: NDArray[np.int64]  # (class,) class whose row is closest
    total_variation: Array  # (class,) to that row
    total_variation_se: Array  # bootstrap
    condition: float
    ill_conditioned: bool


def identify(counts: ArrayLike, rng: np.random.Generator, *, n_draws: int = 500) -> Identification:
    """Find classes that the classifier cannot tell from another one.

    Parameters
    ----------
    counts
        Held-out (true, predicted) counts, shape (class, class).
    rng
        Source of the bootstrap over rows.
    n_draws
        Bootstrap samples.

    Returns
    -------
        A class is unidentified if some other row lies within a total variation of twice its
        bootstrap error, or of 0.1, or if no example of it was seen.
    """
    table = np.asarray(counts, dtype=np.float64)
    C = smoothed_confusion(table)
    distance = _row_distances(C)
    spread = _row_distances(draw_confusion(table, n_draws, rng)).std(axis=0)
    close = distance < np.maximum(2 * spread, MIN_TOTAL_VARIATION)
    off = distance + np.where(np.eye(len(C), dtype=bool), np.inf, 0.0)
    nearest = off.argmin(axis=1)
    rows = np.arange(len(C))
    condition = float(np.linalg.cond(C))
    return Identification(
        unidentified=(close & ~np.eye(len(C), dtype=bool)).any(axis=1) | (table.sum(axis=1) == 0),
        nearest=nearest,
        total_variation=distance[rows, nearest],
        total_variation_se=spread[rows, nearest],
        condition=condition,
        ill_conditioned=condition > MAX_CONDITION,
    )


def _row_distances(C: Array) -> Array:
    """Total variation between all pairs of rows, shape (..., class, class)."""
    return 0.5 * np.abs(C[..., :, None, :] - C[..., None, :, :]).sum(axis=-1)
