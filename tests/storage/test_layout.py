import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from storage.layout import CHUNK_BYTES, chunk_shape, node_name, prepared


def template(*shape, dtype="f8"):
    """An array of any size that takes no memory."""
    return xr.DataArray(np.broadcast_to(np.zeros((), dtype), shape))


texts = st.text() | st.text("._/%", max_size=4)


@given(texts)
def test_node_name__is_one_component_for_each_text(text):
    name = node_name(text)
    assert name
    assert "/" not in name
    assert set(name) != {"."}
    assert not name.startswith("__")
    assert name.isascii()


@given(texts, texts)
def test_node_name__differs_for_different_texts(a, b):
    assert (node_name(a) == node_name(b)) is (a == b)


def test_node_name__escapes_what_a_path_cannot_hold():
    assert node_name("a/b") == "a%2Fb"
    assert node_name("..") == "%2E%2E"


@pytest.mark.parametrize(
    ("array", "chunks"),
    [
        (template(), ()),
        (template(0), (1,)),
        (template(10, 0, 3), (10, 1, 3)),
        (template(1000, 40), (1000, 40)),
        (template(10_000, 1024), (CHUNK_BYTES // 8192, 1024)),
        (template(3, 2**23), (1, 2**23)),
    ],
)
def test_chunk_shape__is_whole_when_small_and_cut_along_the_first_dimension(array, chunks):
    assert chunk_shape(array) == chunks


def test_prepared__leaves_the_dataset_as_it_is(table):
    before = table.copy(deep=True)
    table["ep_rate"].encoding["chunks"] = (1,)
    prepared(table)
    xr.testing.assert_identical(table, before)
    assert table["ep_rate"].encoding == {"chunks": (1,)}


def test_commit__stores_fast_compression_and_no_consolidated_metadata(repo, table):
    import zarr

    repo.commit({"results/x/y": table}, message="m", metadata={})
    store = repo.ic.readonly_session("main").store
    array = zarr.open_array(store, path="results/x/y/ep_rate", mode="r")
    assert [
        (c.name if hasattr(c, "name") else type(c).__name__, c.level) for c in array.compressors
    ] == [("ZstdCodec", 1)]
    assert (
        zarr.open_group(store, path="results/x/y", mode="r").metadata.consolidated_metadata is None
    )
