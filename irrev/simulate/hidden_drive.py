"""Channels driven by one hidden variable, with every rate known in closed form.

Discrete time, channel-separable (each channel is its own filter of own noise plus drive):

    h_t = b h_{t-1} + sqrt(q) xi_t,
    x_{i,t} = a_i x_{i,t-1} + lambda u_i h_t + sqrt(s_i) eps_{i,t}                        (1)

Continuous time, one-way coupled Ornstein-Uhlenbeck:

    dh = -kappa h dt + sqrt(2 D_h) dW_0,
    dx_i = (-gamma_i x_i + lambda u_i h) dt + sqrt(2 D_i) dW_i                            (2)

Entropy production is the Kullback-Leibler rate between the whole process, hidden variable
included, and its time reverse; the witness W is the mutual-information rate of two observed
channels. Rates are nats per sample for (1) and nats per unit time for (2).

The systems are those of Bi and Calhoun, arXiv:2604.03775; the closed forms were derived here.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm, solve_continuous_lyapunov
from scipy.signal import lfilter

from irrev.errors import InputError

Innovations = Literal["gaussian", "student3", "exponential"]
GRID = 1 << 14  # frequencies; the midpoint rule is exact to rounding for |pole| <= 0.98
FORGOTTEN = 1e-8  # the start of a simulation has decayed to this part


@dataclass(frozen=True, slots=True)
class SharedDrive:
    """Discrete system (1); tuples have one entry per observed channel."""

    coupling: float  # lambda
    poles: tuple[float, ...]  # a_i, |a_i| < 1
    loadings: tuple[float, ...]  # u_i
    noise: tuple[float, ...]  # s_i, variance of a channel's own innovation
    drive_noise: float  # q
    drive_pole: float  # b, |b| < 1

    def __post_init__(self) -> None:
        sizes = {len(self.poles), len(self.loadings), len(self.noise)}
        if len(sizes) != 1:
            raise InputError(f"channel parameters have lengths {sorted(sizes)}; give one each.")
        if max(map(abs, (*self.poles, self.drive_pole))) >= 1:
            raise InputError("a pole lies on or outside the unit circle; use |pole| < 1.")

    @property
    def strengths(self) -> NDArray[np.float64]:
        """Return rho_i = lambda^2 u_i^2 q / s_i, drive over own innovation variance."""
        u, s = np.array(self.loadings), np.array(self.noise)
        return self.coupling**2 * u**2 * self.drive_noise / s

    def spectrum(self, omega: NDArray[np.floating]) -> NDArray[np.complex128]:
        """Return the cross-spectral matrices of the channels, shape (omega, channel, channel)."""
        z = np.exp(-1j * np.asarray(omega, dtype=np.float64))
        drive = self.coupling**2 * self.drive_noise / np.abs(1 - self.drive_pole * z) ** 2
        u = np.array(self.loadings)
        response = 1 / (1 - np.multiply.outer(z, np.array(self.poles)))
        core = drive[:, None, None] * np.outer(u, u) + np.diag(self.noise)
        shaped = response[:, :, None] * core * response[:, None, :].conj()
        return np.asarray(shaped, dtype=np.complex128)

    def witness(self, i: int = 0, j: int = 1) -> float:
        """Return W of channels i and j, nats per sample; exact."""
        b, rho = self.drive_pole, self.strengths[[i, j]]
        if rho.prod() > 1e-8:
            return float(0.5 * (_log_g(rho, b).sum() - _log_g(rho.sum(), b)))
        # The difference of logarithms loses its digits; integrate log(1 - coh^2) instead.
        omega = np.pi * (np.arange(GRID) + 0.5) / GRID
        drive = 1 / np.abs(1 - b * np.exp(-1j * omega)) ** 2
        coherence = rho.prod() * drive**2 / ((1 + rho[0] * drive) * (1 + rho[1] * drive))
        return float(-0.5 * np.mean(np.log1p(-coherence)))

    def total_witness(self) -> float:
        """Return the total-correlation rate of all channels, nats per sample; exact."""
        rho, b = self.strengths, self.drive_pole
        return float(0.5 * (_log_g(rho, b).sum() - _log_g(rho.sum(), b)))

    def leading_coefficient(self, i: int = 0, j: int = 1) -> float:
        """Return C_cross of W = C_cross lambda^4 + O(lambda^6); W never exceeds that term."""
        u, s, b = self.loadings, self.noise, self.drive_pole
        scale = (u[i] * u[j] * self.drive_noise) ** 2 / (2 * s[i] * s[j])
        return scale * (1 + b**2) / (1 - b**2) ** 3

    def scalar_coefficient(self, i: int = 0) -> float:
        """Return the lambda^4 coefficient that one channel shows; zero when a_i = b."""
        a, b = self.poles[i], self.drive_pole
        scale = (self.loadings[i] ** 2 * self.drive_noise / self.noise[i]) ** 2 / 2
        return scale * b**2 * (a - b) ** 2 / ((1 - b**2) ** 3 * (1 - a * b) ** 2)

    def ep_per_step(self, *, lagged: bool = False) -> float:
        """Return the entropy production of the whole system, nats per sample.

        `lagged` drives with h_{t-1} instead of h_t: the same observed spectrum, another total.
        """
        a = np.array(self.poles)
        weight = 1.0 if lagged else a**2
        return float(np.sum(self.strengths * weight / (1 - a * self.drive_pole)))


@dataclass(frozen=True, slots=True)
class OneWayDrive:
    """Continuous system (2); tuples have one entry per observed channel."""

    coupling: float  # lambda
    loadings: tuple[float, ...]  # u_i
    diffusion: tuple[float, ...]  # D_i
    drive_diffusion: float  # D_h
    drive_rate: float  # kappa, 1/time
    rates: tuple[float, ...]  # gamma_i, 1/time

    @property
    def strengths(self) -> NDArray[np.float64]:
        """Return r_i = lambda^2 u_i^2 D_h / D_i, 1/time^2."""
        u, diffusion = np.array(self.loadings), np.array(self.diffusion)
        return self.coupling**2 * u**2 * self.drive_diffusion / diffusion

    def matrices(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return A and D of dz = -A z dt + sqrt(2 D) dW for z = (h, x_1, ...)."""
        drift = np.diag([self.drive_rate, *self.rates]).astype(np.float64)
        drift[1:, 0] = -self.coupling * np.array(self.loadings)
        return drift, np.diag([self.drive_diffusion, *self.diffusion]).astype(np.float64)

    def ep_rate(self) -> float:
        """Return the entropy production rate of the whole system, nats/time; exact."""
        return float(np.sum(self.strengths / (self.drive_rate + np.array(self.rates))))

    def witness(self, i: int = 0, j: int = 1) -> float:
        """Return W of channels i and j, nats/time; exact."""
        kappa, r = self.drive_rate, self.strengths[[i, j]]
        # sqrt(k^2 + r) - k without cancellation.
        excess = r / (np.sqrt(kappa**2 + r) + kappa)
        joint = r.sum() / (np.sqrt(kappa**2 + r.sum()) + kappa)
        return float(0.5 * (excess.sum() - joint))

    def leading_witness(self, i: int = 0, j: int = 1) -> float:
        """Return r_i r_j / (8 kappa^3), which W approaches from below at weak coupling."""
        return float(self.strengths[[i, j]].prod() / (8 * self.drive_rate**3))

    def pair_irreversibility(self, i: int = 0, j: int = 1) -> float:
        """Return sigma of channels i and j, nats/time, by quadrature exact to rounding."""
        kappa, r = self.drive_rate, self.strengths[[i, j]]
        gamma = np.array(self.rates)[[i, j]]
        scale = float(np.max([kappa, *gamma]))
        theta = np.pi * (np.arange(GRID) + 0.5) / GRID  # omega = scale tan(theta / 2)
        omega = scale * np.tan(theta / 2)
        coherence = r.prod() / np.prod(kappa**2 + omega**2 + r[:, None], axis=0)
        phase = omega**2 * (gamma[0] - gamma[1]) ** 2 / np.prod(gamma[:, None] ** 2 + omega**2, 0)
        slope = 0.5 * (scale**2 + omega**2) / scale
        # (1/pi) over the whole line is (2/pi) over omega > 0, and d theta = pi / GRID.
        return float(2 * np.mean(coherence / (1 - coherence) * phase * slope))


