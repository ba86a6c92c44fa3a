"""What a task asks of the end positions: an error, as a number and as one of each trajectory.

    share      E = <1(x < 0)>                                   wrong well of a bit           (1)
    delivery   E = (<x> - a)^2                                  missed target                 (2)
    distance   E = 2 int (F(x) - F*(x))^2 dx                    energy distance of laws       (3)

A gradient needs an error e(x) of each trajectory. For (1) that is the indicator. (2, 3) are
functions of the law of x, so e is their derivative at a law: e = E + 2 (<x> - a)(x - <x>) for (2),
and for (3), with F the distribution function of x and F* of the target,

    e(x) = E + 4 int (F(y) - F*(y)) (1(x <= y) - F(y)) dy                                     (4)

taken at the law of the sample before, which is independent of the present one. Sums over blocks
(`summary`) are all that a law leaves behind, so blocks merge in any cut.

Source of (3): G. Szekely, M. Rizzo, J. Stat. Plan. Inference 143, 1249 (2013).
"""

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Array = NDArray[np.float64]

GRID = 400  # nodes of a law: the error of (3) is about (range / GRID)^2


class Target(Protocol):
    """Error of end positions x, shape (n,)."""

    @property
    def is_share(self) -> bool:
        """Say whether the error is the probability of an event."""
        ...

    def __call__(self, x: Array) -> Array:
        """Return the error of each trajectory, (n,)."""
        ...

    def slope(self, x: Array) -> Array:
        """Return its derivative for pathwise gradients, (n,)."""
        ...

    def summary(self, x: Array) -> Array:
        """Return what adds up over blocks and gives the law of x as far as the error needs it."""
        ...

    def value(self, summary: Array) -> float:
        """Return the error of a law."""
        ...

    def about(self, summary: Array) -> "Target":
        """Return the same target with its derivative taken at this law."""
        ...


@dataclass(frozen=True)
class LeftOf:
    """Eq. (1): a bit whose x is below zero at the end.

    `width` smooths the step for pathwise gradients only; None keeps the step, whose slope is zero
    almost everywhere.
    """

    width: float | None = None
    is_share: bool = field(default=True, init=False)

    def __call__(self, x: Array) -> Array:
        """Return 1 where x < 0 else 0."""
        return (x < 0).astype(np.float64)

    def slope(self, x: Array) -> Array:
        """Return the derivative of the smoothed step."""
        if self.width is None:
            return np.zeros_like(x)
        s = expit(-x / self.width)
        return -s * (1 - s) / self.width

    def summary(self, x: Array) -> Array:
        """Return number and errors."""
        return np.array([x.size, np.count_nonzero(x < 0)], dtype=np.float64)

    def value(self, summary: Array) -> float:
        """Return the share of errors."""
        return float(summary[1] / summary[0])

    def about(self, summary: Array) -> "LeftOf":
        """Return itself: the error is linear in the law."""
        return self


@dataclass(frozen=True)
class MissedBy:
    """Eq. (2): squared distance of the mean end position from a target."""

    target: float
    mean: float = 0.0  # of the law at which the derivative is taken
    is_share: bool = field(default=False, init=False)

    def __call__(self, x: Array) -> Array:
        """Return the linear error; single values may be negative."""
        miss = self.mean - self.target
        return miss**2 + 2 * miss * (x - self.mean)

    def slope(self, x: Array) -> Array:
        """Return its derivative."""
        return np.full_like(x, 2 * (self.mean - self.target))

    def summary(self, x: Array) -> Array:
        """Return number and sum."""
        return np.array([x.size, x.sum()], dtype=np.float64)

    def value(self, summary: Array) -> float:
        """Return the squared distance."""
        return float((summary[1] / summary[0] - self.target) ** 2)

    def about(self, summary: Array) -> "MissedBy":
        """Take the derivative at this mean."""
        return replace(self, mean=float(summary[1] / summary[0]))


@dataclass(frozen=True)
class DistanceTo:
    """Eq. (3): energy distance to a law given by its distribution function on a grid."""

    nodes: Array  # (GRID,), equally spaced; positions beyond count as the ends
    wanted: Array  # (GRID,) F* at the nodes
    present: Array  # (GRID,) F at which the derivative is taken
    is_share: bool = field(default=False, init=False)

    def __call__(self, x: Array) -> Array:
        """Return the linear error, eq. (4)."""
        return np.interp(x, self.nodes, self._influence)

    def slope(self, x: Array) -> Array:
        """Return its derivative."""
        gap = np.interp(x, self.nodes, self.present - self.wanted)
        inside = (x > self.nodes[0]) & (x < self.nodes[-1])
        return np.where(inside, -4 * gap, 0.0)

    @property
    def _influence(self) -> Array:
        """E of eq. (4) at the nodes."""
        gap = self.present - self.wanted
        step = float(self.nodes[1] - self.nodes[0])
        areas = 0.5 * step * (gap[1:] + gap[:-1])
        ahead = np.concatenate([np.cumsum(areas[::-1])[::-1], [0.0]])  # int_x gap dy
        level = 2 * _integral(gap**2, step) - 4 * _integral(gap * self.present, step)
        return level + 4 * ahead

    def summary(self, x: Array) -> Array:
        """Return the number of positions at or below each node."""
        inside = np.sort(np.clip(x, self.nodes[0], self.nodes[-1]))
        return np.searchsorted(inside, self.nodes, side="right").astype(np.float64)

    def value(self, summary: Array) -> float:
        """Return the energy distance."""
        gap = self._law(summary) - self.wanted
        return 2 * _integral(gap**2, float(self.nodes[1] - self.nodes[0]))

    def about(self, summary: Array) -> "DistanceTo":
        """Take the derivative at this law."""
        return replace(self, present=self._law(summary))

    @staticmethod
    def _law(summary: Array) -> Array:
        return summary / summary[-1]


def _integral(y: Array, step: float) -> float:
    return float(step * (y.sum() - 0.5 * (y[0] + y[-1])))


def distance_to(nodes: Array, density: Array) -> DistanceTo:
    """Build the target law from a density on equally spaced nodes, any scale.

    Examples
    --------
    >>> x = np.linspace(0.0, 1.0, 400)
    >>> target = distance_to(x, np.ones(400))
    >>> round(target.value(target.summary(np.full(1000, 0.5))), 2)
    0.17
    """
    areas = 0.5 * (density[1:] + density[:-1])
    law = np.concatenate([[0.0], np.cumsum(areas)]) / areas.sum()
    return DistanceTo(nodes, law, law)
