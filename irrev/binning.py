"""Spike times in seconds -> sparse 0/1 bins and the transitions that may be used.

    bin of a spike = floor((t - start) / bin_s)            start = start of its interval    (1)

Bins are half-open, [start + k bin_s, start + (k + 1) bin_s). Only whole bins count, a bin is 1
whatever the number of its spikes, and no segment joins two intervals or runs across a stretch
that was not recorded.

Edges. Decimal times are rounded when they become doubles, so that (1) alone puts 0.29 s into bin
28 at 0.01 s. Let M be the largest magnitude among times and borders, so |t - start| <= 2 M. A
spike written as start + k bin_s carries the roundings of start and of the sum (M each), of bin_s
and of k bin_s (2 M each); reading it back adds the difference, the sum with the snap, the
quotient and bin_s (2 M each): 14 M 2^-53 in all. Hence (1) snaps upwards within
EDGE_ROUNDINGS 2^-53 M, e.g. 27 ps at 15,000 s: a million times finer than the sampling step of a
recording. Derived here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from numbers import Real

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from irrev.errors import InputError

EDGE_ROUNDINGS = 16  # module docstring: 14 suffice
MAX_SNAP = 1e-2  # of a bin; a snap that wide means that doubles cannot resolve the bins
MAX_BINS = 10**9  # row starts alone take 8 GB; 11 days at 1 ms


@dataclass(frozen=True, slots=True)
class SpikeBins:
    """Binarised spikes in compressed-row form: memory follows the spikes, not bins x units."""

    indptr: NDArray[np.int64]  # (n_bins + 1,) row starts in `indices`
    indices: NDArray[np.int32]  # (n_active,) units active in each bin, ascending within a bin
    n_units: int
    bin_s: float  # width of a bin, s
    segments: NDArray[np.int64]  # (n_segments, 2) half-open bin ranges without a gap
    n_spikes: int  # spikes inside the segments, before binarisation
    lost: float  # fraction of these that fell on an already active cell

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return self.indptr.size - 1

    @property
    def n_transitions(self) -> int:
        """Number of pairs of neighbouring bins inside one segment."""
        return int(np.sum(self.segments[:, 1] - self.segments[:, 0] - 1))

    @classmethod
    def from_dense(
        cls,
        array: ArrayLike,
        bin_s: float,
        segments: Sequence[tuple[int, int]] | NDArray[np.integer] | None = None,
    ) -> "SpikeBins":
        """Wrap a bin x unit array of 0/1 values or spike counts.

        Parameters
        ----------
        array
            Shape (bin, unit); values above 1 are counted as lost coincidences.
        bin_s
            Width of a bin, s.
        segments
            Half-open bin ranges without a gap; default one segment with all bins.

        Raises
        ------
        InputError
            If the array is not 2-D or holds anything but counts, or `bin_s` is not above 0.
        """
        counts = np.asarray(array)
        if counts.ndim != 2:
            raise InputError(f"array has shape {counts.shape}; pass one of shape (bin, unit).")
        if counts.dtype.kind not in "biuf":
            raise InputError(f"array is of type {counts.dtype}; pass 0/1 or spike counts.")
        wrong = np.zeros(0, bool) if counts.dtype.kind in "bu" else counts < 0
        if counts.dtype.kind == "f":
            wrong |= ~np.isfinite(counts) | (counts != np.floor(counts))
        if wrong.any():
            raise InputError(f"array has the value {counts[wrong][0]}; pass 0/1 or spike counts.")
        if not (isinstance(bin_s, Real) and 0 < bin_s < inf):
            raise InputError(f"bin_s is {bin_s!r}; pass the width of a bin, s, above 0.")
        rows, units = np.nonzero(counts)
        n_bins, n_units = counts.shape
        ranges = [(0, n_bins)] if segments is None else segments
        n_spikes = int(counts.sum())
        return cls(
            indptr=_row_starts(rows, n_bins),
            indices=units.astype(np.int32),
            n_units=n_units,
            bin_s=bin_s,
            segments=np.asarray(ranges, dtype=np.int64).reshape(-1, 2),
            n_spikes=n_spikes,
            lost=1 - units.size / n_spikes if n_spikes else 0.0,
        )

    def to_dense(self) -> NDArray[np.bool_]:
        """Return the bin x unit array; for small data, it needs bins x units bytes."""
        out = np.zeros((self.n_bins, self.n_units), dtype=bool)
        rows = np.repeat(np.arange(self.n_bins), np.diff(self.indptr))
        out[rows, self.indices] = True
        return out


def bin_spikes(
    ds: xr.Dataset, *, bin_s: float, intervals: NDArray[np.float64] | None = None
) -> SpikeBins:
    """Bin spike trains inside intervals, leaving out what was not recorded.

    Parameters
    ----------
    ds
        Dataset of kind "spikes".
    bin_s
        Width of a bin, s.
    intervals
        Starts and stops, s, shape (interval, 2), not overlapping; default all recorded spans.

    Returns
    -------
        Bins of all intervals after one another, one segment per unbroken recorded stretch.

    Raises
    ------
    InputError
        If an interval is empty, two overlap, no whole bin fits, or bins are too many or too
        narrow for the resolution of doubles at these times.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> ds = xr.Dataset(
    ...     {
    ...         "spike_times": ("spike", [5.00, 5.29, 5.011]),
    ...         "spike_times_index": ("unit", [2, 3]),
    ...         "observed_start": ("observed", [5.0]),
    ...         "observed_stop": ("observed", [5.3]),
    ...     }
    ... )
    >>> bins = bin_spikes(ds, bin_s=0.01)
    >>> bins.n_bins, np.argwhere(bins.to_dense()).tolist()
    (30, [[0, 0], [1, 1], [29, 0]])
    """
    times = ds["spike_times"].values
    ends = ds["spike_times_index"].values.astype(np.int64)
    grid = bin_grid(
        ds, bin_s=bin_s, intervals=intervals, largest=float(np.abs(times).max(initial=0.0))
    )
    cells, n_spikes = grid.cells(
        times, np.repeat(np.arange(ends.size), np.diff(ends, prepend=0)), ends.size
    )
    return SpikeBins(
        indptr=_row_starts(cells // ends.size, grid.n_bins),
        indices=(cells % ends.size).astype(np.int32),
        n_units=ends.size,
        bin_s=bin_s,
        segments=grid.segments,
        n_spikes=n_spikes,
        lost=1 - cells.size / n_spikes if n_spikes else 0.0,
    )


@dataclass(frozen=True, slots=True)
class BinGrid:
    """Where the bins of a recording lie; any part of its spikes can be binned by itself."""

    starts: NDArray[np.float64]  # (segment,) s
    n_whole: NDArray[np.int64]  # (segment,) bins
    bin_s: float
    slack: float  # s, by which a time snaps up to the next edge

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return int(self.n_whole.sum())

    @property
    def segments(self) -> NDArray[np.int64]:
        """Half-open bin ranges without a gap, shape (segment, 2)."""
        last = np.cumsum(self.n_whole)
        return np.column_stack([last - self.n_whole, last])

    def cells(
        self, times: NDArray[np.float64], units: NDArray[np.int64], n_units: int
    ) -> tuple[NDArray[np.int64], int]:
        """Return the active cells bin x n_units + unit, ascending, and the number of spikes.

        Parameters
        ----------
        times, units
            Time, s, and unit of each spike, shape (spike,).
        n_units
            Number of units.
        """
        piece = np.searchsorted(self.starts - self.slack, times, side="right") - 1
        inside = piece >= 0
        k = np.floor((times - self.starts[piece] + self.slack) / self.bin_s)  # eq. (1)
        inside &= k < self.n_whole[piece]
        row = self.segments[piece[inside], 0] + k[inside].astype(np.int64)
        cells = np.sort(row * n_units + units[inside])  # np.unique hashes: ten times slower here
        return cells[np.diff(cells, prepend=-1) > 0], row.size


def bin_grid(
    ds: xr.Dataset,
    *,
    bin_s: float,
    intervals: NDArray[np.float64] | None = None,
    largest: float,
) -> BinGrid:
    """Lay the bins of a recording, without its spikes.

    Parameters
    ----------
    ds
        Dataset of kind "spikes"; its spikes are not read.
    bin_s, intervals
        As for `bin_spikes`.
    largest
        Largest magnitude among the times that will be binned, s.

    Raises
    ------
    InputError
        As `bin_spikes`.
    """
    if not (np.isfinite(bin_s) and bin_s > 0):
        raise InputError(f"bin_s is {bin_s}; give a positive width in seconds.")
    observed = np.column_stack([ds["observed_start"].values, ds["observed_stop"].values])
    wanted = observed if intervals is None else _check_intervals(intervals)
    pieces = intersect(wanted, observed)
    slack = _slack(max(float(np.abs(pieces).max(initial=0.0)), largest), bin_s)
    widths = pieces[:, 1] - pieces[:, 0]
    n_whole = np.floor((widths + slack) / bin_s).astype(np.int64)
    if not n_whole.any():
        raise InputError(
            f"no whole bin of {bin_s:g} s fits the recorded intervals "
            f"(longest {widths.max(initial=0.0):g} s); choose narrower bins."
        )
    if n_whole.sum() > MAX_BINS:
        raise InputError(f"there are {n_whole.sum():g} bins of {bin_s:g} s; choose wider bins.")
    return BinGrid(pieces[n_whole > 0, 0], n_whole[n_whole > 0], bin_s, slack)


def intersect(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersect two sorted lists of disjoint spans.

    Parameters
    ----------
    first, second
        Starts and stops, shape (span, 2), ascending, not overlapping within one list.

    Returns
    -------
        The common spans; a border of either list always ends a span.
    """
    out = []
    low = np.searchsorted(second[:, 1], first[:, 0], side="right")
    high = np.searchsorted(second[:, 0], first[:, 1], side="left")
    for (start, stop), i, j in zip(first, low, high, strict=True):
        if i < j:
            span = second[i:j].clip(start, stop)
            out.append(span[span[:, 1] > span[:, 0]])
    return np.concatenate(out) if out else np.empty((0, 2))


