"""Entropy production of systems that change one unit at a time: one small problem per unit.

    ep >= sum_i p_i max_theta_i  theta_i . <g_i> - ln <exp(-theta_i . g_i)>         (1)
    g_ij = -2 s_i s_j,  j != i  (s_i before the flip; optionally a column -2 s_i)   (2)

averages over the steps at which unit i flips, p_i their number per attempt. The reverse of "i
flips" is "i flips", so splitting by the unit loses nothing, steps without change add nothing, and
N problems of N - 1 unknowns replace one of N(N-1)/2. The sum is at least the bound of `pair` with
one normaliser. Conditioning on any other label that reversal leaves alone works the same way.

Each unit is cross-fitted on blocks of states that all units share. The work splits over units:
`fit_units` returns the block sums of any subset, `+` joins them, `solve` ends the estimate.

A unit may flip only a hundred times in a validation part: couplings that no sample there
contradicts would be scaled up without end, and one test sample could ruin the sum. So validation
averages as if half a sample had been read backwards,

    <exp(-a)>  ->  (sum_t e^{-a_t} + 0.5 <e^{a}>) / (n + 0.5),   a = theta . g       (3)

which holds |a| near ln(n) / 2 and leaves the test value untouched.

Limits: at most one unit may change per step; a unit with few flips is left out (its term is
not negative, so the sum stays a bound). Only theta_ij - theta_ji is a physical quantity.

Source: Aguilera, Ito, Kolchinsky, Phys. Rev. Lett. 136, 077101 (2026); cross-fit and interval are
derived here.
"""

from dataclasses import dataclass
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from irrev.ep.ascent import Fit
from irrev.ep.explicit import AntisymmetricTable
from irrev.ep.l1 import l1_path
from irrev.ep.objective import Dual
from irrev.ep.solvers import lbfgs
from irrev.errors import InputError
from irrev.stats import circular_block_counts, deal_blocks, empirical_p

PSEUDOCOUNT = 0.5  # as in the counting estimate
MIN_FLIPS = 100  # fewer say nothing about N couplings
DENSE_SAMPLES = 10  # samples per coupling above which the unpenalised fit competes


@dataclass(frozen=True, slots=True)
class UnitSums:
    """Held-out sums of some units over blocks; `+` joins disjoint sets of units."""

    unit: NDArray[np.int64]  # (unit,)
    flips: NDArray[np.float64]  # (unit, block) test samples
    forward: NDArray[np.float64]  # (unit, block) sum of theta . g
    square: NDArray[np.float64]  # (unit, block) sum of (theta . g)^2
    reverse: NDArray[np.float64]  # (unit, block) sum of exp(theta . g~ - shift)
    shift: NDArray[np.float64]  # (unit, block) of the exponent, equal within a fold
    certified: NDArray[np.float64]  # (unit,) pooled over folds, nats per flip
    train: NDArray[np.float64]  # (unit,) value on the training parts, nats per flip
    theta: NDArray[np.float64]  # (unit, observable) mean over folds; own column 0
    gram: NDArray[np.float64]  # (block, block) products of scaled block sums
    fold_of_block: NDArray[np.int64]  # (block,)
    n_attempts: float

    def __add__(self, other: "UnitSums") -> "UnitSums":
        joined = {
            name: np.concatenate([getattr(self, name), getattr(other, name)])
            for name in ("unit", "flips", "forward", "square", "reverse", "shift")
        }
        for name in ("certified", "train", "theta"):
            joined[name] = np.concatenate([getattr(self, name), getattr(other, name)])
        return UnitSums(
            **joined,
            gram=self.gram + other.gram,
            fold_of_block=self.fold_of_block,
            n_attempts=self.n_attempts,
        )


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
    states, flips, attempts = check_flips(states, flips)
    fold_of_block = deal_blocks(n_blocks, folds, np.random.default_rng(seed))
    units = np.flatnonzero(flips.sum(axis=0) >= min_flips)
    sums = fit_units(states, flips, units, fold_of_block, n_attempts=attempts, lin=lin)
    return solve(
        sums,
        n_units=states.shape[1],
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
        if flips.shape != states.shape:
            raise InputError(f"flips have shape {flips.shape}, states {states.shape}; align them.")
        return states, np.asarray(flips, bool), float(states.size)
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
    n_attempts: float,
    lin: bool = False,
) -> UnitSums:
    """Cross-fit the given units and return their sums over blocks.

    Parameters
    ----------
    states, flips
        As `check_flips` returns them.
    units
        Units to fit.
    fold_of_block
        Fold of each contiguous block of states, the same for all units.
    n_attempts
        Attempts over all states and units.
    lin
        Add the column -2 s_i.
    """
    n_blocks = fold_of_block.size
    block = np.arange(states.shape[0]) * n_blocks // states.shape[0]
    terms = [_fit_unit(states, flips[:, i], int(i), block, fold_of_block, lin=lin) for i in units]
    stacked = {
        name: np.array([t[name] for t in terms]).reshape(len(terms), -1)
        for name in ("flips", "forward", "square", "reverse", "shift", "theta")
    }
    return UnitSums(
        unit=np.asarray(units, np.int64),
        **stacked,
        certified=np.array([float(t["certified"]) for t in terms]),
        train=np.array([float(t["train"]) for t in terms]),
        gram=np.sum([t["gram"] for t in terms], axis=0).reshape(n_blocks, n_blocks),
        fold_of_block=fold_of_block,
        n_attempts=n_attempts,
    )


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