def simulate_shared_drive(
    system: SharedDrive,
    n_steps: int,
    *,
    rng: np.random.Generator,
    innovations: Innovations = "gaussian",
) -> NDArray[np.float64]:
    """Draw a stationary record of the observed channels of system (1).

    Parameters
    ----------
    system
        Parameters; `coupling=0` gives independent channels.
    n_steps
        Length of the record.
    rng
        Source of the innovations.
    innovations
        Law of the unit-variance innovations: Gaussian, Student t with 3 degrees of freedom, or
        centred exponential.

    Returns
    -------
        Record, shape (time, channel).

    Examples
    --------
    >>> drive = SharedDrive(0.5, (0.3, 0.9), (1, 1), (1, 1), 1.0, 0.8)
    >>> simulate_shared_drive(drive, 5, rng=np.random.default_rng(0)).shape
    (5, 2)
    """
    slowest = max(map(abs, (*system.poles, system.drive_pole, 0.1)))
    burn = int(np.ceil(np.log(FORGOTTEN) / np.log(slowest)))
    draw = _innovations(n_steps + burn, len(system.poles) + 1, rng, innovations)
    hidden = np.asarray(lfilter([1.0], [1, -system.drive_pole], draw[0]))
    hidden *= np.sqrt(system.drive_noise)
    rows = [
        lfilter([1.0], [1, -a], system.coupling * u * hidden + np.sqrt(s) * own)
        for a, u, s, own in zip(system.poles, system.loadings, system.noise, draw[1:], strict=True)
    ]
    return np.ascontiguousarray(np.stack(rows)[:, burn:].T)


