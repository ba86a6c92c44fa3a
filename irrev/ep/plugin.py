"""Counting estimate of the entropy production of a few binary units, or of a state sequence.

    ep = sum_ij p_ij ln(p_ij / p_ji)            nats per step                   (1)

p_ij is the joint frequency of (state at t = i, state at t + 1 = j) with a pseudocount on every
transition whose transition or reversal was seen. Biased upwards by about
(number of state pairs seen) / (number of steps): the baseline that the MaxEnt bound must beat
when states are too many to count.

Source: P. Gaspard, J. Stat. Phys. 117, 599 (2004).
"""

import numpy as np
from numpy.typing import NDArray

from irrev.errors import InputError

MAX_UNITS = 12  # 4096 states: beyond, almost no state is seen twice


def plugin_ep(
    states: NDArray[np.integer],
    *,
    starts: NDArray[np.integer] | None = None,
    pseudocount: float = 0.5,
) -> float:
    """Estimate the entropy production per step by counting transitions.

    Parameters
    ----------
    states
        State index at each step, shape (time,), or 0/1 activity of at most 12 units, shape
        (time, unit).
    starts
        First index of each transition; default every step but the last. Pass those that cross no
        gap.
    pseudocount
        Added to each transition seen in either direction, so that a one-way transition stays
        finite.

    Returns
    -------
        Entropy production, nats per step, never negative.

    Raises
    ------
    InputError
        If `states` has another shape, fewer than two steps, too many units or other values.

    Examples
    --------
    >>> plugin_ep(np.array([0, 1, 0, 1, 0]))
    0.0
    """
    index = _state_index(np.asarray(states))
    first = np.arange(index.size - 1) if starts is None else np.asarray(starts)
    if first.size < 1:
        raise InputError(f"{index.size} steps; pass two or more.")
    if first.min() < 0 or first.max() > index.size - 2:
        raise InputError(
            f"starts reach from {first.min()} to {first.max()} of {index.size} steps."
        )
    if not pseudocount > 0:
        raise InputError(f"pseudocount is {pseudocount}; use a number above 0, 0.5 by default.")
    n = int(index.max()) + 1
    pair, counts = np.unique(index[first] * n + index[first + 1], return_counts=True)
    back = (pair % n) * n + pair // n
    at = np.minimum(np.searchsorted(pair, back), pair.size - 1)
    reverse = np.where(pair[at] == back, counts[at], 0)
    weight = counts + pseudocount
    # A pair never seen backwards appears here once; its mirror image carries the pseudocount.
    lone = reverse == 0
    total = weight.sum() + pseudocount * lone.sum()
    ratio = np.log(weight / (reverse + pseudocount))
    return float((weight @ ratio - pseudocount * ratio[lone].sum()) / total)


def _state_index(states: NDArray[np.integer]) -> NDArray[np.int64]:
    """Turn activity into the index of a state."""
    if states.ndim == 1 and np.issubdtype(states.dtype, np.integer):
        if states.size and states.min() < 0:
            raise InputError(f"states start at {states.min()}; number them from 0.")
        return states.astype(np.int64)
    if states.ndim != 2 or states.shape[1] > MAX_UNITS:
        raise InputError(
            f"states have shape {states.shape}; pass (time,) or (time, unit) with at most "
            f"{MAX_UNITS} units."
        )
    if not np.all((states == 0) | (states == 1)):
        raise InputError("states hold values other than 0 and 1; binarise them.")
    return states.astype(np.int64) @ (1 << np.arange(states.shape[1]))