def _fit_unit(
    states: NDArray[np.int8],
    flips: NDArray[np.bool_],
    unit: int,
    block: NDArray[np.int64],
    fold_of_block: NDArray[np.int64],
    *,
    lin: bool,
) -> dict[str, NDArray[np.float64]]:
    """Cross-fit one unit."""
    rows = np.flatnonzero(flips)
    g = flip_table(states[rows], unit, lin=lin)
    at, fold = block[rows], fold_of_block[block[rows]]
    n_folds, n_blocks = int(fold_of_block.max()) + 1, fold_of_block.size
    edges = np.searchsorted(at, np.arange(n_blocks))
    sums = np.add.reduceat(np.vstack([g.table, np.zeros_like(g.table[:1])]), edges, axis=0)
    sums[np.diff(np.append(edges, rows.size)) == 0] = 0.0
    scaled = sums / g.metric().size
    out = {name: np.zeros(n_blocks) for name in ("forward", "square", "reverse", "shift")}
    theta, certified, train = np.zeros(g.n_observables), 0.0, 0.0
    for k in range(n_folds):
        parts = [np.flatnonzero(fold == k), np.flatnonzero(fold == (k + 1) % n_folds)]
        rest = np.flatnonzero((fold != k) & (fold != (k + 1) % n_folds))
        if min(parts[0].size, parts[1].size, rest.size) < 2:
            continue
        fit = fit_flips(_dual(g.take(rest)), _guarded(g.take(parts[1])))
        a = g.take(parts[0]).values(fit.theta)
        shift = float((-a).max())
        here, inside = at[parts[0]], fold_of_block == k
        for name, series in (("forward", a), ("square", a**2), ("reverse", np.exp(-a - shift))):
            out[name] += np.bincount(here, series, n_blocks)
        out["shift"][inside] = shift
        log_excess = log(float(np.mean(np.exp(-a - shift)))) + shift - fit.log_normaliser
        cap = log(a.size)
        value = float(a.mean()) - fit.log_normaliser - np.exp(min(log_excess, 700.0)) + 1.0
        certified += a.size * float(np.clip(value, -cap, cap)) / rows.size
        train += a.size * fit.value_train / rows.size
        theta += fit.theta / n_folds
    flips_of_block = np.bincount(at, minlength=n_blocks).astype(np.float64)
    extra = {"certified": certified, "train": train, "theta": theta, "gram": scaled @ scaled.T}
    return {**out, "flips": flips_of_block, **{k: np.asarray(v) for k, v in extra.items()}}


def _dual(table: AntisymmetricTable) -> Dual:
    return Dual(table, table.total(np.full(table.n_samples, 1.0 / table.n_samples)))


def _guarded(table: AntisymmetricTable) -> Dual:
    """Add `PSEUDOCOUNT` samples read backwards to the reverse average (eq. 3)."""
    n = table.n_samples
    chance = np.repeat([1.0, PSEUDOCOUNT / n], n) / (n + PSEUDOCOUNT)
    both = AntisymmetricTable(np.concatenate([table.table, -table.table]))
    return Dual(both, _dual(table).mean, chance)


