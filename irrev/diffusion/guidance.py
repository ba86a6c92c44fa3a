"""What guidance does to the entropy profile: when it decides, and how sharply.

Paths follow D_null + w (D_c - D_null); the posterior along them is still the unguided model's.
States then come from another law than the model's, so the mean of -ln p(target | x) is a
cross-entropy. On a mixture, guidance moves the decision to larger noise and sharpens it.

Also here: questions that are not exhaustive, such as one prompt against everything else. There the
null condition stands for the other side with prior 1/2. That prior is a choice and the null
condition contains the prompt itself: the entropy belongs to this question, not to a population.

Source: Handke et al., arXiv:2602.09651.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from irrev.diffusion.chunks import chunked
from irrev.diffusion.class_entropy import class_entropy, solve
from irrev.diffusion.denoiser import Denoiser
from irrev.diffusion.entropy_sums import EntropySums, resampling_counts, summarise_levels
from irrev.diffusion.partitions import Partition, partition
from irrev.diffusion.paths import GeneratedPaths, Level, NoiseStream, walk
from irrev.errors import InputError

PROMPT = partition("prompt", {"prompt": [0], "rest": [1]})
SHIFTS = ("sigma_half", "sigma_half_cross", "sigma_peak")


def compare_guidance(
    denoiser: Denoiser,
    labels: NDArray[np.integer],
    sigmas: NDArray[np.floating],
    weights: Sequence[float],
    *,
    partitions: Sequence[Partition] | None = None,
    draws: int = 200,
    seed: int = 0,
    batch: int = 512,
    chunk: int | None = None,
) -> xr.Dataset:
    """Measure the entropy profile of generated paths for each guidance weight.

    Parameters
    ----------
    denoiser, labels, sigmas, partitions, draws, seed, batch, chunk
        As in `class_entropy`; `labels` are the classes to generate. All weights use the same
        noise, so that differences between them are paired.
    weights
        Guidance weights, at least one; 1 is unguided.

    Returns
    -------
        The Dataset of `class_entropy` with a leading dimension `guidance`, and for each marker
        `<marker>_shift`, its ratio to the value at the first weight.
    """
    if len(weights) == 0:
        raise InputError("no guidance weights; give at least one, such as [1, 2].")
    runs = [
        class_entropy(
            denoiser, labels, sigmas, partitions=partitions, guidance=float(w), draws=draws,
            seed=seed, batch=batch, chunk=chunk,
        )
        for w in weights
    ]  # fmt: skip
    out = xr.concat(runs, dim="guidance", combine_attrs="drop_conflicts", join="exact",
                    coords="minimal", compat="override", data_vars="all")  # fmt: skip
    out = out.assign_coords(guidance=np.asarray(weights, dtype=float))
    for name in SHIFTS:
        out[f"{name}_shift"] = out[name] / out[name].isel(guidance=0)
    return out


def prompt_entropy(
    denoiser: Denoiser,
    prompts: Sequence[int],
    sigmas: NDArray[np.floating],
    *,
    n_paths: int = 300,
    guidance: float = 1.0,
    sides: Literal["both", "target"] = "both",
    prior: float = 0.5,
    draws: int = 200,
    seed: int = 0,
    batch: int = 64,
    chunk: int | None = None,
) -> xr.Dataset:
    """Ask of each prompt when it is decided against the null condition.

    Parameters
    ----------
    denoiser
        Model with a null condition; `prompts` are class or prompt indices.
    prompts
        Conditions, each a question of its own.
    sigmas
        Noise levels, strictly falling.
    n_paths
        Paths for each prompt; with `both`, half of them are generated from the null condition.
    guidance
        Weight on paths of the prompt; null paths are never guided.
    sides
        `both` samples the mixture that the question is about, so entropy and cross-entropy agree
        for an exact model; `target` follows paths of the prompt only, as published.
    prior
        Prior of the prompt; the null condition has the rest.

    Returns
    -------
        As `class_entropy`, one partition a prompt; attributes say `reference: unconditional`.
    """
    if not 0 < prior < 1 or len(prompts) == 0:
        raise InputError(f"{len(prompts)} prompts, prior={prior}; give some, prior in (0, 1).")
    pi = np.array([prior, 1 - prior])
    denoiser, runs = chunked(denoiser, chunk), []
    for prompt in prompts:
        total: EntropySums | None = None
        for number, start in enumerate(range(0, n_paths, batch)):
            n = min(batch, n_paths - start)
            side = np.arange(start, start + n) % 2 if sides == "both" else np.zeros(n, dtype=int)
            one = prompt_sums(
                denoiser, prompt, side, sigmas, prior=pi, guidance=guidance, draws=draws,
                seed=seed, batch=number,
            )  # fmt: skip
            total = one if total is None else total + one
        assert total is not None
        runs.append(solve(total, sigmas, [PROMPT], pi, exhaustive=False))
    out = xr.concat(runs, dim="partition", join="override", combine_attrs="drop_conflicts")
    out = out.assign_coords(partition=np.array([str(p) for p in prompts], dtype=object))
    out.attrs |= {
        "estimator": "bridge likelihood ratio",
        "source": "generate",
        "reference": "unconditional",
        "prior": prior,
        "sides": sides,
        "guidance": guidance,
        "seed": seed,
    }
    return out


def prompt_sums(
    denoiser: Denoiser,
    prompt: int,
    side: NDArray[np.integer],
    sigmas: NDArray[np.floating],
    *,
    prior: NDArray[np.floating],
    guidance: float,
    draws: int,
    seed: int,
    batch: int,
) -> EntropySums:
    """Walk one batch of a prompt's question and add it up; the parallel part of the method.

    Parameters
    ----------
    prompt
        The condition that is asked about.
    side
        0 for a path of the prompt, 1 for one of the null condition, shape (sample,).
    prior
        Of the prompt and of the rest, shape (2,).
    guidance, draws, seed
        As in `prompt_entropy`; `batch` selects the noise.
    """
    n, device = len(side), denoiser.device
    target = torch.as_tensor(np.where(side == 1, -1, 0), device=device)
    paths = GeneratedPaths(target, denoiser.dim, guidance, denoiser.dtype)
    conditions = torch.full((1, n), prompt, device=device)
    share = np.where(side == 0, prior[0], prior[1]) / 0.5 if side.any() else np.ones(n)
    walked = walk(denoiser, sigmas, paths, conditions, NoiseStream(seed, batch))
    return summarise_levels(
        map(_null_as_answer, walked),
        torch.as_tensor(side.astype(np.int64), device=device),
        torch.as_tensor(share, device=device),
        [PROMPT],
        [0, 1],
        torch.as_tensor(np.log(prior), device=device),
        torch.as_tensor(resampling_counts(n, draws, seed, batch), device=device),
    )


def _null_as_answer(level: Level) -> Level:
    """Turn the null condition from the reference into the second possible answer."""
    assert level.null is not None
    return replace(
        level,
        denoised=torch.cat([level.denoised, level.null[None]]),
        null=None,
        log_ratio=torch.nn.functional.pad(level.log_ratio, (0, 1)),
    )
