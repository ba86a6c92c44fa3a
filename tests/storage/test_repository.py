import pickle
import uuid

import numpy as np
import pytest
import xarray as xr
import zarr

from irrev.errors import StoreError
from storage import layout
from storage.repository import Repository, StoreRef

GROUP = "results/spikes/maxent"


def commit(repo, writes, message="spikes: 2 results", **options):
    return repo.commit(writes, message=message, metadata={}, **options)


# --- open ----------------------------------------------------------------------------------------


def test_open__says_that_there_is_no_store(tmp_path):
    with pytest.raises(StoreError, match=r"nowhere: no store here; check `store\.url`"):
        Repository.open(StoreRef(str(tmp_path / "nowhere")))


def test_open__makes_the_store_once(folder):
    again = Repository.open(folder.ref, create=True)
    assert again.resolve() == folder.resolve()
    assert again.children("") == ["inputs", "models", "results", "state"]


def test_open__says_which_schema_wrote_the_store(repo, monkeypatch):
    monkeypatch.setattr("storage.repository.SCHEMA_VERSION", layout.SCHEMA_VERSION - 1)
    message = (
        rf"{repo.ref.url}: written by schema {layout.SCHEMA_VERSION}, this is schema "
        rf"{layout.SCHEMA_VERSION - 1}; update the code or open an older version with --at\."
    )
    with pytest.raises(StoreError, match=message):
        Repository.open(repo.ref)


def test_open__opens_an_older_version_of_a_newer_store(repo, table):
    version = commit(repo, {GROUP: table})
    session = repo.ic.writable_session("main")
    zarr.open_group(session.store, mode="r+").attrs["schema"] = layout.SCHEMA_VERSION + 1
    session.commit("by newer code")
    with pytest.raises(StoreError, match="update the code or open an older version"):
        Repository.open(repo.ref)
    older = Repository.open(repo.ref, at=version)
    xr.testing.assert_identical(older.read(GROUP, at=version).load(), table)


def test_open__refuses_a_store_of_another_program(memory_ref):
    import icechunk

    from storage.backend import storage_of

    foreign = icechunk.Repository.create(storage_of(memory_ref))
    session = foreign.writable_session("main")
    xr.Dataset({"x": 1}).to_zarr(session.store, zarr_format=3, consolidated=False)
    session.commit("not ours")
    for create in (False, True):
        with pytest.raises(StoreError, match="not a store of irrev"):
            Repository.open(memory_ref, create=create)


def test_open__shares_memory_by_name(repo, table):
    version = commit(repo, {GROUP: table})
    assert Repository.open(repo.ref).resolve() == version
    with pytest.raises(StoreError, match="no such store in this process"):
        Repository.open(StoreRef(f"memory:{uuid.uuid4().hex}"))


def test_store_ref__survives_pickling_and_a_change_of_folder(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    relative = Repository.open(StoreRef("results"))
    monkeypatch.chdir("/")
    assert pickle.loads(pickle.dumps(relative.ref)) == folder.ref
    assert Repository.open(relative.ref).resolve() == folder.resolve()


# --- read and commit -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory_ref", "folder_ref", "s3_ref"])
def test_commit__is_read_back_in_every_kind_of_store(kind, table, request):
    repo = Repository.open(request.getfixturevalue(kind), create=True)
    version = commit(repo, {GROUP: table})
    back = Repository.open(repo.ref).read(GROUP)
    xr.testing.assert_identical(back.load(), table)
    assert [v.id for v in repo.log()] == [version]


def test_commit__is_read_with_plain_xarray(folder, table):
    import icechunk

    commit(folder, {GROUP: table})
    plain = icechunk.Repository.open(icechunk.local_filesystem_storage(folder.ref.url))
    store = plain.readonly_session("main").store
    back = xr.open_zarr(store, group=GROUP, consolidated=False, chunks=None)
    xr.testing.assert_identical(back.load(), table)


def test_commit__keeps_every_bit(repo):
    odd = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, 5e-324], dtype=np.float64)
    odd.view(np.uint64)[3] |= np.uint64(1 << 63) | np.uint64(1)  # a NaN with another payload
    ds = xr.Dataset(
        {
            "odd": ("x", odd),
            "zero": ("x", np.full(6, -0.0)),
            "nan": ("x", odd[[3] * 6]),
            "single": ("x", odd.astype(np.float32)),
            "whole": ("x", np.arange(6)),
            "yes": ("x", np.array([True, False] * 3)),
            "text": (("x", "y"), np.array([["", "µ\n"]] * 6, dtype=object)),
            "no_text": ("none", np.array([], dtype=object)),
            "nothing": ("none", np.array([], dtype=np.float64)),
            "scalar": 1.5,
        }
    )
    commit(repo, {"results/bits": ds})
    back = repo.read("results/bits").load()
    for name, variable in ds.variables.items():
        stored = back[name].to_numpy()
        if variable.dtype == object:
            assert stored.tolist() == variable.values.tolist()
            assert stored.dtype.kind in "OT"
        else:
            assert stored.tobytes() == variable.values.tobytes(), name
            assert stored.dtype == variable.dtype


