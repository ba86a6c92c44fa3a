"""Function families that forces and scores are sought in.

A basis holds M scalar functions psi_m(x, t). A force is f_j(x, t) = sum_m c_mj psi_m(x, t), so
that its normal equations need only the M x M matrix of products. Inputs are shifted and scaled by
constants kept in the basis: polynomials of a scaled variable span the same functions and their
products stay well conditioned.

    polynomial  all monomials up to a degree, the constant included                       (1)
    fourier     1, cos(k x_j), sin(k x_j), k = 1..order: for angles                       (2)
    gaussian    exp(-|x - a_m|^2 / 2 w^2) and 1; centres by k-means, w their median distance  (3)
    in time     every function above times t^b, b = 0..powers                             (4)

Keep the constant in the basis of real tracks: without it a drift of the stage hides in the other
functions. Networks: `irrev.ep.networks`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from irrev.ep.steps import Array
from irrev.errors import InputError

FamilyName = Literal["linear", "quadratic", "cubic", "fourier", "gaussian"]
FAMILIES: tuple[FamilyName, ...] = ("linear", "quadratic", "cubic", "fourier", "gaussian")

KMEANS_ROUNDS = 20
KMEANS_SAMPLE = 20_000


class Basis(Protocol):
    """Scalar functions of position and time."""

    @property
    def size(self) -> int:
        """Number of functions M."""
        ...

    def __call__(self, x: Array, t: Array) -> Array:
        """Values, shape (point, M), at positions (point, dim) and times (point,)."""
        ...


@dataclass(frozen=True)
class Polynomial:
    """Eq. (1): monomials of (x - centre) / scale."""

    powers: tuple[tuple[int, ...], ...]  # (M, dim)
    centre: Array  # (dim,)
    scale: Array  # (dim,)

    @property
    def size(self) -> int:
        """Number of functions."""
        return len(self.powers)

    def __call__(self, x: Array, t: Array) -> Array:
        """Evaluate, shape (point, M)."""
        y = (x - self.centre) / self.scale
        out = np.ones((len(x), len(self.powers)))
        for m, row in enumerate(self.powers):
            for j, power in enumerate(row):
                for _ in range(power):
                    out[:, m] *= y[:, j]
        return out


@dataclass(frozen=True)
class Fourier:
    """Eq. (2), every component an angle in radians."""

    order: int
    dim: int

    @property
    def size(self) -> int:
        """Number of functions."""
        return 1 + 2 * self.order * self.dim

    def __call__(self, x: Array, t: Array) -> Array:
        """Evaluate, shape (point, M)."""
        parts = [np.ones((len(x), 1))]
        for k in range(1, self.order + 1):
            parts += [np.cos(k * x), np.sin(k * x)]
        return np.hstack(parts)


@dataclass(frozen=True)
class Gaussians:
    """Eq. (3), distances in units of `scale`."""

    centres: Array  # (M - 1, dim), scaled
    width: float
    scale: Array  # (dim,)

    @property
    def size(self) -> int:
        """Number of functions."""
        return len(self.centres) + 1

    def __call__(self, x: Array, t: Array) -> Array:
        """Evaluate, shape (point, M)."""
        d2 = _squared_distances(x / self.scale, self.centres)
        return np.hstack([np.ones((len(x), 1)), np.exp(-d2 / (2 * self.width**2))])


@dataclass(frozen=True)
class InTime:
    """Eq. (4): a basis in x times powers of t / span."""

    space: Basis
    powers: int
    span: float = 1.0

    @property
    def size(self) -> int:
        """Number of functions."""
        return self.space.size * (self.powers + 1)

    def __call__(self, x: Array, t: Array) -> Array:
        """Evaluate, shape (point, M)."""
        values = self.space(x, t)
        return np.hstack([values * (t[:, None] / self.span) ** b for b in range(self.powers + 1)])


def polynomial(
    dim: int,
    degree: int,
    *,
    centre: Array | None = None,
    scale: Array | None = None,
    powers: Sequence[Sequence[int]] | None = None,
) -> Polynomial:
    """Monomials up to a degree, or the given ones.

    Parameters
    ----------
    dim, degree
        Components, and highest total power.
    centre, scale
        Shift and scale of each component, shape (dim,); default 0 and 1.
    powers
        Explicit rows of powers, shape (M, dim), instead of all up to `degree`.

    Examples
    --------
    >>> polynomial(2, 2).powers
    ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
    """
    if powers is None:
        sets = [c for k in range(degree + 1) for c in combinations_with_replacement(range(dim), k)]
        powers = [[c.count(j) for j in range(dim)] for c in sets]
    return Polynomial(
        tuple(tuple(row) for row in powers),
        np.zeros(dim) if centre is None else np.asarray(centre, dtype=np.float64),
        np.ones(dim) if scale is None else np.asarray(scale, dtype=np.float64),
    )


def gaussians(x: Array, *, n: int, rng: np.random.Generator) -> Gaussians:
    """Centres by k-means of sampled positions, width the median distance between centres.

    Raises
    ------
    InputError
        If there are fewer positions than centres or fewer than two centres.
    """
    if not 2 <= n <= len(x):
        raise InputError(f"{n} centres for {len(x)} positions; give 2 to {len(x)}.")
    scale = _spread(x)
    sample = x[rng.permutation(len(x))[:KMEANS_SAMPLE]] / scale
    centres = _kmeans(sample, n, rng)
    d2 = _squared_distances(centres, centres)
    width = float(np.sqrt(np.median(d2[~np.eye(n, dtype=bool)])))
    return Gaussians(centres, width, scale)


def family(name: FamilyName | Basis, x: Array, *, n: int = 20, rng: np.random.Generator) -> Basis:
    """Build a basis by name for given positions.

    Parameters
    ----------
    name
        One of `FAMILIES`, or a basis, which is returned as it is.
    x
        Positions that set centre and scale, shape (point, dim).
    n
        Gaussian centres, or for `fourier` the order.
    rng
        Source of the k-means start.
    """
    if not isinstance(name, str):
        return name
    if name == "gaussian":
        return gaussians(x, n=n, rng=rng)
    if name == "fourier":
        return Fourier(min(n, 4), x.shape[1])
    degree = {"linear": 1, "quadratic": 2, "cubic": 3}.get(name)
    if degree is None:
        raise InputError(f"{name!r} is no family; choose one of {', '.join(FAMILIES)}.")
    return polynomial(x.shape[1], degree, centre=x.mean(axis=0), scale=_spread(x))


def _spread(x: Array) -> Array:
    spread = x.std(axis=0)
    return np.where(spread > 0, spread, 1.0)


def _squared_distances(x: Array, y: Array) -> NDArray[np.float64]:
    d2 = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T
    return np.maximum(d2, 0.0)


def _kmeans(x: Array, n: int, rng: np.random.Generator) -> Array:
    centres = x[rng.choice(len(x), n, replace=False)]
    for _ in range(KMEANS_ROUNDS):
        nearest = _squared_distances(x, centres).argmin(axis=1)
        counts = np.bincount(nearest, minlength=n)
        for j in range(x.shape[1]):
            sums = np.bincount(nearest, weights=x[:, j], minlength=n)
            centres[:, j] = np.where(counts > 0, sums / np.maximum(counts, 1), centres[:, j])
    return centres
