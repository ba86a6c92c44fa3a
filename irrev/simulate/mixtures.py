"""Gaussian mixtures in d dimensions, and what is known exactly about their classes.

Binary mixture 1/2 N(+mu, v0 I) + 1/2 N(-mu, v0 I), seen at noise sigma: everything about the label
depends on the signal-to-noise ratio g = |mu|^2 / (v0 + sigma^2) alone,

    H(g) = E ln(1 + exp(-2g - 2 sqrt(g) n)),    n ~ N(0, 1)                                 (1)
    mmse(g) = 1 - E tanh(g + sqrt(g) n),        dH/dg = -mmse/2                             (2)

Source: Guo, Shamai, Verdu, IEEE Trans. Inf. Theory 51, 1261 (2005) for the I-MMSE relation (2).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irrev.errors import InputError

NODES = np.linspace(-12.0, 12.0, 24001)  # beyond 12 sd the Gaussian weight is below 1e-31
WEIGHT = np.exp(-(NODES**2) / 2) / np.sqrt(2 * np.pi)


@dataclass(frozen=True)
class Mixture:
    """Weights, means, isotropic variances and class of each component."""

    weights: NDArray[np.float64]  # (component,)
    means: NDArray[np.float64]  # (component, d)
    variances: NDArray[np.float64]  # (component,)
    labels: NDArray[np.int64]  # (component,)

    def sample(
        self, n: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Draw n states, shape (n, d), and their classes, shape (n,)."""
        k = rng.choice(len(self.weights), size=n, p=self.weights)
        noise = rng.standard_normal((n, self.means.shape[1]))
        return self.means[k] + np.sqrt(self.variances[k])[:, None] * noise, self.labels[k]


def binary_mixture(d: int, *, distance: float, var: float = 1.0) -> Mixture:
    """Two equal Gaussians at +-distance along the first axis of d dimensions."""
    if d < 1 or distance <= 0 or var <= 0:
        raise InputError(f"d={d}, distance={distance}, var={var}; all must be positive.")
    mu = np.zeros((2, d))
    mu[:, 0] = distance, -distance
    return Mixture(np.full(2, 0.5), mu, np.full(2, var), np.arange(2))


def hierarchy_mixture(*, far: float = 6.0, near: float = 1.5, sd: float = 0.5) -> Mixture:
    """Four equal classes (+-far, +-near) in two dimensions: superclass first, then class."""
    signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    return Mixture(
        np.full(4, 0.25), signs * np.array([far, near]), np.full(4, sd**2), np.arange(4)
    )


def three_class_mixture() -> Mixture:
    """Three unequal classes on a triangle in two dimensions, standard deviation 0.5."""
    means = np.array([[3.0, 0.0], [-1.5, 2.6], [-1.5, -2.6]])
    return Mixture(np.array([0.5, 0.3, 0.2]), means, np.full(3, 0.25), np.arange(3))


def binary_entropy(snr: float) -> float:
    """Return H(class | state) of a binary mixture, nats, equation (1).

    Examples
    --------
    >>> round(binary_entropy(1.0), 6)
    0.356316
    """
    loss = np.logaddexp(0.0, -2 * snr - 2 * np.sqrt(snr) * NODES)
    return float(np.trapezoid(loss * WEIGHT, NODES))


def binary_mmse(snr: float) -> float:
    """Return the mean squared error of the class sign, equation (2), 1 at snr = 0."""
    return float(np.trapezoid((1 - np.tanh(snr + np.sqrt(snr) * NODES)) * WEIGHT, NODES))


def binary_surprise_variance(snr: float) -> float:
    """Return Var[-ln p(class | state)] of a binary mixture, nats squared."""
    loss = np.logaddexp(0.0, -2 * snr - 2 * np.sqrt(snr) * NODES)
    second = float(np.trapezoid(loss**2 * WEIGHT, NODES))
    return second - binary_entropy(snr) ** 2
