"""Held-out values: blocks and folds, interval, certified value, null of reversed blocks.

Fold k tests, fold k + 1 chooses the iterate, the others train; a fold is a random hand of short
contiguous blocks. On test samples with theta fixed only a_t = theta . g_t and r_t = theta . g~_t
matter:

    ep_bound = mean a - ln mean e^r                                              (1)
    certified = mean a - c - mean e^{r - c} + 1,  c = ln mean e^r on validation  (2)

(2) is unbiased for a true lower bound at any sample size; (1) is a little larger and biased up by
about Var(w) / 2n. The interval resamples contiguous sub-blocks of (a, e^r) at fixed theta. It is
widened by sqrt(1 + rho): theta of one fold is fitted on the test samples of the others, so
where sampling noise makes up a fraction rho of theta the fold values are correlated. In the
quadratic regime

    rho = (training value - held-out value) / Var(a), kept within [0, 1]         (3)

is an upper bound on that fraction; it is 1 where there is nothing to find.

Null: a process equal to its own reversal gives blocks that may each be read backwards. Reading
block b backwards changes the sign of its sum z_b of antisymmetric observables, in training and
test alike, so with any weights P that do not change under reversal

    u = 2 sum_{b != b'} z_b' P z_b' / sum_{b != b'} n_b n_b'                     (4)

(the quadratic entropy production, each block predicted from all others) is compared with the
same sum under random signs. No refit, and exact while blocks are independent; memory across
borders makes the test conservative, since antisymmetric observables of a reversible process are
anticorrelated in time. Flipping single transitions instead would keep the marginals but not the
memory between transitions.

Source: block bootstrap after H. R. Kuensch, Ann. Stat. 17, 1217 (1989); (2)-(4) are derived here.
"""

from dataclasses import dataclass
from math import ceil, log, sqrt
from numbers import Integral, Real

import numpy as np
from numpy.typing import NDArray

from irrev.errors import InputError
from irrev.stats import circular_block_counts, empirical_p, integrated_autocorrelation_time

MIN_BLOCK = 50  # transitions in a bootstrap sub-block, at least
MIN_BLOCK_S = 1.0  # and at least this long, s
BLOCK_TIMES = 5.0  # and at least so many autocorrelation times
MIN_SUB_BLOCKS = 8  # fewer draws per fold than this say nothing about its noise
MIN_FOLDS = 3  # test, validation, training
PANEL = 1 << 16  # observables scaled at a time: block sums of 2,000 units take 400 MB already
SNAP = 0.25  # a cut moves to a gap of the recording within this fraction of a block


def check_options(
    *, folds: int, n_blocks: int, level: float, draws: int, null_draws: int = 0
) -> None:
    """Refuse options that no held-out estimate can be made with, before the long work.

    Raises
    ------
    InputError
        If an option is not of its type or leaves its range.
    """
    counts = (("draws", draws, 2), ("null_draws", null_draws, 0))
    for name, value, least in (("folds", folds, 0), ("n_blocks", n_blocks, 1), *counts):
        if not isinstance(value, Integral) or value < least:
            raise InputError(f"{name} is {value!r}; use a whole number from {least} up.")
    if not MIN_FOLDS <= folds <= n_blocks:
        raise InputError(
            f"{folds} folds of {n_blocks} blocks; use 3 folds or more, fewer than blocks."
        )
    if not isinstance(level, Real) or not 0 < level < 1:
        raise InputError(f"level is {level!r}; use a number between 0 and 1, e.g. 0.95.")


