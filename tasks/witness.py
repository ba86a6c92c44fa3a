"""Cross-spectral witness of one shard: read, whiten, sum, solve."""

import time
from typing import Any

import xarray as xr

from irrev.ep.witness import witness
from irrev.ep.witness_rows import witness_row
from storage.inputs import load_input
from storage.repository import StoreRef
from tasks.cluster import on_worker


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
