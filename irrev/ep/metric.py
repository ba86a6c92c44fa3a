"""Covariance of the pair observables of independent units, inverted in closed form.

Let unit i have mean m_i, variance v_i and covariance c_i with itself one step later. For
independent stationary units the covariance of g_ij = s_i(1) s_j(0) - s_i(0) s_j(1) acts on an
antisymmetric matrix Theta as

    K Theta = 2 (v Theta v - c Theta c) + 2 (y m' - m y'),  y = (v - c) Theta m        (1)

with diagonal v and c. The first part belongs to the centred pair (s - m), the second to the
fields Theta m that a pair of coded spikes brings along. With Theta_ij in units of 1 / D_ij,
D_ij = sqrt(2 (v_i v_j - c_i c_j)),

    K^-1 ~ 1 - (z n' - n z'),  z = Theta n / (1 + n'n),  n = m / sqrt(v + c)          (2)

exactly for c = 0 and positive definite always. It is the metric of the solvers: the fields are
strongly correlated, and a solver that does not know them spends its first iterations there.
Reversing time changes neither m, v nor c.

Source: derived here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PairMetric:
    """Sizes of the pair observables and their fields."""

    size: NDArray[np.float64]  # (n_observables,) sd of the centred pair, positive
    field: NDArray[np.float64]  # (unit,) n of eq. (2)

    def inverse(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply K^-1 (eq. 2): from a gradient to a direction, shape (n_observables,)."""
        n = self.field
        matrix = pair_matrix(vector / self.size, n.size)
        z = matrix @ n / (1.0 + n @ n)
        outer = np.outer(z, n)
        return pair_vector(matrix - outer + outer.T) / self.size


def pair_metric(
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
    lagged: NDArray[np.float64],
    n_samples: int,
) -> PairMetric:
    """Build the metric from the statistics of each unit, all of shape (unit,).

    A unit that never changes gets the variance of one event in all samples, taken as 1 where
    no unit changes at all.
    """
    top = float(variance.max(initial=0.0)) or 1.0
    variance = np.maximum(variance, top / n_samples)
    lagged = np.clip(lagged, -(1.0 - 1.0 / n_samples) * variance, variance)
    both = np.outer(variance, variance) - np.outer(lagged, lagged)
    size = np.sqrt(2.0 * np.maximum(pair_vector(both), top**2 / n_samples))
    return PairMetric(size, mean / np.sqrt(variance + lagged))


def pair_matrix(theta: NDArray[np.float64], n_units: int) -> NDArray[np.float64]:
    """Return the antisymmetric matrix with `theta` above its diagonal, row by row.

    Examples
    --------
    >>> pair_matrix(np.array([1.0, 2.0, 3.0]), 3)[0].tolist()
    [0.0, 1.0, 2.0]
    """
    out = np.zeros((n_units, n_units))
    first = 0
    for i in range(n_units - 1):  # row by row: ten times as fast as a mask
        row = theta[first : first + n_units - 1 - i]
        out[i, i + 1 :] = row
        out[i + 1 :, i] -= row
        first += row.size
    return out


def pair_vector(matrix: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the entries above the diagonal, row by row."""
    n_units = len(matrix)
    out, first = np.empty(n_units * (n_units - 1) // 2), 0
    for i in range(n_units - 1):
        row = matrix[i, i + 1 :]
        out[first : first + row.size] = row
        first += row.size
    return out


def pair_units(
    chosen: NDArray[np.int64], n_units: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the units i < j of the given pairs, counted row by row.

    Examples
    --------
    >>> [x.tolist() for x in pair_units(np.array([0, 2]), 3)]
    [[0, 1], [1, 2]]
    """
    first = np.concatenate([[0], np.cumsum(np.arange(n_units - 1, 0, -1))])
    i = np.searchsorted(first, chosen, side="right") - 1
    return i, chosen - first[i] + i + 1
