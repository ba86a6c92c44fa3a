"""Planning of many shards: nothing new, all new, all outdated; the target is 100,000 in 10 s.

The store is written directly, as a run would have left it. The floor, measured in the same run,
is what any plan has to do: list the folder, and ask the system for each file's stamp.
"""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from flows import catalogue
from flows.ahead import read_ahead
from flows.catalogue import Entry
from flows.config import Pipeline, load
from flows.estimate import estimate_plan
from flows.plan import items_of, plan_flow
from flows.shards import make_shards
from flows.specs import SPECS
from irrev import schema
from storage.repository import Repository

SPEC = SPECS["spikes"]
SIZE = {"bytes": 7104.0, "spike": 640.0, "unit": 4.0, "observed_s": 20.0}


def make_project(folder: Path, n_items: int) -> Pipeline:
    """Many names of one small file: a plan reads names and stamps, not contents."""
    data = folder / "data"
    data.mkdir()
    times = np.arange(0.05, 10, 0.05)
    np.savez(folder / "one.npz", times=times, units=np.arange(times.size) % 4)
    for k in range(n_items):
        source = folder / f"one{k // 50_000}.npz"  # file systems allow some 65,000 links
        if not source.exists():
            source.write_bytes((folder / "one.npz").read_bytes())
        (data / f"r{k:06d}.npz").hardlink_to(source)
    config = {
        "version": 1,
        "project": "bench",
        "compute": {"profile": "threads", "workers": 2},
        "sources": {"s": {"kind": "spikes", "uri": "data/*.npz"}},
        "flows": {"spikes": {"sources": ["s"], "bin": "10 ms"}},
    }
    file = folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump(config))
    return load(file)


def fill_store(pipeline: Pipeline) -> Repository:
    """Write catalogue and results of all items, as one run would."""
    source = pipeline.sources["s"]
    reading = catalogue.read_hash(SPEC.read_config(source))
    entries = [
        Entry(
            item=item.name, source="s", uri=str(item.path), stamp=catalogue.stamp(item.path),
            sha256="0" * 64, read_hash=reading, group=f"inputs/spikes/{item.name}",
            selections=json.dumps({"all": [[0.0, 20.0]]}), size=json.dumps(SIZE), checks="[]",
        )
        for item in items_of(pipeline, "spikes")
    ]  # fmt: skip
    block = pipeline.flows.chosen()["spikes"]
    shards = make_shards(
        [e.as_input("") for e in entries],
        configs={"s": SPEC.stage_config(block, source)},
        method=SPEC.method,
        method_version=SPEC.version,
        seed=pipeline.seed,
    )
    rows = [shard.row() for shard in shards]
    columns = {
        name: ("shard", np.array([r[name] for r in rows], object if name != "seed" else None))
        for name in rows[0]
        if name != "method_version"
    }
    n = len(rows)
    columns |= {
        "method_version": ("shard", np.full(n, SPEC.version)),
        "status": ("shard", np.full(n, "done", dtype=object)),
        "error": ("shard", np.full(n, "", dtype=object)),
        "seconds": ("shard", np.full(n, 0.02)),
    }
    repo = Repository.open(pipeline.store_ref(), create=True)
    tables = {
        SPEC.group: xr.Dataset(columns),
        catalogue.group_of("spikes"): schema.validate(catalogue.to_dataset(entries), "catalogue"),
    }
    repo.commit(tables, message="spikes: all", metadata={"flow": "spikes", "run_id": "r"})
    return repo


class Clock:
    """Wall and processor time since it was made; on a busy machine the latter counts."""

    def __init__(self) -> None:
        self.start = time.perf_counter(), time.process_time()

    def __str__(self) -> str:
        now = time.perf_counter(), time.process_time()
        wall, cpu = (b - a for a, b in zip(self.start, now, strict=True))
        return f"{wall:.2f} s ({cpu:.2f} s of a core)"


def floor(pipeline: Pipeline) -> str:
    clock = Clock()
    for item in items_of(pipeline, "spikes"):
        item.path.stat()
    return str(clock)


@pytest.mark.parametrize("n_items", [1000, 100_000])
def test_plan(benchmark, tmp_path, n_items):
    pipeline = make_project(tmp_path, n_items)
    clock = Clock()
    plan = read_ahead(pipeline, plan_flow(pipeline, SPEC, None), None)
    estimate_plan(plan, None, pipeline.compute)
    new = str(clock)
    repo = fill_store(pipeline)
    least = floor(pipeline)

    def current() -> None:
        assert plan_flow(pipeline, SPEC, Repository.open(repo.ref)).idle

    clock = Clock()
    benchmark.pedantic(current, rounds=1, iterations=1)
    same = str(clock)
    outdated = replace(SPEC, version=SPEC.version + 1)
    clock = Clock()
    plan = plan_flow(pipeline, outdated, Repository.open(repo.ref))
    estimate_plan(plan, repo, pipeline.compute)
    changed = str(clock)
    assert len(plan.todo) == n_items
    print(
        f"\n{n_items:,} shards: all new {new}, up to date {same}, outdated with costs {changed}; "
        f"listing and stamps alone {least}"
    )
