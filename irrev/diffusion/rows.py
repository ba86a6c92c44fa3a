"""Rows of samples that lie in parts: what is asked for is read, part by part.

Memory is the rows that were asked for and the last two parts.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from irrev.errors import InputError

Floats = NDArray[np.float32]


def check_finite(data: NDArray[np.floating]) -> None:
    """Refuse rows that hold NaN or infinity.

    Raises
    ------
    InputError
        With the number of these rows and the first one.
    """
    bad = np.flatnonzero(~np.isfinite(data.reshape(len(data), -1)).all(axis=1))
    if len(bad):
        raise InputError(
            f"data have NaN or infinity in {len(bad)} of {len(data)} rows, first in row {bad[0]}; "
            "remove these rows."
        )


class RowParts:
    """An array along `sample` whose rows are read when they are indexed.

    Parameters
    ----------
    load
        Number of a part -> its rows, shape (rows of the part, *shape), or behind one more
        dimension if `leading` is its length.
    rows
        Rows of each part.
    shape
        Of one row.
    leading
        Length of a dimension before the rows; indexing is then `[:, rows]`.
    """

    def __init__(
        self,
        load: Callable[[int], Floats],
        rows: Sequence[int],
        shape: tuple[int, ...],
        *,
        leading: int | None = None,
    ) -> None:
        self._load = load
        self._ends = np.cumsum(rows)
        self._axis = 0 if leading is None else 1
        n = int(self._ends[-1])
        self.shape = (n, *shape) if leading is None else (leading, n, *shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: slice | NDArray[np.integer] | tuple[slice, object]) -> Floats:
        rows = index[1] if isinstance(index, tuple) else index
        wanted = np.atleast_1d(np.arange(self.shape[self._axis])[rows])  # pyright: ignore
        owner = np.searchsorted(self._ends, wanted, side="right")
        lengths = list(self.shape)
        lengths[self._axis] = len(wanted)
        out = np.empty(lengths, dtype=np.float32)
        by_row = np.moveaxis(out, self._axis, 0)
        for number in np.unique(owner):
            part = np.moveaxis(self._load(int(number)), self._axis, 0)
            here = owner == number
            start = self._ends[number] - len(part)
            by_row[here] = part[wanted[here] - start]
        return out
