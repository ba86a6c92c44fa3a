"""Where the generative drift becomes unstable: the top eigenvalue of dD/dx at chosen points.

    lambda_max(dD/dx) > 1   <=>   the score's Jacobian has a positive eigenvalue               (1)

At the mean of the data, or half-way between two classes, the state is a symmetric compromise; the
noise at which (1) begins to hold there is where it stops being one. For a binary mixture at its
midpoint lambda = 1 + sigma^2 (|mu|^2/v^2 - 1/v), v = s_0^2 + sigma^2: it begins at
sigma^2 = |mu|^2 - s_0^2.

Source: Stancevic, Ambrogioni, arXiv:2508.19897; the criterion in these coordinates is derived
here.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irrev.diffusion.denoiser import Denoiser
from irrev.diffusion.jacobian import top_eigenpair

NEAR = 2  # levels on each side of a crossing that are computed again for resampled points
Array = NDArray[np.float64]


def top_eigenvalues(denoiser: Denoiser, points: Tensor, sigmas: Array, *, seed: int = 0) -> Array:
    """Return lambda_max of the null condition's dD/dx, shape (noise_level, point).

    Parameters
    ----------
    points
        States, shape (point, *dim).
    sigmas
        Falling noise levels; each starts from the directions of the one before.
    """
    generator, direction, rows = torch.Generator().manual_seed(seed), None, []
    for sigma in map(float, sigmas):
        value, direction = top_eigenpair(
            denoiser, points, sigma, None, generator=generator, start=direction
        )
        rows.append(value.double())
    return torch.stack(rows).cpu().numpy()


def onset(values: Array, sigmas: Array) -> Array:
    """Return the largest noise at which eigenvalues (noise_level, point) rise above 1.

    Linear in ln sigma; the largest level if they are above 1 there, NaN if they never are.
    """
    above = values > 1
    first = np.argmax(above, axis=0)
    right = np.maximum(first, 1)
    log, point = np.log(sigmas), np.arange(values.shape[1])
    a, b = values[right - 1, point], values[right, point]
    share = np.clip((1 - a) / np.where(a == b, 1.0, b - a), 0, 1)
    found = log[right - 1] + share * (log[right] - log[right - 1])
    out = np.exp(np.where(first == 0, log[0], found))
    return np.where(above.any(axis=0), out, np.nan)


def onset_with_draws(
    denoiser: Denoiser, points: Tensor, sigmas: Array, *, seed: int = 0
) -> tuple[Array, Array]:
    """Return the onset at points and at their resamples, with few network calls.

    Parameters
    ----------
    points
        Shape (draw, point, *dim): row 0 holds the points, the others their resamples, which are
        followed at the levels around the onset of row 0 only.

    Returns
    -------
        lambda_max of row 0, shape (noise_level, point), and onsets, shape (draw, point).
    """
    values = top_eigenvalues(denoiser, points[0], sigmas, seed=seed)
    first = onset(values, sigmas)
    onsets = np.repeat(first[None], len(points), axis=0)
    for k in range(points.shape[1]):
        if len(points) == 1 or not np.isfinite(first[k]):
            continue
        at = int(np.searchsorted(-sigmas, -first[k]))
        near = sigmas[max(0, at - NEAR) : at + NEAR + 1]
        around = top_eigenvalues(denoiser, points[1:, k], near, seed=seed)
        onsets[1:, k] = onset(around, near)
    return values, onsets
