"""Spike trains read a group of units at a time, whether they are in memory or in a store."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

SPIKES = 2**20  # read at a time: 8 MB, and about 25 times that while they are binned


@dataclass(frozen=True, slots=True)
class Trains:
    """The spikes of some units that follow one another."""

    times: NDArray[np.float64]  # (spike,) s
    units: NDArray[np.int64]  # (spike,) counted among the kept units


def read_trains(
    ds: xr.Dataset, keep: NDArray[np.bool_] | None = None, *, most: int = SPIKES
) -> Iterator[Trains]:
    """Read the trains of some units, all of a unit together.

    Parameters
    ----------
    ds
        Dataset of kind "spikes"; a lazy one is read group by group.
    keep
        True for the units to read, shape (unit,); default all.
    most
        Spikes read at a time, about.

    Yields
    ------
        Groups of units in ascending order. In memory at a time: `most` spikes, or those of one
        unit where it has more.
    """
    ends = ds["spike_times_index"].values.astype(np.int64)
    keep = np.ones(ends.size, bool) if keep is None else keep
    place = np.cumsum(keep) - 1
    for first, last in _groups(ends, most):
        if not keep[first:last].any():
            continue
        start = int(ends[first - 1]) if first else 0
        times = np.asarray(ds["spike_times"][start : int(ends[last - 1])].values, np.float64)
        units = np.repeat(np.arange(first, last), np.diff(ends[first:last], prepend=start))
        chosen = keep[units]
        yield Trains(times[chosen], place[units[chosen]])


def _groups(ends: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    first = 0
    while first < ends.size:
        start = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, start + most, side="right")), first + 1)
        yield first, last
        first = last


def largest_times(
    ds: xr.Dataset, keep: NDArray[np.bool_] | None = None, *, most: int = SPIKES
) -> float:
    """Return the largest magnitude among the times of some units, s; 0 without spikes."""
    parts = read_trains(ds, keep, most=most)
    return max((float(np.abs(p.times).max(initial=0.0)) for p in parts), default=0.0)
