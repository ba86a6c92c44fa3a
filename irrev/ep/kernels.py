"""Values and weighted sums of the pair observables of sparse 0/1 data.

One function for each of the two products of an iteration, one for counts. The compiled loops of
`irrev.ep.compiled` are used when numba (extra `fast`) is installed; without it, the same numbers
come from dense products over short stretches of the data.
"""

from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

DENSE_ROWS = 2048  # rows made dense at a time without numba: a few MB at 300 units


@cache
def _compiled() -> ModuleType | None:
    """Import the compiled kernels once; None where numba is absent."""
    try:
        from irrev.ep import compiled
    except ImportError:
        return None
    return compiled


def values(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    starts: NDArray[np.int64],
    theta: NDArray[np.floating],
    *,
    lag: int = 1,
) -> NDArray[np.float64]:
    """Return s1' Theta s0 of each transition, s = 2b - 1.

    Parameters
    ----------
    indptr, indices
        Active units of each bin in compressed-row form.
    starts
        First bin of each transition, shape (step,).
    theta
        Antisymmetric couplings, shape (unit, unit), float32 or float64.
    lag
        Bins from the first to the last state of a transition.

    Returns
    -------
        Shape (step,), nats.
    """
    theta = np.ascontiguousarray(theta)
    row_sum = theta.sum(axis=1)
    out = np.empty(starts.size)
    module = _compiled()
    if module is not None:
        module.pair_values(indptr, indices.view(np.uint32), starts, lag, theta, row_sum, out)
        return out
    for part in _parts(starts.size):
        b0, b1 = _ends(indptr, indices, starts[part], theta.shape[0], lag)
        pair = np.einsum("ti,ti->t", b1 @ theta, b0)
        out[part] = 4.0 * pair + 2.0 * ((b0 - b1) @ row_sum)
    return out


def weighted_sum(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    starts: NDArray[np.int64],
    weights: NDArray[np.float64],
    n_units: int,
    *,
    lag: int = 1,
) -> NDArray[np.float64]:
    """Return sum_t w_t (s1 s0' - s0 s1'), shape (unit, unit), antisymmetric."""
    total = PairTotal(n_units)
    total.add(indptr, indices, starts, weights, lag=lag)
    return total.antisymmetric()


class PairTotal:
    """A weighted sum of the pair observables over several stretches of data."""

    def __init__(self, n_units: int) -> None:
        self._pairs, self._units = np.zeros((n_units, n_units)), np.zeros(n_units)

    def add(
        self,
        indptr: NDArray[np.int64],
        indices: NDArray[np.int32],
        starts: NDArray[np.int64],
        weights: NDArray[np.float64],
        *,
        lag: int = 1,
    ) -> None:
        """Add one stretch."""
        module = _compiled()
        if module is not None:
            spikes = (indptr, indices.view(np.uint32), starts)
            weights = np.ascontiguousarray(weights)
            module.pair_sums(*spikes, lag, weights, self._pairs, self._units)
            return
        for part in _parts(starts.size):
            b0, b1 = _ends(indptr, indices, starts[part], self._units.size, lag)
            weighted = b1 * weights[part, None]
            self._pairs += weighted.T @ b0
            self._units += 2.0 * (weighted.sum(axis=0) - weights[part] @ b0)

    def antisymmetric(self) -> NDArray[np.float64]:
        """Return sum_t w_t (s1 s0' - s0 s1'), shape (unit, unit)."""
        units = self._units[:, None] - self._units[None, :]
        return 4.0 * (self._pairs - self._pairs.T) - units


def unit_counts(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    starts: NDArray[np.int64],
    n_units: int,
    *,
    lag: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count ends of transitions at which each unit is active, and transitions with both."""
    either, both = np.zeros((2, n_units), np.int64)
    module = _compiled()
    if module is not None:
        module.unit_counts(indptr, indices.view(np.uint32), starts, lag, either, both)
        return either, both
    for part in _parts(starts.size):
        b0, b1 = _ends(indptr, indices, starts[part], n_units, lag)
        either += (b0 + b1).sum(axis=0).astype(np.int64)
        both += (b0 * b1).sum(axis=0).astype(np.int64)
    return either, both


def _parts(n: int) -> list[slice]:
    return [slice(k, min(k + DENSE_ROWS, n)) for k in range(0, n, DENSE_ROWS)]


def _ends(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    starts: NDArray[np.int64],
    n_units: int,
    lag: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Make the two 0/1 rows of each transition dense."""
    return (
        dense_rows(indptr, indices, starts, n_units),
        dense_rows(indptr, indices, starts + lag, n_units),
    )


def dense_rows(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    bins: NDArray[np.int64],
    n_units: int,
) -> NDArray[np.float64]:
    """Return the 0/1 rows of the given bins, shape (bins, unit)."""
    counts = indptr[bins + 1] - indptr[bins]
    rows = np.repeat(np.arange(bins.size), counts)
    offsets = np.arange(rows.size) - np.repeat(np.cumsum(counts) - counts, counts)
    out = np.zeros((bins.size, n_units))
    out[rows, indices[np.repeat(indptr[bins], counts) + offsets]] = 1.0
    return out
