"""Held-out currents: who is fitted, who is measured, and how sure the numbers are.

A booking deals the steps to cells; a cell belongs to one fold (held out together) and one unit
(resampled together). Equations and source: `irrev.ep.learn`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from irrev.ep.currents import (
    Cells,
    CurrentSums,
    Diffusion,
    Field,
    Force,
    Normal,
    Totals,
    evaluate,
    merge,
    normal_equations,
    summarise,
)
from irrev.ep.features import Basis
from irrev.ep.steps import Array, Index, Steps, Tracks, add_up, steps_of
from irrev.errors import InputError
from irrev.stats import circular_block_counts, empirical_p

RIDGES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
TIE = 0.01  # validation gains this close are equal: shrink no more than is needed
MAX_UNITS = 1000  # more trajectories are resampled in random groups
N_BLOCKS = 20  # blocks of one long record, and of time common to all tracks


@dataclass(frozen=True, slots=True)
class Booking:
    """Cells (fold x unit) of a resampling scheme."""

    cells: Cells
    unit_of: Index  # (cell,)
    fold_of: Index  # (cell,)
    n_units: int


@dataclass(frozen=True, slots=True)
class Fit:
    """Sums and the force of each fold."""

    sums: CurrentSums
    fold_b: Array  # (fold, function, dim)
    normals: tuple[tuple[Normal, Normal, Normal], ...]  # train, validation, both; a fold
    ridges: tuple[float, ...]
    forces: tuple[Force, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """Bootstrap interval of the value and of the bound."""

    low: float
    high: float
    sd: float
    bound_low: float
    bound_high: float


# --- bookings ---------------------------------------------------------------------------------


def by_track(tracks: Tracks, fold_of: Index, rng: np.random.Generator) -> Booking:
    """Units are tracks, or random groups of tracks of one fold."""
    unit = np.empty(tracks.n, dtype=np.int64)
    units, folds = 0, []
    n_folds = int(fold_of.max()) + 1
    for k in range(n_folds):
        mine = np.flatnonzero(fold_of == k)
        n = min(len(mine), MAX_UNITS // n_folds)
        unit[rng.permutation(mine)] = units + np.arange(len(mine)) % n
        units += n
        folds += [k] * n
    cells = Cells(
        lambda s: unit[s.owner], units, lambda s: fold_of[s.owner].astype(np.int64), n_folds
    )
    return Booking(cells, np.arange(units), np.array(folds), units)


def by_time(tracks: Tracks, fold_of: Index) -> Booking:
    """Units are blocks of time common to all tracks; a cell is one fold in one block."""
    first, last = int(tracks.frame.min()), int(tracks.frame.max())
    width = max(1, -(-(last - first + 1) // N_BLOCKS))
    n_blocks, n_folds = (last - first) // width + 1, int(fold_of.max()) + 1

    def cell(s: Steps) -> Index:
        return fold_of[s.owner] * n_blocks + (s.frame - first) // width

    cells = Cells(cell, n_blocks * n_folds, lambda s: fold_of[s.owner].astype(np.int64), n_folds)
    index = np.arange(n_blocks * n_folds)
    return Booking(cells, index % n_blocks, index // n_blocks, n_blocks)


def each_track(tracks: Tracks, fold_of: Index) -> Booking:
    """Book every track for itself."""
    n_folds = int(fold_of.max()) + 1
    cells = Cells(
        lambda s: s.owner, tracks.n, lambda s: fold_of[s.owner].astype(np.int64), n_folds
    )
    return Booking(cells, np.arange(tracks.n), fold_of, tracks.n)


# --- fit --------------------------------------------------------------------------------------


def fit(
    tracks: Tracks, basis: Basis, D: Diffusion, booking: Booking, ridges: Sequence[float]
) -> Fit:
    """Sum the currents of all steps and fit one force a fold."""
    sums = merge([summarise(s, basis, D, booking.cells) for s in steps_of(tracks)])
    return solve(sums, basis, D, booking, ridges)


def solve(
    sums: CurrentSums,
    basis: Basis,
    D: Diffusion,
    booking: Booking,
    ridges: Sequence[float] = RIDGES,
) -> Fit:
    """Fit one force a fold from merged sums."""
    n = booking.cells.n_folds
    fold_b = np.stack([sums.b[booking.fold_of == k].sum(axis=0) for k in range(n)])
    dim, total = fold_b.shape[2], sums.products.sum(axis=0)
    normals = []
    for k in range(n):
        check = sums.products[(k + 1) % n]
        both = total - sums.products[k]
        normals.append(tuple(normal_equations(G, D, dim) for G in (both - check, check, both)))
    pick = [_choose(normals[k], fold_b[None], k, ridges)[0] for k in range(n)]
    forces = [
        Force(basis, normals[k][2].solve(fold_b.sum(axis=0) - fold_b[k], ridges[pick[k]]))
        for k in range(n)
    ]
    return Fit(sums, fold_b, tuple(normals), tuple(ridges[i] for i in pick), tuple(forces))


def _choose(
    normals: tuple[Normal, Normal, Normal], fold_b: Array, k: int, ridges: Sequence[float]
) -> Index:
    """Smallest ridge as good as the best on validation, a draw; fold_b is (draw, fold, M, dim)."""
    train, check, _ = normals
    n = fold_b.shape[1]
    seen = fold_b[:, (k + 1) % n]
    b = fold_b.sum(axis=1) - fold_b[:, k] - seen
    gains = []
    for ridge in ridges:
        c = train.solve(b, ridge)
        gains.append(2 * np.sum(c * seen, axis=(1, 2)) - check.quadratic(c))
    gain = np.stack(gains)
    best = gain.max(axis=0)
    return np.argmax(gain >= best - TIE * np.abs(best), axis=0)


def measure(
    tracks: Tracks, forces: Iterable[Field], D: Diffusion, booking: Booking, lag: int = 1
) -> Totals:
    """Measure current, quadratic form and time of each cell at a lag."""
    zero = np.zeros(booking.cells.n_cells)
    total = Totals(zero, zero, zero)
    for steps in steps_of(tracks, lag=lag):
        total = total + evaluate(steps, tuple(forces), D, booking.cells)
    return total


# --- uncertainty --------------------------------------------------------------------------------


def rate(total: Array, duration: Array) -> float:
    """Return the ratio of sums; 0 for no time."""
    time = float(duration.sum())
    return float(total.sum()) / time if time > 0 else 0.0


def check_draws(level: float, draws: int, null_draws: int) -> None:
    """Refuse intervals and tests that cannot be made, before the long work."""
    if not 0 < level < 1:
        raise InputError(f"level is {level}; use a number between 0 and 1, both excluded.")
    if draws < 2 or null_draws < 1:
        raise InputError(
            f"draws is {draws}, null_draws is {null_draws}; an interval needs at least 2 draws, a "
            "test at least 1."
        )


def bootstrap(
    totals: Totals,
    booking: Booking,
    level: float,
    draws: int,
    rng: np.random.Generator,
    *,
    refitted: bool = True,
) -> Spread:
    """Resample units; every draw recomputes the ratio of sums.

    The force was fitted to the other folds, so the value answers to a unit through the fit too:
    to first order by 2 J_i - Q_i, the unit's part of the minimised loss, not by J_i alone. For a
    force that none of the units served to fit (`refitted` is False) J_i alone is right.
    """
    n = booking.n_units
    counts = circular_block_counts(n, draws, rng)
    bound = add_up(booking.unit_of, n, totals.bound)
    current = add_up(booking.unit_of, n, totals.current)
    duration = add_up(booking.unit_of, n, totals.duration)
    drawn = counts @ duration
    seen = drawn > 0
    # The bootstrap variance of n units is short by (n - 1)/n.
    widen = np.sqrt(n / (n - 1))
    value, certified = rate(current, duration), rate(bound, duration)
    offset = widen * ((counts @ bound)[seen] / drawn[seen] - certified)
    ends = [0.5 - level / 2, 0.5 + level / 2]
    bound_low, bound_high = np.quantile(offset, ends)
    if not refitted:
        offset = widen * ((counts @ current)[seen] / drawn[seen] - value)
    low, high = np.quantile(offset, ends)
    return Spread(
        low=value + float(low),
        high=value + float(high),
        sd=float(offset.std()),
        bound_low=certified + float(bound_low),
        bound_high=certified + float(bound_high),
    )


def flip_test(
    fitted: Fit, booking: Booking, draws: int, ridges: Sequence[float], rng: np.random.Generator
) -> float:
    """Share of random sign choices whose cross-fitted current reaches the observed one."""
    n, shape = booking.cells.n_folds, fitted.sums.b.shape[1:]
    cells = fitted.sums.b.reshape(len(booking.unit_of), -1)
    signs = rng.choice(np.array([-1.0, 1.0]), size=(draws, booking.n_units))
    signs = np.vstack([np.ones(booking.n_units), signs])
    fold_b = np.stack(
        [
            signs[:, booking.unit_of[booking.fold_of == k]] @ cells[booking.fold_of == k]
            for k in range(n)
        ],
        axis=1,
    ).reshape(draws + 1, n, *shape)
    current = np.zeros(draws + 1)
    for k in range(n):
        pick = _choose(fitted.normals[k], fold_b, k, ridges)
        b = fold_b.sum(axis=1) - fold_b[:, k]
        for i in np.unique(pick):
            rows = pick == i
            c = fitted.normals[k][2].solve(b[rows], ridges[i])
            current[rows] += np.sum(c * fold_b[rows, k], axis=(1, 2))
    return empirical_p(float(current[0]), current[1:])


def training_values(fitted: Fit, D: Diffusion, booking: Booking) -> tuple[float, float]:
    """Value on the fitted data, and the same without its block-form bias, eq. (3)."""
    unit = np.zeros((booking.n_units, *fitted.sums.b.shape[1:]))
    np.add.at(unit, booking.unit_of, fitted.sums.b)
    time = add_up(booking.unit_of, booking.n_units, fitted.sums.duration)
    total, span = unit.sum(axis=0), float(time.sum())
    G = normal_equations(fitted.sums.products.sum(axis=0), D, total.shape[1])
    train = float(np.sum(G.solve(total) * total)) / span
    residual = unit - (time / span)[:, None, None] * total
    trace = float(np.sum(G.solve(residual) * residual))
    return train, train - trace * booking.n_units / (booking.n_units - 1) / span
