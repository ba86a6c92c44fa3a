"""What a worker does with its part of a recording: one chunk in memory, small answers.

A batch is some of the chunks. Per fold it keeps theta . g of its transitions (`a`) and the change
of it along the present direction (`c`), 16 bytes a transition and fold, and answers the questions
below. Transitions without a spike at either end have g = 0: they are counted, not computed.

    tilt        per cell and step s: top = max y and the sums of e, e d, e d^2,
                e = exp(y - top), y = -(a + s c) or -s c, d = dy/ds                     (1)
    cut         per cell, step s and limit B: the number with |a| > B and the sums of
                e, e d, e d^2, e = exp(s d), d = -clip(a, -B, B)                        (2)
    gradient    sum_t q_t g_t,  q_t = round(2^bits exp(-a_t - shift))                   (3)

Sums over cells are added by the asker in the order of the recording, and the weights of (3) are
integers whose sums stay below 2^53: every number is the same bit for bit however the recording is
cut and whoever computes it.

A batch that has lost its memory, because its worker died or another one took over, says so; it is
then told theta and direction again.
"""

from collections import OrderedDict
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from irrev.ep import kernels
from irrev.ep.chunks import Cells, Recording
from irrev.ep.metric import pair_matrix, pair_vector
from irrev.ep.stream_sums import Array, HeldSums, Index, cut_sums, stretch_sums, tilted_sums

Along = Literal["line", "change"]  # a + s c, s c
TRAIN, HELD, TEST = 0, 1, 2
MOST_KEPT = 64  # memories of one process: folds of recordings measured side by side
KEEP_BYTES = 2**27  # of chunks that a process keeps as read, of all recordings together


@dataclass(frozen=True, slots=True)
class Batch:
    """A worker's part of a recording; travels with every question, so it is small."""

    key: str  # names this part of this estimate
    recording: Recording
    cells: Cells
    busy: Index  # (cell,) transitions with a spike at either end
    chunks: tuple[tuple[int, int], ...]  # ranges of `cells` that are read together
    fold_of_block: Index

    def part_of_cell(self, fold: int) -> Index:
        """Say what each cell is for a fold: TRAIN, HELD for validation, or TEST."""
        return part_of_cell(self.cells, self.fold_of_block, fold)


def part_of_cell(cells: Cells, fold_of_block: Index, fold: int) -> Index:
    """Say what each cell is for a fold: TRAIN, HELD for validation, or TEST."""
    n_folds, own = int(fold_of_block.max()) + 1, fold_of_block[cells.block]
    return np.where(own == fold, TEST, np.where(own == (fold + 1) % n_folds, HELD, TRAIN))


@dataclass(frozen=True, slots=True)
class Tilt:
    """Ask for eq. (1) on the cells of one part, for some steps."""

    part: int
    steps: tuple[float, ...]
    along: Along = "line"


@dataclass(frozen=True, slots=True)
class Cut:
    """Ask for eq. (2) on the cells of one part, for some steps and limits."""

    part: int
    pairs: tuple[tuple[float, float], ...]  # step, limit in nats


@dataclass(frozen=True, slots=True)
class Ask:
    """Questions about one fold, answered in the order of the fields."""

    fold: int
    version: int  # moves made before; a batch that counts otherwise has lost its memory
    move: float | None = None  # a += move c
    cuts: tuple[Cut, ...] = ()
    direction: NDArray[np.floating] | None = None  # c = direction . g
    held_only: bool = False  # c on validation only
    tilts: tuple[Tilt, ...] = ()
    shift: float | None = None  # ask for eq. (3) on training
    bits: int = 0
    restore: NDArray[np.floating] | None = None  # a = theta . g


@dataclass(slots=True)
class Answer:
    """What one batch found for one fold."""

    lost: bool
    cuts: list[Array]  # each (pair, 4, cells of the part)
    tilts: list[Array]  # each (step, 4, cells of the part)
    gradient: Array | None = None  # (pair,) integers


