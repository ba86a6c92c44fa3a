"""Linear Langevin equations without a time-step error, and their exact entropy production.

    dx = (A x + b) dt + sqrt(2 D) dW                                              (1)
    x(t + dt) = P x + q + L z,  P = exp(A dt),  L L^T = int_0^dt e^{As} 2D e^{A^T s} ds   (2)
    A S + S A^T + 2 D = 0                       stationary covariance S           (3)
    EPR = tr(A^T D^-1 A S) - tr(S^-1 D)         nats per time                     (4)
    f(x) = D^-1 (A + D S^-1) x                  thermodynamic force               (5)

What a current measures at a finite interval dt (midpoint products), with P as above:

    exact f:   EPR(dt) = tr(M^T B),  M = D^-1 (A + D S^-1),  B = (P S - S P^T) / (2 dt)      (6)
    fitted f:  EPR(dt) = tr(B^T D^-1 B C^-1),  C = S/2 + (P S + S P^T)/4                    (7)

(2) holds for any A, stable or not; (3-7) need a stable A and (4-7) an invertible D.

Sources: C. Van Loan, IEEE Trans. Autom. Control 23, 395 (1978) for (2); G. Weiss et al. and
C. Gardiner, Stochastic Methods, for (3-5); (6, 7) derived here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from irrev.errors import InputError
from irrev.simulate.chains import Array, Start, numba_module


@dataclass(frozen=True)
class AffineChain:
    """x' = P x + q + L z with tables of one row or one row a step; a `Chain`."""

    dim: int
    dt: float
    n_steps: int | None
    start: Start
    moves: Array  # (1 or n_steps, dim, dim)
    shifts: Array  # (1 or n_steps, dim)
    roots: Array  # (1 or n_steps, dim, dim)

    @property
    def n_noise(self) -> int:
        """Normals a step and trajectory."""
        return self.dim

    def draw_start(self, rng: np.random.Generator, n: int) -> Array:
        """Draw start states, shape (dim, n)."""
        return np.ascontiguousarray(self.start(rng, n), dtype=np.float64)

    def advance(
        self, x: Array, rng: np.random.Generator, step: int, n_steps: int, out: Array, every: int
    ) -> None:
        """Move `x` in place; see `irrev.simulate.chains.Chain`."""
        if numba_module() is not None:
            from irrev.simulate.langevin_numba import affine

            affine(rng, x, self.moves, self.shifts, self.roots, step, n_steps, out, every)
            return
        z = np.empty_like(x)
        for j in range(step, step + n_steps):
            rng.standard_normal(out=z)
            x[:] = self.move(x, z, j)
            if (j + 1 - step) % every == 0:
                out[:, (j + 1 - step) // every - 1] = x.T

    def move(self, x: Array, z: Array, step: int) -> Array:
        """Return the state after one step with normals `z`, shape (dim, n)."""
        P = self.moves[min(step, len(self.moves) - 1)]
        q = self.shifts[min(step, len(self.shifts) - 1)]
        L = self.roots[min(step, len(self.roots) - 1)]
        return P @ x + L @ z + q[:, None]


@dataclass(frozen=True)
class GaussianStart:
    """Start states from a normal law; picklable."""

    mean: Array  # (dim,)
    root: Array  # (dim, dim): root root^T is the covariance

    def __call__(self, rng: np.random.Generator, n: int) -> Array:
        """Draw shape (dim, n)."""
        return self.root @ rng.standard_normal((len(self.mean), n)) + self.mean[:, None]


def gaussian_start(mean: ArrayLike, cov: ArrayLike) -> GaussianStart:
    """Return a start law with the given mean (dim,) and covariance (dim, dim)."""
    return GaussianStart(
        np.atleast_1d(np.asarray(mean, float)), matrix_root(np.asarray(cov, float))
    )


def exact_ou(
    drift: ArrayLike,
    diffusion: ArrayLike,
    *,
    dt: float,
    start: Start | None = None,
    shift: ArrayLike | None = None,
) -> AffineChain:
    """Sample a linear equation at spacing dt without error, eq. (2).

    Parameters
    ----------
    drift
        Matrix A, shape (dim, dim), 1/time.
    diffusion
        Matrix D, shape (dim, dim), positive semidefinite, x^2/time.
    dt
        Spacing of the samples.
    start
        Law of the first state; default: the stationary law of a stable A (with zero shift).
    shift
        Constant drift b, shape (dim,); default 0.

    Raises
    ------
    InputError
        If shapes differ, or A is not stable and no start is given.
    """
    A, D = _matrices(drift, diffusion)
    P, cov, integral = _transition(A, D, dt)
    b = np.zeros(len(A)) if shift is None else np.asarray(shift, dtype=np.float64)
    begin = gaussian_start(np.zeros(len(A)), stationary_cov(A, D)) if start is None else start
    return AffineChain(
        len(A), dt, None, begin, P[None], (integral @ b)[None], matrix_root(cov)[None]
    )


def stationary_cov(drift: ArrayLike, diffusion: ArrayLike) -> Array:
    """Solve eq. (3) for the stationary covariance, shape (dim, dim).

    Raises
    ------
    InputError
        If A is not stable.
    """
    A, D = _matrices(drift, diffusion)
    slowest = float(np.linalg.eigvals(A).real.max())
    if slowest >= 0:
        raise InputError(f"the drift matrix has an eigenvalue with real part {slowest}; need < 0.")
    cov = np.asarray(linalg.solve_continuous_lyapunov(A, -2.0 * D), dtype=np.float64)
    return 0.5 * (cov + cov.T)


def linear_ep_rate(drift: ArrayLike, diffusion: ArrayLike) -> float:
    """Exact entropy production rate of a stationary linear equation, eq. (4), nats per time.

    Examples
    --------
    >>> round(linear_ep_rate([[-1.0, 2.0], [-2.0, -1.0]], np.eye(2)), 12)
    8.0
    """
    A, D = _matrices(drift, diffusion)
    S = stationary_cov(A, D)
    value = np.trace(A.T @ np.linalg.solve(D, A @ S)) - np.trace(np.linalg.solve(S, D))
    return float(value)


def linear_force(drift: ArrayLike, diffusion: ArrayLike) -> Array:
    """Matrix M of the thermodynamic force f = M x, eq. (5), shape (dim, dim)."""
    A, D = _matrices(drift, diffusion)
    M = np.linalg.solve(D, A + D @ np.linalg.inv(stationary_cov(A, D)))
    return np.asarray(M, dtype=np.float64)


def finite_dt_ep_rate(
    drift: ArrayLike, diffusion: ArrayLike, *, dt: float, fitted: bool = False
) -> float:
    """Compute what midpoint currents of an infinite record measure at interval dt, nats per time.

    Parameters
    ----------
    drift, diffusion
        Matrices A and D.
    dt
        Interval of the record.
    fitted
        Whether f was fitted to the same record, eq. (7), instead of being exact, eq. (6).

    Examples
    --------
    >>> round(finite_dt_ep_rate([[-1.0, 2.0], [-2.0, -1.0]], np.eye(2), dt=0.1), 4)
    7.1905
    """
    A, D = _matrices(drift, diffusion)
    S = stationary_cov(A, D)
    PS = _expm(A * dt) @ S
    B = (PS - PS.T) / (2.0 * dt)
    if not fitted:
        return float(np.trace(linear_force(A, D).T @ B))
    C = 0.5 * S + 0.25 * (PS + PS.T)
    return float(np.trace(B.T @ np.linalg.solve(D, B @ np.linalg.inv(C))))


def matrix_root(cov: Array) -> Array:
    """Symmetric square root of a positive semidefinite matrix; zero directions are allowed."""
    values, vectors = np.linalg.eigh(np.atleast_2d(cov))
    root = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    return np.asarray(root, dtype=np.float64)


def _expm(matrix: Array) -> Array:
    return np.asarray(linalg.expm(matrix), dtype=np.float64)


def _transition(A: Array, D: Array, dt: float) -> tuple[Array, Array, Array]:
    """Propagator, noise covariance and integral of the propagator over dt."""
    if not dt > 0:
        raise InputError(f"dt is {dt}; it must be positive.")
    n = len(A)
    zero, eye = np.zeros((n, n)), np.eye(n)
    # Van Loan: exp of [[-A, 2D], [0, A^T]] dt holds P^-1 times the noise covariance.
    block = _expm(np.block([[-A, 2.0 * D], [zero, A.T]]) * dt)
    P = np.ascontiguousarray(block[n:, n:].T)
    cov = P @ block[:n, n:]
    integral = _expm(np.block([[A, eye], [zero, zero]]) * dt)[:n, n:]
    return P, 0.5 * (cov + cov.T), integral


def _matrices(drift: ArrayLike, diffusion: ArrayLike) -> tuple[Array, Array]:
    A: NDArray[np.float64] = np.atleast_2d(np.asarray(drift, dtype=np.float64))
    D: NDArray[np.float64] = np.atleast_2d(np.asarray(diffusion, dtype=np.float64))
    if A.ndim != 2 or A.shape[0] != A.shape[1] or A.shape != D.shape:
        raise InputError(f"drift {A.shape} and diffusion {D.shape} must be square and alike.")
    return A, D
