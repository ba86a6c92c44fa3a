"""Trajectories of Langevin equations driven by control parameters, block by block.

    overdamped    dx = F(x, c) dt + sqrt(2 D) dW                                     (1)
    underdamped   dx = v dt,  m dv = (F(x, c) - g v) dt + sqrt(2 g kT) dW            (2)

D, m, g, kT are constants per component; the controls c may change from step to step. Schemes:

    euler_maruyama   x' = x + F dt + sqrt(2 D dt) z                                  (3)
    kicks            v' = v + (F - g v) dt/m + sqrt(2 g kT dt)/m z;  x' = x + v' dt  (4)
    baoab            v += F dt/2m; x += v dt/2; v = a v + sqrt((1 - a^2) kT/m) z;
                     x += v dt/2; v += F dt/2m,   a = exp(-g dt/m)                   (5)

Choose dt with dt max|dF/dx| < 0.1; schemes (3, 4) are wrong by O(dt), (5) samples positions to
O(dt^2). In (3, 4) a change of a control acts through the noise alone, which is what response
estimators need; in (5) it does not. Run a chain with `irrev.simulate.chains`. Linear equations
need no dt at all: `irrev.simulate.ou`.

A force is written once, as a factory: `factory(xp)` returns `force(x, control, out)`, which fills
`out` from `x` (both of shape (dim, trajectory)) with functions of `xp` (numpy or torch). numba
compiles the same function; without numba the numpy path gives the same numbers to rounding.
For torch a factory may return the same force in fewer passes over memory.

Sources: E. Kloeden, E. Platen, Numerical Solution of SDEs (1992); B. Leimkuhler, C. Matthews,
Appl. Math. Res. Express 2013, 34 (2013) for (5).
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from irrev.errors import InputError
from irrev.simulate.chains import Array, Start, numba_module

Force = Callable[[Any, Any, Any], None]
ForceFactory = Callable[[ModuleType], Force]


@dataclass(frozen=True)
class Overdamped:
    """Equation (1)."""

    name: str
    dim: int
    force: ForceFactory  # the drift F, mobility included
    diffusion: tuple[float, ...]  # (dim,) x^2/s
    start: Start
    controls: tuple[float, ...] = ()  # values held when none are given
    parameters: tuple[float, ...] = ()  # constants that the force reads after its controls


@dataclass(frozen=True)
class Underdamped:
    """Equation (2); a state is (x, v), its dimension 2 dim."""

    name: str
    dim: int
    force: ForceFactory
    mass: float
    friction: float
    kT: tuple[float, ...]  # (dim,)  # noqa: N815
    start: Start  # draws shape (2 dim, n)
    controls: tuple[float, ...] = ()
    parameters: tuple[float, ...] = ()


@dataclass(frozen=True)
class SteppedChain:
    """Chain made of one of the schemes (3-5); build it with the functions below."""

    scheme: str
    dim: int
    dt: float
    n_steps: int | None
    force: ForceFactory
    start: Start
    controls: Array  # (1 or n_steps, control and parameter)
    coefficients: Array  # (row, component): what the scheme needs besides the force
    use_numba: bool

    @property
    def n_noise(self) -> int:
        """Normals a step and trajectory."""
        return self.coefficients.shape[1]

    def draw_start(self, rng: np.random.Generator, n: int) -> Array:
        """Draw start states, shape (dim, n)."""
        return np.ascontiguousarray(self.start(rng, n), dtype=np.float64)

    def advance(
        self, x: Array, rng: np.random.Generator, step: int, n_steps: int, out: Array, every: int
    ) -> None:
        """Move `x` in place; see `irrev.simulate.chains.Chain`."""
        if self.use_numba:
            force, run = _compiled(self.force, self.scheme)
            run(
                force, rng, x, self.controls, self.coefficients, self.dt, step, n_steps, out, every
            )
            return
        z = np.empty((self.n_noise, x.shape[1]))
        for j in range(step, step + n_steps):
            rng.standard_normal(out=z)
            x[:] = self.move(x, z, j)
            if (j + 1 - step) % every == 0:
                out[:, (j + 1 - step) // every - 1] = x.T

    def move(self, x: Array, z: Array, step: int) -> Array:
        """Return the state after one step with normals `z`, shape (noise component, n)."""
        c = self.controls[min(step, len(self.controls) - 1)]
        return MOVES[self.scheme](_python_force(self.force), x, z, c, self.coefficients, self.dt)


def euler_maruyama(
    system: Overdamped, *, dt: float, controls: ArrayLike | None = None, use_numba: bool = True
) -> SteppedChain:
    """Discretise an overdamped equation, eq. (3).

    Parameters
    ----------
    system
        Force, diffusion and start.
    dt
        Step, time units.
    controls
        Shape (control,) for constant values or (n_steps, control); default: the system's own.
    use_numba
        Compile when numba is there.

    Raises
    ------
    InputError
        If dt is not positive or the controls have another number of columns.
    """
    diffusion = np.asarray(system.diffusion, dtype=np.float64)
    rows = np.sqrt(2.0 * diffusion * dt)[None]
    return _chain("euler_maruyama", system, system.dim, dt, controls, rows, use_numba)


def kicks(
    system: Underdamped, *, dt: float, controls: ArrayLike | None = None, use_numba: bool = True
) -> SteppedChain:
    """Discretise an underdamped equation by noisy kicks, eq. (4); arguments as above."""
    kT = np.asarray(system.kT, dtype=np.float64)
    noise = np.sqrt(2.0 * system.friction * kT * dt) / system.mass
    rows = np.stack([np.full_like(kT, 1.0 - system.friction * dt / system.mass), noise])
    rows = np.vstack([rows, np.full_like(kT, dt / system.mass)])
    return _chain("kicks", system, 2 * system.dim, dt, controls, rows, use_numba)


def baoab(
    system: Underdamped, *, dt: float, controls: ArrayLike | None = None, use_numba: bool = True
) -> SteppedChain:
    """Discretise an underdamped equation symmetrically, eq. (5); arguments as above."""
    kT = np.asarray(system.kT, dtype=np.float64)
    a = np.exp(-system.friction * dt / system.mass)
    rows = np.stack([np.full_like(kT, a), np.sqrt((1.0 - a**2) * kT / system.mass)])
    rows = np.vstack([rows, np.full_like(kT, 0.5 * dt / system.mass)])
    return _chain("baoab", system, 2 * system.dim, dt, controls, rows, use_numba)


def _chain(
    scheme: str,
    system: Overdamped | Underdamped,
    dim: int,
    dt: float,
    controls: ArrayLike | None,
    rows: Array,
    use_numba: bool,
) -> SteppedChain:
    if not dt > 0:
        raise InputError(f"dt is {dt}; it must be positive.")
    given = system.controls if controls is None else controls
    table = np.atleast_2d(np.asarray(given, dtype=np.float64))
    if table.ndim != 2 or table.shape[1] != len(system.controls):
        raise InputError(
            f"controls have shape {table.shape}; {system.name} needs (n_steps, "
            f"{len(system.controls)})."
        )
    n_steps = None if len(table) == 1 else len(table)
    table = np.hstack([table, np.tile(np.asarray(system.parameters, float), (len(table), 1))])
    compiled = use_numba and numba_module() is not None
    return SteppedChain(
        scheme, dim, dt, n_steps, system.force, system.start, table, rows, compiled
    )


# --- numpy ------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def _python_force(factory: ForceFactory) -> Force:
    return factory(np)


def _euler_numpy(force: Force, x: Array, z: Array, c: Array, k: Array, dt: float) -> Array:
    drift = np.empty_like(x)
    force(x, c, drift)
    drift *= dt
    drift += k[0][:, None] * z
    drift += x
    return drift


def _kicks_numpy(force: Force, x: Array, z: Array, c: Array, k: Array, dt: float) -> Array:
    d = x.shape[0] // 2
    after = np.empty_like(x)
    push = np.empty_like(z)
    force(x[:d], c, push)
    after[d:] = k[0][:, None] * x[d:] + k[2][:, None] * push + k[1][:, None] * z
    after[:d] = x[:d] + after[d:] * dt
    return after


def _baoab_numpy(force: Force, x: Array, z: Array, c: Array, k: Array, dt: float) -> Array:
    d = x.shape[0] // 2
    after = x.copy()
    push = np.empty_like(z)
    force(after[:d], c, push)
    after[d:] += k[2][:, None] * push
    after[:d] += 0.5 * dt * after[d:]
    after[d:] = k[0][:, None] * after[d:] + k[1][:, None] * z
    after[:d] += 0.5 * dt * after[d:]
    force(after[:d], c, push)
    after[d:] += k[2][:, None] * push
    return after


MOVES = {"euler_maruyama": _euler_numpy, "kicks": _kicks_numpy, "baoab": _baoab_numpy}


# --- numba ------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _compiled(factory: ForceFactory, scheme: str) -> tuple[Any, Any]:
    from irrev.simulate import langevin_numba

    return langevin_numba.compile_force(factory), langevin_numba.RUNS[scheme]
