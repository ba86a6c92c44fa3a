"""Fit, choose and test in turn, so that every block of a recording is tested once.

Fold k tests, fold k + 1 (modulo the number of folds) chooses the iterate and its scale, the
others train. Beside the full fit, each fold evaluates the one-step bounds of `irrev.ep.tur` on
the same test samples; the Newton step is rescaled on validation like every iterate of the fit.

Source: derived here.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from irrev.ep.ascent import MAX_SCALE, Fit
from irrev.ep.l1 import l1_path
from irrev.ep.objective import Dual
from irrev.ep.observables import DensePairs, SpikePairs
from irrev.ep.solvers import lbfgs
from irrev.ep.tur import MAX_EXACT, one_step, second_moment, tur_bound
from irrev.ep.validation import HeldOut, held_out

Solver = Literal["auto", "lbfgs", "l1"]
L1_SAMPLES = 100  # per pair: with more, sampling noise 2 d / n is below 0.02 nats
MAX_L1 = 10_000  # pairs; beyond, active tables outgrow the data


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
    *,
    solver: Solver = "auto",
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
    solver
        See `choose_fit`.
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
                fit=choose_fit(train, validation, solver),
                current=one_step(train.mean, cov, metric),
                validation=validation,
                train_fraction=train.observables.n_samples / fold.size,
            )
        )
    return out


def choose_fit(train: Dual, validation: Dual, solver: Solver) -> Fit:
    """Fit by the named solver; "auto" lets validation choose where two may win.

    Quasi-Newton steps in the metric of independent units are within noise of the best wherever
    couplings are many and weak, at a few passes over the data; the L1 path wins where few of many
    pairs matter. "auto" tries the path on dense states (spins) with at most `MAX_L1` pairs and
    more than one pair in `L1_SAMPLES` samples; on sparse spikes it was never the better.
    """
    n, d = train.observables.n_samples, train.observables.n_observables
    fits = []
    if solver != "l1":
        fits.append(lbfgs(train, validation))
    sparse_data = isinstance(train.observables, SpikePairs)
    if solver == "l1" or (
        solver == "auto" and not sparse_data and n < L1_SAMPLES * d and d <= MAX_L1
    ):
        fits.append(l1_path(train, validation))
    best = max(fits, key=lambda f: float(f.validation.max()))
    return replace(best, passes=sum(f.passes for f in fits))


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
