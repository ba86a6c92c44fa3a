"""Tasks whose mean work and error are known exactly, for any protocol of their own chain.

A learned protocol is priced without sampling noise and compared with the optimum of the same
discrete chain, and with the limit of many intervals and small steps: `irrev.control.bounds`.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from irrev.control.bounds import (
    Delivery,
    PiecewiseWork,
    Stiffening,
    translation_protocol,
)

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Price:
    """Exact means of a protocol."""

    work: float
    error: float = 0.0

    def loss(self, error_weight: float) -> float:
        """Return work + weight * error."""
        return self.work + error_weight * self.error


class Solved(Protocol):
    """Exact answers of a task with one free control; values have shape (interval,)."""

    def price(self, values: Array) -> Price:
        """Return the exact means of a protocol on the task's own chain."""
        ...

    def best(self, error_weight: float) -> Array:
        """Return the optimum of that chain."""
        ...

    def curve(self, time: Array, error_weight: float) -> Array | None:
        """Return the optimum in continuous time at times inside the duration; None: kicks."""
        ...


@dataclass(frozen=True)
class Translated:
    """Trap moved to a given place."""

    work: PiecewiseWork
    distance: float
    duration: float
    rate: float  # mobility times stiffness
    heavy: bool  # the underdamped optimum has infinite kicks at its ends

    def price(self, values: Array) -> Price:
        """Return the exact mean work."""
        return Price(self.work.work(values))

    def best(self, error_weight: float) -> Array:
        """Return the optimum of the chain."""
        return self.work.optimum

    def curve(self, time: Array, error_weight: float) -> Array | None:
        """Return the straight line between the jumps."""
        if self.heavy:
            return None
        return translation_protocol(time, self.distance, self.duration, stiffness=self.rate)


@dataclass(frozen=True)
class Delivered:
    """Particle brought to a target by a trap that may end anywhere."""

    case: Delivery
    duration: float
    stiffness: float
    mobility: float

    def price(self, values: Array) -> Price:
        """Return the exact mean work and error."""
        return Price(self.case.work.work(values), self.case.error(values))

    def best(self, error_weight: float) -> Array:
        """Return the optimum of the chain."""
        return self.case.optimum(error_weight)

    def curve(self, time: Array, error_weight: float) -> Array | None:
        """Return the straight line that leads the particle; it jumps back onto it at the end."""
        drag = 1 / (self.mobility * self.duration)
        moved = self.case.target * error_weight / (error_weight + drag)
        lead = 1 / (self.mobility * self.stiffness)
        return np.asarray(moved * (time + lead) / self.duration, dtype=np.float64)


@dataclass(frozen=True)
class Stiffened:
    """Trap whose stiffness is changed."""

    case: Stiffening
    n_intervals: int
    substeps: int

    def price(self, values: Array) -> Price:
        """Return the exact mean work."""
        return Price(self.case.piecewise_work(values, substeps=self.substeps))

    def best(self, error_weight: float) -> Array:
        """Return the optimum of the chain."""
        return self.case.piecewise_optimum(self.n_intervals, substeps=self.substeps)

    def curve(self, time: Array, error_weight: float) -> Array | None:
        """Return the optimal stiffness between the jumps."""
        return self.case.stiffness(time)
