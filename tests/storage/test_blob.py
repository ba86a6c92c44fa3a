import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings

from irrev.errors import StoreError
from storage import blob

numbers = st.sampled_from(["f8", "f4", "i8", "u1", "?", "c16", "M8[ns]", ">f8"])
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
columns = st.one_of(
    numbers.flatmap(lambda d: hnp.arrays(d, shapes)),
    shapes.flatmap(
        lambda s: hnp.arrays(object, s, elements=st.text(max_size=5), fill=st.nothing())
    ),
)


@settings(max_examples=40)
@given(columns)
def test_encode__keeps_every_bit(array):
    dims = tuple(f"d{i}" for i in range(array.ndim))
    ds = xr.Dataset({"x": xr.Variable(dims, array, {"units": "nat"})}, attrs={"n": 1})
    back = blob.decode(blob.encode(ds))
    assert back["x"].dims == dims
    assert back["x"].attrs == {"units": "nat"}
    assert back.attrs == {"n": 1}
    if array.dtype == object:
        assert back["x"].to_numpy().tolist() == array.tolist()
    else:
        assert back["x"].dtype == array.dtype
        assert back["x"].to_numpy().tobytes() == array.tobytes()


def test_encode__keeps_coordinates(table):
    xr.testing.assert_identical(blob.decode(blob.encode(table)), table)


def test_decode__gives_arrays_that_can_be_written(table):
    back = blob.decode(blob.encode(table))
    back["ep_rate"][0] = 1.0
    assert back["ep_rate"][0] == 1.0


@pytest.mark.parametrize("wrong", [None, 0, ("a",)])
def test_encode__refuses_what_is_neither_numbers_nor_text(wrong):
    column = np.empty(2, dtype=object)
    column[:] = ["a", wrong]
    ds = xr.Dataset({"x": xr.Variable("d", column)})
    with pytest.raises(StoreError, match=r"x holds .* among its text"):
        blob.encode(ds)


def test_encode__refuses_attributes_that_are_no_json():
    with pytest.raises(StoreError, match="an attribute holds"):
        blob.encode(xr.Dataset(attrs={"f": print}))


def test_encode__takes_numpy_numbers_in_attributes():
    ds = xr.Dataset(attrs={"a": np.float64(0.1), "b": np.arange(2), "c": np.bool_(True)})
    assert blob.decode(blob.encode(ds)).attrs == {"a": 0.1, "b": [0, 1], "c": True}
