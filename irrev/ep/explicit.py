"""Observables given as a table: any function of a sample, with its value on the reversed sample.

For few observables, for functions that are not antisymmetric, and for exact expectations of small
systems: every state pair is one sample, weighed by its probability.

Source: Aguilera, Ito, Kolchinsky, Phys. Rev. Lett. 136, 077101 (2026).
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_blas_funcs

from irrev.errors import InputError


@dataclass(frozen=True, slots=True)
class DiagonalMetric:
    """Sizes of observables that are taken as uncorrelated."""

    size: NDArray[np.float64]  # (n_observables,)

    def inverse(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply the inverse covariance."""
        return vector / self.size**2


@dataclass(frozen=True, slots=True)
class CovarianceMetric:
    """Covariance of few observables with a relative ridge."""

    cov: NDArray[np.float64]  # (n_observables, n_observables)

    @property
    def size(self) -> NDArray[np.float64]:
        """Standard deviation of each observable."""
        return np.sqrt(np.diag(self.cov))

    def inverse(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply the inverse covariance."""
        return np.asarray(np.linalg.solve(self.cov, vector), dtype=np.float64)


class _Forward(Protocol):
    """What a set of antisymmetric observables must offer."""

    def values(self, theta: NDArray[np.float64]) -> NDArray[np.float64]: ...

    def total(self, weights: NDArray[np.float64]) -> NDArray[np.float64]: ...

    def columns(self, rows: NDArray[np.int64]) -> NDArray[np.float64]: ...


class Antisymmetric:
    """Reversed samples carry the opposite sign."""

    __slots__ = ()

    @property
    def odd(self) -> bool:
        """Every observable changes its sign."""
        return True

    def reverse_values(self: _Forward, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return theta . g of each reversed sample, nats."""
        return -self.values(theta)

    def reverse_total(self: _Forward, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sum_t w_t g_t over the reversed samples."""
        return -self.total(weights)

    def reverse_columns(self: _Forward, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return g of the given samples read backwards."""
        return -self.columns(rows)


@dataclass(frozen=True, slots=True)
class AntisymmetricTable(Antisymmetric):
    """Values of antisymmetric observables on every sample, in any floating type."""

    table: NDArray[np.floating]  # (n_samples, n_observables)

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.table.shape[0]

    @property
    def n_observables(self) -> int:
        """Number of observables."""
        return self.table.shape[1]

    def take(self, rows: NDArray[np.int64]) -> "AntisymmetricTable":
        """Return the given samples only."""
        return AntisymmetricTable(self.table[rows])

    def select(self, chosen: NDArray[np.int64]) -> "AntisymmetricTable":
        """Return the given observables only."""
        if chosen.size == self.n_observables:
            return self
        return AntisymmetricTable(np.take(self.table, chosen, axis=1))

    def values(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return theta . g of each sample, nats."""
        return (self.table @ theta.astype(self.table.dtype)).astype(np.float64)

    def total(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sum_t w_t g_t."""
        return (weights.astype(self.table.dtype) @ self.table).astype(np.float64)

    def second_moment(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sum_t w_t g_t g_t', shape (n_observables, n_observables)."""
        rooted = self.table * np.sqrt(weights).astype(self.table.dtype)[:, None]
        (syrk,) = get_blas_funcs(("syrk",), (rooted,))  # half the arithmetic of a product
        upper = np.triu(syrk(1.0, rooted.T)).astype(np.float64)
        return upper + np.triu(upper, 1).T

    def metric(self) -> DiagonalMetric:
        """Return the second moments: unchanged by reversal."""
        square = np.einsum("tk,tk->k", self.table, self.table, dtype=np.float64)
        floor = max(float(square.max(initial=0.0)) / self.n_samples, np.finfo(float).tiny)
        return DiagonalMetric(np.sqrt(np.maximum(square, floor) / self.n_samples))

    def columns(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return g of the given samples."""
        return self.table[rows].astype(np.float64)


@dataclass(frozen=True, slots=True)
class ExplicitObservables:
    """Values of user-supplied observables on every sample."""

    forward: NDArray[np.float64]  # (n_samples, n_observables) g
    reverse: NDArray[np.float64]  # (n_samples, n_observables) g of the reversed samples

    def __post_init__(self) -> None:
        forward, reverse = np.shape(self.forward), np.shape(self.reverse)
        if len(forward) != 2 or forward != reverse:
            raise InputError(
                f"forward has shape {forward}, reverse {reverse}; pass two tables of shape "
                "(sample, observable)."
            )

    @classmethod
    def antisymmetric(cls, forward: NDArray[np.float64]) -> "ExplicitObservables":
        """Wrap observables that change sign under reversal."""
        return cls(forward, -forward)

    @property
    def odd(self) -> bool:
        """Nothing is assumed about the reversed values."""
        return False

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.forward.shape[0]

    @property
    def n_observables(self) -> int:
        """Number of observables."""
        return self.forward.shape[1]

    def take(self, rows: NDArray[np.int64]) -> "ExplicitObservables":
        """Return the given samples only."""
        return ExplicitObservables(self.forward[rows], self.reverse[rows])

    def select(self, chosen: NDArray[np.int64]) -> "ExplicitObservables":
        """Return the given observables only."""
        return ExplicitObservables(self.forward[:, chosen], self.reverse[:, chosen])

    def values(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return theta . g of each sample, nats."""
        return self.forward @ theta

    def reverse_values(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return theta . g of each reversed sample, nats."""
        return self.reverse @ theta

    def total(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sum_t w_t g_t."""
        return weights @ self.forward

    def reverse_total(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sum_t w_t g_t over the reversed samples."""
        return weights @ self.reverse

    def second_moment(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sum_t w_t g_t g_t' of the reversed samples."""
        return (self.reverse * weights[:, None]).T @ self.reverse

    def metric(self) -> CovarianceMetric:
        """Return the mean of the forward and the reverse covariance, unweighted."""
        d = self.n_observables
        cov = np.zeros((d, d))
        for g in (self.forward, self.reverse):
            centred = g - g.mean(axis=0)
            cov += 0.5 * centred.T @ centred / self.n_samples
        ridge = 1e-6 * max(float(np.trace(cov)) / d, np.finfo(float).tiny)
        return CovarianceMetric(cov + ridge * np.eye(d))

    def columns(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return g of the given samples."""
        return self.forward[rows]

    def reverse_columns(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return g of the given samples read backwards."""
        return self.reverse[rows]
