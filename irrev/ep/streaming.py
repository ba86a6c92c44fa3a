"""The held-out bound of a recording that is never in memory as a whole.

Same estimate as `irrev.ep.maxent` with observables `pair` and solver `lbfgs`. The recording lies
in a store, in mapped files or in memory; a chunk of it is the unit of work. Four rounds:

    count     per block: sums of the observables, spikes of each unit         (one reading)
    fit       all folds together, `irrev.ep.stream_fit`                        (about 20 readings)
    evaluate  per block: fitted couplings on the test transitions              (one reading)
    end       interval, null and one-step bounds, from sums

Every sum is either over integers or taken in the order of the recording, so the numbers do not
depend on the size of chunks, on the number of workers, or on who finishes first: bit for bit.

Memory. A worker holds one chunk, a few matrices unit x unit, and 16 bytes a transition of its
share and fold (all folds go on together while `FIT_BYTES` allows). The asking process holds the
block sums, 2 n_blocks n_units^2 bytes, and `FIT_BYTES` of directions.

Limits: as `irrev.ep.maxent`. The line search stops at other points than that of recordings in
memory, within the same tolerance, so both agree well within the interval, not bit for bit; the
bootstrap resamples at most `MOST_PIECES` pieces a fold, the one-step bounds take the covariance of
independent units.

Source: derived here.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, exp, log, log1p, sqrt
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from irrev.binning import SpikeBins
from irrev.ep.chunks import Cells, HeldBins, Recording, cut_cells, cut_chunks
from irrev.ep.metric import pair_matrix, pair_metric
from irrev.ep.result import MaxEntEp
from irrev.ep.stream_fit import FoldData, FoldEnd, Told, fit_fold
from irrev.ep.stream_work import (
    HELD,
    TEST,
    TRAIN,
    Answer,
    Array,
    Ask,
    Batch,
    BlockCounts,
    HeldSums,
    Index,
    answer,
    count_block,
    evaluate_block,
    forget,
    part_of_cell,
)
from irrev.ep.validation import (
    BLOCK_TIMES,
    MIN_BLOCK,
    MIN_BLOCK_S,
    MIN_SUB_BLOCKS,
    pooled,
    reversal_test,
)
from irrev.errors import InputError
from irrev.stats import circular_block_counts, deal_blocks, integrated_autocorrelation_time

CHUNK = 65_536  # transitions in memory at a time, about
CELL = 2048  # transitions whose sums are told apart, about
FIT_BYTES = 2**29  # of directions and gradients in the asking process
MOST_PIECES = 1000  # a fold is resampled in; more would not change the interval
TAU_FROM = 1.0  # autocorrelation time in pieces that needs no joining


class Crew(Protocol):
    """Who does the work: this process, or workers elsewhere."""

    @property
    def size(self) -> int:
        """Number of workers."""
        ...

    def map(self, work: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """Do independent pieces anywhere; give results in the order of `args`."""
        ...

    def each(self, work: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Do piece k on worker k, which keeps what it remembers between calls."""
        ...


