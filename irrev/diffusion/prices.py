"""What every schedule costs, from curves that were measured once.

    E|nu_t|^2 = dm^2 E|y|^2 + ds^2 d - (m ds/s - dm)^2 mmse(s/m)                            (1)
    E|u_t|^2  = dm^2 E|D|^2 + ds^2 E|e|^2 + 2 dm ds E D.e,    e = (x - D)/sigma             (2)
    dS_tot/dt = E|nu|^2/T = dS_sys/dt + dS_bath/dt                                          (3)
    dS_sys/dt = a d + T (d - mmse/sigma^2)/s^2,   dS_bath/dt = a (m dm E|y|^2 + s ds d)/T

dm, ds are time derivatives, a = dm/m, sigma = s/m, T = m s d(s/m)/dt. (1) is the cost of the exact
velocity nu, (2) that of the velocity u that a denoiser runs; both need expectations over noised
data on a grid of noise levels, and no further network call. With an exact denoiser they are equal.
nu is a gradient for all schedules here, so all of (1) is excess and housekeeping is zero. Where T
falls to zero with data still moving, as cond-OT at t = 0, (3) has no finite integral: it is taken
between the measured noise levels.

A trained denoiser's loss holds its error: (1) is then too small. The mean squared error of its
velocity is (m ds/s - dm)^2 times the excess of its loss, at most times the loss itself.

Source: Ikeda et al., arXiv:2407.04495 (cost, entropy production); (1), (2), the form of (3) in
terms of the loss, and the retimed cost are derived here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.diffusion.schedules import Schedule
from irrev.errors import InputError

N_TIMES = 2000  # midpoints; VP-linear needs them, its cost near t = 0 goes as ln(1/t)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class LossCurve:
    """Measured mmse(sigma) = E|x_0 - D|^2, with its known behaviour at both ends."""

    sigmas: Array  # rising
    mmse: Array  # data units squared
    power: float  # E|y|^2 of the same rows
    dimension: int

    def at(self, sigma: Array) -> Array:
        """Return mmse: ln-ln interpolation, proportional to sigma^2 below, constant above."""
        s = np.clip(sigma, 0, self.sigmas[-1])
        inside = np.exp(
            np.interp(np.log(np.maximum(s, 1e-300)), np.log(self.sigmas), np.log(self.mmse))
        )
        below = inside * np.minimum(s / self.sigmas[0], 1.0) ** 2
        return np.minimum(below, self.dimension * s**2)


def loss_curve(
    sigmas: NDArray[np.floating], mmse: NDArray[np.floating], *, power: float, dimension: int
) -> LossCurve:
    """Make a loss curve from measured values in any order.

    Parameters
    ----------
    sigmas, mmse
        Noise levels and E|x_0 - D|^2 there, positive, shape (noise_level,).
    power
        E|y|^2 of the data on which the loss was measured.
    dimension
        Number of coordinates.
    """
    s, loss = np.asarray(sigmas, dtype=float), np.asarray(mmse, dtype=float)
    if s.shape != loss.shape or len(s) < 2 or np.any(s <= 0) or np.any(loss <= 0):
        raise InputError(
            f"{len(s)} noise levels and {len(loss)} losses, smallest {s.min()} and {loss.min()}; "
            "give at least two of each, all positive."
        )
    order = np.argsort(s)
    return LossCurve(s[order], loss[order], power, dimension)


def speed_cost(curve: LossCurve, schedule: Schedule, time: Array) -> Array:
    """Return E|nu_t|^2 from the loss curve, equation (1), shape of time (0 < time < duration)."""
    m, s = schedule.signal(time), schedule.noise(time)
    dm, ds = schedule.signal_rate(time), schedule.noise_rate(time)
    correction = (m * ds / s - dm) ** 2 * curve.at(schedule.ratio(time))
    return dm**2 * curve.power + ds**2 * curve.dimension - correction


@dataclass(frozen=True)
class FlowCurves:
    """Expectations over noised data that price the flow of a denoiser, equation (2)."""

    sigmas: Array  # rising
    power: Array  # E|D|^2
    noise: Array  # E|x - D|^2/sigma^2, d for pure noise
    cross: Array  # E D.(x - D)/sigma

    def at(self, sigma: Array) -> tuple[Array, Array, Array]:
        """Return the three at noise levels: linear in ln sigma, constant beyond the ends."""
        log = np.log(np.clip(sigma, self.sigmas[0], self.sigmas[-1]))
        grid = np.log(self.sigmas)
        power, noise, cross = (
            np.interp(log, grid, c) for c in (self.power, self.noise, self.cross)
        )
        return power, noise, cross


def flow_cost(curves: FlowCurves, schedule: Schedule, time: Array) -> Array:
    """Return E|u_t|^2 of the velocity that the denoiser runs, equation (2), shape of time."""
    dm, ds = schedule.signal_rate(time), schedule.noise_rate(time)
    power, noise, cross = curves.at(schedule.ratio(time))
    return dm**2 * power + ds**2 * noise + 2 * dm * ds * cross


def entropy_production(curve: LossCurve, schedule: Schedule, time: Array) -> xr.Dataset:
    """Return the entropy production rate of the forward process and its parts, equation (3).

    Parameters
    ----------
    curve
        Denoising loss.
    schedule
        Forward process.
    time
        Times strictly inside the duration, where m > 0 and T > 0.

    Returns
    -------
        Over time, nats per time: `ep_rate`, `ep_system` (change of the entropy of x_t), `ep_bath`;
        data units squared per time: `temperature`. The first is the sum of the other two.

    Raises
    ------
    InputError
        If the temperature is not positive at a time.
    """
    temperature = schedule.temperature(time)
    if not np.all(np.isfinite(temperature) & (temperature > 0)):
        raise InputError(
            f"{schedule.name} has temperatures from {np.min(temperature):.3g}; give times where "
            "noise is added and the signal is not gone."
        )
    m, s = schedule.signal(time), schedule.noise(time)
    dm, ds = schedule.signal_rate(time), schedule.noise_rate(time)
    sigma, d = s / m, curve.dimension
    system = dm / m * d + temperature * (d - curve.at(sigma) / sigma**2) / s**2
    bath = dm / m * (m * dm * curve.power + s * ds * d) / temperature
    return xr.Dataset(
        {
            "ep_rate": ("time", speed_cost(curve, schedule, time) / temperature),
            "ep_system": ("time", system),
            "ep_bath": ("time", bath),
            "temperature": ("time", temperature),
        },
        coords={"time": time},
        attrs={"schedule": schedule.name, "units": "nat"},
    )


def _ep_between(curve: LossCurve, schedule: Schedule, time: Array, step: float) -> float:
    """Integrate equation (3) over the times whose noise ratio was measured."""
    ratio = schedule.ratio(time)
    inside = (ratio >= curve.sigmas[0]) & (ratio <= curve.sigmas[-1])
    if not inside.any():
        return 0.0
    return float(entropy_production(curve, schedule, time[inside])["ep_rate"].sum()) * step


def schedule_prices(
    curve: LossCurve,
    schedules: Sequence[Schedule],
    *,
    flow: FlowCurves | None = None,
    n_times: int = N_TIMES,
    lower_bound: float | None = None,
) -> xr.Dataset:
    """Price schedules from one set of measured curves.

    Parameters
    ----------
    curve
        Denoising loss of held-out data.
    schedules
        Schedules to compare.
    flow
        What prices the flow of a trained denoiser; without it, exactness is taken for granted.
    n_times
        Midpoints in time.
    lower_bound
        Lower bound on W2^2 of data and noise, stored beside the prices.

    Returns
    -------
        Over schedule, data units squared per time: `c2` (cost), `c2_conditional` (that of one data
        point, an upper bound), `c2_retimed` (cost of the same path at constant speed, the least
        of all time courses), `velocity_error` (upper value of the mean squared error of the
        velocity), with `flow` also `c2_flow` (cost of the velocity that is run); `ep_forward`,
        nats, entropy production of the forward process between the measured noise levels; over
        schedule and time: `speed_cost`.
    """
    share = (np.arange(n_times) + 0.5) / n_times
    rows = [_price(curve, schedule, flow, share) for schedule in schedules]
    names = np.array([s.name for s in schedules], dtype=object)
    ds = xr.Dataset(
        {
            name: (("schedule", "time") if name == "speed_cost" else ("schedule",), values)
            for name, values in ((n, np.array([r[n] for r in rows])) for n in rows[0])
        },
        coords={"schedule": names, "time": share},
        attrs={"estimator": "denoising loss", "n_times": n_times},
    )
    if lower_bound is not None:
        ds["w2_lower"] = ((), lower_bound)
    return ds


def _price(
    curve: LossCurve, schedule: Schedule, flow: FlowCurves | None, share: Array
) -> dict[str, Any]:
    """Return every number of one schedule."""
    tau = schedule.duration
    time = share * tau
    m, s = schedule.signal(time), schedule.noise(time)
    dm, ds = schedule.signal_rate(time), schedule.noise_rate(time)
    cost = speed_cost(curve, schedule, time)
    out = {
        "speed_cost": cost,
        "c2": tau * cost.mean(),
        "c2_conditional": tau * np.mean(dm**2 * curve.power + ds**2 * curve.dimension),
        "c2_retimed": tau * np.mean(np.sqrt(np.maximum(cost, 0))) ** 2,
        "velocity_error": np.mean((m * ds / s - dm) ** 2 * curve.at(schedule.ratio(time))),
        "ep_forward": _ep_between(curve, schedule, time, tau / len(share)),
    }
    if flow is not None:
        out["c2_flow"] = tau * np.mean(flow_cost(flow, schedule, time))
    return out


def retimed(curve: LossCurve, schedule: Schedule, n_steps: int) -> Array:
    """Return the times at which the schedule's path has run equal lengths, shape (n_steps + 1,).

    Walking the noise ratios of these times at equal intervals costs `c2_retimed`.
    """
    edges = np.linspace(0, schedule.duration, N_TIMES + 1)
    speed = np.sqrt(np.maximum(speed_cost(curve, schedule, 0.5 * (edges[1:] + edges[:-1])), 0))
    length = np.concatenate([[0.0], np.cumsum(speed)])
    return np.interp(np.linspace(0, length[-1], n_steps + 1), length, edges)