@dataclass(slots=True)
class _Memory:
    a: Array
    c: Array
    version: int


_kept: OrderedDict[tuple[str, int], _Memory] = OrderedDict()
_read: dict[tuple[str, int], "Chunk"] = {}  # batch and first cell -> chunk


def forget(prefix: str) -> None:
    """Drop what this process keeps of an estimate."""
    for key in [k for k in _kept if k[0].startswith(prefix)]:
        del _kept[key]
    for key in [k for k in _read if k[0].startswith(prefix)]:
        del _read[key]


def answer(batch: Batch, asks: list[Ask]) -> list[Answer]:
    """Answer questions about several folds; each chunk is read at most once."""
    folds = [_Fold(batch, ask) for ask in asks]
    live = [f for f in folds if f.memory is not None]
    for fold in live:
        fold.begin()
    if any(fold.reads for fold in live):
        offset = 0
        for first, last in batch.chunks:
            chunk = _chunk(batch, first, last)
            for fold in live:
                fold.use(chunk, slice(first, last), offset)
            offset += chunk.starts.size
    for fold in live:
        fold.end()
    return [fold.answer for fold in folds]


def _chunk(batch: Batch, first: int, last: int) -> "Chunk":
    """Return a chunk, as kept or read; the first ones are kept while there is room."""
    kept = _read.get((batch.key, first))
    if kept is not None:
        return kept
    chunk = read_chunk(batch.recording, batch.cells.part(first, last))
    if sum(c.nbytes for c in _read.values()) + chunk.nbytes <= KEEP_BYTES:
        _read[batch.key, first] = chunk
    return chunk


class _Fold:
    """One fold's questions on one batch."""

    def __init__(self, batch: Batch, ask: Ask) -> None:
        self.ask, self.busy = ask, batch.busy
        self.quiet = batch.cells.size - batch.busy
        self.n_units = batch.recording.n_units
        self.memory = _recall(batch, ask)
        self.answer = Answer(self.memory is None, [], [])
        self.part = batch.part_of_cell(ask.fold)
        self.total = None if ask.shift is None else kernels.PairTotal(self.n_units)
        self.matrices = [
            None if x is None else coupling_matrix(x) for x in (ask.restore, ask.direction)
        ]

    @property
    def reads(self) -> bool:
        return self.total is not None or any(m is not None for m in self.matrices)

    @property
    def kept(self) -> _Memory:
        assert self.memory is not None
        return self.memory

    def begin(self) -> None:
        """Move, and answer what needs no recording."""
        if self.ask.move is not None:
            self.kept.a += self.ask.move * self.kept.c
            self.kept.version += 1
        self.answer.cuts += [self._cut(cut) for cut in self.ask.cuts]

    def use(self, chunk: "Chunk", cells: slice, offset: int) -> None:
        """Take the products with one chunk."""
        part = self.part[cells][chunk.cell]
        wanted = np.flatnonzero(part == HELD if self.ask.held_only else part != TEST)
        for target, matrix in zip((self.kept.a, self.kept.c), self.matrices, strict=True):
            if matrix is not None:
                target[offset + wanted] = chunk.values(wanted, matrix)
        if self.total is not None and self.ask.shift is not None:
            rows = np.flatnonzero(part == TRAIN)
            weight = np.exp(-self.kept.a[offset + rows] - self.ask.shift)
            chunk.add_to(self.total, rows, np.rint(np.ldexp(weight, self.ask.bits)))

    def end(self) -> None:
        """Answer what needs the new direction or all chunks."""
        if self.total is not None:
            self.answer.gradient = pair_vector(self.total.antisymmetric())
        self.answer.tilts += [self._tilt(t) for t in self.ask.tilts]

    def _cut(self, cut: Cut) -> Array:
        rows, busy, quiet = self._cells(cut.part)
        return cut_sums(self.kept.a[rows], busy, quiet, cut.pairs)

    def _tilt(self, tilt: Tilt) -> Array:
        rows, busy, quiet = self._cells(tilt.part)
        start = -self.kept.a[rows] if tilt.along == "line" else 0.0
        slope = -self.kept.c[rows]
        return np.stack([tilted_sums(start + s * slope, slope, busy, quiet) for s in tilt.steps])

    def _cells(self, part: int) -> tuple[NDArray[np.bool_], Index, Index]:
        """Return the busy transitions of a part, and how many busy and quiet ones a cell has."""
        chosen = self.part == part
        return np.repeat(chosen, self.busy), self.busy[chosen], self.quiet[chosen]


