"""Diffusion studies: train a small model if there is none, and measure one study_at.

Torch is imported where work runs only, so that a flow that sends work away stays light.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from prefect import task
from prefect.cache_policies import NO_CACHE

from irrev.readers import open_source
from storage.inputs import load_input, part_place
from storage.pending import Pending
from storage.repository import Repository, StoreRef
from tasks.cluster import on_worker, worth_retrying
from tasks.pieces import Piece, run_pieces

CHECKPOINT_STEPS = 1000  # a killed training loses at most this
MOST_PARTS = 32  # of a piece: each is kept when it is done
PATHS = ("path", "reference", "reference_rows")  # keys of a model that name files


def train_digits(ref: StoreRef, key: str, model: dict[str, Any]) -> str:
    """Train the digit model and leave its weights in the scratch under `key`.

    The state is kept every thousand steps, so that a killed run goes on from there.
    """
    from irrev.diffusion.models.digits import DigitTrainer, digits_to_bytes
    from irrev.diffusion.models.states import state_from_dataset, state_to_dataset

    pending = Pending(Repository.open(ref))
    present = pending.keys()
    if key in present:
        return key
    trainer = DigitTrainer(steps=model["steps"], seed=model["seed"])
    kept = [k for k in present if k.startswith(f"{key}-step-")]
    if kept:
        last = max(kept, key=lambda k: int(k.rsplit("-", 1)[1]))
        trainer.resume(state_from_dataset(pending.get(last)["data"].load()))

    def keep(state: dict[str, Any]) -> None:
        if trainer.step < trainer.steps:
            pending.put({f"{key}-step-{trainer.step}": {"data": state_to_dataset(state)}})

    trainer.run(every=CHECKPOINT_STEPS, checkpoint=keep)
    weights = np.frombuffer(digits_to_bytes(trainer.denoiser()), dtype=np.uint8)
    pending.put({key: {"data": xr.Dataset({"weights": ("byte", weights)})}})
    pending.drop({k for k in pending.keys() if k.startswith(f"{key}-step-")})  # noqa: SIM118
    return key


@dataclass(frozen=True, slots=True)
class StudyRef:
    """Everything that one run of a study needs, by reference."""

    ref: StoreRef
    at: str  # snapshot of its samples
    group: str  # group of its samples, empty for a run that only generates
    model_at: tuple[str, str] | None  # group and snapshot of weights that were trained here
    config: str  # JSON
    folder: str  # where paths of the configuration start
    seed: int
    device: str
    note: str


@lru_cache(maxsize=1)
def _built(
    model: str, ref: StoreRef, model_at: tuple[str, str] | None, files: str, device: str
) -> Any:
    """Keep the last model in a worker, for all pieces that ask it: loading can take minutes.

    `files` are the hashes of its files: a folder with other content is another model.
    """
    from irrev.diffusion.chunks import chunked
    from irrev.diffusion.device import place, rows_that_fit
    from irrev.diffusion.models.build import build_denoiser

    at = place(device).device  # pyright: ignore[reportArgumentType]
    built = build_denoiser(json.loads(model), weights=_weights(ref, model_at), device=at)
    return chunked(built, rows_that_fit(built))


@lru_cache(maxsize=1)
def _opened(study_at: StudyRef) -> Any:
    """Keep model and samples of the last piece in a worker."""
    from irrev.diffusion.study import open_study

    config = json.loads(study_at.config)
    model = model_of(config, study_at.folder)
    reference = model.pop("reference_rows", None)
    names = ("levels", "partitions", "n_paths", "batch", "classes", "against")

    built = None
    if model["kind"] != "empirical":  # that one is made of samples
        files = json.dumps(config.get("files", {}), sort_keys=True)
        described = json.dumps(model, sort_keys=True)
        built = _built(described, study_at.ref, study_at.model_at, files, study_at.device)

    def part(number: int) -> xr.Dataset:
        return load_input(study_at.ref, part_place(study_at.group, number), study_at.at)

    return open_study(
        load_input(study_at.ref, study_at.group, study_at.at) if study_at.group else None,
        part=part,
        model=model,
        piece=config["selection"],
        reference=open_source(reference, kind="samples") if reference else None,
        built=built,
        seed=study_at.seed,
        device=study_at.device,
        note=study_at.note,
        **{name: config[name] for name in names},
        **config["interval"],
    )


def model_of(config: dict[str, Any], folder: str) -> dict[str, Any]:
    """Return the model's description with paths that start at the configuration's folder."""
    model = dict(config["model"])
    for name in PATHS:
        if model.get(name):
            model[name] = str(Path(folder, model[name]))
    return model


def _weights(ref: StoreRef, model_at: tuple[str, str] | None) -> bytes:
    if model_at is None:
        return b""
    return load_input(ref, *model_at)["weights"].to_numpy().tobytes()


def _model_hash(weights: bytes, files: dict[str, str]) -> str:
    """Return the hash of trained weights or of the model's files; empty for a formula."""
    if weights:
        return hashlib.sha256(weights).hexdigest()
    return " ".join(files[name] for name in sorted(files))


