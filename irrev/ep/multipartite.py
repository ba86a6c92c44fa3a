"""Entropy production of systems that change one unit at a time: one small problem per unit.

    ep >= sum_i p_i max_theta_i  theta_i . <g_i> - ln <exp(-theta_i . g_i)>         (1)
    g_ij = -2 s_i s_j,  j != i  (s_i before the flip; optionally a column -2 s_i)   (2)

averages over the steps at which unit i flips, p_i their number per attempt. The reverse of "i
flips" is "i flips", so splitting by the unit loses nothing, steps without change add nothing, and
N problems of N - 1 unknowns replace one of N(N-1)/2. The sum is at least the bound of `pair` with
one normaliser. Conditioning on any other label that reversal leaves alone works the same way.

Each unit is cross-fitted on blocks of states that all units share. The work splits over units:
`fit_units` returns the block sums of any subset, `+` joins them, `solve` ends the estimate. The
guard for units with few flips is eq. (4) of `irrev.ep.objective`.

Limits: at most one unit may change per step; a unit with few flips is left out (its term is
not negative, so the sum stays a bound). Only theta_ij - theta_ji is a physical quantity.

Source: Aguilera, Ito, Kolchinsky, Phys. Rev. Lett. 136, 077101 (2026); cross-fit and interval are
derived here.
"""

from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from irrev.ep.ascent import Fit
from irrev.ep.blockwise import BlockwiseSums, fit_blockwise, interval, join, reversal_p
from irrev.ep.choose import combine
from irrev.ep.explicit import AntisymmetricTable
from irrev.ep.l1 import l1_path
from irrev.ep.objective import Dual
from irrev.ep.solvers import chord
from irrev.ep.validation import check_options
from irrev.errors import InputError
from irrev.stats import check_seed, deal_blocks, generators

MIN_FLIPS = 100  # fewer say nothing about N couplings
NEWTON_SAMPLES = 4  # per coupling: below, the covariance behind a Newton step is mostly noise


@dataclass(frozen=True, slots=True)
class MultipartiteEp:
    """Held-out bound summed over units, nats per attempt."""

    value: float
    low: float
    high: float
    level: float
    certified: float
    train: float
    p: float  # against blocks read backwards; 1 where value <= 0
    statistic: float  # quadratic entropy production that the test compares
    null_values: NDArray[np.float64]  # (null_draws,)
    unit_values: NDArray[np.float64]  # (unit,) terms of the sum, NaN where left out
    theta: NDArray[np.float64]  # (unit, observable) couplings per unit
    n_units: int
    n_skipped: int  # units with too few flips
    n_attempts: float

    def __str__(self) -> str:
        return (
            f"multipartite EP bound {self.value:.4g} nat/attempt ({100 * self.level:g} % interval "
            f"{self.low:.4g} to {self.high:.4g}), p = {self.p:.3g}, {self.n_units} units"
            + (f", {self.n_skipped} left out" if self.n_skipped else "")
        )


def multipartite_ep(
    states: NDArray[np.integer],
    flips: NDArray[np.bool_] | None = None,
    *,
    lin: bool = False,
    folds: int = 5,
    n_blocks: int = 50,
    min_flips: int = MIN_FLIPS,
    level: float = 0.95,
    draws: int = 1000,
    null_draws: int = 200,
    seed: int = 0,
) -> MultipartiteEp:
    """Estimate a held-out bound for a system that changes one unit at a time.

    Parameters
    ----------
    states
        States -1 or +1, shape (time, unit).
    flips
        Whether a redraw of each unit out of each state flips it, shape (time, unit): every cell
        is one attempt. None: `states` is a path, one attempt a step.
    lin
        Add the column -2 s_i to each unit.
    folds, n_blocks
        Folds of the cross-fit and contiguous blocks dealt to them.
    min_flips
        Units with fewer flips are left out.
    level, draws
        Level of the interval and bootstrap draws behind it.
    null_draws
        Random directions behind the p-value.
    seed
        Seed of dealing, bootstrap and null.

    Returns
    -------
        Value, interval, p-value and the term of each unit.

    Raises
    ------
    InputError
        If states are not -1/+1, shapes differ, or two units change in one step.
    """
    check_seed(seed)
    check_options(folds=folds, n_blocks=n_blocks, level=level, draws=draws, null_draws=null_draws)
    states, flips, attempts = check_flips(states, flips)
    if n_blocks > states.shape[0]:
        raise InputError(f"{states.shape[0]} states for {n_blocks} blocks; use fewer blocks.")
    fold_of_block = deal_blocks(n_blocks, folds, np.random.default_rng(seed))
    units = np.flatnonzero(flips.sum(axis=0) >= min_flips)
    sums = fit_units(states, flips, units, fold_of_block, lin=lin)
    return solve(
        sums,
        n_units=states.shape[1],
        n_attempts=attempts,
        level=level,
        draws=draws,
        null_draws=null_draws,
        seed=seed + 1,
    )


