"""Schroedinger bridges between topic distributions, and the faithfulness that sees geometry.

    P_ij = a_i K_ij b_j,   sum_j P_ij = p_i,   sum_i P_ij = t_j                            (1)
    K_ij = exp(-|mu_i - mu_j|^2 / eps)                                                     (2)
    D_geo = KL(P^A || P^Q) = sum_i p_c_i ln(a^A_i / a^Q_i) + sum_j p_a_j ln(b^A_j / b^Q_j)   (3)

P^A leads from the context to the answer, P^Q from the context to the question, over the same
kernel; D_geo >= KL(p_a || p_q), with equality for eps -> inf. All marginals must be positive: use
smoothed frequencies. a and b are fixed up to a -> s a, b -> b / s; no formula here depends on s.

Sinkhorn's iteration contracts Hilbert's metric, per sweep, by at least

    rate = tanh(Delta / 4)^2,   Delta = ln max_ijkl K_ik K_jl / (K_jk K_il)                (4)

which caps the number of sweeps. All triplets share K: a sweep is two matrix products for a batch.

Source: the extension is ours; Birkhoff's contraction: Franklin, Lorenz, Linear Algebra Appl. 114,
717 (1989).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from irrev.errors import ConvergenceError, InputError

TOLERANCE = 1e-10  # largest change of ln b in a sweep
MAX_SWEEPS = 100_000  # where the guarantee (4) is weaker than that
SAFE_EXPONENT = 200.0  # below exp(-200) the products of kernel and scalings near the float range
ROWS = 4096  # triplets iterated together


@dataclass(frozen=True, slots=True)
class Bridge:
    """Logarithms of the scalings of a batch of bridges."""

    log_a: NDArray[np.float64]  # (triplet, topic)
    log_b: NDArray[np.float64]  # (triplet, topic)
    sweeps: int

    def plan(self, log_kernel: NDArray[np.float64]) -> NDArray[np.float64]:
        """Joint law (1), shape (triplet, topic, topic)."""
        return np.exp(self.log_a[:, :, None] + log_kernel + self.log_b[:, None, :])


def topic_kernel(
    centroids: NDArray[np.float64], *, eps: float | None = None
) -> NDArray[np.float64]:
    """Logarithm of the kernel (2) between topics.

    Parameters
    ----------
    centroids
        Centres of topics, shape (topic, dimension).
    eps
        Squared length; the mean squared distance of different topics if not given.

    Returns
    -------
        Shape (topic, topic), symmetric, zero diagonal.

    Raises
    ------
    InputError
        If eps is not above 0.
    """
    if eps is not None and not eps > 0:
        raise InputError(f"eps={eps} must be above 0; leave it out for the mean squared distance.")
    square = ((centroids[:, None] - centroids) ** 2).sum(-1)
    return -square / (kernel_scale(centroids) if eps is None else eps)


def kernel_scale(centroids: NDArray[np.float64]) -> float:
    """Mean squared distance of different topics: the default eps; inf for one topic."""
    n = len(centroids)
    square = ((centroids[:, None] - centroids) ** 2).sum()
    return float(square / (n * (n - 1))) if n > 1 and square > 0 else np.inf


def contraction_rate(log_kernel: NDArray[np.float64]) -> float:
    """Guaranteed contraction of Sinkhorn's error per sweep, eq. (4), in [0, 1).

    Examples
    --------
    >>> contraction_rate(np.zeros((3, 3)))
    0.0
    """
    return float(np.tanh(_diameter(log_kernel) / 4) ** 2)


def solve_bridge(
    start: NDArray[np.float64], end: NDArray[np.float64], log_kernel: NDArray[np.float64]
) -> Bridge:
    """Find the bridges (1) of a batch by Sinkhorn's iteration.

    Parameters
    ----------
    start, end
        Positive distributions, shape (triplet, topic); a row of NaN gives NaN.
    log_kernel
        Logarithm of a positive kernel, shape (topic, topic).

    Returns
    -------
        Scalings with marginals within 1e-10.

    Raises
    ------
    InputError
        If a distribution has a zero.
    ConvergenceError
        If the sweeps do not suffice; `best` holds the last `Bridge`.
    """
    valid = ~(np.isnan(start).any(1) | np.isnan(end).any(1))
    if (start[valid] <= 0).any() or (end[valid] <= 0).any():
        raise InputError("a bridge needs positive distributions; smooth the counts (alpha > 0).")
    log_a, log_b = np.full(start.shape, np.nan), np.full(start.shape, np.nan)
    rows, sweeps = np.flatnonzero(valid), 0
    for piece in np.array_split(rows, max(1, -(-len(rows) // ROWS))):
        bridge = _iterate(start[piece], end[piece], log_kernel)
        log_a[piece], log_b[piece] = bridge.log_a, bridge.log_b
        sweeps = max(sweeps, bridge.sweeps)
    return Bridge(log_a, log_b, sweeps)


def bridge_divergence(
    context: NDArray[np.float64],
    answer: NDArray[np.float64],
    to_answer: Bridge,
    to_question: Bridge,
) -> NDArray[np.float64]:
    """D_geo, eq. (3), nats, shape (triplet,), never below zero."""
    row = (context * (to_answer.log_a - to_question.log_a)).sum(-1)
    column = (answer * (to_answer.log_b - to_question.log_b)).sum(-1)
    return np.maximum(row + column, 0.0)


def _iterate(
    start: NDArray[np.float64], end: NDArray[np.float64], log_kernel: NDArray[np.float64]
) -> Bridge:
    log_start, log_end = np.log(start), np.log(end)
    small = -log_kernel.min() > SAFE_EXPONENT
    kernel = np.exp(log_kernel)

    def spread(log_scale: NDArray[np.float64], *, transposed: bool) -> NDArray[np.float64]:
        """Return ln(K exp(log_scale)), by exponentials only where that is safe."""
        if small:
            kernel_log = log_kernel.T if transposed else log_kernel
            return np.asarray(logsumexp(kernel_log + log_scale[:, None, :], axis=2))
        return np.log(np.exp(log_scale) @ (kernel if transposed else kernel.T))

    cap = _sweep_cap(log_kernel)
    log_a, log_b, sweep, change = log_start, np.zeros_like(log_end), 0, np.inf
    for sweep in range(1, cap + 1):
        log_a = log_start - spread(log_b, transposed=False)
        updated = log_end - spread(log_a, transposed=True)
        change = np.abs(updated - log_b).max(initial=0.0)
        log_b = updated
        if change < TOLERANCE:
            return Bridge(log_start - spread(log_b, transposed=False), log_b, sweep)
    raise ConvergenceError(
        f"the bridge moved by {change:.1e} after {cap} sweeps; raise eps.",
        best=Bridge(log_a, log_b, sweep),
    )


def _diameter(log_kernel: NDArray[np.float64]) -> float:
    """Delta of eq. (4), one row of the kernel against all others at a time."""
    ranges = (np.ptp(log_kernel - row, axis=1).max() for row in log_kernel)
    return float(max(ranges, default=0.0))


def _sweep_cap(log_kernel: NDArray[np.float64]) -> int:
    """Sweeps that (4) guarantees to suffice: after the first, the error is at most Delta."""
    rate, diameter = contraction_rate(log_kernel), _diameter(log_kernel)
    if rate in (0.0, 1.0) or diameter <= TOLERANCE:
        return 3 if rate < 1.0 else MAX_SWEEPS
    return min(MAX_SWEEPS, 4 + int(np.log(TOLERANCE / (2 * diameter)) / np.log(rate)))
