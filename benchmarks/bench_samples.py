"""Memory of stored samples: a file and one four times as large, read, measured and published.

    pytest benchmarks/bench_samples.py -s

Each size runs in a process of its own, which reports the peak above its own start at each step.
"""

import gc
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

N_FEATURES = 1024
ROWS = 16_384  # 64 MiB in single precision
ALLOWED_MIB = 128.0  # more than the small file: four parts and their copies, not 192 MiB of data
STUDY = {
    "selection": {"states": "data", "guidance": 1.0},
    "model": {
        "kind": "mixture",
        "weights": [0.5, 0.5],
        "means": [[1.0] * N_FEATURES, [-1.0] * N_FEATURES],
        "cov": 1.0,
    },
    "levels": {"n": 8, "sigma_min": 0.05, "sigma_max": 80.0},
    "partitions": {}, "n_paths": 0, "batch": 1024, "classes": [], "against": "classes",
    "interval": {"draws": 100, "level": 0.95}, "schedules": [], "trace_states": 0,
}  # fmt: skip


def test_memory_of_stored_samples(tmp_path, capsys):
    peaks = {}
    for factor in (1, 4):
        folder = tmp_path / str(factor)
        folder.mkdir()
        n = factor * ROWS
        x = np.random.default_rng(0).standard_normal((n, N_FEATURES), dtype=np.float32)
        np.savez(folder / "x.npz", samples=x, labels=np.arange(n) % 2)
        done = subprocess.run(
            [sys.executable, __file__, str(folder)], capture_output=True, text=True, check=True
        )
        peaks[factor] = json.loads(done.stdout.splitlines()[-1])
        with capsys.disabled():
            shown = ", ".join(f"{step} {mib:.0f}" for step, mib in peaks[factor].items())
            print(f"\n{n:,} samples, {4 * x.size / 2**20:.0f} MiB: peaks in MiB: {shown}")
    for step, mib in peaks[4].items():
        assert mib < peaks[1][step] + ALLOWED_MIB, step


def measure(folder: Path) -> dict[str, float]:
    """Read, measure from the scratch, publish, measure from the branch; peak of each, MiB."""
    from storage.inputs import part_key, part_name, scratch_place
    from storage.pending import Pending
    from storage.repository import Repository, StoreRef
    from tasks import diffusion
    from tasks.ingest import read_items
    from tasks.publish import OneByOne

    ref = StoreRef(str(folder / "store"), "main")
    repo = Repository.open(ref, create=True, project="bench")
    pending, peaks, group = Pending(repo), {}, "inputs/samples/s"

    def piece(place, at):
        study = diffusion.StudyRef(ref, at, place, None, json.dumps(STUDY), ".", 0, "cpu", "")
        n = diffusion.count_batches(study)
        diffusion.measure_batches(study, 0, 2)
        diffusion.measure_batches(study, n - 1, n)
        diffusion._opened.cache_clear()

    before = forget_peak()
    config = {"kind": "samples", "options": {}, "split": {}}
    (read,) = read_items(ref, [("s", str(folder / "x.npz"))], config, "stop")
    peaks["ingestion"] = peak() - before
    before = forget_peak()
    piece(scratch_place(read.key), pending.snapshot())
    peaks["a piece from the scratch"] = peak() - before
    places = {read.key: group}
    places |= {part_key(read.key, i): f"{group}/{part_name(i)}" for i in range(read.parts)}
    before = forget_peak()
    repo.commit(
        lambda _: OneByOne({}, pending, list(places), lambda k, _: places[k], pending.snapshot()),
        message="samples",
        metadata={},
    )
    peaks["publication"] = peak() - before
    before = forget_peak()
    piece(group, repo.resolve())
    peaks["a piece from the branch"] = peak() - before
    return peaks


def forget_peak():
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
