"""Entropy production of one set of trajectories: read, select, learn, measure."""

import time
from typing import Any, cast

import xarray as xr

from irrev.ep.current_records import Device, measure_tracks
from irrev.readers.tracks import select_group
from storage.inputs import load_input
from storage.repository import StoreRef
from tasks.cluster import on_worker


def measure_currents(
    ref: StoreRef, at: str, group: str, config: dict[str, Any], seed: int, device: str
) -> dict[str, xr.Dataset]:
    """Learn the entropy production of one source under one condition.

    Returns
    -------
        `row`: one shard of kind trajectories/currents without its identity.
    """
    start = time.perf_counter()
    tracks = select_group(load_input(ref, group, at), config["selection"])
    row = measure_tracks(tracks, **config["ep"], seed=seed, device=cast(Device, device))
    return {"row": row.assign(seconds=("shard", [time.perf_counter() - start]))}


def infer_currents(
    name: str,
    ref: StoreRef,
    at: str,
    group: str,
    config: dict[str, Any],
    seed: int,
    timeout_s: float,
    device: str,
    resources: dict[str, float] | None,
) -> dict[str, xr.Dataset]:
    """Learn one shard where work runs; a network on a worker with the resources asked for."""
    arguments = (ref, at, group, config, seed, device)
    return on_worker(measure_currents, arguments, resources=resources, timeout_s=timeout_s)
