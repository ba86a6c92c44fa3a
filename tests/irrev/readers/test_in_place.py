"""Records whose samples stay in their file."""

import numpy as np
import pytest
import xarray as xr

from irrev import readers
from irrev.errors import FormatError, InputError
from irrev.readers.in_place import check_unchanged, samples_of


@pytest.fixture
def signal(rng):
    return rng.standard_normal((300, 4)).astype(np.float32)


def write(path, signal, form):
    """Write the signal in one of the forms; return path and options."""
    if form == "npy":
        np.save(path / "x.npy", signal)
        return path / "x.npy", {"sampling_rate": 50.0}
    if form == "npy, rows are channels":
        np.save(path / "x.npy", np.ascontiguousarray(signal.T))
        return path / "x.npy", {"sampling_rate": 50.0, "transpose": True}
    dims = ("channel", "time") if "rows" in form else ("time", "channel")
    values = signal.T if "rows" in form else signal
    ds = xr.Dataset({"x": (dims, values)}, {"channel": list("abcd")}, {"fs": 50.0})
    if "times" in form:
        ds = ds.drop_attrs().assign_coords(time=np.arange(300) / 50)
    ds["channel"] = ds["channel"].astype(object)
    ds.to_zarr(path / "x.zarr", zarr_format=3, consolidated=False)
    return path / "x.zarr", {}


@pytest.mark.parametrize(
    "form", ["npy", "npy, rows are channels", "zarr", "zarr, rows are channels", "zarr, times"]
)
def test_open_source__in_place_tells_all_but_the_samples(tmp_path, signal, form):
    path, options = write(tmp_path, signal, form)
    there = readers.open_source(path, kind="timeseries", in_place=True, **options)
    here = readers.open_source(path, kind="timeseries", **options)
    assert "signal" not in there
    xr.testing.assert_equal(there.drop_vars("time", errors="ignore"), here.drop_vars("signal"))
    assert readers.size(there)["time"] == 300
    samples = samples_of(there, path)
    assert samples.shape == (300, 4)
    np.testing.assert_array_equal(samples.read((10, 20), (1, 3)), signal[10:20, 1:3])


def test_open_source__integers_in_place_become_floats(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(12, dtype=np.int16).reshape(6, 2))
    ds = readers.open_source(tmp_path / "x.npy", kind="timeseries", in_place=True, sampling_rate=1)
    assert samples_of(ds, tmp_path / "x.npy").read((0, 2), (0, 2)).tolist() == [
        [0.0, 1.0],
        [2.0, 3.0],
    ]


def test_check_unchanged__refuses_a_file_that_changed_or_is_gone(tmp_path, signal):
    path, options = write(tmp_path, signal, "npy")
    ds = readers.open_source(path, kind="timeseries", in_place=True, **options)
    check_unchanged(ds, path)
    np.save(path, signal + 1)
    with pytest.raises(FormatError, match="changed since it was read"):
        check_unchanged(ds, path)
    path.unlink()
    with pytest.raises(FormatError, match="it is gone"):
        check_unchanged(ds, path)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (np.zeros((3, 9)), {}, "more channels than samples"),
        (np.zeros((9, 3), complex), {}, "give real numbers"),
        (np.zeros((9, 3)), {"resample": True}, "in_place with resample"),
        (np.array([["a"]], dtype=object), {}, "not a readable NPY file"),
    ],
)
def test_open_source__in_place_says_how_to_mend(tmp_path, content, options, message):
    np.save(tmp_path / "x.npy", content, allow_pickle=True)
    with pytest.raises((FormatError, InputError), match=message):
        readers.open_source(
            tmp_path / "x.npy", kind="timeseries", in_place=True, sampling_rate=1.0, **options
        )


def test_open_source__a_truncated_file_is_refused_in_place(tmp_path, signal):
    path, _ = write(tmp_path, signal, "npy")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match="not a readable NPY"):
        readers.open_source(path, kind="timeseries", in_place=True, sampling_rate=1.0)


def test_open_source__other_formats_cannot_stay_in_place(tmp_path):
    (tmp_path / "x.csv").write_text("time,a\n0,1\n1,2\n2,3\n")
    with pytest.raises(FormatError, match="only Zarr folders and NPY files"):
        readers.open_source(tmp_path / "x.csv", kind="timeseries", in_place=True)


def test_samples_of__a_record_in_memory_has_none(tmp_path, signal):
    path, options = write(tmp_path, signal, "npy")
    ds = readers.open_source(path, kind="timeseries", **options)
    with pytest.raises(InputError, match="use in_place=True"):
        samples_of(ds, path)
