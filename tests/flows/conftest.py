"""One Prefect server for the session; small recordings whose direction of time is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml


@pytest.fixture(scope="session")
def prefect_server():
    """Start one temporary API for all tests that run flows (about 10 s)."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


def write_recording(path: Path, seed: int, *, driven: bool = True, seconds: float = 60.0) -> Path:
    """Write spikes of four units; if driven, each tends to follow its neighbour by one bin."""
    rng = np.random.default_rng(seed)
    n_bins = round(seconds / 0.01)
    active = rng.random((n_bins, 4)) < 0.08
    if driven:
        follow = rng.random((n_bins - 1, 3)) < 0.5
        active[1:, 1:] |= active[:-1, :-1] & follow
    bins, units = np.nonzero(active)
    np.savez(path, times=(bins + 0.5) * 0.01, units=units)
    return path


@pytest.fixture
def project(tmp_path) -> Callable[..., Path]:
    """Write a pipeline file over two recordings, one driven and one not; return its path."""
    (tmp_path / "data").mkdir()
    write_recording(tmp_path / "data" / "driven.npz", 1)
    write_recording(tmp_path / "data" / "still.npz", 2, driven=False)

    def make(**changes) -> Path:
        config = {
            "version": 1,
            "project": "test",
            "seed": 3,
            "store": {"url": "./results"},
            "compute": {"profile": "threads", "workers": 2},
            "sources": {"pair": {"kind": "spikes", "uri": "data/*.npz"}},
            "flows": {
                "spikes": {
                    "sources": ["pair"],
                    "bin": "10 ms",
                    "interval": {"draws": 200},
                    "null": {"draws": 99},
                }
            },
        }
        for dotted, value in changes.items():
            *path, last = dotted.split("__")
            block = config
            for key in path:
                block = block.setdefault(key, {})
            block[last] = value
        file = tmp_path / "pipeline.yaml"
        file.write_text(yaml.safe_dump(config))
        return file

    return make