def simulate_one_way(
    system: OneWayDrive, n_steps: int, *, dt: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw a stationary record of the observed channels of system (2), exact at any step.

    Parameters
    ----------
    system
        Parameters.
    n_steps
        Length of the record.
    dt
        Sampling step, unit of time.
    rng
        Source of the noise.

    Returns
    -------
        Record, shape (time, channel).

    Examples
    --------
    >>> drive = OneWayDrive(1.0, (1, 1), (1, 1), 1.0, 0.5, (1.0, 2.5))
    >>> simulate_one_way(drive, 4, dt=0.1, rng=np.random.default_rng(0)).shape
    (4, 2)
    """
    drift, diffusion = system.matrices()
    cov = solve_continuous_lyapunov(drift, 2 * diffusion)
    step = expm(-drift * dt)
    noise = np.linalg.cholesky(cov - step @ cov @ step.T) @ rng.standard_normal(
        (len(drift), n_steps - 1)
    )
    start = np.linalg.cholesky(cov) @ rng.standard_normal(len(drift))
    # The step matrix is lower triangular: the drive first, then each channel by itself.
    hidden = np.asarray(lfilter([1.0], [1, -step[0, 0]], np.concatenate([start[:1], noise[0]])))
    rows = [
        lfilter(
            [1.0],
            [1, -step[i, i]],
            np.concatenate([start[i : i + 1], step[i, 0] * hidden[:-1] + noise[i]]),
        )
        for i in range(1, len(drift))
    ]
    return np.ascontiguousarray(np.stack(rows).T)


def _innovations(
    n_steps: int, n_rows: int, rng: np.random.Generator, law: Innovations
) -> NDArray[np.float64]:
    shape = (n_rows, n_steps)
    if law == "student3":
        return rng.standard_t(3, shape) / np.sqrt(3.0)
    if law == "exponential":
        return rng.exponential(size=shape) - 1.0
    return rng.standard_normal(shape)


def _log_g(rho: NDArray[np.float64] | float, b: float) -> NDArray[np.float64]:
    """Log of the larger root that factors 1 + rho / |1 - b z|^2 on the unit circle."""
    half = 1 + b**2 + np.asarray(rho)
    return np.log(0.5 * (half + np.sqrt(half**2 - 4 * b**2)))