@dataclass(frozen=True, slots=True)
class Alone:
    """This process does all the work, as if it were `size` workers."""

    size: int = 1

    def map(self, work: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """Do one piece after another."""
        return (work(*a) for a in args)

    def each(self, work: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Do one piece after another."""
        return [work(*a) for a in args]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a recording is cut and dealt."""

    recording: Recording
    cells: Cells
    fold_of_block: Index
    chunk: int
    stretch: int  # transitions of a resampled piece, at most

    def of_block(self, block: int) -> tuple[Recording, Cells, list[tuple[int, int]]]:
        """Return what a worker needs to read one block."""
        first, last = np.searchsorted(self.cells.block, [block, block + 1])
        cells = self.cells.part(int(first), int(last))
        return self.recording, cells, _readable(cells, self.chunk)


def stream_ep(
    recording: Recording | SpikeBins,
    *,
    folds: int = 5,
    n_blocks: int = 50,
    level: float = 0.95,
    draws: int = 1000,
    null_draws: int = 200,
    seed: int = 0,
    trajectory: bool = False,
    chunk: int = CHUNK,
    crew: Crew | None = None,
) -> MaxEntEp:
    """Estimate the bound of a long recording chunk by chunk.

    Parameters
    ----------
    recording
        Binned spikes: `irrev.ep.chunks.MappedBins` for files, or in memory.
    folds, n_blocks, level, draws, null_draws, seed
        As for `irrev.maxent_ep`.
    trajectory
        Keep the held-out estimate of every transition: 16 bytes each, here.
    chunk
        Transitions that a worker holds at a time, about. No number depends on it.
    crew
        Who does the work; this process alone by default.

    Returns
    -------
        As `irrev.maxent_ep` with observables `pair` and solver `lbfgs`.

    Raises
    ------
    InputError
        If there are fewer than two units, too few transitions, or an argument leaves its range.

    Examples
    --------
    >>> noise = np.random.default_rng(0).random((4000, 4)) < 0.2
    >>> est = stream_ep(SpikeBins.from_dense(noise, 0.01), chunk=500)
    >>> est.value == stream_ep(SpikeBins.from_dense(noise, 0.01), crew=Alone(3)).value
    True
    """
    crew = Alone() if crew is None else crew
    plan, rngs = make_plan(recording, folds, n_blocks, chunk, seed)
    blocks = range(n_blocks)
    counts: list[BlockCounts] = list(crew.map(count_block, [plan.of_block(b) for b in blocks]))
    sums = np.stack([c.total for c in counts])
    ends = _fit(plan, counts, sums, crew)
    thetas = [[e.fit.theta, e.newton, e.current] for e in ends]
    args = [
        (*plan.of_block(b), thetas[plan.fold_of_block[b]], plan.stretch, trajectory)
        for b in blocks
    ]
    tests, series = zip(*crew.map(evaluate_block, args), strict=True)
    return _result(plan, counts, sums, ends, tests, series, rngs, (level, draws, null_draws))


def make_plan(
    recording: Recording | SpikeBins, folds: int, n_blocks: int, chunk: int, seed: int
) -> tuple[Plan, list[np.random.Generator]]:
    """Cut and deal a recording; give generators for the bootstrap and the null."""
    source = HeldBins(recording) if isinstance(recording, SpikeBins) else recording
    if source.n_units < 2:
        raise InputError(f"{source.n_units} units; one unit has no time-asymmetric pair, use 2.")
    if not 3 <= folds <= n_blocks:
        raise InputError(f"{folds} folds of {n_blocks} blocks; use 3 or more, fewer than blocks.")
    stretch = max(MIN_BLOCK, ceil(MIN_BLOCK_S / source.bin_s))
    cells = cut_cells(source.segments, n_blocks, cell=stretch * ceil(CELL / stretch))
    dealing, *rest = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
    return Plan(source, cells, deal_blocks(n_blocks, folds, dealing), chunk, stretch), rest


def _readable(cells: Cells, chunk: int) -> list[tuple[int, int]]:
    """Cut cells into chunks of which each is one stretch of bins, gaps of no account apart."""
    found = []
    for first, last in cut_chunks(cells, chunk):
        apart = np.flatnonzero(
            cells.start[first + 1 : last] - cells.stop[first : last - 1] > chunk
        )
        edges = [first, *(first + 1 + apart).tolist(), last]
        found += list(zip(edges[:-1], edges[1:], strict=True))
    return found


# --- fitting -------------------------------------------------------------------------------------


def _fit(
    plan: Plan, counts: list[BlockCounts], sums: NDArray[np.float32], crew: Crew
) -> list[FoldEnd]:
    """Fit all folds, as many together as `FIT_BYTES` allows."""
    n_folds = int(plan.fold_of_block.max()) + 1
    at_once = int(np.clip(FIT_BYTES // (200 * sums.shape[1]), 1, n_folds))
    ends: list[FoldEnd] = []
    for first in range(0, n_folds, at_once):
        folds = range(first, min(first + at_once, n_folds))
        ends += Conversation(plan, crew).run([_fold_data(plan, counts, sums, f) for f in folds])
    return ends


def _fold_data(
    plan: Plan, counts: list[BlockCounts], sums: NDArray[np.float32], fold: int
) -> FoldData:
    part = part_of_cell(plan.cells, plan.fold_of_block, fold)
    n = [int(plan.cells.size[part == p].sum()) for p in (TRAIN, HELD)]
    own = np.empty(plan.fold_of_block.size, np.int64)
    own[plan.cells.block] = part
    means = [sums[own == p].sum(axis=0, dtype=np.float64) / n[p] for p in (TRAIN, HELD)]
    either, both = (
        np.sum([getattr(counts[b], name) for b in np.flatnonzero(own == TRAIN)], axis=0)
        for name in ("either", "both")
    )
    mean = either / n[TRAIN] - 1.0  # of +-1, over both ends
    lagged = 1.0 - 2.0 * (either - 2.0 * both) / n[TRAIN] - mean**2
    metric = pair_metric(mean, 1.0 - mean**2, lagged, n[TRAIN])
    return FoldData(fold, means[TRAIN], means[HELD], n[TRAIN], n[HELD], metric)


class Conversation:
    """Puts the questions of several folds to the batches and joins their answers."""

    def __init__(self, plan: Plan, crew: Crew) -> None:
        self.plan, self.crew = plan, crew
        self.key = uuid.uuid4().hex
        chunks = _readable(plan.cells, plan.chunk)
        self.batches, self.cell_ids = [], []
        for k in range(min(crew.size, len(chunks))):
            mine = chunks[k :: crew.size]  # dealt like cards: rates change along a recording
            ids = np.concatenate([np.arange(a, b) for a, b in mine])
            cells = Cells(*(x[ids] for x in (plan.cells.start, plan.cells.stop, plan.cells.block)))
            ends = np.cumsum([b - a for a, b in mine]).tolist()
            ranges = tuple(zip([0, *ends[:-1]], ends, strict=True))
            name = f"{self.key}-{k}"
            self.batches.append(Batch(name, plan.recording, cells, ranges, plan.fold_of_block))
            self.cell_ids.append(ids)
        self._states: dict[int, _FoldState] = {}

    def run(self, data: list[FoldData]) -> list[FoldEnd]:
        """Let the fits of some folds go on until all have ended."""
        talks = {d.fold: fit_fold(d) for d in data}
        self._states = {d.fold: _FoldState(np.zeros(d.mean.size)) for d in data}
        asks = {fold: next(talk) for fold, talk in talks.items()}
        ends: dict[int, FoldEnd] = {}
        try:
            while asks:
                told = self._put(list(asks.values()))
                for fold in list(asks):
                    try:
                        asks[fold] = talks[fold].send(told[fold])
                    except StopIteration as stop:
                        ends[fold] = stop.value
                        del asks[fold]
        finally:
            self.crew.each(forget, [(b.key,) for b in self.batches])
        return [ends[d.fold] for d in data]

    def _put(self, asks: list[Ask]) -> dict[int, Told]:
        """Put one question a fold to all batches."""
        answers = self.crew.each(answer, [(batch, asks) for batch in self.batches])
        for k, found in enumerate(answers):
            lost = [ask for ask, a in zip(asks, found, strict=True) if a.lost]
            if lost:
                again = self._remind(k, lost)
                told = dict(zip((a.fold for a in lost), again, strict=True))
                answers[k] = [told.get(ask.fold, a) for ask, a in zip(asks, found, strict=True)]
        for ask in asks:
            self._states[ask.fold].note(ask)
        return {
            ask.fold: self._join(ask, [found[i] for found in answers])
            for i, ask in enumerate(asks)
        }

    def _remind(self, k: int, asks: list[Ask]) -> list[Answer]:
        """Tell a batch what it has forgotten, then ask again."""
        batch = self.batches[k]
        reminders = [self._states[ask.fold].reminder(ask) for ask in asks]
        args = [(b, reminders if b is batch else []) for b in self.batches]
        self.crew.each(answer, args)
        args = [(b, asks if b is batch else []) for b in self.batches]
        return self.crew.each(answer, args)[k]

    def _join(self, ask: Ask, answers: list[Answer]) -> Told:
        tilts = []
        for i, tilt in enumerate((*ask.before, *ask.tilts)):
            ids = [
                ids[batch.part_of_cell(ask.fold) == tilt.part]
                for ids, batch in zip(self.cell_ids, self.batches, strict=True)
            ]
            order = np.argsort(np.concatenate(ids))
            tilts.append(np.concatenate([a.tilts[i] for a in answers], axis=2)[:, :, order])
        sums = [a.gradient for a in answers if a.gradient is not None]
        return Told(tilts, np.sum(sums, axis=0) if sums else None)


@dataclass(slots=True)
class _FoldState:
    """What a batch of a fold should remember, to remind one that has forgotten."""

    theta: Array
    direction: NDArray[np.floating] | None = None

    def note(self, ask: Ask) -> None:
        if ask.move is not None and self.direction is not None:
            self.theta = self.theta + ask.move * self.direction
        if ask.direction is not None:
            self.direction = ask.direction

    def reminder(self, ask: Ask) -> Ask:
        theta = self.theta.astype(np.float32)
        return Ask(ask.fold, ask.version, direction=self.direction, restore=theta)


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
    mine = [tests[b][k] for b in blocks]
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
    length = ceil(BLOCK_TIMES * (tau - TAU_FROM)) if tau > TAU_FROM else 1
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


def _result(
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
    theta = pair_matrix(np.mean([e.fit.theta for e in ends], axis=0), n_units)
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
    ends = [m for m in (middle < 1 / 3, middle >= 2 / 3)]
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
