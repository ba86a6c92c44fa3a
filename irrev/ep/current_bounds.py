"""Other bounds on entropy production from one current, for comparison with the learned force.

With J = d(xm) . dx of one step of length dt:

    tur      2 <J>^2 / (dt Var J)              scale-free; equality for d proportional to f  (1)
    neep     <J - e^{-J} + 1> / dt             needs the right scale of d                    (2)
    simple   (2 <J> - Var J / 2) / dt          the force loss with D measured                (3)

All three are lower bounds of the entropy production rate for dt -> 0. (1) and (3) share the
finite-dt bias of second moments. A scale-free optimum of (1) is rescaled by 2 <J> / Var J.

Sources: (1) S. Otsubo et al., Phys. Rev. E 101, 062106 (2020); (2) D.-K. Kim et al., Phys. Rev.
Lett. 125, 140604 (2020).
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from irrev.ep.currents import Field
from irrev.ep.steps import Tracks, steps_of, tracks_from


@dataclass(frozen=True, slots=True)
class CurrentBounds:
    """Bounds from one current, nats per time."""

    tur: float
    neep: float
    simple: float
    scale: float  # factor that makes the weights a force: 2 <J> / Var J


def current_bounds(
    x: ArrayLike | xr.Dataset | Tracks, weights: Field, *, dt: float | None = None
) -> CurrentBounds:
    """Evaluate the three bounds, eqs. (1-3), for given weights d(x, t).

    Parameters
    ----------
    x, dt
        As in `irrev.learn_ep`; not the data that the weights were learned from.
    weights
        d(x, t), shape (step, dim).
    """
    tracks = tracks_from(x, dt=dt)
    total, square, neep, n = 0.0, 0.0, 0.0, 0
    for steps in steps_of(tracks):
        J = np.einsum("nj,nj->n", weights(steps.mid, steps.time), steps.dx)
        total += float(J.sum())
        square += float((J**2).sum())
        neep += float(np.sum(J - np.expm1(-J)))
        n += steps.size
    mean = total / n
    var = square / n - mean**2
    return CurrentBounds(
        tur=2 * mean**2 / (tracks.dt * var),
        neep=neep / n / tracks.dt,
        simple=(2 * mean - 0.5 * var) / tracks.dt,
        scale=2 * mean / var,
    )
