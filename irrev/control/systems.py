"""Tasks to drive at least cost: energies, end conditions, errors, and the exact bound of each.

    trap          U = k (x - c)^2 / 2      controls (k, c)
    quartic well  U = a x^4 - b x^2 - c x  controls (b, c)

A task starts at equilibrium of its start controls, holds one set of control values on each of
n_intervals equal intervals, and ends at its end controls, if it has any; jumps at both ends are
allowed. Moves are those of `irrev.simulate.langevin`: Euler-Maruyama (overdamped) or kicks
(underdamped), in which a control acts through the noise alone, as the response weight needs.

The double well of erasure is U = E (x^2 - 1)^2, so a = E, b = 2E at both ends; an error is a bit
in the left well at the end. Work below the bound by less than about dt times the largest curvature
is discretisation, not physics.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import numpy as np

from irrev.control.bounds import (
    Stiffening,
    delivery_optimum,
    delivery_work,
    translation_optimum,
    translation_work,
)
from irrev.control.checks import require_choice, require_physics, require_positive, require_way
from irrev.control.solved import Delivered, Solved, Stiffened, Translated
from irrev.control.targets import GRID, DistanceTo, LeftOf, MissedBy, Target, distance_to
from irrev.control.well_bound import well_bound
from irrev.errors import InputError
from irrev.simulate.chains import Array
from irrev.simulate.driven import double_well, heavy_trap, trap
from irrev.simulate.langevin import Overdamped, SteppedChain, Underdamped, euler_maruyama, kicks

Goal = Literal["well", "law"]
WELL_REACH = 3.0  # where laws of a bit are cut off: wells are at -1 and 1
MAX_STEP = 0.5  # largest dt times relaxation rate: beyond it the schemes are qualitatively wrong


class Energy(Protocol):
    """Potential energy U(x, c) and the derivatives that gradients need; x has shape (n,)."""

    def value(self, x: Array, c: Array) -> Array:
        """Return U, (n,)."""
        ...

    def slope(self, x: Array, c: Array) -> Array:
        """Return dU/dx, (n,)."""
        ...

    def curvature(self, x: Array, c: Array) -> Array:
        """Return d2U/dx2, (n,)."""
        ...

    def by_control(self, x: Array, c: Array) -> Array:
        """Return dU/dc, (control, n)."""
        ...

    def force_by_control(self, x: Array, c: Array) -> Array:
        """Return -d2U/dx dc, (control, n)."""
        ...


@dataclass(frozen=True)
class TrapEnergy:
    """Harmonic trap with controls (stiffness, centre)."""

    def value(self, x: Array, c: Array) -> Array:
        """Return U."""
        return 0.5 * c[0] * (x - c[1]) ** 2

    def slope(self, x: Array, c: Array) -> Array:
        """Return dU/dx."""
        return c[0] * (x - c[1])

    def curvature(self, x: Array, c: Array) -> Array:
        """Return d2U/dx2."""
        return np.full_like(x, c[0])

    def by_control(self, x: Array, c: Array) -> Array:
        """Return dU/dc."""
        y = x - c[1]
        return np.stack([0.5 * y * y, -c[0] * y])

    def force_by_control(self, x: Array, c: Array) -> Array:
        """Return dF/dc."""
        return np.stack([c[1] - x, np.full_like(x, c[0])])


@dataclass(frozen=True)
class QuarticEnergy:
    """Quartic well with controls (quadratic, tilt)."""

    quartic: float

    def value(self, x: Array, c: Array) -> Array:
        """Return U."""
        square = x * x
        return self.quartic * square * square - c[0] * square - c[1] * x

    def slope(self, x: Array, c: Array) -> Array:
        """Return dU/dx."""
        return 4 * self.quartic * x * x * x - 2 * c[0] * x - c[1]

    def curvature(self, x: Array, c: Array) -> Array:
        """Return d2U/dx2."""
        return 12 * self.quartic * x * x - 2 * c[0]

    def by_control(self, x: Array, c: Array) -> Array:
        """Return dU/dc."""
        return np.stack([-x * x, -x])

    def force_by_control(self, x: Array, c: Array) -> Array:
        """Return dF/dc."""
        return np.stack([2 * x, np.ones_like(x)])


@dataclass(frozen=True)
class ControlTask:
    """What to drive, from where to where, in which time; build it with the functions below."""

    name: str
    system: Overdamped | Underdamped
    energy: Energy
    mobility: float  # 1 / friction when underdamped
    start: tuple[float, ...]  # controls before the first jump
    end: tuple[float, ...] | None  # controls after the last jump; None: the last ones stay
    free: tuple[int, ...]  # controls that are optimised
    names: tuple[str, ...]  # of the free controls
    duration: float
    n_intervals: int
    substeps: int
    guess: Array  # (interval, free control)
    rate: float  # first step size of learning that suits it, in the control's unit
    error: Target | None = None
    bound: Callable[[Array], float] | None = None  # end positions -> least mean work
    solved: Solved | None = None  # exact means on the same chain, where there are any
    free_energy: float = 0.0  # of the end controls less that of the start controls

    def __post_init__(self) -> None:
        if not self.duration > 0 or self.n_intervals < 1 or self.substeps < 1:
            raise InputError(
                f"{self.name}: duration {self.duration}, {self.n_intervals} intervals of "
                f"{self.substeps} steps; all must be positive."
            )
        if self.step_size > MAX_STEP:
            raise InputError(
                f"{self.name}: dt = {self.dt:.3g} is {self.step_size:.2g} relaxation times at the "
                f"start; at most {MAX_STEP} is allowed, so take more substeps."
            )

    @property
    def dt(self) -> float:
        """Time of a step."""
        return self.duration / (self.n_intervals * self.substeps)

    @property
    def kT(self) -> float:  # noqa: N802
        """Temperature, energy units."""
        if isinstance(self.system, Underdamped):
            return self.system.kT[0]
        return self.system.diffusion[0] / self.mobility

    @property
    def step_size(self) -> float:
        """Step over the shortest relaxation time at the start's deepest point."""
        x = self.system.start(np.random.default_rng(0), 256)[0]
        bend = float(np.mean(np.abs(self.energy.curvature(x, np.asarray(self.start)))))
        if isinstance(self.system, Underdamped):
            fast = max(np.sqrt(bend / self.system.mass), self.system.friction / self.system.mass)
            return float(fast * self.dt)
        return self.mobility * bend * self.dt

    @property
    def weight_scale(self) -> float:
        """Factor of dF/dc z in the response weight of one step."""
        return float(np.sqrt(self.mobility * self.dt / (2 * self.kT)))

    def controls(self, values: Array) -> Array:
        """Full controls on each interval from the free ones, (interval, control)."""
        shape = (self.n_intervals, len(self.free))
        if np.shape(values) != shape or not np.all(np.isfinite(values)):
            raise InputError(
                f"{self.name}: values of shape {np.shape(values)}; give finite ones, "
                f"shape {shape} (interval, free control)."
            )
        table = np.tile(np.asarray(self.start, dtype=np.float64), (self.n_intervals, 1))
        table[:, list(self.free)] = values
        return table

    def table(self, values: Array) -> Array:
        """Full controls at the start, on each interval and at the end, (interval + 2, control)."""
        inner = self.controls(values)
        end = inner[-1] if self.end is None else np.asarray(self.end, dtype=np.float64)
        return np.vstack([np.asarray(self.start, dtype=np.float64), inner, end])

    def chain(self, values: Array) -> SteppedChain:
        """Discrete dynamics under a protocol, (interval, free control)."""
        table = np.repeat(self.controls(values), self.substeps, axis=0)
        if isinstance(self.system, Underdamped):
            return kicks(self.system, dt=self.dt, controls=table, use_numba=False)
        return euler_maruyama(self.system, dt=self.dt, controls=table, use_numba=False)


