import random
import re
import shutil
import signal
import subprocess
import threading
import time

import icechunk as ic
import pytest
import xarray as xr

from irrev.errors import StoreError
from storage.repository import Repository
from tests.storage.conftest import make_table, start_writer

GROUP = "results/spikes/maxent"


def written_by(url, n_writers, n_commits):
    """Let processes commit at once; give all versions that they report, and their groups."""
    names = [f"w{i}" for i in range(n_writers)]
    process = start_writer(url, ",".join(names), n_commits, "commit")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    groups = [f"results/{name}/m{k}" for name in names for k in range(n_commits)]
    return re.findall(r"[0-9A-Z]{20}", out), groups  # lines of two processes may run together


def assert_all_there(repo, versions, groups):
    """No commit is lost: each is in the history, and what it wrote is at the tip."""
    log = {v.id for v in repo.log()}
    assert set(versions) <= log
    for group in groups:
        ds = repo.read(group).load()
        assert (ds["v"] == ds.attrs["i"]).all()


# --- many processes ------------------------------------------------------------------------------


def test_commit__loses_nothing_of_eight_processes_in_a_folder(folder):
    versions, groups = written_by(folder.ref.url, 8, 10)
    assert len(set(versions)) == 80 == len(folder.log())
    assert_all_there(folder, versions, groups)


@pytest.mark.parametrize(
    ("n_writers", "n_commits"), [(2, 5), pytest.param(4, 10, marks=pytest.mark.slow)]
)
def test_commit__loses_nothing_of_processes_on_s3_without_a_lock(s3_ref, n_writers, n_commits):
    repo = Repository.open(s3_ref, create=True)
    versions, groups = written_by(s3_ref.url, n_writers, n_commits)
    assert len(set(versions)) == n_writers * n_commits == len(repo.log())
    assert_all_there(repo, versions, groups)


def kill_writers(folder, n_kills, kind):
    """Kill -9 writers at random moments; give all that they acknowledged."""
    rng = random.Random(1)
    done = []
    for n in range(n_kills):
        writer = start_writer(folder.ref.url, f"w{n}", 10_000, kind)
        assert writer.stdout.readline() == "open\n", writer.communicate(timeout=60)[1]
        done.append(writer.stdout.readline().strip())
        time.sleep(rng.uniform(0.0, 0.3))
        writer.send_signal(signal.SIGKILL)
        out, _ = writer.communicate(timeout=60)
        done += [line for line in out.split("\n")[:-1] if line]
    return done


@pytest.mark.parametrize("n_kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_commit__survives_kill_9_at_random_moments(folder, n_kills):
    """Nothing is torn, no acknowledged commit is lost, and the next writer is not held up."""
    versions = kill_writers(folder, n_kills, "commit")
    assert versions
    groups = [
        f"results/{writer}/{m}"
        for writer in folder.children("results")
        for m in folder.children(f"results/{writer}")
    ]
    assert_all_there(Repository.open(folder.ref), versions, groups)
    folder.commit({GROUP: make_table()}, message="after", metadata={})


# --- answers that are lost -----------------------------------------------------------------------


@pytest.mark.parametrize("error", [ic.ConflictError, ic.IcechunkError])
@pytest.mark.parametrize("as_function", [True, False])
def test_commit__that_landed_without_an_answer_is_made_once(
    repo, table, error, as_function, monkeypatch
):
    """The network loses the answer, the client tries again and meets its own commit."""
    original, left = ic.Session.commit, [1]

    def commit_without_answer(self, *args, **options):
        done = original(self, *args, **options)
        if left.pop() if left else False:
            raise error("no answer") if error is ic.IcechunkError else error(None, None)
        return done

    monkeypatch.setattr(ic.Session, "commit", commit_without_answer)
    writes = {GROUP: table}
    version = repo.commit(
        (lambda _: writes) if as_function else writes, message="once", metadata={"a": 1}
    )
    assert [v.id for v in repo.log()] == [version]
    assert repo.log()[0].metadata == {"a": 1}


# --- clocks --------------------------------------------------------------------------------------

SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *t) {
  int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
  int done = real(id, t);
  if (id == CLOCK_REALTIME) t->tv_sec += atol(getenv("CLOCK_OFFSET"));
  return done;
}
"""


@pytest.fixture
def clock(tmp_path):
    """A function that gives the environment of a process whose clock is off by some seconds."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here: another clock cannot be given to a process")
    library = tmp_path / "clock.so"
    command = [compiler, "-shared", "-fPIC", "-x", "c", "-o", str(library), "-", "-ldl"]
    subprocess.run(command, input=SHIM, text=True, check=True)
    return lambda offset: {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)}


def test_commit__waits_for_a_clock_that_stepped_back_a_little(folder, clock):
    first = folder.commit({GROUP: make_table()}, message="before", metadata={})
    writer = start_writer(folder.ref.url, "late", 2, "commit", env=clock(-3))
    out, err = writer.communicate(timeout=120)
    assert writer.returncode == 0, err
    written = re.findall(r"^[0-9A-Z]{20}$", out, re.MULTILINE)  # Icechunk logs between them
    assert len(written) == 2
    assert [v.id for v in folder.log()] == [*reversed(written), first]


