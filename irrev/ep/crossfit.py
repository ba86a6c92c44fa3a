"""Fit, choose and test in turn, so that every block of a recording is tested once.

Fold k tests, fold k + 1 (modulo the number of folds) chooses the iterate and its scale, the
others train. Beside the full fit, each fold evaluates the one-step bounds of `irrev.ep.tur` on
the same test samples; the Newton step is rescaled on validation like every iterate of the fit.

Source: derived here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irrev.ep.ascent import MAX_SCALE, Fit
from irrev.ep.choose import Solver, choose_fit
from irrev.ep.composite import MAX_EXACT
from irrev.ep.limits import limited, with_limits
from irrev.ep.objective import Dual
from irrev.ep.observables import Observables
from irrev.ep.samples import exact
from irrev.ep.tur import one_step, second_moment, tur_bound
from irrev.ep.validation import HeldOut, held_out


@dataclass(frozen=True, slots=True)
class FoldFit:
    """One fold: its fit and its held-out values."""

    rows: NDArray[np.int64]  # test samples
    fit: Fit
    test: HeldOut
    newton: HeldOut  # of one rescaled Newton step
    current: NDArray[np.float64]  # the current of the uncertainty relation on test samples
    train_fraction: float  # of all samples

    @property
    def newton1(self) -> float:
        """Held-out value of one Newton step, nats."""
        return self.newton.value

    @property
    def tur(self) -> float:
        """Held-out uncertainty-relation bound, nats."""
        return tur_bound(self.current)


@dataclass(frozen=True, slots=True)
class BlockSums:
    """Sums of the observables over each block, forward and read backwards."""

    forward: NDArray[np.float32]  # (block, observable); integers below 2^24 are exact
    reverse: NDArray[np.float32] | None  # None: the opposite of `forward`

    @property
    def odd(self) -> NDArray[np.float32]:
        """The part that changes its sign when a block is read backwards."""
        return self.forward if self.reverse is None else 0.5 * (self.forward - self.reverse)

    def fold(self, inside: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Sum over blocks, shape (2, observable): forward and backwards."""
        forward = self.forward[inside].sum(axis=0, dtype=np.float64)
        if self.reverse is None:
            return np.stack([forward, -forward])
        return np.stack([forward, self.reverse[inside].sum(axis=0, dtype=np.float64)])


def block_sums(observables: Observables, block: NDArray[np.int64], n_blocks: int) -> BlockSums:
    """Sum the observables over each block.

    Parameters
    ----------
    observables
        Observables of all samples.
    block
        Block of each sample, ascending, shape (n_samples,).
    n_blocks
        Number of blocks.
    """
    shape = (n_blocks, observables.n_observables)
    forward = np.empty(shape, np.float32)
    reverse = None if observables.odd else np.empty(shape, np.float32)
    edges = np.searchsorted(block, np.arange(n_blocks + 1))
    for b in range(n_blocks):
        part = observables.take(np.arange(edges[b], edges[b + 1]))
        ones = np.ones(part.n_samples)
        forward[b] = part.total(ones)
        if reverse is not None:
            reverse[b] = part.reverse_total(ones)
    return BlockSums(forward, reverse)


def cross_fit(
    observables: Observables,
    block: NDArray[np.int64],
    sums: "BlockSums",
    fold_of_block: NDArray[np.int64],
    *,
    solver: Solver = "auto",
) -> list[FoldFit]:
    """Fit every fold.

    Parameters
    ----------
    observables
        Observables of all samples.
    block
        Block of each sample, shape (n_samples,).
    sums
        Sums of the observables over each block.
    fold_of_block
        Fold of each block, shape (block,).
    solver
        See `irrev.ep.choose`.
    """
    fold = fold_of_block[block]
    n_folds = int(fold_of_block.max()) + 1
    members = [np.flatnonzero(fold == k) for k in range(n_folds)]
    totals = [sums.fold(fold_of_block == k) for k in range(n_folds)]
    moments = None
    if observables.n_observables <= MAX_EXACT:
        moments = [second_moment(observables.take(rows)) for rows in members]
    out = []
    for k in range(n_folds):
        held = (k + 1) % n_folds
        chosen = [m for m in range(n_folds) if m not in (k, held)]
        rows = np.sort(np.concatenate([members[m] for m in chosen]))
        forward, reverse = np.sum([totals[m] for m in chosen], axis=0) / rows.size
        train = Dual(observables.take(rows), forward)
        mean = totals[held][0] / members[held].size
        validation = with_limits(Dual(observables.take(members[held]), mean))
        cov = None
        if moments is not None:
            second = np.sum([moments[m] for m in chosen], axis=0)
            cov = second / rows.size - np.outer(reverse, reverse)
        out.append(
            _test(
                exact(observables.take(members[k])),
                members[k],
                fit=choose_fit(train, validation, solver),
                current=one_step(0.5 * (forward - reverse), cov, train.observables.metric()),
                validation=validation,
                train_fraction=rows.size / fold.size,
            )
        )
    return out


def both_values(
    observables: Observables, theta: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return theta . g and theta . g~ of each sample; one product where g is antisymmetric."""
    forward = observables.values(theta)
    return forward, -forward if observables.odd else observables.reverse_values(theta)


def _test(
    observables: Observables,
    rows: NDArray[np.int64],
    *,
    fit: Fit,
    current: NDArray[np.float64],
    validation: Dual,
    train_fraction: float,
) -> FoldFit:
    """Evaluate the fit and the one-step bounds on test samples."""
    forward, reverse = both_values(observables, fit.theta)
    ahead, back = both_values(observables, current)
    slope = float(current @ validation.mean)
    change = validation.observables.reverse_values(current)
    scale = validation.search(0.0, np.zeros_like(change), slope, change, upper=2.0 * MAX_SCALE)
    return FoldFit(
        rows=rows,
        fit=fit,
        test=held_out(*limited(forward, reverse, fit.limit), fit.log_normaliser),
        newton=held_out(scale * ahead, scale * back, 0.0),
        current=0.5 * (ahead - back),
        train_fraction=train_fraction,
    )
