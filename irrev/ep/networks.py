"""Thermodynamic forces as neural networks: the GPU step of learning from currents.

The network minimises the force loss of `irrev.ep.currents`, eq. (1), on one part of the
trajectories, keeps the state with the least loss on a second part, and its current is measured on
a third. Inputs are shifted and scaled; an angle enters as its cosine and sine (unwrapped, it costs
a quarter of the entropy production of a ring). Time enters as one more input, or through bumps,

    f(x, t) = sum_i f_i(x) exp(-((t - t_i) / b_i)^2),                                     (1)

with learned centres and widths. Use a network where no small family of functions will do: on
linear systems the closed form of `irrev.learn_ep` is exact, quicker and comes with its bias.

Source: bumps in time, S. Otsubo et al., Commun. Phys. 5, 11 (2022); network estimators of entropy
production, D.-K. Kim et al., Phys. Rev. Lett. 125, 140604 (2020); sizes and steps are ours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from irrev.ep.currents import Totals
from irrev.ep.holdout import bootstrap, by_time, by_track, check_draws, each_track, measure, rate
from irrev.ep.increments import measure_increments
from irrev.ep.learn import notes_for, prepare, resolve_diffusion
from irrev.ep.learned import LearnedEp
from irrev.ep.stage import centre_tracks
from irrev.ep.steps import Array, Index, Tracks, select, step_count, steps_of
from irrev.errors import InputError
from irrev.stats import check_seed, deal_blocks, empirical_p

TimeForm = Literal["none", "input", "bumps"]
Device = Literal["auto", "cuda", "cpu"]

BUMPS = 20
CHECK_EVERY = 250  # training steps between looks at the validation loss
CHECK_STEPS = 200_000  # validation steps looked at, at most
PARTS = 10  # tenths of the trajectories: 5 train, 2 validate, 3 test


@dataclass(frozen=True, slots=True)
class Training:
    """How a network is trained."""

    hidden: tuple[int, ...] = (64, 64)
    steps: int = 1500
    batch: int = 4096
    learning_rate: float = 1e-3
    time: TimeForm = "none"
    angles: tuple[int, ...] = ()  # components that are angles, radians
    device: Device = "auto"


class ForceNetwork(nn.Module):
    """f(x, t); inputs are raw positions and times."""

    centre: Tensor
    scale: Tensor

    def __init__(self, x: Array, duration: float, training: Training) -> None:
        super().__init__()
        dim = x.shape[1]
        self.angles = list(training.angles)
        self.plain = [j for j in range(dim) if j not in self.angles]
        self.time = training.time
        self.duration = duration
        scale = np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
        for j in self.angles:
            scale[j] = 1.0
        self.register_buffer("centre", torch.as_tensor(x.mean(axis=0), dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))
        n_bumps = BUMPS if self.time == "bumps" else 1
        sizes = [len(self.plain) + 2 * len(self.angles) + int(self.time == "input")]
        sizes += [*training.hidden, dim * n_bumps]
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b), nn.SiLU()]
        self.body = nn.Sequential(*layers[:-1])
        self.bump_centre = nn.Parameter(torch.linspace(0, 1, n_bumps))
        self.bump_width = nn.Parameter(torch.full((n_bumps,), 1.5 / n_bumps))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Evaluate at positions (point, dim) and times (point,), shape (point, dim)."""
        y = (x - self.centre) / self.scale
        angle = x[:, self.angles]
        parts = [y[:, self.plain], torch.cos(angle), torch.sin(angle)]
        s = t / self.duration
        if self.time == "input":
            parts.append(2 * s[:, None] - 1)
        out = self.body(torch.cat(parts, dim=1))
        if self.time == "bumps":
            weight = torch.exp(-(((s[:, None] - self.bump_centre) / self.bump_width) ** 2))
            out = (out.reshape(len(x), BUMPS, -1) * weight[:, :, None]).sum(dim=1)
        return out / self.scale


@dataclass(frozen=True, slots=True)
class NetworkForce:
    """A trained network as a function of numpy arrays."""

    network: ForceNetwork
    device: str

    def __call__(self, x: Array, t: Array) -> Array:
        """Evaluate at positions (point, dim) and times (point,), shape (point, dim)."""
        with torch.no_grad():
            out = self.network(_tensor(x, self.device), _tensor(t, self.device))
        return out.cpu().numpy().astype(np.float64)


