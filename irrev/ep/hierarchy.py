"""Entropy production by order, memory, area or distance: nested observable sets on one split.

    g(1) < g(2) < ...   =>   ep(1) <= ep(2) <= ... <= ep                            (1)

ep(k) - ep(k-1) is what level k adds. On samples every level uses the same folds and starts from
the couplings of the level before, and the interval of a difference resamples both levels with the
same block draws, so that their common noise cancels; a difference may then be slightly negative
where a level adds only noise.

Limits: the differences are between lower bounds, so they are not shares of the true value.

Source: derived here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irrev.binning import SpikeBins
from irrev.ep.ascent import Fit
from irrev.ep.blockwise import BlockwiseSums, fit_blockwise, interval, join
from irrev.ep.choose import warm_fit
from irrev.ep.composite import Restricted
from irrev.ep.objective import Dual
from irrev.ep.observables import Observables
from irrev.ep.samples import Part, Samples, build_samples, joined
from irrev.ep.validation import check_options, cut_blocks
from irrev.errors import InputError
from irrev.stats import deal_blocks, generators

PAIRED = ("pair", "delayed", "same-time", "current")  # sets that a mask of pairs restricts


@dataclass(frozen=True, slots=True)
class Level:
    """Observables of one level."""

    name: str
    sets: tuple[str, ...]  # names of `irrev.ep.samples.SETS`
    pairs: NDArray[np.bool_] | None = None  # (unit, unit) symmetric; None: all pairs
    max_lag: int | None = None  # of "delayed", in steps; None: the whole window


ORDERS = (
    Level("lin", ("lin",)),
    Level("lin+pair", ("lin", "pair")),
    Level("lin+pair+triple", ("lin", "pair", "triple")),
)


@dataclass(frozen=True, slots=True)
class HierarchyEp:
    """Held-out bounds of nested observable sets, nats per step."""

    names: tuple[str, ...]  # (level,)
    value: NDArray[np.float64]  # (level,)
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    added: NDArray[np.float64]  # (level,) value minus that of the level before
    added_low: NDArray[np.float64]
    added_high: NDArray[np.float64]
    certified: NDArray[np.float64]  # (level,) unbiased for a true bound
    train: NDArray[np.float64]  # (level,) biased upwards
    n_observables: NDArray[np.int64]  # (level,)

    def __str__(self) -> str:
        parts = (
            f"{n}: {v:.4g} (adds {a:.4g}, {lo:.4g} to {hi:.4g})"
            for n, v, a, lo, hi in zip(
                self.names, self.value, self.added, self.added_low, self.added_high, strict=True
            )
        )
        return "; ".join(parts) + " nat/step"


def memory_levels(window: int) -> tuple[Level, ...]:
    """Return levels that add one lag of pairs each, up to `window` steps."""
    first = Level("lag 1", ("pair",))
    return first, *(
        Level(f"lags 1 to {lag}", ("pair", "delayed"), max_lag=lag) for lag in range(2, window + 1)
    )


def area_levels(areas: ArrayLike) -> tuple[Level, ...]:
    """Return pairs within areas, then pairs between them as well; one area a unit, (unit,)."""
    label = np.asarray(areas)
    return Level("within areas", ("pair",), label[:, None] == label), Level("all", ("pair",))


def distance_levels(distance: ArrayLike, edges: Sequence[float]) -> tuple[Level, ...]:
    """Return pairs up to each distance, then all.

    Parameters
    ----------
    distance
        Distance of each pair, shape (unit, unit), e.g. micrometres.
    edges
        Ascending limits, same unit.
    """
    far = np.asarray(distance, dtype=np.float64)
    near = (Level(f"up to {edge:g}", ("pair",), far <= edge) for edge in edges)
    return *near, Level("all", ("pair",))


def hierarchy_ep(
    bins: SpikeBins | ArrayLike,
    *,
    levels: Sequence[Level] = ORDERS,
    bin_s: float | None = None,
    lag: int = 1,
    window: int = 1,
    folds: int = 5,
    n_blocks: int = 50,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> HierarchyEp:
    """Estimate held-out bounds of nested observable sets on the same folds.

    Parameters
    ----------
    bins
        As `irrev.maxent_ep` takes them.
    levels
        Levels, each holding the observables of the one before (`ORDERS`, `memory_levels`,
        `area_levels`, `distance_levels`, or your own).
    bin_s, lag, window
        As in `irrev.maxent_ep`; all levels share the window.
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
    check_options(folds=folds, n_blocks=n_blocks, level=level, draws=draws)
    sums = hierarchy_sums(
        bins,
        levels=levels,
        bin_s=bin_s,
        lag=lag,
        window=window,
        folds=folds,
        n_blocks=n_blocks,
        seed=seed,
    )
    return finish_hierarchy(sums, level=level, draws=draws, seed=seed)


@dataclass(frozen=True, slots=True)
class HierarchySums:
    """Held-out sums of all levels for some of the folds; enough to finish without the data."""

    names: tuple[str, ...]  # (level,)
    n_observables: NDArray[np.int64]  # (level,)
    span: int  # steps of a sample
    sums: BlockwiseSums


