"""Observables of one step whose means differ between a process and its reversal.

    pair    g_ij = s_i(1) s_j(0) - s_i(0) s_j(1),   i < j                       (1)

s is +-1 for spikes and spins, real otherwise; (0) and (1) are the two ends of a step. With the
antisymmetric matrix Theta that holds theta_ij above its diagonal,

    theta . g = s(1)' Theta s(0)                                               (2)

so neither the observables nor their covariance are ever stored. An observable set offers the two
products of an iteration: theta . g of every sample, and sum_t w_t g_t. `pair` on 0/1 coding is
another set than `pair` on +-1 coding; spikes are coded +-1 here.

Source: Aguilera, Ito, Kolchinsky, Phys. Rev. Lett. 136, 077101 (2026); eq. (2) and the sparse
form are derived here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from irrev.ep import kernels

CHUNK = 4096  # samples whose products are formed at a time: 10 MB at 300 units


class Observables(Protocol):
    """Observables of samples, each sample one step forward and its reversal."""

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        ...

    @property
    def n_observables(self) -> int:
        """Number of observables, the length of theta."""
        ...

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return the given samples only, in the given order."""
        ...

    def values(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return theta . g of each sample, nats."""
        ...

    def reverse_values(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return theta . g of each reversed sample, nats."""
        ...

    def total(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sum_t w_t g_t over the samples, shape (n_observables,)."""
        ...

    def reverse_total(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sum_t w_t g_t over the reversed samples, shape (n_observables,)."""
        ...

    def scale(self) -> NDArray[np.float64]:
        """Return the size of each observable, the metric of the solvers; positive."""
        ...

    def columns(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return g of the given samples, shape (rows, n_observables); few observables only."""
        ...


class _Antisymmetric:
    """Reversed samples carry the opposite sign."""

    def reverse_values(self: Observables, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return theta . g of each reversed sample, nats."""
        return -self.values(theta)

    def reverse_total(self: Observables, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sum_t w_t g_t over the reversed samples."""
        return -self.total(weights)


@dataclass(frozen=True, slots=True)
class SpikePairs(_Antisymmetric):
    """`pair` of sparse 0/1 rows in +-1 coding; cost follows pairs of spikes."""

    indptr: NDArray[np.int64]  # (n_bins + 1,)
    indices: NDArray[np.int32]  # (n_active,)
    starts: NDArray[np.int64]  # (n_samples,) first bin of each transition
    n_units: int
    single: bool = False  # float32 couplings: twice as fast, values to 1e-6

    @property
    def n_samples(self) -> int:
        """Number of transitions."""
        return self.starts.size

    @property
    def n_observables(self) -> int:
        """Number of pairs of units."""
        return self.n_units * (self.n_units - 1) // 2

    def take(self, rows: NDArray[np.int64]) -> "SpikePairs":
        """Return the given transitions only."""
        return replace(self, starts=np.ascontiguousarray(self.starts[rows]))

    def values(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return theta . g of each transition, nats."""
        matrix = pair_matrix(theta, self.n_units)
        if self.single:
            matrix = matrix.astype(np.float32)
        return kernels.values(self.indptr, self.indices, self.starts, matrix)

    def total(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sum_t w_t g_t."""
        return pair_vector(
            kernels.weighted_sum(self.indptr, self.indices, self.starts, weights, self.n_units)
        )

    def scale(self) -> NDArray[np.float64]:
        """Return sd(g_ij) of independent units: g_ij^2 = 4 where one of i, j changes."""
        change = self._change_rate()
        rate = change[:, None] + change[None, :] - 2.0 * change[:, None] * change[None, :]
        # Half an event more: a pair that never changes keeps a finite, large step.
        return 2.0 * np.sqrt(pair_vector(rate) + 0.5 / self.n_samples)

    def reversible_scale(self) -> NDArray[np.float64]:
        """Return sd of the pair of centred, independent units; reversal leaves it as it is.

        On a recording the part m_j (s_i(1) - s_i(0)) of g_ij telescopes, so its sum over a block
        fluctuates like that of the centred pair: var = 2 (v_i v_j - c_i c_j), v the variance and c
        the covariance of a unit with itself one step later.
        """
        counts = self.unit_counts(self.starts) + self.unit_counts(self.starts + 1)
        mean = counts / self.n_samples - 1.0  # of +-1, over both ends
        both = self.both_counts() / self.n_samples
        lagged = 1.0 - 2.0 * (counts / self.n_samples - 2.0 * both)  # <s(0) s(1)>
        return _independent_sd(1.0 - mean**2, lagged - mean**2, self.n_samples)

    def columns(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return g of the given transitions."""
        ends = (self.starts[rows], self.starts[rows] + 1)
        before, after = (
            2.0 * kernels.dense_rows(self.indptr, self.indices, bins, self.n_units) - 1.0
            for bins in ends
        )
        return _pair_columns(before, after)

    def _change_rate(self) -> NDArray[np.float64]:
        """Return the fraction of transitions at which each unit changes."""
        active = self.unit_counts(self.starts) + self.unit_counts(self.starts + 1)
        return (active - 2.0 * self.both_counts()) / self.n_samples

    def unit_counts(self, bins: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return in how many of the given bins each unit is active."""
        weight = np.bincount(bins, minlength=self.indptr.size - 1)
        per_entry = np.repeat(weight, np.diff(self.indptr)).astype(np.float64)
        return np.bincount(self.indices, per_entry, minlength=self.n_units).astype(np.float64)

    def both_counts(self) -> NDArray[np.float64]:
        """Return in how many transitions each unit is active at both ends."""
        bins = np.repeat(np.arange(self.indptr.size - 1), np.diff(self.indptr))
        cell = bins * self.n_units + self.indices  # ascending, as rows and units are
        follows = np.searchsorted(cell, cell + self.n_units)
        follows[follows == cell.size] = 0
        both = cell[follows] == cell + self.n_units
        weight = np.bincount(self.starts, minlength=self.indptr.size - 1)
        counts = np.bincount(self.indices, both * weight[bins], minlength=self.n_units)
        return counts.astype(np.float64)


@dataclass(frozen=True, slots=True)
class DensePairs(_Antisymmetric):
    """`pair` of dense rows: spins, real values, or spikes of high rate coded +-1."""

    before: NDArray[np.number]  # (n_samples, unit) state before each step
    after: NDArray[np.number]  # (n_samples, unit) state after it

    @property
    def n_samples(self) -> int:
        """Number of steps."""
        return self.before.shape[0]

    @property
    def n_units(self) -> int:
        """Number of units."""
        return self.before.shape[1]

    @property
    def n_observables(self) -> int:
        """Number of pairs of units."""
        return self.n_units * (self.n_units - 1) // 2

    def take(self, rows: NDArray[np.int64]) -> "DensePairs":
        """Return the given steps only."""
        return replace(self, before=self.before[rows], after=self.after[rows])

    def values(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return theta . g of each step, nats."""
        matrix = pair_matrix(theta, self.n_units)
        out = np.empty(self.n_samples)
        for part, before, after in self._parts():
            out[part] = np.einsum("ti,ti->t", after @ matrix, before)
        return out

    def total(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sum_t w_t g_t."""
        out = np.zeros((self.n_units, self.n_units))
        for part, before, after in self._parts():
            out += (after * weights[part, None]).T @ before
        return pair_vector(out - out.T)

    def scale(self) -> NDArray[np.float64]:
        """Return the root mean square of each observable."""
        square, cross = np.zeros((2, self.n_units, self.n_units))
        for _, before, after in self._parts():
            square += (after * after).T @ (before * before)
            product = after * before
            cross += product.T @ product
        mean = pair_vector(square + square.T - 2.0 * cross) / self.n_samples
        floor = 1e-12 * max(float(mean.max(initial=0.0)), np.finfo(float).tiny)
        return np.sqrt(np.maximum(mean, floor))

    def reversible_scale(self) -> NDArray[np.float64]:
        """Return sd of the pair of centred, independent units; reversal leaves it as it is."""
        mean, square, lagged = np.zeros((3, self.n_units))
        for _, before, after in self._parts():
            mean += (before + after).sum(axis=0) / 2
            square += (before**2 + after**2).sum(axis=0) / 2
            lagged += (before * after).sum(axis=0)
        mean, square, lagged = (x / self.n_samples for x in (mean, square, lagged))
        return _independent_sd(square - mean**2, lagged - mean**2, self.n_samples)

    def columns(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return g of the given steps."""
        return _pair_columns(
            self.before[rows].astype(np.float64), self.after[rows].astype(np.float64)
        )

    def _parts(self) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float64]]]:
        for k in range(0, self.n_samples, CHUNK):
            part = slice(k, min(k + CHUNK, self.n_samples))
            yield part, self.before[part].astype(np.float64), self.after[part].astype(np.float64)


def _independent_sd(
    variance: NDArray[np.float64], lagged: NDArray[np.float64], n: int
) -> NDArray[np.float64]:
    """Return sqrt(2 (v_i v_j - c_i c_j)) with the floor of one event in n samples."""
    both = np.outer(variance, variance) - np.outer(lagged, lagged)
    floor = max(float(variance.max()), np.finfo(float).tiny) ** 2 / n
    return np.sqrt(2.0 * np.maximum(pair_vector(both), floor))


def _pair_columns(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return s_i(1) s_j(0) - s_i(0) s_j(1) for i < j, row by row."""
    i, j = np.triu_indices(before.shape[1], 1)
    return after[:, i] * before[:, j] - before[:, i] * after[:, j]


def pair_matrix(theta: NDArray[np.float64], n_units: int) -> NDArray[np.float64]:
    """Return the antisymmetric matrix with `theta` above its diagonal, row by row.

    Examples
    --------
    >>> pair_matrix(np.array([1.0, 2.0, 3.0]), 3)[0].tolist()
    [0.0, 1.0, 2.0]
    """
    out = np.zeros((n_units, n_units))
    upper = np.triu(np.ones((n_units, n_units), bool), 1)
    out[upper] = theta
    out -= out.T.copy()
    return out


def pair_vector(matrix: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the entries above the diagonal, row by row."""
    upper = np.triu(np.ones(matrix.shape, bool), 1)
    return np.asarray(matrix, dtype=np.float64)[upper]
