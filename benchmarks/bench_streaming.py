"""Streaming estimate: scale, memory and workers.

    python benchmarks/bench_streaming.py table                       # time and memory, exponents
    python benchmarks/bench_streaming.py one --units 1000 --bins 10000000 --active 0.02 --workers 2
    python benchmarks/bench_streaming.py speed --file recording.h5   # 1 against 2 workers

Recordings are simulated: independent spikes of which those of every second unit are followed by
the next unit in 3 of 10 cases. They are written to a temporary folder part by part, and read from
there by Dask worker processes. Memory is the peak resident size of a worker and of the asking
process; time is wall time, with the load of the machine beside it.
"""

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.config
import numpy as np
from dask.distributed import Client, LocalCluster

from irrev.binning import SpikeBins, bin_spikes
from irrev.ep.chunks import MappedBins, save_bins
from irrev.ep.maxent import maxent_ep
from irrev.ep.result import MaxEntEp
from irrev.ep.streaming import Alone, stream_ep
from irrev.readers import open_source
from tasks.cluster import Workers

PART = 200_000
FOLLOWS = 0.3
TABLE = [  # units, bins, active
    (250, 1_000_000, 0.02),
    (500, 1_000_000, 0.02),
    (1000, 1_000_000, 0.02),
    (500, 250_000, 0.02),
    (500, 4_000_000, 0.02),
    (500, 1_000_000, 0.01),
    (500, 1_000_000, 0.04),
]


def simulated(units: int, bins: int, active: float) -> Iterator[SpikeBins]:
    """Yield parts of a recording with a known direction of time."""
    rng = np.random.default_rng(0)
    rate = active / (1 + FOLLOWS / 2)
    for start in range(0, bins, PART):
        n = min(PART, bins - start)
        size = n * units
        gaps = rng.geometric(rate, int(size * rate * 1.05) + 1000)
        cells = np.cumsum(gaps) - 1
        cells = cells[cells < size]
        leads = cells[(cells % units) % 2 == 0]
        follow = leads[rng.random(leads.size) < FOLLOWS] + units + 1
        cells = np.union1d(cells, follow[(follow < size) & (follow % units > 0)])
        indptr = np.searchsorted(cells, np.arange(n + 1) * units).astype(np.int64)
        indices = (cells % units).astype(np.int32)
        yield SpikeBins(indptr, indices, units, 0.01, np.array([[0, n]]), indices.size, 0.0)


def peak_mib() -> float:
    """Return the largest resident memory of this process so far (not of its parent)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def cpu_s() -> float:
    """Return the processor time of this process."""
    return time.process_time()


def everywhere(client: Client, function: Callable[[], float]) -> list[float]:
    """Call a function on every worker."""
    found: Any = client.run(function)  # a plain dict: the client is synchronous
    return list(found.values())


def measured(recording: MappedBins, workers: int, folds: int) -> tuple[MaxEntEp, dict[str, float]]:
    """Run one estimate on fresh worker processes."""
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GB"})
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        crew = Workers(client, tuple(sorted(client.scheduler_info(n_workers=-1)["workers"])))
        warm = SpikeBins.from_dense(np.eye(4, dtype=bool)[np.arange(400) % 4], 0.01)
        stream_ep(warm, crew=crew)  # imports and compiled kernels
        before = sum(everywhere(client, cpu_s))
        load, start = os.getloadavg()[0], time.perf_counter()
        est = stream_ep(recording, crew=crew, folds=folds)
        wall = time.perf_counter() - start
        figures = {
            "wall_s": wall,
            "cpu_workers_s": sum(everywhere(client, cpu_s)) - before,
            "worker_mib": max(everywhere(client, peak_mib)),
            "asking_mib": peak_mib(),
            "load": load,
        }
    return est, figures


def one(units: int, bins: int, active: float, workers: int, folds: int) -> dict[str, float]:
    """Write a recording, measure it and print a line."""
    with tempfile.TemporaryDirectory() as folder:
        recording = save_bins(simulated(units, bins, active), folder)
        mib = sum(p.stat().st_size for p in Path(folder).iterdir()) / 2**20
        est, figures = measured(recording, workers, folds)
    words = ", ".join(f"{k} {v:.1f}" for k, v in figures.items())
    print(
        f"N={units} T={bins:,} active={active:.3f} workers={workers} folds={folds}: {words}, "
        f"input {mib:.0f} MiB, passes {est.passes:.1f}\n    {est}",
        flush=True,
    )
    return figures | {"passes": est.passes}


def table(workers: int) -> None:
    """Measure the table and fit exponents of CPU time a pass and of memory."""
    rows = [one(*row, workers, 5) for row in TABLE]
    x = np.log(np.array(TABLE))
    for name in ("cpu_workers_s", "wall_s", "worker_mib"):
        y = np.log([r[name] / (r["passes"] if name != "worker_mib" else 1) for r in rows])
        for axis, label in enumerate(("N", "T", "active")):
            others = [a for a in range(3) if a != axis]
            use = np.all(np.isclose(x[:, others], x[1, others]), axis=1)
            slope = np.polyfit(x[use, axis], np.array(y)[use], 1)[0]
            print(f"{name} ~ {label}^{slope:.2f}")


def speed(file: str, width: float, folds: int) -> None:
    """Compare one and two workers, this process alone, and the estimate in memory."""
    bins = bin_spikes(open_source(file), bin_s=width)
    print(f"{bins.n_units} units, {bins.n_bins:,} bins, {bins.indices.size:,} active", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        recording = save_bins(bins, folder)
        walls: dict[int, list[float]] = {1: [], 2: []}
        values = set()
        for _ in range(3):
            for workers in (1, 2):
                est, figures = measured(recording, workers, folds)
                values.add((est.value, est.low, est.high))
                walls[workers].append(figures["wall_s"])
                print(workers, {k: round(v, 2) for k, v in figures.items()}, flush=True)
        ratios = np.divide(walls[1], walls[2])
        print(
            f"one worker / two workers: {np.median(ratios):.2f} ({ratios.round(2)}); "
            f"{len(values)} different result(s): {values}"
        )
        for name, run in (
            ("alone", lambda: stream_ep(recording, crew=Alone(), folds=folds)),
            ("memory", lambda: maxent_ep(bins, folds=folds)),
        ):
            start = time.perf_counter()
            est = run()
            print(f"{name}: {time.perf_counter() - start:.1f} s, {est}", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=["table", "one", "speed"])
    parser.add_argument("--units", type=int, default=1000)
    parser.add_argument("--bins", type=int, default=10_000_000)
    parser.add_argument("--active", type=float, default=0.02)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--file", default="")
    parser.add_argument("--width", type=float, default=0.005)
    options = parser.parse_args()
    if options.what == "table":
        table(options.workers)
    elif options.what == "one":
        one(options.units, options.bins, options.active, options.workers, options.folds)
    else:
        speed(options.file, options.width, options.folds)


if __name__ == "__main__":
    main()