def hierarchy_sums(
    bins: SpikeBins | ArrayLike,
    *,
    levels: Sequence[Level],
    bin_s: float | None = None,
    lag: int = 1,
    window: int = 1,
    folds: int = 5,
    n_blocks: int = 50,
    seed: int = 0,
    only: Sequence[int] | None = None,
) -> HierarchySums:
    """Fit all levels on some folds (`only`, ascending; default all); else as `hierarchy_ep`."""
    names = list(dict.fromkeys(name for one in levels for name in one.sets))
    samples = build_samples(bins, bin_s=bin_s, observables=names, lag=lag, window=window)
    kept, block = cut_blocks(samples.starts, n_blocks, lag=samples.span)
    dealing, _ = generators(seed, 2)
    samples, fold_of_block = samples.take(kept), deal_blocks(n_blocks, folds, dealing)
    chosen = [_chosen(samples, one) for one in levels]
    for before, after in pairwise(zip(levels, chosen, strict=True)):
        if not all(np.isin(before[1][k], after[1].get(k, [])).all() for k in before[1]):
            raise InputError(f"{after[0].name} does not hold {before[0].name}; nest the levels.")
    items, previous = [], None
    for k, keep in enumerate(chosen):
        fitter = _WarmStart(samples, keep, previous)
        observables = _level_observables(samples, keep)
        items.append(fit_blockwise(observables, block, fold_of_block, fitter, item=k, only=only))
        previous = fitter
    return HierarchySums(
        names=tuple(one.name for one in levels),
        n_observables=np.array([sum(map(len, keep.values())) for keep in chosen]),
        span=samples.span,
        sums=join(items),
    )


def finish_hierarchy(
    hierarchy: HierarchySums, *, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> HierarchyEp:
    """Resample the sums of all folds; parameters as `hierarchy_ep`."""
    _, drawing = generators(seed, 2)
    sums = hierarchy.sums
    n = sums.n.sum(axis=1)
    value = sums.values() / n
    deviations = sums.draw(draws, drawing) / n
    # Both ends of a difference share draws; couplings of a fold saw the test parts of others.
    widen = np.sqrt(1.0 + sums.noise_fractions(sums.train - value))
    steps = np.diff(deviations, axis=1, prepend=0.0)
    added = np.diff(value, prepend=0.0)
    low, high = interval(value, deviations, widen, level)
    added_low, added_high = interval(added, steps, widen, level)
    per_step = 1.0 / hierarchy.span
    return HierarchyEp(
        names=hierarchy.names,
        value=value * per_step,
        low=low * per_step,
        high=high * per_step,
        added=added * per_step,
        added_low=added_low * per_step,
        added_high=added_high * per_step,
        certified=sums.certified * per_step,
        train=sums.train * per_step,
        n_observables=hierarchy.n_observables,
    )


Chosen = dict[int, NDArray[np.int64]]  # part -> its observables that take part


def _chosen(samples: Samples, level: Level) -> Chosen:
    """Return the observables of each part that a level holds."""
    out = {}
    for k, part in enumerate(samples.parts):
        if part.name not in level.sets:
            continue
        if part.name == "delayed" and level.max_lag is not None and part.lag > level.max_lag:
            continue
        every = np.arange(part.observables.n_observables)
        if level.pairs is not None and part.name in PAIRED:
            every = every[pair_mask(part, samples.n_units, level.pairs)]
        out[k] = every
    if not sum(map(len, out.values())):
        raise InputError(f"level {level.name} holds no observable; check its sets and its pairs.")
    return out


def pair_mask(part: Part, n_units: int, pairs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which observables of a set of pairs belong to the marked pairs of units."""
    if pairs.shape != (n_units, n_units):
        raise InputError(f"pairs have shape {pairs.shape}; pass ({n_units}, {n_units}).")
    d = part.observables.n_observables
    if part.name == "current":
        i, j = np.nonzero(~np.eye(n_units, dtype=bool))
    else:
        i, j = np.triu_indices(n_units, 0 if d > n_units * (n_units - 1) // 2 else 1)
    return pairs[i, j] | pairs[j, i]


def _level_observables(samples: Samples, keep: Chosen) -> Observables:
    parts = [
        Part(part.name, part.lag, part.observables)
        if keep[k].size == part.observables.n_observables
        else Part(part.name, part.lag, Restricted(part.observables, keep[k]))
        for k, part in enumerate(samples.parts)
        if k in keep and keep[k].size
    ]
    return joined(parts)


class _WarmStart:
    """Fit a level from the couplings that the level before found on the same fold."""

    def __init__(self, samples: Samples, keep: Chosen, before: "_WarmStart | None") -> None:
        first = np.cumsum([0, *(p.observables.n_observables for p in samples.parts)])
        self.place = np.concatenate([first[k] + at for k, at in sorted(keep.items())])
        self.n_all = int(first[-1])
        self.before = before
        self.found: dict[int, NDArray[np.float64]] = {}

    def __call__(self, train: Dual, validation: Dual, fold: int) -> Fit:
        start = None if self.before is None else self.before.found[fold][self.place]
        fit = warm_fit(train, validation, start)
        self.found[fold] = np.zeros(self.n_all)
        self.found[fold][self.place] = fit.theta
        return fit
