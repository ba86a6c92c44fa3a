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
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import dask.config
import numpy as np
from dask.distributed import Client, LocalCluster

from flows.worker_settings import use_settings
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
    (250, 400_000, 0.02),
    (500, 400_000, 0.02),
    (1000, 400_000, 0.02),
    (500, 100_000, 0.02),
    (500, 1_600_000, 0.02),
    (500, 6_400_000, 0.02),
    (2000, 400_000, 0.02),
    (500, 400_000, 0.01),
    (500, 400_000, 0.04),
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


def write(units: int, bins: int, active: float, folder: str) -> None:
    """Write a recording."""
    save_bins(simulated(units, bins, active), folder)


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
    use_settings()
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GB"})
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, direct_to_workers=True) as client,  # as profile local
    ):
        crew = Workers(client, tuple(sorted(client.scheduler_info(n_workers=-1)["workers"])))
        warm = SpikeBins.from_dense(np.eye(4, dtype=bool)[np.arange(400) % 4], 0.01)
        stream_ep(warm, crew=crew)  # imports and compiled kernels
        before = sum(everywhere(client, cpu_s))
        load, start, own = os.getloadavg()[0], time.perf_counter(), cpu_s()
        est = stream_ep(recording, crew=crew, folds=folds)
        wall = time.perf_counter() - start
        figures = {
            "wall_s": wall,
            "cpu_asking_s": cpu_s() - own,  # with Dask's scheduler
            "cpu_workers_s": sum(everywhere(client, cpu_s)) - before,
            "worker_mib": max(everywhere(client, peak_mib)),
            "asking_mib": peak_mib(),
            "load": load,
        }
    return est, figures


def alone(recording: MappedBins, folds: int) -> tuple[MaxEntEp, dict[str, float]]:
    """Run one estimate in this process; processor time, so that load matters little."""
    warm = SpikeBins.from_dense(np.eye(4, dtype=bool)[np.arange(400) % 4], 0.01)
    stream_ep(warm)  # imports and compiled kernels
    base, start, load = peak_mib(), cpu_s(), os.getloadavg()[0]
    est = stream_ep(recording, folds=folds)
    return est, {"cpu_s": cpu_s() - start, "peak_mib": peak_mib(), "base_mib": base, "load": load}


def one(units: int, bins: int, active: float, workers: int, folds: int) -> None:
    """Write a recording, measure it and print a line; 0 workers: this process."""
    with tempfile.TemporaryDirectory() as folder:
        writer = get_context("spawn").Process(target=write, args=(units, bins, active, folder))
        writer.start()  # in a process of its own: its memory is not the estimate's
        writer.join()
        recording = MappedBins(folder)
        mib = sum(p.stat().st_size for p in Path(folder).iterdir()) / 2**20
        est, figures = measured(recording, workers, folds) if workers else alone(recording, folds)
    row = figures | {"units": units, "bins": bins, "active": active, "passes": est.passes}
    print(json.dumps(row | {"workers": workers, "folds": folds, "input_mib": mib}))
    print(f"    {est}", flush=True)


def table(folds: int) -> None:
    """Measure the table, a fresh process a row, and fit exponents."""
    rows = []
    for units, bins, active in TABLE:
        size = ["--units", str(units), "--bins", str(bins), "--active", str(active)]
        command = [sys.executable, __file__, "one", *size, "--workers", "0"]
        out = subprocess.run([*command, "--folds", str(folds)], capture_output=True, text=True)
        print(out.stdout, out.stderr[-300:], flush=True)
        rows.append(json.loads(out.stdout.splitlines()[0]))
    sizes = np.array(TABLE)
    for name, unit in (("cpu_s", "passes"), ("peak_mib", "")):
        y = np.array([r[name] / r[unit] if unit else r[name] - r["base_mib"] for r in rows])
        for axis, label in enumerate(("N", "T", "active")):
            others = [a for a in range(3) if a != axis]
            use = np.flatnonzero(np.all(np.isclose(sizes[:, others], sizes[1, others]), axis=1))
            use = use[np.argsort(sizes[use, axis])]
            x = sizes[use, axis]
            slopes = np.diff(np.log(y[use])) / np.diff(np.log(x))
            steps = ", ".join(
                f"{a:g} to {b:g}: {s:.2f}" for a, b, s in zip(x[:-1], x[1:], slopes, strict=True)
            )
            print(f"exponent of {name}{' a pass' if unit else ''} in {label}: {steps}")


def speed(file: str, width: float, folds: int, repeats: int) -> None:
    """Compare one and two workers, this process alone, and the estimate in memory."""
    bins = bin_spikes(open_source(file), bin_s=width)
    print(f"{bins.n_units} units, {bins.n_bins:,} bins, {bins.indices.size:,} active", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        recording = save_bins(bins, folder)
        walls: dict[int, list[float]] = {1: [], 2: []}
        values = set()
        for _ in range(repeats):
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
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--width", type=float, default=0.005)
    options = parser.parse_args()
    if options.what == "table":
        table(options.folds)
    elif options.what == "one":
        one(options.units, options.bins, options.active, options.workers, options.folds)
    else:
        speed(options.file, options.width, options.folds, options.repeats)


if __name__ == "__main__":
    main()
