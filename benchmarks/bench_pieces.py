"""Pieces of one recording on workers: a study of subsets, a shard with further estimates.

    python benchmarks/bench_pieces.py study --file recording.h5      # 1 against 2 workers
    python benchmarks/bench_pieces.py further --file recording.h5    # likewise
    python benchmarks/bench_pieces.py many --pieces 3000             # cost of a small piece

Worker processes are those of the profile `local`, started and warmed before the clock. `study`
takes subsets of 50 to 300 units, ten draws each; `further` the main estimate, a sweep of bin
widths, nested orders and the methods. `many` runs the flow `study` on small simulated
recordings with a Prefect server, and counts Prefect tasks and what a piece costs in all.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from dask.distributed import Client

import flows  # noqa: F401  sets Prefect's environment first
from flows.compute import Compute
from flows.runners import local_cluster
from irrev.ep.further import further_names, in_folds
from irrev.readers import open_source
from irrev.readers.selection import conditions
from storage.repository import Repository, StoreRef
from tasks.cluster import use_client
from tasks.entropy_production import infer_many, measure_further, measure_maxent
from tasks.study import infer_subsets

GROUP = "inputs/spikes/recording"
LIMIT_S = 3600.0
FIT = {"folds": 5, "n_blocks": 50, "observables": ["pair"], "solver": "auto"}
FURTHER = {
    "sweep": [0.02],
    "orders": ["lin", "pair", "delayed"],
    "memory": 1,
    "areas": False,
    "distances": [],
    "methods": True,
    "neep": {"use": False},
}
SIZES, DRAWS = [50, 100, 150, 200, 250, 300], 10


def stored(file: str, folder: str) -> tuple[StoreRef, str, dict[str, Any]]:
    """Put a recording into a store; give its place and what all configurations share."""
    ds = open_source(file)
    ref = StoreRef(folder).absolute()
    repo = Repository.open(ref, create=True, project="bench")
    at = repo.commit({GROUP: ds}, message="recording", metadata={})
    shared = {
        "ep": FIT,
        "units": {"activity": "recording"},
        "selection": conditions(ds)["all"].tolist(),
        "interval": {"level": 0.95, "draws": 1000},
        "null": {"draws": 200},
    }
    return ref, at, shared


def study(ref: StoreRef, at: str, shared: dict[str, Any], width: float, run: int) -> Any:
    """Measure all subsets."""
    sizes = {"bin": width, "sizes": SIZES, "draws": DRAWS, "min_active": 0.0}
    place = (ref, at, GROUP, shared | sizes, 0)
    found = infer_subsets("study", f"study{run}", *place, LIMIT_S)["row"]
    return found["subset_ep_per_step"].values.tolist()


def further(ref: StoreRef, at: str, shared: dict[str, Any], width: float, run: int) -> Any:
    """Measure a shard with its further estimates."""
    config = shared | {"bin": width, "further": FURTHER}
    names = in_folds(further_names(FURTHER), FIT["folds"])
    place = (ref, at, GROUP, config, 0)
    found = infer_many("one", f"one{run}", *place, names, False, "cpu", None, LIMIT_S)
    return found["estimates"]["ep_per_step"].values.tolist()


def warm_up(ref: StoreRef, at: str, config: dict[str, Any]) -> None:
    """Import what the pieces need, in each worker, and load the compiled kernels."""
    place = (ref, at, GROUP, config | {"further": FURTHER}, 0)
    measure_maxent(*place, methods=True)
    measure_further(*place, "orders 0", "cpu")


def cpu_s() -> float:
    """Return the processor time of a worker."""
    return time.process_time()


def compare(
    call: Callable[..., Any],
    file: str,
    width: float,
    repeats: int,
    slots: tuple[int, ...] = (1, 2),
) -> None:
    """Time a call on one and on two workers, by turns."""
    walls: dict[int, list[float]] = {n: [] for n in slots}
    values = set()
    with tempfile.TemporaryDirectory() as folder:
        ref, at, shared = stored(file, folder)
        for run in range(repeats):
            for n in slots:
                with (
                    local_cluster(Compute(profile="local", workers=n, device="cpu")) as cluster,
                    Client(cluster, direct_to_workers=True) as client,
                ):
                    use_client(client)
                    client.run(warm_up, ref, at, shared | {"bin": 10 * width})
                    before, load = client.run(cpu_s), os.getloadavg()[0]
                    start, own = time.perf_counter(), time.process_time()
                    found = call(ref, at, shared, width, 10 * run + n)
                    walls[n].append(time.perf_counter() - start)
                    own = time.process_time() - own
                    after = client.run(cpu_s)
                    use_client(None)
                values.add(json.dumps(found))
                cpu = [round(after[w] - before[w], 1) for w in after]
                print(
                    f"{n} workers: {walls[n][-1]:.1f} s, of cores {cpu}, flow process "
                    f"{own:.1f} s, load {load:.1f}",
                    flush=True,
                )
    first, last = (np.array(walls[n]) for n in slots)
    print(f"one / two workers: {np.median(first / last):.2f} {(first / last).round(2).tolist()}")
    print(f"{len(values)} different result(s)")


def many(pieces: int, workers: int) -> None:
    """Run a study of many small pieces as a flow."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        rng = np.random.default_rng(0)
        bins, units = np.nonzero(rng.random((2000, 12)) < 0.1)
        for k in range(10):
            np.savez(
                folder / "data" / f"r{k}.npz", times=(bins + 0.5) * 0.01 + 20 * k, units=units
            )
        block = {
            "sources": ["s"], "bin": "10 ms", "sizes": [2, 4, 6], "subsets": -(-pieces // 30),
            "min_active": 0.0, "interval": {"draws": 100}, "null": {"draws": 19},
        }  # fmt: skip
        config = {
            "version": 1,
            "project": "pieces",
            "compute": {"profile": "local", "workers": workers},
            "sources": {"s": {"kind": "spikes", "uri": "data/*.npz"}},
            "flows": {"study": block},
        }
        file = folder / "pipeline.yaml"
        file.write_text(yaml.safe_dump(config))
        os.environ["PREFECT_HOME"] = str(folder / "prefect")
        from flows.server import server

        with server():
            _run_and_count(file, 30 * block["subsets"])


def _run_and_count(file: Path, pieces: int) -> None:
    from prefect.client.orchestration import get_client

    from flows.study import study as flow

    start, own = time.perf_counter(), time.process_time()
    summary = flow(str(file))
    wall, own = time.perf_counter() - start, time.process_time() - own
    time.sleep(3)  # states reach the server a little after the flow ends
    with get_client(sync_client=True) as client:
        tasks = client._client.post("/task_runs/count", json={}).json()
    row = Repository.open(StoreRef(str(file.parent / "results"))).read("results/study/subsets")
    print(f"{summary.done} shards, {int(row['n_subsets'].sum())} pieces, {tasks} Prefect tasks")
    print(
        f"{wall:.1f} s, {1000 * wall / pieces:.1f} ms a piece; flow process "
        f"{1000 * own / pieces:.1f} ms a piece; load {os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=["study", "further", "many"])
    parser.add_argument("--file", default="")
    parser.add_argument("--width", type=float, default=0.005)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--pieces", type=int, default=3000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if options.what == "many":
        many(options.pieces, options.workers)
    else:
        call = {"study": study, "further": further}[options.what]
        compare(call, options.file, options.width, options.repeats)


if __name__ == "__main__":
    main()
