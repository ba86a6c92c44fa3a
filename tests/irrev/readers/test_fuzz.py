"""Damaged copies of small files: a reader answers with data or with a FormatError, soon."""

import contextlib
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from irrev import schema
from irrev.errors import FormatError
from irrev.readers import open_source

SECONDS = 5.0  # of computing; a whole file of this size takes a hundredth
TRAINS = [np.linspace(0.1 * k, 9.0, 20 + k) for k in range(1, 5)]
TIMES, UNITS = np.concatenate(TRAINS), np.repeat(np.arange(4), [t.size for t in TRAINS])


def nwb(path):
    with h5py.File(path, "w") as file:
        units = file.create_group("units")
        units["spike_times"], units["id"] = TIMES, np.arange(4)
        units["spike_times_index"] = np.cumsum([t.size for t in TRAINS])
        units["location"] = np.array(["ca1", "ca1", "adn", "adn"], dtype=object)
        units["snr"] = np.arange(4.0)
        units["obs_intervals"] = np.tile([[0.0, 4.0], [5.0, 9.5]], (4, 1))
        units["obs_intervals_index"] = np.arange(1, 5) * 2
        epochs = file.create_group("intervals/epochs")
        epochs["start_time"], epochs["stop_time"] = [0.0, 5.0], [4.0, 9.5]
        epochs["tags"] = np.array(["sleep", "wake", "dark"], dtype=object)
        epochs["tags_index"] = np.array([1, 3], dtype=np.uint8)


def mea(path):
    with h5py.File(path, "w") as file:
        file["spikes"], file["sCount"] = TIMES, np.bincount(UNITS).astype(np.int32)
        file["names"], file["epos"] = np.array([b"a", b"b", b"c", b"d"]), np.zeros((2, 4))
        file["summary/duration"] = [10.0]


def npz(path):
    np.savez(path, spike_times=TIMES, unit_ids=UNITS)


def mat(path):
    savemat(path, {"spike_times": TIMES, "unit_ids": UNITS.astype(float)})


def mat_cells(path):
    cells = np.empty(4, dtype=object)
    cells[:] = TRAINS
    savemat(path, {"spikes": cells})


def csv(path):
    rows = [f"{t},{u}" for t, u in zip(TIMES, UNITS, strict=True)]
    path.write_text("\n".join(["time,unit", *rows]))


def kilosort(path):
    path.mkdir()
    np.save(path / "spike_times.npy", np.rint(TIMES * 20_000).astype(np.uint64)[:, None])
    np.save(path / "spike_clusters.npy", UNITS.astype(np.int32))
    (path / "cluster_group.tsv").write_text("cluster_id\tgroup\n0\tgood\n1\tmua\n")
    (path / "params.py").write_text("dat_path = ''\nsample_rate = 20000.\n")


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut, overwrite, blank or flip bits, half of the time among the first bytes."""
    out = bytearray(content)
    reach = len(out) if rng.random() < 0.5 else min(len(out), 1000)
    where = rng.integers(reach, size=rng.integers(1, 9))
    match rng.integers(4):
        case 0:
            return bytes(out[: where[0]])
        case 1:
            out[where[0] : where[0] + 16] = bytes(rng.integers(2) * [255] * 16)
        case 2:
            for at in where:
                out[at] = rng.integers(256)
        case _:
            for at in where:
                out[at] ^= 1 << rng.integers(8)
    return bytes(out)


WRITERS = {
    "nwb": nwb,
    "h5": mea,
    "npz": npz,
    "mat": mat,
    "cells.mat": mat_cells,
    "csv": csv,
    "folder": kilosort,
}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize(
    "n_files", [40, pytest.param(2000, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_open_source__answers_damaged_files_with_data_or_a_format_error(
    tmp_path: Path, suffix: str, n_files: int
):
    path = tmp_path / f"a.{suffix}"
    WRITERS[suffix](path)
    members = sorted(path.iterdir()) if path.is_dir() else [path]
    whole = {member: member.read_bytes() for member in members}
    assert open_source(path).sizes["spike"] == TIMES.size
    for number in range(n_files):
        rng = np.random.default_rng([n_files, number])
        member = members[rng.integers(len(members))]
        member.write_bytes(damaged(whole[member], rng))
        began = time.process_time()
        with contextlib.suppress(FormatError):
            schema.validate(open_source(path), "spikes")
        assert time.process_time() - began < SECONDS
        member.write_bytes(whole[member])
