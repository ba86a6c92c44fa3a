"""Cross-spectral witness of one shard: read, whiten, sum, solve.

A record that stays in its file is measured piece by piece by all workers together.
"""

import time
from typing import Any

import numpy as np
import xarray as xr

from irrev.ep.streaming import Alone, Crew
from irrev.ep.witness import witness
from irrev.ep.witness_pieces import witness_pieces
from irrev.ep.witness_rows import witness_row
from irrev.readers.in_place import check_unchanged, samples_of
from storage.inputs import load_input
from storage.repository import StoreRef
from tasks.cluster import crew, on_worker


def measure_pairs(
    ref: StoreRef, at: str, group: str, config: dict[str, Any], seed: int
) -> dict[str, xr.Dataset]:
    """Measure all pairs of channels of one recording.

    Returns
    -------
        `row` (one shard of kind timeseries/witness without its identity) and `pairs` (kind
        witness).
    """
    start = time.perf_counter()
    recording = load_input(ref, group, at)
    pairs = witness(recording, **config["witness"], keep_coherence=True, seed=seed)
    row = witness_row(pairs).assign(seconds=("shard", [time.perf_counter() - start]))
    return {"row": row, "pairs": pairs}


def infer_witness(
    name: str,
    ref: StoreRef,
    at: str,
    group: str,
    config: dict[str, Any],
    seed: int,
    timeout_s: float,
) -> dict[str, xr.Dataset]:
    """Measure one shard where work runs."""
    return on_worker(measure_pairs, (ref, at, group, config, seed), timeout_s=timeout_s)


def measure_in_place(
    ref: StoreRef, at: str, group: str, path: str, config: dict[str, Any], crew: Crew
) -> dict[str, xr.Dataset]:
    """Measure all pairs of channels of a record whose samples are read from `path`.

    Returns
    -------
        As `measure_pairs`.
    """
    start = time.perf_counter()
    recording = load_input(ref, group, at)
    pairs = witness_pieces(
        samples_of(recording, path),
        fs=float(recording["sampling_rate"]),
        segments=np.stack([recording["segment_start"], recording["segment_stop"]], axis=1),
        channels=[str(c) for c in recording["channel"].to_numpy()],
        shared_reference=bool(recording["shared_reference"]),
        keep_coherence=True,
        **config["witness"],
        crew=crew,
    )
    check_unchanged(recording, path)
    row = witness_row(pairs).assign(seconds=("shard", [time.perf_counter() - start]))
    return {"row": row, "pairs": pairs}


def infer_witness_in_place(
    name: str,
    ref: StoreRef,
    at: str,
    group: str,
    path: str,
    config: dict[str, Any],
    timeout_s: float,
) -> dict[str, xr.Dataset]:
    """Measure one shard by all workers; without workers, in this process."""
    if workers := crew():
        return measure_in_place(ref, at, group, path, config, workers)
    return on_worker(
        measure_in_place, (ref, at, group, path, config, Alone()), timeout_s=timeout_s
    )
