"""One piece of a diffusion study: samples and a model -> a row of results and its curves.

A piece follows paths of one origin: `data` (noised data; also bandwidths and the price list),
`paths` (stored sampling paths), or `generate` (ancestral samples at one guidance weight).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from irrev.diffusion.class_entropy import class_entropy, solve
from irrev.diffusion.denoiser import Denoiser
from irrev.diffusion.device import exact_arithmetic, place, rows_that_fit
from irrev.diffusion.entropy_sums import path_weights, summarise
from irrev.diffusion.information import information_profile
from irrev.diffusion.models.build import build_denoiser
from irrev.diffusion.partitions import Partition, finest, partition
from irrev.diffusion.paths import ForwardPaths, GeneratedPaths, NoiseStream, StoredPaths, walk
from irrev.diffusion.schedules import SCHEDULES, edm_grid
from irrev.diffusion.speed_accuracy import loss_curve, schedule_prices
from irrev.diffusion.transport import w2_moment_bound
from irrev.errors import InputError
from irrev.schema import MARKERS

N_EXAMPLES = 4  # denoised states that are kept for a person to look at
MAX_EXAMPLE = 3072  # coordinates; larger samples are not drawn
REFERENCE_SHARE = 0.5  # of the rows that the empirical model learns from


@dataclass(frozen=True)
class Samples:
    """Labelled samples in the shape of the model, and whole paths if there are any."""

    x: NDArray[np.float32]  # (sample, *dim)
    label: NDArray[np.int64] | None
    path: NDArray[np.float32] | None  # (noise_level, sample, *dim)
    sigma: NDArray[np.float64] | None

    def part(self, rows: NDArray[np.integer]) -> "Samples":
        """Return some of the samples."""
        return Samples(
            self.x[rows],
            None if self.label is None else self.label[rows],
            None if self.path is None else self.path[:, rows],
            self.sigma,
        )


def samples_of(ds: xr.Dataset) -> Samples:
    """Return the samples of a Dataset of kind "samples" in their own shape."""
    shape = tuple(json.loads(ds.attrs["shape"]))
    x = ds["x"].to_numpy().reshape(-1, *shape)
    label = ds["label"].to_numpy() if "label" in ds else None
    if "path" not in ds:
        return Samples(x, label, None, None)
    path = ds["path"].to_numpy()
    sigma = ds["sigma"].to_numpy().astype(np.float64)
    return Samples(x, label, path.reshape(len(path), -1, *shape), sigma)


def diffusion_piece(
    ds: xr.Dataset,
    *,
    model: Mapping[str, Any],
    piece: Mapping[str, Any],
    levels: Mapping[str, float],
    partitions: Mapping[str, Mapping[str, Sequence[int]]],
    schedules: Sequence[str],
    n_paths: int,
    batch: int,
    trace_states: int,
    level: float,
    draws: int,
    seed: int,
    weights: bytes = b"",
    weights_hash: str = "",
    device: str = "cpu",
    note: str = "",
) -> dict[str, xr.Dataset]:
    """Measure one piece of a study.

    Parameters
    ----------
    ds
        Samples, kind "samples".
    model, weights, weights_hash
        As in `build_denoiser`; the hash is recorded.
    piece
        `states` (data or generate) and `guidance`.
    levels
        `n`, `sigma_min`, `sigma_max` of the EDM grid; stored paths bring their own.
    partitions
        Question -> set -> class indices; the question of all classes is always the first.
    schedules
        Names of schedules to price.
    n_paths
        Paths: data are repeated with fresh noise, or cut, to this number; 0 takes each row once.
    batch, trace_states, level, draws, seed
        As in `class_entropy` and `information_profile`.
    device, note
        `auto`, `cuda` or `cpu`, and what the placement already knows.

    Returns
    -------
        `row`, one shard of kind "diffusion/class_entropy" without its identity, and `profile`.
    """
    placement = place(device)  # pyright: ignore[reportArgumentType]
    samples = samples_of(ds)
    if model["kind"] == "empirical":
        reference, samples = _split(samples, model.get("reference_share", REFERENCE_SHARE), seed)
    else:
        reference = samples
    denoiser = build_denoiser(
        model, weights=weights, data=reference.x, labels=reference.label, device=placement.device
    )
    if tuple(samples.x.shape[1:]) != tuple(denoiser.dim):
        raise InputError(
            f"samples of shape {samples.x.shape[1:]} for a model of {denoiser.dim}; name a model "
            "of this shape."
        )
    questions = [finest(range(denoiser.num_classes or 0))]
    questions += [partition(name, sets) for name, sets in partitions.items()]
    grid = edm_grid(int(levels["n"]), sigma_min=levels["sigma_min"], sigma_max=levels["sigma_max"])
    chosen = samples.part(np.resize(np.arange(len(samples.x)), n_paths or len(samples.x)))
    options = {
        "level": level, "draws": draws, "seed": seed, "batch": batch,
        "chunk": rows_that_fit(denoiser),
    }  # fmt: skip
    with exact_arithmetic():
        if piece["states"] == "generate":
            guidance = float(piece["guidance"])
            target = np.resize(np.arange(denoiser.num_classes or 0), len(chosen.x))
            states = "generate"
            profile = class_entropy(
                denoiser, target, grid, partitions=questions, guidance=guidance, **options
            )
        elif samples.path is not None and samples.sigma is not None:
            states, grid, guidance = "paths", samples.sigma, 1.0
            profile = _stored_entropy(denoiser, samples, questions, **options)
        else:
            states, guidance = "data", 1.0
            profile = class_entropy(
                denoiser, _labels(chosen), grid, data=chosen.x, partitions=questions, **options
            )
        prices = None
        if states == "data":
            information = information_profile(
                denoiser, chosen.x, grid, trace_states=trace_states, seed=seed, batch=batch
            )
            profile = profile.assign(information.data_vars)
            prices = _prices(information, chosen.x, schedules)
        examples = _examples(denoiser, chosen, states, guidance, grid, seed)
        profile = profile.assign(examples.data_vars)
    rows = _row(profile, samples, questions, prices)
    text = {
        "states": states, "model": model["kind"], "model_hash": weights_hash,
        "device": "; ".join(filter(None, [note, placement.note])),
    }  # fmt: skip
    rows |= {k: (("shard",), np.array([v], dtype=object)) for k, v in text.items()}
    rows["guidance"] = (("shard",), np.array([guidance]))
    rows["n_paths"] = (("shard",), np.array([profile.attrs["n_paths"]]))
    rows["n_rows"] = (("shard",), np.array([profile.attrs["n_rows"]]))
    return {"row": xr.Dataset(rows), "profile": profile}


def _labels(samples: Samples) -> NDArray[np.int64]:
    if samples.label is None:
        raise InputError("these samples have no labels; store the class of each one.")
    return samples.label


def _split(samples: Samples, share: float, seed: int) -> tuple[Samples, Samples]:
    """Separate the rows that the empirical model learns from those it is judged on."""
    order = np.random.default_rng(seed).permutation(len(samples.x))
    n = round(share * len(order))
    if not 0 < n < len(order):
        raise InputError(f"{len(order)} samples cannot be split at {share}; store more of them.")
    return samples.part(order[:n]), samples.part(order[n:])


def _stored_entropy(
    denoiser: Denoiser,
    samples: Samples,
    questions: Sequence[Partition],
    *,
    level: float,
    draws: int,
    seed: int,
    batch: int,
    chunk: int,
) -> xr.Dataset:
    """Score whole sampling paths that somebody stored."""
    assert samples.path is not None
    assert samples.sigma is not None
    k = denoiser.num_classes or 0
    y, prior, total = _labels(samples), np.full(k, 1 / k), None
    weights = path_weights(y, prior)
    for number, start in enumerate(range(0, len(y), batch)):
        part = slice(start, start + batch)
        states = torch.as_tensor(samples.path[:, part], dtype=denoiser.dtype)
        one = summarise(
            denoiser, y[part], samples.sigma, source=StoredPaths(states.to(denoiser.device)),
            questions=questions, prior=prior, weights=weights[part], seed=seed, batch=number,
            draws=draws, chunk=chunk,
        )  # fmt: skip
        total = one if total is None else total + one
    assert total is not None
    return solve(total, samples.sigma, questions, prior, level=level)


def _prices(
    information: xr.Dataset, x: NDArray[np.floating], schedules: Sequence[str]
) -> xr.Dataset | None:
    if not schedules:
        return None
    flat = x.reshape(len(x), -1).astype(float)
    curve = loss_curve(
        information["sigma"].to_numpy(),
        information["mmse"].to_numpy(),
        power=float(np.mean(np.sum(flat**2, axis=1))),
        dimension=flat.shape[1],
    )
    made = [SCHEDULES[name]() for name in schedules]
    return schedule_prices(curve, made, lower_bound=w2_moment_bound(flat))


def _examples(
    denoiser: Denoiser,
    samples: Samples,
    states: str,
    guidance: float,
    sigmas: NDArray[np.floating],
    seed: int,
) -> xr.Dataset:
    """Denoise a few paths level by level, so that a person sees the decision happen."""
    n, size = min(N_EXAMPLES, len(samples.x)), int(np.prod(denoiser.dim))
    if size > MAX_EXAMPLE:
        n = 0
    label = np.arange(n) if samples.label is None or states == "generate" else samples.label[:n]
    out = np.zeros((len(sigmas), n, size))
    device = denoiser.device
    if n:
        if states == "generate":
            target = torch.arange(n, device=device)
            source = GeneratedPaths(target, denoiser.dim, guidance, denoiser.dtype)
            conditions = [int(c) for c in label]
        elif samples.path is not None:
            stored = torch.as_tensor(samples.path[:, :n], dtype=denoiser.dtype, device=device)
            source, conditions = StoredPaths(stored), [0]
        else:
            x0 = torch.as_tensor(samples.x[:n], dtype=denoiser.dtype, device=device)
            source, conditions = ForwardPaths(x0), [0]
        for step in walk(denoiser, sigmas, source, conditions, NoiseStream(seed, 2**21)):
            assert step.null is not None
            shown = step.null
            if states == "generate":
                own = step.denoised[torch.arange(n), torch.arange(n)]
                shown = step.null + guidance * (own - step.null)
            out[step.index] = shown.flatten(1).double().cpu().numpy()
    return xr.Dataset(
        {
            "example_state": (("example", "noise_level", "feature"), out.transpose(1, 0, 2)),
            "example_label": (("example",), np.asarray(label, dtype=np.int64)),
        }
    )


def _row(
    profile: xr.Dataset,
    samples: Samples,
    questions: Sequence[Partition],
    prices: xr.Dataset | None,
) -> dict[str, Any]:
    """Flatten markers and prices to one shard."""
    out: dict[str, Any] = {}
    for name in (*MARKERS, "rate_closure"):
        for end in ("", "_low", "_high"):
            value = profile[name + end] if name + end in profile else profile[name]
            out[name + end] = (("shard", "question"), value.to_numpy()[None])
    for end in ("", "_low", "_high"):
        first = out[f"sigma_half{end}"][1][:, 0]
        out[f"sigma_decision{end}"] = (("shard",), first)
    names = profile["partition"].to_numpy().astype(object)
    out["partition"] = (("shard", "question"), names[None])
    out["entropy_prior"] = (("shard", "question"), profile["entropy_prior"].to_numpy()[None])
    out["accuracy"] = (("shard", "question"), profile["accuracy"].to_numpy()[None, -1])
    out["closed"] = (("shard", "question"), profile["closed"].to_numpy()[None])
    half = np.array([[half_distance(samples, q) for q in questions]])
    out["half_distance"] = (("shard", "question"), half)
    n = 0 if prices is None else prices.sizes["schedule"]
    listed = np.empty((1, n), dtype=object)
    if prices is not None:
        listed[0] = prices["schedule"].to_numpy()
    out["schedule"] = (("shard", "schedule_rank"), listed)
    for name in ("c2", "c2_conditional", "c2_retimed"):
        value = np.zeros((1, 0)) if prices is None else prices[name].to_numpy()[None]
        out[name] = (("shard", "schedule_rank"), value)
    bound = np.nan if prices is None else float(prices["w2_lower"])
    out["w2_lower"] = (("shard",), np.array([bound]))
    return out


def half_distance(samples: Samples, question: Partition) -> float:
    """Return half the distance of the two set means; NaN for more sets or without labels."""
    if len(question.sets) != 2 or samples.label is None:
        return float("nan")
    flat = samples.x.reshape(len(samples.x), -1).astype(float)
    rows = [np.isin(samples.label, members) for members in question.sets]
    if not all(r.any() for r in rows):
        return float("nan")
    return 0.5 * float(np.linalg.norm(flat[rows[0]].mean(0) - flat[rows[1]].mean(0)))
