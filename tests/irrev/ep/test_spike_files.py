"""Binning a group of units at a time gives the bins of the whole recording, bit for bit."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from irrev.binning import bin_spikes
from irrev.ep.chunks import save_bins
from irrev.ep.spike_files import save_spikes
from irrev.errors import InputError
from irrev.readers.selection import select_units, take_units

FILES = ("indptr.npy", "indices.npy", "bins.json")


def recording(n_units: int, rate: float, seed: int) -> xr.Dataset:
    """Trains in no order of time, on a grid so that edges and coincidences are common."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rate, n_units)
    times = rng.integers(-200, 6200, counts.sum()) / 100
    return xr.Dataset(
        {
            "spike_times": ("spike", times),
            "spike_times_index": ("unit", np.cumsum(counts)),
            "observed_start": ("observed", [0.0, 35.0]),
            "observed_stop": ("observed", [30.5, 60.0]),
        }
    )


@settings(deadline=None)
@given(
    n_units=st.integers(1, 12),
    rate=st.sampled_from([0.5, 20.0, 300.0]),
    width=st.sampled_from([0.01, 0.05, 0.7]),
    most=st.integers(1, 1500),
    some=st.booleans(),
    seed=st.integers(0, 5),
)
def test_save_spikes__gives_the_files_of_the_whole_recording(
    n_units, rate, width, most, some, seed
):
    ds = recording(n_units, rate, seed)
    keep = np.arange(n_units) % 3 != 1 if some else np.ones(n_units, bool)
    intervals = np.array([[1.0, 20.0], [20.0, 58.0]]) if some else None
    with TemporaryDirectory() as folder:
        one, other = Path(folder, "one"), Path(folder, "other")
        save_bins(bin_spikes(take_units(ds, keep), bin_s=width, intervals=intervals), one)
        save_spikes(ds, other, bin_s=width, intervals=intervals, keep=keep, most=most)
        assert sorted(p.name for p in other.iterdir()) == sorted(FILES)
        for name in FILES:
            assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_save_spikes__refuses_what_bin_spikes_refuses(tmp_path):
    with pytest.raises(InputError, match="no whole bin of 100 s"):
        save_spikes(recording(3, 10.0, 0), tmp_path, bin_s=100.0)


def test_select_units__without_spikes_chooses_the_same_and_reads_them_lazily(tmp_path):
    ds = recording(9, 40.0, 1)
    ds.to_zarr(tmp_path / "in.zarr", zarr_format=3, consolidated=False)
    lazy = xr.open_zarr(tmp_path / "in.zarr", consolidated=False, chunks=None)
    rules = {"min_active": 0.2, "bin_s": 0.7, "most_active": 4, "draw": 3, "seed": 2}
    whole, light = select_units(ds, **rules), select_units(lazy, spikes=False, **rules)
    assert light.removed == whole.removed
    assert "spike" not in light.dataset.dims
    assert light.dataset.identical(whole.dataset.drop_dims("spike"))
    np.testing.assert_array_equal(
        take_units(ds, light.keep)["spike_times"], whole.dataset["spike_times"]
    )