def test_commit__replaces_its_groups_and_keeps_all_others(repo, table):
    commit(repo, {GROUP: table, "results/spikes": table, "runs/1": table})
    commit(repo, {"results/spikes": table.drop_vars("condition").assign_attrs(method="new")})
    assert list(repo.read("results/spikes").data_vars) == ["ep_rate"]
    assert repo.read("results/spikes").attrs == {"method": "new"}
    xr.testing.assert_identical(repo.read(GROUP).load(), table)
    assert repo.has("runs/1")


def test_commit__can_write_what_was_read(repo, table):
    commit(repo, {GROUP: table})
    commit(repo, {GROUP: repo.read(GROUP).isel(shard=[1])})
    xr.testing.assert_identical(repo.read(GROUP).load(), table.isel(shard=[1]))


def test_commit__deletes_a_group_with_all_below(repo, table):
    commit(repo, {GROUP: table, "results/spikes/couplings/a": table})
    commit(repo, {}, delete=["results/spikes", "results/never"])
    assert repo.children("results") == []


def test_commit__without_change_makes_no_version(repo, table):
    version = commit(repo, {GROUP: table})
    assert commit(repo, {}) == version
    assert commit(repo, lambda base: {}, delete=["results/never"]) == version
    assert len(repo.log()) == 1


@pytest.mark.parametrize("wrong", [0, 1.5, np.nan, False, b"bytes"])
def test_commit__refuses_objects_that_are_no_text(repo, wrong):
    ds = xr.Dataset({"error": ("shard", np.array(["", wrong], dtype=object))})
    with pytest.raises(StoreError, match=f"error holds {wrong!r} among its text"):
        commit(repo, {GROUP: ds})
    assert repo.log() == []


def test_commit__refuses_metadata_that_are_no_json(repo, table):
    with pytest.raises(StoreError, match="metadata are no JSON"):
        repo.commit({GROUP: table}, message="", metadata={"x": {1, 2}})


def test_append__takes_longer_text_than_before(repo, table):
    longer = table.assign_coords(shard=["a recording with a long name:wake", "c:sleep"])
    for part in (table, longer):
        repo.append("state/drift", part, dim="shard", message="m", metadata={})
    back = repo.read("state/drift").load()
    assert back["shard"].to_numpy().tolist() == [
        "a:sleep",
        "b:wake",
        "a recording with a long name:wake",
        "c:sleep",
    ]
    repo.append("state/drift", back.isel(shard=[0]), dim="shard", message="m", metadata={})
    assert repo.read("state/drift").sizes["shard"] == 5


def test_read__names_what_is_there(repo):
    with pytest.raises(StoreError, match=r"no results/x in main; at its top: inputs, models"):
        repo.read("results/x")


def test_children__of_a_missing_group_are_none(repo):
    assert repo.children("results/x") == []
    assert not repo.has("results/x")


def test_read__does_not_take_seconds_for_durations(repo):
    commit(repo, {GROUP: xr.Dataset({"bin_s": ("x", [0.01], {"units": "s"})})})
    assert repo.read(GROUP)["bin_s"].dtype == np.float64
