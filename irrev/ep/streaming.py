"""The held-out bound of a recording that is never in memory as a whole.

Same estimate as `irrev.ep.maxent` with observables `pair` and solver `lbfgs`. The recording lies
in a store, in mapped files or in memory; a chunk of it is the unit of work. Four rounds:

    count     per block: sums of the observables, spikes of each unit         (one reading)
    fit       all folds together, `irrev.ep.stream_fit`                        (about 20 readings)
    evaluate  per block: fitted couplings on the test transitions              (one reading)
    end       interval, null and one-step bounds, from sums

Every sum is either over integers or taken in the order of the recording, so the numbers do not
depend on the size of chunks, on the number of workers, or on who finishes first: bit for bit.

Memory. A worker holds one chunk, chunks kept as read (`stream_work.KEEP_BYTES`), a few matrices
unit x unit, a message of `MESSAGE_BYTES`, and 16 bytes a transition of its share and fold (all
folds go on together while `FIT_BYTES` allows). The asking process holds the block sums,
2 n_blocks n_units^2 bytes, and `FIT_BYTES` of directions.

Limits: as `irrev.ep.maxent`. The line search stops at other points than that of recordings in
memory, within the same tolerance, so both agree well within the interval, not bit for bit; the
bootstrap resamples other pieces, the one-step bounds take the covariance of
independent units.

Source: derived here.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from numbers import Integral
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from irrev.binning import SpikeBins
from irrev.ep.chunks import Cells, HeldBins, Recording, cut_cells
from irrev.ep.metric import pair_metric
from irrev.ep.result import MaxEntEp
from irrev.ep.samples import no_spikes
from irrev.ep.stream_fit import FoldData, FoldEnd, Told, fit_fold
from irrev.ep.stream_result import Plan, make_result, readable
from irrev.ep.stream_sums import Array, HeldSums, Index
from irrev.ep.stream_work import (
    HELD,
    TRAIN,
    Answer,
    Ask,
    Batch,
    Block,
    BlockCounts,
    Couplings,
    answer,
    count_blocks,
    evaluate_blocks,
    forget,
    part_of_cell,
)
from irrev.ep.validation import MIN_BLOCK, MIN_BLOCK_S, check_options
from irrev.errors import InputError
from irrev.stats import deal_blocks, generators

CHUNK = 65_536  # transitions in memory at a time, about
CELL = 2048  # transitions whose sums are told apart, about
FIT_BYTES = 2**29  # of directions and gradients in the asking process
MESSAGE_BYTES = 2**26  # of block sums or couplings that travel to or from a worker at a time
T = TypeVar("T")


@runtime_checkable
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
    """One process does all the work, as if it were `size` workers."""

    size: int = 1

    def map(self, work: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """Do one piece after another."""
        return (work(*a) for a in args)

    def each(self, work: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Do one piece after another."""
        return [work(*a) for a in args]


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
        If there are fewer than two units, no spikes, too few transitions, or an argument leaves
        its range.

    Examples
    --------
    >>> noise = np.random.default_rng(0).random((4000, 4)) < 0.2
    >>> est = stream_ep(SpikeBins.from_dense(noise, 0.01), chunk=500)
    >>> est.value == stream_ep(SpikeBins.from_dense(noise, 0.01), crew=Alone(3)).value
    True
    """
    crew = Alone() if crew is None else crew
    if not isinstance(crew, Crew):
        raise InputError(f"crew is {crew!r}; leave it out, or pass a crew such as Alone(2).")
    check_options(folds=folds, n_blocks=n_blocks, level=level, draws=draws, null_draws=null_draws)
    plan, rngs = make_plan(recording, folds, n_blocks, chunk, seed)
    counts = _count(plan, crew)
    if not any(c.either.any() for c in counts):
        raise no_spikes(int(np.diff(plan.recording.segments).sum()))
    sums = np.stack([c.total for c in counts])
    ends = _fit(plan, counts, sums, crew)
    tests, series = _evaluate(plan, ends, trajectory, crew)
    return make_result(plan, counts, sums, ends, tests, series, rngs, (level, draws, null_draws))


def make_plan(
    recording: Recording | SpikeBins, folds: int, n_blocks: int, chunk: int, seed: int
) -> tuple[Plan, list[np.random.Generator]]:
    """Cut and deal a recording; give generators for the bootstrap and the null."""
    if not isinstance(chunk, Integral) or chunk < 1:
        raise InputError(f"chunk is {chunk!r}; use 1 transition or more, {CHUNK} by default.")
    if not isinstance(recording, SpikeBins) and not hasattr(recording, "rows"):
        raise InputError(
            f"the recording is a {type(recording).__name__}; pass SpikeBins (`irrev.bin_spikes`, "
            "`SpikeBins.from_dense`) or mapped bins (`irrev.ep.chunks.save_bins`)."
        )
    source = HeldBins(recording) if isinstance(recording, SpikeBins) else recording
    if source.n_units < 2:
        raise InputError(f"{source.n_units} units; one unit has no time-asymmetric pair, use 2.")
    stretch = max(MIN_BLOCK, ceil(MIN_BLOCK_S / source.bin_s))
    cells = cut_cells(source.segments, n_blocks, cell=stretch * ceil(CELL / stretch))
    dealing, *rest = generators(seed, 3)
    return Plan(source, cells, deal_blocks(n_blocks, folds, dealing), chunk, stretch), rest


# --- blocks --------------------------------------------------------------------------------------


def _count(plan: Plan, crew: Crew) -> list[BlockCounts]:
    n_pairs = plan.recording.n_units * (plan.recording.n_units - 1) // 2
    n_blocks = plan.fold_of_block.size
    at_once = crew.size * max(MESSAGE_BYTES // (4 * n_pairs), 1)
    found: list[BlockCounts] = []
    for first in range(0, n_blocks, at_once):
        blocks = range(first, min(first + at_once, n_blocks))
        args = [
            (plan.recording, [plan.of_block(b) for b in share])
            for share in deal(blocks, crew.size)
        ]
        found += collect(crew.each(count_blocks, args))
    return found


def _evaluate(
    plan: Plan, ends: list[FoldEnd], trajectory: bool, crew: Crew
) -> tuple[list[list[HeldSums]], list[Array | None]]:
    """Evaluate all couplings on their test blocks: fitted, one step, and its direction."""
    at_once = max(MESSAGE_BYTES // (24 * ends[0].current.size), 1)
    found: dict[int, tuple[list[HeldSums], Array | None]] = {}
    for first in range(0, len(ends), at_once):
        folds = range(first, min(first + at_once, len(ends)))
        couplings = {f: _couplings(ends[f]) for f in folds}
        blocks = [b for f in folds for b in np.flatnonzero(plan.fold_of_block == f).tolist()]
        tests = [Block(int(plan.fold_of_block[b]), *plan.of_block(b)) for b in blocks]
        args = [
            (plan.recording, share, couplings, plan.stretch, trajectory)
            for share in deal(tests, crew.size)
        ]
        found |= zip(blocks, collect(crew.each(evaluate_blocks, args)), strict=True)
    ordered = [found[b] for b in range(plan.fold_of_block.size)]
    return [sums for sums, _ in ordered], [series for _, series in ordered]


def _couplings(end: FoldEnd) -> list[Couplings]:
    return [Couplings(end.fit.theta, end.fit.limit), Couplings(end.newton), Couplings(end.current)]


def deal(pieces: Sequence[T], size: int) -> list[Sequence[T]]:
    """Deal pieces to workers like cards; rates change along a recording."""
    return [pieces[k::size] for k in range(min(size, len(pieces)))]


def collect(shares: Sequence[Sequence[T]]) -> list[T]:
    """Put dealt pieces back into their order."""
    n = sum(len(share) for share in shares)
    return [shares[i % len(shares)][i // len(shares)] for i in range(n)]


# --- fitting -------------------------------------------------------------------------------------


def _fit(
    plan: Plan, counts: list[BlockCounts], sums: NDArray[np.float32], crew: Crew
) -> list[FoldEnd]:
    """Fit all folds, as many together as `FIT_BYTES` allows."""
    n_folds = int(plan.fold_of_block.max()) + 1
    busy = np.concatenate([c.busy for c in counts])
    at_once = int(np.clip(FIT_BYTES // (200 * sums.shape[1]), 1, n_folds))
    ends: list[FoldEnd] = []
    for first in range(0, n_folds, at_once):
        folds = range(first, min(first + at_once, n_folds))
        ends += Conversation(plan, busy, crew).run(
            [_fold_data(plan, counts, sums, f) for f in folds]
        )
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

    def __init__(self, plan: Plan, busy: Index, crew: Crew) -> None:
        self.plan, self.crew = plan, crew
        self.key = uuid.uuid4().hex
        self.batches, self.cell_ids = [], []
        for k, mine in enumerate(deal(readable(plan.cells, plan.chunk), crew.size)):
            ids = np.concatenate([np.arange(a, b) for a, b in mine])
            cells = Cells(*(x[ids] for x in (plan.cells.start, plan.cells.stop, plan.cells.block)))
            ends = np.cumsum([b - a for a, b in mine]).tolist()
            ranges = tuple(zip([0, *ends[:-1]], ends, strict=True))
            name = f"{self.key}-{k}"
            self.batches.append(
                Batch(name, plan.recording, cells, busy[ids], ranges, plan.fold_of_block)
            )
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
        order = {p: self._order(ask.fold, p) for p in (TRAIN, HELD)}
        cuts, tilts = (
            [
                np.concatenate([getattr(a, kind)[i] for a in answers], axis=2)[:, :, order[q.part]]
                for i, q in enumerate(getattr(ask, kind))
            ]
            for kind in ("cuts", "tilts")
        )
        sums = [a.gradient for a in answers if a.gradient is not None]
        return Told(cuts, tilts, np.sum(sums, axis=0) if sums else None)

    def _order(self, fold: int, part: int) -> Index:
        """Return the order of the recording among the cells of a part, as batches tell them."""
        ids = [
            ids[batch.part_of_cell(fold) == part]
            for ids, batch in zip(self.cell_ids, self.batches, strict=True)
        ]
        return np.argsort(np.concatenate(ids))


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
