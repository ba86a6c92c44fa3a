"""Compiled Glauber updates; needs numba (extra `fast`). The numpy path draws the same numbers."""

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True)
def glauber(
    spins: NDArray[np.int8],
    field: NDArray[np.float64],
    indptr: NDArray[np.int64],
    targets: NDArray[np.int64],
    strengths: NDArray[np.float64],
    sites: NDArray[np.int64],
    uniforms: NDArray[np.float64],
    every: int,
    out: NDArray[np.int8],
) -> None:
    """Redraw the sites in order; write the state after every `every`-th redraw to `out`."""
    kept = 0
    for k in range(sites.size):
        i = sites[k]
        up = uniforms[k] * (1.0 + np.exp(-2.0 * field[i])) < 1.0
        if up != (spins[i] > 0):
            change = 2.0 if up else -2.0
            spins[i] = -spins[i]
            for m in range(indptr[i], indptr[i + 1]):
                field[targets[m]] += change * strengths[m]
        if (k + 1) % every == 0 and kept < out.shape[0]:
            out[kept] = spins
            kept += 1
