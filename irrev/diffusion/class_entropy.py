"""Class-conditional entropy along the noise axis: when a decision is taken.

    H(C | x_sigma) = -E sum_c p(c | x_sigma) ln p(c | x_sigma)                    nats      (1)
    dH / d ln sigma = E|D_C - D|^2 / sigma^2,   D = sum_c p(c | x) D_c            nats      (2)

The posterior comes from the pathwise likelihood ratio of `paths`, so a trained model needs no
classifier. `rate` is the slope of (1); `rate_mix` is (2) with the mixture of the conditional
denoisers; `rate_closure` = int rate_mix d ln sigma / H(C) tests a model against itself: it is 1
for an exact model that starts at large enough noise, and a run outside [0.85, 1.15] is flagged.
The null condition of a trained network must not stand for D in (2): on 8x8 digits that integral
is five times H(C).

`entropy_mean` is the mean posterior entropy, `cross_entropy` the mean of -ln p(true | x). They
agree for an exact model on its own states; under guidance the second is not an entropy.

Sources: Handke et al., arXiv:2602.09651 and arXiv:2506.10433; equation (2) is I-MMSE for the
Markov chain C - x_0 - x_sigma, derived here.
"""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from irrev.diffusion.chunks import chunked
from irrev.diffusion.denoiser import Denoiser
from irrev.diffusion.entropy_sums import STATS, EntropySums, path_weights, summarise
from irrev.diffusion.markers import (
    closure,
    crossing,
    entropy_rate,
    peak,
    percentile_interval,
    window,
)
from irrev.diffusion.partitions import Partition, finest, prior_entropy
from irrev.diffusion.paths import ForwardPaths, GeneratedPaths, Source
from irrev.diffusion.rows import check_finite
from irrev.diffusion.schedules import check_grid
from irrev.errors import InputError
from irrev.stats import check_seed

ENDS = ("low", "high")
CLOSURE_RANGE = (0.85, 1.15)
SUM_TOLERANCE = 1e-6  # of a prior
Array = NDArray[np.float64]


def solve(
    summary: EntropySums,
    sigmas: NDArray[np.floating],
    questions: Sequence[Partition],
    prior: Array,
    *,
    level: float = 0.95,
    exhaustive: bool = True,
) -> xr.Dataset:
    """Turn sums into curves, rates and markers with bootstrap intervals.

    Parameters
    ----------
    summary, sigmas, questions, prior
        Sums over all paths, and what they were made with.
    level
        Level of the intervals.
    exhaustive
        Whether the data can answer the question in the end. If not, `rate_closure` is relative to
        the cross-entropy that was lost, not to the whole prior entropy.

    Returns
    -------
        Dataset over noise_level and partition, as `class_entropy` describes.

    Raises
    ------
    InputError
        If no path belongs to a partition.
    """
    grid = check_grid(np.asarray(sigmas, dtype=float))
    s = {name: summary.sums[..., i] for i, name in enumerate(STATS)}
    empty = [q.name for k, q in enumerate(questions) if s["weight"][0, 0, k] == 0]
    if empty:
        raise InputError(f"no path has a class of {empty}; add data of these classes.")
    # A resample without any path of a rare partition counts as the sample itself.
    total = np.where(s["weight"] > 0, s["weight"], np.inf)
    mean = {name: value / total for name, value in s.items()}
    limit = np.array([prior_entropy(prior, q) for q in questions])
    entropy, cross = mean["entropy"], mean["cross"]
    rate = np.moveaxis(entropy_rate(np.moveaxis(entropy, 1, 2), grid), 2, 1)
    n = np.where(s["weight"][0] > 0, s["weight"][0], np.inf)
    dims = ("noise_level", "partition")
    spread = np.sqrt(np.maximum(mean["entropy2"][0] - entropy[0] ** 2, 0) / n)
    low, high = (
        percentile_interval(entropy[1:], level) if len(entropy) > 1 else (entropy[0], entropy[0])
    )
    ds = xr.Dataset(
        {
            "entropy_mean": (dims, entropy[0]),
            "entropy_mean_se": (dims, spread),
            "entropy_mean_low": (dims, low),
            "entropy_mean_high": (dims, high),
            "cross_entropy": (dims, cross[0]),
            "entropy_within": (dims, mean["within"][0]),
            "accuracy": (dims, mean["correct"][0]),
            "surprise_var": (dims, mean["surprise2"][0] - entropy[0] ** 2),
            "surprise_var_true": (dims, mean["cross2"][0] - cross[0] ** 2),
            "rate": (dims, rate[0]),
            "rate_mix": (dims, mean["rate_mix"][0]),
            "entropy_prior": (("partition",), limit),
        },
        coords={
            "sigma": (("noise_level",), grid),
            "partition": np.array([q.name for q in questions], dtype=object),
        },
        attrs={"n_paths": summary.n_paths, "n_rows": summary.n_rows, "units": "nat"},
    )
    variance = mean["surprise2"] - entropy**2
    variance_true = mean["cross2"] - cross**2
    found: list[dict[str, Array]] = []
    for k in range(len(questions)):
        curves = {
            "entropy": entropy, "cross": cross, "rate": rate, "variance": variance,
            "variance_true": variance_true, "rate_mix": mean["rate_mix"],
        }  # fmt: skip
        one = {name: values[:, :, k] for name, values in curves.items()}
        found.append(_markers(grid, one, float(limit[k]), exhaustive=exhaustive))
    ds = ds.assign(_with_intervals(found, level))
    for marker, curve in (("sigma_half", entropy[0]), ("sigma_half_cross", cross[0])):
        reached = xr.DataArray((curve <= 0.5 * limit).any(axis=0), dims="partition")
        for name in (marker, *(f"{marker}_{end}" for end in ENDS)):
            if name in ds:
                ds[name] = ds[name].where(reached)
    closed = ds["rate_closure"]
    ds["closed"] = (closed >= CLOSURE_RANGE[0]) & (closed <= CLOSURE_RANGE[1])
    return ds


