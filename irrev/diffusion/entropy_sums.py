"""Sums over paths from which entropy curves are made: the parallel part of `class_entropy`.

Each path gives one row of statistics a level and question. They are added over the paths of a
batch, once as they are and once for each Poisson-bootstrap resample of the paths, so batches may
be computed anywhere and added, in memory that does not grow with the number of paths.

Source: Chamandy et al., Estimating uncertainty for massive data streams, Google (2012).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irrev.diffusion.denoiser import Denoiser
from irrev.diffusion.partitions import Partition, decide, true_sets
from irrev.diffusion.paths import CHUNK_ROWS, Level, NoiseStream, Source, walk

STATS = (
    "weight",
    "entropy",
    "entropy2",
    "cross",
    "cross2",
    "surprise2",
    "correct",
    "rate_mix",
    "within",
)
BOOTSTRAP_STREAM = 2**20  # spawn key of the resampling weights, apart from the noise of any batch
Array = NDArray[np.float64]


@dataclass(frozen=True)
class EntropySums:
    """Additive sums over paths; row 0 counts every path once, the others are resamples."""

    sums: Array  # (1 + draw, noise_level, partition, stat)
    n_paths: int
    n_rows: int  # states evaluated by the network, null and conditions counted apart

    def __add__(self, other: "EntropySums") -> "EntropySums":
        """Join two sets of paths."""
        return EntropySums(
            self.sums + other.sums, self.n_paths + other.n_paths, self.n_rows + other.n_rows
        )


def summarise_levels(
    levels: Iterable[Level],
    labels: Tensor,
    weights: Tensor,
    questions: Sequence[Partition],
    conditions: Sequence[int],
    log_prior: Tensor,
    resamples: Tensor,
) -> EntropySums:
    """Add up what one batch says about every question at every level.

    Parameters
    ----------
    levels
        A walk over the noise levels.
    labels
        True class of each path, shape (sample,).
    weights
        Weight of each path, shape (sample,).
    questions
        Partitions of the classes.
    conditions
        Class index of each column of the log ratios.
    log_prior
        ln pi of each condition, shape (condition,).
    resamples
        How often each path enters each resample, shape (1 + draw, sample).
    """
    columns = {c: k for k, c in enumerate(conditions)}
    rows, n_rows = [], 0
    for level in levels:
        logits = level.log_ratio + log_prior
        stats = [_statistics(level, logits, labels, q, columns) for q in questions]
        table = torch.stack(stats, dim=1) * weights[:, None, None]  # (sample, partition, stat)
        rows.append(torch.tensordot(resamples, table, dims=1))
        n_rows += (len(level.denoised) + (level.null is not None)) * len(level.x)
    sums = torch.stack(rows, dim=1).cpu().numpy()
    return EntropySums(sums, len(labels), n_rows)


def _statistics(
    level: Level, logits: Tensor, labels: Tensor, question: Partition, columns: Mapping[int, int]
) -> Tensor:
    """Return one row of STATS a path, zero for paths outside the partition."""
    decision = decide(logits, question, columns)
    owner = true_sets(labels, question)
    inside = (owner >= 0).double()
    owner = owner.clamp_min(0)
    log_p = decision.log_probability
    surprise = -log_p.gather(1, owner[:, None])[:, 0]
    # D_true - D_mix = sum_c a_c D_c: within the true set minus within the whole question.
    own = decision.membership[owner]
    class_p = decision.class_log_probability.exp()
    within = torch.softmax(decision.class_log_probability.masked_fill(own == 0, -torch.inf), 1)
    coefficients = within - class_p
    index = torch.tensor([columns[c] for c in question.classes], device=logits.device)
    chosen = level.denoised[index].flatten(2)
    gap = torch.einsum("nc,cnd->nd", coefficients.to(chosen.dtype), chosen).double()
    columns_out = [
        torch.ones_like(surprise),
        decision.entropy,
        decision.entropy**2,
        surprise,
        surprise**2,
        (decision.probability * log_p.clamp_min(-1e4) ** 2).sum(1),
        (decision.probability.argmax(1) == owner).double(),
        gap.square().sum(1) / level.sigma**2,
        decision.within,
    ]
    return torch.stack(columns_out, dim=1) * inside[:, None]


def path_weights(labels: NDArray[np.integer], prior: Array) -> Array:
    """Return weights that make the classes of a sample count as the prior says, mean 1."""
    counts = np.bincount(labels, minlength=len(prior))
    share = counts / counts.sum()
    weight = np.divide(prior, share, out=np.zeros_like(prior), where=share > 0)[labels]
    return weight / weight.mean()


def resampling_counts(n: int, draws: int, seed: int, batch: int) -> Array:
    """Return Poisson bootstrap counts, shape (1 + draw, n); row 0 is all ones."""
    key = np.random.SeedSequence(seed, spawn_key=(BOOTSTRAP_STREAM, batch))
    counts = np.random.default_rng(key).poisson(1.0, size=(draws, n)).astype(np.float64)
    return np.concatenate([np.ones((1, n)), counts])


def summarise(
    denoiser: Denoiser,
    labels: NDArray[np.integer],
    sigmas: NDArray[np.floating],
    *,
    source: Source,
    questions: Sequence[Partition],
    prior: Array,
    weights: Array | None = None,
    conditions: Sequence[int] | None = None,
    seed: int = 0,
    batch: int = 0,
    draws: int = 200,
    null: bool = True,
    chunk: int = CHUNK_ROWS,
) -> EntropySums:
    """Walk one batch and add it up; the parallel part of `class_entropy`.

    Parameters as there, for the paths of one batch; `batch` selects its noise. `conditions` are
    the classes to evaluate, by default those of the questions in rising order.
    """
    cond = list(conditions or sorted({c for q in questions for c in q.classes}))
    n, device = len(labels), denoiser.device
    counts = resampling_counts(n, draws, seed, batch)
    with np.errstate(divide="ignore"):
        log_prior = np.log(prior[cond])
    levels = walk(denoiser, sigmas, source, cond, NoiseStream(seed, batch), null=null, chunk=chunk)
    return summarise_levels(
        levels,
        torch.as_tensor(np.asarray(labels, dtype=np.int64), device=device),
        torch.as_tensor(np.ones(n) if weights is None else weights, device=device),
        questions,
        cond,
        torch.as_tensor(log_prior, device=device),
        torch.as_tensor(counts, device=device),
    )
