"""Entropy-production and dependence rates of linear Gaussian processes from their matrices.

With S(omega) = sum_k Gamma(k) exp(-i omega k), Gamma(k) = E[x_{t+k} x_t^T], mean over (0, pi):

    W        = -1/2 mean log(1 - |S_12|^2 / S_11 S_22)      mutual-information rate of a pair  (1)
    W_irr    =  1/2 mean log(1 + (Im S_12)^2 / Delta)       distance to the nearest reversible (2)
    sigma_N  =  1/2 mean [tr(S^-T S) - N]                   distance to the time reverse       (3)
    W_total  =  1/2 mean [sum log S_ii - log det S]         total-correlation rate             (4)

with Delta = S_11 S_22 - |S_12|^2; sigma of a pair is 2 mean (Im S_12)^2 / Delta. Nats per sample.
Markov processes, all variables even under time reversal:

    dz = -A z dt + sqrt(2 D) dW:   ep_rate = tr(A^T D^-1 A Sigma) - tr A          nats/time    (5)
    z' = F z + e, cov(e) = Q:
        ep = (tr Q^-1 (Sigma - Sigma F^T F^T - F F Sigma + F Sigma F^T) - N) / 2  nats/step    (6)

Limits: exact for Gaussian processes only; (3) of some channels is at most (5), (6) of all.
Derived here; the setting is Seara, Machta and Murrell, Nat. Commun. 12, 392 (2021).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm, solve_continuous_lyapunov, solve_discrete_lyapunov

from irrev.errors import InputError

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairRates:
    """Rates of a pair of channels; nats per sample, or per unit time for a continuous process."""

    witness: float  # W
    witness_irr: float
    witness_rev: float
    sigma: float


def frequency_grid(n: int = 1 << 14) -> NDArray[np.float64]:
    """Return midpoints of (0, pi), shape (n,); means over them converge exponentially in n.

    Examples
    --------
    >>> frequency_grid(2).round(4).tolist()
    [0.7854, 2.3562]
    """
    return np.pi * (np.arange(n) + 0.5) / n


def pair_rates(spectrum: NDArray[np.complexfloating]) -> PairRates:
    """Average the pair functionals (1)-(2) and sigma over a frequency grid.

    Parameters
    ----------
    spectrum
        Cross-spectral matrices on `frequency_grid`, shape (frequency, 2, 2), positive definite.

    Returns
    -------
        Rates in nats per sample, all non-negative; witness = witness_irr + witness_rev.

    Examples
    --------
    >>> pair_rates(np.array([[[2, 1], [1, 2]]], dtype=complex)).witness
    0.14384103622589045
    """
    return _pair_means(spectrum, np.full(len(spectrum), 1.0 / len(spectrum)))


def irreversibility_rate(spectrum: NDArray[np.complexfloating]) -> float:
    """Average (3) over a frequency grid: nats per sample, zero for one channel.

    Parameters
    ----------
    spectrum
        Cross-spectral matrices on `frequency_grid`, shape (frequency, channel, channel).

    Returns
    -------
        Kullback-Leibler rate between the process and its time reverse, nats per sample.
    """
    ratio = np.linalg.solve(spectrum.transpose(0, 2, 1), spectrum)
    excess = np.trace(ratio, axis1=1, axis2=2).real - spectrum.shape[1]
    return float(0.5 * excess.mean())


def total_correlation_rate(spectrum: NDArray[np.complexfloating]) -> float:
    """Average (4) over a frequency grid, nats per sample; arguments as `irreversibility_rate`."""
    logs = np.log(np.diagonal(spectrum, axis1=1, axis2=2).real).sum(axis=1)
    return float(0.5 * np.mean(logs - np.linalg.slogdet(spectrum).logabsdet))


def var_spectrum(
    coefficients: NDArray[np.floating],
    cov: NDArray[np.floating],
    omega: NDArray[np.floating],
) -> NDArray[np.complex128]:
    """Return the spectrum of x_t = sum_k F_k x_{t-k} + e_t.

    Parameters
    ----------
    coefficients
        F_1, F_2, ..., shape (lag, channel, channel).
    cov
        Covariance of e, shape (channel, channel).
    omega
        Angular frequencies, radians per sample, shape (frequency,).

    Returns
    -------
        Shape (frequency, channel, channel).
    """
    lags = np.arange(1, len(coefficients) + 1)
    shifts = np.exp(-1j * np.multiply.outer(np.asarray(omega, dtype=np.float64), lags))
    response = np.linalg.inv(np.eye(len(cov)) - np.tensordot(shifts, coefficients, axes=1))
    return np.asarray(response @ cov @ response.conj().transpose(0, 2, 1), dtype=np.complex128)


def var1_ep(step: Matrix, cov: Matrix) -> float:
    """Return (6): the exact entropy production of a stable VAR(1), nats per step.

    Parameters
    ----------
    step
        F, shape (channel, channel), eigenvalues inside the unit circle.
    cov
        Q, positive definite.

    Returns
    -------
        Nats per step, zero for one channel and for a reversible process.

    Raises
    ------
    InputError
        If F is not stable.

    Examples
    --------
    >>> round(var1_ep(np.array([[0.5, 0.3], [-0.3, 0.5]]), np.eye(2)), 12)
    0.545454545455
    """
    if np.abs(np.linalg.eigvals(step)).max() >= 1:
        raise InputError("F has an eigenvalue of modulus >= 1; the process is not stationary.")
    sigma = solve_discrete_lyapunov(step, cov)
    back = step @ step @ sigma
    change = sigma - back - back.T + step @ sigma @ step.T
    return float(0.5 * (np.trace(np.linalg.solve(cov, change)) - len(cov)))


def langevin_ep_rate(drift: Matrix, diffusion: Matrix) -> float:
    """Return (5): the exact entropy production rate of a linear Langevin process, nats/time.

    Parameters
    ----------
    drift
        A, shape (channel, channel), eigenvalues with positive real part.
    diffusion
        D, symmetric positive definite.

    Returns
    -------
        Nats per unit time; zero if and only if A D is symmetric.

    Raises
    ------
    InputError
        If A is not stable or D is not positive definite.

    Examples
    --------
    >>> round(langevin_ep_rate(np.array([[1, -0.6], [0.6, 1]]), np.eye(2)), 12)
    0.72
    """
    if np.linalg.eigvals(drift).real.min() <= 0:
        raise InputError("A has an eigenvalue with real part <= 0; the process is not stationary.")
    if np.linalg.eigvalsh(diffusion).min() <= 0:
        raise InputError("D is not positive definite; the entropy production is not finite.")
    sigma = solve_continuous_lyapunov(drift, 2 * diffusion)
    flow = drift.T @ np.linalg.solve(diffusion, drift @ sigma)
    return float(np.trace(flow) - np.trace(drift))


def sample_langevin(drift: Matrix, diffusion: Matrix, dt: float) -> tuple[Matrix, Matrix]:
    """Return F and Q of the VAR(1) that a linear Langevin process is at steps of `dt`.

    Examples
    --------
    >>> sample_langevin(np.eye(1), np.eye(1), np.log(2.0))[0].round(12).tolist()
    [[0.5]]
    """
    step = np.asarray(expm(-np.asarray(drift) * dt), dtype=np.float64)
    sigma = solve_continuous_lyapunov(drift, 2 * np.asarray(diffusion))
    return step, sigma - step @ sigma @ step.T


def langevin_pair_rates(
    drift: Matrix, diffusion: Matrix, *, pair: tuple[int, int], n_grid: int = 1 << 14
) -> PairRates:
    """Integrate the pair functionals of two components of a linear Langevin process.

    Parameters
    ----------
    drift, diffusion
        A and D as in (5).
    pair
        Observed components.
    n_grid
        Points of the rule in theta, omega = c tan(theta / 2); converges exponentially.

    Returns
    -------
        Rates in nats per unit time.
    """
    scale = float(np.abs(np.linalg.eigvals(drift)).max())
    omega = scale * np.tan(frequency_grid(n_grid) / 2)
    response = np.linalg.inv(drift + 1j * omega[:, None, None] * np.eye(len(drift)))
    spectrum = response @ (2 * diffusion) @ response.conj().transpose(0, 2, 1)
    block = spectrum[:, list(pair)][:, :, list(pair)]
    # (1/4 pi) over the line = (1/2 pi) over omega > 0; d omega = (c^2 + w^2) / 2c d theta.
    weight = (scale**2 + omega**2) / (2 * scale) / n_grid
    return _pair_means(block, weight)


def _pair_means(spectrum: NDArray[np.complexfloating], weight: Matrix) -> PairRates:
    power = spectrum[:, 0, 0].real * spectrum[:, 1, 1].real
    cross = spectrum[:, 0, 1]
    delta = power - np.abs(cross) ** 2
    return PairRates(
        witness=float(-0.5 * weight @ np.log1p(-(np.abs(cross) ** 2) / power)),
        witness_irr=float(0.5 * weight @ np.log1p(cross.imag**2 / delta)),
        witness_rev=float(-0.5 * weight @ np.log1p(-(cross.real**2) / power)),
        sigma=float(2 * weight @ (cross.imag**2 / delta)),
    )
