"""Information about x_0 along the noise axis: bandwidth, divergence of the score, branching.

    dH(x_0 | x_sigma)/d ln sigma = E|x_0 - D|^2 / sigma^2           denoising loss          (a)
                                 = E tr dD/dx                       divergence              (b)
                                 = d - E|x - D|^2 / sigma^2         score norm              (c)

the three readings of the generative bandwidth, nats. They agree for an exact model; their spread
tells how far a trained one is from being the score of anything. (b) equals d + sigma^2 E div
grad ln p and (c) d - sigma^2 E|grad ln p|^2; written as here, (b) has no cancellation, and in (c)
the squared noise |x - x_0|^2/sigma^2 of each state stands for its mean d. (a) needs data; (b) and
(c) work on any states, but on states of another law than the model's they measure that law.

A state branches where the top eigenvalue of dD/dx exceeds 1, i.e. where the posterior standard
deviation of x_0 along some direction exceeds sigma: the drift of the generative equation is
unstable there.

Source: Stancevic, Ambrogioni, arXiv:2508.19897 (the divergence law); forms (a) and (c), the
branching criterion in these coordinates and the pathwise entropy are derived here.
"""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from irrev.diffusion.chunks import chunked
from irrev.diffusion.denoiser import Denoiser
from irrev.diffusion.entropy_sums import LOSS_STATS, loss_sums
from irrev.diffusion.exact import GaussianMixture
from irrev.diffusion.jacobian import denoiser_trace, top_eigenpair
from irrev.diffusion.paths import NoiseStream
from irrev.diffusion.rows import check_finite
from irrev.diffusion.schedules import check_grid
from irrev.errors import InputError

TRACE_STATES = 64  # states a level for traces and eigenvalues
MERGE = 0.1  # of sigma: fixed points closer than this are one
Array = NDArray[np.float64]


def information_profile(
    denoiser: Denoiser,
    data: NDArray[np.floating],
    sigmas: NDArray[np.floating],
    *,
    labels: NDArray[np.integer] | None = None,
    trace_states: int = TRACE_STATES,
    seed: int = 0,
    batch: int = 512,
) -> xr.Dataset:
    """Measure the three bandwidths and local branching at each noise level.

    Parameters
    ----------
    denoiser
        Model, evaluated in the null condition, or in the condition of `labels`.
    data
        Held-out data, shape (sample, *dim).
    sigmas
        Noise levels, strictly falling, shape (noise_level,).
    labels
        Condition of each row, shape (sample,).
    trace_states
        Rows used for traces and eigenvalues, the first ones; 0 leaves these out.
    seed, batch
        Seed of the noise; rows of one batch, each with its own noise stream.

    Returns
    -------
        Over noise_level, nats: `bandwidth_loss`, `bandwidth_div`, `bandwidth_score` with standard
        errors `*_se`, `bandwidth_spread` (largest minus smallest of the three over the first),
        `mmse` (data units squared), `information` I(x_0; x_sigma) gained from the largest level
        down, `lambda_max` (mean top eigenvalue) and `branching` (fraction above 1).
    """
    grid, denoiser = check_grid(np.asarray(sigmas, dtype=float)), chunked(denoiser)
    if len(data) == 0 or tuple(data.shape[1:]) != tuple(denoiser.dim):
        raise InputError(
            f"data of shape {data.shape} for a model of {denoiser.dim}; reshape to (sample, *dim)."
        )
    check_finite(data)
    sums = np.zeros((1, len(grid), len(LOSS_STATS)))
    for number, start in enumerate(range(0, len(data), batch)):
        part = slice(start, start + batch)
        x0 = torch.as_tensor(data[part], dtype=denoiser.dtype, device=denoiser.device)
        sums += loss_sums(
            denoiser, x0, grid, _cond(denoiser, labels, part), noise=NoiseStream(seed, number),
            resamples=torch.ones(1, len(x0), dtype=torch.float64, device=denoiser.device),
        )  # fmt: skip
    out = bandwidths(sums[0], grid)
    if trace_states:
        out |= branching(denoiser, data[:trace_states], labels, grid, seed)
        out["bandwidth_spread"] = bandwidth_spread(out)
    return xr.Dataset(
        {k: (("noise_level",), v) for k, v in out.items()},
        coords={"sigma": (("noise_level",), grid)},
        attrs={
            "units": "nat",
            "n_samples": len(data),
            "dimension": int(np.prod(denoiser.dim)),
            "seed": seed,
        },
    )


def bandwidths(losses: Array, sigmas: Array) -> dict[str, Array]:
    """Return the readings (a) and (c) and the mean squared error from sums over data.

    Parameters
    ----------
    losses
        Sums, shape (noise_level, loss stat), see `entropy_sums.LOSS_STATS`.
    sigmas
        Falling noise levels.
    """
    s: dict[str, Array] = dict(zip(LOSS_STATS, losses.T, strict=True))
    n = s["weight"]
    mmse, gain = s["loss"] / n, s["gain"] / n
    spread = [
        np.sqrt(np.maximum(s[f"{name}2"] / n - mean**2, 0) / n) / sigmas**2
        for name, mean in (("loss", mmse), ("gain", gain))
    ]
    return {
        "mmse": mmse,
        "bandwidth_loss": mmse / sigmas**2,
        "bandwidth_loss_se": spread[0],
        "bandwidth_score": gain / sigmas**2,
        "bandwidth_score_se": spread[1],
        "information": information_from_rate(mmse / sigmas**2, sigmas),
    }


