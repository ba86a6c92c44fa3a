"""Compiled walk on states; needs numba (extra `fast`). The numpy path gives the same states."""

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True)
def walk(
    below: NDArray[np.float64], uniforms: NDArray[np.float64], out: NDArray[np.int64]
) -> None:
    """Fill `out` after its first entry; row i of `below` holds cumulated probabilities."""
    for t in range(uniforms.size):
        row = below[out[t]]
        out[t + 1] = np.searchsorted(row, uniforms[t], side="right")
