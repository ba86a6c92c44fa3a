"""Diffusion studies: train a small model if there is none, and measure one piece."""

import hashlib
import time
from typing import Any

import numpy as np
import xarray as xr
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage.inputs import load_input
from storage.pending import Pending
from storage.repository import Repository, StoreRef
from tasks.cluster import on_worker, worth_retrying

CHECKPOINT_STEPS = 1000  # a killed training loses at most this


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


def measure_piece(
    ref: StoreRef,
    at: str,
    group: str,
    model_at: tuple[str, str] | None,
    config: dict[str, Any],
    seed: int,
    device: str,
    note: str,
) -> dict[str, xr.Dataset]:
    """Measure one piece of a study.

    Returns
    -------
        `row` (one shard of kind diffusion/class_entropy without its identity) and `profile`.
    """
    from irrev.diffusion.records import diffusion_piece

    start = time.perf_counter()
    weights = b""
    if model_at is not None:
        weights = load_input(ref, *model_at)["weights"].to_numpy().tobytes()
    interval = config["interval"]
    made = diffusion_piece(
        load_input(ref, group, at),
        model=config["model"],
        piece=config["selection"],
        levels=config["levels"],
        partitions=config["partitions"],
        schedules=config["schedules"],
        n_paths=config["n_paths"],
        batch=config["batch"],
        trace_states=config["trace_states"],
        level=interval["level"],
        draws=interval["draws"],
        seed=seed,
        weights=weights,
        weights_hash=hashlib.sha256(weights).hexdigest() if weights else "",
        device=device,
        note=note,
    )
    row = made["row"].assign(seconds=("shard", [time.perf_counter() - start]))
    return {"row": row, "profile": made["profile"]}


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


def infer_diffusion(
    name: str,
    ref: StoreRef,
    at: str,
    group: str,
    model_at: tuple[str, str] | None,
    config: dict[str, Any],
    seed: int,
    device: str,
    note: str,
    resources: dict[str, float] | None,
    timeout_s: float,
) -> dict[str, xr.Dataset]:
    """Measure one shard where its model can run."""
    arguments = (ref, at, group, model_at, config, seed, device, note)
    return on_worker(measure_piece, arguments, resources=resources, timeout_s=timeout_s)
