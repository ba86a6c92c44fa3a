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
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from irrev.ep import kernels
from irrev.ep.explicit import Antisymmetric, AntisymmetricTable
from irrev.ep.metric import PairMetric, pair_matrix, pair_metric, pair_units, pair_vector

CHUNK = 4096  # samples whose products are formed at a time: 10 MB at 300 units


class Metric(Protocol):
    """Approximate covariance of observables, positive definite."""

    @property
    def size(self) -> NDArray[np.float64]:
        """Standard deviation of each observable."""
        ...

    def inverse(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply the inverse covariance."""
        ...


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

    @property
    def odd(self) -> bool:
        """Whether every observable changes its sign when the sample is read backwards."""
        ...

    def take(self, rows: NDArray[np.int64]) -> "Observables":
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

    def metric(self) -> Metric:
        """Return an approximate covariance of the observables, unchanged by reversal."""
        ...

    def columns(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return g of the given samples, shape (rows, n_observables); few observables only."""
        ...

    def reverse_columns(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return g of the given samples read backwards, shape (rows, n_observables)."""
        ...

    def select(self, chosen: NDArray[np.int64]) -> "Table":
        """Return the given observables only, as a table in single precision."""
        ...


class Table(Observables, Protocol):
    """Few observables, whose values on every sample are held."""

    def second_moment(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sum_t w_t g_t g_t' over the reversed samples."""
        ...


@dataclass(frozen=True, slots=True)
class SpikePairs(Antisymmetric):
    """`pair` of sparse 0/1 rows in +-1 coding; cost follows pairs of spikes."""

    indptr: NDArray[np.int64]  # (n_bins + 1,)
    indices: NDArray[np.int32]  # (n_active,)
    starts: NDArray[np.int64]  # (n_samples,) first bin of each transition
    n_units: int
    single: bool = False  # float32 couplings: twice as fast, values to 1e-6
    lag: int = 1  # bins of a transition

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
        return kernels.values(self.indptr, self.indices, self.starts, matrix, lag=self.lag)

    def total(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sum_t w_t g_t."""
        spikes = (self.indptr, self.indices, self.starts)
        return pair_vector(kernels.weighted_sum(*spikes, weights, self.n_units, lag=self.lag))

    def metric(self) -> PairMetric:
        """Return the covariance of independent units with the rates of these transitions."""
        spikes = (self.indptr, self.indices, self.starts)
        ends, both = kernels.unit_counts(*spikes, self.n_units, lag=self.lag)
        mean = ends / self.n_samples - 1.0  # of +-1, over both ends
        lagged = 1.0 - 2.0 * (ends - 2.0 * both) / self.n_samples  # <s(0) s(1)>
        return pair_metric(mean, 1.0 - mean**2, lagged - mean**2, self.n_samples)

    def select(self, chosen: NDArray[np.int64]) -> AntisymmetricTable:
        """Return the given pairs as a table."""
        i, j = pair_units(chosen, self.n_units)
        table = np.empty((self.n_samples, chosen.size), np.float32)
        for k in range(0, self.n_samples, CHUNK):
            before, after = self._dense(np.arange(k, min(k + CHUNK, self.n_samples)), np.float32)
            part = after[:, i] * before[:, j] - before[:, i] * after[:, j]
            table[k : k + CHUNK] = part
        return AntisymmetricTable(table)

    def columns(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return g of the given transitions."""
        i, j = np.triu_indices(self.n_units, 1)
        before, after = self._dense(rows, np.float64)
        return after[:, i] * before[:, j] - before[:, i] * after[:, j]

    def _dense(
        self, rows: NDArray[np.int64], dtype: type[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return the +-1 states before and after the given transitions."""
        ends = (self.starts[rows], self.starts[rows] + self.lag)
        before, after = (
            kernels.dense_rows(self.indptr, self.indices, bins, self.n_units).astype(dtype)
            for bins in ends
        )
        return 2 * before - 1, 2 * after - 1


@dataclass(frozen=True, slots=True)
class DensePairs(Antisymmetric):
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

    def metric(self) -> PairMetric:
        """Return the covariance of independent units with the moments of these steps."""
        mean, square, lagged = np.zeros((3, self.n_units))
        for _, before, after in self._parts():
            mean += (before + after).sum(axis=0) / 2
            square += (before**2 + after**2).sum(axis=0) / 2
            lagged += (before * after).sum(axis=0)
        mean, square, lagged = (x / self.n_samples for x in (mean, square, lagged))
        return pair_metric(mean, square - mean**2, lagged - mean**2, self.n_samples)

    def select(self, chosen: NDArray[np.int64]) -> AntisymmetricTable:
        """Return the given pairs as a table."""
        i, j = pair_units(chosen, self.n_units)
        table = np.empty((self.n_samples, chosen.size), np.float32)
        for part, before, after in self._parts(np.float32):
            # Rows of the transposed states are contiguous: twice as fast as picking columns.
            b, a = np.ascontiguousarray(before.T), np.ascontiguousarray(after.T)
            table[part] = (a[i] * b[j] - b[i] * a[j]).T
        return AntisymmetricTable(table)

    def columns(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return g of the given steps."""
        i, j = np.triu_indices(self.n_units, 1)
        before, after = (x[rows].astype(np.float64) for x in (self.before, self.after))
        return after[:, i] * before[:, j] - before[:, i] * after[:, j]

    def _parts(
        self, dtype: type[np.floating] = np.float64
    ) -> Iterator[tuple[slice, NDArray[np.floating], NDArray[np.floating]]]:
        for k in range(0, self.n_samples, CHUNK):
            part = slice(k, min(k + CHUNK, self.n_samples))
            yield part, self.before[part].astype(dtype), self.after[part].astype(dtype)
