"""A load test: thousands of simulated recordings through the profile `local`, with its growth.

Prints one row per thousand shards: time, memory of every process, and the size of scheduler,
Prefect's database and store. What must stay flat is memory; what must stay linear is the rest.

    python benchmarks/load.py --shards 10000 --folder load
"""

import json
import logging
import os
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

from flows import progress
from flows.server import server

COLUMNS = (
    "step", "done", "wall_s", "cpu_s", "flow_cpu_s", "flow_mb", "workers_mb", "server_mb",
    "scheduler_tasks", "database_mb", "store_mb", "store_files",
)  # fmt: skip


def make_project(folder: Path, n_items: int, workers: int) -> Path:
    """Write recordings of four units for 10 s; in every other one each follows its neighbour."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    for k in range(len(list(data.iterdir())), n_items):
        rng = np.random.default_rng(k)
        active = rng.random((1000, 4)) < 0.08
        if k % 2:
            active[1:, 1:] |= active[:-1, :-1] & (rng.random((999, 3)) < 0.5)
        bins, units = np.nonzero(active)
        np.savez(data / f"r{k:06d}.npz", times=(bins + 0.5) * 0.01, units=units)
    config = {
        "version": 1,
        "project": "load",
        "compute": {"profile": "local", "workers": workers},
        "sources": {"s": {"kind": "spikes", "uri": "data/*.npz"}},
        "flows": {
            "spikes": {
                "sources": ["s"], "bin": "10 ms", "interval": {"draws": 100}, "null": {"draws": 19}
            }
        },
    }  # fmt: skip
    file = folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


class Watch:
    """Writes a row each time another `every` pieces of a step are done."""

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every
        self.start, self.rows = time.perf_counter(), []
        self.last: dict[str, int] = {}

    def __call__(self, step: str, done: int, total: int) -> None:
        if done // self.every > self.last.get(step, 0) // self.every or done == total:
            self.row(step, done)
        self.last[step] = done

    def row(self, step: str, done: int) -> None:
        """Measure everything once."""
        me = psutil.Process()
        children = me.children(recursive=True)
        names = {p.pid: " ".join(p.cmdline()) for p in children}
        served = [p for p in children if "prefect" in names[p.pid]]
        workers = [p for p in children if p not in served]
        cpu = sum(sum(p.cpu_times()[:2]) for p in [me, *children])
        values = (
            step, done, round(time.perf_counter() - self.start, 1), round(cpu, 1),
            round(sum(me.cpu_times()[:2]), 1),
            _mb(me), sum(map(_mb, workers)), sum(map(_mb, served)), _scheduler_tasks(),
            sum(_size(p) for p in (self.folder / "prefect").glob("*.db*")) // 2**20,
            *_store(self.folder / "results"),
        )  # fmt: skip
        self.rows.append(dict(zip(COLUMNS, values, strict=True)))
        print("  ".join(f"{v!s:>9}" for v in values), flush=True)


def _mb(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss // 2**20
    except psutil.Error:
        return 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # taken away in this moment
        return 0


def _store(folder: Path) -> tuple[int, int]:
    sizes = [_size(path) for path in folder.rglob("*") if path.is_file()]
    return sum(sizes) // 2**20, len(sizes)


def _scheduler_tasks() -> int:
    from distributed import default_client

    try:
        return int(default_client().run_on_scheduler(_count_tasks))
    except ValueError:  # no cluster now
        return 0


def _count_tasks(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)


def main() -> None:
    """Make the recordings, run the flow over them, write the table as JSON."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=int, default=1000)
    parser.add_argument("--folder", type=Path, required=True, help="empty, or of an earlier run")
    options = parser.parse_args()
    config = make_project(options.folder, options.shards, options.workers)
    os.environ["PREFECT_HOME"] = str((options.folder / "prefect").absolute())
    os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    watch = Watch(options.folder, options.every)
    print("  ".join(f"{name:>9}" for name in COLUMNS), flush=True)
    with server(), progress.listening(watch):
        from flows.spikes import spikes

        watch.row("start", 0)
        summary = spikes(str(config))
        watch.row("published", summary.done)
    (options.folder / "load.json").write_text(json.dumps(watch.rows, indent=1))
    print(f"{summary.done} done, {summary.failed} failed, load {os.getloadavg()[0]:.1f}")
    sys.exit(summary.done + summary.up_to_date != options.shards)


if __name__ == "__main__":
    main()