def test_commit__says_when_the_clock_is_far_behind(folder, clock):
    first = folder.commit({GROUP: make_table()}, message="before", metadata={})
    writer = start_writer(folder.ref.url, "late", 1, "commit", env=clock(-86_400))
    _, err = writer.communicate(timeout=120)
    assert re.search(r"this clock is 86,\d{3} s behind the newest version; set it right", err)
    second = folder.commit({GROUP: make_table()}, message="after", metadata={})
    assert [v.id for v in folder.log()] == [second, first]


# --- two writers at once -------------------------------------------------------------------------


def rival(repo, group, ds):
    """A function for `commit` before whose first commit another writer is faster."""
    calls = []

    def writes(base):
        calls.append(base)
        if len(calls) == 1:
            repo.commit({group: ds}, message="rival", metadata={})
        old = repo.read(GROUP, at=base) if repo.has(GROUP, at=base) else None
        names = [] if old is None else old["shard"].to_numpy().tolist()
        return {GROUP: make_table([*names, "mine:x"])}

    return writes, calls


@pytest.mark.parametrize("kind", ["memory_ref", "folder_ref"])
def test_commit__calls_its_function_again_when_another_was_faster(kind, request):
    repo = Repository.open(request.getfixturevalue(kind), create=True)
    writes, calls = rival(repo, GROUP, make_table(["theirs:x"]))
    repo.commit(writes, message="mine", metadata={})
    assert len(calls) == 2
    assert repo.read(GROUP)["shard"].to_numpy().tolist() == ["theirs:x", "mine:x"]
    assert [v.message for v in repo.log()] == ["mine", "rival"]


def interleave(monkeypatch, repo, writes):
    """Let another writer commit between this one's writing and its commit."""
    from storage import groups

    original, left = groups.write_groups, [writes]

    def write_then_lose(store, content):
        original(store, content)
        if left:
            repo.commit(left.pop(), message="rival", metadata={})

    monkeypatch.setattr("storage.repository.write_groups", write_then_lose)


def test_commit__moves_a_mapping_onto_the_new_tip(repo, table, monkeypatch):
    """Also if both made the parent group, which Icechunk alone refuses."""
    interleave(monkeypatch, repo, {"results/spikes/tur": table})
    repo.commit({GROUP: table}, message="mine", metadata={})
    assert repo.children("results/spikes") == ["maxent", "tur"]


def test_commit__refuses_a_mapping_over_what_another_wrote(repo, table, monkeypatch):
    theirs = table.assign_attrs(by="rival")
    repo.commit({GROUP: table}, message="before", metadata={})
    interleave(monkeypatch, repo, {GROUP: theirs})
    with pytest.raises(StoreError, match=f"{GROUP} was written by another run in this moment"):
        repo.commit({GROUP: table}, message="mine", metadata={})
    assert repo.read(GROUP).attrs["by"] == "rival"


def test_commit__refuses_a_mapping_over_what_another_made(repo, table, monkeypatch):
    """The group and its parent are both new: the refusal names the group."""
    interleave(monkeypatch, repo, {GROUP: table})
    with pytest.raises(StoreError, match="was written by another run in this moment"):
        repo.commit({GROUP: table}, message="mine", metadata={})


def test_commit__takes_turns_among_threads(repo):
    def add(name):
        def writes(base):
            old = repo.read(GROUP, at=base) if repo.has(GROUP, at=base) else None
            names = [] if old is None else old["shard"].to_numpy().tolist()
            return {GROUP: make_table([*names, name])}

        repo.commit(writes, message=name, metadata={})

    threads = [threading.Thread(target=add, args=(f"t{i}:x",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(repo.read(GROUP)["shard"].to_numpy().tolist()) == [f"t{i}:x" for i in range(8)]
    assert len(repo.log()) == 8


def test_append__loses_no_part_of_two_writers(repo, table, monkeypatch):
    repo.append("state/s", table, dim="shard", message="first", metadata={})
    original = xr.Dataset.to_zarr
    left = [make_table(["rival:x"])]

    def to_zarr(self, *args, **options):
        original(self, *args, **options)
        if left:
            repo.append("state/s", left.pop(), dim="shard", message="rival", metadata={})

    monkeypatch.setattr(xr.Dataset, "to_zarr", to_zarr)
    repo.append("state/s", make_table(["mine:x"]), dim="shard", message="mine", metadata={})
    assert repo.read("state/s")["shard"].to_numpy().tolist() == [
        *table["shard"].to_numpy(),
        "rival:x",
        "mine:x",
    ]


@pytest.mark.parametrize("kind", ["folder_ref", "s3_ref"])
def test_open__by_several_processes_makes_one_store(kind, request):
    ref = request.getfixturevalue(kind)
    versions, groups = written_by(ref.url, 4, 1)
    assert_all_there(Repository.open(ref), versions, groups)
    assert len(set(versions)) == 4
