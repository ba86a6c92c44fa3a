"""How far the strength of two channels changes together, and what that does to the tests.

Two channels whose noise grows and fades together, x = v e1 and y = v e2 with a slow v, are
reversible and have no coherence, but the ordinates of a band are no longer independent: with D the
kernel of a band of M and C the covariance of the squares of the whitened channels at lag k,

    Var(cross-spectrum) / its value for steady noise = F = 1 + sum_k D_k^2 C_k / sum_k D_k^2    (1)

D^2 has the area of a triangle of half-width 2 M samples, so F - 1 is the covariance of the mean
squares of blocks of 2 M samples, relative to their means. Gaussian channels of coherence c have a
share c^2 of the sampling variance of a mean square in common, 2 c^2 / (2 M), which is taken off.
A band of K ordinates then tells as much as K / F.

F is 1 unless the correlation of the mean squares of short blocks exceeds c^2 by four standard
errors: with steady noise nothing changes.

Limits: F is that of the band's mean; changes faster than a band resolves are averaged out.
Derived here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BLOCKS = (32, 128)  # samples: 2 M for 16 and 64 bands; the second a multiple of the first
CERTAIN = 4.0  # standard errors of the correlation of mean squares


@dataclass(frozen=True, slots=True)
class Strength:
    """Sums over blocks of each length of BLOCKS; additive over chunks."""

    n_blocks: NDArray[np.int64]  # (length,)
    total: Array  # (length, channel) mean squares
    product: Array  # (length, channel, channel) products of mean squares

    def __add__(self, other: "Strength") -> "Strength":
        return Strength(*(getattr(self, k) + getattr(other, k) for k in Strength.__slots__))

    def factor(
        self, first: NDArray[np.int64], second: NDArray[np.int64], coh2: Array, n_bands: int
    ) -> Array:
        """Return F of eq. (1) for some pairs, at least 1.

        Parameters
        ----------
        first, second
            Channels of the pairs, shape (pair,).
        coh2
            Mean squared coherence of the pairs, shape (pair,).
        n_bands
            M.
        """
        k = int(np.argmin([abs(np.log(block / (2 * n_bands))) for block in BLOCKS]))
        if self.n_blocks[k] < 2:
            return np.ones(first.size)
        with np.errstate(invalid="ignore", divide="ignore"):
            shared, alike = self._covariance(0, first, second)  # most blocks: most certain
            certain = (alike - coh2) * np.sqrt(self.n_blocks[0]) > CERTAIN
            if k:
                shared, _ = self._covariance(k, first, second)
        excess = np.where(certain, shared - 2.0 * coh2 / BLOCKS[k], 0.0)
        return 1.0 + np.maximum(excess, 0.0)

    def _covariance(
        self, k: int, first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> tuple[Array, Array]:
        """Return the relative covariance of mean squares, and their correlation."""
        mean = self.total[k] / self.n_blocks[k]
        second_moment = self.product[k] / self.n_blocks[k]
        square = np.diagonal(second_moment) / mean**2 - 1.0
        shared = second_moment[first, second] / (mean[first] * mean[second]) - 1.0
        return shared, shared / np.sqrt(square[first] * square[second])


def mean_squares(white: Array) -> Array:
    """Return the mean squares of the shortest blocks of a whitened channel; a rest is left out."""
    n = white.size // BLOCKS[0] * BLOCKS[0]
    block = white[:n].reshape(-1, BLOCKS[0])
    return np.einsum("ij,ij->i", block, block) / BLOCKS[0]


def sum_strength(rows: Array, columns: Array) -> Strength:
    """Sum the mean squares of the shortest blocks of segments.

    Parameters
    ----------
    rows, columns
        Mean squares of the channels of a tile, shape (channel, segment, block).

    Returns
    -------
        Totals of `rows`, products of both.
    """
    counts, totals, products = [], [], []
    for block in BLOCKS:
        merge = block // BLOCKS[0]
        a, b = (_merged(x, merge) for x in (rows, columns))
        counts.append(a.shape[1])
        totals.append(a.sum(axis=1))
        products.append(a @ b.T)
    return Strength(np.array(counts, np.int64), np.stack(totals), np.stack(products))


def _merged(x: Array, merge: int) -> Array:
    whole = x.shape[2] // merge * merge
    parts = x[:, :, :whole].reshape(*x.shape[:2], -1, merge).mean(axis=3)
    return parts.reshape(len(x), -1)