def count_batches(study_at: StudyRef) -> int:
    """Return the number of batches of a study_at."""
    return len(_opened(study_at).batches)


def measure_batches(study_at: StudyRef, first: int, stop: int) -> dict[str, xr.Dataset]:
    """Add up some batches of a piece."""
    from irrev.diffusion.device import exact_arithmetic
    from irrev.diffusion.study import study_sums

    start = time.perf_counter()
    with exact_arithmetic():
        sums = study_sums(_opened(study_at), range(first, stop))
    seconds = ((), time.perf_counter() - start)
    return {"sums": sums.to_dataset().assign(seconds=seconds)}


def finish_piece(study_at: StudyRef, parts: list[xr.Dataset]) -> dict[str, xr.Dataset]:
    """Turn the sums of all batches into a result.

    Parameters
    ----------
    piece
        The study_at.
    parts
        Its sums in the order of the batches; none: measure them now.

    Returns
    -------
        `row` (one shard of kind diffusion/class_entropy without its identity) and `profile`.
    """
    from irrev.diffusion.device import exact_arithmetic
    from irrev.diffusion.entropy_sums import EntropySums
    from irrev.diffusion.records import study_result
    from irrev.diffusion.study import study_sums

    start, before, study = time.perf_counter(), 0.0, _opened(study_at)
    with exact_arithmetic():
        if parts:
            sums = reduce(add, map(EntropySums.from_dataset, parts))
            before = sum(float(ds["seconds"]) for ds in parts)
        else:
            sums = study_sums(study, range(len(study.batches)))
        config = json.loads(study_at.config)
        weights = _weights(study_at.ref, study_at.model_at)
        made = study_result(
            study,
            sums,
            model=model_of(config, study_at.folder),
            schedules=config["schedules"],
            trace_states=config["trace_states"],
            weights=weights,
            weights_hash=_model_hash(weights, config.get("files", {})),
        )
    seconds = ("shard", [before + time.perf_counter() - start])
    return {"row": made["row"].assign(seconds=seconds), "profile": made["profile"]}


def measure_study(
    study_at: StudyRef, key: str, resources: dict[str, float] | None, timeout_s: float
) -> dict[str, xr.Dataset]:
    """Measure one piece of a study; a long one in parts that are kept until all are there.

    The parts depend on the piece alone, so neither the workers nor a run that was killed and
    taken up again change a bit of the result.

    Parameters
    ----------
    key
        Content key of the shard.
    """
    n = on_worker(count_batches, (study_at,), resources=resources, timeout_s=timeout_s)
    parts: list[xr.Dataset] = []
    if n > 1:
        size = -(-n // MOST_PARTS)
        cuts = [(first, min(first + size, n)) for first in range(0, n, size)]
        pieces = [
            Piece(f"{first}-{stop}", measure_batches, (study_at, first, stop), resources)
            for first, stop in cuts
        ]
        found = run_pieces(study_at.ref, key, pieces, timeout_s=timeout_s)
        parts = [found[piece.name]["sums"] for piece in pieces]
    return on_worker(finish_piece, (study_at, parts), resources=resources, timeout_s=timeout_s)


@task(
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="train {name}",
)
def train_model(
    name: str, ref: StoreRef, key: str, model: dict[str, Any], timeout_s: float
) -> str:
    """Train a model where work runs; returns the key of its weights in the scratch."""
    return on_worker(train_digits, (ref, key, model), timeout_s=timeout_s)
