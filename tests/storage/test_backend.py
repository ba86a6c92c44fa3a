import os
import resource
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

import filelock
import numpy as np
import pytest
import xarray as xr

from irrev.errors import StoreError
from storage.backend import make
from storage.pending import Pending
from storage.repository import Repository, StoreRef

GROUP = "results/spikes/maxent"
NOBODY = 65534


@contextmanager
def powerless(folder):
    """Make a folder read-only, also for root."""
    paths = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)


@contextmanager
def small_files(limit):
    """Let no file grow beyond a size: what a full disk does, at a place of our choice."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def open_folder(tmp_path):
    """A folder that another user may enter."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o055)
    place = tmp_path / "place"
    place.mkdir()
    return place


def test_store__of_a_read_only_folder_can_be_read_not_written(open_folder, table):
    repo = Repository.open(StoreRef(str(open_folder / "results")), create=True)
    version = repo.commit({GROUP: table}, message="m", metadata={})
    Pending(repo).put({"k": {"g": table}})
    repo.read(GROUP).load()  # imports what another user may not read
    with powerless(open_folder):
        again = Repository.open(repo.ref)
        xr.testing.assert_identical(again.read(GROUP).load(), table)
        assert Pending(again).keys() == {"k"}
        with pytest.raises(StoreError, match="make it writable or set another") as caught:
            again.commit({GROUP: table}, message="m", metadata={})
        with pytest.raises(StoreError, match="make it writable"):
            Repository.open(StoreRef(str(open_folder / "new")), create=True)
    assert "\n" not in str(caught.value)
    assert repo.resolve() == version


def test_store__that_is_full_keeps_what_it_has(folder, table):
    version = folder.commit({GROUP: table}, message="m", metadata={})
    noise = np.random.default_rng(0).random(2**17)
    with (
        small_files(2**18),
        pytest.raises(StoreError, match="free some space and run again") as caught,
    ):
        folder.commit({"results/big": xr.Dataset({"x": ("x", noise)})}, message="m", metadata={})
    assert "\n" not in str(caught.value)
    again = Repository.open(folder.ref)
    assert again.resolve() == version
    assert not again.has("results/big")
    again.commit({"results/big": xr.Dataset({"x": ("x", noise)})}, message="m", metadata={})
    assert again.read("results/big")["x"].to_numpy().tobytes() == noise.tobytes()


def test_commit__names_the_lock_that_another_process_holds(folder, table, monkeypatch):
    monkeypatch.setattr("storage.backend.LOCK_TIMEOUT_S", 0.1)
    with (
        filelock.FileLock(f"{folder.ref.url}.lock"),
        pytest.raises(StoreError, match=r"another process has held .*results\.lock"),
    ):
        folder.commit({GROUP: table}, message="m", metadata={})


@pytest.mark.parametrize(
    ("url", "message"),
    [("s3:///results", "no bucket; write s3://bucket/prefix"), ("s3://none-such/r", "bucket")],
)
def test_s3__says_what_is_wrong_with_the_address(url, message, s3_ref):
    with pytest.raises(StoreError, match=message) as caught:
        Repository.open(StoreRef(url), create=True)
    assert "\n" not in str(caught.value)


@pytest.mark.slow  # the client tries again for about ten seconds
def test_s3__says_when_nobody_answers(s3_ref, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="check the network and AWS_ENDPOINT_URL") as caught:
        Repository.open(s3_ref)
    assert "\n" not in str(caught.value)


def test_s3__sends_no_credential_with_a_fork(s3_ref, monkeypatch):
    import pickle

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-7f3a")
    repo = Repository.open(s3_ref, create=True)
    fork = repo.ic.writable_session("main").fork()
    assert b"canary-7f3a" not in pickle.dumps(fork)
    assert b"canary-7f3a" not in pickle.dumps(repo.ref)


def test_open__refuses_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(StoreError, match="a file, not a folder"):
        Repository.open(StoreRef(str(tmp_path / "results")), create=True)


def test_open__refuses_a_folder_of_something_else(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(StoreError, match=r"holds 'thesis\.tex' but no store"):
        Repository.open(StoreRef(str(tmp_path)), create=True)


def test_open__makes_nothing_where_there_is_no_store(tmp_path):
    with pytest.raises(StoreError, match="no store here"):
        Repository.open(StoreRef(str(tmp_path / "results")))
    assert list(tmp_path.iterdir()) == []


def test_open__takes_over_a_store_whose_making_was_killed(folder_ref):
    """Icechunk had made its root, our first commit was missing."""
    make(folder_ref)
    repo = Repository.open(folder_ref, create=True)
    assert repo.children("") == ["inputs", "models", "results", "state"]


def test_open__says_when_the_making_was_killed_half_way(folder_ref, monkeypatch):
    monkeypatch.setattr("storage.backend.MAKING_S", 0.2)
    make(folder_ref)
    (Path(folder_ref.url) / "refs" / "branch.main" / "ref.json").unlink()
    with pytest.raises(StoreError, match="begun here and never finished; empty it first"):
        Repository.open(folder_ref, create=True)


def test_open__of_a_server_that_never_answers_ends_in_one_line(s3_ref, monkeypatch):
    monkeypatch.setattr("storage.backend.ANSWER_S", 0.3)
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(8)  # takes connections and says nothing
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{hole.getsockname()[1]}")
        with pytest.raises(StoreError, match="no answer; check the network"):
            Repository.open(s3_ref, create=True)


def test_commit__to_a_server_that_stops_answering_is_given_up(s3_ref, table, monkeypatch):
    repo = Repository.open(s3_ref, create=True)
    stuck = threading.Event()
    monkeypatch.setattr("storage.backend.WRITE_LIMIT_S", 0.3)

    def writes(base):
        stuck.wait(10)
        return {GROUP: table}

    with pytest.raises(StoreError, match="a commit takes over 0 s; check the network"):
        repo.commit(writes, message="m", metadata={})
    stuck.set()
