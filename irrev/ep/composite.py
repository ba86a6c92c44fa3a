"""Observable sets made of others: joined, summed over windows, restricted to some observables.

A window of L steps is read backwards as a whole. Functions of one step become antisymmetric under
that only when summed over all its places u in the window:

    theta . g = sum_tau sum_{u=0}^{L-tau} s_{t+u+tau}' Theta_tau s_{t+u}           (1)

(here for the pairs at lags tau = 1..L). The value of every step is formed once, sliding sums give
the windows; a gradient weighs each step by the sum of the weights of the windows that hold it.

Source: derived here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from irrev.ep.explicit import (
    AntisymmetricTable,
    CovarianceMetric,
    DiagonalMetric,
    ExplicitObservables,
)
from irrev.ep.observables import Metric, Observables
from irrev.ep.sets import chunks, metric_rows

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Values = TypeVar("Values", bound=NDArray[np.floating])

MAX_EXACT = 300  # observables whose covariance is formed: the metric of a fit, one-step bounds
RIDGE = 1e-6  # of that covariance, relative to the mean variance
ROUNDING = 10.0  # of a covariance, in units of the precision of its table
TINY = float(np.finfo(float).tiny)


@dataclass(frozen=True, slots=True)
class BlockMetric:
    """Sets taken as uncorrelated among each other."""

    parts: tuple[Metric, ...]

    @property
    def size(self) -> Array:
        """Standard deviation of each observable."""
        return np.concatenate([part.size for part in self.parts])

    def inverse(self, vector: Array) -> Array:
        """Apply the inverse covariance."""
        out, at = np.empty_like(vector), 0
        for part in self.parts:
            piece = slice(at, at + part.size.size)
            out[piece] = part.inverse(vector[piece])
            at = piece.stop
        return out


@dataclass(frozen=True, slots=True)
class Joint:
    """Several sets on the same samples, one after another."""

    parts: tuple[Observables, ...]

    @property
    def odd(self) -> bool:
        """Whether every observable changes its sign under reversal."""
        return all(part.odd for part in self.parts)

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.parts[0].n_samples

    @property
    def n_observables(self) -> int:
        """Number of observables."""
        return sum(part.n_observables for part in self.parts)

    def split(self, theta: Array) -> list[Array]:
        """Return the coefficients of each part."""
        sizes = [part.n_observables for part in self.parts]
        return np.split(theta, np.cumsum(sizes)[:-1])

    def take(self, rows: Index) -> "Joint":
        """Return the given samples only."""
        return Joint(tuple(part.take(rows) for part in self.parts))

    def values(self, theta: Array) -> Array:
        """Return theta . g of each sample, nats."""
        pieces = zip(self.parts, self.split(theta), strict=True)
        return np.sum([part.values(x) for part, x in pieces if x.any()] or [self._zero()], axis=0)

    def reverse_values(self, theta: Array) -> Array:
        """Return theta . g of each reversed sample, nats."""
        pieces = zip(self.parts, self.split(theta), strict=True)
        return np.sum(
            [part.reverse_values(x) for part, x in pieces if x.any()] or [self._zero()], axis=0
        )

    def total(self, weights: Array) -> Array:
        """Return sum_t w_t g_t."""
        return np.concatenate([part.total(weights) for part in self.parts])

    def reverse_total(self, weights: Array) -> Array:
        """Return sum_t w_t g_t over the reversed samples."""
        return np.concatenate([part.reverse_total(weights) for part in self.parts])

    def columns(self, rows: Index) -> Array:
        """Return g of the given samples."""
        return np.hstack([part.columns(rows) for part in self.parts])

    def reverse_columns(self, rows: Index) -> Array:
        """Return g of the given samples read backwards."""
        return np.hstack([part.reverse_columns(rows) for part in self.parts])

    def select(self, chosen: Index) -> AntisymmetricTable | ExplicitObservables:
        """Return the given observables only, as a table; `chosen` ascends."""
        first = np.cumsum([0, *(part.n_observables for part in self.parts)])
        edges = np.searchsorted(chosen, first)
        tables = [
            part.select(chosen[edges[k] : edges[k + 1]] - first[k])
            for k, part in enumerate(self.parts)
            if edges[k + 1] > edges[k]
        ]
        return join_tables(tables, odd=self.odd)

    def metric(self) -> Metric:
        """Return the covariance of few observables, that of each part for itself otherwise."""
        if self.n_observables <= MAX_EXACT:
            return covariance_metric(self)
        return BlockMetric(tuple(part.metric() for part in self.parts))

    def _zero(self) -> Array:
        return np.zeros(self.n_samples)


@dataclass(frozen=True, slots=True)
class Windows:
    """A set of one step, summed over consecutive steps of each window (eq. 1)."""

    base: Observables  # one row a step
    first: Index  # (n_samples,) first step of each window
    count: int  # steps summed

    @property
    def odd(self) -> bool:
        """Whether every observable changes its sign under reversal of the window."""
        return self.base.odd

    @property
    def n_samples(self) -> int:
        """Number of windows."""
        return self.first.size

    @property
    def n_observables(self) -> int:
        """Number of observables."""
        return self.base.n_observables

    def take(self, rows: Index) -> "Windows":
        """Return the given windows only, with the steps they hold."""
        first = self.first[rows]
        start, stop = (first.min(), first.max()) if first.size else (0, 0)
        held = np.zeros(stop - start + self.count, bool)
        for u in range(self.count):
            held[first - start + u] = True
        place = np.cumsum(held) - 1
        return Windows(
            self.base.take(start + np.flatnonzero(held)), place[first - start], self.count
        )

    def values(self, theta: Array) -> Array:
        """Return theta . g of each window, nats."""
        return self._slide(self.base.values(theta))

    def reverse_values(self, theta: Array) -> Array:
        """Return theta . g of each reversed window, nats."""
        return self._slide(self.base.reverse_values(theta))

    def total(self, weights: Array) -> Array:
        """Return sum_t w_t g_t."""
        return self.base.total(self._spread(weights))

    def reverse_total(self, weights: Array) -> Array:
        """Return sum_t w_t g_t over the reversed windows."""
        return self.base.reverse_total(self._spread(weights))

    def columns(self, rows: Index) -> Array:
        """Return g of the given windows."""
        return self._add(lambda steps: self.base.columns(steps), self.first[rows])

    def reverse_columns(self, rows: Index) -> Array:
        """Return g of the given windows read backwards."""
        return self._add(lambda steps: self.base.reverse_columns(steps), self.first[rows])

    def select(self, chosen: Index) -> AntisymmetricTable | ExplicitObservables:
        """Return the given observables only, as a table."""
        table = self.base.select(chosen)
        if isinstance(table, AntisymmetricTable):
            return AntisymmetricTable(self._add(lambda steps: table.table[steps], self.first))
        every = np.arange(table.n_samples)
        forward, reverse = table.columns(every), table.reverse_columns(every)
        return ExplicitObservables(
            self._add(lambda steps: forward[steps], self.first),
            self._add(lambda steps: reverse[steps], self.first),
        )

    def metric(self) -> Metric:
        """Return the covariance of the sum of independent steps."""
        return _Scaled(self.base.metric(), float(self.count))

    def _slide(self, steps: Array) -> Array:
        out = np.zeros(self.n_samples)
        for u in range(self.count):
            out += steps[self.first + u]
        return out

    def _spread(self, weights: Array) -> Array:
        out = np.zeros(self.base.n_samples)
        for u in range(self.count):
            out += np.bincount(self.first + u, weights, out.size)
        return out

    def _add(self, rows_of: Callable[[Index], Values], first: Index) -> Values:
        out = rows_of(first)
        for u in range(1, self.count):
            out += rows_of(first + u)  # a fresh array each
        return out


@dataclass(frozen=True, slots=True)
class _Scaled:
    """A metric times a number."""

    base: Metric
    factor: float

    @property
    def size(self) -> Array:
        """Standard deviation of each observable."""
        return np.sqrt(self.factor) * self.base.size

    def inverse(self, vector: Array) -> Array:
        """Apply the inverse covariance."""
        return self.base.inverse(vector) / self.factor


@dataclass(frozen=True, slots=True)
class Restricted:
    """Some observables of a set; the others have no part in it."""

    base: Observables
    chosen: Index  # ascending

    @property
    def odd(self) -> bool:
        """Whether every observable changes its sign under reversal."""
        return self.base.odd

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.base.n_samples

    @property
    def n_observables(self) -> int:
        """Number of observables."""
        return self.chosen.size

    def take(self, rows: Index) -> "Restricted":
        """Return the given samples only."""
        return replace(self, base=self.base.take(rows))

    def values(self, theta: Array) -> Array:
        """Return theta . g of each sample, nats."""
        return self.base.values(self._whole(theta))

    def reverse_values(self, theta: Array) -> Array:
        """Return theta . g of each reversed sample, nats."""
        return self.base.reverse_values(self._whole(theta))

    def total(self, weights: Array) -> Array:
        """Return sum_t w_t g_t."""
        return self.base.total(weights)[self.chosen]

    def reverse_total(self, weights: Array) -> Array:
        """Return sum_t w_t g_t over the reversed samples."""
        return self.base.reverse_total(weights)[self.chosen]

    def columns(self, rows: Index) -> Array:
        """Return g of the given samples."""
        return self.base.columns(rows)[:, self.chosen]

    def reverse_columns(self, rows: Index) -> Array:
        """Return g of the given samples read backwards."""
        return self.base.reverse_columns(rows)[:, self.chosen]

    def select(self, chosen: Index) -> AntisymmetricTable | ExplicitObservables:
        """Return the given observables only, as a table."""
        return self.base.select(self.chosen[chosen])  # pyright: ignore[reportReturnType]

    def metric(self) -> Metric:
        """Return the covariance of few observables, their sizes otherwise."""
        if self.n_observables <= MAX_EXACT:
            return covariance_metric(self)
        return DiagonalMetric(self.base.metric().size[self.chosen])

    def _whole(self, theta: Array) -> Array:
        out = np.zeros(self.base.n_observables)
        out[self.chosen] = theta
        return out


def covariance_metric(observables: Observables) -> CovarianceMetric:
    """Return the covariance of few observables with a relative ridge, both directions alike."""
    rows, d = metric_rows(observables.n_samples), observables.n_observables
    if isinstance(observables, AntisymmetricTable):
        ones = np.ones(rows.size)  # sums of whole numbers stay exact in single precision
        table = observables if rows.size == observables.n_samples else observables.take(rows)
        mean, second = table.total(ones) / rows.size, table.second_moment(ones) / rows.size
        cov = second - np.outer(mean, mean)
        rounding = ROUNDING * float(np.finfo(table.table.dtype).eps * np.trace(second)) / d
    else:
        cov, rounding = _mean_covariance(observables, rows), TINY
    ridge = max(RIDGE * float(np.trace(cov)) / d, rounding, TINY)
    return CovarianceMetric(cov + ridge * np.eye(d))


def _mean_covariance(observables: Observables, rows: Index) -> Array:
    """Return the mean of the covariances of both directions, chunk by chunk."""
    d = observables.n_observables
    cov = np.zeros((d, d))
    reads = [observables.columns]
    if not observables.odd:
        reads.append(observables.reverse_columns)
    for read in reads:
        mean, second = np.zeros(d), np.zeros((d, d))
        for part in chunks(rows.size):
            g = read(rows[part])
            mean += g.sum(axis=0)
            second += g.T @ g
        mean /= rows.size
        cov += (second / rows.size - np.outer(mean, mean)) / len(reads)
    return cov


def join_tables(
    tables: Sequence[Observables], *, odd: bool
) -> AntisymmetricTable | ExplicitObservables:
    """Put tables of the same samples side by side."""
    every = np.arange(tables[0].n_samples)
    if odd:
        return AntisymmetricTable(
            np.hstack([t.table for t in tables if isinstance(t, AntisymmetricTable)])
        )
    return ExplicitObservables(
        np.hstack([t.columns(every) for t in tables]),
        np.hstack([t.reverse_columns(every) for t in tables]),
    )
