"""Stores of the three kinds, and a small S3 server."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from storage.repository import Repository, StoreRef

ROOT = Path(__file__).parents[2]
WRITER = Path(__file__).with_name("writer.py")


@pytest.fixture
def memory_ref():
    return StoreRef(f"memory:{uuid.uuid4().hex}")


@pytest.fixture
def folder_ref(tmp_path):
    return StoreRef(str(tmp_path / "results"))


@pytest.fixture
def repo(memory_ref):
    return Repository.open(memory_ref, create=True, project="test")


@pytest.fixture
def folder(folder_ref):
    return Repository.open(folder_ref, create=True, project="test")


@pytest.fixture
def table():
    return make_table()


def make_table(names=("a:sleep", "b:wake"), value=0.0):
    """A small result table; its values say which one it is."""
    shard = np.array(names, dtype=object)
    n = len(names)
    return xr.Dataset(
        {
            "ep_rate": ("shard", np.full(n, value), {"units": "nat s-1"}),
            "condition": ("shard", np.array([s.split(":")[-1] for s in names], dtype=object)),
        },
        coords={"shard": shard},
        attrs={"method": "maxent"},
    )


def start_writer(*arguments, env=None):
    """Start tests/storage/writer.py in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(WRITER), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
    )


@pytest.fixture(scope="session")
def s3_server():
    """Address of an S3 server in a process of its own, with its environment set."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(f"{url}/moto-api/", server)
        yield url
    finally:
        server.terminate()
        server.wait(10)


def _wait_for(url, server):
    for _ in range(300):
        assert server.poll() is None, "the S3 server ended"
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the S3 server did not answer within 30 s")


@pytest.fixture
def s3_ref(s3_server, monkeypatch):
    """A prefix in a fresh bucket; credentials and endpoint are in the environment."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_server,
    }.items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    request = urllib.request.Request(f"{s3_server}/{bucket}", method="PUT")
    urllib.request.urlopen(request, timeout=10).close()
    return StoreRef(f"s3://{bucket}/results")
