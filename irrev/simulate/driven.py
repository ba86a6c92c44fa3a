"""Driven one-dimensional systems away from steady state, with their exact entropy production.

    trap            dx = -m k (x - c) dt + sqrt(2 m T) dW; stiffness k and centre c are controls
    quartic well    U = a x^4 - b x^2 - c x; b and c are controls                            (1)
    breathing trap  dx = -x/(1 + t) dt + sqrt(2) dW, x0 ~ N(0, 1):
        S(t) = (3 + 6t + 6t^2 + 2t^3)/(3 (1 + t)^2),   S' = 2 - 2S/(1 + t)
        f = (1/S - 1/(1 + t)) x,   h = d_t ln p = -S'/(2S) + x^2 S'/(2 S^2)
        EPR = t^2 (3 + 3t + t^2)^2 / (3 (1 + t)^4 (3 + 6t + 6t^2 + 2t^3))                    (2)
    moved trap      speed v from equilibrium, r = m k, D = m T:
        f = v (1 - e^{-rt})/D,
        EP(t) = (v^2/D)(t - 2(1 - e^{-rt})/r + (1 - e^{-2rt})/(2r))                          (3)
    quench          start variance s times the equilibrium one, K(s) = (s - 1 - ln s)/2:
        EP(t) = K(s) - K(1 + (s - 1) e^{-2 m k t})                                           (4)

Units: k_B = 1, EP in nats. Source: U. Seifert, Rep. Prog. Phys. 75, 126001 (2012) for the
framework; the worked cases derived here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import quad

from irrev.simulate.chains import Array
from irrev.simulate.langevin import Force, Overdamped, Underdamped
from irrev.simulate.ou import AffineChain, GaussianStart, exact_ou, gaussian_start
from irrev.simulate.systems import TABLE, TableStart

REACH = 12.0  # the well's start density is tabulated where U - min U < about 12^2 / 2 kT


def trap_drift(xp: ModuleType) -> Force:
    """Force -m k (x - c); controls (k, c), parameter m."""

    def force(x: Any, c: Any, out: Any) -> None:
        out[0] = -c[2] * c[0] * (x[0] - c[1])

    return force


def quartic_drift(xp: ModuleType) -> Force:
    """Force -m U' of eq. (1); controls (b, c), parameters (a, m)."""

    def force(x: Any, c: Any, out: Any) -> None:
        y = x[0]
        out[0] = c[3] * (c[1] + y * (2.0 * c[0] - 4.0 * c[2] * y * y))

    def fused(x: Any, c: Any, out: Any) -> None:
        y, push = x[0], out[0]
        tilt, slope = y.new_tensor([c[3] * c[1], 2.0 * c[3] * c[0]])
        xp.addcmul(slope, y, y, value=-4.0 * c[3] * c[2], out=push)
        xp.addcmul(tilt, y, push, out=push)

    return fused if hasattr(xp, "addcmul") else force  # torch: two passes instead of seven


def trap(
    *,
    stiffness: float = 1.0,
    centre: float = 0.0,
    mobility: float = 1.0,
    kT: float = 1.0,
    start_var: float | None = None,
) -> Overdamped:
    """Harmonic trap with controls (stiffness, centre), started at equilibrium of the given ones.

    Parameters
    ----------
    stiffness, centre
        Values of the controls at the start.
    mobility, kT
        Constants; the diffusion coefficient is their product.
    start_var
        Variance of the start instead of kT / stiffness: a quench.
    """
    var = kT / stiffness if start_var is None else start_var
    return Overdamped(
        "trap",
        1,
        trap_drift,
        (mobility * kT,),
        gaussian_start([centre], [[var]]),
        controls=(stiffness, centre),
        parameters=(mobility,),
    )


def heavy_trap(
    *,
    stiffness: float = 1.0,
    centre: float = 0.0,
    mass: float = 1.0,
    friction: float = 1.0,
    kT: float = 1.0,
) -> Underdamped:
    """Harmonic trap of a particle with inertia, controls (stiffness, centre), at equilibrium."""
    cov = np.diag([kT / stiffness, kT / mass])
    return Underdamped(
        "heavy trap",
        1,
        trap_drift,
        mass,
        friction,
        (kT,),
        gaussian_start([centre, 0.0], cov),
        controls=(stiffness, centre),
        parameters=(1.0,),
    )


