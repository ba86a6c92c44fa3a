import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from irrev.errors import StoreError
from storage import leases as lease_module
from storage.leases import at_work, leases
from storage.pending import Pending
from storage.repository import Repository
from storage.retention import clean

GROUP = "results/spikes/maxent"
DAY = timedelta(days=1)
NEXT_YEAR = datetime.now(UTC) + 365 * DAY
NO_PROCESS = 2**22 + 1  # above the highest process number of Linux


def values(i):
    return xr.Dataset({"x": ("x", np.random.default_rng(i).random(20_000))})


@pytest.fixture
def five(folder):
    """A folder with five versions; the second is tagged, the third is a branch's tip."""
    ids = [folder.commit({GROUP: values(i)}, message=str(i), metadata={}) for i in range(5)]
    folder.tag("paper", ids[1])
    folder.create_branch("campaign", ids[2])
    return folder, ids


def size(repo):
    return sum(p.stat().st_size for p in Path(repo.ref.url).rglob("*") if p.is_file())


def test_clean__forgets_what_nothing_names(five):
    repo, ids = five
    before = size(repo)
    done = clean(repo, older_than=DAY, dry_run=False, now=NEXT_YEAR)
    assert [v.message for v in done.versions] == ["3", "0"]
    assert [v.message for v in done.kept_by_name] == ["4", "2", "1"]
    assert done.n_bytes >= 2 * 20_000 * 4  # noise hardly compresses below half
    assert before - size(repo) == pytest.approx(done.n_bytes, rel=0.01)
    again = Repository.open(repo.ref)
    for i in (1, 2, 4):
        xr.testing.assert_identical(again.read(GROUP, at=ids[i]).load(), values(i))
    for i in (0, 3):
        with pytest.raises(StoreError, match="expired ones are gone"):
            again.read(GROUP, at=ids[i])
    assert again.resolve("paper") == ids[1]
    again.commit({GROUP: values(9)}, message="after", metadata={})
    assert [v.message for v in again.log()] == ["after", "4"]


def test_clean__in_a_dry_run_changes_nothing(five):
    repo, ids = five
    before = sorted(Path(repo.ref.url).rglob("*"))
    said = clean(repo, older_than=DAY, now=NEXT_YEAR)
    assert sorted(Path(repo.ref.url).rglob("*")) == before
    assert [v.id for v in repo.log()] == ids[::-1]
    done = clean(repo, older_than=DAY, dry_run=False, now=NEXT_YEAR)
    assert said.versions == done.versions
    assert said.kept_by_name == done.kept_by_name


def test_clean__keeps_what_is_young(five):
    repo, ids = five
    done = clean(repo, older_than=DAY, dry_run=False)
    assert done.versions == ()
    assert done.n_files == 0
    assert [v.id for v in repo.log()] == ids[::-1]


def test_clean__never_deletes_files_of_today(five):
    """A writer without a lease may have written them for a commit it is about to make."""
    repo, _ = five
    session = repo.ic.writable_session("main")
    values(7).to_zarr(session.store, group="results/new", zarr_format=3, consolidated=False)
    clean(repo, older_than=timedelta(0), dry_run=False)
    session.commit("later")
    xr.testing.assert_identical(repo.read("results/new").load(), values(7))


# --- writers at work -----------------------------------------------------------------------------


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("kind", ["memory_ref", "folder_ref", "s3_ref"])
def test_clean__refuses_while_a_writer_is_at_work(kind, dry_run, request):
    repo = Repository.open(request.getfixturevalue(kind), create=True)
    with (
        at_work(repo),
        pytest.raises(StoreError, match=f"process {os.getpid()} on .* is at work since"),
    ):
        clean(Repository.open(repo.ref), older_than=DAY, dry_run=dry_run)
    assert leases(repo) == []
    clean(repo, older_than=DAY, dry_run=dry_run)


def test_at_work__ends_also_with_an_error(repo):
    with pytest.raises(ZeroDivisionError), at_work(repo):
        raise ZeroDivisionError
    assert leases(repo) == []


def test_at_work__is_not_seen_among_the_branches(repo):
    with at_work(repo), at_work(repo):
        assert repo.branches() == ["main"]
        assert len(leases(repo)) == 2


def test_clean__takes_a_killed_writer_for_gone(folder):
    code = """
import sys, time
from storage.leases import at_work
from storage.repository import Repository, StoreRef

with at_work(Repository.open(StoreRef(sys.argv[1]))):
    print("on", flush=True)
    time.sleep(99)
"""
    writer = subprocess.Popen(
        [sys.executable, "-c", code, folder.ref.url],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert writer.stdout.readline() == b"on\n"
    with pytest.raises(StoreError, match=f"process {writer.pid} on"):
        clean(folder, older_than=DAY)
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    done = clean(folder, older_than=DAY, dry_run=False)
    assert len(done.leftovers) == 1
    assert leases(folder) == []


def test_clean__waits_for_a_writer_of_another_host_until_its_lease_ends(repo, monkeypatch):
    monkeypatch.setattr(lease_module, "_host", lambda: "elsewhere")
    with at_work(repo, time_limit=2 * DAY):
        monkeypatch.undo()
        with pytest.raises(StoreError, match="on elsewhere is at work"):
            clean(repo, older_than=DAY)
        assert clean(repo, older_than=DAY, now=datetime.now(UTC) + 3 * DAY).leftovers


# --- leftovers -----------------------------------------------------------------------------------


def test_clean__forgets_work_that_nobody_published(repo):
    pending = Pending(repo)
    pending.put({"old": {"data": values(0)}})
    assert clean(repo, older_than=DAY, dry_run=False).pending == 0
    assert pending.keys() == {"old"}
    late = datetime.now(UTC) + 31 * DAY
    assert clean(repo, older_than=DAY, now=late).pending == 1
    assert pending.keys() == {"old"}
    assert clean(repo, older_than=DAY, dry_run=False, now=late).pending == 1
    assert Pending(repo).keys() == set()


def test_clean__removes_what_killed_writers_left(folder):
    chunks = Path(folder.ref.url) / "chunks"
    chunks.mkdir(exist_ok=True)
    (chunks / "ABC#1").write_bytes(b"half")
    folder.ic.create_branch(
        "writing.0", folder.commit({GROUP: values(0)}, message="m", metadata={})
    )
    assert clean(folder, older_than=DAY, dry_run=False).leftovers == ()  # too young
    late = datetime.now(UTC) + 2 * DAY
    assert clean(folder, older_than=9 * DAY, now=late).leftovers == ("writing.0", "ABC#1")
    assert (chunks / "ABC#1").exists()
    clean(folder, older_than=9 * DAY, dry_run=False, now=late)
    assert not (chunks / "ABC#1").exists()
    assert folder.ic.list_branches() == {"main"}
    assert len(folder.log()) == 1


def test_lease__of_this_host_lives_as_long_as_its_process(repo):
    with at_work(repo):
        (lease,) = leases(repo)
        assert lease.alive(lease.until + DAY)
    assert not replace(lease, pid=NO_PROCESS).alive(lease.since)
