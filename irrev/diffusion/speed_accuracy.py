"""What a schedule costs, and how much accuracy that cost can buy.

    w_D = int E|nu_t|^2 dt,    nu = (ds/s) x - (m ds/s - dm) D(x/m, s/m)                    (1)
    E|nu|^2 = dm^2 E|y|^2 + ds^2 d - (m ds/s - dm)^2 mmse(s/m)                              (2)
    (Delta W1)^2 / (tau D_0) = eta <= c_1 <= c_2 <= w_D                                     (3)

dm, ds are time derivatives. nu is the velocity of the probability flow, D_0 the chi-square
distance of a wrong start, c_2 the squared Wasserstein path length, c_1 the part that the loss of
W1 shows. Equation (2) prices every schedule from one measured denoising-loss curve without a
further network call; the same curve is the generative bandwidth of `information`.

With a trained denoiser the loss holds the model's error, so (2) is too small; (1) on the
trained velocity is the cost of the flow that is run. eta is the sensitivity to a wrong start, not
the quality of samples. A trained velocity obeys the weaker relation

    |Delta W1| / sqrt(tau D_max) <= sqrt(w_D) + sqrt(1 + 1/D_max) sqrt(tau L)               (4)

with L the mean squared velocity error; without the irreducible part of its loss, L is an upper
value.

Source: Ikeda et al., arXiv:2407.04495; equation (2) and the retimed cost are derived here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from irrev.diffusion.denoiser import Denoiser
from irrev.diffusion.paths import NoiseStream
from irrev.diffusion.schedules import Schedule, check_grid
from irrev.diffusion.transport import max_sliced_w1
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
    """Return E|nu_t|^2 from the loss curve, equation (2), shape of time (0 < time < duration)."""
    m, s = schedule.signal(time), schedule.noise(time)
    dm, ds = schedule.signal_rate(time), schedule.noise_rate(time)
    correction = (m * ds / s - dm) ** 2 * curve.at(schedule.ratio(time))
    return dm**2 * curve.power + ds**2 * curve.dimension - correction


def schedule_prices(
    curve: LossCurve,
    schedules: Sequence[Schedule],
    *,
    n_times: int = N_TIMES,
    lower_bound: float | None = None,
) -> xr.Dataset:
    """Price schedules from one loss curve.

    Parameters
    ----------
    curve
        Denoising loss of held-out data.
    schedules
        Schedules to compare.
    n_times
        Midpoints in time.
    lower_bound
        Lower bound on W2^2 of data and noise, stored beside the prices.

    Returns
    -------
        Over schedule, data units squared per time: `c2` (cost), `c2_conditional` (that of one data
        point, an upper bound), `c2_retimed` (cost of the same path at constant speed, the least
        of all time courses); over schedule and time: `speed_cost`.
    """
    share = (np.arange(n_times) + 0.5) / n_times
    rows, names = [], []
    for schedule in schedules:
        tau = schedule.duration
        cost = speed_cost(curve, schedule, share * tau)
        m_rate, s_rate = (f(share * tau) for f in (schedule.signal_rate, schedule.noise_rate))
        conditional = m_rate**2 * curve.power + s_rate**2 * curve.dimension
        speed = np.sqrt(np.maximum(cost, 0))
        rows.append((cost, tau * cost.mean(), tau * conditional.mean(), tau * speed.mean() ** 2))
        names.append(schedule.name)
    cost, c2, conditional, retimed = map(np.array, zip(*rows, strict=True))
    ds = xr.Dataset(
        {
            "speed_cost": (("schedule", "time"), cost),
            "c2": (("schedule",), c2),
            "c2_conditional": (("schedule",), conditional),
            "c2_retimed": (("schedule",), retimed),
        },
        coords={"schedule": np.array(names, dtype=object), "time": share},
        attrs={"estimator": "denoising loss", "n_times": n_times},
    )
    if lower_bound is not None:
        ds["w2_lower"] = ((), lower_bound)
    return ds


def retimed(curve: LossCurve, schedule: Schedule, n_steps: int) -> Array:
    """Return the times at which the schedule's path has run equal lengths, shape (n_steps + 1,).

    Walking the noise ratios of these times at equal intervals costs `c2_retimed`.
    """
    edges = np.linspace(0, schedule.duration, N_TIMES + 1)
    speed = np.sqrt(np.maximum(speed_cost(curve, schedule, 0.5 * (edges[1:] + edges[:-1])), 0))
    length = np.concatenate([[0.0], np.cumsum(speed)])
    return np.interp(np.linspace(0, length[-1], n_steps + 1), length, edges)


def velocity_cost(
    denoiser: Denoiser,
    data: NDArray[np.floating],
    schedule: Schedule,
    *,
    n_times: int = 101,
    seed: int = 0,
    batch: int = 512,
) -> xr.Dataset:
    """Measure the cost of the flow that a denoiser runs, equation (1), on noised data.

    Parameters
    ----------
    denoiser
        Model in the null condition. Noise ratios outside its `sigma_range` are clamped.
    data
        Data, shape (sample, *dim).
    schedule
        Forward process.
    n_times
        Midpoints in time.
    seed, batch
        Seed; rows of a batch, each with its own noise stream.

    Returns
    -------
        `speed_cost` over time with `speed_cost_se`; scalar `c2` with `c2_se`. For an exact
        denoiser this is c_2 up to a rotation that no velocity of this form has.
    """
    tau = schedule.duration
    share = (np.arange(n_times) + 0.5) / n_times
    totals: list[Array] = []
    for number, start in enumerate(range(0, len(data), batch)):
        x0 = torch.as_tensor(
            data[start : start + batch], dtype=denoiser.dtype, device=denoiser.device
        )
        totals.append(_squared_speeds(denoiser, x0, schedule, share * tau, seed, number))
    squares = np.concatenate(totals)  # (sample, time)
    n = len(squares)
    per_sample = tau * squares.mean(axis=1)
    return xr.Dataset(
        {
            "speed_cost": (("time",), squares.mean(axis=0)),
            "speed_cost_se": (("time",), squares.std(axis=0) / np.sqrt(n)),
            "c2": ((), per_sample.mean()),
            "c2_se": ((), per_sample.std() / np.sqrt(n)),
        },
        coords={"time": share * tau},
        attrs={"estimator": "velocity", "schedule": schedule.name, "n_samples": n, "seed": seed},
    )


def _squared_speeds(
    denoiser: Denoiser, x0: Tensor, schedule: Schedule, times: Array, seed: int, batch: int
) -> Array:
    noise = NoiseStream(seed, batch)
    m, s = schedule.signal(times), schedule.noise(times)
    dm, ds = schedule.signal_rate(times), schedule.noise_rate(times)
    low, high = denoiser.sigma_range
    out = []
    with torch.no_grad():
        for i in range(len(times)):
            e = noise.like(x0)
            level = float(np.clip(s[i] / m[i], low, high))
            x = x0 + level * e
            denoised = denoiser(x, level, None)
            # Equation (1) as dm D + ds e_hat: no cancellation, and it survives the clamp.
            nu = float(dm[i]) * denoised + float(ds[i]) * (x - denoised) / level
            out.append(nu.flatten(1).double().square().sum(1))
    return torch.stack(out, dim=1).cpu().numpy()


def chi_squared_gaussian(dimension: int, *, shift: float = 0.0, scale: float = 1.0) -> float:
    """Return D_0 of a start N(shift, scale^2 I) against N(0, I), the same in every coordinate.

    Parameters
    ----------
    dimension
        Number of coordinates d.
    shift, scale
        Mean and standard deviation of every coordinate, scale^2 < 2.

    Examples
    --------
    >>> round(chi_squared_gaussian(1, shift=1.0), 6)
    1.718282
    """
    if not 0 < scale**2 < 2:
        raise InputError(
            f"scale={scale}: the chi-square distance is infinite from 1.41 on; use less."
        )
    log = shift**2 / (2 - scale**2) - np.log(scale) - 0.5 * np.log(2 - scale**2)
    return float(np.expm1(dimension * log))


def chi_squared_fit(start: NDArray[np.floating], end: NDArray[np.floating]) -> float:
    """Estimate D_0 ~ 2 KL(end || start) from isotropic Gaussian fits of two samples (n, d)."""
    d = end.shape[1]
    v_end, v_start = float(np.mean(end.var(0))), float(np.mean(start.var(0)))
    gap = float(np.sum((end.mean(0) - start.mean(0)) ** 2))
    return d * (v_end / v_start - 1 - np.log(v_end / v_start)) + gap / v_start


@dataclass(frozen=True, slots=True)
class BoundCheck:
    """One reading of the relation, with its slack."""

    left: float
    right: float
    stderr: float
    holds: bool  # within three standard errors
    relation: str

    @property
    def slack(self) -> float:
        """Right minus left side."""
        return self.right - self.left


def check_bound(left: float, right: float, *, stderr: float = 0.0, relation: str) -> BoundCheck:
    """Compare the two sides of a relation within three standard errors."""
    return BoundCheck(left, right, stderr, left <= right + 3 * stderr, relation)


def imperfect_bound(
    delta_w1: float, w_dissipated: float, *, velocity_error: float, chi_max: float,
    duration: float = 1.0, stderr: float = 0.0,
) -> BoundCheck:  # fmt: skip
    """Check equation (4) for a trained velocity.

    Parameters
    ----------
    delta_w1
        Change of W1 from start to end, data units.
    w_dissipated
        int E|nu|^2 dt.
    velocity_error
        L, time average of the mean squared velocity error; an upper value keeps the check valid.
    chi_max
        Largest chi-square distance along the way.
    """
    left = abs(delta_w1) / np.sqrt(duration * chi_max)
    right = np.sqrt(w_dissipated) + np.sqrt(1 + 1 / chi_max) * np.sqrt(duration * velocity_error)
    return check_bound(float(left), float(right), stderr=stderr, relation="equation (4)")


def generate_ode(
    denoiser: Denoiser, start: Tensor, sigmas: NDArray[np.floating], cond: Tensor | None = None
) -> Tensor:
    """Run the probability flow dx/dsigma = (x - D)/sigma from the first level to zero noise.

    Parameters
    ----------
    start
        States at the first level, shape (sample, *dim).
    sigmas
        Strictly falling levels; Heun steps between them, one Euler step to zero at the end.
    """
    grid = check_grid(np.asarray(sigmas, dtype=float))
    x = start
    with torch.no_grad():
        for sigma, after in zip(map(float, grid[:-1]), map(float, grid[1:]), strict=True):
            slope = (x - denoiser(x, sigma, cond)) / sigma
            guess = x + (after - sigma) * slope
            second = (guess - denoiser(guess, after, cond)) / after
            x = x + 0.5 * (after - sigma) * (slope + second)
        return denoiser(x, float(grid[-1]), cond)  # Euler to zero noise lands on D


@dataclass(frozen=True, slots=True)
class StartSensitivity:
    """How far a wrong start moves the samples, and what the schedule allows."""

    w1_upper: float  # coupled E|x~_0 - x_0|
    w1_upper_se: float
    w1_lower: float  # max-sliced
    w1_start: float  # coupled distance of the starts: exact for a shift or a scale
    chi_squared: float


def start_sensitivity(
    denoiser: Denoiser,
    sigmas: NDArray[np.floating],
    *,
    shift: float = 0.0,
    scale: float = 1.0,
    n_samples: int = 1000,
    seed: int = 0,
    batch: int = 512,
) -> StartSensitivity:
    """Generate from the right and from a wrong start on the same noise.

    Parameters
    ----------
    sigmas
        Levels of the sampler, see `generate_ode`.
    shift, scale
        The wrong start is sigma_max (scale z + shift) with shift in every coordinate.
    n_samples, seed, batch
        Coupled pairs, seed of the noise, and pairs of a batch.
    """
    top = float(sigmas[0])
    right, wrong, moved = [], [], []
    for number, first in enumerate(range(0, n_samples, batch)):
        n = min(batch, n_samples - first)
        blank = torch.empty((n, *denoiser.dim), dtype=denoiser.dtype, device=denoiser.device)
        z = NoiseStream(seed, number).like(blank)
        other = scale * z + shift
        moved.append((other - z).flatten(1).double().norm(dim=1).cpu().numpy())
        right.append(generate_ode(denoiser, top * z, sigmas).flatten(1).double().cpu().numpy())
        wrong.append(generate_ode(denoiser, top * other, sigmas).flatten(1).double().cpu().numpy())
    a, b = np.concatenate(right), np.concatenate(wrong)
    gap = np.linalg.norm(a - b, axis=1)
    lower = max_sliced_w1(
        a, b, np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    )
    return StartSensitivity(
        float(gap.mean()),
        float(gap.std() / np.sqrt(len(gap))),
        lower,
        float(np.concatenate(moved).mean()),
        chi_squared_gaussian(a.shape[1], shift=shift, scale=scale),
    )
