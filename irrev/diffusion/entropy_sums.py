"""Sums over paths from which entropy curves are made: the parallel part of `class_entropy`.

Each path gives one row of statistics a level and question, and on noised data one of the null
condition's errors. They are added over the paths of a batch, once as they are and once for each
Poisson-bootstrap resample of the paths, so batches may be computed anywhere and added, in memory
that does not grow with the number of paths.

Source: Chamandy et al., Estimating uncertainty for massive data streams, Google (2012).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from irrev.diffusion.denoiser import Denoiser
from irrev.diffusion.partitions import Partition, decide, membership, true_sets
from irrev.diffusion.paths import ForwardPaths, Level, NoiseStream, Source, walk

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
LOSS_STATS = ("weight", "loss", "loss2", "gain", "gain2", "power", "cross", "data")
BOOTSTRAP_STREAM = 2**20  # spawn key of the resampling weights, apart from the noise of any batch
Array = NDArray[np.float64]


@dataclass(frozen=True)
class EntropySums:
    """Additive sums over paths; row 0 counts every path once, the others are resamples."""

    sums: Array  # (1 + draw, noise_level, partition, stat)
    n_paths: int
    n_rows: int  # states evaluated by the network, null and conditions counted apart
    losses: Array | None = None  # (1 + draw, noise_level, loss stat), of noised data

    def __add__(self, other: "EntropySums") -> "EntropySums":
        """Join two sets of paths."""
        losses = self.losses if other.losses is None else other.losses
        if self.losses is not None and other.losses is not None:
            losses = self.losses + other.losses
        return EntropySums(
            self.sums + other.sums,
            self.n_paths + other.n_paths,
            self.n_rows + other.n_rows,
            losses,
        )

    def to_dataset(self) -> xr.Dataset:
        """Pack the sums, so that a store can keep them."""
        variables: dict[str, tuple[tuple[str, ...], Array]] = {
            "sums": (("draw", "noise_level", "partition", "stat"), self.sums)
        }
        if self.losses is not None:
            variables["losses"] = (("draw", "noise_level", "loss_stat"), self.losses)
        counts = {"n_paths": self.n_paths, "n_rows": self.n_rows}
        return xr.Dataset(variables).assign({k: ((), v) for k, v in counts.items()})

    @classmethod
    def from_dataset(cls, ds: xr.Dataset) -> "EntropySums":
        """Unpack what `to_dataset` packed, bit by bit the same."""
        losses = ds["losses"].to_numpy() if "losses" in ds else None
        return cls(ds["sums"].to_numpy(), int(ds["n_paths"]), int(ds["n_rows"]), losses)


def summarise_levels(
    levels: Iterable[Level],
    labels: Tensor,
    weights: Tensor,
    questions: Sequence[Partition],
    conditions: Sequence[int],
    log_prior: Tensor,
    resamples: Tensor,
    *,
    clean: Tensor | None = None,
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
    clean
        Data that the paths end in, shape (sample, *dim), for the errors of the null condition.
    """
    columns = {c: k for k, c in enumerate(conditions)}
    asked = [_Asked.of(question, labels, columns) for question in questions]
    rows, losses, n_rows = [], [], 0
    for level in levels:
        logits = level.log_ratio + log_prior
        stats = [_statistics(level, logits, one) for one in asked]
        table = torch.stack(stats, dim=1) * weights[:, None, None]  # (sample, partition, stat)
        rows.append(torch.tensordot(resamples, table, dims=1))
        if clean is not None and level.null is not None:
            losses.append(resamples @ _losses(level.x, level.null, clean))
        n_rows += (len(level.denoised) + (level.null is not None)) * len(level.x)
    sums = torch.stack(rows, dim=1).cpu().numpy()
    loss_sums = torch.stack(losses, dim=1).cpu().numpy() if losses else None
    return EntropySums(sums, len(labels), n_rows, loss_sums)


