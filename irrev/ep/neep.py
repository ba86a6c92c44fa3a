"""A network as the estimator: antisymmetric by construction, held out like the rest.

    a(x) = h(x_0 .. x_L) - h(x_L .. x_0)                                          (1)

is antisymmetric for any network h of the states of a sample, so any a gives the bound

    ep >= <a> - ln <e^{-a}>                                                       (2)

Training maximises the linear form <a - e^{-a}> + 1 of (2) by batches, the state with the largest
rescaled (2) on validation samples is kept, and (2) is evaluated on test samples, in turn over the
folds of `irrev.maxent_ep`. A competitor: it may find what no set of products holds, and needs
more data and time.

Source: D.-K. Kim, Y. Bae, S. Lee, H. Jeong, Phys. Rev. Lett. 125, 140604 (2020); evaluation by (2)
on held-out samples, scale and folds are ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from irrev.binning import SpikeBins
from irrev.ep.ascent import MAX_SCALE
from irrev.ep.networks import Device, choose_device
from irrev.ep.samples import build_samples
from irrev.ep.validation import (
    bootstrap,
    check_options,
    cut_blocks,
    held_out,
    log_mean_exp,
    noise_fraction,
    pooled,
)
from irrev.stats import deal_blocks, generators

Array = NDArray[np.float64]
States = Callable[[Tensor], Tensor]  # rows -> (sample, state, unit)

CHECK_EVERY = 100  # training steps between looks at validation
CHUNK_ROWS = 1 << 15  # samples evaluated at a time


@dataclass(frozen=True, slots=True)
class Training:
    """How a network is trained."""

    hidden: tuple[int, ...] = (128, 128)
    steps: int = 2000
    batch: int = 1024
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    patience: int = 8  # looks at validation without gain


@dataclass(frozen=True, slots=True)
class NeepEp:
    """Held-out bound of the network, nats per step."""

    value: float
    low: float
    high: float
    level: float
    certified: float
    train: float
    fold_values: Array  # (folds,)
    n_steps: int
    device: str

    def __str__(self) -> str:
        return (
            f"network EP bound {self.value:.4g} nat/step ({100 * self.level:g} % interval "
            f"{self.low:.4g} to {self.high:.4g}), {self.n_steps:,} steps, on {self.device}"
        )


class AntisymmetricNetwork(nn.Module):
    """a(x) of eq. (1); input (sample, state, unit)."""

    def __init__(self, n_states: int, n_units: int, hidden: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in pairwise([n_states * n_units, *hidden, 1]):
            layers += [nn.Linear(a, b), nn.SiLU()]
        self.body = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Return a of each sample, shape (sample,)."""
        ahead, back = self.body(x.flatten(1)), self.body(x.flip(1).flatten(1))
        return (ahead - back)[:, 0]