def _recall(batch: Batch, ask: Ask) -> _Memory | None:
    """Return the memory of a fold: kept, new where nothing was said, or None where it is lost."""
    key = (batch.key, ask.fold)
    kept = _kept.get(key)
    first = ask.version == 0 and ask.move is None and ask.direction is not None
    if ask.restore is not None or (first and kept is None):
        n = int(batch.busy.sum())
        kept = _kept[key] = _Memory(np.zeros(n), np.zeros(n), ask.version)
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
    if kept is None or kept.version != ask.version:
        return None
    _kept.move_to_end(key)
    return kept


def coupling_matrix(theta: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return antisymmetric couplings as a matrix in the precision of `theta`."""
    n_units = round((1 + (1 + 8 * theta.size) ** 0.5) / 2)
    return np.ascontiguousarray(
        pair_matrix(theta.astype(np.float64), n_units).astype(theta.dtype, copy=False)
    )


# --- one chunk -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chunk:
    """The busy transitions of some cells in memory."""

    indptr: Index
    indices: NDArray[np.int32]
    starts: Index  # first bins of the transitions, counted from the chunk's first bin
    cell: Index  # cell of each transition, counted likewise
    place: Index  # of each transition in its cell, quiet ones counted

    def values(self, rows: Index, matrix: NDArray[np.floating]) -> Array:
        """Return theta . g of some transitions."""
        return kernels.values(self.indptr, self.indices, self.starts[rows], matrix)

    def add_to(self, total: kernels.PairTotal, rows: Index, weights: Array) -> None:
        """Add sum_t q_t g_t for integer weights: exact, hence in any order."""
        total.add(self.indptr, self.indices, self.starts[rows], weights)

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        arrays = (self.indptr, self.indices, self.starts, self.cell, self.place)
        return sum(a.nbytes for a in arrays)


def read_chunk(recording: Recording, cells: Cells) -> Chunk:
    """Read the bins of some cells that follow one another; leave out quiet transitions."""
    first, size = int(cells.start[0]), cells.size
    indptr, indices = recording.rows(first, int(cells.stop[-1]) + 1)
    cell = np.repeat(np.arange(size.size), size)
    place = np.arange(cell.size) - np.repeat(np.cumsum(size) - size, size)
    starts = np.repeat(cells.start - first, size) + place
    busy = np.flatnonzero(indptr[starts + 2] > indptr[starts])
    return Chunk(indptr, indices, starts[busy], cell[busy], place[busy])


# --- whole blocks --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BlockCounts:
    """Additive statistics of one block at theta = 0."""

    total: NDArray[np.float32]  # (pair,) sum of the observables; integers below 2^24 are exact
    either: Index  # (unit,) ends of transitions at which the unit is active
    both: Index  # (unit,) transitions with the unit active at both ends
    active: Index  # (cell,) active units in the first bins of its transitions
    busy: Index  # (cell,) transitions with a spike at either end


def count_block(recording: Recording, cells: Cells, chunks: list[tuple[int, int]]) -> BlockCounts:
    """Sum the observables of one block and count its spikes, chunk by chunk."""
    n = recording.n_units
    total, either, both = kernels.PairTotal(n), np.zeros(n, np.int64), np.zeros(n, np.int64)
    active, busy = [], []
    for first, last in chunks:
        chunk = read_chunk(recording, cells.part(first, last))
        rows = np.arange(chunk.starts.size)
        chunk.add_to(total, rows, np.ones(rows.size))
        ends, pairs = kernels.unit_counts(chunk.indptr, chunk.indices, chunk.starts, n)
        either, both = either + ends, both + pairs
        counts = np.diff(chunk.indptr)[chunk.starts]
        active.append(np.bincount(chunk.cell, counts, last - first).astype(np.int64))
        busy.append(np.bincount(chunk.cell, minlength=last - first))
    single = pair_vector(total.antisymmetric()).astype(np.float32)
    return BlockCounts(single, either, both, np.concatenate(active), np.concatenate(busy))


@dataclass(frozen=True, slots=True)
class Block:
    """One block, and the fold whose couplings were not fitted on it."""

    fold: int
    cells: Cells
    chunks: list[tuple[int, int]]


def count_blocks(
    recording: Recording, blocks: list[tuple[Cells, list[tuple[int, int]]]]
) -> list[BlockCounts]:
    """Count some blocks."""
    return [count_block(recording, *block) for block in blocks]


@dataclass(frozen=True, slots=True)
class Couplings:
    """Couplings that are evaluated on blocks on which they were not fitted."""

    theta: Array  # (pair,)
    limit: float = inf  # of |theta . g|, nats


def evaluate_blocks(
    recording: Recording,
    blocks: list[Block],
    couplings: dict[int, list[Couplings]],
    stretch: int,
    series: bool,
) -> list[tuple[list[HeldSums], Array | None]]:
    """Evaluate the couplings of each block's fold on it; blocks of a fold follow one another."""
    found = []
    limits, matrices, fold = [], [], -1
    for block in blocks:
        if block.fold != fold:
            fold, limits = block.fold, [t.limit for t in couplings[block.fold]]
            matrices = [coupling_matrix(t.theta) for t in couplings[block.fold]]
        found.append(_evaluate(recording, block, matrices, limits, stretch, series))
    return found


def _evaluate(
    recording: Recording,
    block: Block,
    matrices: list[NDArray[np.floating]],
    limits: list[float],
    stretch: int,
    series: bool,
) -> tuple[list[HeldSums], Array | None]:
    """Evaluate one block; `series`: give a of the first couplings too, (transition,)."""
    sums: list[list[tuple[NDArray[Any], ...]]] = [[] for _ in matrices]
    values: list[Array] = []
    for first, last in block.chunks:
        part = block.cells.part(first, last)
        chunk = read_chunk(recording, part)
        size, label = _stretches(part.size, stretch, chunk)
        busy = np.bincount(label, minlength=size.size)
        rows = np.arange(chunk.starts.size)
        for k, (matrix, limit) in enumerate(zip(matrices, limits, strict=True)):
            a = np.clip(chunk.values(rows, matrix), -limit, limit)
            sums[k].append(stretch_sums(a, busy, size))
            if series and k == 0:
                values.append(_spread(a, chunk, part.size))
    found = [HeldSums(*(np.concatenate(x) for x in zip(*s, strict=True))) for s in sums]
    return found, np.concatenate(values) if series else None


def _stretches(size: Index, stretch: int, chunk: Chunk) -> tuple[Index, Index]:
    """Cut each cell into stretches; give their sizes and the stretch of each busy transition."""
    pieces = -(-size // stretch)
    counts = np.full(int(pieces.sum()), stretch)
    counts[np.cumsum(pieces) - 1] = size - (pieces - 1) * stretch
    return counts, (np.cumsum(pieces) - pieces)[chunk.cell] + chunk.place // stretch


def _spread(a: Array, chunk: Chunk, size: Index) -> Array:
    """Put the values of busy transitions in their places among quiet ones."""
    out = np.zeros(int(size.sum()))
    out[(np.cumsum(size) - size)[chunk.cell] + chunk.place] = a
    return out
