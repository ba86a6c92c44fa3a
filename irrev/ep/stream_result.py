"""A streamed estimate from its sums: value, interval, null, one-step bounds.

Everything here is small: sums over test stretches, over blocks and over units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, exp, log, log1p, sqrt

import numpy as np
from numpy.typing import NDArray

from irrev.ep.chunks import Cells, Recording, cut_chunks
from irrev.ep.metric import pair_matrix, pair_metric
from irrev.ep.result import MaxEntEp
from irrev.ep.stream_fit import FoldEnd
from irrev.ep.stream_sums import Array, HeldSums, Index
from irrev.ep.stream_work import BlockCounts
from irrev.ep.validation import BLOCK_TIMES, MIN_SUB_BLOCKS, pooled, reversal_test
from irrev.stats import circular_block_counts, integrated_autocorrelation_time

MOST_PIECES = 1000  # a fold is resampled in; more would not change the interval


@dataclass(frozen=True, slots=True)
class Plan:
    """How a recording is cut and dealt."""

    recording: Recording
    cells: Cells
    fold_of_block: Index
    chunk: int
    stretch: int  # transitions of a resampled piece, at most

    def of_block(self, block: int) -> tuple[Cells, list[tuple[int, int]]]:
        """Return what a worker needs to read one block."""
        first, last = np.searchsorted(self.cells.block, [block, block + 1])
        cells = self.cells.part(int(first), int(last))
        return cells, readable(cells, self.chunk)


def readable(cells: Cells, chunk: int) -> list[tuple[int, int]]:
    """Cut cells into chunks of which each is one stretch of bins, gaps of no account apart."""
    found = []
    for first, last in cut_chunks(cells, chunk):
        apart = np.flatnonzero(
            cells.start[first + 1 : last] - cells.stop[first : last - 1] > chunk
        )
        edges = [first, *(first + 1 + apart).tolist(), last]
        found += pairwise(edges)
    return found


# --- result --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Series:
    """One series over the test pieces of one fold, with a common factor exp(top)."""

    n: Array
    a: Array
    square: Array
    e: Array
    e2: Array
    top: float
    block: Index  # (piece,)

    @property
    def n_steps(self) -> int:
        return int(self.n.sum())

    @property
    def log_normaliser(self) -> float:
        """Log of the mean of e^-a."""
        return self.top + log(float(self.e.sum()) / self.n_steps)

    @property
    def mean(self) -> float:
        return float(self.a.sum()) / self.n_steps

    @property
    def variance(self) -> float:
        return max(float(self.square.sum()) / self.n_steps - self.mean**2, 0.0)

    @property
    def value(self) -> float:
        return min(self.mean - self.log_normaliser, log(self.n_steps))


def _series(plan: Plan, tests: Sequence[list[HeldSums]], fold: int, k: int) -> _Series:
    blocks = np.flatnonzero(plan.fold_of_block == fold)
    mine = [tests[b][k] for b in blocks.tolist()]
    n, a, square, tops, e, e2 = (
        np.concatenate([getattr(m, name) for m in mine])
        for name in ("n", "a", "square", "top", "e", "e2")
    )
    top = float(tops.max())
    factor = np.exp(tops - top)
    label = np.repeat(blocks, [m.n.size for m in mine])
    return _Series(n.astype(float), a, square, e * factor, e2 * factor**2, top, label)


def _certified(series: _Series, log_normaliser: float) -> float:
    """Return the value that is unbiased for a true bound (`validation`, eq. 2), clipped."""
    excess = exp(min(series.log_normaliser - log_normaliser, 700.0))
    cap = log(series.n_steps)
    return float(np.clip(series.mean - log_normaliser - excess + 1.0, -cap, cap))


def _tur(series: _Series) -> float:
    """Return the uncertainty-relation bound of a current (`irrev.ep.tur`)."""
    if series.variance == 0.0:
        return 0.0
    return float(np.sign(series.mean)) * log1p(2.0 * series.mean**2 / series.variance)


def _pieces(series: _Series) -> Index:
    """Join test pieces until they are long against the memory of the series."""
    w = series.e / series.e.sum() * series.n_steps
    influence = (series.a - w) / series.n
    tau = integrated_autocorrelation_time(influence)
    length = ceil(BLOCK_TIMES * (tau - 1.0))
    length = max(length, ceil(series.n.size / MOST_PIECES), 1)
    length = max(min(length, series.n.size // MIN_SUB_BLOCKS), 1)
    _, first, size = np.unique(series.block, return_index=True, return_counts=True)
    pieces = np.maximum(size // length, 1)
    offset = np.cumsum(pieces) - pieces
    position = np.arange(series.n.size) - np.repeat(first, size)
    return np.repeat(offset, size) + position * np.repeat(pieces, size) // np.repeat(size, size)


def _deviations(series: _Series, rng: np.random.Generator, draws: int) -> Array:
    """Resample the value of one fold at fixed couplings."""
    label = _pieces(series)
    n_pieces = int(label[-1]) + 1
    if n_pieces < 2:
        return np.zeros(draws)
    sums = np.stack([np.bincount(label, x) for x in (series.n, series.a, series.e)], axis=1)
    n, a, e = (circular_block_counts(n_pieces, draws, rng) @ sums).T
    value = series.mean - log(float(series.e.sum()) / series.n_steps)
    # Resampling n things underestimates their variance by (n - 1) / n.
    return (a / n - np.log(e / n) - value) * sqrt(n_pieces / (n_pieces - 1))


def make_result(
    plan: Plan,
    counts: list[BlockCounts],
    sums: NDArray[np.float32],
    ends: list[FoldEnd],
    tests: Sequence[list[HeldSums]],
    series: Sequence[Array | None],
    rngs: list[np.random.Generator],
    options: tuple[float, int, int],
) -> MaxEntEp:
    """Put the estimate together from sums."""
    level, draws, null_draws = options
    n_units = plan.recording.n_units
    held = [[_series(plan, tests, f, k) for k in range(3)] for f in range(len(ends))]
    fitted = [h[0] for h in held]
    n_steps = np.array([h.n_steps for h in fitted])
    values = np.array([h.value for h in fitted])
    train = np.array([e.fit.value_train for e in ends])
    value = pooled(values, n_steps)
    deviations = np.zeros(draws)
    for h in fitted:
        deviations += h.n_steps / n_steps.sum() * _deviations(h, rngs[0], draws)
    variance = pooled(np.array([h.variance for h in fitted]), n_steps)
    noise = (pooled(train, n_steps) - value) / variance if variance > 0 else 0.0
    widening = sqrt(1.0 + float(np.clip(noise, 0.0, 1.0)))
    low, high = value + widening * np.quantile(deviations, [(1 - level) / 2, (1 + level) / 2])
    block_steps = np.bincount(plan.cells.block, plan.cells.size).astype(np.int64)
    size = _whole_metric(plan, counts)
    test = reversal_test(sums, block_steps, size, rngs[1], draws=null_draws)
    pairs = np.mean([e.fit.theta for e in ends], axis=0)
    theta = pair_matrix(pairs, n_units)
    mean = sums.sum(axis=0, dtype=np.float64) / block_steps.sum()
    step, path = _trajectory(plan, fitted, series)
    active = np.concatenate([c.active for c in counts])
    return MaxEntEp(
        value=value,
        low=float(low),
        high=float(high),
        level=level,
        bin_s=plan.recording.bin_s,
        certified=pooled(
            np.array(
                [_certified(h, e.fit.log_normaliser) for h, e in zip(fitted, ends, strict=True)]
            ),
            n_steps,
        ),
        train=pooled(train, n_steps),
        newton1=pooled(np.array([h[1].value for h in held]), n_steps),
        tur=pooled(np.array([_tur(h[2]) for h in held]), n_steps),
        p=test.p if value > 0 else 1.0,
        statistic=test.statistic,
        null_values=test.null,
        ess=min(h.e.sum() ** 2 / h.e2.sum() for h in fitted),
        saturated=any(
            h.mean - h.log_normaliser > log(h.n_steps) or e.fit.saturated
            for h, e in zip(fitted, ends, strict=True)
        ),
        fold_values=values,
        fold_limits=np.array([e.fit.limit for e in ends]),
        fold_steps=n_steps,
        curve_train=ends[0].fit.train,
        curve_validation=ends[0].fit.validation,
        theta=theta,
        share=theta * pair_matrix(mean, n_units),
        n_units=n_units,
        n_steps=int(n_steps.sum()),
        n_spikes=int(active.sum()),
        lost=plan.recording.lost,
        drift=_drift(plan.cells.size, active),
        n_blocks=plan.fold_of_block.size,
        block_steps=float(block_steps.mean()),
        solver="lbfgs",
        coding="+-1",
        observables=("pair",),
        lag=1,
        window=1,
        coefficients={"pair": pairs},
        passes=sum(e.fit.passes for e in ends) * (1.0 - 2.0 / len(ends)),
        step=step,
        trajectory=path,
    )


def _whole_metric(plan: Plan, counts: list[BlockCounts]) -> Array:
    """Return the size of each observable over all transitions."""
    n = int(plan.cells.size.sum())
    either, both = (np.sum([getattr(c, k) for c in counts], axis=0) for k in ("either", "both"))
    mean = either / n - 1.0
    lagged = 1.0 - 2.0 * (either - 2.0 * both) / n - mean**2
    return pair_metric(mean, 1.0 - mean**2, lagged, n).size


def _drift(size: Index, active: Index) -> float:
    """Return (rate in the last third - rate in the first third) / mean rate, cell by cell."""
    middle = (np.cumsum(size) - 0.5 * size) / size.sum()
    mean = active.sum() / size.sum()
    ends = (middle < 1 / 3, middle >= 2 / 3)
    if mean == 0 or not all(m.any() for m in ends):
        return 0.0
    first, last = (active[m].sum() / size[m].sum() for m in ends)
    return float((last - first) / mean)


def _trajectory(
    plan: Plan, fitted: list[_Series], series: Sequence[Array | None]
) -> tuple[Index | None, Array | None]:
    """Return theta . g - ln Z of every transition and its first bin."""
    if series[0] is None:
        return None, None
    path = [
        a - fitted[plan.fold_of_block[b]].log_normaliser
        for b, a in enumerate(series)
        if a is not None
    ]
    size = plan.cells.size
    offset = np.repeat(plan.cells.start - (np.cumsum(size) - size), size)
    return offset + np.arange(offset.size), np.concatenate(path)
