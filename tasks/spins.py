"""Spin models at one temperature: one Prefect task a shard, one future a batch of units."""

import time
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

from irrev.ep.spin_study import SpinData, chosen_units, fit_batch, simulate_study, study_result
from storage.inputs import load_input
from storage.repository import StoreRef
from tasks.cluster import on_worker
from tasks.entropy_production import statistics
from tasks.pieces import Piece, Result, run_pieces

Place = tuple[StoreRef, str, str]
Model = tuple[float, int, int, int, int]  # beta, states, chains, warm-up, seed


@lru_cache(maxsize=2)  # shards under way take turns
def _simulated(place: Place, model: Model) -> tuple[xr.Dataset, SpinData]:
    """Keep the states of a system in a worker: they are the same for all batches."""
    ref, at, group = place
    beta, n_states, n_chains, warm_up, seed = model
    system = load_input(ref, group, at)
    sizes = {"n_states": n_states, "n_chains": n_chains, "warm_up": warm_up}
    return system, simulate_study(system, beta=beta, **sizes, seed=seed)


def fit_units(
    place: Place, model: Model, units: list[int], folds: int, n_blocks: int, seed: int
) -> Result:
    """Fit a batch of units."""
    _, data = _simulated(place, model)
    batch = fit_batch(data, np.array(units), folds=folds, n_blocks=n_blocks, seed=seed)
    return {"batch": batch}


def conclude(
    place: Place, model: Model, parts: list[xr.Dataset], config: dict[str, Any], seed: int
) -> Result:
    """Join the batches and compare with the exact value."""
    system, data = _simulated(place, model)
    units = chosen_units(data.states.shape[1], config["units"])
    row, pairs = study_result(
        parts, system, data, units, beta=model[0], **statistics(config), seed=seed
    )
    return {"row": row, "couplings": pairs}


def count_spins(place: Place) -> int:
    """Return the number of spins of a system."""
    ref, at, group = place
    return load_input(ref, group, at).sizes["spin"]


def infer_spins(
    name: str,
    key: str,
    ref: StoreRef,
    at: str,
    group: str,
    config: dict[str, Any],
    seed: int,
    timeout_s: float,
) -> Result:
    """Measure one system at one temperature."""
    start = time.perf_counter()
    place = (ref, at, group)
    sizes = (config["n_states"], config["n_chains"], config["warm_up"])
    model = (config["selection"]["beta"], *sizes, seed)
    n_spins = on_worker(count_spins, (place,), timeout_s=timeout_s)
    units, batch = chosen_units(n_spins, config["units"]).tolist(), config["batch"]
    dealing = (config["folds"], config["n_blocks"], seed)
    pieces = [
        Piece(f"units {k}", fit_units, (place, model, units[k : k + batch], *dealing))
        for k in range(0, len(units), batch)
    ]
    found = run_pieces(ref, key, pieces, timeout_s=timeout_s)
    parts = [found[p.name]["batch"] for p in pieces]
    result = on_worker(conclude, (place, model, parts, config, seed), timeout_s=timeout_s)
    seconds = ("shard", [time.perf_counter() - start])
    return result | {"row": result["row"].assign(seconds=seconds)}
