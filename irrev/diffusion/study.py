"""One run of a diffusion study, cut into batches that can be computed anywhere and added.

A run follows paths of one origin: `data` (noised data), `paths` (stored sampling paths), or
`generate` (ancestral samples at one guidance weight). It asks which of its classes a state belongs
to, or, against the null condition, of each class or prompt alone whether it does. Every batch has
its own noise, so its sums are the same wherever it runs; adding them in order gives the run's.

Memory is one batch: states and log ratios of `batch` paths, and one chunk of network calls; and
the samples, once, or two parts of 16 MiB of them if they lie in parts. Sums do not grow with the
number of paths. An empirical model that learns from half of the samples holds all of them.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from irrev.diffusion.chunks import Chunked, chunked
from irrev.diffusion.denoiser import Denoiser
from irrev.diffusion.device import place, rows_that_fit
from irrev.diffusion.entropy_sums import EntropySums, path_weights, summarise
from irrev.diffusion.guidance import PROMPT, prompt_sums
from irrev.diffusion.models.build import build_denoiser
from irrev.diffusion.partitions import Partition, finest, hierarchy, partition
from irrev.diffusion.paths import ForwardPaths, GeneratedPaths, Source, StoredPaths
from irrev.diffusion.rows import RowParts
from irrev.diffusion.schedules import edm_grid
from irrev.errors import InputError

MOST_CLASSES = 64  # asked about without being named: more are a mistake, each costs a call a state
N_GENERATED = 300  # paths of a run without samples that names no number (as in the papers)
REFERENCE_SHARE = 0.5  # of the rows that the empirical model learns from
KEPT_PARTS = 2  # of samples that lie in parts: a batch can begin in one and end in the next
Array = NDArray[np.float64]
Part = Callable[[int], xr.Dataset]


@dataclass(frozen=True)
class Samples:
    """Labelled samples in the shape of the model, and whole paths if there are any."""

    x: NDArray[np.float32] | RowParts  # (sample, *dim)
    label: NDArray[np.int64] | None
    path: NDArray[np.float32] | RowParts | None  # (noise_level, sample, *dim)
    sigma: Array | None

    def part(self, rows: NDArray[np.integer]) -> "Samples":
        """Return some of the samples."""
        return Samples(
            self.x[rows],
            None if self.label is None else self.label[rows],
            None if self.path is None else self.path[:, rows],
            self.sigma,
        )


def samples_of(ds: xr.Dataset, part: Part | None = None) -> Samples:
    """Return the samples of a Dataset of kind "samples" in their own shape.

    Parameters
    ----------
    ds
        All samples, or the head of samples that lie in parts.
    part
        Number of a part -> its Dataset.
    """
    shape = tuple(json.loads(ds.attrs["shape"]))
    label = ds["label"].to_numpy() if "label" in ds else None
    sigma = ds["sigma"].to_numpy().astype(np.float64) if "sigma" in ds else None
    if "x" in ds:
        x = ds["x"].to_numpy().reshape(-1, *shape)
        path = ds["path"].to_numpy() if "path" in ds else None
        if path is not None:
            path = path.reshape(len(path), -1, *shape)
        return Samples(x, label, path, sigma)
    if part is None:
        raise InputError("these samples lie in parts; give `part`, which reads one of them.")
    read = lru_cache(maxsize=KEPT_PARTS)(part)
    rows = list(ds.attrs["rows"])

    def x_of(number: int) -> NDArray[np.float32]:
        return read(number)["x"].to_numpy().reshape(-1, *shape)

    def path_of(number: int) -> NDArray[np.float32]:
        path = read(number)["path"].to_numpy()
        return path.reshape(len(path), -1, *shape)

    paths = None if sigma is None else RowParts(path_of, rows, shape, leading=len(sigma))
    return Samples(RowParts(x_of, rows, shape), label, paths, sigma)


@dataclass(frozen=True)
class Study:
    """A model, the paths that are followed, and what is asked of them."""

    denoiser: Chunked
    samples: Samples | None
    states: str  # data, paths, generate
    against: str  # classes, unconditional
    grid: Array
    questions: list[Partition]
    conditions: list[int]
    labels: NDArray[np.int64]  # class or prompt of each path
    rows: NDArray[np.int64]  # row of the samples that each path ends in, if it does
    prior: Array
    guidance: float
    batch: int
    draws: int
    level: float
    seed: int
    placement: str

    @property
    def batches(self) -> list[slice]:
        """Return the paths of each batch; against the null condition a batch has one prompt."""
        runs = (
            [np.flatnonzero(self.labels == c) for c in self.conditions]
            if self.against == "unconditional"
            else [np.arange(len(self.labels))]
        )
        return [
            slice(int(run[0]) + start, int(run[0]) + min(start + self.batch, len(run)))
            for run in runs
            for start in range(0, len(run), self.batch)
        ]


def open_study(
    ds: xr.Dataset | None,
    *,
    model: Mapping[str, Any],
    piece: Mapping[str, Any],
    levels: Mapping[str, float],
    partitions: Mapping[str, Any],
    n_paths: int,
    batch: int,
    level: float,
    draws: int,
    seed: int,
    classes: Sequence[int] = (),
    against: str = "classes",
    part: Part | None = None,
    reference: xr.Dataset | None = None,
    weights: bytes = b"",
    device: str = "cpu",
    note: str = "",
    built: Denoiser | None = None,
) -> Study:
    """Build the model and lay out the paths.

    Parameters
    ----------
    ds
        Samples, kind "samples"; None for a run that only generates.
    model, weights
        As in `build_denoiser`.
    piece
        `states` (data or generate) and `guidance`.
    levels
        `n`, `sigma_min`, `sigma_max` of the EDM grid; stored paths bring their own.
    partitions
        Question -> set -> class indices, or nested sets: one question a node. The question which
        class it is comes first.
    n_paths
        Paths: data are repeated with fresh noise, or cut, to this number; 0 takes each row once.
        Against the null condition, paths of each prompt.
    batch, level, draws, seed
        As in `class_entropy`.
    classes
        Classes that are asked about and generated; none means all of the model.
    against
        `classes`, or `unconditional`: each class or prompt alone against the null condition,
        prior 1/2.
    part
        Number of a part -> its Dataset, for samples that lie in parts.
    reference
        Rows that the empirical model learns from; without it, half of the samples.
    device, note
        `auto`, `cuda` or `cpu`, and what the placement already knows.
    built
        The denoiser that the model describes, if it is there already.

    Raises
    ------
    InputError
        If model, samples and questions do not fit each other.
    """
    placement = place(device)  # pyright: ignore[reportArgumentType]
    samples = None if ds is None else samples_of(ds, part)
    if built is None:
        denoiser, samples = _model(model, samples, reference, weights, placement.device, seed)
    else:
        denoiser = chunked(built, rows_that_fit(built))
    if samples is not None and tuple(samples.x.shape[1:]) != tuple(denoiser.dim):
        raise InputError(
            f"samples of shape {samples.x.shape[1:]} for a model of {denoiser.dim}; name a model "
            "of this shape."
        )
    asked = _classes(classes, denoiser)
    if against == "unconditional":
        questions = _prompts(asked, model.get("prompts"))
    else:
        questions = _questions(asked, partitions)
    grid = edm_grid(int(levels["n"]), sigma_min=levels["sigma_min"], sigma_max=levels["sigma_max"])
    states, labels, rows = _paths(samples, piece["states"], asked, n_paths, against)
    if states == "paths":
        assert samples is not None
        assert samples.sigma is not None
        grid = samples.sigma
    k = max(denoiser.num_classes or 0, *(c + 1 for c in asked))
    return Study(
        denoiser=denoiser, samples=samples, states=states, against=against, grid=grid,
        questions=questions, conditions=asked, labels=labels, rows=rows,
        prior=np.array([0.5, 0.5]) if against == "unconditional" else np.full(k, 1 / k),
        guidance=float(piece["guidance"]), batch=batch, draws=draws, level=level, seed=seed,
        placement=note or placement.note,
    )  # fmt: skip


def _model(
    model: Mapping[str, Any],
    samples: Samples | None,
    reference: xr.Dataset | None,
    weights: bytes,
    device: str,
    seed: int,
) -> tuple[Chunked, Samples | None]:
    """Build the model; an empirical one without rows of its own takes a part of the samples."""
    learned = None if reference is None else samples_of(reference)
    if model["kind"] == "empirical" and learned is None and samples is not None:
        learned, samples = _split(samples, model.get("reference_share", REFERENCE_SHARE), seed)
    built = build_denoiser(
        model,
        weights=weights,
        data=None if learned is None else learned.x[:],
        labels=None if learned is None else learned.label,
        device=device,
    )
    return Chunked(built, rows_that_fit(built)), samples


def _split(samples: Samples, share: float, seed: int) -> tuple[Samples, Samples]:
    """Separate the rows that the empirical model learns from those it is judged on."""
    order = np.random.default_rng(seed).permutation(len(samples.x))
    n = round(share * len(order))
    if not 0 < n < len(order):
        raise InputError(f"{len(order)} samples cannot be split at {share}; store more of them.")
    return samples.part(order[:n]), samples.part(order[n:])


def _classes(classes: Sequence[int], denoiser: Denoiser) -> list[int]:
    known = denoiser.num_classes or 0
    if not classes and known > MOST_CLASSES:
        raise InputError(
            f"the model has {known} classes; name those that are asked about, `classes: [...]`."
        )
    asked = sorted(set(classes)) if classes else list(range(known))
    if not asked or asked[0] < 0 or asked[-1] >= known:
        raise InputError(f"classes {asked} of a model of {known}; name indices 0..{known - 1}.")
    return asked


def _questions(asked: Sequence[int], partitions: Mapping[str, Any]) -> list[Partition]:
    """Return which class it is, if there is a choice, and what the partitions ask."""
    out = [finest(asked)] if len(asked) > 1 else []
    for name, sets in partitions.items():
        nested = any(isinstance(members, Mapping) for members in sets.values())
        out += hierarchy(sets, name=name) if nested else [partition(name, sets)]
    if not out:
        raise InputError(
            "one class and no partition: nothing to ask; say `against: unconditional`."
        )
    unknown = sorted({c for q in out for c in q.classes} - set(asked))
    if unknown:
        raise InputError(f"partitions name the classes {unknown}; they are not among {asked}.")
    return out


def _prompts(asked: Sequence[int], texts: Sequence[str] | None) -> list[Partition]:
    names = [texts[c] if texts else str(c) for c in asked]
    return [Partition(name, PROMPT.sets, PROMPT.set_names) for name in names]


def _paths(
    samples: Samples | None, states: str, asked: Sequence[int], n_paths: int, against: str
) -> tuple[str, NDArray[np.int64], NDArray[np.int64]]:
    """Return the origin, the class of each path and the row of the samples it ends in."""
    n = n_paths or (N_GENERATED if samples is None else len(samples.x))
    if against == "unconditional":
        labels = np.repeat(np.asarray(asked, dtype=np.int64), n)
        return "generate", labels, np.zeros(0, np.int64)
    if states == "generate":
        return states, np.resize(np.asarray(asked, dtype=np.int64), n), np.zeros(0, np.int64)
    if samples is None:
        raise InputError("noised data are asked for but there are no samples; name a source.")
    if samples.label is None:
        raise InputError("these samples have no labels; store the class of each one.")
    whole = samples.path is not None
    rows = np.arange(len(samples.x)) if whole else np.resize(np.arange(len(samples.x)), n)
    rows = rows[np.isin(samples.label[rows], asked)]  # others would only cost network calls
    if len(rows) == 0:
        raise InputError(f"no sample has one of the classes {list(asked)}; look at the labels.")
    return ("paths" if whole else "data"), samples.label[rows].astype(np.int64), rows


def study_sums(study: Study, numbers: Iterable[int]) -> EntropySums:
    """Follow the paths of some batches and add them up.

    Parameters
    ----------
    study
        The run.
    numbers
        Which of its `batches`, rising.
    """
    cuts, total = study.batches, None
    for number in numbers:
        one = (_prompt_batch if study.against == "unconditional" else _batch)(
            study, number, cuts[number]
        )
        total = one if total is None else total + one
    if total is None:
        raise InputError("no batch was named; name at least one.")
    return total


def _batch(study: Study, number: int, part: slice) -> EntropySums:
    weights = path_weights(study.labels, study.prior)
    return summarise(
        study.denoiser, study.labels[part], study.grid, source=_source(study, part),
        questions=study.questions, prior=study.prior, weights=weights[part],
        conditions=study.conditions, seed=study.seed, batch=number, draws=study.draws,
    )  # fmt: skip


def _source(study: Study, part: slice) -> Source:
    dtype, device = study.denoiser.dtype, study.denoiser.device
    if study.states == "generate":
        target = np.searchsorted(study.conditions, study.labels[part])
        return GeneratedPaths(
            torch.as_tensor(target, device=device), study.denoiser.dim, study.guidance, dtype
        )
    assert study.samples is not None
    rows = study.rows[part]
    if study.states == "paths":
        assert study.samples.path is not None
        states = torch.as_tensor(study.samples.path[:, rows], dtype=dtype)
        return StoredPaths(states.to(device))
    return ForwardPaths(torch.as_tensor(study.samples.x[rows], dtype=dtype, device=device))


def _prompt_batch(study: Study, number: int, part: slice) -> EntropySums:
    """One prompt's paths; the columns of the other prompts stay empty."""
    prompt = int(study.labels[part][0])
    side = np.arange(part.start, part.stop) % 2
    one = prompt_sums(
        study.denoiser, prompt, side, study.grid, prior=study.prior, guidance=study.guidance,
        draws=study.draws, seed=study.seed, batch=number,
    )  # fmt: skip
    shape = list(one.sums.shape)
    shape[2] = len(study.conditions)
    sums = np.zeros(shape)
    sums[:, :, study.conditions.index(prompt)] = one.sums[:, :, 0]
    return EntropySums(sums, one.n_paths, one.n_rows)