def fit_flips(train: Dual, validation: Dual) -> Fit:
    """Fit one unit by the L1 path, and without penalty where samples abound; keep the better."""
    sparse = l1_path(train, validation)
    if train.observables.n_samples < DENSE_SAMPLES * train.observables.n_observables:
        return sparse
    dense = lbfgs(train, validation)
    return dense if dense.validation.max() > sparse.validation.max() else sparse


def solve(
    sums: UnitSums, *, n_units: int, level: float, draws: int, null_draws: int, seed: int
) -> MultipartiteEp:
    """Sum the units, resample the blocks for the interval, sign the blocks for the null."""
    bootstrapping, null = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    terms = _terms(sums, np.ones((1, sums.fold_of_block.size)))[0]
    value = float(terms.sum())
    deviations = np.zeros(draws)
    for k in range(int(sums.fold_of_block.max()) + 1):
        inside = np.flatnonzero(sums.fold_of_block == k)
        counts = np.ones((draws, sums.fold_of_block.size))
        counts[:, inside] = circular_block_counts(inside.size, draws, bootstrapping)
        widening = sqrt(inside.size / max(inside.size - 1, 1))
        deviations += widening * (_terms(sums, counts).sum(axis=1) - value)
    rate = sums.flips.sum(axis=1) / sums.n_attempts
    train, certified = float(rate @ sums.train), float(rate @ sums.certified)
    noise = sqrt(1.0 + _noise_fraction(sums, train - value))
    low, high = value + noise * np.quantile(deviations, [(1 - level) / 2, (1 + level) / 2])
    statistic, null_values = _reversal(sums, null, null_draws)
    theta = np.zeros((n_units, sums.theta.shape[1]))
    unit_values = np.full(n_units, np.nan)
    theta[sums.unit], unit_values[sums.unit] = sums.theta, terms
    return MultipartiteEp(
        value=value,
        low=float(low),
        high=float(high),
        level=level,
        certified=certified,
        train=train,
        p=empirical_p(statistic, null_values) if value > 0 else 1.0,
        statistic=statistic,
        null_values=null_values,
        unit_values=unit_values,
        theta=theta,
        n_units=n_units,
        n_skipped=n_units - sums.unit.size,
        n_attempts=sums.n_attempts,
    )


def _terms(sums: UnitSums, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the term of each unit for each row of block counts, shape (draw, unit)."""
    total = np.zeros((counts.shape[0], sums.unit.size))
    for k in range(int(sums.fold_of_block.max()) + 1):
        inside = sums.fold_of_block == k
        c = counts[:, inside]
        n, a, e = (c @ x[:, inside].T for x in (sums.flips, sums.forward, sums.reverse))
        shift = sums.shift[:, inside][:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            f = a / n - shift - np.log(e / n)
            f = np.minimum(f, np.log(np.maximum(n, 1.0)))
        total += np.where((n > 0) & (e > 0), n * f, 0.0) / sums.n_attempts
    return total


def _noise_fraction(sums: UnitSums, optimism: float) -> float:
    """Return the fraction of theta that is sampling noise (`irrev.ep.validation`, eq. 3)."""
    n = np.maximum(sums.flips.sum(axis=1), 1.0)
    variance = sums.square.sum(axis=1) / n - (sums.forward.sum(axis=1) / n) ** 2
    total = float(n @ variance) / sums.n_attempts
    return float(np.clip(optimism / total, 0.0, 1.0)) if total > 0 else 0.0


def _reversal(
    sums: UnitSums, rng: np.random.Generator, draws: int
) -> tuple[float, NDArray[np.float64]]:
    """Compare the cross-block quadratic value with random directions of the blocks."""
    gram = sums.gram - np.diag(np.diag(sums.gram))
    weight = 2.0 * sums.fold_of_block.size / (sums.fold_of_block.size - 1) / sums.n_attempts
    weight /= max(float(sums.flips.sum()) / max(sums.unit.size, 1), 1.0)
    signs = rng.integers(0, 2, (draws, gram.shape[0])) * 2.0 - 1.0
    null = np.einsum("db,bc,dc->d", signs, gram, signs, optimize=True)
    return weight * float(gram.sum()), weight * null
