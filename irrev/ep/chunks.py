"""Binned recordings that are read piece by piece, and how they are cut.

A recording offers `rows(first, last)`: the active units of some bins. Its transitions (t, t + 1)
are cut, in this order, into

    blocks   contiguous, dealt to folds; they share no state (as `validation.cut_blocks` cuts)
    cells    up to `cell` transitions inside a block: sums over them are added in this order
    chunks   consecutive cells, about `chunk` transitions: what is in memory at a time

Blocks and cells are properties of the recording, chunks are not: no number depends on them.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from irrev.binning import SpikeBins
from irrev.ep.validation import SNAP
from irrev.errors import InputError

SMALL_UNITS = 1 << 16  # units that two bytes can number
Rows = tuple[NDArray[np.int64], NDArray[np.int32]]  # row starts from 0, active units


class Recording(Protocol):
    """Binned 0/1 activity of which any stretch can be read; pickles small if it lies on disk."""

    @property
    def n_units(self) -> int:
        """Number of units."""
        ...

    @property
    def bin_s(self) -> float:
        """Width of a bin, s."""
        ...

    @property
    def segments(self) -> NDArray[np.int64]:
        """Half-open bin ranges without a gap, shape (segment, 2)."""
        ...

    @property
    def lost(self) -> float:
        """Fraction of spikes that fell on an already active cell."""
        ...

    def rows(self, first: int, last: int) -> Rows:
        """Return the active units of bins first to last - 1."""
        ...


@dataclass(frozen=True, slots=True)
class HeldBins:
    """A recording in memory."""

    bins: SpikeBins

    @property
    def n_units(self) -> int:
        """Number of units."""
        return self.bins.n_units

    @property
    def bin_s(self) -> float:
        """Width of a bin, s."""
        return self.bins.bin_s

    @property
    def segments(self) -> NDArray[np.int64]:
        """Half-open bin ranges without a gap."""
        return self.bins.segments

    @property
    def lost(self) -> float:
        """Fraction of spikes lost to binarisation."""
        return self.bins.lost

    def rows(self, first: int, last: int) -> Rows:
        """Return the active units of some bins."""
        return cut_rows(self.bins.indptr, self.bins.indices, first, last)


@dataclass(frozen=True, slots=True)
class MappedBins:
    """A recording in a folder of two mapped arrays; the folder's name is all that travels."""

    folder: str

    @property
    def n_units(self) -> int:
        """Number of units."""
        return int(_mapped(self.folder)[2]["n_units"])

    @property
    def bin_s(self) -> float:
        """Width of a bin, s."""
        return float(_mapped(self.folder)[2]["bin_s"])

    @property
    def segments(self) -> NDArray[np.int64]:
        """Half-open bin ranges without a gap."""
        return np.asarray(_mapped(self.folder)[2]["segments"], np.int64).reshape(-1, 2)

    @property
    def lost(self) -> float:
        """Fraction of spikes lost to binarisation."""
        return float(_mapped(self.folder)[2]["lost"])

    def rows(self, first: int, last: int) -> Rows:
        """Return the active units of some bins."""
        indptr, indices, _ = _mapped(self.folder)
        return cut_rows(indptr, indices, first, last)


def cut_rows(
    indptr: NDArray[np.int64], indices: NDArray[np.integer], first: int, last: int
) -> Rows:
    """Copy some rows of a compressed-row array; row starts count from 0."""
    ends = np.asarray(indptr[first : last + 1], np.int64)
    return ends - ends[0], np.asarray(indices[ends[0] : ends[-1]]).astype(np.int32)


@lru_cache(maxsize=8)
def _mapped(folder: str) -> tuple[NDArray[np.int64], NDArray[np.integer], dict[str, Any]]:
    path = Path(folder)
    if not (path / "bins.json").is_file():
        raise InputError(f"{folder} holds no bins.json; write the recording with save_bins.")
    meta = json.loads((path / "bins.json").read_text())
    return (
        np.load(path / "indptr.npy", mmap_mode="r"),
        np.load(path / "indices.npy", mmap_mode="r"),
        meta,
    )


