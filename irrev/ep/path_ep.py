"""Entropy production of single trajectories, also away from steady state.

    ds = int f o dx - int h dt,   h = d_t ln p(x, t)                                      (1)

The mean of h is zero, so the mean entropy production does not need it; each trajectory does. h is
learned by a loss that is quadratic in h and linear in a current of its gradient,

    L_h = sum <h(xm, tm)^2> dt - 2 sum <h(x_{i+1}, tm) - h(x_i, tm)>                       (2)

and the same quadrature (midpoint) serves (2) and the sum of (1): mixing two rules costs a bias of
O(dt) in the fluctuation theorem. Midpoints are narrower than either end (variance less by D dt/2),
so functions of time alone belong into the basis of h: they force sum <h> dt = 0. For an exact h
use the trapezoid rule instead. The test is the integral fluctuation theorem <exp(-ds)> = 1; its
average is carried by rare negative values once ds exceeds about 5, where it says nothing.

Source: Lyu, Ray, Crutchfield, arXiv:2504.19007, reach per-trajectory entropy production; the form
(1, 2) was derived here. Integral fluctuation theorem: U. Seifert, Phys. Rev. Lett. 95, 040602
(2005).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from irrev.ep.currents import (
    Diffusion,
    Field,
    Force,
    normal_equations,
    one_cell,
    summarise,
)
from irrev.ep.features import Basis
from irrev.ep.steps import Array, Tracks, add_up, steps_of, tracks_from
from irrev.errors import InputError

ScalarField = Callable[[Array, Array], Array]  # (point, dim), (point,) -> (point,)

DOMINANT = 0.1  # share of the average that one trajectory may carry
RARE = 5.0  # mean entropy production above which exp(-ds) is carried by rare trajectories


@dataclass(frozen=True, slots=True)
class Scalar:
    """h(x, t) = sum_m c_m psi_m(x, t)."""

    basis: Basis
    c: Array  # (function,)

    def __call__(self, x: Array, t: Array) -> Array:
        """Evaluate at positions (point, dim) and times (point,), shape (point,)."""
        return self.basis(x, t) @ self.c


@dataclass(frozen=True, slots=True)
class PathEp:
    """Entropy production of each trajectory with its fluctuation-theorem average."""

    ep: Array  # (trajectory,) nats
    without_h: Array  # (trajectory,) the current alone, nats
    ift: float  # <exp(-ep)>, 1 if all is right
    ift_error: float  # standard error
    reliable: bool  # whether rare values leave the average meaningful

    @classmethod
    def of(cls, ep: Array, without_h: Array) -> "PathEp":
        """Add the fluctuation-theorem average to the values of single trajectories."""
        weight = np.exp(-ep)
        return cls(
            ep=ep,
            without_h=without_h,
            ift=float(weight.mean()),
            ift_error=float(weight.std() / np.sqrt(len(weight))),
            reliable=bool(ep.mean() < RARE and weight.max() < DOMINANT * weight.sum()),
        )

    @property
    def mean(self) -> float:
        """Mean entropy production, nats per trajectory."""
        return float(self.ep.mean())

    @property
    def holds(self) -> bool:
        """Whether the theorem holds within three standard errors."""
        return self.reliable and abs(self.ift - 1) <= 3 * self.ift_error


def learn_force(
    x: ArrayLike | xr.Dataset | Tracks,
    basis: Basis,
    diffusion: Diffusion,
    *,
    dt: float | None = None,
    ridge: float = 0.0,
) -> Force:
    """Fit the thermodynamic force to all steps, without holding anything out.

    Parameters
    ----------
    x, dt
        As in `irrev.learn_ep`.
    basis
        Functions of position and time.
    diffusion
        Matrix (dim, dim), function of position, or "moments".
    ridge
        Relative to the mean eigenvalue of the normal equations.
    """
    tracks, cells = tracks_from(x, dt=dt), one_cell()
    parts = [summarise(steps, basis, diffusion, cells) for steps in steps_of(tracks)]
    b = np.sum([p.b[0] for p in parts], axis=0)
    products = np.sum([p.products[0] for p in parts], axis=0)
    return Force(basis, normal_equations(products, diffusion, tracks.dim).solve(b, ridge))


def learn_temporal_score(
    x: ArrayLike | xr.Dataset | Tracks,
    basis: Basis,
    *,
    dt: float | None = None,
    ridge: float = 0.0,
) -> Scalar:
    """Fit h = d_t ln p to all steps, eq. (2).

    Parameters
    ----------
    x, dt
        As in `irrev.learn_ep`; times count from the first frame of the record.
    basis
        Functions of position and time; keep those of time alone.
    ridge
        Relative to the mean eigenvalue of the normal equations.
    """
    tracks = tracks_from(x, dt=dt)
    products, rhs = np.zeros((basis.size, basis.size)), np.zeros((basis.size, 1))
    for steps in steps_of(tracks):
        psi = basis(steps.mid, steps.time)
        products += psi.T @ psi * steps.dt
        change = basis(steps.stop, steps.time) - basis(steps.start, steps.time)
        rhs[:, 0] += change.sum(axis=0)
    normal = normal_equations(products, np.eye(1), 1)
    return Scalar(basis, normal.solve(rhs, ridge)[:, 0])


def path_ep(
    x: ArrayLike | xr.Dataset | Tracks,
    force: Field,
    temporal_score: ScalarField | None = None,
    *,
    dt: float | None = None,
    exact: bool = False,
) -> PathEp:
    """Measure eq. (1) on each trajectory.

    Parameters
    ----------
    x, dt
        As in `irrev.learn_ep`; not the data that the fields were learned from.
    force
        f(x, t), shape (point, dim).
    temporal_score
        h(x, t), shape (point,); None in a steady state.
    exact
        Whether h is exact: then its integral is taken by the trapezoid rule.

    Raises
    ------
    InputError
        If a trajectory has no step.
    """
    tracks = tracks_from(x, dt=dt)
    current, integral = np.zeros(tracks.n), np.zeros(tracks.n)
    seen = np.zeros(tracks.n)
    for steps in steps_of(tracks):
        work = np.einsum("nj,nj->n", force(steps.mid, steps.time), steps.dx)
        current += add_up(steps.owner, tracks.n, work)
        seen += add_up(steps.owner, tracks.n)
        if temporal_score is not None:
            h = _mean_score(temporal_score, steps.start, steps.stop, steps.time, steps.dt, exact)
            integral += add_up(steps.owner, tracks.n, h * steps.dt)
    if not seen.all():
        raise InputError(f"trajectory {int(np.argmin(seen))} has no step; drop it.")
    return PathEp.of(current - integral, current)


def _mean_score(
    h: ScalarField, start: Array, stop: Array, time: Array, dt: float, exact: bool
) -> Array:
    if not exact:
        return h(0.5 * (start + stop), time)
    return 0.5 * (h(start, time - 0.5 * dt) + h(stop, time + 0.5 * dt))
