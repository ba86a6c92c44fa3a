"""Results of learning from currents as one row of kind `trajectories/currents`.

Beside the estimate a row holds what its figures need: the held-out current of single trajectories
with its fluctuation-theorem average, the current in slices of time, and the learned force on a
grid. All of them come from trajectories that the force was not fitted to.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.ep.currents import Field
from irrev.ep.features import InTime, polynomial
from irrev.ep.holdout import by_time, measure
from irrev.ep.learn import learn_ep, prepare
from irrev.ep.learned import LearnedEp
from irrev.ep.path_ep import PathEp, learn_temporal_score, path_ep
from irrev.ep.steps import Array, Index, Tracks, select

Device = Literal["auto", "cuda", "cpu"]

N_BINS = 40  # of the histogram of single trajectories
N_SLICES = 20  # of time, at most
N_NODES = 12  # of the force grid along each axis
SCORE_POWERS = 3  # of time in d ln p/dt
NETWORK_OPTIONS = (
    "diffusion",
    "remove_stage_drift",
    "centre",
    "common_time",
    "level",
    "draws",
    "null_draws",
    "seed",
)


def measure_tracks(
    ds: xr.Dataset,
    *,
    features: str = "linear",
    network: Mapping[str, Any] | None = None,
    driven: bool = False,
    device: Device = "auto",
    **options: Any,
) -> xr.Dataset:
    """Learn and measure; return the row without its identity.

    Parameters
    ----------
    ds
        Dataset of kind `trajectories`.
    features
        Family of forces of `irrev.learn_ep`, or "network" for `irrev.network_ep`.
    network
        Options of the network.
    driven
        Whether single trajectories need d ln p/dt: away from steady state.
    device
        Where a network is trained.
    **options
        Of `irrev.learn_ep`.
    """
    learn: Callable[..., LearnedEp]
    if features == "network":
        from irrev.ep.networks import network_ep  # torch is an extra

        kept = {n: options[n] for n in NETWORK_OPTIONS if n in options}
        learn = partial(network_ep, **{**kept, **(network or {}), "device": device})
    else:
        learn = partial(learn_ep, features=features, **options)
    est = learn(ds)
    raw = est
    if est.drift_removed:
        raw = learn(ds, remove_stage_drift=False, null_draws=1)
    names = ("remove_stage_drift", "centre", "common_time")
    tracks = prepare(ds, **{n: options[n] for n in names if n in options}).tracks
    seen = est.fold_of >= 0
    tracks, est = select(tracks, seen), replace(est, fold_of=est.fold_of[seen])
    paths = held_out_paths(tracks, est, driven=driven)
    return currents_row(est, tracks, paths, raw=raw.value)


def held_out_paths(tracks: Tracks, est: LearnedEp, *, driven: bool) -> PathEp:
    """Entropy production of every trajectory with fields fitted to the other folds."""
    ep, plain = np.zeros(tracks.n), np.zeros(tracks.n)
    powers = [[0] * tracks.dim, *(2 * np.eye(tracks.dim, dtype=int)).tolist()]
    powers += np.eye(tracks.dim, dtype=int).tolist()
    scale = tracks.x.std(axis=0)
    space = polynomial(tracks.dim, 2, centre=tracks.x.mean(axis=0), scale=scale, powers=powers)
    span = max(float(tracks.frame.max()), 1.0) * tracks.dt
    basis = InTime(space, SCORE_POWERS, span)
    halves = np.arange(tracks.n) % 2  # a single force has one fold: h is learned on the other half
    for force, mine in _held_out(est, halves):
        score = learn_temporal_score(select(tracks, ~mine), basis) if driven else None
        found = path_ep(select(tracks, mine), force, score)
        ep[mine], plain[mine] = found.ep, found.without_h
    return PathEp.of(ep, plain)


def _held_out(est: LearnedEp, halves: Index) -> Iterator[tuple[Field, NDArray[np.bool_]]]:
    if len(est.forces) == 1:
        yield from ((est.forces[0], halves == k) for k in (0, 1))
    else:
        yield from ((force, est.fold_of == k) for k, force in enumerate(est.forces))


def currents_row(est: LearnedEp, tracks: Tracks, paths: PathEp, *, raw: float) -> xr.Dataset:
    """Return one row of kind `trajectories/currents`, without its identity.

    Parameters
    ----------
    est, tracks
        The estimate and the trajectories as it measured them.
    paths
        Single trajectories.
    raw
        Value without drift removal, nats per time.
    """
    inc = est.increments
    scalars = {
        "ep_rate": est.value,
        "ep_rate_low": est.low,
        "ep_rate_high": est.high,
        "ep_certified": est.certified,
        "ep_certified_low": est.certified_low,
        "ep_certified_high": est.certified_high,
        "ep_sd": est.sd,
        "ep_train": est.train,
        "ep_debiased": est.debiased,
        "ep_2dt": est.coarse,
        "ep_second_order": est.second_order,
        "p": est.p,
        "p_track": est.unit_p.get("track", est.unit_p.get("block", np.nan)),
        "p_time": est.unit_p.get("time block", np.nan),
        "p_own_frame": est.unit_p.get("own frame", np.nan),
        "duration": est.duration,
        "dt": est.dt,
        "diffusion_trace": _mean_diffusion(est),
        "noise_ratio": inc.noise_ratio,
        "spread_ratio": inc.spread_ratio,
        "ep_raw": raw,
        "ift": paths.ift if paths.reliable else np.nan,
        "ift_error": paths.ift_error if paths.reliable else np.nan,
    }
    counts = {
        "n_trajectories": est.n_trajectories,
        "n_steps": est.n_steps,
        "n_gaps": est.n_gaps,
        "n_units": est.n_units,
    }
    texts = {
        "unit": est.unit,
        "basis": est.basis,
        "diffusion_rule": est.diffusion_rule,
        "notes": "; ".join(est.notes),
    }
    series = {
        **_histogram(paths.ep),
        **_slices(tracks, est),
        **_field(tracks, est),
        "increment_cov": (("lag",), inc.traces),
    }
    return xr.Dataset(
        {
            **{name: ("shard", np.array([value], np.float64)) for name, value in scalars.items()},
            **{name: ("shard", np.array([value], np.int64)) for name, value in counts.items()},
            **{name: ("shard", np.array([text], object)) for name, text in texts.items()},
            "drift_removed": ("shard", np.array([est.drift_removed])),
            "centred": ("shard", np.array([est.centred])),
            **{name: (("shard", *dims), values[None]) for name, (dims, values) in series.items()},
        },
        attrs={"level": est.level},
    )


Series = dict[str, tuple[tuple[str, ...], Array]]


def _mean_diffusion(est: LearnedEp) -> float:
    if est.diffusion is None:
        return float("nan")
    return float(np.trace(est.diffusion)) / len(est.diffusion)


def _histogram(ep: Array) -> dict[str, Any]:
    counts, edges = np.histogram(ep, bins=N_BINS)
    return {
        "ep_track": (("bin",), 0.5 * (edges[1:] + edges[:-1])),
        "n_track": (("bin",), counts.astype(np.int64)),
    }


def _slices(tracks: Tracks, est: LearnedEp) -> Series:
    """Held-out rate in slices of time; the error is that of the noise, sqrt(2 Q) / T."""
    booking = by_time(tracks, est.fold_of)
    D = est.diffusion if est.diffusion is not None else "moments"
    totals = measure(tracks, est.forces, D, booking)
    n = booking.n_units
    sums = [np.bincount(booking.unit_of, v, minlength=n) for v in
            (totals.current, totals.quadratic, totals.duration)]  # fmt: skip
    current, quadratic, duration = (np.pad(v, (0, N_SLICES - n)) for v in sums)
    seen = duration > 0
    T = np.where(seen, duration, 1.0)
    first, last = int(tracks.frame.min()), int(tracks.frame.max())
    width = max(1, -(-(last - first + 1) // N_SLICES))
    middle = (first + width * (np.arange(N_SLICES) + 0.5)) * tracks.dt
    return {
        "time": (("slice",), np.where(seen, middle, np.nan)),
        "ep_time": (("slice",), np.where(seen, current / T, np.nan)),
        "ep_time_sd": (("slice",), np.where(seen, np.sqrt(2 * quadratic) / T, np.nan)),
    }


def _field(tracks: Tracks, est: LearnedEp) -> Series:
    """Force on a grid of the first two components, the others at their mean, mean over folds."""
    low, high = np.quantile(tracks.x, [0.02, 0.98], axis=0)
    n_axes = min(2, tracks.dim)
    axes = [np.linspace(low[j], high[j], N_NODES) for j in range(n_axes)]
    grid = np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")], axis=1)
    x = np.tile(tracks.x.mean(axis=0), (len(grid), 1))
    x[:, :n_axes] = grid
    middle = 0.5 * float(tracks.frame.min() + tracks.frame.max()) * tracks.dt
    t = np.full(len(grid), middle)
    force = np.mean([f(x, t) for f in est.forces], axis=0)
    where, value = np.full((N_NODES**2, 2), np.nan), np.full((N_NODES**2, 2), np.nan)
    where[: len(grid), :n_axes] = grid
    value[: len(grid), :n_axes] = force[:, :n_axes]
    dims = ("node", "axis")
    return {"field_x": (dims, where), "field_f": (dims, value)}
