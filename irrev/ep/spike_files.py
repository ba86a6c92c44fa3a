"""Spike times of any length -> binned recording in mapped files, a group of units at a time."""

from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.binning import bin_grid
from irrev.ep.chunks import MappedBins, index_type, write_meta
from irrev.trains import SPIKES, largest_times, read_trains


def save_spikes(
    ds: xr.Dataset,
    folder: str | Path,
    *,
    bin_s: float,
    intervals: NDArray[np.float64] | None = None,
    keep: NDArray[np.bool_] | None = None,
    most: int = SPIKES,
) -> MappedBins:
    """Bin spike trains that may lie in a store straight into a folder, and map it.

    The same bins, bit for bit, as `save_bins(bin_spikes(...))`. Trains are read twice, a group of
    units at a time: once for the largest time, once to bin them. A group's active cells go to a
    file; then each is put into its place, which the number of active units a bin tells.

    Parameters
    ----------
    ds
        Dataset of kind "spikes", in memory or lazy.
    folder
        As for `save_bins`.
    bin_s, intervals
        As for `irrev.bin_spikes`.
    keep
        True for the units to use, shape (unit,); default all.
    most
        Spikes in memory at a time.

    Returns
    -------
        The recording. In memory at a time: a chunk of the store and about 200 bytes for each of
        `most` spikes, or of one unit's where it has more (285 MiB for 40 million spikes in 7.2
        million bins, against 2.6 GB for the whole); the rest are mapped files, 8 bytes a bin and
        10 a spike, which the system takes back when it needs memory.

    Raises
    ------
    InputError
        As `irrev.bin_spikes`.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    n_units = ds.sizes["unit"] if keep is None else int(keep.sum())
    largest = largest_times(ds, keep, most=most)
    grid = bin_grid(ds, bin_s=bin_s, intervals=intervals, largest=largest)
    create = np.lib.format.open_memmap
    indptr = create(path / "indptr.npy", mode="w+", dtype=np.int64, shape=(grid.n_bins + 1,))
    n_spikes, raw = 0, path / "cells.raw"
    with raw.open("wb") as file:
        for trains in read_trains(ds, keep, most=most):
            cells, inside = grid.cells(trains.times, trains.units, n_units)
            rows, counts = np.unique(cells // n_units, return_counts=True)
            indptr[rows + 1] += counts
            n_spikes += inside
            cells.tofile(file)
    n_active = _add_up(indptr)
    kind = index_type(n_units)
    indices = create(path / "indices.npy", mode="w+", dtype=kind, shape=(n_active,))
    _put_in_place(raw, most, n_units, indptr, indices)
    raw.unlink()
    write_meta(path, n_units, bin_s, grid.segments, n_active, n_spikes)
    return MappedBins(str(path))


def _add_up(counts: NDArray[np.int64]) -> int:
    """Turn counts of rows, which begin at place 1, into row starts at the same places."""
    total = 0
    for start in range(1, counts.size, SPIKES):
        part = counts[start : start + SPIKES]
        ends = np.cumsum(part)
        part[:] = ends - part + total
        total += int(ends[-1])
    return total


def _put_in_place(
    raw: Path,
    most: int,
    n_units: int,
    indptr: NDArray[np.int64],
    indices: NDArray[np.integer],
) -> None:
    """Put cells into their rows; the start of a row moves on with it, so that it ends as its end.

    Groups of units come in ascending order, and so do the cells of each.
    """
    with raw.open("rb") as file:
        while (cells := np.fromfile(file, np.int64, most)).size:
            rows, unit = np.divmod(cells, n_units)
            indices[_places(rows, indptr)] = unit


def _places(rows: NDArray[np.int64], indptr: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the next free places of the rows, which may repeat, and take them."""
    order = np.argsort(rows, kind="stable")
    found, first, counts = np.unique(rows[order], return_index=True, return_counts=True)
    place = np.empty_like(rows)
    rank = np.arange(rows.size) - np.repeat(first, counts)
    place[order] = np.repeat(indptr[found + 1], counts) + rank
    indptr[found + 1] += counts
    return place
