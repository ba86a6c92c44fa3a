"""Sums of a study's run -> one row of results and its curves.

On noised data the row also holds what the data's moments say, where the drift becomes unstable,
and what every schedule costs; see `moments`, `instability` and `prices`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from irrev.diffusion import moments
from irrev.diffusion.class_entropy import solve
from irrev.diffusion.device import PrecisionError, exact_arithmetic, precision_error
from irrev.diffusion.entropy_sums import EntropySums
from irrev.diffusion.information import bandwidth_spread, bandwidths, branching
from irrev.diffusion.instability import onset_with_draws
from irrev.diffusion.models.build import build_denoiser
from irrev.diffusion.paths import ForwardPaths, GeneratedPaths, NoiseStream, StoredPaths, walk
from irrev.diffusion.price_list import price_list
from irrev.diffusion.schedules import entropic_grid
from irrev.diffusion.study import Study, open_study, study_sums
from irrev.schema import MARKERS

N_EXAMPLES = 4  # denoised states that are kept for a person to look at
EXAMPLE_LEVELS = 12  # noise levels at which they are kept
MAX_EXAMPLE = 2**16  # coordinates; larger samples are not drawn
MOMENT_ROWS = 4096  # rows from which moments are taken
PRECISION_ROWS, PRECISION_LEVELS = 8, (0.25, 0.5, 0.75)  # states, and levels as shares of the grid
Array = NDArray[np.float64]
Variable = tuple[tuple[str, ...], NDArray[Any]]


def diffusion_piece(
    ds: xr.Dataset | None,
    *,
    model: Mapping[str, Any],
    schedules: Sequence[str],
    trace_states: int,
    weights: bytes = b"",
    weights_hash: str = "",
    device: str = "cpu",
    **options: Any,
) -> dict[str, xr.Dataset]:
    """Measure one run of a study in one go: `open_study`, all its sums, `study_result`.

    Parameters
    ----------
    ds, model, weights, device, options
        As in `open_study`.
    schedules, trace_states, weights_hash
        As in `study_result`.
    """
    with exact_arithmetic():
        study = open_study(ds, model=model, weights=weights, device=device, **options)
        sums = study_sums(study, range(len(study.batches)))
        return study_result(
            study, sums, model=model, schedules=schedules, trace_states=trace_states,
            weights=weights, weights_hash=weights_hash,
        )  # fmt: skip


def study_result(
    study: Study,
    sums: EntropySums,
    *,
    model: Mapping[str, Any],
    schedules: Sequence[str],
    trace_states: int,
    weights: bytes = b"",
    weights_hash: str = "",
) -> dict[str, xr.Dataset]:
    """Turn the sums of all batches into a row and its curves.

    Parameters
    ----------
    study, sums
        The run and the sums of all its batches.
    model, weights, weights_hash
        Description, weights and hash of the model, for the record.
    schedules
        Names of schedules to price.
    trace_states
        States for divergence and branching, resamples of the points of instability, and pairs of
        right and wrong starts; 0 leaves all of these out.

    Returns
    -------
        `row`, one shard of kind "diffusion/class_entropy" without its identity, and `profile`.
    """
    exhaustive = study.against != "unconditional"
    profile = solve(
        sums, study.grid, study.questions, study.prior, level=study.level, exhaustive=exhaustive
    )
    row = _question_row(profile)
    if study.states == "data" and sums.losses is not None:
        curves = bandwidths(sums.losses[0], study.grid)
        if trace_states:
            curves |= _branching(study, trace_states)
            curves["bandwidth_spread"] = bandwidth_spread(curves)
        curves["entropic_sigma"] = entropic_grid(study.grid, curves["mmse"], len(study.grid))
        profile = profile.assign({k: (("noise_level",), v) for k, v in curves.items()})
    points, found = _points(study, trace_states)
    row |= points
    profile = profile.assign(found).assign(_examples(study))
    row |= price_list(study, sums.losses, schedules, trace_states)
    row |= _precision(study, model, weights)
    row |= _identity(study, model, sums, weights_hash)
    return {"row": xr.Dataset(row), "profile": profile}


def _question_row(profile: xr.Dataset) -> dict[str, Variable]:
    """Flatten the markers of all questions to one shard."""
    out: dict[str, Variable] = {}
    for name in (*MARKERS, "rate_closure"):
        for end in ("", "_low", "_high"):
            value = profile[name + end] if name + end in profile else profile[name]
            out[name + end] = (("shard", "question"), value.to_numpy()[None])
    for end in ("", "_low", "_high"):
        out[f"sigma_decision{end}"] = (("shard",), out[f"sigma_half{end}"][1][:, 0])
    for name in ("entropy_prior", "closed"):
        out[name] = (("shard", "question"), profile[name].to_numpy()[None])
    names = profile["partition"].to_numpy().astype(object)
    out["partition"] = (("shard", "question"), names[None])
    out["accuracy"] = (("shard", "question"), profile["accuracy"].to_numpy()[None, -1])
    start = profile["entropy_mean"].to_numpy()[0] / profile["entropy_prior"].to_numpy()
    out["entropy_start"] = (("shard", "question"), start[None])
    return out


def _branching(study: Study, trace_states: int) -> dict[str, Array]:
    assert study.samples is not None
    rows = study.rows[:trace_states]
    return branching(study.denoiser, study.samples.x[rows], None, study.grid, study.seed)


def _points(study: Study, trace_states: int) -> tuple[dict[str, Variable], dict[str, Variable]]:
    """Return what data alone say about each question, and where the drift loses stability."""
    k = len(study.questions)
    row = {"half_distance": np.full(k, np.nan)}
    row |= {f"sigma_midpoint{end}": np.full(k, np.nan) for end in ("", "_low", "_high")}
    shard = {
        f"{name}{end}": np.nan
        for name in ("sigma_spectral", "sigma_spectral_between", "sigma_instability")
        for end in ("", "_low", "_high")
    }
    profile: dict[str, Variable] = {}
    samples = study.samples
    if samples is not None and samples.label is not None and study.against != "unconditional":
        flat = samples.x[:MOMENT_ROWS].reshape(min(len(samples.x), MOMENT_ROWS), -1).astype(float)
        labels = samples.label[:MOMENT_ROWS]
        rng = np.random.default_rng(np.random.SeedSequence(study.seed, spawn_key=(2**22,)))
        counts = moments.row_counts(len(flat), study.draws, rng)
        row["half_distance"] = np.array(
            [moments.half_distances(flat, labels, q) for q in study.questions]
        )
        if len(flat) > 1:
            spectral = {
                "sigma_spectral": moments.spectral(flat, counts),
                "sigma_spectral_between": moments.spectral_between(flat, labels, counts),
            }
            for name, values in spectral.items():
                shard.update(_with_interval(name, values, study.level))
        if trace_states and study.states == "data":
            profile = _instability(study, flat, labels, counts[: 1 + trace_states], shard, row)
    out: dict[str, Variable] = {n: (("shard", "question"), v[None]) for n, v in row.items()}
    return out | {n: (("shard",), np.array([v])) for n, v in shard.items()}, profile


def _with_interval(name: str, values: Array, level: float) -> dict[str, float]:
    """Return value and interval of the finite resamples; NaN where the value itself is none."""
    finite = values[np.isfinite(values)] if np.isfinite(values[0]) else values[:1]
    return dict(
        zip((name, f"{name}_low", f"{name}_high"), moments.with_interval(finite, level),
            strict=True)
    )  # fmt: skip


def _instability(
    study: Study,
    flat: Array,
    labels: NDArray[np.int64],
    counts: Array,
    shard: dict[str, float],
    row: dict[str, Array],
) -> dict[str, Variable]:
    """Fill in the onsets at the mean of the data and half-way between two sets."""
    total = counts.sum(axis=1, keepdims=True)
    mean = counts @ flat / np.where(total > 0, total, np.nan)  # a resample may hold no row
    points, owners = [mean], [-1]
    for k, question in enumerate(study.questions):
        means = moments.set_means(flat, labels, question, counts)
        if means is not None:
            points.append(means.mean(axis=1))
            owners.append(k)
    stacked = np.stack(points, axis=1).reshape(len(counts), len(points), *study.denoiser.dim)
    states = torch.as_tensor(stacked, dtype=study.denoiser.dtype, device=study.denoiser.device)
    values, onsets = onset_with_draws(study.denoiser, states, study.grid, seed=study.seed)
    midpoint = np.full((len(study.grid), len(study.questions)), np.nan)
    for position, owner in enumerate(owners):
        if owner < 0:
            shard.update(_with_interval("sigma_instability", onsets[:, position], study.level))
            continue
        midpoint[:, owner] = values[:, position]
        found = _with_interval("sigma_midpoint", onsets[:, position], study.level)
        for name, value in found.items():
            row[name][owner] = value
    return {
        "lambda_mean": (("noise_level",), values[:, 0]),
        "lambda_midpoint": (("noise_level", "partition"), midpoint),
    }


def _examples(study: Study) -> dict[str, Variable]:
    """Denoise a few paths level by level, so that a person sees the decision happen."""
    size = int(np.prod(study.denoiser.dim))
    n = min(N_EXAMPLES, len(study.labels)) if size <= MAX_EXAMPLE else 0
    chosen = np.unique(
        np.linspace(0, len(study.grid) - 1, min(EXAMPLE_LEVELS, len(study.grid))).round()
    ).astype(int)
    label = study.labels[:n]
    if study.against == "unconditional":
        label = np.resize(study.conditions, n)
    out = np.zeros((n, len(chosen), size), dtype=np.float32)
    if n:
        source, conditions = _example_paths(study, label)
        for step in walk(
            study.denoiser, study.grid, source, conditions, NoiseStream(study.seed, 2**21)
        ):
            if step.index not in chosen:
                continue
            assert step.null is not None
            shown = step.null
            if study.states == "generate":
                own = step.denoised[0]
                shown = step.null + study.guidance * (own - step.null)
            at = int(np.searchsorted(chosen, step.index))
            out[:, at] = shown.flatten(1).float().cpu().numpy()
    return {
        "example_state": (("example", "example_level", "feature"), out),
        "example_sigma": (("example_level",), study.grid[chosen]),
        "example_label": (("example",), label),
        "example_shape": (("axis",), np.array(study.denoiser.dim, dtype=np.int64)),
    }


def _example_paths(
    study: Study, label: NDArray[np.int64]
) -> tuple[ForwardPaths | GeneratedPaths | StoredPaths, torch.Tensor]:
    """Return the first paths of a run, and the condition of each."""
    dtype, device = study.denoiser.dtype, study.denoiser.device
    own = torch.as_tensor(label, device=device)[None]  # one condition, another for each path
    if study.states == "generate":
        target = torch.zeros(len(label), dtype=torch.int64, device=device)
        return GeneratedPaths(target, study.denoiser.dim, study.guidance, dtype), own
    assert study.samples is not None
    rows = study.rows[: len(label)]
    if study.states == "paths":
        assert study.samples.path is not None
        states = torch.as_tensor(study.samples.path[:, rows], dtype=dtype, device=device)
        return StoredPaths(states), own
    x0 = torch.as_tensor(study.samples.x[rows], dtype=dtype, device=device)
    return ForwardPaths(x0), own


def _precision(study: Study, model: Mapping[str, Any], weights: bytes) -> dict[str, Variable]:
    """Measure the error of half precision against float64; NaN if there is none."""
    rms = largest = float("nan")
    if model.get("dtype", "float32") in ("float16", "bfloat16"):
        exact = build_denoiser(
            {**model, "dtype": "float64"}, weights=weights, device=str(study.denoiser.device)
        )
        noise = NoiseStream(study.seed, 2**23)
        blank = torch.empty(
            (PRECISION_ROWS, *study.denoiser.dim), dtype=study.denoiser.dtype,
            device=study.denoiser.device,
        )  # fmt: skip
        cond = torch.as_tensor(
            np.resize(study.conditions, PRECISION_ROWS), device=study.denoiser.device
        )
        found: list[PrecisionError] = []
        for share in PRECISION_LEVELS:
            sigma = float(study.grid[round(share * (len(study.grid) - 1))])
            x = (1 + sigma**2) ** 0.5 * noise.like(blank)
            found.append(precision_error(study.denoiser, exact, x, sigma, cond))
        rms, largest = max(e.rms for e in found), max(e.largest for e in found)
    return {
        "precision_rms": (("shard",), np.array([rms])),
        "precision_largest": (("shard",), np.array([largest])),
    }


def _identity(
    study: Study, model: Mapping[str, Any], sums: EntropySums, weights_hash: str
) -> dict[str, Variable]:
    reference = "unconditional, prior 0.5" if study.against == "unconditional" else "classes"
    if absent := sorted(set(study.conditions) - set(study.labels.tolist())):
        # their share of the prior goes to the classes that are there
        reference += f"; no sample of {', '.join(map(str, absent))}"
    text = {
        "states": study.states, "model": model["kind"], "model_hash": weights_hash,
        "precision": model.get("dtype", "float32"), "reference": reference,
        "device": study.placement,
    }  # fmt: skip
    out: dict[str, Variable] = {
        k: (("shard",), np.array([v], dtype=object)) for k, v in text.items()
    }
    out["guidance"] = (("shard",), np.array([study.guidance]))
    out["n_paths"] = (("shard",), np.array([sums.n_paths]))
    out["n_rows"] = (("shard",), np.array([sums.n_rows]))
    return out
