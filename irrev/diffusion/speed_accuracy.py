"""How much accuracy the cost of a schedule can buy.

    w_D = int E|nu_t|^2 dt,    nu = (ds/s) x - (m ds/s - dm) D(x/m, s/m)                    (1)
    (Delta W1)^2 / (tau D_0) = eta <= c_1 <= c_2 <= w_D                                     (2)

dm, ds are time derivatives. nu is the velocity of the probability flow, D_0 the chi-square
distance of a wrong start, c_2 the squared Wasserstein path length, c_1 the part that the loss of
W1 shows; `prices` gives c_2 of every schedule. eta is the sensitivity to a wrong start, not the
quality of samples. A trained velocity obeys the weaker relation

    |Delta W1| / sqrt(tau D_max) <= sqrt(w_D) + sqrt(1 + 1/D_max) sqrt(tau L)               (3)

with L the mean squared velocity error; without the irreducible part of its loss, L is an upper
value.

Source: Ikeda et al., arXiv:2407.04495.
"""

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

Array = NDArray[np.float64]


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
    """Check equation (3) for a trained velocity.

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
    return check_bound(float(left), float(right), stderr=stderr, relation="equation (3)")


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
