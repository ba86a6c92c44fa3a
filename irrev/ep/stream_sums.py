"""Sums over runs of transitions that follow one another: cells, or stretches of a test block.

A run has busy transitions, whose values are given, and quiet ones, whose values are 0.

    tilted      top = max y and the sums of e, e d, e d^2,   e = exp(y - top), d = dy/ds     (1)
    cut         the number with |a| > B, and the sums of e, e d, e d^2,
                e = exp(s d), d = -clip(a, -B, B)                                            (2)

(2) takes one exponential a transition for all limits B together: what lies between two
neighbouring limits is summed once, and what lies beyond a limit is only counted. Nothing
overflows, since s B is at most 384 (`irrev.ep.limits`).

Source: derived here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]


def run_sums(x: Array, counts: Index) -> Array:
    """Sum runs of the given lengths, shape (run,); an empty run sums to 0."""
    out, some = np.zeros(counts.size), counts > 0
    if some.any():
        out[some] = np.add.reduceat(x, (np.cumsum(counts) - counts)[some])
    return out


def run_tops(y: Array, counts: Index, quiet: Index) -> Array:
    """Return the largest value of each run, whose quiet members are 0."""
    out, some = np.where(quiet > 0, 0.0, -np.inf), counts > 0
    if some.any():
        edges = (np.cumsum(counts) - counts)[some]
        out[some] = np.maximum(out[some], np.maximum.reduceat(y, edges))
    return out


def tilted_sums(y: Array, slope: Array, busy: Index, quiet: Index) -> Array:
    """Return eq. (1) for runs with given numbers of transitions, shape (4, run)."""
    top = run_tops(y, busy, quiet)
    e = np.exp(y - np.repeat(top, busy))
    first = e * slope
    total = run_sums(e, busy) + quiet * np.exp(-top)
    return np.stack([top, total, run_sums(first, busy), run_sums(first * slope, busy)])


def cut_sums(a: Array, busy: Index, quiet: Index, pairs: Sequence[tuple[float, float]]) -> Array:
    """Return eq. (2) for pairs of a step and a limit, shape (pair, 4, run)."""
    limits = np.unique([limit for _, limit in pairs])
    layers = _Layers(a, busy, limits)
    within = {s: layers.sums(s) for s in dict.fromkeys(s for s, _ in pairs)}
    out = np.empty((len(pairs), 4, busy.size))
    for found, (s, b) in zip(out, pairs, strict=True):
        k = int(np.searchsorted(limits, b))
        below, above = layers.below[k], layers.above[k]
        low, high = below * exp(s * b), above * exp(-s * b)
        total, first, second = (x[k] for x in within[s])
        found[0] = below + above
        found[1] = total + quiet + low + high
        found[2] = first + b * (low - high)
        found[3] = second + b**2 * (low + high)
    return out


class _Layers:
    """Values of runs, told apart by the limits between which they lie."""

    def __init__(self, a: Array, busy: Index, limits: Array) -> None:
        self._n, self._runs = limits.size, busy.size
        size, layer = np.abs(a), np.zeros(a.size, np.int8)
        for limit in limits:
            layer += size > limit
        layer *= 2 * (a > 0).view(np.int8) - 1
        self._label = np.repeat(np.arange(busy.size) * self._layers + self._n, busy)
        self._label += layer
        counts = np.bincount(self._label, minlength=self._runs * self._layers)
        counts = counts.reshape(self._runs, self._layers).T
        # (limit, run): values below the negative limit, and above the limit.
        self.below = np.cumsum(counts[: self._n], axis=0)[::-1]
        self.above = np.cumsum(counts[: self._n : -1], axis=0)[::-1]
        self._d = -np.clip(a, -limits[-1], limits[-1])  # beyond the last one: not used

    @property
    def _layers(self) -> int:
        return 2 * self._n + 1

    def sums(self, step: float) -> tuple[Array, Array, Array]:
        """Sum e, e d and e d^2 of eq. (2) over what no limit cuts, each (limit, run)."""
        e = np.exp(step * self._d)
        first = e * self._d
        return self._within(e), self._within(first), self._within(first * self._d)

    def _within(self, x: Array) -> Array:
        sums = np.bincount(self._label, x, self._runs * self._layers)
        sums = sums.reshape(self._runs, self._layers).T.astype(np.float64, copy=False)
        sums[self._n + 1 :] += sums[: self._n][::-1]  # both signs of a layer
        return np.cumsum(sums[self._n : 2 * self._n], axis=0)


@dataclass(frozen=True, slots=True)
class HeldSums:
    """Sums of one series a = theta . g over short stretches of one block, in order."""

    n: Index  # (stretch,) transitions
    a: Array  # sum of a
    square: Array  # sum of a^2
    top: Array  # max of -a
    e: Array  # sum of exp(-a - top)
    e2: Array  # sum of exp(-a - top)^2


def stretch_sums(a: Array, busy: Index, size: Index) -> tuple[NDArray[Any], ...]:
    """Return the fields of `HeldSums` for runs of which some transitions are busy."""
    quiet = size - busy
    top = run_tops(-a, busy, quiet)
    e = np.exp(-a - np.repeat(top, busy))
    still = quiet * np.exp(-top)
    sums = [run_sums(x, busy) for x in (a, a**2, e, e**2)]
    return size, sums[0], sums[1], top, sums[2] + still, sums[3] + still * np.exp(-top)