def neep_ep(
    bins: SpikeBins | ArrayLike,
    *,
    bin_s: float | None = None,
    lag: int = 1,
    window: int = 1,
    training: Training | None = None,
    device: Device = "auto",
    folds: int = 5,
    n_blocks: int = 50,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> NeepEp:
    """Estimate a held-out bound with an antisymmetric network.

    Parameters
    ----------
    bins
        As `irrev.maxent_ep` takes them; the same seed deals the same folds.
    bin_s, lag, window, folds, n_blocks, level, draws, seed
        As in `irrev.maxent_ep`.
    training
        Layers, steps, batch, rate; default `Training()`.
    device
        `auto` takes a GPU where there is one.

    Raises
    ------
    InputError
        As `irrev.maxent_ep`, or if a GPU is asked for and absent.
    """
    check_options(folds=folds, n_blocks=n_blocks, level=level, draws=draws)
    how, place = training or Training(), choose_device(device)
    samples = build_samples(bins, bin_s=bin_s, lag=lag, window=window)
    dealing, bootstrapping, _ = generators(seed, 3)
    kept, block = cut_blocks(samples.starts, n_blocks, lag=samples.span)
    fold = deal_blocks(n_blocks, folds, dealing)[block]
    record = torch.as_tensor(_record(bins), device=place)
    at = torch.as_tensor(samples.starts[kept], device=place)
    offsets = torch.arange(window + 1, device=place) * lag

    def states(rows: Tensor) -> Tensor:
        return record[at[rows][:, None] + offsets].float()

    tests, members, train = [], [], []
    for k in range(folds):
        rows = [
            np.flatnonzero(part)
            for part in (
                fold == k,
                fold == (k + 1) % folds,
                (fold != k) & (fold != (k + 1) % folds),
            )
        ]
        test, check, fit = (torch.as_tensor(r, device=place) for r in rows)
        network = AntisymmetricNetwork(window + 1, record.shape[1], how.hidden)
        network, scale = _train(network, states, fit, check, how, place, [seed, k])
        a, chosen = (scale * _evaluate(network, states, r) for r in (test, check))
        tests.append(held_out(a, -a, log_mean_exp(-chosen)))
        own = scale * _evaluate(network, states, fit)
        train.append(held_out(own, -own, 0.0).value)
        members.append(rows[0])
    n_steps = np.array([t.n_steps for t in tests])
    value = pooled(np.array([t.value for t in tests]), n_steps)
    blocks = [block[r] for r in members]
    deviations = bootstrap(tests, blocks, bootstrapping, bin_s=samples.bin_s, draws=draws)
    widen = np.sqrt(1.0 + noise_fraction(np.array(train), tests, n_steps))
    low, high = value + widen * np.quantile(deviations, [(1 - level) / 2, (1 + level) / 2])
    per_step = 1.0 / samples.span
    return NeepEp(
        value=value * per_step,
        low=float(low) * per_step,
        high=float(high) * per_step,
        level=level,
        certified=pooled(np.array([t.certified for t in tests]), n_steps) * per_step,
        train=pooled(np.array(train), n_steps) * per_step,
        fold_values=np.array([t.value for t in tests]) * per_step,
        n_steps=int(n_steps.sum()),
        device=place,
    )


def _record(bins: SpikeBins | ArrayLike) -> NDArray[np.generic]:
    """Return the states, spikes and spins as int8, others scaled to unit variance."""
    if isinstance(bins, SpikeBins):
        return 2 * bins.to_dense().astype(np.int8) - 1
    states = np.asarray(bins)
    if np.all((states == 0) | (states == 1)):
        return 2 * states.astype(np.int8) - 1
    if np.all(np.abs(states) == 1):
        return states.astype(np.int8)
    scale = states.std(axis=0)
    return ((states - states.mean(axis=0)) / np.where(scale > 0, scale, 1)).astype(np.float32)


def _train(
    network: AntisymmetricNetwork,
    states: States,
    fit: Tensor,
    check: Tensor,
    how: Training,
    place: str,
    seed: list[int],
) -> tuple[AntisymmetricNetwork, float]:
    """Train on `fit`, keep the state and the scale that `check` likes best; 0 if none beats 0."""
    start = int(np.random.SeedSequence(seed).generate_state(1)[0])
    draw = torch.Generator(device=place).manual_seed(start)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(start)
        for layer in network.body:
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
    network = network.to(place)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay
    )
    best, scale, since = 0.0, 0.0, 0
    kept = {k: v.clone() for k, v in network.state_dict().items()}
    for step in range(1, how.steps + 1):
        rows = fit[torch.randint(len(fit), (how.batch,), generator=draw, device=place)]
        optimiser.zero_grad(set_to_none=True)
        a = network(states(rows))
        torch.mean(torch.exp(-a.clamp(min=-20.0)) - a).backward()
        optimiser.step()
        if step % CHECK_EVERY and step != how.steps:
            continue
        value, c = _rescaled(_evaluate(network, states, check))
        since = 0 if value > best else since + 1
        if value > best:
            best, scale = value, c
            kept = {k: v.clone() for k, v in network.state_dict().items()}
        if since >= how.patience:
            break
    network.load_state_dict(kept)
    return network.eval(), scale


def _rescaled(a: Array) -> tuple[float, float]:
    """Return the largest c <a> - ln <e^(-c a)> over scales c, and that scale."""
    found = minimize_scalar(
        lambda c: log_mean_exp(-c * a) - c * float(a.mean()), bounds=(0.0, MAX_SCALE)
    )
    return -float(found.fun), float(found.x)


def _evaluate(network: AntisymmetricNetwork, states: States, rows: Tensor) -> Array:
    """Return a of the given samples."""
    with torch.no_grad():
        parts = [network(states(part)).cpu() for part in rows.split(CHUNK_ROWS)]
    return torch.cat(parts).numpy().astype(np.float64)
