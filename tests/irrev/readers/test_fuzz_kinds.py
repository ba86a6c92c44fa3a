"""Damaged copies of files of every kind, small ones and parts of real ones.

A reader answers with a valid Dataset or an error that names the file, in bounded time and memory;
it never executes what the file holds.
"""

import contextlib
import gzip
import io
import json
import pickle
import time
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from irrev import schema
from irrev.errors import IrrevError
from irrev.readers import open_source
from tests.irrev.readers.test_fuzz import damaged

SECONDS = 5.0  # of computing
PEAK_BYTES = 200e6  # above what the file itself takes, times 40
REAL_BYTES = 60_000  # of a real file: its head, where most of what is parsed lies

rng = np.random.default_rng(0)
TURNS = [
    {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": f"a{k}"}]}
    for k in range(20)
]
ANSWERS = [{"question": "q?", "context": "a b. c d.", "answer": f"a b {k}."} for k in range(10)]


def tracks() -> bytes:
    rows = [f"{p},{t},{t * 0.1},{p * 0.3}" for p in range(4) for t in range(30)]
    return "\n".join(["particle,frame,x,y", *rows]).encode()


def npy(values) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def npz(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def hdf5(values) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["tracks/all"], file.attrs["dt"] = values, 0.5
    return stream.getvalue()


def lines(rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


# kind, suffix, content, options
FILES = {
    "tracks.csv": ("trajectories", tracks(), {"dt": 1.0}),
    "tracks.npy": ("trajectories", npy(rng.normal(size=(5, 40, 2))), {"dt": 1.0}),
    "tracks.npz": ("trajectories", npz(x=rng.normal(size=(5, 40, 2)), dt=0.5), {}),
    "tracks.h5": ("trajectories", hdf5(rng.normal(size=(5, 40, 2))), {}),
    "samples.npz": ("samples", npz(x=rng.normal(size=(20, 6)), labels=np.arange(20) % 2), {}),
    "samples.npy": ("samples", npy(rng.normal(size=(20, 6))), {}),
    "signal.npz": ("timeseries", npz(x=rng.normal(size=(200, 3)), fs=10.0), {}),
    "signal.csv": ("timeseries", b"time,a\n" + b"".join(b"%d,1\n" % k for k in range(50)), {}),
    "chats.jsonl": ("transcripts", lines(TURNS), {}),
    "chats.jsonl.gz": ("transcripts", gzip.compress(lines(TURNS)), {}),
    "answers.jsonl": ("triplets", lines(ANSWERS), {}),
}
REAL = {
    "llm/jailbreakbench_transcripts.jsonl.gz": ("transcripts", {}),
    "llm/inspect_logs/log_formats.eval": ("transcripts", {}),
    "llm/inspect_logs/log_formats.json": ("transcripts", {}),
    "qca/halueval_qa.jsonl.gz": ("triplets", {}),
    "trajectories/t_cells_lymph_node_raw.txt": (
        "trajectories",
        {"dt": 24.0, "columns": "frame particle _ x y z"},
    ),
    "timeseries/eeglab_data.set": ("timeseries", {}),
    "timeseries/irish_wind_daily_1961_1978.csv": ("timeseries", {}),
    "images/mnist_6000.npz": ("samples", {}),
    "neuro/nwb/hippocampal_culture_TC147_DIV07.nwb": ("spikes", {}),
    "neuro/culture_mea_hdf5/TC147-C57-DIV07_B.h5": ("spikes", {}),
}


def read(path: Path, kind: str, options) -> None:
    """Read a file within its bounds; nothing but an error of ours may leave the reader."""
    tracemalloc.start()
    began = time.process_time()
    try:
        with contextlib.suppress(IrrevError):
            schema.validate(open_source(path, kind=kind, **options), kind)
        assert time.process_time() - began < SECONDS
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < PEAK_BYTES + 40 * path.stat().st_size


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "n_files", [15, pytest.param(1000, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_open_source__damaged_files_of_every_kind_are_read_or_refused(tmp_path, name, n_files):
    kind, content, options = FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    schema.validate(open_source(path, kind=kind, **options), kind)
    for number in range(n_files):
        path.write_bytes(damaged(content, np.random.default_rng([n_files, number])))
        read(path, kind, options)


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize(
    "n_files", [3, pytest.param(200, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_open_source__damaged_heads_of_real_files_are_read_or_refused(
    data_dir, tmp_path, name, n_files
):
    kind, options = REAL[name]
    content = (data_dir / name).read_bytes()[:REAL_BYTES]
    path = tmp_path / Path(name).name
    for number in range(n_files):
        path.write_bytes(damaged(content, np.random.default_rng([n_files, number, 7])))
        read(path, kind, options)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=400))
def test_open_source__any_bytes_are_read_or_refused(tmp_path, name, content):
    kind, _, options = FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    read(path, kind, options)


class Bomb:
    """Its pickle runs a command when it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("kind", ["spikes", "timeseries", "samples", "trajectories"])
@pytest.mark.parametrize("suffix", ["npy", "npz", "pkl"])
def test_open_source__a_pickle_in_a_file_is_never_run(tmp_path, kind, suffix):
    mark, path = tmp_path / "ran", tmp_path / f"a.{suffix}"
    bomb = np.empty(1, dtype=object)
    bomb[0] = Bomb(mark)
    match suffix:
        case "npy":
            np.save(path, bomb, allow_pickle=True)
        case "npz":
            np.savez(path, spike_times=bomb, x=bomb, allow_pickle=True)
        case _:
            path.write_bytes(pickle.dumps(Bomb(mark)))
    with contextlib.suppress(IrrevError):
        open_source(path, kind=kind)
    assert not mark.exists()
