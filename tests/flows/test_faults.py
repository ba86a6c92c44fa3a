"""What dies, hangs, fills up or changes during a run; each test counts what was lost: nothing.

`tests/storage` has the faults of the store alone, `test_faults_long.py` those that take minutes.
"""

import os
import signal
import subprocess
import threading
import time

import numpy as np
import psutil
import pytest
import xarray as xr
from distributed import default_client

from flows import progress, runners
from flows.compute import Compute
from flows.config import load
from flows.runners import cluster
from irrev.errors import StoreError
from storage.pending import Pending
from storage.repository import Repository
from tasks import entropy_production
from tasks.cluster import PlaceError
from tests.flows import faulty
from tests.flows.conftest import write_recording
from tests.flows.test_spikes import open_store, results, run

pytestmark = pytest.mark.usefixtures("prefect_server")
EXACT = ("ep_rate", "ep_rate_low", "ep_rate_high", "p", "fold_value", "null_value", "input_hash")


@pytest.fixture
def faults(monkeypatch):
    """Let the flow measure with faults on order."""
    monkeypatch.setattr(entropy_production, "measure_maxent", faulty.measure)
    monkeypatch.setattr("tasks.cluster.RETRY_DELAYS_S", (0.1, 0.1))


@pytest.fixture
def many(project):
    """A pipeline over eight small recordings."""
    config = project()
    for k in range(6):
        write_recording(config.parent / "data" / f"r{k}.npz", 10 + k, seconds=20)
    return config


@pytest.fixture(scope="module")
def workers():
    """Two worker processes for all tests of this file."""
    with cluster(Compute(profile="local", workers=2)):
        yield


def undisturbed(project, config):
    """The results of a run without faults, from the same files."""
    orders = config.parent / "orders.json"
    orders.unlink(missing_ok=True)
    project(store__url="./undisturbed")
    run(config)
    table = results(config)
    project()
    return table


def assert_same(table, expected):
    """Every number bit for bit; the time it took may differ."""
    assert table["shard"].values.tolist() == expected["shard"].values.tolist()
    for name in EXACT:
        np.testing.assert_array_equal(table[name], expected[name], err_msg=name)


# --- workers ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("workers", "faults")
def test_faults__a_worker_killed_in_mid_task_loses_nothing(project, many):
    slow = {f"pair/r{k}:all": "slow" for k in range(4)}
    faulty.order(many, **slow)
    killed = []

    def kill_one() -> None:
        while not killed:
            for address, keys in default_client().processing().items():
                if keys and faulty.calls(many):
                    pid = default_client().run(os.getpid, workers=[address])[address]
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return
            time.sleep(0.05)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    summary = run(many)
    assert killed
    assert (summary.done, summary.failed) == (8, 0)
    assert_same(results(many), undisturbed(project, many))


@pytest.mark.usefixtures("workers", "faults")
def test_faults__a_poison_shard_fails_alone_with_its_reason(project, many):
    """It kills every worker that takes it; the others finish and keep their numbers."""
    faulty.order(many, **{"pair/r1:all": "die"})
    summary = run(many)
    assert (summary.done, summary.failed) == (7, 1)
    table = results(many)
    bad = table["shard"].values.tolist().index("pair/r1:all")
    assert table["status"].values[bad] == "failed"
    assert "KilledWorker" in table["error"].values[bad]
    expected = undisturbed(project, many)
    keep = [i for i in range(8) if i != bad]
    assert_same(table.isel(shard=keep), expected.isel(shard=keep))
    before = faulty.calls(many)
    assert run(many).done == 1  # healed: only the shard that failed is computed
    assert sum((faulty.calls(many) - before).values()) == 1


@pytest.mark.usefixtures("workers", "faults")
def test_faults__a_hung_worker_is_given_up_and_started_anew(project, many):
    expected = undisturbed(project, many)  # and the workers have imported what they need
    project(compute__profile="local", compute__timeout="20 s")
    faulty.order(many, **{"pair/r2:all": "hang", "pair/r3:all": "hang"})
    before = set(default_client().run(os.getpid).values())
    start = time.monotonic()
    summary = run(many)
    assert time.monotonic() - start < 300  # one of them alone would take an hour
    assert (summary.done, summary.failed) == (6, 2)
    table = results(many)
    errors = [e for e in table["error"].values if e]
    assert errors == ["TimeoutError: no result within 20 s; raise compute.timeout or look at the "
                      "workers."] * 2  # fmt: skip
    good = np.flatnonzero(table["status"] == "done")
    assert_same(table.isel(shard=good), expected.isel(shard=good))
    default_client().wait_for_workers(2, timeout=60)
    assert not before & set(default_client().run(os.getpid).values())  # both hung


@pytest.mark.usefixtures("faults")
def test_faults__a_hung_body_in_a_thread_does_not_hang_the_run(project, many):
    undisturbed(project, many)  # everything is imported
    project(compute__timeout="10 s")
    faulty.order(many, **{"pair/r2:all": "hang"})
    summary = run(many)
    assert (summary.done, summary.failed) == (7, 1)


@pytest.mark.server
@pytest.mark.usefixtures("faults")
def test_faults__a_scheduler_that_is_killed_ends_the_run_and_keeps_what_is_finished(
    project, many, monkeypatch
):
    monkeypatch.setattr(runners, "START_TIMEOUT", "3s")
    monkeypatch.setattr(runners, "_place", "")
    faulty.order(many, **{f"pair/r{k}:all": "slow" for k in range(6)})
    first, worker, address = start_scheduler()
    project(compute__profile="address", compute__address=address)

    def kill(step: str, done: int, total: int) -> None:
        if step == "spikes" and done == 3:
            os.kill(first.pid, signal.SIGKILL)

    try:
        with progress.listening(kill), pytest.raises(PlaceError, match="scheduler is gone"):
            run(many)
    finally:
        stop(first, worker)
    kept = Pending(open_store(many)).keys()
    assert len(kept) >= 8 + 3  # eight inputs and at least the results that were told
    assert open_store(many).log() == []  # nothing half-done looks done
    before = sum(faulty.calls(many).values())
    project()
    assert run(many).done == 8
    assert sum(faulty.calls(many).values()) - before == 16 - len(kept)
    assert_same(results(many), undisturbed(project, many))


