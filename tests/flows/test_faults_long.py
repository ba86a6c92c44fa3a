"""Faults that take minutes: kills at random moments, restarts, bad networks, many bad inputs."""

import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from flows.server import healthy
from irrev.errors import IrrevError
from storage.pending import Pending
from tests.flows import faulty
from tests.flows.conftest import write_recording
from tests.flows.test_faults import assert_same, faults, many, undisturbed  # noqa: F401
from tests.flows.test_spikes import open_store, results, run
from tests.storage.conftest import s3_ref, s3_server  # noqa: F401
from tests.storage.test_commits import clock  # noqa: F401
from tests.storage.test_faults import bad_day  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]


def victim(config, url=None, **environment):
    """Start a run with faults on order as a process of its own group."""
    from prefect.settings import PREFECT_API_URL

    return subprocess.Popen(
        [sys.executable, "-m", "tests.flows.faulty", str(config)],
        env={**os.environ, "PREFECT_API_URL": url or PREFECT_API_URL.value(), **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finished(config):
    """Content keys of the shards that are finished but not published, by shard seed."""
    try:
        return Pending(open_store(config)).keys()
    except IrrevError:
        return set()


def test_faults__killed_at_20_random_moments_and_resumed_bit_for_bit(project, many):  # noqa: F811
    """After each kill -9 what is finished stays finished, and is never computed again."""
    for k in range(60):
        write_recording(many.parent / "data" / f"more{k}.npz", 50 + k, seconds=20)
    faulty.order(many, **{f"pair/more{k}:all": "slow" for k in range(60)})
    rng = random.Random(0)
    killed, kept_before = 0, set()
    while killed < 20:
        process = victim(many)
        before = sum(faulty.calls(many).values())
        if rng.random() < 0.7:  # while it measures, else while it starts, reads or plans
            wait_for_calls(many, before + 1, process)
        time.sleep(rng.uniform(0.0, 3.0))
        assert process.poll() is None, "the run was over before it was killed 20 times"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        killed += 1
        kept = finished(many)
        assert kept_before <= kept, "a kill has lost finished work"
        kept_before = kept
    left = 2 * 68 - len(kept_before)  # inputs and results
    before = sum(faulty.calls(many).values())
    out, errors = victim(many).communicate(timeout=600)
    assert "68 0 0" in out, errors
    total = sum(faulty.calls(many).values())
    print(
        f"\n{killed} kills: {total} calls for 68 shards, {total - before} of them in the last run"
    )
    assert total - before == left  # what was finished was not computed again
    # a kill costs what was under way or finished within the last seconds
    assert total <= 68 + killed * (2 + 2 * 3)
    assert_same(results(many), undisturbed(project, many))


def test_faults__finished_shards_are_never_computed_again(project, many):  # noqa: F811
    faulty.order(many, **{f"pair/r{k}:all": "slow" for k in range(6)})
    process = victim(many)
    while len(finished(many)) < 8 + 3:
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = len(finished(many)) - 8
    before = sum(faulty.calls(many).values())
    out, errors = victim(many).communicate(timeout=300)
    assert "8 0 0" in out, errors
    assert sum(faulty.calls(many).values()) - before == 8 - kept


# --- Prefect's server and its database ----------------------------------------------------------


class Server:
    """A Prefect server of a folder, which can be killed and started again at its port."""

    def __init__(self, home):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.home, self.url = home, f"http://127.0.0.1:{self.port}/api"
        self.start()

    def start(self):
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port)],
            env={**os.environ, "PREFECT_HOME": str(self.home), "PREFECT_API_URL": self.url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(1200):
            if healthy(f"{self.url}/health"):
                return
            time.sleep(0.1)
        raise AssertionError("no server within two minutes")

    def kill(self):
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "prefect")
    yield server
    server.kill()


def wait_for_calls(config, least, process):
    while sum(faulty.calls(config).values()) < least:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


def test_faults__a_server_restarted_during_the_run_loses_nothing(project, many, server):  # noqa: F811
    faulty.order(many, **{f"pair/r{k}:all": "slow" for k in range(6)})
    process = victim(many, server.url)
    wait_for_calls(many, 2, process)
    server.kill()
    time.sleep(3)
    server.start()
    out, errors = process.communicate(timeout=300)
    assert "8 0 0" in out, errors
    assert sum(faulty.calls(many).values()) == 8
    assert_same(results(many), undisturbed(project, many))


