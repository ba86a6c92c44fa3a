"""One point of a sweep: learn a protocol where work runs, price it."""

import time
from typing import Any

import xarray as xr

from irrev.control.records import price_point
from tasks.cluster import on_worker


def measure_point(config: dict[str, Any], seed: int) -> dict[str, xr.Dataset]:
    """Learn and price the protocol of one point.

    Returns
    -------
        `row` (one shard of kind protocols/response without its identity) and `curves`.
    """
    start = time.perf_counter()
    options = {k: v for k, v in config.items() if k != "selection"}
    made = price_point(**options, **config["selection"], seed=seed)
    seconds = [time.perf_counter() - start]
    return {"row": made["row"].assign(seconds=("shard", seconds)), "curves": made["curves"]}


def infer_protocol(
    name: str, config: dict[str, Any], seed: int, timeout_s: float
) -> dict[str, xr.Dataset]:
    """Learn one point where work runs."""
    return on_worker(measure_point, (config, seed), timeout_s=timeout_s)
