"""Langevin systems whose entropy production is known: linear and ring systems at steady state.

Linear (dx = A x dt + sqrt(2 D) dW):

    rotation   A = [[-k, w], [-w, -k]], D = D0 1               EPR = 2 w^2 / k            (1)
    gyrator    A = -[[a, u], [w, b]], D = diag(D1, D2)
               EPR = (u D2 - w D1)^2 / (D1 D2 (a + b))                                    (2)
    chain      beads between two walls, springs k, friction g, temperatures linear from
               hot to cold: A = (k/g) tridiag(1, -2, 1), D = T/g                          (3)
    oscillators  two coupled underdamped oscillators in two baths
               heat J = c^2 g (T1 - T2) / (2 (c^2 + (k + c) g^2)), EPR = J (1/T2 - 1/T1)  (4)

Ring of length 2 pi: dx = (F + V0 sin x) dt + sqrt(2 T) dW, U(x) = V0 cos x - F x,

    v = 2 pi T (1 - e^{-2 pi F/T}) / int_0^{2 pi} dx int_x^{x + 2 pi} dy e^{(U(y) - U(x))/T}
    EPR = F v / T,   f = v / (2 pi T p(x))                                                (5)

Units: k_B = 1, nats per time. Driven, non-stationary systems: `irrev.simulate.driven`.

Sources: U. Seifert, Rep. Prog. Phys. 75, 126001 (2012) for (1, 2, 5); the five-bead chain is the
worked system of Lyu, Ray, Crutchfield, arXiv:2504.19007; (4) in units m = 1, derived here.
"""

import functools
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irrev.errors import InputError
from irrev.simulate.chains import Array
from irrev.simulate.langevin import Force, Overdamped
from irrev.simulate.ou import (
    AffineChain,
    exact_ou,
    finite_dt_ep_rate,
    gaussian_start,
    linear_ep_rate,
    linear_force,
    stationary_cov,
)

TABLE = 4096  # nodes of tabulated densities; the trapezoid rule is spectral on a ring


@dataclass(frozen=True)
class LinearSystem:
    """A stationary linear equation with its exact entropy production."""

    name: str
    drift: Array  # A, (dim, dim)
    diffusion: Array  # D, (dim, dim)

    @property
    def ep_rate(self) -> float:
        """Exact entropy production rate, nats per time."""
        return linear_ep_rate(self.drift, self.diffusion)

    @property
    def cov(self) -> Array:
        """Stationary covariance, (dim, dim)."""
        return stationary_cov(self.drift, self.diffusion)

    @property
    def force(self) -> Array:
        """Matrix M of the thermodynamic force f = M x."""
        return linear_force(self.drift, self.diffusion)

    def finite_dt_ep_rate(self, dt: float, *, fitted: bool = False) -> float:
        """Compute what midpoint currents measure at interval dt; see `irrev.simulate.ou`."""
        return finite_dt_ep_rate(self.drift, self.diffusion, dt=dt, fitted=fitted)

    def chain(self, dt: float) -> AffineChain:
        """Exact sampler at spacing dt, started in the steady state."""
        return exact_ou(self.drift, self.diffusion, dt=dt)

    def system(self) -> Overdamped:
        """Return the equation for the stepped schemes; D must be diagonal."""
        variances = np.diag(self.diffusion)
        if np.any(self.diffusion != np.diag(variances)):
            raise InputError(f"{self.name}: D has off-diagonal terms; use `chain`.")
        return Overdamped(
            self.name,
            len(self.drift),
            linear_drift,
            tuple(map(float, variances)),
            gaussian_start(np.zeros(len(self.drift)), self.cov),
            controls=tuple(map(float, self.drift.ravel())),
        )


def rotation(*, rate: float = 1.0, omega: float = 2.0, diffusion: float = 1.0) -> LinearSystem:
    """Rotational Ornstein-Uhlenbeck process in the plane, eq. (1).

    Examples
    --------
    >>> round(rotation(rate=1.0, omega=2.0).ep_rate, 12)
    8.0
    """
    drift = np.array([[-rate, omega], [-omega, -rate]])
    return LinearSystem("rotation", drift, diffusion * np.eye(2))


def gyrator(
    *,
    a: float = 1.5,
    b: float = 1.5,
    u: float = -0.5,
    w: float = -0.5,
    diffusion: tuple[float, float] = (1.0, 0.1),
) -> LinearSystem:
    """Brownian gyrator: one particle coupled to two baths, eq. (2)."""
    return LinearSystem("gyrator", -np.array([[a, u], [w, b]]), np.diag(diffusion))


def bead_chain(
    n_beads: int = 5,
    *,
    hot: float = 10.0,
    cold: float = 1.0,
    stiffness: float = 1.0,
    friction: float = 1.0,
) -> LinearSystem:
    """Beads in a line between two walls, each in its own bath, eq. (3)."""
    matrix = np.eye(n_beads, k=1) + np.eye(n_beads, k=-1) - 2.0 * np.eye(n_beads)
    baths = np.diag(np.linspace(hot, cold, n_beads)) / friction
    return LinearSystem(f"chain{n_beads}", stiffness / friction * matrix, baths)


