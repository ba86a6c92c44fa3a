"""How much one sample may count: theta . g is cut at a limit that validation chooses.

The bound holds for any function h of a sample and of its reversal h~,

    ep >= <h> - ln <exp(h~)>,   h = c clip(theta . g, -B, B)                      (1)

for antisymmetric g. Where test samples hold what training never saw (a burst in which nearly all
units fire), theta . g is an extrapolation, and without B a single sample can carry the whole
reverse average: the held-out value is then a large negative number that says nothing. B is one of

    1/8, 1/4, 1/2, ... nats up to ln(n) / 2                                       (2)

for n training samples: between -B and B lies then all that they support, ln n nats. Validation
chooses B together with the scale c; a larger B must gain one part in a hundred.

Observables that are not antisymmetric have no limit.

Source: derived here; eq. (1) is the variational bound of M. Donsker, S. Varadhan, Comm. Pure Appl.
Math. 28, 1 (1975).
"""

from dataclasses import dataclass, replace
from math import inf, log

import numpy as np
from numpy.typing import NDArray

from irrev.ep.objective import Dual

FIRST = 0.125  # nats
MIN_GAIN = 0.01  # a smaller relative gain on validation is within its noise


@dataclass(frozen=True, slots=True)
class Scaled:
    """Scale and limit that validation likes best; scale 0 where nothing beats 0."""

    scale: float  # c of eq. (1)
    limit: float  # B of eq. (1), nats; inf: none
    value: float  # on validation, nats
    log_normaliser: float  # ln <exp(h~)> on validation

    @property
    def limit_scaled(self) -> float:
        """Largest |h|, nats; inf: none."""
        return self.scale * self.limit if self.scale else inf

    def at_top(self, limits: tuple[float, ...]) -> bool:
        """Whether |h| may reach the largest limit: samples would support a larger one."""
        return bool(limits and self.scale) and self.limit_scaled >= limits[-1]


def limits_of(n_train: int) -> tuple[float, ...]:
    """Return the limits of eq. (2), ascending, for a number of training samples.

    Examples
    --------
    >>> limits_of(100)
    (0.125, 0.25, 0.5, 1.0, 2.0, 2.302585092994046)
    """
    top = max(log(n_train) / 2, 1.0)
    doubled = FIRST * np.exp2(np.arange(64))
    return (*doubled[doubled < top].tolist(), top)


def with_limits(validation: Dual, n_train: int) -> Dual:
    """Let validation choose a limit; observables that are not antisymmetric have none."""
    return (
        replace(validation, limits=limits_of(n_train))
        if validation.observables.odd
        else validation
    )


def rescale(
    validation: Dual,
    forward: float,
    reverse: NDArray[np.float64],
    *,
    max_scale: float,
    free: bool = False,
) -> Scaled:
    """Choose scale and limit of a fit on validation samples.

    Parameters
    ----------
    validation
        Objective of the samples that choose, with the limits to choose from.
    forward, reverse
        theta . <g>, and theta . g~ of each sample, nats.
    max_scale
        Largest scale.
    free
        Whether to choose the scale alone.
    """
    limits = (inf,) if free or not validation.limits else validation.limits
    largest = float(np.max(np.abs(reverse), initial=0.0))
    best = Scaled(0.0, limits[0], 0.0, 0.0)
    for limit in limits:
        series, slope = reverse, forward
        if limit < largest:
            series = np.clip(reverse, -limit, limit)
            slope = -validation.average(series)
        zero = np.zeros_like(series)
        scale = validation.search(0.0, zero, slope, series, upper=max_scale)
        normaliser = validation.log_mean_exp(scale * series)
        value = scale * slope - normaliser
        if value > (1.0 + MIN_GAIN) * best.value:
            best = Scaled(scale, limit, value, normaliser)
        if limit >= largest:
            break  # larger ones change nothing
    return best


def value_at(dual: Dual, forward: float, reverse: NDArray[np.float64], found: Scaled) -> float:
    """Return f of samples at the scale and limit that validation chose, nats."""
    if found.limit < inf and np.max(np.abs(reverse), initial=0.0) > found.limit:
        reverse = np.clip(reverse, -found.limit, found.limit)
        forward = -dual.average(reverse)
    return dual.value(found.scale * forward, found.scale * reverse)


def limited(
    forward: NDArray[np.float64], reverse: NDArray[np.float64], limit: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cut theta . g and theta . g~ of each sample at the limit of scaled values."""
    if limit == inf:
        return forward, reverse
    return np.clip(forward, -limit, limit), np.clip(reverse, -limit, limit)