def cut_blocks(
    starts: NDArray[np.int64], n_blocks: int, *, lag: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut transitions into contiguous blocks that share no state.

    Parameters
    ----------
    starts
        First bin of each transition, ascending, shape (step,).
    n_blocks
        Number of blocks; a cut moves to a gap of the recording where one is near.
    lag
        Transitions dropped at the end of each block: those that would share a state.

    Returns
    -------
        Positions in `starts` that are kept, and the block of each, both shape (kept,).

    Raises
    ------
    InputError
        If there are fewer than four transitions a block.
    """
    n = starts.size
    if n < 4 * n_blocks:
        raise InputError(
            f"{n} transitions for {n_blocks} blocks; use a longer recording or fewer blocks."
        )
    cuts = np.arange(1, n_blocks) * n / n_blocks
    gaps = np.flatnonzero(np.diff(starts) > 1) + 1
    if gaps.size:
        near = gaps[np.abs(gaps[:, None] - cuts).argmin(axis=0)]
        cuts = np.where(np.abs(near - cuts) <= SNAP * n / n_blocks, near, cuts)
    edges = np.concatenate([[0], np.round(cuts).astype(np.int64), [n]])
    block = np.repeat(np.arange(n_blocks), np.diff(edges))
    # The last `lag` states of a block are the first of the next, unless a gap lies between.
    keep = np.ones(n, bool)
    for edge in edges[1:-1]:
        tail = np.arange(max(edge - lag, 0), edge)
        keep[tail[starts[edge] - starts[tail] <= lag]] = False
    kept = np.flatnonzero(keep)
    return kept, block[kept]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Values of one test fold at fixed couplings."""

    value: float  # eq. (1), clipped at ln n, nats
    certified: float  # eq. (2), clipped at -ln n, nats
    ess: float  # n / <w^2>: samples that carry the reverse average
    saturated: bool  # the clip was used
    n_steps: int
    forward: NDArray[np.float64]  # a_t, (n_steps,)
    reverse: NDArray[np.float64]  # r_t, (n_steps,)

    @property
    def log_normaliser(self) -> float:
        """Log of the mean of e^r, nats."""
        return log_mean_exp(self.reverse)


def held_out(
    forward: NDArray[np.float64], reverse: NDArray[np.float64], log_normaliser: float
) -> HeldOut:
    """Evaluate eqs. (1) and (2) on test samples; `log_normaliser` comes from validation."""
    n, cap = forward.size, log(forward.size)
    mean, own = float(forward.mean()), log_mean_exp(reverse)
    value = mean - own
    w = np.exp(reverse - own)
    # In logarithms: a badly overfitted theta gives -infinity.
    excess = np.exp(min(own - log_normaliser, 700.0))
    certified = mean - log_normaliser - excess + 1.0
    return HeldOut(
        value=min(value, cap),
        certified=float(np.clip(certified, -cap, cap)),
        ess=float(n / np.mean(w**2)),
        saturated=value > cap,
        n_steps=n,
        forward=forward,
        reverse=reverse,
    )


def log_mean_exp(x: NDArray[np.float64]) -> float:
    """Return ln mean e^x without overflow."""
    top = float(x.max())
    return top + log(float(np.exp(x - top).mean()))


def pooled(values: NDArray[np.float64], n_steps: NDArray[np.int64]) -> float:
    """Average fold values, each weighed by its number of test samples."""
    return float(values @ n_steps / n_steps.sum())


def noise_fraction(
    train: NDArray[np.float64], folds: list[HeldOut], n_steps: NDArray[np.int64]
) -> float:
    """Return rho of eq. (3)."""
    optimism = pooled(train, n_steps) - pooled(np.array([f.value for f in folds]), n_steps)
    variance = pooled(np.array([f.forward.var() for f in folds]), n_steps)
    return float(np.clip(optimism / variance, 0.0, 1.0)) if variance > 0 else 0.0


def bootstrap(
    folds: list[HeldOut],
    blocks: list[NDArray[np.int64]],
    rng: np.random.Generator,
    *,
    bin_s: float,
    draws: int,
) -> NDArray[np.float64]:
    """Resample the pooled held-out value at fixed couplings.

    Parameters
    ----------
    folds
        Test folds with their series.
    blocks
        Block of each test sample, one array a fold.
    rng
        Source of the draws.
    bin_s
        Length of a step, s.
    draws
        Number of resampled values.

    Returns
    -------
        Deviations from the pooled value, shape (draws,), nats.
    """
    total = np.zeros(draws)
    n = sum(f.n_steps for f in folds)
    for fold, block in zip(folds, blocks, strict=True):
        total += fold.n_steps / n * _fold_draws(fold, block, rng, bin_s, draws)
    return total


def _fold_draws(
    fold: HeldOut,
    block: NDArray[np.int64],
    rng: np.random.Generator,
    bin_s: float,
    draws: int,
) -> NDArray[np.float64]:
    """Draw deviations of one fold's value by resampling sub-blocks."""
    top = float(fold.reverse.max())
    e = np.exp(fold.reverse - top)
    label = _sub_blocks(fold, block, bin_s)
    n_sub = int(label[-1]) + 1
    if n_sub < 2:
        return np.zeros(draws)
    series = (np.ones(e.size), fold.forward, e)
    sums = np.stack([np.bincount(label, x, n_sub) for x in series], axis=1)
    n, a, z = (circular_block_counts(n_sub, draws, rng) @ sums).T
    drawn = a / n - np.log(z / n)
    value = fold.forward.mean() - log(e.mean())
    # Resampling n things underestimates their variance by (n - 1) / n.
    return (drawn - value) * sqrt(n_sub / (n_sub - 1))


def _sub_blocks(fold: HeldOut, block: NDArray[np.int64], bin_s: float) -> NDArray[np.int64]:
    """Label contiguous pieces, each within a block, long against the memory of the series."""
    w = np.exp(fold.reverse - fold.log_normaliser)
    influence = fold.forward - w
    tau = integrated_autocorrelation_time(influence)
    length = max(MIN_BLOCK, ceil(MIN_BLOCK_S / bin_s), ceil(BLOCK_TIMES * tau))
    length = max(min(length, fold.n_steps // MIN_SUB_BLOCKS), 1)
    _, first, size = np.unique(block, return_index=True, return_counts=True)
    pieces = np.maximum(size // length, 1)
    offset = np.cumsum(pieces) - pieces
    position = np.arange(block.size) - np.repeat(first, size)
    inside = position * np.repeat(pieces, size) // np.repeat(size, size)
    return np.repeat(offset, size) + inside


@dataclass(frozen=True, slots=True)
class ReversalTest:
    """Quadratic entropy production against blocks read backwards."""

    statistic: float  # eq. (4), nats
    null: NDArray[np.float64]  # the same under random signs, (draws,), nats

    @property
    def p(self) -> float:
        """One-sided p-value, at least 1 / (1 + draws)."""
        return empirical_p(self.statistic, self.null)


def reversal_test(
    sums: NDArray[np.floating],
    n_steps: NDArray[np.int64],
    size: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    draws: int,
) -> ReversalTest:
    """Compare eq. (4) with the same under random directions of the blocks.

    Parameters
    ----------
    sums
        Sum of antisymmetric observables over each block, shape (block, observable).
    n_steps
        Transitions in each block, shape (block,).
    size
        Standard deviation of each observable, unchanged by reversal, shape (observable,).
    rng
        Source of the signs.
    draws
        Number of random readings.
    """
    gram = np.zeros((sums.shape[0], sums.shape[0]))
    for k in range(0, size.size, PANEL):
        scaled = sums[:, k : k + PANEL] / size[k : k + PANEL]
        gram += scaled @ scaled.T
    np.fill_diagonal(gram, 0.0)
    counts = n_steps.astype(np.float64)
    weight = 2.0 / (counts.sum() ** 2 - counts @ counts)
    signs = rng.integers(0, 2, (draws, gram.shape[0])) * 2.0 - 1.0
    null = np.einsum("db,bc,dc->d", signs, gram, signs, optimize=True)
    return ReversalTest(float(weight * gram.sum()), weight * null)