def start_scheduler():
    """Start a scheduler and one worker as processes; return them and the address."""
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    command = ["python", "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    scheduler = subprocess.Popen(
        [*command, "--port", "0", "--dashboard-address", ":0"],
        stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    address = ""
    while not address:
        line = scheduler.stderr.readline()
        address = line.split("Scheduler at:")[-1].strip() if "Scheduler at:" in line else ""
    threading.Thread(target=scheduler.stderr.read, daemon=True).start()
    worker = subprocess.Popen(
        ["python", "-m", "distributed.cli.dask_worker", address, "--nthreads", "1",
         "--no-dashboard", "--death-timeout", "20"],
        stderr=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    return scheduler, worker, address


def stop(*processes):
    for process in processes:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        process.wait(10)


# --- the store ----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.usefixtures("faults")
def test_faults__a_full_disk_ends_in_one_line_and_loses_nothing(project, many, small_disk):
    project(store__url=str(small_disk / "results"))
    ballast = small_disk / "ballast"

    def fill(step: str, done: int, total: int) -> None:
        if step == "spikes" and done == 4 and not ballast.exists():
            with ballast.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    pass

    with (
        progress.listening(fill),
        pytest.raises(StoreError, match="free some space and run again") as caught,
    ):
        run(many)
    assert "\n" not in str(caught.value)
    ballast.unlink()
    assert open_store(many).log() == []
    finished = len(Pending(open_store(many)).keys()) - 8  # without the inputs
    assert finished >= 0
    log = small_disk / "calls.log"
    before = len(log.read_text().split())
    assert run(many).done == 8
    assert len(log.read_text().split()) - before == 8 - finished
    assert_same(results(many), undisturbed(project, many))


def test_faults__a_store_that_may_not_be_written_is_told_before_the_work(project, many, tmp_path):
    blocker = tmp_path / "blocker"
    blocker.write_text("a file")
    project(store__url=str(blocker / "results"))
    with pytest.raises(StoreError) as caught:
        run(many)
    assert "\n" not in str(caught.value)


# --- inputs -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("faults")
def test_faults__a_file_that_changes_during_the_run_is_measured_as_it_was_read(project, many):
    """The result belongs to the content that its hash names; the next run sees the change."""
    expected = undisturbed(project, many)
    changed = many.parent / "data" / "r3.npz"

    def change(step: str, done: int, total: int) -> None:
        if step == "read" and done == total:
            write_recording(changed, 99, seconds=30)

    with progress.listening(change):
        assert run(many).done == 8
    assert_same(results(many), expected)
    before = faulty.calls(many)
    assert run(many).done == 1
    new = faulty.calls(many) - before
    assert set(new) == {str(faulty.seed_of("pair/r3:all"))}
    assert int((results(many)["input_hash"] != expected["input_hash"]).sum()) == 1


@pytest.mark.usefixtures("faults")
def test_faults__bad_shards_of_every_kind_do_not_touch_the_good(project, many):
    """Unreadable, too short, failing: each has its reason on record, and none is lost."""
    data = many.parent / "data"
    for k in range(2):
        (data / f"broken{k}.npz").write_bytes(b"PK\x03\x04 no archive")
        write_recording(data / f"short{k}.npz", k, seconds=0.3)
        write_recording(data / f"failing{k}.npz", 30 + k, seconds=20)
    faulty.order(many, **{f"pair/failing{k}:all": "fail" for k in range(2)})
    summary = run(many)
    assert (summary.done, summary.failed, summary.quarantined) == (8, 2, 4)
    table, aside = results(many), open_store(many).read("quarantine/spikes").load()
    assert table.sizes["shard"] + 2 == 14  # every item is in the table or could not be read
    assert set(aside["item"].values) == {
        *(f"pair/broken{k}" for k in range(2)),
        *(f"pair/{kind}{k}:all" for kind in ("short", "failing") for k in range(2)),
    }
    assert all(aside["reason"].values)
    good = table.isel(shard=np.flatnonzero(table["status"] == "done"))
    for k in range(2):
        for kind in ("broken", "short", "failing"):
            (data / f"{kind}{k}.npz").unlink()
    assert_same(good, undisturbed(project, many))


# --- two at once --------------------------------------------------------------------------------


@pytest.mark.server
def test_faults__two_runs_of_one_pipeline_at_once_lose_nothing(project, many):
    from prefect.settings import PREFECT_API_URL

    environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()}
    command = ["python", "-m", "tests.flows.faulty", str(many)]
    both = [
        subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for process in both:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    assert_same(results(many), undisturbed(project, many))
    assert not Pending(open_store(many)).keys()
    assert run(many).changed is False


def test_faults__the_scratch_of_a_dead_run_is_not_lost_to_another_branch(project, many):
    """Work that waits belongs to its content, not to a branch."""
    run(many)
    repo = Repository.open(load(many).store_ref())
    repo.create_branch("side")
    project(store__branch="side", flows__spikes__ep__folds=4)
    assert run(many).done == 8
    project(flows__spikes__ep__folds=4)
    assert run(many).done == 8
    xr.testing.assert_equal(
        results(many).drop_vars("seconds"), results(many, at="side").drop_vars("seconds")
    )
