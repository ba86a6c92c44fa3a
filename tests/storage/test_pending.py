import numpy as np
import pytest
import xarray as xr

from irrev.errors import StoreError
from storage.pending import Pending
from storage.repository import Repository
from tests.storage.conftest import make_table, start_writer
from tests.storage.test_commits import kill_writers

GROUP = "results/spikes/maxent"


def items(names):
    return {
        name: {"row": make_table([f"{name}:x"], value=float(i))} for i, name in enumerate(names)
    }


@pytest.mark.parametrize("kind", ["memory_ref", "folder_ref", "s3_ref"])
def test_put__is_read_back_in_every_kind_of_store(kind, request):
    repo = Repository.open(request.getfixturevalue(kind), create=True)
    kept = items("abc")
    Pending(repo).put(kept)
    again = Pending(Repository.open(repo.ref))
    assert again.keys() == {"a", "b", "c"}
    xr.testing.assert_identical(again.get("b")["row"], kept["b"]["row"])
    assert dict(again.load("cx")).keys() == {"c"}


def test_put__keeps_every_bit_of_several_groups(repo):
    noise = np.random.default_rng(0).standard_normal((300, 1000))  # more than one chunk
    odd = np.array([np.nan, -0.0, -np.nan])
    Pending(repo).put(
        {
            "k": {
                "data": xr.Dataset({"x": (("a", "b"), noise)}),
                "b/c": xr.Dataset({"y": ("t", odd)}),
            }
        }
    )
    back = Pending(repo).get("k")
    assert back["data"]["x"].to_numpy().tobytes() == noise.tobytes()
    assert back["b/c"]["y"].to_numpy().tobytes() == odd.tobytes()


def test_put__leaves_no_trace_on_the_branch(repo, table):
    version = repo.commit({GROUP: table}, message="m", metadata={})
    pending = Pending(repo)
    pending.put(items("ab"))
    pending.drop("ab")
    assert repo.resolve() == version
    assert len(repo.log()) == 1
    assert repo.branches() == ["main"]


def test_put__of_nothing_does_nothing(repo):
    Pending(repo).put({})
    assert Pending(repo).keys() == set()


def test_drop__forgets_its_keys_only(repo):
    pending = Pending(repo)
    pending.put(items("abc"))
    pending.put(items("de"))
    pending.drop(["a", "d", "e", "unknown"])
    for one in (pending, Pending(repo)):
        assert one.keys() == {"b", "c"}
        with pytest.raises(StoreError, match="nothing pending under a"):
            one.get("a")
    pending.drop("b")
    assert pending.keys() == {"c"}
    pending.put(items("a"))
    assert pending.get("a")["row"]["ep_rate"] == 0.0


def test_get__at_a_snapshot_reads_what_was_there(repo):
    pending = Pending(repo)
    assert Pending(repo).snapshot()  # also before the first put
    pending.put(items("ab"))
    before = pending.snapshot()
    pending.drop("ab")
    xr.testing.assert_identical(Pending(repo).get("b", at=before)["row"], items("ab")["b"]["row"])
    with pytest.raises(StoreError, match="nothing pending under b"):
        pending.get("b")


def test_put__of_processes_at_once_loses_nothing(folder):
    process = start_writer(folder.ref.url, "w0,w1,w2", 8, "pending")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert Pending(folder).keys() == {f"w{i}-{k}" for i in range(3) for k in range(8)}


@pytest.mark.parametrize("n_kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_put__survives_kill_9_at_random_moments(folder, n_kills):
    """What was acknowledged is there, and whatever is there is whole."""
    acknowledged = kill_writers(folder, n_kills, "pending")
    pending = Pending(Repository.open(folder.ref))
    assert set(acknowledged) <= pending.keys()
    for _, datasets in pending.load(pending.keys()):
        assert (datasets["data"]["v"] == datasets["data"].attrs["i"]).all()
    assert folder.log() == []


def test_snapshots__do_not_grow_with_history(folder):
    """A put writes as much after 60 puts and drops as after one: the past costs nothing."""

    def sizes():
        return sorted(p.stat().st_size for p in _snapshots(folder))

    pending = Pending(folder)
    pending.put(items("a"))
    first = sizes()[-1]
    for _ in range(60):
        pending.drop("a")
        pending.put(items("a"))
    assert sizes()[-1] <= first + 64  # identifiers compress a little differently


def _snapshots(folder):
    from pathlib import Path

    return list((Path(folder.ref.url) / "snapshots").iterdir())
