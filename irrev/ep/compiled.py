"""Compiled sums over pairs of active cells; needs numba (extra `fast`).

For 0/1 rows b held as lists of active units, with r = Theta 1 and the +-1 coding s = 2b - 1,

    s1' Theta s0 = 4 b1' Theta b0 - 2 r.b1 + 2 r.b0                             (1)
    sum_t w_t s1 s0', antisymmetrised = 4 (G - G') - (d 1' - 1 d')              (2)
    G = sum_t w_t b1 b0',  d = 2 sum_t w_t (b1 - b0)

so the cost follows pairs of spikes, not pairs of units. Where many units are active, (1) adds
whole rows of Theta, which vectorises, and picks the active entries once at the end.

Source: derived here.
"""

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

ROWS_FROM = (
    12  # rows of n entries win over look-ups once n / ROWS_FROM units are active (measured)
)

# Unsigned: a signed index is tested for being negative, which halves the speed. And no slice for
# each transition: taking one costs 10 ns, more than the few spikes in it.
ONE = np.uint64(1)
_SPIKES = "int64[::1], uint32[::1], int64[::1]"
_VALUES = "void(" + _SPIKES + ", int64, {0}[:, ::1], {0}[::1], float64[::1])"
_SUMS = "void(" + _SPIKES + ", int64, float64[::1], float64[:, ::1], float64[::1])"


def compile_kernel(signatures: str | list[str]) -> Callable[..., Callable[..., None]]:
    """Compile ahead of the first call, kept on disk where a folder can be written."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        try:
            return njit(signatures, nogil=True, cache=True)(function)
        except RuntimeError:  # no writable place for the cache: compile in memory
            return njit(signatures, nogil=True)(function)

    return decorate


@compile_kernel([_VALUES.format("float64"), _VALUES.format("float32")])
def pair_values(
    indptr: NDArray[np.int64],
    indices: NDArray[np.uint32],
    starts: NDArray[np.int64],
    lag: int,
    theta: NDArray[np.floating],
    row_sum: NDArray[np.floating],
    out: NDArray[np.float64],
) -> None:
    """Write s1' Theta s0 of every transition (start, start + lag) into `out` (eq. 1)."""
    n = theta.shape[0]
    buffer = np.empty(n, theta.dtype)
    few = np.uint64(n)
    for s in range(starts.size):
        t = starts[s]
        b0, b1 = np.uint64(indptr[t]), np.uint64(indptr[t + 1])  # active before
        a0, a1 = np.uint64(indptr[t + lag]), np.uint64(indptr[t + lag + 1])  # and after
        field = 0.0
        for m in range(b0, b1):
            field += row_sum[indices[m]]
        for k in range(a0, a1):
            field -= row_sum[indices[k]]
        pair = 0.0
        if b0 == b1 or a0 == a1:
            pass
        elif (b1 - b0) * ROWS_FROM < few:
            for k in range(a0, a1):
                row = theta[indices[k]]
                for m in range(b0, b1):
                    pair += row[indices[m]]
        else:
            before, after = indices[b0:b1], indices[a0:a1]
            buffer[:] = 0
            k = 0
            while k + 8 <= after.size:
                r0, r1 = theta[after[k]], theta[after[k + 1]]
                r2, r3 = theta[after[k + 2]], theta[after[k + 3]]
                r4, r5 = theta[after[k + 4]], theta[after[k + 5]]
                r6, r7 = theta[after[k + 6]], theta[after[k + 7]]
                for j in range(n):
                    low = (r0[j] + r1[j]) + (r2[j] + r3[j])
                    buffer[j] += low + ((r4[j] + r5[j]) + (r6[j] + r7[j]))
                k += 8
            while k < after.size:
                row = theta[after[k]]
                for j in range(n):
                    buffer[j] += row[j]
                k += 1
            for m in range(before.size):
                pair += buffer[before[m]]
        out[s] = 4.0 * pair + 2.0 * field


@compile_kernel(_SUMS)
def pair_sums(
    indptr: NDArray[np.int64],
    indices: NDArray[np.uint32],
    starts: NDArray[np.int64],
    lag: int,
    weights: NDArray[np.float64],
    pairs: NDArray[np.float64],
    units: NDArray[np.float64],
) -> None:
    """Add sum_t w_t b1 b0' to `pairs` and 2 sum_t w_t (b1 - b0) to `units` (eq. 2)."""
    for s in range(starts.size):
        t = starts[s]
        b0, b1 = np.uint64(indptr[t]), np.uint64(indptr[t + 1])
        a0, a1 = np.uint64(indptr[t + lag]), np.uint64(indptr[t + lag + 1])
        w = weights[s]
        for k in range(a0, a1):
            row = pairs[indices[k]]
            units[indices[k]] += 2.0 * w
            for m in range(b0, b1):
                row[indices[m]] += w
        for m in range(b0, b1):
            units[indices[m]] -= 2.0 * w


@compile_kernel("void(" + _SPIKES + ", int64, int64[::1], int64[::1])")
def unit_counts(
    indptr: NDArray[np.int64],
    indices: NDArray[np.uint32],
    starts: NDArray[np.int64],
    lag: int,
    either: NDArray[np.int64],
    both: NDArray[np.int64],
) -> None:
    """Add to `either` how often a unit is active at an end of a transition, `both` at both."""
    for s in range(starts.size):
        t = starts[s]
        b0, b1 = np.uint64(indptr[t]), np.uint64(indptr[t + 1])
        a0, a1 = np.uint64(indptr[t + lag]), np.uint64(indptr[t + lag + 1])
        for m in range(b0, b1):
            either[indices[m]] += 1
        m = b0
        for k in range(a0, a1):
            unit = indices[k]
            either[unit] += 1
            while m < b1 and indices[m] < unit:
                m += ONE
            if m < b1 and indices[m] == unit:
                both[unit] += 1