def double_well(
    *,
    quartic: float = 4.0,
    quadratic: float = 8.0,
    tilt: float = 0.0,
    mobility: float = 1.0,
    kT: float = 1.0,
) -> Overdamped:
    """Double well of eq. (1) with controls (quadratic, tilt), started at equilibrium."""
    return Overdamped(
        "double well",
        1,
        quartic_drift,
        (mobility * kT,),
        quartic_start(quartic, quadratic, tilt, kT),
        controls=(quadratic, tilt),
        parameters=(quartic, mobility),
    )


def heavy_double_well(
    *,
    quartic: float = 4.0,
    quadratic: float = 8.0,
    tilt: float = 0.0,
    mass: float = 1.0,
    friction: float = 1.0,
    kT: float = 1.0,
) -> Underdamped:
    """Double well of a particle with inertia, controls (quadratic, tilt), at equilibrium."""
    return Underdamped(
        "heavy double well",
        1,
        quartic_drift,
        mass,
        friction,
        (kT,),
        PhaseStart(quartic_start(quartic, quadratic, tilt, kT), float(np.sqrt(kT / mass))),
        controls=(quadratic, tilt),
        parameters=(quartic, 1.0),
    )


@dataclass(frozen=True)
class PhaseStart:
    """Positions from a table, velocities from the thermal law."""

    positions: TableStart
    thermal_speed: float

    def __call__(self, rng: np.random.Generator, n: int) -> Array:
        """Draw shape (2, n)."""
        x = self.positions(rng, n)
        return np.vstack([x, self.thermal_speed * rng.standard_normal((1, n))])


