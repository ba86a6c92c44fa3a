"""Entropy-production inference of one shard: read, select, bin, infer."""

import json
import time
from typing import Any

import numpy as np
import xarray as xr

from irrev.binning import bin_spikes
from irrev.ep.maxent import maxent_ep
from irrev.ep.records import couplings, maxent_row
from irrev.readers.selection import select_units
from storage.inputs import load_input
from storage.repository import StoreRef
from tasks.cluster import on_worker


def measure_maxent(
    ref: StoreRef, at: str, group: str, config: dict[str, Any], seed: int
) -> dict[str, xr.Dataset]:
    """Infer the entropy production of one recording under one condition.

    Returns
    -------
        `row` (one shard of kind spikes/maxent without its identity) and `couplings`.
    """
    start = time.perf_counter()
    spans = np.asarray(config["selection"], dtype=np.float64)
    recording = load_input(ref, group, at)
    chosen = select_units(
        recording, **config["units"], bin_s=config["bin"], within=spans, seed=seed
    )
    bins = bin_spikes(chosen.dataset, bin_s=config["bin"], intervals=spans)
    ep = maxent_ep(
        bins,
        **config["ep"],
        level=config["interval"]["level"],
        draws=config["interval"]["draws"],
        null_draws=config["null"]["draws"],
        seed=seed,
    )
    row = maxent_row(ep, chosen.dataset).assign(
        units_removed=("shard", [json.dumps(chosen.removed)]),
        seconds=("shard", [time.perf_counter() - start]),
    )
    return {"row": row, "couplings": couplings(ep, chosen.dataset)}


def infer_maxent(
    name: str,
    ref: StoreRef,
    at: str,
    group: str,
    config: dict[str, Any],
    seed: int,
    timeout_s: float,
) -> dict[str, xr.Dataset]:
    """Infer the entropy production of one shard where work runs."""
    return on_worker(measure_maxent, (ref, at, group, config, seed), timeout_s=timeout_s)