def bandwidth_spread(curves: dict[str, Array]) -> Array:
    """Return largest minus smallest of the three readings over the first."""
    three = [curves[f"bandwidth_{name}"] for name in ("loss", "div", "score")]
    return np.ptp(np.stack(three), axis=0) / np.abs(three[0])


def _cond(denoiser: Denoiser, labels: NDArray[np.integer] | None, part: slice) -> Tensor | None:
    if labels is None:
        return None
    return torch.as_tensor(np.asarray(labels[part], dtype=np.int64), device=denoiser.device)


def branching(
    denoiser: Denoiser,
    data: NDArray[np.floating],
    labels: NDArray[np.integer] | None,
    sigmas: Array,
    seed: int,
) -> dict[str, Array]:
    """Measure divergence and top eigenvalue on noised data.

    Returns
    -------
        Over noise_level: `bandwidth_div` with `bandwidth_div_se`, `lambda_max` (mean top
        eigenvalue of the Jacobian) and `branching` (share of states where it exceeds 1).
    """
    x0 = torch.as_tensor(data, dtype=denoiser.dtype, device=denoiser.device)
    cond = _cond(denoiser, labels, slice(0, len(data)))
    noise = NoiseStream(seed, 2**20)  # apart from the noise of the batches
    generator = torch.Generator().manual_seed(seed)
    rows, direction = [], None
    for sigma in map(float, sigmas):
        x = x0 + sigma * noise.like(x0)
        trace = denoiser_trace(denoiser, x, sigma, cond, generator=generator)
        value, direction = top_eigenpair(
            denoiser, x, sigma, cond, generator=generator, start=direction
        )
        rows.append(
            [trace.mean, trace.stderr, float(value.mean()), float((value > 1).double().mean())]
        )
    names = ("bandwidth_div", "bandwidth_div_se", "lambda_max", "branching")
    return dict(zip(names, np.array(rows).T, strict=True))


def information_from_rate(bandwidth: Array, sigmas: Array) -> Array:
    """Return the information gained from the largest level down to each level, nats.

    Parameters
    ----------
    bandwidth
        dH(x_0|x_sigma)/d ln sigma, shape (noise_level,).
    sigmas
        Falling noise levels. I(x_0; x_sigma) itself lacks the part above the first level,
        d Var(x_0) / (2 sigma_max^2) per coordinate if sigma_max is large.
    """
    steps = 0.5 * (bandwidth[1:] + bandwidth[:-1]) * -np.diff(np.log(sigmas))
    return np.concatenate([[0.0], np.cumsum(steps)])


def process_rate(bandwidth: Array, *, diffusion_squared: Array, noise: Array) -> Array:
    """Return dH(x_0|x_t)/dt = g^2 bandwidth / (2 s^2) of a process dx = a x dt + g dW, nats/time.

    Parameters
    ----------
    bandwidth
        Per ln sigma at the noise ratio of each time, shape (time,).
    diffusion_squared
        g^2, shape (time,).
    noise
        Amplitude s of the noise in x_t, shape (time,).
    """
    return 0.5 * diffusion_squared * bandwidth / noise**2


def count_fixed_points(
    denoiser: Denoiser, starts: Tensor, sigmas: Sequence[float], *, n_iter: int = 200
) -> NDArray[np.int64]:
    """Count the distinct limits of x <- D(x, sigma) while the noise falls.

    Parameters
    ----------
    starts
        States to begin with, shape (sample, *dim); between levels they carry over, each nudged
        back by a hundredth of its distance to its start so that lost symmetry can show.
    sigmas
        Falling noise levels, shape (noise_level,).

    Returns
    -------
        Number of limits at each level; limits closer than 0.1 sigma count as one.
    """
    x, counts = starts.clone(), []
    with torch.no_grad():
        for sigma in sigmas:
            x = x + 0.01 * (starts - x)
            for _ in range(n_iter):
                x = denoiser(x, float(sigma), None)
            counts.append(_distinct(x.flatten(1), MERGE * float(sigma)))
    return np.array(counts)


def _distinct(points: Tensor, radius: float) -> int:
    kept: list[Tensor] = []
    for point in points:
        if all(float((point - other).norm()) > radius for other in kept):
            kept.append(point)
    return len(kept)


def pathwise_entropy(mixture: GaussianMixture, x0: Tensor, x: Tensor, sigma: float) -> Tensor:
    """Return -ln p(x_0 | x_sigma) of pairs, nats, where the density is known.

    Parameters
    ----------
    mixture
        Data density, all variances positive.
    x0, x
        Data and noised states, shape (sample, *dim).

    Returns
    -------
        Shape (sample,); the mean is H(x_0 | x_sigma), peaks of the variance along the noise axis
        mark symmetry breaking.
    """
    d = x0[0].numel()
    square = (x - x0).flatten(1).square().sum(1) / sigma**2
    log_kernel = -0.5 * (square + d * np.log(2 * np.pi * sigma**2))
    return -mixture.log_density(x0, 0.0) - log_kernel + mixture.log_density(x, sigma)
