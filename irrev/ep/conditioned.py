"""Conditioning on labels that time reversal leaves unchanged, and bounds per pair of areas.

A label l of a sample that is the same read backwards (session, condition, number of units that
change, which one changes) may have a normaliser and couplings of its own:

    ep >= sum_l p(l) max_theta_l  theta_l . <g>_l - ln <exp(theta_l . g~)>_l        (1)

This is the same as adding the indicators of the labels *and* their products with g; indicators
alone would share one theta and give less. Each label needs enough samples.

Restricting `pair` to the pairs between two areas gives a bound of its own on the entropy
production of the whole, one for each pair of areas; they are not parts of a sum.

Source: derived here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irrev.binning import SpikeBins
from irrev.ep.blockwise import BlockwiseSums, fit_blockwise, interval, join, reversal_p
from irrev.ep.choose import Solver, check_solver, choose_fit
from irrev.ep.composite import Restricted
from irrev.ep.samples import Given, Samples, build_samples
from irrev.ep.validation import check_options, cut_blocks
from irrev.errors import InputError
from irrev.stats import benjamini_hochberg, deal_blocks, generators

MIN_SAMPLES = 200  # of a label: 40 to test and 40 to choose on in each of 5 folds


@dataclass(frozen=True, slots=True)
class ConditionedEp:
    """Held-out bound conditioned on labels, nats per step."""

    value: float
    low: float
    high: float
    level: float  # of the interval
    certified: float
    train: float
    p: float  # against blocks read backwards; 1 where value <= 0
    labels: NDArray[np.generic]  # (label,) that took part
    share: NDArray[np.float64]  # (label,) of all samples
    label_value: NDArray[np.float64]  # (label,) bound given the label, nats per step
    label_low: NDArray[np.float64]
    label_high: NDArray[np.float64]
    skipped: float  # share of samples whose label has too few; they count as 0
    n_steps: int

    def __str__(self) -> str:
        return (
            f"EP bound given {self.labels.size} labels {self.value:.4g} nat/step "
            f"({100 * self.level:g} % interval {self.low:.4g} to {self.high:.4g}), "
            f"p = {self.p:.3g}, {self.n_steps:,} steps"
        )


def conditioned_ep(
    bins: SpikeBins | ArrayLike | Given,
    labels: ArrayLike,
    *,
    bin_s: float | None = None,
    observables: Sequence[str] = ("pair",),
    lag: int = 1,
    window: int = 1,
    min_samples: int = MIN_SAMPLES,
    folds: int = 5,
    n_blocks: int = 50,
    solver: Solver = "auto",
    level: float = 0.95,
    draws: int = 1000,
    null_draws: int = 200,
    seed: int = 0,
) -> ConditionedEp:
    """Estimate a held-out bound with couplings and normaliser of each label for itself.

    Parameters
    ----------
    bins
        As `irrev.maxent_ep` takes them.
    labels
        Label of the sample that starts at each step, shape (time,). It must be the same when the
        sample is read backwards: see `changes` and `changed_unit` for labels read off the states.
    min_samples
        Labels with fewer samples are left out: they add 0, and the sum stays a bound.
    bin_s, observables, lag, window, folds, n_blocks, solver, level, draws, null_draws, seed
        As in `irrev.maxent_ep`.

    Returns
    -------
        The sum over labels with interval and p-value, and each label's own bound.

    Raises
    ------
    InputError
        If there are not as many labels as steps, or no label has enough samples.
    """
    check_options(folds=folds, n_blocks=n_blocks, level=level, draws=draws, null_draws=null_draws)
    check_solver(solver)
    samples = build_samples(bins, bin_s=bin_s, observables=observables, lag=lag, window=window)
    label = np.asarray(labels)
    last = int(samples.starts.max(initial=-1))
    if label.ndim != 1 or label.size <= last:
        raise InputError(
            f"{label.shape} labels for samples that start up to step {last}; pass one a step."
        )
    dealing, drawing, null = generators(seed, 3)
    kept, block = cut_blocks(samples.starts, n_blocks, lag=samples.span)
    samples, fold_of_block = samples.take(kept), deal_blocks(n_blocks, folds, dealing)
    names, index, count = np.unique(label[samples.starts], return_inverse=True, return_counts=True)
    items = []
    for k in np.flatnonzero(count >= min_samples):
        rows = np.flatnonzero(index == k)
        items.append(
            fit_blockwise(
                samples.take(rows).observables,
                block[rows],
                fold_of_block,
                lambda train, held, _: choose_fit(train, held, solver),
                item=int(k),
            )
        )
    if not items:
        raise InputError(
            f"the commonest label has {count.max()} samples; lower min_samples ({min_samples})."
        )
    sums = join(items)
    n, total, per_step = sums.n.sum(axis=1), samples.starts.size, 1.0 / samples.span
    each = sums.values() / n
    optimism = sums.train - each
    value, train = float(n @ each) / total, float(n @ sums.train) / total
    spread = float(n @ sums.variances()) / total
    noise = float(np.clip((train - value) / spread, 0, 1)) if spread > 0 else 0.0
    deviations = sums.draw(draws, drawing)
    low, high = interval(value, deviations.sum(axis=1) / total, np.sqrt(1 + noise), level)
    widen = np.sqrt(1 + sums.noise_fractions(optimism))
    label_low, label_high = interval(each, deviations / n, widen, level)
    p = reversal_p(sums.gram.sum(axis=0), null_draws, null)[0]
    return ConditionedEp(
        value=value * per_step,
        low=float(low) * per_step,
        high=float(high) * per_step,
        level=level,
        certified=float(n @ sums.certified) / total * per_step,
        train=train * per_step,
        p=p if value > 0 else 1.0,
        labels=names[sums.item],
        share=n / total,
        label_value=each * per_step,
        label_low=label_low * per_step,
        label_high=label_high * per_step,
        skipped=1.0 - float(n.sum()) / total,
        n_steps=total,
    )


def changes(states: SpikeBins | ArrayLike, *, lag: int = 1) -> NDArray[np.int64]:
    """Return how many units differ between the ends of each step, shape (time,).

    Examples
    --------
    >>> changes(np.array([[0, 1], [1, 0], [1, 0]])).tolist()
    [2, 0, 0]
    """
    s = _states(states)
    out = np.zeros(s.shape[0], np.int64)
    out[: s.shape[0] - lag] = np.sum(s[lag:] != s[:-lag], axis=1)
    return out


def changed_unit(states: SpikeBins | ArrayLike) -> NDArray[np.int64]:
    """Return which unit changes in each step, -1 for none, shape (time,).

    Raises
    ------
    InputError
        If two units change in one step.
    """
    s = _states(states)
    differ = s[1:] != s[:-1]
    most = int(differ.sum(axis=1).max(initial=0))
    if most > 1:
        raise InputError(f"{most} units change in one step; use `changes` as labels.")
    out = np.full(s.shape[0], -1)
    out[:-1] = np.where(differ.any(axis=1), differ.argmax(axis=1), -1)
    return out


def _states(given: SpikeBins | ArrayLike) -> NDArray[np.generic]:
    s = given.to_dense() if isinstance(given, SpikeBins) else np.asarray(given)
    if s.ndim != 2:
        raise InputError(f"states have shape {s.shape}; pass (time, unit).")
    return s


@dataclass(frozen=True, slots=True)
class AreaEp:
    """Bounds from the pairs between areas, nats per step; each bounds the whole."""

    areas: tuple[str, ...]
    value: NDArray[np.float64]  # (area, area) symmetric, NaN where there is no pair
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    p: NDArray[np.float64]  # against blocks read backwards
    q: NDArray[np.float64]  # the same, false-discovery rate over the pairs of areas
    n_pairs: NDArray[np.int64]  # (area, area) pairs of units


def area_ep(
    bins: SpikeBins | ArrayLike,
    areas: ArrayLike,
    *,
    bin_s: float | None = None,
    folds: int = 5,
    n_blocks: int = 50,
    solver: Solver = "auto",
    level: float = 0.95,
    draws: int = 1000,
    null_draws: int = 200,
    seed: int = 0,
) -> AreaEp:
    """Estimate a held-out bound from the pairs of units of each pair of areas, on one split.

    Parameters
    ----------
    bins
        As `irrev.maxent_ep` takes them.
    areas
        Area of each unit, shape (unit,).
    bin_s, folds, n_blocks, solver, level, draws, null_draws, seed
        As in `irrev.maxent_ep`.

    Raises
    ------
    InputError
        If there are not as many areas as units.
    """
    check_options(folds=folds, n_blocks=n_blocks, level=level, draws=draws, null_draws=null_draws)
    check_solver(solver)
    samples = build_samples(bins, bin_s=bin_s)
    label = np.asarray(areas).astype(str)
    if label.shape != (samples.n_units,):
        raise InputError(f"{label.shape} areas for {samples.n_units} units; pass one a unit.")
    dealing, drawing, null = generators(seed, 3)
    kept, block = cut_blocks(samples.starts, n_blocks)
    samples, fold_of_block = samples.take(kept), deal_blocks(n_blocks, folds, dealing)
    names, index = np.unique(label, return_inverse=True)
    i, j = np.triu_indices(samples.n_units, 1)
    low_area, high_area = np.minimum(index[i], index[j]), np.maximum(index[i], index[j])
    pair = low_area * names.size + high_area
    items = [
        _between(samples, np.flatnonzero(pair == k), block, fold_of_block, solver, int(k))
        for k in np.unique(pair)
    ]
    sums = join(items)
    return _area_result(sums, names, pair, level, sums.draw(draws, drawing), null_draws, null)


def _between(
    samples: Samples,
    chosen: NDArray[np.int64],
    block: NDArray[np.int64],
    fold_of_block: NDArray[np.int64],
    solver: Solver,
    item: int,
) -> BlockwiseSums:
    """Cross-fit the chosen pairs."""
    return fit_blockwise(
        Restricted(samples.observables, chosen),
        block,
        fold_of_block,
        lambda train, held, _: choose_fit(train, held, solver),
        item=item,
    )


def _area_result(
    sums: BlockwiseSums,
    names: NDArray[np.str_],
    pair: NDArray[np.int64],
    level: float,
    deviations: NDArray[np.float64],
    null_draws: int,
    null: np.random.Generator,
) -> AreaEp:
    n = sums.n.sum(axis=1)
    each = sums.values() / n
    widen = np.sqrt(1 + sums.noise_fractions(sums.train - each))
    low, high = interval(each, deviations / n, widen, level)
    tests = [reversal_p(gram, null_draws, null)[0] for gram in sums.gram]
    p = np.where(each > 0, tests, 1.0)
    out = {name: np.full((names.size, names.size), np.nan) for name in ("v", "l", "h", "p", "q")}
    for name, x in zip(out, (each, low, high, p, benjamini_hochberg(p)), strict=True):
        a, b = np.divmod(sums.item, names.size)
        out[name][a, b] = out[name][b, a] = x
    counts = np.bincount(pair, minlength=names.size**2).reshape(names.size, names.size)
    return AreaEp(
        areas=tuple(names.tolist()),
        value=out["v"],
        low=out["l"],
        high=out["h"],
        p=out["p"],
        q=out["q"],
        n_pairs=counts + counts.T - np.diag(np.diag(counts)),
    )
