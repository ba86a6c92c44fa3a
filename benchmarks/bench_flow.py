"""Cost of orchestration: shards whose work is nothing, and a rerun with nothing to do.

Targets: 200 trivial shards at most 20 ms each on top of the work; a rerun of 1,000 shards with
nothing to do at most 5 s beyond start-up. CPU times of this process stand beside the wall times:
on a busy machine only they mean something. Run: make bench, or pytest benchmarks/bench_flow.py -s.
"""

import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import flows  # noqa: F401  sets Prefect's environment first
from irrev import readers, schema


@pytest.fixture(scope="module")
def api():
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


def make_project(folder: Path, n_items: int) -> Path:
    (folder / "data").mkdir()
    times, units = np.arange(0.05, 10, 0.05), np.tile([0, 1], 200)[:199]
    for k in range(n_items):
        np.savez(folder / "data" / f"r{k:05d}.npz", times=times[:199] + 1e-6 * k, units=units)
    config = {
        "version": 1,
        "project": "bench",
        "compute": {"profile": "threads", "workers": 2},
        "sources": {"s": {"kind": "spikes", "uri": "data/*.npz"}},
        "flows": {"spikes": {"sources": ["s"], "bin": "10 ms"}},
    }
    file = folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


ROW = schema.blank("spikes/maxent", "shard").assign(seconds=("shard", [0.0]))


def nothing(ref, at, group, config, seed):
    return {"row": ROW}


def now() -> np.ndarray:
    """Return wall and CPU time, s."""
    return np.array([time.perf_counter(), time.process_time()])


def reading_alone(config: Path) -> np.ndarray:
    """Time the part that is work: hashing and reading every file."""
    start = now()
    for path in sorted((config.parent / "data").iterdir()):
        readers.content_hash(path)
        readers.open_source(path)
    return now() - start


@pytest.mark.parametrize("n_shards", [200, 1000])
def test_orchestration(api, benchmark, tmp_path, monkeypatch, n_shards):
    from flows import cli
    from flows.spikes import spikes

    monkeypatch.setattr("tasks.entropy_production.measure_maxent", nothing)
    config = make_project(tmp_path, n_shards)
    work = reading_alone(config)
    start = now()
    assert spikes(str(config)).done == n_shards
    first = now() - start

    def again() -> None:
        result = CliRunner().invoke(cli.app, ["run", "-c", str(config)])
        assert result.exit_code == 0, result.output

    start = now()
    benchmark.pedantic(again, rounds=1, iterations=1)
    rerun = now() - start
    each = 1e3 * (first - work) / n_shards
    for k, clock in enumerate(("wall", "CPU of the flow")):
        print(
            f"\n{clock}: {n_shards} trivial shards {first[k]:.1f} s, reading {work[k]:.1f} s; "
            f"{each[k]:.1f} ms each; nothing to do: run takes {rerun[k]:.2f} s"
        )