def test_faults__a_server_that_stays_away_ends_the_run_and_keeps_what_is_finished(
    project,
    many,  # noqa: F811
    server,
):
    faulty.order(many, **{f"pair/r{k}:all": "slow" for k in range(6)})
    process = victim(many, server.url, PREFECT_CLIENT_MAX_RETRIES="2")
    wait_for_calls(many, 3, process)
    server.kill()
    process.communicate(timeout=300)  # it ends, well or not
    kept, published = finished(many), open_store(many).log()
    before = sum(faulty.calls(many).values())
    summary = run(many)
    if published:
        assert summary.changed is False
    else:
        assert summary.done == 8
        assert sum(faulty.calls(many).values()) == before  # `run` measures without the log
        assert len(kept) >= 8
    assert_same(results(many), undisturbed(project, many))


def test_faults__a_locked_database_loses_nothing(project, many, server):  # noqa: F811
    faulty.order(many, **{f"pair/r{k}:all": "slow" for k in range(6)})
    process = victim(many, server.url)
    wait_for_calls(many, 1, process)
    with sqlite3.connect(server.home / "prefect.db", timeout=60) as database:
        database.execute("BEGIN EXCLUSIVE")
        time.sleep(15)
        database.rollback()
    out, errors = process.communicate(timeout=300)
    assert "8 0 0" in out, errors
    assert_same(results(many), undisturbed(project, many))


# --- S3 -----------------------------------------------------------------------------------------


def test_faults__a_bad_day_of_s3_loses_nothing(project, many, s3_ref, bad_day):  # noqa: F811
    """A tenth of all requests is throttled, fails, is late, is cut, or loses its answer."""
    project(store__url=s3_ref.url)
    proxy = bad_day(0.1)
    errors = []
    for _ in range(10):
        try:
            if run(many).clean:
                break
        except IrrevError as error:
            errors.append(str(error))
    print(f"\n{proxy.faults}, {len(errors)} runs ended early")
    assert not any("\n" in error for error in errors)
    assert sum(proxy.faults.values()) > 20
    assert_same(results(many), undisturbed(project, many))


# --- the clock ----------------------------------------------------------------------------------


def test_faults__a_clock_that_steps_back_loses_nothing(project, many, clock):  # noqa: F811
    run(many)
    for k in range(2):
        write_recording(many.parent / "data" / f"later{k}.npz", 70 + k, seconds=20)
    late = victim(many, **clock(-86_400))
    _, errors = late.communicate(timeout=300)
    assert late.returncode
    assert re.search(r"this clock is 86,\d{3} s behind", errors)
    assert results(many).sizes["shard"] == 8
    little = victim(many, **clock(-3))
    out, errors = little.communicate(timeout=300)
    assert "2 0 0" in out, errors
    assert_same(results(many), undisturbed(project, many))


# --- many ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("faults")
def test_faults__a_thousand_shards_of_which_fifty_are_bad(project):
    config = project(compute__profile="local")
    data = config.parent / "data"
    for path in data.iterdir():
        path.unlink()
    for k in range(950):
        write_recording(data / f"good{k:03d}.npz", k, seconds=10)
    for k in range(16):
        (data / f"broken{k}.npz").write_bytes(b"PK\x03\x04 no archive")
        write_recording(data / f"short{k}.npz", k, seconds=0.3)
        write_recording(data / f"failing{k}.npz", k, seconds=10)
    for k in range(2):
        write_recording(data / f"poison{k}.npz", k, seconds=10)
    bad = {f"pair/failing{k}:all": "fail" for k in range(16)}
    faulty.order(config, **bad, **{f"pair/poison{k}:all": "die" for k in range(2)})
    summary = run(config)
    assert (summary.done, summary.failed, summary.quarantined) == (950, 18, 32)
    aside = open_store(config).read("quarantine/spikes").load()
    assert aside.sizes["entry"] == 50
    assert all(aside["reason"].values)
    table = results(config)
    assert int((table["status"] == "done").sum()) == 950
    assert np.isfinite(table["ep_rate"].values[table["status"].values == "done"]).all()
    counts = faulty.calls(config)
    assert sum(counts[str(faulty.seed_of(f"pair/good{k:03d}:all"))] for k in range(950)) <= 975
    assert threading.active_count() < 100  # threads are given back
