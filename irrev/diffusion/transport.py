"""Transport distances, optimal pairs, and the part of a velocity that is needed.

    W1 (1-D) = int |F - G| dx,    W2^2 = min over plans of E|x - y|^2                      (1)
    E|nu|^2 = E|grad phi|^2 + E|nu - grad phi|^2                                            (2)

grad phi is the gradient field with the same change of density: the first term of (2) is the
squared Wasserstein speed (excess), the second never pays for anything (housekeeping). For a
Gaussian of covariance C moved by nu = b + M (x - mean),

    total = |b|^2 + tr(M C M^T),  excess = |b|^2 + tr(B C B),  B C + C B = dC/dt            (3)

In ten dimensions or more the distance between two samples is dominated by sampling: with 1,000
points in 64 dimensions an exact plan reports 9 where the truth is 1. There `max_sliced_w1` is a
lower bound and a coupling an upper one; neither is the distance.

Sources: Gelbrich, Math. Nachr. 147, 185 (1990) for the moment bound; Ikeda et al.,
arXiv:2407.04495 for the kernel velocity; equation (3) is derived here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_continuous_lyapunov, sqrtm
from scipy.optimize import linear_sum_assignment

from irrev.errors import InputError, MissingExtraError

Array = NDArray[np.float64]
MAX_PLAN = 2000  # points: the exact plan takes seconds and 32 MB there
MAX_PIVOTS = 10_000_000  # of the network simplex; POT's 100,000 can stop before the optimum
MAX_PLAN_DIMENSION = 9  # above, the plug-in distance measures the sample size


@dataclass(frozen=True, slots=True)
class CostSplit:
    """Mean squared velocity and its two parts, data units squared per time squared."""

    total: float
    excess: float
    housekeeping: float


def gaussian_cost_split(cov: Array, gradient: Array, bias: Array | None = None) -> CostSplit:
    """Split the speed cost of a linear velocity on a Gaussian, equation (3).

    Parameters
    ----------
    cov
        Covariance, shape (d, d), positive definite.
    gradient
        M of nu = b + M (x - mean), shape (d, d).
    bias
        b, shape (d,); default zero.

    Examples
    --------
    >>> gaussian_cost_split(np.eye(2), np.array([[0.0, -1.0], [1.0, 0.0]])).excess
    0.0
    """
    moved = gradient @ cov
    symmetric = solve_continuous_lyapunov(cov, moved + moved.T)
    shift = 0.0 if bias is None else float(np.sum(np.square(bias)))
    total = shift + float(np.trace(gradient @ cov @ gradient.T))
    excess = shift + float(np.trace(symmetric @ cov @ symmetric))
    return CostSplit(total, excess, total - excess)


def w1_sorted(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return the W1 distance of two 1-D samples of equal size.

    Examples
    --------
    >>> w1_sorted(np.array([0.0, 1.0]), np.array([3.0, 2.0]))
    2.0
    """
    if np.ndim(a) != 1 or np.shape(a) != np.shape(b):
        raise InputError(
            f"samples of shapes {np.shape(a)} and {np.shape(b)}; give two of one equal length."
        )
    return float(np.mean(np.abs(np.sort(a) - np.sort(b))))