def network_ep(
    x: ArrayLike | xr.Dataset | Tracks,
    *,
    dt: float | None = None,
    diffusion: ArrayLike | None = None,
    hidden: Sequence[int] = (64, 64),
    steps: int = 1500,
    batch: int = 4096,
    learning_rate: float = 1e-3,
    time: TimeForm = "none",
    angles: Sequence[int] = (),
    device: Device = "auto",
    remove_stage_drift: bool | None = None,
    centre: bool = False,
    common_time: bool | None = None,
    level: float = 0.95,
    draws: int = 1000,
    null_draws: int = 500,
    seed: int = 0,
) -> LearnedEp:
    """Estimate the entropy production rate with a network as the force.

    Parameters
    ----------
    x, dt, remove_stage_drift, centre, common_time, level, draws, null_draws, seed
        As in `irrev.learn_ep`; half of the trajectories train, a fifth validates, the rest is
        measured.
    diffusion
        Matrix (dim, dim) or a number; default from increments.
    hidden, steps, batch, learning_rate
        Layers, training steps, steps of trajectories a batch, Adam's rate (cosine decay).
    time
        How time enters: not, as an input, or through bumps, eq. (1).
    angles
        Components that are angles.
    device
        `auto` takes a GPU where there is one.

    Returns
    -------
        As `irrev.learn_ep`, on the test trajectories (`fold_of` 0, others -1); `debiased` is NaN:
        it has no closed form.

    Raises
    ------
    InputError
        If there are fewer than ten trajectories or a GPU is asked for and absent.
    """
    check_draws(level, draws, null_draws)
    rng = np.random.default_rng(check_seed(seed))
    prepared = prepare(
        x,
        dt=dt,
        remove_stage_drift=remove_stage_drift,
        centre=centre,
        common_time=common_time,
        folds=PARTS,
    )
    tracks = prepared.tracks
    increments = measure_increments(tracks)
    D, rule = resolve_diffusion(diffusion, increments)
    if not isinstance(D, np.ndarray):
        raise InputError("networks need a constant diffusion matrix; give one or none.")
    part = deal_blocks(tracks.n, PARTS, rng)
    training = Training(tuple(hidden), steps, batch, learning_rate, time, tuple(angles), device)
    train, check, test = (select(tracks, s) for s in _parts(part))
    force = train_force(train, check, D, training, seed=seed)
    booking = by_track(test, np.zeros(test.n, dtype=np.int64), rng)
    totals, coarse = (measure(test, (force,), D, booking, lag=lag) for lag in (1, 2))
    spread = {prepared.unit: bootstrap(totals, booking, level, draws, rng, refitted=False)}
    p = {prepared.unit: _flip_test(totals.current, null_draws, rng)}
    if prepared.common:
        blocks = by_time(test, np.zeros(test.n, dtype=np.int64))
        shared = measure(test, (force,), D, blocks)
        spread["time block"] = bootstrap(shared, blocks, level, draws, rng, refitted=False)
        p["time block"] = _flip_test(shared.current, null_draws, rng)
    if prepared.common and not centre:
        own = _own_frame(tracks, part, D, training, seed)
        p["own frame"] = _flip_test(own.current, null_draws, rng)
    widest = max(spread, key=lambda n: spread[n].high - spread[n].low)
    value, twice = rate(totals.current, totals.duration), rate(coarse.current, coarse.duration)
    seen = by_track(train, np.zeros(train.n, dtype=np.int64), rng)
    fitted = measure(train, (force,), D, seen)
    return LearnedEp(
        value=value,
        low=spread[widest].low,
        high=spread[widest].high,
        level=level,
        sd=spread[widest].sd,
        p=max(p.values()),
        certified=rate(totals.bound, totals.duration),
        certified_low=spread[widest].bound_low,
        certified_high=spread[widest].bound_high,
        train=rate(fitted.bound, fitted.duration),
        debiased=float("nan"),
        coarse=twice,
        second_order=2 * value - twice,
        dt=tracks.dt,
        n_trajectories=test.n,
        n_steps=int(step_count(test).sum()),
        duration=float(totals.duration.sum()),
        n_gaps=test.n_gaps,
        unit=widest,
        n_units=booking.n_units,
        unit_sd={n: s.sd for n, s in spread.items()},
        unit_p=p,
        basis=f"network {'x'.join(map(str, hidden))}",
        ridge=(),
        diffusion=D,
        diffusion_rule=rule,
        increments=increments,
        drift_removed=prepared.drift_removed,
        centred=centre,
        forces=(force,),
        fold_of=np.where(part > 6, 0, -1),
        track_current=totals.current,
        track_duration=totals.duration,
        notes=notes_for(
            increments, value, twice, booking.n_units, rule, tracks.dt, spread[widest].sd, p
        ),
    )