def _with_intervals(
    found: Sequence[dict[str, Array]], level: float
) -> dict[str, tuple[tuple[str, ...], Array]]:
    """Return markers by question, the sample's own value first in each, with their intervals."""
    out: dict[str, tuple[tuple[str, ...], Array]] = {}
    for name in found[0]:
        values = np.stack([one[name] for one in found], axis=1)  # (1 + draw, question)
        out[name] = ("partition",), values[0]
        if len(values) > 1:
            ends = percentile_interval(values[1:], level)
            out |= {f"{name}_{e}": (("partition",), v) for e, v in zip(ENDS, ends, strict=True)}
    return out


def _markers(
    sigmas: Array, curves: dict[str, Array], limit: float, *, exhaustive: bool
) -> dict[str, Array]:
    """Return every marker of one question, curves (draw, noise_level) -> values (draw,)."""
    entropy, cross, rate = curves["entropy"], curves["cross"], curves["rate"]
    low, high = window(rate, sigmas)
    lost = np.maximum(cross[:, 0] - cross[:, -1], np.finfo(float).tiny)
    return {
        "sigma_peak": peak(rate, sigmas),
        "rate_peak": rate.max(axis=1),
        "sigma_half": crossing(entropy, sigmas, 0.5 * limit),
        "sigma_half_cross": crossing(cross, sigmas, 0.5 * limit),
        "sigma_window_min": low,
        "sigma_window_max": high,
        "sigma_var": peak(curves["variance"], sigmas),
        "sigma_var_true": peak(curves["variance_true"], sigmas),
        "rate_closure": closure(curves["rate_mix"], sigmas, limit if exhaustive else lost),
    }