def _middles(n: int) -> Array:
    return (np.arange(n) + 0.5) / n


def translate_trap(
    distance: float = 1.0,
    duration: float = 1.0,
    *,
    stiffness: float = 1.0,
    mobility: float = 1.0,
    kT: float = 1.0,
    mass: float | None = None,
    n_intervals: int = 20,
    substeps: int = 10,
) -> ControlTask:
    """Move a trap from 0 to `distance`; underdamped with friction 1 / mobility if mass is given.

    The exact optimum is `irrev.control.bounds.translation_work`.
    """
    require_physics(duration, mobility, kT, n_intervals, substeps, stiffness=stiffness)
    require_way(distance=distance)
    if mass is None:
        system = trap(stiffness=stiffness, mobility=mobility, kT=kT)
    else:
        require_positive(mass=mass)
        system = heavy_trap(stiffness=stiffness, mass=mass, friction=1 / mobility, kT=kT)
    least = translation_work(distance, duration, stiffness=stiffness, mobility=mobility)
    physics = {"stiffness": stiffness, "mobility": mobility}
    exact = translation_optimum(
        distance, duration, n_intervals=n_intervals, substeps=substeps, mass=mass, **physics
    )
    solved = Translated(exact, distance, duration, stiffness * mobility, heavy=mass is not None)
    return ControlTask(
        "trap translation" if mass is None else "heavy trap translation",
        system,
        TrapEnergy(),
        mobility,
        (stiffness, 0.0),
        (stiffness, distance),
        (1,),
        ("centre",),
        duration,
        n_intervals,
        substeps,
        distance * _middles(n_intervals)[:, None],
        (0.05 if mass is None else 0.2) * abs(distance),  # kicks at the ends are large
        bound=partial(_always, least),
        solved=solved,
    )