def _own_frame(tracks: Tracks, part: Index, D: Array, training: Training, seed: int) -> Totals:
    """Train and measure once more in each track's own frame."""
    own = centre_tracks(tracks)
    train, check, test = (select(own, s) for s in _parts(part))
    force = train_force(train, check, D, training, seed=seed)
    zeros = np.zeros(test.n, dtype=np.int64)
    return measure(test, (force,), D, each_track(test, zeros))


def _parts(part: Index) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    return part < 5, (part == 5) | (part == 6), part > 6


def train_force(
    train: Tracks, check: Tracks, diffusion: Array, training: Training, *, seed: int
) -> NetworkForce:
    """Train a network on some trajectories; keep the best state on others.

    Parameters
    ----------
    train, check
        Trajectories that are fitted, and those that choose the state.
    diffusion
        Matrix (dim, dim).
    training
        Layers, steps, batch, rate, device.
    seed
        Of weights and batches.
    """
    device = choose_device(training.device)
    duration = max(float(train.frame.max()), 1.0) * train.dt
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ForceNetwork(train.x, duration, training)
    network = network.to(device)
    data, judge = _steps(train, device), _steps(check, device, CHECK_STEPS)
    D = _tensor(diffusion, device)
    draw = torch.Generator(device=device).manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
    best, kept = math.inf, {k: v.clone() for k, v in network.state_dict().items()}
    for step in range(1, training.steps + 1):
        _set_rate(optimiser, training, step)
        rows = torch.randint(len(data[2]), (training.batch,), generator=draw, device=device)
        optimiser.zero_grad(set_to_none=True)
        mid, dx, time = (a[rows] for a in data)
        force_loss(network, mid, dx, time, D, train.dt).backward()
        optimiser.step()
        if step % CHECK_EVERY == 0 or step == training.steps:
            with torch.no_grad():
                loss = float(force_loss(network, *judge, D, check.dt))
            if loss < best:
                best, kept = loss, {k: v.clone() for k, v in network.state_dict().items()}
    network.load_state_dict(kept)
    return NetworkForce(network.eval(), device)


def force_loss(
    network: nn.Module, mid: Tensor, dx: Tensor, t: Tensor, diffusion: Tensor, dt: float
) -> Tensor:
    """Mean of f . D f - 2 f . dx / dt over steps: minus the entropy production rate at best."""
    f = network(mid, t)
    return torch.mean(torch.sum(f * (f @ diffusion) - 2 * f * dx / dt, dim=1))


def choose_device(device: Device) -> str:
    """Return the device to compute on.

    Raises
    ------
    InputError
        If a GPU is asked for and absent.
    """
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise InputError("device is cuda but no GPU is seen; set device: auto or cpu.")
    return "cuda" if found and device != "cpu" else "cpu"


def _set_rate(optimiser: torch.optim.Optimizer, training: Training, step: int) -> None:
    share = 0.5 * (1 + math.cos(math.pi * step / training.steps))
    for group in optimiser.param_groups:
        group["lr"] = training.learning_rate * share


def _steps(tracks: Tracks, device: str, most: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    parts = [(s.mid, s.dx, s.time) for s in steps_of(tracks)]
    whole = [np.concatenate(p) for p in zip(*parts, strict=True)]
    every = 1 if most is None else max(1, len(whole[2]) // most)
    mid, dx, time = (_tensor(a[::every], device) for a in whole)
    return mid, dx, time


def _tensor(x: Array, device: str) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(x), dtype=torch.float32, device=device)


def _flip_test(current: Array, draws: int, rng: np.random.Generator) -> float:
    """Sign flips of whole units for a force that has not seen them."""
    signs = rng.choice(np.array([-1.0, 1.0]), size=(draws, len(current)))
    return empirical_p(float(current.sum()), signs @ current)