def save_bins(parts: SpikeBins | Iterable[SpikeBins], folder: str | Path) -> MappedBins:
    """Write a recording to a folder, part by part, and map it.

    Parameters
    ----------
    parts
        The recording, or stretches of it that follow one another: a segment that ends a part
        and one that begins the next are joined. All have the same units and bin width.
    folder
        Where `indptr.npy`, `indices.npy` and `bins.json` are written; made if needed.

    Returns
    -------
        The recording. In memory at a time: one part, and 8 bytes a bin.

    Raises
    ------
    InputError
        If there is no part, or parts differ in units or bin width.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    parts = [parts] if isinstance(parts, SpikeBins) else parts
    counts, segments, first, n_spikes, n_active = [], [], None, 0, 0
    raw = path / "indices.raw"
    with raw.open("wb") as file:
        for part in parts:
            first = first or part
            if (part.n_units, part.bin_s) != (first.n_units, first.bin_s):
                raise InputError(
                    f"a part has {part.n_units} units and bins of {part.bin_s:g} s, the first "
                    f"{first.n_units} and {first.bin_s:g} s; write one recording at a time."
                )
            _append_segments(segments, part.segments + sum(c.size for c in counts))
            counts.append(np.diff(part.indptr))
            n_spikes, n_active = n_spikes + part.n_spikes, n_active + part.indices.size
            file.write(part.indices.astype(index_type(part.n_units)).tobytes())
    if first is None:
        raise InputError(f"{folder}: there is no part to write; pass at least one.")
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    np.save(path / "indptr.npy", indptr)
    _to_npy(raw, path / "indices.npy", index_type(first.n_units), n_active)
    write_meta(path, first.n_units, first.bin_s, segments, n_active, n_spikes)
    _mapped.cache_clear()  # a folder that is written anew is read anew
    return MappedBins(str(path))


def index_type(n_units: int) -> type[np.integer]:
    """Return how units are numbered in a file."""
    return np.uint16 if n_units <= SMALL_UNITS else np.int32


def write_meta(
    path: Path,
    n_units: int,
    bin_s: float,
    segments: Iterable[Iterable[int]],
    n_active: int,
    n_spikes: int,
) -> None:
    """Write what a folder of bins holds beside its two arrays."""
    meta = {
        "n_units": n_units,
        "bin_s": bin_s,
        "segments": [[int(a), int(b)] for a, b in segments],
        "lost": 1 - n_active / n_spikes if n_spikes else 0.0,
    }
    (path / "bins.json").write_text(json.dumps(meta))
    _mapped.cache_clear()


def _append_segments(segments: list[list[int]], found: NDArray[np.int64]) -> None:
    """Add the segments of a part; its first one continues the last of the part before."""
    new = found.tolist()
    if segments and new and segments[-1][1] == new[0][0]:
        segments[-1][1] = new.pop(0)[1]
    segments.extend(new)


def _to_npy(raw: Path, target: Path, dtype: type[np.integer], size: int) -> None:
    """Put a header before raw bytes, a megabyte at a time."""
    out = np.lib.format.open_memmap(target, mode="w+", dtype=dtype, shape=(size,))
    with raw.open("rb") as file:
        for start in range(0, size, 1 << 20):
            part = np.fromfile(file, dtype, min(1 << 20, size - start))
            out[start : start + part.size] = part
    out.flush()
    raw.unlink()


# --- cutting -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cells:
    """Runs of transitions inside one block, in the order of the recording."""

    start: NDArray[np.int64]  # (cell,) first bin of its first transition
    stop: NDArray[np.int64]  # (cell,) first bin of its last transition, plus 1
    block: NDArray[np.int64]  # (cell,)

    @property
    def size(self) -> NDArray[np.int64]:
        """Number of transitions of each cell."""
        return self.stop - self.start

    def part(self, first: int, last: int) -> "Cells":
        """Return some cells that follow one another."""
        return Cells(self.start[first:last], self.stop[first:last], self.block[first:last])


def cut_cells(segments: NDArray[np.int64], n_blocks: int, *, cell: int, lag: int = 1) -> Cells:
    """Cut the transitions of a recording into blocks and these into cells.

    Parameters
    ----------
    segments
        Half-open bin ranges without a gap, shape (segment, 2).
    n_blocks
        Number of blocks; a cut moves to a gap of the recording where one is near.
    cell
        Largest number of transitions of a cell.
    lag
        Transitions dropped at the end of a block: those that would share a state with the next.

    Raises
    ------
    InputError
        If there are fewer than four transitions a block.
    """
    sizes = np.maximum(segments[:, 1] - segments[:, 0] - lag, 0)
    edges = np.concatenate([[0], np.cumsum(sizes)])  # in transitions
    n = int(edges[-1])
    if n < 4 * n_blocks:
        raise InputError(
            f"{n} transitions for {n_blocks} blocks; use a longer recording or fewer blocks."
        )
    cuts = np.arange(1, n_blocks) * n / n_blocks
    gaps = np.unique(edges[(edges > 0) & (edges < n)])
    if gaps.size:
        near = gaps[np.abs(gaps[:, None] - cuts).argmin(axis=0)]
        cuts = np.where(np.abs(near - cuts) <= SNAP * n / n_blocks, near, cuts)
    borders = np.concatenate([[0], np.round(cuts).astype(np.int64), [n]])
    starts, stops, blocks = [], [], []
    for (first, _), low, high in zip(segments.tolist(), edges[:-1], edges[1:], strict=True):
        inside = borders[(borders > low) & (borders < high)]
        ends = np.concatenate([inside, [high]])
        begins = np.concatenate([[low], inside])
        for begin, end in zip(begins, ends, strict=True):
            kept = end - (lag if end < high else 0)  # nothing is shared across a gap
            for a in range(int(begin), int(kept), cell):
                starts.append(first + a - low)
                stops.append(first + min(a + cell, int(kept)) - low)
                blocks.append(int(np.searchsorted(borders, begin, side="right")) - 1)
    return Cells(*(np.array(x, np.int64) for x in (starts, stops, blocks)))


def cut_chunks(cells: Cells, chunk: int) -> list[tuple[int, int]]:
    """Group consecutive cells into chunks of about `chunk` transitions, at least one cell each."""
    label = (np.cumsum(cells.size) - 1) // max(chunk, 1)
    first = np.flatnonzero(np.diff(label, prepend=-1))
    return list(zip(first.tolist(), [*first[1:].tolist(), label.size], strict=True))