def carry_particle(
    target: float = 1.0,
    duration: float = 1.0,
    *,
    stiffness: float = 1.0,
    mobility: float = 1.0,
    kT: float = 1.0,
    n_intervals: int = 20,
    substeps: int = 10,
) -> ControlTask:
    """Bring an overdamped particle from 0 to `target` with a trap that may end anywhere.

    The error is the squared distance of the mean end position from the target: work against
    error has an exact front, `irrev.control.bounds.delivery_work`.
    """
    require_physics(duration, mobility, kT, n_intervals, substeps, stiffness=stiffness)
    require_way(target=target)
    exact = delivery_optimum(
        target,
        duration,
        n_intervals=n_intervals,
        stiffness=stiffness,
        mobility=mobility,
        substeps=substeps,
    )
    return ControlTask(
        "particle delivery",
        trap(stiffness=stiffness, mobility=mobility, kT=kT),
        TrapEnergy(),
        mobility,
        (stiffness, 0.0),
        None,
        (1,),
        ("centre",),
        duration,
        n_intervals,
        substeps,
        target * _middles(n_intervals)[:, None],
        0.1 * abs(target),
        error=MissedBy(target),
        bound=partial(_least_delivery, target, duration, mobility),
        solved=Delivered(exact, duration, stiffness, mobility),
    )


def stiffen_trap(
    start: float = 1.0,
    end: float = 2.0,
    duration: float = 1.0,
    *,
    mobility: float = 1.0,
    kT: float = 1.0,
    n_intervals: int = 20,
    substeps: int = 10,
) -> ControlTask:
    """Change the stiffness of a trap; optimum `irrev.control.bounds.Stiffening`."""
    require_physics(duration, mobility, kT, n_intervals, substeps, start=start, end=end)
    case = Stiffening(start, end, duration, mobility, kT)
    return ControlTask(
        "stiffening trap",
        trap(stiffness=start, mobility=mobility, kT=kT),
        TrapEnergy(),
        mobility,
        (start, 0.0),
        (end, 0.0),
        (0,),
        ("stiffness",),
        duration,
        n_intervals,
        substeps,
        (start + (end - start) * _middles(n_intervals))[:, None],
        0.05 * min(start, end),
        bound=partial(_always, case.work),
        solved=Stiffened(case, n_intervals, substeps),
        free_energy=case.free_energy,
    )


def erase_bit(
    duration: float = 5.0,
    *,
    barrier: float = 4.0,
    mobility: float = 1.0,
    kT: float = 1.0,
    goal: Goal = "well",
    width: float | None = None,
    n_intervals: int = 20,
    substeps: int = 50,
) -> ControlTask:
    """Bring a bit in U = E (x^2 - 1)^2 to the right well with the controls (quadratic, tilt).

    The goal "well" asks for the probability of the right well alone; `width` smooths it for
    pathwise gradients. "law" asks for the local equilibrium of the right well: its error is the
    energy distance to it. The bound is `irrev.control.well_bound`: full control of the energy, any
    end with that probability.
    """
    require_physics(duration, mobility, kT, n_intervals, substeps, barrier=barrier)
    require_choice("goal", goal, Goal)
    if width is not None:
        require_positive(width=width)
    s = _middles(n_intervals)
    quadratic = 2 * barrier * (1 - 0.9 * np.sin(np.pi * s))
    tilt = 1.5 * barrier * np.sin(np.pi * s**0.8)
    ends = (2 * barrier, 0.0)
    return ControlTask(
        "bit erasure",
        double_well(quartic=barrier, quadratic=2 * barrier, mobility=mobility, kT=kT),
        QuarticEnergy(barrier),
        mobility,
        ends,
        ends,
        (0, 1),
        ("quadratic", "tilt"),
        duration,
        n_intervals,
        substeps,
        np.stack([quadratic, tilt], axis=1),
        0.05 * barrier,
        error=LeftOf(width) if goal == "well" else _right_well(barrier / kT),
        bound=partial(_least_erasure, duration, barrier, mobility, kT),
    )


def _right_well(barrier: float) -> DistanceTo:
    nodes = np.linspace(-WELL_REACH, WELL_REACH, GRID)
    density = np.exp(-barrier * (nodes**2 - 1) ** 2)
    return distance_to(nodes, np.where(nodes > 0, density, 0.0))


def _always(work: float, x: Array) -> float:
    return work


def _least_delivery(target: float, duration: float, mobility: float, x: Array) -> float:
    error = (float(x.mean()) - target) ** 2
    return delivery_work(error, target, duration, mobility=mobility)


def _least_erasure(duration: float, barrier: float, mobility: float, kT: float, x: Array) -> float:
    error = float(np.mean(x < 0))
    return well_bound(min(error, 0.5), duration, barrier=barrier, mobility=mobility, kT=kT)
