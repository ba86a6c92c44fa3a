"""Pairs of (time, unit) -> ragged trains."""

import numpy as np
from numpy.typing import NDArray


def ragged(
    times: NDArray[np.float64], units: NDArray[np.generic]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.generic]]:
    """Group spikes by unit, keeping their order within a unit.

    Parameters
    ----------
    times
        Time of each spike, s, shape (spike,).
    units
        Unit of each spike, shape (spike,), numbers or texts.

    Returns
    -------
        Times unit after unit, end offsets (unit,), names of the units in ascending order.
    """
    names, number = np.unique(units, return_inverse=True)
    order = np.argsort(number.ravel(), kind="stable")
    counts = np.bincount(number.ravel(), minlength=names.size)
    return times[order], np.cumsum(counts), names
