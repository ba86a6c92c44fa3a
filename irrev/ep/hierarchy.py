"""Entropy production by order of interaction or by memory: nested observable sets.

    g(1) < g(2) < ...   =>   ep(1) <= ep(2) <= ... <= ep                            (1)

ep(k) - ep(k-1) is what order k adds. On samples every level uses the same folds, and the interval
of a difference resamples both levels with the same block draws, so that their common noise
cancels; a difference may then be slightly negative where a level adds only noise.

Limits: tables of observables are held in memory, so use it for tens of units, or on the units of a
subset. The differences are between lower bounds.

Source: derived here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from irrev.ep.explicit import ExplicitObservables
from irrev.ep.objective import Dual
from irrev.ep.sets import observable_table
from irrev.ep.solvers import lbfgs
from irrev.ep.validation import cut_blocks, held_out
from irrev.errors import InputError
from irrev.stats import circular_block_counts, deal_blocks

LEVELS = (("lin",), ("lin", "pair"), ("lin", "pair", "triple"))


@dataclass(frozen=True, slots=True)
class HierarchyEp:
    """Held-out bounds of nested observable sets, nats per step."""

    names: tuple[str, ...]  # (level,) sets joined by "+"
    value: NDArray[np.float64]  # (level,)
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    added: NDArray[np.float64]  # (level,) value minus that of the level before
    added_low: NDArray[np.float64]
    added_high: NDArray[np.float64]
    n_observables: NDArray[np.int64]  # (level,)

    def __str__(self) -> str:
        parts = (
            f"{n}: {v:.4g} (adds {a:.4g}, {lo:.4g} to {hi:.4g})"
            for n, v, a, lo, hi in zip(
                self.names, self.value, self.added, self.added_low, self.added_high, strict=True
            )
        )
        return "; ".join(parts) + " nat/step"


def hierarchy_ep(
    states: NDArray[np.number],
    *,
    levels: Sequence[Sequence[str]] = LEVELS,
    folds: int = 5,
    n_blocks: int = 50,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> HierarchyEp:
    """Estimate held-out bounds of nested observable sets on the same folds.

    Parameters
    ----------
    states
        States at equal steps, shape (time, unit), coded as the observables shall see them.
    levels
        Observable sets of each level, each holding those of the level before.
    folds, n_blocks
        Folds of the cross-fit and contiguous blocks dealt to them.
    level, draws
        Level of the intervals and bootstrap draws behind them.
    seed
        Seed of dealing and bootstrap.

    Returns
    -------
        Value of each level, what it adds, and intervals of both.

    Raises
    ------
    InputError
        If a level does not hold the one before.
    """
    for before, after in pairwise(levels):
        if not set(before) <= set(after):
            raise InputError(f"{tuple(after)} does not hold {tuple(before)}; nest the levels.")
    states = np.asarray(states)
    dealing, drawing = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    kept, block = cut_blocks(np.arange(states.shape[0] - 1), n_blocks)
    fold_of_block = deal_blocks(n_blocks, folds, dealing)
    counts = np.ones((draws, n_blocks))
    for k in range(folds):
        inside = np.flatnonzero(fold_of_block == k)
        counts[:, inside] = circular_block_counts(inside.size, draws, drawing)
    rows = [np.ones((1, n_blocks)), counts]
    drawn, sizes = [], []
    for names in levels:
        table = observable_table(states[:-1][kept], states[1:][kept], names)
        sums = _cross_fit(table, block, fold_of_block)
        drawn.append([_pooled(sums, fold_of_block, c) for c in rows])
        sizes.append(table.n_observables)
    value = np.array([d[0][0] for d in drawn])
    # Resampling n blocks of a fold underestimates their variance by (n - 1) / n.
    per_fold = n_blocks / folds
    spread = np.sqrt(per_fold / max(per_fold - 1, 1))
    deviations = spread * (np.array([d[1] for d in drawn]) - value[:, None])
    steps = np.diff(deviations, axis=0, prepend=0.0)
    ends = [(1 - level) / 2, (1 + level) / 2]
    added = np.diff(value, prepend=0.0)
    low, high = value + np.quantile(deviations, ends, axis=1)
    added_low, added_high = added + np.quantile(steps, ends, axis=1)
    return HierarchyEp(
        names=tuple("+".join(names) for names in levels),
        value=value,
        low=low,
        high=high,
        added=added,
        added_low=added_low,
        added_high=added_high,
        n_observables=np.array(sizes),
    )


def _cross_fit(
    table: ExplicitObservables, block: NDArray[np.int64], fold_of_block: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return test sums (n, a, e^r) of each block, shape (3, block)."""
    fold, n_blocks = fold_of_block[block], fold_of_block.size
    n_folds = int(fold_of_block.max()) + 1
    out = np.zeros((3, n_blocks))
    for k in range(n_folds):
        held = (k + 1) % n_folds
        parts = [fold == k, fold == held, (fold != k) & (fold != held)]
        test, validation, train = (table.take(np.flatnonzero(p)) for p in parts)
        fit = lbfgs(_dual(train), _dual(validation))
        forward, reverse = test.values(fit.theta), test.reverse_values(fit.theta)
        # The value clipped at ln n of the fold: spread the excess over its samples.
        excess = float(forward.mean() - np.log(np.mean(np.exp(reverse))))
        excess -= held_out(forward, reverse, fit.log_normaliser).value
        series = (np.ones(forward.size), forward - excess, np.exp(reverse))
        out += [np.bincount(block[parts[0]], x, n_blocks) for x in series]
    return out


def _dual(table: ExplicitObservables) -> Dual:
    return Dual(table, table.forward.mean(axis=0))


def _pooled(
    sums: NDArray[np.float64], fold_of_block: NDArray[np.int64], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the pooled value for each row of block counts, shape (draw,)."""
    total, weight = np.zeros(counts.shape[0]), np.zeros(counts.shape[0])
    for k in range(int(fold_of_block.max()) + 1):
        inside = fold_of_block == k
        n, a, e = (counts[:, inside] @ x[inside] for x in sums)
        total += n * (a / n - np.log(e / n))
        weight += n
    return total / weight
