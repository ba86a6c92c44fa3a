"""Walk noise levels downward and keep the likelihood ratio of every condition along the way.

For any path whose quadratic variation in sigma^2 is that of Brownian motion - data noised forward
and read backward, ancestral samples, guided samples - the ratio of the conditional to the
reference law of the step x -> x' from sigma to sigma' is that of two Gaussian bridge kernels,

    r = sigma'^2/sigma^2,  v = sigma'^2 (1 - r),  mu_a = r x + (1 - r) D_a                   (1)
    dL_c = (1 - r)/v [(D_c - D_ref) . (x' - mu_ref) - (1 - r)/2 |D_c - D_ref|^2]             (2)

summed from L = 0 at the largest level in float64. Equation (2) is |x' - mu_ref|^2 - |x' - mu_c|^2
over 2v without the cancellation. On paths that the model generated the kernel is the law of the
step; on noised data it lacks the posterior spread of x_0, (1 - r)^2 Cov(x_0 | x, c), so log ratios
come out too sure by a bias of first order in the step. For classes that noise alone keeps apart
it is below 0.006 nat at 32 levels (an Euler step: 0.1); for classes that overlap without noise it
is larger, 0.02 at 32 and 0.011 at 64 levels of two Gaussians two standard deviations from their
midpoint (derived and measured here).

A deterministic sampler (probability flow, DDIM with eta = 0) has no quadratic variation: equation
(2) means nothing on its paths, and they are refused.

Source: Girsanov's theorem; the bridge form and its accuracy are derived here. Sampling by bridge
kernels is DDIM with eta = 1, Song et al., arXiv:2010.02502.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irrev.diffusion.chunks import chunked
from irrev.diffusion.denoiser import NULL, Denoiser
from irrev.diffusion.schedules import check_grid
from irrev.errors import InputError

MIN_QUADRATIC_VARIATION = 0.8  # of a Brownian path's; DDIM with eta gives about eta^2
DETERMINISTIC = (
    "a deterministic sampler has no quadratic variation, so its paths carry no likelihood ratio; "
    "sample with eta=1 (ancestral, stochastic DDIM)."
)


class NoiseStream:
    """Gaussian noise of one batch: drawn on the CPU, so the device does not change it."""

    def __init__(self, seed: int, batch: int = 0) -> None:
        self._rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(batch,)))

    def like(self, x: Tensor) -> Tensor:
        """Return standard normal noise of the shape, type and device of x."""
        draw = torch.from_numpy(self._rng.standard_normal(tuple(x.shape)))
        return draw.to(device=x.device, dtype=x.dtype)


class Source(Protocol):
    """Where states come from: how a batch starts, and its step to the next level."""

    def start(self, sigma: float, noise: NoiseStream) -> Tensor:
        """Return the states at the largest level, shape (sample, *dim)."""
        ...

    def step(self, level: "Level", sigma_next: float, noise: NoiseStream) -> Tensor:
        """Return the states at the next level."""
        ...


@dataclass(frozen=True)
class Level:
    """All there is to know at one noise level of one batch."""

    index: int
    sigma: float
    x: Tensor  # (sample, *dim)
    denoised: Tensor  # (condition, sample, *dim)
    null: Tensor | None  # (sample, *dim), the null condition if it was asked for
    log_ratio: Tensor  # (sample, condition) float64, against the null or the mean condition


@dataclass(frozen=True)
class ForwardPaths:
    """Data noised forward, read from large noise to small by the Brownian bridge."""

    data: Tensor  # (sample, *dim)

    def start(self, sigma: float, noise: NoiseStream) -> Tensor:
        """Return data plus noise."""
        return self.data + sigma * noise.like(self.data)

    def step(self, level: Level, sigma_next: float, noise: NoiseStream) -> Tensor:
        """Draw x' given x and the data point: the law of one Brownian path."""
        return _bridge(level.x, self.data, level.sigma, sigma_next, noise)


@dataclass(frozen=True)
class GeneratedPaths:
    """Ancestral samples of the model, unguided (weight 1) or guided.

    target holds the position of each sample's condition among the conditions of the walk, -1 for
    the null condition. The guided denoiser is D_null + weight (D_target - D_null).
    """

    target: Tensor  # (sample,)
    dim: tuple[int, ...]
    weight: float = 1.0
    dtype: torch.dtype = torch.float32

    def start(self, sigma: float, noise: NoiseStream) -> Tensor:
        """Return pure noise."""
        blank = torch.empty((len(self.target), *self.dim), dtype=self.dtype)
        return (sigma * noise.like(blank)).to(self.target.device)

    def step(self, level: Level, sigma_next: float, noise: NoiseStream) -> Tensor:
        """Draw x' from the model's kernel."""
        rows = torch.arange(len(self.target), device=self.target.device)
        chosen = level.denoised[self.target.clamp_min(0), rows]
        if level.null is not None:
            unguided = (self.target < 0).reshape(-1, *[1] * len(self.dim))
            chosen = torch.where(unguided, level.null, chosen)
            if self.weight != 1.0:
                chosen = level.null + self.weight * (chosen - level.null)
        return _bridge(level.x, chosen, level.sigma, sigma_next, noise)


