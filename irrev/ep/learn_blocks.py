"""Entropy production of an ensemble that does not fit into memory, block by block.

The cross-fit of `irrev.ep.learn` with sums that add up: each block of trajectories is read once
for b and G and once to measure the forces fitted to the others; what a block leaves behind has the
size of the basis. Blocks are independent, so any worker may read them; sums merge in the order
of the blocks, so the numbers do not depend on who read what.

Folds are dealt whole blocks; units of interval and test are groups of trajectories of one block,
at least a hundred in all. Centre and scale of the basis, and the diffusion matrix where none is
given, come from the first block. Trajectories are independent runs: no film, no stage drift.

Equations, limits and source: `irrev.ep.learn`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from irrev.ep.currents import (
    Cells,
    CurrentSums,
    Diffusion,
    Force,
    Totals,
    evaluate,
    merge,
    summarise,
)
from irrev.ep.features import Basis, FamilyName, InTime, family
from irrev.ep.holdout import (
    RIDGES,
    Booking,
    bootstrap,
    check_draws,
    flip_test,
    rate,
    solve,
    training_values,
)
from irrev.ep.increments import measure_increments
from irrev.ep.learn import SAMPLE, notes_for, resolve_diffusion
from irrev.ep.learned import LearnedEp
from irrev.ep.steps import Array, Index, Steps, Tracks, add_up, step_count, steps_of
from irrev.errors import InputError
from irrev.stats import check_seed, deal_blocks

Load = Callable[[int], Tracks]
Map = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterable[Any]]

UNITS = 100  # groups of trajectories to resample, at least


@dataclass(frozen=True, slots=True)
class Measured:
    """What one block says of a force that was not fitted to it."""

    totals: Totals  # by group
    coarse: Totals  # by group, at twice the interval
    track_current: Array  # (trajectory,)
    track_duration: Array
    n_steps: int
    n_gaps: int


def learn_blocks(
    load: Load,
    n_blocks: int,
    *,
    features: FamilyName | Basis = "linear",
    n_features: int = 20,
    time_powers: int = 0,
    diffusion: ArrayLike | Diffusion | None = None,
    ridge: float | None = None,
    folds: int = 5,
    level: float = 0.95,
    draws: int = 1000,
    null_draws: int = 500,
    seed: int = 0,
    run: Map = starmap,
) -> LearnedEp:
    """Estimate the entropy production rate of an ensemble read in blocks of trajectories.

    Parameters
    ----------
    load
        Returns block b as tracks, `irrev.ep.steps.tracks_from`; it must pickle where `run` uses
        processes. Blocks are read twice, the first once more.
    n_blocks
        Number of blocks, at least `folds`.
    features, n_features, time_powers, diffusion, ridge, folds, level, draws, null_draws, seed
        Of `irrev.learn_ep`.
    run
        Applies a function to many tuples of arguments, in order: `itertools.starmap`, or the `map`
        of a crew of workers.

    Returns
    -------
        As `irrev.learn_ep`, with the unit "group". Memory is one block a worker, and a few numbers
        a trajectory.

    Raises
    ------
    InputError
        If there are fewer blocks than folds, or a block holds fewer trajectories than groups.
    """
    if n_blocks < folds or folds < 3:
        raise InputError(
            f"{n_blocks} blocks in {folds} folds; need folds >= 3 and blocks >= folds."
        )
    check_draws(level, draws, null_draws)
    rng = np.random.default_rng(check_seed(seed))
    first = load(0)
    increments = measure_increments(first)
    D, rule = resolve_diffusion(diffusion, increments)
    basis = family(features, first.x[:SAMPLE], n=n_features, rng=rng)
    if time_powers:
        basis = InTime(basis, time_powers, span=max(float(first.frame.max()), 1.0) * first.dt)
    groups = -(-UNITS // n_blocks)
    fold_of_block = deal_blocks(n_blocks, folds, rng)
    booking = _booking(fold_of_block, groups)
    ridges = RIDGES if ridge is None else (float(ridge),)
    # First reading: sums of every block; second: the forces of the other folds.
    parts = list(run(sums_of_block, [(load, b, basis, D, groups) for b in range(n_blocks)]))
    fitted = solve(_joined(parts, fold_of_block, folds), basis, D, booking, ridges)
    tasks = [(load, b, fitted.forces[fold_of_block[b]], D, groups) for b in range(n_blocks)]
    seen: list[Measured] = list(run(measure_block, tasks))
    totals, coarse = (_stacked([getattr(m, n) for m in seen]) for n in ("totals", "coarse"))
    spread = bootstrap(totals, booking, level, draws, rng)
    p = {"group": flip_test(fitted, booking, null_draws, ridges, rng)}
    value, twice = rate(totals.current, totals.duration), rate(coarse.current, coarse.duration)
    train, debiased = training_values(fitted, D, booking)
    counts = [len(m.track_current) for m in seen]
    return LearnedEp(
        value=value,
        low=spread.low,
        high=spread.high,
        level=level,
        sd=spread.sd,
        p=p["group"],
        certified=rate(totals.bound, totals.duration),
        certified_low=spread.bound_low,
        certified_high=spread.bound_high,
        train=train,
        debiased=debiased,
        coarse=twice,
        second_order=2 * value - twice,
        dt=first.dt,
        n_trajectories=sum(counts),
        n_steps=sum(m.n_steps for m in seen),
        duration=float(totals.duration.sum()),
        n_gaps=sum(m.n_gaps for m in seen),
        unit="group",
        n_units=booking.n_units,
        unit_sd={"group": spread.sd},
        unit_p=p,
        basis=features if isinstance(features, str) else type(features).__name__,
        ridge=fitted.ridges,
        diffusion=D if isinstance(D, np.ndarray) else None,
        diffusion_rule=rule,
        increments=increments,
        drift_removed=False,
        centred=False,
        forces=fitted.forces,
        fold_of=np.repeat(fold_of_block, counts),
        track_current=np.concatenate([m.track_current for m in seen]),
        track_duration=np.concatenate([m.track_duration for m in seen]),
        notes=notes_for(increments, value, twice, booking.n_units, rule, first.dt, spread.sd, p),
    )


def sums_of_block(load: Load, b: int, basis: Basis, D: Diffusion, groups: int) -> CurrentSums:
    """Sum the currents of one block; this runs on a worker."""
    tracks = load(b)
    if tracks.n < groups:
        raise InputError(
            f"block {b} holds {tracks.n} trajectories for {groups} groups; take larger blocks."
        )
    return merge([summarise(s, basis, D, _groups(groups)) for s in steps_of(tracks)])


def measure_block(load: Load, b: int, force: Force, D: Diffusion, groups: int) -> Measured:
    """Measure a force on one block; this runs on a worker."""
    tracks = load(b)
    owner = Cells(lambda s: s.owner, tracks.n, _one_fold, 1)
    each = _total([evaluate(s, (force,), D, owner) for s in steps_of(tracks)])
    group = np.arange(tracks.n) % groups
    cells = _groups(groups)
    return Measured(
        Totals(*(add_up(group, groups, v) for v in (each.current, each.quadratic, each.duration))),
        _total([evaluate(s, (force,), D, cells) for s in steps_of(tracks, lag=2)]),
        each.current,
        each.duration,
        int(step_count(tracks).sum()),
        tracks.n_gaps,
    )


def _groups(n: int) -> Cells:
    return Cells(lambda s: s.owner % n, n, _one_fold, 1)


def _one_fold(steps: Steps) -> Index:
    return np.zeros(steps.size, dtype=np.int64)


def _booking(fold_of_block: Index, groups: int) -> Booking:
    """Cell (block, group); the cells' own functions are never called: blocks come summed."""
    n_folds, n_cells = int(fold_of_block.max()) + 1, len(fold_of_block) * groups
    cells = Cells(_one_fold, n_cells, _one_fold, n_folds)
    return Booking(cells, np.arange(n_cells), np.repeat(fold_of_block, groups), n_cells)


def _joined(parts: Sequence[CurrentSums], fold_of_block: Index, n_folds: int) -> CurrentSums:
    """Lay the cells of blocks after one another and add the products of each fold."""
    products = np.zeros((n_folds, *parts[0].products.shape[1:]))
    for part, fold in zip(parts, fold_of_block, strict=True):
        products[fold] += part.products[0]
    return CurrentSums(
        np.concatenate([p.b for p in parts]), np.concatenate([p.duration for p in parts]), products
    )


def _total(parts: Sequence[Totals]) -> Totals:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _stacked(parts: Sequence[Totals]) -> Totals:
    return Totals(
        *(np.concatenate([getattr(p, n) for p in parts])
          for n in ("current", "quadratic", "duration"))
    )  # fmt: skip
