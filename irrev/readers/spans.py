"""Spans of time: unions, common parts, overlaps. A span is a row (start, stop) in seconds."""

import numpy as np
from numpy.typing import NDArray


def merge_spans(spans: NDArray[np.float64]) -> NDArray[np.float64]:
    """Join spans that overlap; spans that only touch stay apart.

    Parameters
    ----------
    spans
        Shape (span, 2), any order.

    Returns
    -------
        Ascending disjoint spans.

    Examples
    --------
    >>> import numpy as np
    >>> merge_spans(np.array([[2.0, 3.0], [0.0, 1.0], [0.5, 2.0]])).tolist()
    [[0.0, 2.0], [2.0, 3.0]]
    """
    if not len(spans):
        return np.empty((0, 2))
    spans = spans[np.lexsort((spans[:, 1], spans[:, 0]))]
    reach = np.maximum.accumulate(spans[:, 1])
    opens = np.concatenate([[True], spans[1:, 0] >= reach[:-1]])
    first = np.flatnonzero(opens)
    last = np.append(first[1:], len(spans)) - 1
    return np.column_stack([spans[first, 0], reach[last]])


def overlapping(spans: NDArray[np.float64]) -> int:
    """Count the spans that begin before an earlier one has ended."""
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    return int(np.sum(spans[1:, 0] < np.maximum.accumulate(spans[:, 1])[:-1]))


def intersect_units(spans: NDArray[np.float64], unit: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the spans common to all units that have spans.

    Parameters
    ----------
    spans
        Shape (span, 2).
    unit
        Unit of each span, shape (span,).

    Returns
    -------
        Ascending disjoint spans; a span that ends for one unit ends for all.
    """
    merged = [merge_spans(spans[rows]) for rows in _groups(unit)]
    n_units = len(merged)
    # Sweep over the borders: a stretch counts where every unit is inside a span of its own.
    starts = np.concatenate([m[:, 0] for m in merged])
    stops = np.concatenate([m[:, 1] for m in merged])
    borders = np.unique(np.concatenate([starts, stops]))
    inside = np.searchsorted(np.sort(starts), borders, side="right") - np.searchsorted(
        np.sort(stops), borders, side="right"
    )
    full = np.flatnonzero(inside[:-1] == n_units)
    return np.column_stack([borders[full], borders[full + 1]])


def _groups(unit: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    order = np.argsort(unit, kind="stable")
    cuts = np.flatnonzero(np.diff(unit[order])) + 1
    return np.split(order, cuts)
