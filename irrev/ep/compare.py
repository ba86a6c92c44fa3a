"""All estimators of one recording in one table: same samples, same folds, same resampling.

    maxent    the full fit (`irrev.ep.maxent`)
    newton1   one Newton step from zero, rescaled on validation
    tur       ln(1 + 2 <J>^2 / Var J) of the current that training samples choose
    network   an antisymmetric network (`irrev.ep.neep`), only if asked for: it takes longest
    plugin    transition counts (`irrev.ep.plugin`), up to 12 binary units

The first four are held-out lower bounds. Counting is not: it is biased upwards by about
(pairs of states seen) / (number of steps), and its interval resamples blocks without removing
that bias. Intervals of `newton1` and `tur` resample the blocks of each fold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irrev.binning import SpikeBins
from irrev.ep.choose import Solver, check_solver
from irrev.ep.crossfit import FoldFit, block_sums, cross_fit
from irrev.ep.plugin import MAX_UNITS, plugin_ep
from irrev.ep.samples import build_samples
from irrev.ep.validation import (
    HeldOut,
    bootstrap,
    check_options,
    cut_blocks,
    noise_fraction,
    pooled,
)
from irrev.stats import circular_block_counts, deal_blocks, generators

if TYPE_CHECKING:
    from irrev.ep.neep import Training

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """One estimator's value, nats per step."""

    name: str
    value: float
    low: float
    high: float
    bound: bool  # a held-out lower bound; otherwise biased upwards


def compare_ep(
    bins: SpikeBins | ArrayLike,
    *,
    bin_s: float | None = None,
    observables: Sequence[str] = ("pair",),
    network: bool = False,
    training: "Training | None" = None,
    folds: int = 5,
    n_blocks: int = 50,
    solver: Solver = "auto",
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[Estimate, ...]:
    """Estimate the entropy production by every method that fits the data.

    Parameters
    ----------
    bins, bin_s, observables, folds, n_blocks, solver, level, draws, seed
        As in `irrev.maxent_ep`.
    network
        Whether to train the network as well (needs torch).
    training
        How it is trained; default `irrev.ep.neep.Training()`.

    Returns
    -------
        One row a method, in the order of the module's table.
    """
    check_options(folds=folds, n_blocks=n_blocks, level=level, draws=draws)
    check_solver(solver)
    samples = build_samples(bins, bin_s=bin_s, observables=observables)
    dealing, drawing, counting = generators(seed, 3)
    kept, block = cut_blocks(samples.starts, n_blocks, lag=samples.span)
    samples, fold_of_block = samples.take(kept), deal_blocks(n_blocks, folds, dealing)
    joint = samples.observables
    sums = block_sums(joint, block, n_blocks)
    fits = cross_fit(joint, block, sums, fold_of_block, solver=solver)
    n = np.array([f.rows.size for f in fits])
    train = np.array([f.fit.value_train for f in fits])
    ends = np.array([(1 - level) / 2, (1 + level) / 2])

    def held(name: str, tests: list[HeldOut], widen: float) -> Estimate:
        value = pooled(np.array([t.value for t in tests]), n)
        blocks = [block[f.rows] for f in fits]
        spread = bootstrap(tests, blocks, drawing, bin_s=samples.bin_s, draws=draws)
        low, high = value + widen * np.quantile(spread, ends)
        return Estimate(name, value, float(low), float(high), True)

    full = [f.test for f in fits]
    widen = float(np.sqrt(1.0 + noise_fraction(train, full, n)))
    rows = [held("maxent", full, widen), held("newton1", [f.newton for f in fits], sqrt(2.0))]
    value = pooled(np.array([f.tur for f in fits]), n)
    low, high = value + sqrt(2.0) * np.quantile(_tur_draws(fits, block, draws, drawing), ends)
    rows.append(Estimate("tur", value, float(low), float(high), True))
    if network:
        from irrev.ep.neep import neep_ep

        net = neep_ep(
            bins,
            bin_s=bin_s,
            training=training,
            folds=folds,
            n_blocks=n_blocks,
            level=level,
            draws=draws,
            seed=seed,
        )
        rows.append(Estimate("network", net.value, net.low, net.high, True))
    counts = _binary(bins)
    if counts is not None:
        value = plugin_ep(counts, starts=samples.starts)
        parts = [samples.starts[block == b] for b in range(n_blocks)]
        spread = _plugin_draws(lambda at: plugin_ep(counts, starts=at), parts, counting)
        low, high = value + 1.96 * spread * np.array([-1.0, 1.0])
        rows.append(Estimate("plugin", value, float(low), float(high), False))
    return tuple(rows)


def _tur_draws(
    fits: list[FoldFit], block: NDArray[np.int64], draws: int, rng: np.random.Generator
) -> Array:
    """Resample blocks within folds: deviations of the pooled bound, shape (draws,)."""
    total, n = np.zeros(draws), sum(f.rows.size for f in fits)
    for f in fits:
        _, at = np.unique(block[f.rows], return_inverse=True)
        size = int(at.max()) + 1
        series = (np.ones(at.size), f.current, f.current**2)
        sums = np.stack([np.bincount(at, x, size) for x in series], axis=1)
        count, first, second = (circular_block_counts(size, draws, rng) @ sums).T
        mean = first / count
        variance = np.maximum(second / count - mean**2, np.finfo(float).tiny)
        drawn = np.sign(mean) * np.log1p(2.0 * mean**2 / variance)
        total += f.rows.size / n * sqrt(size / max(size - 1, 1)) * (drawn - f.tur)
    return total


def _binary(bins: SpikeBins | ArrayLike) -> NDArray[np.integer] | None:
    """Return 0/1 states of few units, None for others."""
    states = bins.to_dense() if isinstance(bins, SpikeBins) else np.asarray(bins)
    if states.shape[1] > MAX_UNITS:
        return None
    if np.all((states == 0) | (states == 1)):
        return states.astype(np.int64)
    return (states > 0).astype(np.int64) if np.all(np.abs(states) == 1) else None


def _plugin_draws(
    estimate: Callable[[NDArray[np.int64]], float],
    parts: list[NDArray[np.int64]],
    rng: np.random.Generator,
    draws: int = 40,
) -> float:
    """Return the standard deviation of the estimate over resampled blocks."""
    drawn = [
        estimate(np.concatenate([parts[b] for b in rng.integers(0, len(parts), len(parts))]))
        for _ in range(draws)
    ]
    return float(np.std(drawn, ddof=1))
