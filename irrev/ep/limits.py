"""How much one sample may count: theta . g is cut at a limit that validation chooses.

The bound holds for any function h of a sample and of its reversal h~,

    ep >= <h> - ln <exp(h~)>,   h = c clip(theta . g, -B, B)                      (1)

for antisymmetric g. Where test samples hold what training never saw (a burst in which nearly all
units fire), theta . g is an extrapolation, and without B a single sample can carry the whole
reverse average: the held-out value is then a large negative number that says nothing.

Validation chooses c and B, with B among 1/8, 1/4, ... 256 nats, as if there were one sample more
than its m, which reaches the limit when it is read backwards:

    f(c, B) = <h> - ln((m <exp(h~)> + exp(c B)) / (m + 1))                        (2)

so that a limit is only as large as what it brings. Observables that are not antisymmetric have no
limit.

Source: derived here; eq. (1) is the variational bound of M. Donsker, S. Varadhan, Comm. Pure Appl.
Math. 28, 1 (1975).
"""

from dataclasses import dataclass, replace
from math import inf, log

import numpy as np
from numpy.typing import NDArray

from irrev.ep.objective import Dual

LIMITS = tuple(2.0**k for k in range(-3, 9))  # B of eq. (1), nats; e^(1.5 B) stays finite


@dataclass(frozen=True, slots=True)
class Scaled:
    """Scale and limit that validation likes best; scale 0 where nothing beats 0."""

    scale: float  # c of eq. (1)
    limit: float  # B of eq. (1), nats; inf: none
    value: float  # on validation, eq. (2), nats
    log_normaliser: float  # ln <exp(h~)> on validation

    @property
    def limit_scaled(self) -> float:
        """Largest |h|, nats; inf: none."""
        return self.scale * self.limit if self.scale else inf

    def at_top(self, n: int) -> bool:
        """Whether |h| may reach all that n samples support, between -ln(n)/2 and ln(n)/2."""
        return log(n) / 2 <= self.limit_scaled < inf


def with_limits(validation: Dual) -> Dual:
    """Let validation choose a limit; observables that are not antisymmetric have none."""
    return replace(validation, limited=validation.observables.odd)


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
        Objective of the samples that choose.
    forward, reverse
        theta . <g>, and theta . g~ of each sample, nats.
    max_scale
        Largest scale.
    free
        Whether to choose the scale alone.
    """
    limits = LIMITS if validation.limited and not free else (inf,)
    still = 0 if validation.mirrored else int(reverse.size - np.count_nonzero(reverse))
    moving = reverse[reverse != 0] if still else reverse
    largest = float(np.max(np.abs(moving), initial=0.0))
    best = Scaled(0.0, limits[0], 0.0, 0.0)
    for limit in limits:
        series, slope = moving, forward
        if limit < largest:
            series = np.clip(moving, -limit, limit)
            slope = -float(series.sum()) / reverse.size
        seen = series if limit == inf else np.append(series, limit)
        zero = np.zeros_like(seen)
        scale = validation.search(0.0, zero, slope, seen, upper=max_scale, still=still)
        normaliser = validation.log_mean_exp(scale * series, still=still)
        value = scale * slope - validation.log_mean_exp(scale * seen, still=still)
        if value > best.value:
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
