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
from irrev.diffusion.partitions import Partition, decide_within, membership, true_sets
from irrev.diffusion.paths import ForwardPaths, Level, NoiseStream, Source, walk
from irrev.errors import InputError

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
LEVELS_AT_ONCE = 8  # whose statistics are made together; more overflow the caches
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
    origin = None if clean is None else clean.flatten(1).double()
    sums, losses, sigmas, n_rows = [], [], [], 0
    pending: list[list[tuple[Tensor, Tensor]]] = []  # small: a row a state, and no coordinates
    pending_losses: list[Tensor] = []

    def flush() -> None:
        by_question = zip(asked, zip(*pending, strict=True), strict=True)
        seen = [_statistics(several, one) for one, several in by_question]
        table = torch.stack(seen, dim=2) * weights[:, None, None, None]
        sums.append(torch.tensordot(resamples, table, dims=1))
        if pending_losses:
            losses.append(torch.tensordot(resamples, torch.stack(pending_losses, dim=1), dims=1))
        pending.clear()
        pending_losses.clear()

    for level in levels:
        sigmas.append(level.sigma)
        logits = level.log_ratio + log_prior
        pending.append([_posterior(level, logits, one) for one in asked])
        if origin is not None and level.null is not None:
            pending_losses.append(_losses(level.x, level.null, origin))
        n_rows += (len(level.denoised) + (level.null is not None)) * len(level.x)
        if len(pending) == LEVELS_AT_ONCE:
            flush()
    if pending:
        flush()
    entropy_sums = torch.cat(sums, dim=1).cpu().numpy()
    loss_sums = torch.cat(losses, dim=1).cpu().numpy() if losses else None
    for found in (entropy_sums, loss_sums):
        _refuse_nan(found, sigmas)
    return EntropySums(entropy_sums, len(labels), n_rows, loss_sums)


def _refuse_nan(sums: Array | None, sigmas: Sequence[float]) -> None:
    """Raise at the first level where a model gave no numbers: no marker would mean anything."""
    if sums is None:
        return
    lost = np.flatnonzero(np.isnan(sums[0]).reshape(len(sigmas), -1).any(axis=1))
    if len(lost):
        raise InputError(
            f"the model gives NaN or infinity at noise {sigmas[lost[0]]:.3g}; look at its output "
            "there, or choose other noise levels."
        )


def _losses(x: Tensor, denoised: Tensor, clean: Tensor) -> Tensor:
    """Return one row of LOSS_STATS a path; `clean` is x_0 in float64, shape (sample, coordinate).

    These are |x_0 - D|^2, the gain |x - x_0|^2 - |x - D|^2, |D|^2, D.(x - D) and |x_0|^2. The
    gain's mean is d sigma^2 - E|x - D|^2 without the noise of |x - x_0|^2.
    """
    d, state = denoised.flatten(1).double(), x.flatten(1).double()
    gap, loss = state - d, (clean - d).square_().sum(1)
    cross = (d * gap).sum(1)
    gain = (state - clean).square_().sum(1) - gap.square_().sum(1)
    table = (
        torch.ones_like(loss), loss, loss**2, gain, gain**2, d.square().sum(1), cross,
        clean.square().sum(1),
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
    rows, origin = [], data.flatten(1).double()
    with torch.no_grad():
        for sigma in map(float, sigmas):
            x = data + sigma * noise.like(data)
            rows.append(resamples @ _losses(x, denoiser(x, sigma, cond), origin))
    return torch.stack(rows, dim=1).cpu().numpy()


@dataclass(frozen=True)
class _Asked:
    """A question as it meets the paths of a batch: the same at every level."""

    question: Partition
    index: Tensor | slice  # column of each class of the question; a slice copies nothing
    owner: Tensor  # (sample,) true set, 0 outside the question
    inside: Tensor  # (sample,) whether the path's class is one of the question's
    own: Tensor  # (sample, class) classes of the true set

    @classmethod
    def of(cls, question: Partition, labels: Tensor, columns: Mapping[int, int]) -> "_Asked":
        owner, device = true_sets(labels, question), labels.device
        own = membership(question).to(device)[owner.clamp_min(0)]
        taken = [columns[c] for c in question.classes]
        everything = taken == list(range(len(columns)))
        index = slice(None) if everything else torch.tensor(taken, device=device)
        return cls(question, index, owner.clamp_min(0), (owner >= 0).double(), own)


def _posterior(level: Level, logits: Tensor, asked: _Asked) -> tuple[Tensor, Tensor]:
    """Return ln p of the question's classes, (sample, class), and |D_true - D_mix|^2/sigma^2."""
    class_log_p = torch.log_softmax(logits[:, asked.index], 1)
    # D_true - D_mix = sum_c a_c D_c: within the true set minus within the whole question.
    if max(map(len, asked.question.sets)) == 1:  # the set is the class
        within = asked.own.double()
    else:
        within = torch.softmax(class_log_p.masked_fill(~asked.own, -torch.inf), 1)
    coefficients = within.sub_(class_log_p.exp()).to(level.denoised.dtype)
    gap = torch.einsum("nc,cnd->nd", coefficients, level.denoised[asked.index].flatten(2))
    return class_log_p, gap.double().square_().sum(1) / level.sigma**2


def _statistics(levels: Sequence[tuple[Tensor, Tensor]], asked: _Asked) -> Tensor:
    """Return STATS, (sample, noise_level, stat); zero for paths outside the partition."""
    log_ps, rates = zip(*levels, strict=True)
    n, n_levels = len(rates[0]), len(rates)
    owner = asked.owner.repeat_interleave(n_levels)[:, None]
    decision = decide_within(torch.stack(log_ps, dim=1).flatten(0, 1), asked.question)
    log_p, p = decision.log_probability, decision.probability
    surprise, entropy = -log_p.gather(1, owner)[:, 0], decision.entropy
    columns = [
        torch.ones_like(surprise),
        entropy,
        entropy**2,
        surprise,
        surprise**2,
        (p * log_p.clamp_min(-1e4).square_()).sum(1),
        (p.argmax(1) == owner[:, 0]).double(),
        torch.stack(rates, dim=1).flatten(),
        decision.within,
    ]
    return torch.stack(columns, dim=1).reshape(n, n_levels, -1) * asked.inside[:, None, None]


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