@dataclass
class StoredPaths:
    """Paths written by somebody's sampler, checked for quadratic variation as they are read."""

    states: Tensor  # (noise_level, sample, *dim)
    variation: list[float] = field(default_factory=list)  # a step, relative to Brownian motion

    def start(self, sigma: float, noise: NoiseStream) -> Tensor:
        """Return the first stored level."""
        return self.states[0]

    def step(self, level: Level, sigma_next: float, noise: NoiseStream) -> Tensor:
        """Return the next stored level.

        Raises
        ------
        InputError
            After the last step, if the paths are not those of a stochastic sampler.
        """
        x_next = self.states[level.index + 1]
        ratio = (sigma_next / level.sigma) ** 2
        guess = level.denoised.mean(0) if level.null is None else level.null
        left = x_next - ratio * level.x - (1 - ratio) * guess
        variance = sigma_next**2 * (1 - ratio)
        self.variation.append(float(left.double().square().mean()) / variance)
        if level.index + 2 == len(self.states):
            median = float(np.median(self.variation))
            if median < MIN_QUADRATIC_VARIATION:
                raise InputError(
                    f"stored paths have {median:.2f} of the quadratic variation of Brownian "
                    f"motion; {DETERMINISTIC}"
                )
        return x_next


def _bridge(
    x: Tensor, target: Tensor, sigma: float, sigma_next: float, noise: NoiseStream
) -> Tensor:
    ratio = (sigma_next / sigma) ** 2
    spread = sigma_next * (1 - ratio) ** 0.5
    return (ratio * x).add_((1 - ratio) * target).add_(noise.like(x).mul_(spread))


def evaluate(denoiser: Denoiser, x: Tensor, sigma: float, cond: Tensor) -> Tensor:
    """Evaluate every condition on every state as one flattened batch.

    Parameters
    ----------
    x
        States, shape (sample, *dim).
    cond
        Class indices, shape (condition,) or (condition, sample); -1 is the null condition.

    Returns
    -------
        D, shape (condition, sample, *dim), type of x.
    """
    per_sample = cond[:, None].expand(-1, len(x)) if cond.ndim == 1 else cond
    n_cond = len(per_sample)
    rows = x.expand(n_cond, *x.shape).reshape(-1, *x.shape[1:])
    return denoiser(rows, sigma, per_sample.reshape(-1)).reshape(n_cond, *x.shape)


def walk(
    denoiser: Denoiser,
    sigmas: NDArray[np.floating],
    source: Source,
    conditions: Sequence[int] | Tensor,
    noise: NoiseStream,
    *,
    null: bool = True,
) -> Iterator[Level]:
    """Yield the states, denoisers and log-likelihood ratios of one batch, level by level.

    Parameters
    ----------
    denoiser
        Model; called on (conditions + null) x samples rows a level, in chunks that fit.
    sigmas
        Noise levels, strictly falling, shape (noise_level,).
    source
        `ForwardPaths`, `GeneratedPaths` or `StoredPaths`.
    conditions
        Class indices to compare, shape (condition,) or one a sample, (condition, sample).
    noise
        Noise of this batch.
    null
        Whether to evaluate the null condition; it is then the reference of the ratios, otherwise
        the mean of the conditions is.
    """
    grid, denoiser = check_grid(np.asarray(sigmas, dtype=np.float64)), chunked(denoiser)
    with torch.no_grad():
        x = source.start(float(grid[0]), noise).to(denoiser.device)
        cond = torch.as_tensor(conditions, device=x.device)
        n_cond = len(cond)
        if null:
            cond = torch.cat([cond, torch.full_like(cond[:1], NULL)])
        log_ratio = torch.zeros(len(x), n_cond, dtype=torch.float64, device=x.device)
        for k, sigma in enumerate(map(float, grid)):
            every = evaluate(denoiser, x, sigma, cond)
            denoised, null_denoised = every[:n_cond], every[-1] if null else None
            level = Level(k, sigma, x, denoised, null_denoised, log_ratio)
            yield level
            if k + 1 == len(grid):
                return
            x_next = source.step(level, float(grid[k + 1]), noise)
            reference = denoised.mean(0) if null_denoised is None else null_denoised
            log_ratio = log_ratio + bridge_log_ratio(
                x, x_next, denoised, reference, sigma, float(grid[k + 1])
            )
            x = x_next


def bridge_log_ratio(
    x: Tensor,
    x_next: Tensor,
    denoised: Tensor,
    reference: Tensor,
    sigma: float,
    sigma_next: float,
) -> Tensor:
    """Return the log-likelihood ratio of one step, equation (2).

    Parameters
    ----------
    x, x_next
        States before and after, shape (sample, *dim).
    denoised, reference
        D at (x, sigma) of each condition, (condition, sample, *dim), and of the reference.

    Returns
    -------
        Shape (sample, condition), float64.
    """
    ratio = (sigma_next / sigma) ** 2
    variance = sigma_next**2 * (1 - ratio)
    common = reference.flatten(1).double()
    left = torch.sub(x_next.flatten(1).double(), x.flatten(1), alpha=ratio)
    left = left.sub_(common, alpha=1 - ratio)
    out = torch.empty(len(denoised), len(x), dtype=torch.float64, device=x.device)
    for k, one in enumerate(denoised):  # one condition at a time: its float64 copies stay cached
        gap = one.flatten(1) - common
        torch.sum(torch.sub(left, gap, alpha=0.5 * (1 - ratio)).mul_(gap), 1, out=out[k])
    return (1 - ratio) / variance * out.T
