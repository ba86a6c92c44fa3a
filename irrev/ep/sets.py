"""Named sets of observables of one step, of any size: products of features, never tables.

    lin        s_i(1) - s_i(0)                                    N
    pair       s_i(1) s_j(0) - s_i(0) s_j(1),  i < j              N(N-1)/2
    same-time  s_i(1) s_j(1) - s_i(0) s_j(0),  i <= j             N(N+1)/2   (i < j for +-1)
    triple     s_i(1) s_j(0) s_k(0) - s_i(0) s_j(1) s_k(1),  j < k, i not in {j, k}
    current    (s_i(1) - s_i(0)) s_j(0),  i != j                  N(N-1)
    angles     cos(s_i(1) - s_j(0)) - cos(s_i(0) - s_j(0)),  i != j,  s in rad       N(N-1)

`current` and `angles` change sign under reversal only if at most one unit changes per step; their
reverse is always computed by exchanging the ends. Every set is a sum of products of features,

    theta . g = sum_terms sign  L(x)' Theta R(x),   Theta[i_k, j_k] = theta_k        (1)

so a value and a gradient are one matrix product a term and chunk, and nothing of size
samples x observables is held. `pair` has forms of its own (`irrev.ep.observables`).

Source: Aguilera, Ito, Kolchinsky, Phys. Rev. Lett. 136, 077101 (2026) for `pair`, `current` and
the angles; eq. (1) is derived here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from irrev.ep import kernels
from irrev.ep.explicit import (
    Antisymmetric,
    AntisymmetricTable,
    DiagonalMetric,
    ExplicitObservables,
)
from irrev.ep.observables import CHUNK

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Term = tuple[float, Array, Array]  # sign, L (sample, left feature), R (sample, right feature)

EVEN = ("current", "angles")  # sets whose reverse is not always the opposite
TINY = float(np.finfo(float).tiny)
METRIC_ROWS = 65_536  # samples, evenly spaced, that the sizes of observables are taken from


class Steps(Protocol):
    """Both ends of samples, made dense a chunk at a time."""

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        ...

    @property
    def n_units(self) -> int:
        """Number of units."""
        ...

    def take(self, rows: Index) -> "Steps":
        """Return the given samples only."""
        ...

    def ends(self, rows: Index) -> tuple[Array, Array]:
        """Return the states before and after the given samples, shape (rows, unit)."""
        ...


@dataclass(frozen=True, slots=True)
class DenseSteps:
    """Steps of a dense record, which is held once."""

    states: NDArray[np.number]  # (time, unit)
    starts: Index  # (n_samples,)
    lag: int = 1

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.starts.size

    @property
    def n_units(self) -> int:
        """Number of units."""
        return self.states.shape[1]

    def take(self, rows: Index) -> "DenseSteps":
        """Return the given samples only."""
        return replace(self, starts=self.starts[rows])

    def ends(self, rows: Index) -> tuple[Array, Array]:
        """Return the states before and after the given samples."""
        at = self.starts[rows]
        return self.states[at].astype(np.float64), self.states[at + self.lag].astype(np.float64)


@dataclass(frozen=True, slots=True)
class SpikeSteps:
    """Steps of sparse 0/1 rows, coded -1/+1."""

    indptr: Index  # (n_bins + 1,)
    indices: NDArray[np.int32]  # (n_active,)
    starts: Index  # (n_samples,)
    n_units: int
    lag: int = 1

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.starts.size

    def take(self, rows: Index) -> "SpikeSteps":
        """Return the given samples only."""
        return replace(self, starts=self.starts[rows])

    def ends(self, rows: Index) -> tuple[Array, Array]:
        """Return the states before and after the given samples."""
        before, after = (
            2.0 * kernels.dense_rows(self.indptr, self.indices, bins, self.n_units) - 1.0
            for bins in (self.starts[rows], self.starts[rows] + self.lag)
        )
        return before, after


@dataclass(frozen=True, slots=True)
class SetSpec:
    """What a named set is made of."""

    i: Index  # (n_observables,) left feature of each
    j: Index  # (n_observables,) right feature
    terms: Callable[[Array, Array], list[Term]]  # (before, after) -> eq. (1)
    odd: bool


def set_spec(name: str, n_units: int, *, binary: bool = False) -> SetSpec:
    """Return what the named set consists of.

    Parameters
    ----------
    name
        "lin", "pair", "same-time", "triple", "current" or "angles".
    n_units
        Number of units.
    binary
        Whether states are -1/+1: squares are then constant and left out of "same-time".
    """
    n = np.arange(n_units)
    if name == "lin":
        return SetSpec(n, np.zeros_like(n), _lin, True)
    if name in EVEN:
        i, j = np.nonzero(~np.eye(n_units, dtype=bool))
        return SetSpec(i, j, _current if name == "current" else _angles, False)
    if name == "triple":
        j, k = np.triu_indices(n_units, 1)
        i, product = np.nonzero((n[:, None] != j) & (n[:, None] != k))
        return SetSpec(i, product, _triple, True)
    i, j = np.triu_indices(n_units, 1 if name == "pair" or binary else 0)
    return SetSpec(i, j, _pair if name == "pair" else _same_time, True)


def _lin(before: Array, after: Array) -> list[Term]:
    return [(1.0, after - before, np.ones((before.shape[0], 1)))]


def _pair(before: Array, after: Array) -> list[Term]:
    return [(1.0, after, before), (-1.0, before, after)]


def _same_time(before: Array, after: Array) -> list[Term]:
    return [(1.0, after, after), (-1.0, before, before)]


def _triple(before: Array, after: Array) -> list[Term]:
    j, k = np.triu_indices(before.shape[1], 1)
    return [
        (1.0, after, before[:, j] * before[:, k]),
        (-1.0, before, after[:, j] * after[:, k]),
    ]


def _current(before: Array, after: Array) -> list[Term]:
    return [(1.0, after - before, before)]


def _angles(before: Array, after: Array) -> list[Term]:
    return [
        (1.0, np.cos(after) - np.cos(before), np.cos(before)),
        (1.0, np.sin(after) - np.sin(before), np.sin(before)),
    ]


@dataclass(frozen=True, slots=True)
class ProductSet:
    """A named set on samples, eq. (1)."""

    steps: Steps
    spec: SetSpec

    @property
    def odd(self) -> bool:
        """Whether every observable changes its sign under reversal."""
        return self.spec.odd

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.steps.n_samples

    @property
    def n_observables(self) -> int:
        """Number of observables."""
        return self.spec.i.size

    def take(self, rows: Index) -> "ProductSet":
        """Return the given samples only."""
        return replace(self, steps=self.steps.take(rows))

    def values(self, theta: Array) -> Array:
        """Return theta . g of each sample, nats."""
        return self._values(theta, forward=True)

    def reverse_values(self, theta: Array) -> Array:
        """Return theta . g of each reversed sample, nats."""
        return -self.values(theta) if self.odd else self._values(theta, forward=False)

    def total(self, weights: Array) -> Array:
        """Return sum_t w_t g_t."""
        return self._total(weights, forward=True)

    def reverse_total(self, weights: Array) -> Array:
        """Return sum_t w_t g_t over the reversed samples."""
        return -self.total(weights) if self.odd else self._total(weights, forward=False)

    def columns(self, rows: Index) -> Array:
        """Return g of the given samples."""
        return self._columns(rows, forward=True)

    def reverse_columns(self, rows: Index) -> Array:
        """Return g of the given samples read backwards."""
        return self._columns(rows, forward=False)

    def select(self, chosen: Index) -> AntisymmetricTable | ExplicitObservables:
        """Return the given observables only, as a table."""
        spec = replace(self.spec, i=self.spec.i[chosen], j=self.spec.j[chosen])
        few = replace(self, spec=spec)
        parts = list(chunks(self.n_samples))
        if self.odd:
            return AntisymmetricTable(
                np.concatenate([few.columns(rows).astype(np.float32) for rows in parts])
            )
        return ExplicitObservables(
            np.concatenate([few.columns(rows) for rows in parts]),
            np.concatenate([few.reverse_columns(rows) for rows in parts]),
        )

    def metric(self) -> DiagonalMetric:
        """Return the sizes of the observables about their means, both directions alike."""
        rows = metric_rows(self.n_samples)
        directions = (True,) if self.odd else (True, False)
        mean, square = np.zeros((2, len(directions), self.n_observables))
        for part in chunks(rows.size):
            for k, forward in enumerate(directions):
                for sign, left, right in self._terms(rows[part], forward=forward):
                    mean[k] += sign * (left.T @ right)[self.spec.i, self.spec.j]
                square[k] += self._squares(rows[part], forward=forward)
        variance = (square / rows.size - (mean / rows.size) ** 2).mean(axis=0)
        floor = max(float(variance.max(initial=0.0)) / self.n_samples, TINY)
        return DiagonalMetric(np.sqrt(np.maximum(variance, floor)))

    def _terms(self, rows: Index, *, forward: bool) -> list[Term]:
        before, after = self.steps.ends(rows)
        return self.spec.terms(before, after) if forward else self.spec.terms(after, before)

    def _squares(self, rows: Index, *, forward: bool) -> Array:
        """Return the sum of g^2 of each observable: products of all pairs of terms."""
        terms = self._terms(rows, forward=forward)
        out = np.zeros(self.n_observables)
        for a, (sign_a, left_a, right_a) in enumerate(terms):
            for b, (sign_b, left_b, right_b) in enumerate(terms[a:]):
                product = (left_a * left_b).T @ (right_a * right_b)
                twice = 2.0 if b else 1.0
                out += twice * sign_a * sign_b * product[self.spec.i, self.spec.j]
        return out

    def _values(self, theta: Array, *, forward: bool) -> Array:
        out, matrix = np.empty(self.n_samples), None
        for rows in chunks(self.n_samples):
            total = np.zeros(rows.size)
            for sign, left, right in self._terms(rows, forward=forward):
                if matrix is None:
                    matrix = np.zeros((right.shape[1], left.shape[1]))
                    matrix[self.spec.j, self.spec.i] = theta
                total += sign * np.einsum("ti,ti->t", right @ matrix, left)
            out[rows] = total
        return out

    def _total(self, weights: Array, *, forward: bool) -> Array:
        out = np.zeros(self.n_observables)
        for rows in chunks(self.n_samples):
            for sign, left, right in self._terms(rows, forward=forward):
                product = (left * weights[rows, None]).T @ right
                out += sign * product[self.spec.i, self.spec.j]
        return out

    def _columns(self, rows: Index, *, forward: bool) -> Array:
        i, j = self.spec.i, self.spec.j
        out = np.zeros((rows.size, i.size))
        for sign, left, right in self._terms(rows, forward=forward):
            out += sign * left[:, i] * right[:, j]
        return out


@dataclass(frozen=True, slots=True)
class SpikeLin(Antisymmetric):
    """`lin` of sparse 0/1 rows in +-1 coding; cost follows the spikes."""

    steps: SpikeSteps

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.steps.n_samples

    @property
    def n_observables(self) -> int:
        """Number of units."""
        return self.steps.n_units

    def take(self, rows: Index) -> "SpikeLin":
        """Return the given samples only."""
        return SpikeLin(self.steps.take(rows))

    def values(self, theta: Array) -> Array:
        """Return theta . g of each sample, nats."""
        field = np.asarray(self._rows() @ theta) * 2.0
        return field[self.steps.starts + self.steps.lag] - field[self.steps.starts]

    def total(self, weights: Array) -> Array:
        """Return sum_t w_t g_t."""
        spikes = self.steps
        if not spikes.n_samples:
            return np.zeros(spikes.n_units)
        first, last = int(spikes.starts.min()), int(spikes.starts.max()) + spikes.lag + 1
        at = spikes.starts - first  # of the bins in use: a block of a long recording is short
        after = np.bincount(at + spikes.lag, 2.0 * weights, last - first)
        return self._rows(first, last).T @ (after - np.bincount(at, 2.0 * weights, last - first))

    def columns(self, rows: Index) -> Array:
        """Return g of the given samples."""
        before, after = self.steps.ends(rows)
        return after - before

    def select(self, chosen: Index) -> AntisymmetricTable:
        """Return the given observables only, as a table."""
        parts = [
            self.columns(rows)[:, chosen].astype(np.float32) for rows in chunks(self.n_samples)
        ]
        return AntisymmetricTable(np.concatenate(parts))

    def metric(self) -> DiagonalMetric:
        """Return the sizes of the observables."""
        spikes = (self.steps.indptr, self.steps.indices, self.steps.starts)
        ends, both = kernels.unit_counts(*spikes, self.steps.n_units, lag=self.steps.lag)
        square = np.maximum(4.0 * (ends - 2.0 * both), 1.0) / self.n_samples
        return DiagonalMetric(np.sqrt(square))

    def _rows(self, first: int = 0, last: int | None = None) -> csr_array:
        ends = self.steps.indptr[first : None if last is None else last + 1]
        indices = self.steps.indices[ends[0] : ends[-1]]
        shape = (ends.size - 1, self.steps.n_units)
        return csr_array((np.ones(indices.size), indices, ends - ends[0]), shape)


def chunks(n: int) -> Iterator[Index]:
    """Cut n samples into chunks whose products fit the cache."""
    for k in range(0, n, CHUNK):
        yield np.arange(k, min(k + CHUNK, n))


def metric_rows(n: int) -> Index:
    """Return evenly spaced samples from which sizes are taken."""
    return np.unique(np.linspace(0, n - 1, min(n, METRIC_ROWS)).astype(np.int64))