def class_entropy(
    denoiser: Denoiser,
    labels: NDArray[np.integer],
    sigmas: NDArray[np.floating],
    *,
    data: NDArray[np.floating] | None = None,
    partitions: Sequence[Partition] | None = None,
    prior: NDArray[np.floating] | None = None,
    guidance: float = 1.0,
    null: bool = True,
    draws: int = 200,
    level: float = 0.95,
    seed: int = 0,
    batch: int = 512,
    chunk: int | None = None,
) -> xr.Dataset:
    """Measure at which noise level each semantic decision is taken.

    Parameters
    ----------
    denoiser
        Conditional model.
    labels
        Class of each path, shape (sample,), values 0..num_classes-1. With `data`, its labels;
        without, the classes to generate.
    sigmas
        Noise levels, strictly falling, data units, shape (noise_level,); see `edm_grid`.
    data
        Labelled data, shape (sample, *dim), noised forward; None generates paths instead.
    partitions
        Questions; default: which of all classes.
    prior
        Declared probability of each class, uniform by default. Paths are weighted to it.
    guidance
        Weight of the guided denoiser that generates paths; 1 is unguided. Not with `data`.
    null
        Whether to evaluate the null condition too; needed for guidance, and then the reference of
        the log ratios.
    draws, level
        Bootstrap resamples of the paths and level of the intervals.
    seed, batch, chunk
        Seed of the noise, paths of one batch, rows of one network call (None: what suits the
        device; halved when memory runs out). A batch has its own noise stream, so the numbers
        depend on `batch`, not on `chunk`.

    Returns
    -------
        Over noise_level and partition, nats: `entropy_mean` with standard error and interval,
        `cross_entropy`, `entropy_within` (of the class given the decision), `accuracy`,
        `surprise_var`, `rate`, `rate_mix`. Over partition with intervals: `sigma_peak`,
        `sigma_half`, `sigma_half_cross` (both NaN where more than half is left at every level),
        `sigma_window_min/max`, `sigma_var`, `rate_closure`; `closed` says whether the last is
        within [0.85, 1.15].

    Raises
    ------
    InputError
        If shapes disagree, a label is outside the model, or guidance is asked for on data.
    """
    k = denoiser.num_classes or 0
    y, sigmas = _classes(labels, k), check_grid(np.asarray(sigmas, dtype=float))
    check_seed(seed)
    if batch < 1 or draws < 0 or not 0 < level < 1 or not np.isfinite(guidance):
        raise InputError(
            f"batch={batch}, draws={draws}, level={level}, guidance={guidance}; use batch >= 1, "
            "draws >= 0, level between 0 and 1, and a finite guidance weight."
        )
    data = None if data is None else np.asarray(data)
    if data is not None and (len(data) != len(y) or guidance != 1.0):
        raise InputError(
            f"{len(data)} rows of data, {len(y)} labels, guidance={guidance}; one label a row, "
            "and guidance only for generated paths (data=None)."
        )
    if guidance != 1.0 and not null:
        raise InputError(f"guidance={guidance} needs the null condition; set null=True.")
    if data is not None:
        if data.shape[1:] != tuple(denoiser.dim):
            raise InputError(
                f"data of shape {data.shape} for a model of {denoiser.dim}; reshape to "
                "(sample, *dim)."
            )
        check_finite(data)
    pi = np.full(k, 1 / k) if prior is None else np.asarray(prior, dtype=float)
    if pi.shape != (k,) or not np.all(pi > 0) or abs(pi.sum() - 1) > SUM_TOLERANCE:
        raise InputError(
            f"prior {pi.tolist()} for {k} classes; give one positive share each, with sum 1."
        )
    questions = list(partitions or [finest(range(k))])
    conditions = sorted({c for q in questions for c in q.classes})
    if conditions[0] < 0 or conditions[-1] >= k:
        raise InputError(
            f"partitions name the classes {conditions} of a model of {k}; name 0..{k - 1}."
        )
    if data is None:
        conditions = sorted({*conditions, *y.tolist()})
    else:  # paths of other classes would only cost network calls
        inside = np.isin(y, conditions)
        y, data = y[inside], data[inside]
    weights = path_weights(y, pi)
    denoiser = chunked(denoiser, chunk)
    total: EntropySums | None = None
    for number, start in enumerate(range(0, len(y), batch)):
        part = slice(start, start + batch)
        paths = _source(
            denoiser, y[part], conditions, None if data is None else data[part], guidance
        )
        one = summarise(
            denoiser, y[part], sigmas, source=paths, questions=questions, prior=pi,
            weights=weights[part], conditions=conditions, seed=seed, batch=number, draws=draws,
            null=null,
        )  # fmt: skip
        total = one if total is None else total + one
    assert total is not None
    ds = solve(total, sigmas, questions, pi, level=level)
    ds.attrs |= {
        "estimator": "bridge likelihood ratio",
        "source": "generate" if data is None else "data",
        "guidance": guidance,
        "reference": "null" if null else "mean of the classes",
        "seed": seed,
        "batch": batch,
    }
    return ds


def _classes(labels: NDArray[np.integer], k: int) -> NDArray[np.int64]:
    """Return the labels as indices; refuse what is none of the k classes."""
    given = np.asarray(labels)
    numbers = given.ndim == 1 and len(given) > 0 and given.dtype.kind in "iuf"
    if not numbers or not np.isin(given, np.arange(k)).all():
        raise InputError(
            f"labels of shape {given.shape} and type {given.dtype} for a model of {k} classes; "
            f"give indices 0..{k - 1}."
        )
    return given.astype(np.int64)


def _source(
    denoiser: Denoiser,
    labels: NDArray[np.int64],
    conditions: Sequence[int],
    data: NDArray[np.floating] | None,
    guidance: float,
) -> Source:
    if data is not None:
        return ForwardPaths(torch.as_tensor(data, dtype=denoiser.dtype, device=denoiser.device))
    target = torch.as_tensor(np.searchsorted(conditions, labels), device=denoiser.device)
    return GeneratedPaths(target, denoiser.dim, guidance, denoiser.dtype)