def quartic_start(quartic: float, quadratic: float, tilt: float, kT: float) -> TableStart:
    """Equilibrium positions in U = a x^4 - b x^2 - c x, tabulated where the density matters."""
    inner = np.roots([4 * quartic, 0.0, -2 * quadratic, -tilt])
    flat = np.asarray(inner.real[np.abs(inner.imag) < 1e-9], dtype=np.float64)

    def energy(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return quartic * x**4 - quadratic * x**2 - tilt * x

    lowest = float(energy(flat).min())
    edges = np.roots([quartic, 0.0, -quadratic, -tilt, -lowest - 0.5 * REACH**2 * kT])
    reach = edges.real[np.abs(edges.imag) < 1e-9]
    nodes = np.linspace(reach.min(), reach.max(), 4 * TABLE)
    return TableStart(nodes, np.exp(-(energy(nodes) - lowest) / kT))


# --- breathing trap, eq. (2) ------------------------------------------------------------------


@dataclass(frozen=True)
class BreathingTrap:
    """Trap that softens in time; every quantity is exact."""

    def variance(self, t: ArrayLike) -> Array:
        """S(t)."""
        t = np.asarray(t, dtype=np.float64)
        return (3 + 6 * t + 6 * t**2 + 2 * t**3) / (3 * (1 + t) ** 2)

    def variance_rate(self, t: ArrayLike) -> Array:
        """dS/dt."""
        t = np.asarray(t, dtype=np.float64)
        return 2 - 2 * self.variance(t) / (1 + t)

    def force(self, x: NDArray[np.floating], t: ArrayLike) -> Array:
        """Thermodynamic force f(x, t)."""
        t = np.asarray(t, dtype=np.float64)
        return (1 / self.variance(t) - 1 / (1 + t)) * np.asarray(x)

    def temporal_score(self, x: NDArray[np.floating], t: ArrayLike) -> Array:
        """h(x, t) = d_t ln p."""
        S, rate = self.variance(t), self.variance_rate(t)
        return -rate / (2 * S) + np.asarray(x) ** 2 * rate / (2 * S**2)

    def log_density(self, x: NDArray[np.floating], t: ArrayLike) -> Array:
        """Exact ln p(x, t)."""
        S = self.variance(t)
        return -0.5 * np.log(2 * np.pi * S) - np.asarray(x) ** 2 / (2 * S)

    def ep_rate(self, t: ArrayLike) -> Array:
        """Exact entropy production rate at time t, nats per time."""
        t = np.asarray(t, dtype=np.float64)
        top = t**2 * (3 + 3 * t + t**2) ** 2
        return top / (3 * (1 + t) ** 4 * (3 + 6 * t + 6 * t**2 + 2 * t**3))

    def ep(self, duration: float) -> float:
        """Exact entropy production over [0, duration], nats."""
        return float(quad(self.ep_rate, 0.0, duration, epsabs=1e-13, epsrel=1e-13)[0])

    def chain(self, dt: float, n_steps: int) -> AffineChain:
        """Exact sampler over [0, n_steps dt]."""
        edges = 1 + dt * np.arange(n_steps + 1)
        before, after = edges[:-1], edges[1:]
        roots = np.sqrt(2 * (after**3 - before**3) / 3) / after
        return _one_dimension(dt, gaussian_start([0.0], [[1.0]]), before / after, 0.0, roots)

    def system(self) -> Overdamped:
        """Return the equation for the stepped schemes; its protocol is `controls`."""
        return trap()

    def controls(self, dt: float, n_steps: int) -> Array:
        """Stiffness 1/(1 + t) and centre 0 at the start of each step, (n_steps, 2)."""
        t = dt * np.arange(n_steps)
        return np.stack([1 / (1 + t), np.zeros(n_steps)], axis=1)


# --- moved trap and quench, eqs. (3, 4) ---------------------------------------------------------


@dataclass(frozen=True)
class MovedTrap:
    """Trap moved at constant speed from equilibrium."""

    stiffness: float = 1.0
    mobility: float = 1.0
    kT: float = 1.0  # noqa: N815
    speed: float = 1.0

    def force(self, t: ArrayLike) -> Array:
        """Thermodynamic force, the same at every position."""
        r = self.mobility * self.stiffness
        lag = -np.expm1(-r * np.asarray(t, dtype=np.float64))
        return self.speed * lag / (self.mobility * self.kT)

    def ep(self, duration: float) -> float:
        """Exact entropy production over [0, duration], nats."""
        r, D = self.mobility * self.stiffness, self.mobility * self.kT
        once, twice = -np.expm1(-r * duration), -np.expm1(-2 * r * duration)
        return float(self.speed**2 / D * (duration - 2 * once / r + twice / (2 * r)))

    def chain(self, dt: float, n_steps: int) -> AffineChain:
        """Exact sampler in the laboratory frame over [0, n_steps dt]."""
        r = self.mobility * self.stiffness
        keep = np.exp(-r * dt)
        t = dt * np.arange(n_steps)
        # In the frame of the trap: y' = keep y - v (1 - keep)/r.
        shift = self.speed * (t + dt - keep * t - (1 - keep) / r)
        var = self.kT / self.stiffness
        root = np.sqrt(var * (1 - keep**2))
        return _one_dimension(dt, gaussian_start([0.0], [[var]]), keep, shift, root)


@dataclass(frozen=True)
class Quench:
    """Relaxation of a wrong variance in a fixed trap."""

    ratio: float = 4.0  # start variance over equilibrium variance
    stiffness: float = 1.0
    mobility: float = 1.0
    kT: float = 1.0  # noqa: N815

    def ep(self, duration: float) -> float:
        """Exact entropy production over [0, duration], nats."""
        keep = np.exp(-2 * self.mobility * self.stiffness * duration)
        return float(_excess(self.ratio) - _excess(1 + (self.ratio - 1) * keep))

    def chain(self, dt: float) -> AffineChain:
        """Exact sampler at spacing dt."""
        var = self.kT / self.stiffness
        return exact_ou(
            [[-self.mobility * self.stiffness]],
            [[self.mobility * self.kT]],
            dt=dt,
            start=gaussian_start([0.0], [[self.ratio * var]]),
        )


def _excess(ratio: float) -> float:
    return 0.5 * (ratio - 1 - float(np.log(ratio)))


def _one_dimension(
    dt: float,
    start: GaussianStart,
    moves: ArrayLike,
    shifts: ArrayLike,
    roots: ArrayLike,
) -> AffineChain:
    P, q, L = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(a, float)) for a in (moves, shifts, roots))
    )
    tables: Sequence[Array] = [np.ascontiguousarray(a) for a in (P, q, L)]
    return AffineChain(
        1,
        dt,
        len(P) if len(P) > 1 else None,
        start,
        tables[0][:, None, None],
        tables[1][:, None],
        tables[2][:, None, None],
    )