def check_flips(
    states: NDArray[np.integer], flips: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int8], NDArray[np.bool_], float]:
    """Check the input and read the flips off a path; return them with the number of attempts."""
    states = np.asarray(states)
    if states.ndim != 2 or not np.all(np.abs(states) == 1):
        raise InputError(f"states have shape {states.shape}; pass -1/+1 of shape (time, unit).")
    states = states.astype(np.int8)
    if flips is not None:
        flips = np.asarray(flips)
        if flips.shape != states.shape:
            raise InputError(f"flips have shape {flips.shape}, states {states.shape}; align them.")
        if flips.dtype != bool and not np.all((flips == 0) | (flips == 1)):
            raise InputError("flips hold values other than 0 and 1; say of each cell if it flips.")
        return states, flips.astype(bool, copy=False), float(states.size)
    changed = states[1:] != states[:-1]
    most = int(changed.sum(axis=1).max(initial=0))
    if most > 1:
        raise InputError(f"{most} units change in one step; use maxent_ep for such data.")
    return states[:-1], changed, float(changed.shape[0])


def fit_units(
    states: NDArray[np.int8],
    flips: NDArray[np.bool_],
    units: NDArray[np.integer],
    fold_of_block: NDArray[np.int64],
    *,
    lin: bool = False,
) -> BlockwiseSums:
    """Cross-fit the given units and return their sums over blocks.

    Parameters
    ----------
    states, flips
        As `check_flips` returns them.
    units
        Units to fit, at least one.
    fold_of_block
        Fold of each contiguous block of states, the same for all units.
    lin
        Add the column -2 s_i.
    """
    block = np.arange(states.shape[0]) * fold_of_block.size // states.shape[0]
    if not len(units):
        raise InputError("no unit to fit: every one flips too rarely; lower min_flips.")
    out = []
    for unit in units:
        rows = np.flatnonzero(flips[:, unit])
        table = flip_table(states[rows], int(unit), lin=lin)
        out.append(fit_blockwise(table, block[rows], fold_of_block, fit_flips, item=int(unit)))
    return join(out)


def flip_table(
    states: NDArray[np.int8],
    unit: int,
    *,
    lin: bool = False,
    dtype: type[np.floating] = np.float32,
) -> AntisymmetricTable:
    """Return g of eq. (2) for states out of which `unit` flips, shape (flip, observable)."""
    table = states.astype(dtype)
    own = -2.0 * table[:, unit]
    table *= own[:, None]
    table[:, unit] = own if lin else 0.0
    return AntisymmetricTable(table)


def fit_flips(train: Dual, validation: Dual, fold: int = 0) -> Fit:
    """Fit one unit by the L1 path, combined with one Newton step where its covariance is known.

    The path suits few strong couplings, the step many weak ones. Further Newton steps lose on
    nearly separable units, and gain nothing on others. The guard of the validation part
    (`irrev.ep.objective`, eq. 4) already holds theta . g, so there is no limit on it.
    """
    validation = replace(validation, limited=False)
    sparse = l1_path(train, validation)
    if train.observables.n_samples < NEWTON_SAMPLES * train.observables.n_observables:
        return sparse
    return combine(train, validation, [sparse, chord(train, validation, max_iterations=1)])


def solve(
    sums: BlockwiseSums,
    *,
    n_units: int,
    n_attempts: float,
    level: float,
    draws: int,
    null_draws: int,
    seed: int,
) -> MultipartiteEp:
    """Sum the units, resample the blocks for the interval, sign the blocks for the null."""
    bootstrapping, null = generators(seed, 2)
    terms = sums.values() / n_attempts
    value = float(terms.sum())
    deviations = sums.draw(draws, bootstrapping).sum(axis=1) / n_attempts
    flips = sums.n.sum(axis=1)
    rate = flips / n_attempts
    train, certified = float(rate @ sums.train), float(rate @ sums.certified)
    variance = float(rate @ sums.variances())
    noise = float(np.clip((train - value) / variance, 0.0, 1.0)) if variance > 0 else 0.0
    low, high = interval(value, deviations, sqrt(1.0 + noise), level)
    p, statistic, null_values = reversal_p(sums.gram.sum(axis=0), null_draws, null)
    n_blocks = sums.fold_of_block.size
    weight = 2.0 * n_blocks / (n_blocks - 1) / n_attempts / max(float(flips.mean()), 1.0)
    theta = np.zeros((n_units, sums.theta[0].size))
    unit_values = np.full(n_units, np.nan)
    theta[sums.item], unit_values[sums.item] = np.stack(sums.theta), terms
    return MultipartiteEp(
        value=value,
        low=float(low),
        high=float(high),
        level=level,
        certified=certified,
        train=train,
        p=p if value > 0 else 1.0,
        statistic=weight * statistic,
        null_values=weight * null_values,
        unit_values=unit_values,
        theta=theta,
        n_units=n_units,
        n_skipped=n_units - sums.item.size,
        n_attempts=n_attempts,
    )
