"""Subsets of the units of one recording: one Prefect task a shard, one future a subset."""

import json
import time
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.binning import SpikeBins
from irrev.ep.subsets import measure_subset, subsets_row
from irrev.readers.selection import active_fraction
from storage.repository import StoreRef
from tasks.entropy_production import read_bins, statistics
from tasks.pieces import Piece, Result, run_pieces


@lru_cache(maxsize=2)
def _recording(
    ref: StoreRef, at: str, group: str, config: str
) -> tuple[SpikeBins, NDArray[np.int64]]:
    """Keep a recording in a worker: reading and binning it cost as much as a small subset."""
    options = json.loads(config)
    chosen, bins = read_bins(ref, at, group, options)
    own = options["units"]["activity"] == "condition"
    within = np.asarray(options["selection"], np.float64) if own else None
    active = active_fraction(chosen.dataset, options["bin"], within)
    return bins, np.flatnonzero(active >= options["min_active"])


def describe(ref: StoreRef, at: str, group: str, config: str, seed: int) -> Result:
    """Count the units that subsets are drawn from."""
    bins, units = _recording(ref, at, group, config)
    counts = {"n_candidates": units.size, "n_units": bins.n_units, "n_steps": bins.n_transitions}
    return {"bins": xr.Dataset({**counts, "bin_s": bins.bin_s, "lost": bins.lost})}


def measure(
    ref: StoreRef, at: str, group: str, config: str, seed: int, size: int, draw: int
) -> Result:
    """Measure one subset."""
    bins, units = _recording(ref, at, group, config)
    options = json.loads(config)
    fit = {**options["ep"], **statistics(options)}
    drawn = {"size": size, "draw": draw, "draw_seed": options["units"].get("seed", 0)}
    return {"subset": measure_subset(bins, units, **drawn, seed=seed, options=fit)}


def infer_subsets(
    name: str,
    key: str,
    ref: StoreRef,
    at: str,
    group: str,
    config: dict[str, Any],
    seed: int,
    timeout_s: float,
) -> Result:
    """Measure all subsets of one recording."""
    start = time.perf_counter()
    place = (ref, at, group, json.dumps(config, sort_keys=True), seed)
    first = run_pieces(ref, key, [Piece("bins", describe, place)], timeout_s=timeout_s)
    bins = first["bins"]["bins"]
    pieces = [
        Piece(f"{size}.{draw}", measure, (*place, size, draw))
        for size in sorted(config["sizes"], reverse=True)  # the long ones first
        if size <= int(bins["n_candidates"])
        for draw in range(config["draws"])
    ]
    found = run_pieces(ref, key, pieces, timeout_s=timeout_s)
    row = subsets_row([found[p.name]["subset"] for p in pieces], bins)
    return {"row": row.assign(seconds=("shard", [time.perf_counter() - start]))}
