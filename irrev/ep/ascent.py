"""One fit in progress: present couplings, their values on two sets of samples, the best so far.

Every iterate theta is rescaled on the validation samples, and theta . g cut at a limit,

    c*, B* = argmax f_validation(c clip(theta . g, -B, B)),   0 <= c <= 1.5       (1)

with B from a short list (`irrev.ep.limits`). That costs no pass over the data, and the best one is
kept: since f(0) = 0, a useless direction ends at 0 instead of a negative value. The fit stops
after `patience` iterates without gain. A solver of `irrev.ep.solvers` only chooses directions; a
move along one costs one value product on training and validation samples, and line searches are
scalar work on stored values.

Source: early stopping as in Aguilera, Ito, Kolchinsky, Phys. Rev. Lett. 136, 077101 (2026);
rescaling of every iterate is derived here.
"""

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from irrev.ep.limits import Scaled, rescale, value_at
from irrev.ep.objective import Dual

MIN_GAIN = 0.01  # a smaller relative gain on validation is within its noise
MAX_SCALE = 1.5  # a small validation part can be separable: its best c would run away


@dataclass(frozen=True, slots=True)
class Fit:
    """Couplings fitted on training samples, chosen on validation samples."""

    theta: NDArray[np.float64]  # (n_observables,), rescaled
    scale: float  # c* of eq. (1); 1 without validation
    train: NDArray[np.float64]  # (iteration,) training value, nats
    validation: NDArray[np.float64]  # (iteration,) rescaled validation value, nats
    value_train: float  # training value of `theta`, nats
    log_normaliser: float  # ln <exp(theta . g~)> on validation (on training without it)
    limit: float  # of |theta . g|, nats; inf: none
    saturated: bool  # no finite maximum: above the cap ln n, but for the limit
    converged: bool  # stopped by its own rule, not by the limit on iterations
    passes: float  # value and gradient over the training samples; one product is 1/2


class Track:
    """Value of the present couplings on one set of samples."""

    def __init__(self, dual: Dual) -> None:
        self.dual = dual
        self.forward = 0.0  # theta . <g>
        self.reverse = np.zeros(dual.observables.n_samples)  # theta . g~

    @property
    def value(self) -> float:
        """Objective at the present couplings, nats."""
        return self.dual.value(self.forward, self.reverse)

    def move(self, step: float, slope: float, change: NDArray[np.float64]) -> None:
        """Go `step` along a direction of known slope and change."""
        self.forward += step * slope
        self.reverse += step * change


class Ascent:
    """State of a fit; `move` along directions until `stopped`, then take `fit`."""

    def __init__(
        self,
        train: Dual,
        validation: Dual | None,
        *,
        patience: int,
        start: NDArray[np.float64] | None = None,
    ) -> None:
        self.train = Track(train)
        self.held = None if validation is None else Track(validation)
        self.theta = np.zeros(train.observables.n_observables)
        self.stopped = self.separable = False
        self.passes = 0.0
        self._patience, self._since = patience, 0
        self._curve = [(0.0, 0.0)]
        # Best so far: couplings before rescaling, what validation chose, training value there.
        self._best = (self.theta, Scaled(0.0, inf, 0.0, 0.0), 0.0)
        self._saturated = False
        if start is not None and start.any():
            self.passes += 0.5
            slope = float(start @ train.mean)
            self._advance(1.0, start, slope, train.observables.reverse_values(start))

    def gradient(self) -> NDArray[np.float64]:
        """Return the gradient of the training objective."""
        self.passes += 0.5
        return self.train.dual.gradient(self.train.reverse)

    def move(self, direction: NDArray[np.float64]) -> float:
        """Search along a direction, move there, compare with the best; return the step."""
        dual = self.train.dual
        slope = float(direction @ dual.mean)
        change = dual.observables.reverse_values(direction)
        self.passes += 0.5
        step = dual.search(self.train.forward, self.train.reverse, slope, change)
        if step == 0.0:
            self.stopped = True
            return step
        self._advance(step, direction, slope, change)
        return step

    def attempt(self, step: NDArray[np.float64], *, least: float) -> float:
        """Take a whole step if the training value reaches `least`; return that value."""
        dual = self.train.dual
        slope = float(step @ dual.mean)
        change = dual.observables.reverse_values(step)
        self.passes += 0.5
        value = dual.value(self.train.forward + slope, self.train.reverse + change)
        if value >= least:
            self._advance(1.0, step, slope, change)
        return value

    def _advance(
        self,
        step: float,
        direction: NDArray[np.float64],
        slope: float,
        change: NDArray[np.float64],
    ) -> None:
        """Go `step` along a direction on training and validation samples, and judge."""
        self.train.move(step, slope, change)
        self.theta = self.theta + step * direction
        if self.held is not None:
            held = self.held.dual
            change = held.observables.reverse_values(direction)
            self.held.move(step, float(direction @ held.mean), change)
        self._judge()

    def _judge(self) -> None:
        """Record the iterate; stop where no maximum exists or patience ends."""
        value = self.train.value
        self.separable = value > self.train.dual.cap
        found = self._rescaled(value)
        self._curve.append((value, found.value))
        most = self._best[1].value
        gained = self.held is None or found.value > (1.0 + MIN_GAIN) * most
        self._since = 0 if gained else self._since + 1
        if self.held is None or found.value > most:
            track = self.train
            own = value_at(track.dual, track.forward, track.reverse, found)
            self._best = (self.theta, found, own)
            n = 1 if self.held is None else self.held.dual.observables.n_samples
            self._saturated = self.separable and found.at_top(n)
        self.stopped = self.separable or self._since >= self._patience

    def _rescaled(self, value: float) -> Scaled:
        """Return what validation chooses (eq. 1); without it the iterate as it is."""
        if self.held is None:
            return Scaled(1.0, inf, value, self.train.forward - value)
        track = self.held
        return rescale(track.dual, track.forward, track.reverse, max_scale=MAX_SCALE)

    def fit(self, *, converged: bool) -> Fit:
        """Return the best iterate."""
        theta, found, value_train = self._best
        train, validation = np.array(self._curve).T
        return Fit(
            theta=found.scale * theta,
            scale=found.scale,
            train=train,
            validation=validation,
            value_train=value_train,
            log_normaliser=found.log_normaliser,
            limit=found.limit_scaled,
            saturated=self._saturated or value_train > self.train.dual.cap,
            converged=converged,
            passes=self.passes,
        )
