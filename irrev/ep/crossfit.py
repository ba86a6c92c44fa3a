"""Fit, choose and test in turn, so that every block of a recording is tested once.

Fold k tests, fold k + 1 (modulo the number of folds) chooses the iterate and its scale, the
others train. Beside the full fit, each fold evaluates the one-step bounds of `irrev.ep.tur` on
the same test samples; the Newton step is rescaled on validation like every iterate of the fit.

Source: derived here.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from irrev.ep.ascent import MAX_SCALE, Fit
from irrev.ep.objective import Dual
from irrev.ep.observables import DensePairs, SpikePairs
from irrev.ep.solvers import lbfgs
from irrev.ep.tur import MAX_EXACT, one_step, second_moment, tur_bound
from irrev.ep.validation import HeldOut, held_out


@dataclass(frozen=True, slots=True)
class FoldFit:
    """One fold: its fit and its held-out values."""

    rows: NDArray[np.int64]  # test samples
    fit: Fit
    test: HeldOut
    newton1: float  # nats
    tur: float  # nats
    train_fraction: float  # of all samples


def cross_fit(
    pairs: SpikePairs | DensePairs,
    block: NDArray[np.int64],
    sums: NDArray[np.floating],
    fold_of_block: NDArray[np.int64],
) -> list[FoldFit]:
    """Fit every fold.

    Parameters
    ----------
    pairs
        Observables of all samples.
    block
        Block of each sample, shape (n_samples,).
    sums
        Sum of the observables over each block, shape (block, observable).
    fold_of_block
        Fold of each block, shape (block,).
    """
    fold = fold_of_block[block]
    n_folds = int(fold_of_block.max()) + 1
    members = [np.flatnonzero(fold == k) for k in range(n_folds)]
    totals = [sums[fold_of_block == k].sum(axis=0, dtype=np.float64) for k in range(n_folds)]
    moments = None
    if pairs.n_observables <= MAX_EXACT:
        moments = [second_moment(pairs.take(rows)) for rows in members]
    out = []
    for k in range(n_folds):
        held = (k + 1) % n_folds
        chosen = [m for m in range(n_folds) if m not in (k, held)]
        train = _dual(pairs, np.sort(np.concatenate([members[m] for m in chosen])), totals, chosen)
        validation = _dual(pairs, members[held], totals, [held])
        metric = train.observables.metric()
        cov = None
        if moments is not None:
            second = np.sum([moments[m] for m in chosen], axis=0)
            cov = second / train.observables.n_samples - np.outer(train.mean, train.mean)
        out.append(
            _test(
                _exact(pairs.take(members[k])),
                members[k],
                fit=lbfgs(train, validation),
                current=one_step(train.mean, cov, metric),
                validation=validation,
                train_fraction=train.observables.n_samples / fold.size,
            )
        )
    return out


def _dual(
    pairs: SpikePairs | DensePairs,
    rows: NDArray[np.int64],
    totals: list[NDArray[np.float64]],
    chosen: list[int],
) -> Dual:
    mean = np.sum([totals[m] for m in chosen], axis=0) / rows.size
    return Dual(pairs.take(rows), mean)


def _exact(pairs: SpikePairs | DensePairs) -> SpikePairs | DensePairs:
    """Evaluate test samples in double precision."""
    return replace(pairs, single=False) if isinstance(pairs, SpikePairs) else pairs


def _test(
    pairs: SpikePairs | DensePairs,
    rows: NDArray[np.int64],
    *,
    fit: Fit,
    current: NDArray[np.float64],
    validation: Dual,
    train_fraction: float,
) -> FoldFit:
    """Evaluate the fit and the one-step bounds on test samples."""
    forward = pairs.values(fit.theta)
    values = pairs.values(current)
    slope = float(current @ validation.mean)
    change = validation.observables.reverse_values(current)
    scale = validation.search(0.0, np.zeros_like(change), slope, change, upper=2.0 * MAX_SCALE)
    return FoldFit(
        rows=rows,
        fit=fit,
        test=held_out(forward, -forward, fit.log_normaliser),
        newton1=held_out(scale * values, -scale * values, 0.0).value,
        tur=tur_bound(values),
        train_fraction=train_fraction,
    )