def _losses(x: Tensor, denoised: Tensor, clean: Tensor) -> Tensor:
    """Return one row of LOSS_STATS a path.

    These are |x_0 - D|^2, the gain |x - x_0|^2 - |x - D|^2, |D|^2, D.(x - D) and |x_0|^2. The
    gain's mean is d sigma^2 - E|x - D|^2 without the noise of |x - x_0|^2.
    """
    d, clean = denoised.flatten(1).double(), clean.flatten(1).double()
    state = x.flatten(1).double()
    gap, loss = state - d, (clean - d).square().sum(1)
    gain = (state - clean).square().sum(1) - gap.square().sum(1)
    table = (
        torch.ones_like(loss), loss, loss**2, gain, gain**2, d.square().sum(1),
        (d * gap).sum(1), clean.square().sum(1),
    )  # fmt: skip
    return torch.stack(table, dim=1)


def loss_sums(
    denoiser: Denoiser,
    data: Tensor,
    sigmas: Array,
    cond: Tensor | None,
    *,
    noise: NoiseStream,
    resamples: Tensor,
) -> Array:
    """Add up the errors of one batch at each level, each with fresh noise.

    Returns
    -------
        Shape (1 + draw, noise_level, loss stat).
    """
    rows = []
    with torch.no_grad():
        for sigma in map(float, sigmas):
            x = data + sigma * noise.like(data)
            rows.append(resamples @ _losses(x, denoiser(x, sigma, cond), data))
    return torch.stack(rows, dim=1).cpu().numpy()


@dataclass(frozen=True)
class _Asked:
    """A question as it meets the paths of a batch: the same at every level."""

    question: Partition
    columns: Mapping[int, int]
    index: Tensor  # (class,) column of each class of the question
    owner: Tensor  # (sample, 1) true set, 0 outside the question
    inside: Tensor  # (sample, 1) whether the path's class is one of the question's
    elsewhere: Tensor  # (sample, class) classes outside the true set

    @classmethod
    def of(cls, question: Partition, labels: Tensor, columns: Mapping[int, int]) -> "_Asked":
        owner, device = true_sets(labels, question), labels.device
        own = membership(question).to(device)[owner.clamp_min(0)]
        index = torch.tensor([columns[c] for c in question.classes], device=device)
        inside = (owner >= 0).double()[:, None]
        return cls(question, columns, index, owner.clamp_min(0)[:, None], inside, ~own)


def _statistics(level: Level, logits: Tensor, asked: _Asked) -> Tensor:
    """Return one row of STATS a path, zero for paths outside the partition."""
    decision = decide(logits, asked.question, asked.columns)
    log_p, class_log_p = decision.log_probability, decision.class_log_probability
    surprise, entropy = -log_p.gather(1, asked.owner)[:, 0], decision.entropy
    # D_true - D_mix = sum_c a_c D_c: within the true set minus within the whole question.
    within = torch.softmax(class_log_p.masked_fill(asked.elsewhere, -torch.inf), 1)
    coefficients = (within - class_log_p.exp()).to(level.denoised.dtype)
    gap = torch.einsum("nc,cnd->nd", coefficients, level.denoised[asked.index].flatten(2)).double()
    columns_out = [
        torch.ones_like(surprise),
        entropy,
        entropy**2,
        surprise,
        surprise**2,
        (decision.probability * log_p.clamp_min(-1e4) ** 2).sum(1),
        (decision.probability.argmax(1) == asked.owner[:, 0]).double(),
        torch.linalg.vecdot(gap, gap) / level.sigma**2,
        decision.within,
    ]
    return torch.stack(columns_out, dim=1) * asked.inside


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
    levels = walk(denoiser, sigmas, source, cond, NoiseStream(seed, batch), null=null)
    return summarise_levels(
        levels,
        torch.as_tensor(np.asarray(labels, dtype=np.int64), device=device),
        torch.as_tensor(np.ones(n) if weights is None else weights, device=device),
        questions,
        cond,
        torch.as_tensor(log_prior, device=device),
        torch.as_tensor(counts, device=device),
        clean=source.data if isinstance(source, ForwardPaths) else None,
    )