@dataclass(frozen=True)
class Oscillators:
    """Two coupled oscillators of mass 1; state (x1, x2, v1, v2), eq. (4)."""

    stiffness: float = 1.0
    coupling: float = 1.0
    friction: float = 1.0
    kT: tuple[float, float] = (2.0, 1.0)  # noqa: N815

    @property
    def drift(self) -> Array:
        """Matrix A of the linear equation, (4, 4)."""
        k, c = self.stiffness, self.coupling
        pull = np.array([[-(k + c), c], [c, -(k + c)]])
        top = np.hstack([np.zeros((2, 2)), np.eye(2)])
        return np.vstack([top, np.hstack([pull, -self.friction * np.eye(2)])])

    @property
    def diffusion(self) -> Array:
        """Matrix D, zero for the positions, (4, 4)."""
        return np.diag([0.0, 0.0, *(self.friction * t for t in self.kT)])

    @property
    def ep_rate(self) -> float:
        """Exact entropy production rate, nats per time."""
        k, c, g = self.stiffness, self.coupling, self.friction
        hot, cold = self.kT
        heat = c**2 * g * (hot - cold) / (2 * (c**2 + (k + c) * g**2))
        return heat * (1 / cold - 1 / hot)

    def chain(self, dt: float) -> AffineChain:
        """Exact sampler at spacing dt, started in the steady state."""
        return exact_ou(self.drift, self.diffusion, dt=dt)


# --- ring -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ring:
    """Driven particle on a ring of length 2 pi, eq. (5); positions are not wrapped."""

    drive: float = 1.0  # F
    height: float = 1.0  # V0
    kT: float = 1.0  # noqa: N815

    def energy(self, x: NDArray[np.floating]) -> Array:
        """U(x) = V0 cos x - F x."""
        x = np.asarray(x, dtype=np.float64)
        return self.height * np.cos(x) - self.drive * x

    @property
    def velocity(self) -> float:
        """Mean velocity v of eq. (5)."""
        ratio = -np.expm1(-2 * np.pi * self.drive / self.kT)
        return float(2 * np.pi * self.kT * ratio / (self._inner.mean() * 2 * np.pi))

    @property
    def ep_rate(self) -> float:
        """Exact entropy production rate, nats per time."""
        return self.drive * self.velocity / self.kT

    def density(self) -> tuple[Array, Array]:
        """Nodes x on [0, 2 pi) and the stationary density there."""
        inner = self._inner
        return self._nodes, inner / (inner.mean() * 2 * np.pi)

    def force(self, x: NDArray[np.floating]) -> Array:
        """Thermodynamic force f(x) by periodic interpolation of eq. (5)."""
        nodes, p = self.density()
        here = np.asarray(np.interp(x, nodes, p, period=2 * np.pi), dtype=np.float64)
        return np.asarray(self.velocity / (2 * np.pi * self.kT) / here, dtype=np.float64)

    @property
    def _nodes(self) -> Array:
        return np.linspace(0, 2 * np.pi, TABLE, endpoint=False)

    @functools.cached_property
    def _inner(self) -> Array:
        """int_x^{x + 2 pi} dy e^{(U(y) - U(x))/T} at the nodes; proportional to p."""
        x = self._nodes
        s, weight = np.polynomial.legendre.leggauss(200)  # exact for these entire functions
        s, weight = np.pi * (s + 1), np.pi * weight
        bend = np.cos(x[:, None] + s) - np.cos(x)[:, None]
        values = np.exp((self.height * bend - self.drive * s) / self.kT)
        return np.asarray(values @ weight, dtype=np.float64)

    def system(self) -> Overdamped:
        """Return the equation for the stepped schemes, started in the steady state."""
        nodes, p = self.density()
        return Overdamped(
            "ring",
            1,
            ring_drift,
            (self.kT,),
            TableStart(np.append(nodes, 2 * np.pi), np.append(p, p[0])),
            controls=(self.drive, self.height),
        )


@dataclass(frozen=True)
class TableStart:
    """Start positions from a tabulated density on a line, by inverting its integral."""

    nodes: Array  # (node,) ascending
    density: Array  # (node,) any scale

    def __call__(self, rng: np.random.Generator, n: int) -> Array:
        """Draw shape (1, n)."""
        steps = np.diff(self.nodes) * 0.5 * (self.density[1:] + self.density[:-1])
        integral = np.concatenate([[0.0], np.cumsum(steps)])
        return np.interp(rng.random(n), integral / integral[-1], self.nodes)[None]


# --- forces -----------------------------------------------------------------------------------


def linear_drift(xp: ModuleType) -> Force:
    """Force A x; controls are the rows of A one after another."""

    def force(x: Any, c: Any, out: Any) -> None:
        d = x.shape[0]
        for j in range(d):
            out[j] = c[j * d] * x[0]
            for k in range(1, d):
                out[j] += c[j * d + k] * x[k]

    return force


def ring_drift(xp: ModuleType) -> Force:
    """Force F + V0 sin x; controls (F, V0)."""

    def force(x: Any, c: Any, out: Any) -> None:
        out[0] = c[0] + c[1] * xp.sin(x[0])

    return force