def _check_intervals(intervals: NDArray[np.float64]) -> NDArray[np.float64]:
    spans = np.asarray(intervals, dtype=np.float64)
    if spans.ndim != 2 or spans.shape[1] != 2:
        raise InputError(f"intervals have shape {spans.shape}; pass starts and stops, (n, 2).")
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    empty = ~(spans[:, 1] > spans[:, 0])
    if empty.any():
        start, stop = spans[empty][0]
        raise InputError(f"interval {start:g} to {stop:g} s is empty; leave it out.")
    over = np.flatnonzero(spans[1:, 0] < spans[:-1, 1])
    if over.size:
        (a, b), (c, d) = spans[over[0]], spans[over[0] + 1]
        raise InputError(
            f"intervals {a:g} to {b:g} s and {c:g} to {d:g} s overlap; merge them first."
        )
    return spans


def _slack(largest: float, bin_s: float) -> float:
    """Return the width in s by which a time snaps up to the next edge (module docstring)."""
    slack = EDGE_ROUNDINGS * 2.0**-53 * largest
    if slack > MAX_SNAP * bin_s:
        raise InputError(
            f"bins of {bin_s:g} s cannot be resolved at times up to {largest:g} s; "
            "check the unit of the times or choose wider bins."
        )
    return slack


def _row_starts(rows: NDArray[np.int64], n_bins: int) -> NDArray[np.int64]:
    out = np.zeros(n_bins + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=n_bins), out=out[1:])
    return out