def w1_plan(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return the W1 distance of two samples in few dimensions by an exact plan.

    Parameters
    ----------
    a, b
        Samples, shapes (n, d) and (m, d), at most 2,000 points and 9 dimensions.

    Raises
    ------
    InputError
        In more dimensions, where the answer would be the sample size's.
    MissingExtraError
        Without the package POT.
    """
    return _plan_cost(a, b, np.full(len(a), 1 / len(a)), np.full(len(b), 1 / len(b)))


def _plan_cost(
    a: NDArray[np.floating], b: NDArray[np.floating], mass_a: Array, mass_b: Array
) -> float:
    if a.shape[1] > MAX_PLAN_DIMENSION or max(len(a), len(b)) > MAX_PLAN:
        raise InputError(
            f"{len(a)} and {len(b)} points in {a.shape[1]} dimensions; use at most {MAX_PLAN} "
            f"and {MAX_PLAN_DIMENSION}, or max_sliced_w1 as a lower bound."
        )
    try:
        import ot
    except ImportError as error:
        raise MissingExtraError("optimal plans need POT; install irrev[diffusion].") from error
    cost = ot.dist(np.asarray(a, float), np.asarray(b, float), metric="euclidean")
    return float(np.asarray(ot.emd2(mass_a, mass_b, cost, numItermax=MAX_PIVOTS)))


def w1_signed(x: Array, mass: Array) -> float:
    """Return the W1 distance between the two signs of a measure on one set of places.

    With mass = (ratio - 1)/n on states of a law P this is W1(P, ratio P). Both laws stand on the
    same states, so their distance goes to 0 with the ratio's distance from 1, where the W1 of two
    independent samples stays at the sampling error.

    Parameters
    ----------
    x
        Places, shape (place, d), at most 2,000 of each sign and 9 dimensions.
    mass
        Signed mass at each, shape (place,); its mean is taken off.

    Examples
    --------
    >>> w1_signed(np.array([[0.0], [3.0]]), np.array([0.5, -0.5]))
    1.5
    """
    mass = mass - mass.mean()
    gain, loss = mass > 0, mass < 0
    if not gain.any():
        return 0.0
    amount = float(mass[gain].sum())
    return amount * _plan_cost(
        x[gain], x[loss], mass[gain] / amount, mass[loss] / mass[loss].sum()
    )


def max_sliced_w1(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    rng: np.random.Generator,
    *,
    n_directions: int = 200,
) -> float:
    """Return the largest 1-D W1 over random directions and the mean difference: a lower bound.

    Parameters
    ----------
    a, b
        Samples of equal size, shape (n, d).
    rng
        Source of the directions.
    """
    directions = rng.standard_normal((n_directions + 1, a.shape[1]))
    gap = a.mean(0) - b.mean(0)
    if np.linalg.norm(gap) > 0:
        directions[-1] = gap
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return max(w1_sorted(a @ u, b @ u) for u in directions)


def w2_moment_bound(a: NDArray[np.floating], *, target_var: float = 1.0) -> float:
    """Return a lower bound on W2^2 between a sample's law and N(0, target_var I).

    It uses mean and covariance only: |mean|^2 + sum (sqrt(eigenvalue) - sd)^2 (Gelbrich).
    """
    flat = np.asarray(a, dtype=float).reshape(len(a), -1)
    eigenvalues = np.clip(np.linalg.eigvalsh(np.cov(flat.T)), 0, None)
    spread = np.sum((np.sqrt(eigenvalues) - np.sqrt(target_var)) ** 2)
    return float(np.sum(flat.mean(0) ** 2) + spread)


def gaussian_w2_squared(mean_a: Array, cov_a: Array, mean_b: Array, cov_b: Array) -> float:
    """Return W2^2 of two Gaussians (Bures distance)."""
    root = np.real(sqrtm(cov_a))
    cross = np.real(sqrtm(root @ cov_b @ root))
    return float(np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a + cov_b - 2 * cross))


@dataclass(frozen=True)
class OptimalPath:
    """Straight lines between optimally paired data and noise, over times 0 to `duration`."""

    data: Array  # (pair, d)
    noise: Array  # (pair, d)
    duration: float = 1.0

    def states(self, time: float) -> Array:
        """Return the states at a time, shape (pair, d)."""
        share = time / self.duration
        return (1 - share) * self.data + share * self.noise

    def cost(self) -> float:
        """Return int E|velocity|^2 dt: W2^2 of the two samples over the duration.

        Biased upward as an estimate of W2^2 of the laws: in many dimensions by a lot.
        """
        return float(np.mean(np.sum((self.noise - self.data) ** 2, axis=1)) / self.duration)

    def velocity(self, x: Array, time: float, *, bandwidth: float) -> Array:
        """Return the mean velocity at x by kernel regression over the pairs.

        Parameters
        ----------
        x
            Places, shape (place, d).
        time
            0 <= time < duration.
        bandwidth
            Standard deviation of the Gaussian kernel, data units.
        """
        gap = x[:, None, :] - self.states(time)[None]
        log_kernel = -0.5 * np.sum(gap**2, axis=2) / bandwidth**2
        kernel = np.exp(log_kernel - log_kernel.max(axis=1, keepdims=True))
        kernel /= kernel.sum(axis=1, keepdims=True)
        return (kernel @ self.noise - x) / (self.duration - time)


def optimal_path(data: Array, noise: Array, *, duration: float = 1.0) -> OptimalPath:
    """Pair two samples of equal size by the plan of least squared distance.

    Parameters
    ----------
    data, noise
        Samples, shape (pair, d), at most 2,000 pairs.
    """
    if data.shape != noise.shape or len(data) > MAX_PLAN:
        raise InputError(
            f"samples of shapes {data.shape} and {noise.shape}; give two of equal shape and at "
            f"most {MAX_PLAN} rows."
        )
    squares = np.sum(data**2, 1)[:, None] + np.sum(noise**2, 1) - 2 * data @ noise.T
    rows, columns = linear_sum_assignment(squares)
    return OptimalPath(data[rows], noise[columns], duration)
