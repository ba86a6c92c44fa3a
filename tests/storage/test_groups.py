import asyncio

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings

from irrev.errors import StoreError
from storage import groups
from storage.groups import run, write_groups
from storage.repository import Repository, StoreRef

numbers = st.sampled_from(["f8", "f4", "i8", "i2", "u1", "?", "M8[ns]", ">f8", "<U3"])
text = st.text(st.characters(exclude_characters="\0"), max_size=5)
arrays = st.one_of(
    numbers.flatmap(lambda d: hnp.arrays(d, (2, 3), elements=_elements(d))),
    hnp.arrays(object, (3,), elements=text, fill=st.nothing()),
    hnp.arrays("f8", ()),
    hnp.arrays("f8", (0, 2)),
)


def _elements(dtype):
    """Times within the years that nanoseconds can tell."""
    if dtype.startswith("M8"):
        return st.integers(0, 2**62).map(lambda ns: np.datetime64(ns, "ns"))
    return text.map(lambda t: t[:3]) if dtype.startswith("<U") else None


def dataset(columns):
    variables = {
        f"v{i}": xr.Variable([f"d{i}{k}" for k in range(a.ndim)], a, {"long_name": "v", "n": i})
        for i, a in enumerate(columns)
    }
    return xr.Dataset(
        variables, coords={"place": ("x", [1.0, 2.0]), "x": ["a", "b"]}, attrs={"m": 1.5}
    )


@settings(max_examples=30)
@given(st.lists(arrays, max_size=3))
def test_write_groups__writes_what_xarray_would(columns):
    """The same Dataset through our documents and through xarray's own writer reads the same."""
    ds = dataset(columns)
    with pytest.MonkeyPatch.context() as patch:
        back = []
        for limit in (groups.SMALL_BYTES, -1):  # -1: nothing is small
            patch.setattr(groups, "SMALL_BYTES", limit)
            repo = Repository.open(StoreRef(f"memory:twice-{limit}"), create=True)
            repo.commit({"results/x": ds}, message="m", metadata={})
            back.append(repo.read("results/x").load())
    xr.testing.assert_identical(*back)
    for name in back[0].variables:
        a, b = (one[name].to_numpy() for one in back)
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes() or a.dtype.kind in "OT"


def test_write_groups__takes_the_short_way_for_small_tables(table, repo, monkeypatch):
    monkeypatch.setattr(xr.Dataset, "to_zarr", lambda *_, **__: pytest.fail("the long way"))
    repo.commit({"results/x": table, "results/y": table}, message="m", metadata={})
    xr.testing.assert_identical(repo.read("results/y").load(), table)


def test_write_groups__stores_a_large_array_in_chunks(repo, monkeypatch):
    import zarr

    monkeypatch.setattr("storage.layout.WHOLE_BELOW_BYTES", 2**12)
    monkeypatch.setattr("storage.layout.CHUNK_BYTES", 2**11)
    noise = np.random.default_rng(0).random((100, 16))
    repo.commit({"results/x": xr.Dataset({"v": (("a", "b"), noise)})}, message="m", metadata={})
    store = repo.ic.readonly_session("main").store
    assert zarr.open_array(store, path="results/x/v", mode="r").chunks == (16, 16)
    assert repo.read("results/x")["v"].to_numpy().tobytes() == noise.tobytes()


@pytest.mark.parametrize("where", ["group", "variable"])
def test_write_groups__refuses_attributes_that_are_no_json(repo, table, where):
    target = table if where == "group" else table["ep_rate"]
    target.attrs["level"] = float("nan")
    with pytest.raises(StoreError, match=r"results/x.*: an attribute is no JSON"):
        repo.commit({"results/x": table}, message="m", metadata={})


def test_write_groups__makes_parents_that_zarr_can_open(repo, table):
    import zarr

    repo.commit({"a/b/c/d": table}, message="m", metadata={})
    assert repo.children("a") == ["b"]
    assert repo.children("a/b/c") == ["d"]
    store = repo.ic.readonly_session("main").store
    assert zarr.open_group(store, path="a/b", mode="r").attrs.asdict() == {}


def test_write_groups__fails_as_a_whole(repo, table):
    bad = table.assign(text=("shard", np.array(["a", 1], dtype=object)))
    with pytest.raises(StoreError):
        write_groups(
            repo.ic.writable_session("main").store, {"results/a": table, "results/b": bad}
        )
    assert not repo.has("results/a")


def test_run__works_inside_a_running_loop():
    done = []

    async def inner():
        await asyncio.sleep(0)
        done.append(True)

    async def outer():
        run(inner())

    asyncio.run(outer())
    assert done == [True]


def test_run__raises_what_the_work_raises():
    async def fails():
        raise StoreError("full")

    with pytest.raises(StoreError, match="full"):
        run(fails())
