"""Lower bound on entropy production by nonequilibrium maximum entropy, on held-out data.

    ep_bound = max_theta  theta . <g> - ln <exp(theta . g~)>  <=  ep             (1)

g are observables of one step (here `pair`, see `irrev.ep.observables`), g~ the same read
backwards: the samples themselves with their two ends exchanged. The bound is exact when the
log-ratio of forward and reversed probabilities is linear in g, and is the value found by theta
otherwise.

(1) fitted and evaluated on the same n samples is too high by about
(number of observables) / n at equilibrium, times two. So theta is fitted on some blocks of the
recording, chosen on others and evaluated on a third part, in turn until every block has been
tested (`irrev.ep.validation`).

Limits: on a recording that is not stationary this measures time-irreversibility, which contains
relaxation and drift; call it entropy production for stationary stretches only. The bin width
decides what can be seen; memory beyond one step is not used.

Source: Aguilera, Ito, Kolchinsky, Phys. Rev. Lett. 136, 077101 (2026). Folds, intervals, the
certified value and the null are derived here (`irrev.ep.validation`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irrev.binning import SpikeBins
from irrev.ep.crossfit import FoldFit, Solver, cross_fit
from irrev.ep.metric import pair_matrix
from irrev.ep.observables import DensePairs, SpikePairs
from irrev.ep.result import MaxEntEp
from irrev.ep.validation import (
    bootstrap,
    cut_blocks,
    noise_fraction,
    pooled,
    reversal_test,
)
from irrev.errors import InputError
from irrev.stats import deal_blocks

METHOD_VERSION = 1
DENSE_FROM = 0.18  # active fraction above which dense products win over sparse ones (measured)
MIN_FOLDS = 3  # test, validation, training


@dataclass(frozen=True, slots=True)
class _Samples:
    """Transitions of a recording and the observables on them."""

    pairs: SpikePairs | DensePairs
    starts: NDArray[np.int64]
    bin_s: float
    coding: str
    n_spikes: int
    lost: float
    drift: float


def maxent_ep(
    bins: SpikeBins | ArrayLike,
    *,
    bin_s: float | None = None,
    observables: Sequence[str] = ("pair",),
    folds: int = 5,
    n_blocks: int = 50,
    solver: Solver = "auto",
    level: float = 0.95,
    draws: int = 1000,
    null_draws: int = 200,
    seed: int = 0,
    trajectory: bool = False,
) -> MaxEntEp:
    """Estimate a held-out lower bound on the entropy production of a recording.

    Parameters
    ----------
    bins
        Binned spikes, or states at equal steps, shape (time, unit): 0/1 values are spikes, others
        (spins -1/+1, real signals) are taken as they are.
    bin_s
        Length of a step, s; read from `bins` where it knows, otherwise 1 if not given.
    observables
        Sets of observables: "pair".
    folds
        Folds of the cross-fit, at least 3.
    n_blocks
        Contiguous blocks dealt to the folds at random.
    solver
        "lbfgs", "l1", or "auto" to choose (`irrev.ep.crossfit.choose_fit`).
    level
        Level of the interval.
    draws
        Bootstrap draws behind the interval.
    null_draws
        Random directions behind the p-value.
    seed
        Seed of dealing, bootstrap and null: the same seed gives the same numbers.
    trajectory
        Keep the held-out estimate of every transition.

    Returns
    -------
        Value, interval, p-value and diagnostics.

    Raises
    ------
    InputError
        If there are fewer than two units, too few transitions for the blocks, or an argument
        leaves its range.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noise = rng.random((4000, 4)) < 0.2
    >>> est = maxent_ep(noise, bin_s=0.01)
    >>> est.low < 0.001 and est.p > 0.05
    True
    """
    _check_options(observables, folds, n_blocks, solver, level)
    samples = _samples(bins, bin_s)
    dealing, bootstrapping, null = (
        np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3)
    )
    kept, block = cut_blocks(samples.starts, n_blocks)
    fold_of_block = deal_blocks(n_blocks, folds, dealing)
    pairs = samples.pairs.take(kept)
    sums = block_sums(pairs, block, n_blocks)
    fits = cross_fit(pairs, block, sums, fold_of_block, solver=solver)
    tests = [f.test for f in fits]
    n_steps = np.array([t.n_steps for t in tests])
    train = np.array([f.fit.value_train for f in fits])
    value = pooled(np.array([t.value for t in tests]), n_steps)
    deviations = bootstrap(
        tests, [block[f.rows] for f in fits], bootstrapping, bin_s=samples.bin_s, draws=draws
    )
    widening = np.sqrt(1.0 + noise_fraction(train, tests, n_steps))
    low, high = value + widening * np.quantile(deviations, [(1 - level) / 2, (1 + level) / 2])
    test = reversal_test(sums, np.bincount(block), pairs.metric().size, null, draws=null_draws)
    theta = pair_matrix(np.mean([f.fit.theta for f in fits], axis=0), pairs.n_units)
    share = theta * pair_matrix(sums.sum(axis=0, dtype=np.float64) / block.size, pairs.n_units)
    step, path = _trajectory(samples.starts[kept], fits) if trajectory else (None, None)
    return MaxEntEp(
        value=value,
        low=float(low),
        high=float(high),
        level=level,
        bin_s=samples.bin_s,
        certified=pooled(np.array([t.certified for t in tests]), n_steps),
        train=pooled(train, n_steps),
        newton1=pooled(np.array([f.newton1 for f in fits]), n_steps),
        tur=pooled(np.array([f.tur for f in fits]), n_steps),
        p=test.p if value > 0 else 1.0,
        statistic=test.statistic,
        null_values=test.null,
        ess=min(t.ess for t in tests),
        saturated=any(t.saturated or f.fit.saturated for t, f in zip(tests, fits, strict=True)),
        fold_values=np.array([t.value for t in tests]),
        fold_steps=n_steps,
        curve_train=fits[0].fit.train,
        curve_validation=fits[0].fit.validation,
        theta=theta,
        share=share,
        n_units=pairs.n_units,
        n_steps=int(n_steps.sum()),
        n_spikes=samples.n_spikes,
        lost=samples.lost,
        drift=samples.drift,
        n_blocks=n_blocks,
        block_steps=float(np.bincount(block).mean()),
        solver=solver,
        coding=samples.coding,
        observables=tuple(observables),
        passes=sum(f.fit.passes * f.train_fraction for f in fits),
        step=step,
        trajectory=path,
    )


def _check_options(
    observables: Sequence[str], folds: int, n_blocks: int, solver: str, level: float
) -> None:
    if tuple(observables) != ("pair",):
        raise InputError(f'observables are {tuple(observables)}; use ("pair",).')
    if not MIN_FOLDS <= folds <= n_blocks:
        raise InputError(
            f"{folds} folds of {n_blocks} blocks; use 3 folds or more, fewer than blocks."
        )
    if solver not in get_args(Solver):
        raise InputError(f"solver is {solver!r}; use one of {', '.join(get_args(Solver))}.")
    if not 0 < level < 1:
        raise InputError(f"level is {level}; use a number between 0 and 1, e.g. 0.95.")


def _samples(bins: SpikeBins | ArrayLike, bin_s: float | None) -> _Samples:
    """Turn the input into transitions with the cheaper form of the observables."""
    if isinstance(bins, SpikeBins):
        return _spike_samples(bins)
    states = np.asarray(bins)
    width = 1.0 if bin_s is None else float(bin_s)
    if states.ndim != 2 or not width > 0:
        raise InputError(
            f"states have shape {states.shape}, bin_s is {bin_s}; pass (time, unit) and s > 0."
        )
    if not np.all(np.isfinite(states)):
        raise InputError("states hold values that are not finite; cut them out of the recording.")
    if np.all((states == 0) | (states == 1)):
        return _spike_samples(SpikeBins.from_dense(states, width))
    _check_units(states.shape[1])
    pairs = DensePairs(states[:-1], states[1:])
    coding = "+-1" if np.all(np.abs(states) == 1) else "real"
    return _Samples(pairs, np.arange(states.shape[0] - 1), width, coding, 0, 0.0, 0.0)


def _spike_samples(bins: SpikeBins) -> _Samples:
    _check_units(bins.n_units)
    starts = np.concatenate([np.arange(a, max(b - 1, a)) for a, b in bins.segments])
    counts = np.diff(bins.indptr)
    n_active = int(counts[starts].sum())
    drift = _drift(counts[starts])
    if n_active > DENSE_FROM * bins.n_units * starts.size:
        states = 2 * bins.to_dense().astype(np.int8) - 1
        pairs = DensePairs(states[starts], states[starts + 1])
    else:
        pairs = SpikePairs(bins.indptr, bins.indices, starts, bins.n_units, single=True)
    return _Samples(pairs, starts, bins.bin_s, "+-1", n_active, bins.lost, drift)


def _check_units(n_units: int) -> None:
    if n_units < 2:
        raise InputError(f"{n_units} units; one unit alone has no time-asymmetric pair, use 2.")


def _drift(counts: NDArray[np.integer]) -> float:
    """Return (rate in the last third - rate in the first third) / mean rate."""
    third, mean = counts.size // 3, float(counts.mean())
    if mean == 0.0 or third == 0:
        return 0.0
    return float(counts[-third:].mean() - counts[:third].mean()) / mean


def block_sums(
    pairs: SpikePairs | DensePairs, block: NDArray[np.int64], n_blocks: int
) -> NDArray[np.float32]:
    """Sum the observables over each block, shape (block, observable)."""
    out = np.empty((n_blocks, pairs.n_observables), np.float32)  # integers below 2^24 are exact
    edges = np.searchsorted(block, np.arange(n_blocks + 1))
    for b in range(n_blocks):
        rows = np.arange(edges[b], edges[b + 1])
        out[b] = pairs.take(rows).total(np.ones(rows.size))
    return out


def _trajectory(
    starts: NDArray[np.int64], folds: list[FoldFit]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return theta . g - ln Z of every transition, from the fold that tested it."""
    ep = np.empty(starts.size)
    for f in folds:
        ep[f.rows] = f.test.forward - f.test.log_normaliser
    return starts, ep
