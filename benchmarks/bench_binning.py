"""Time to bin spike trains, beside the sort of the spikes that any such method needs."""

import numpy as np
import pytest
import xarray as xr

from irrev.binning import bin_spikes

BIN_S = 0.005
RATE = 0.25  # spikes per unit and second, as in the 477-unit retina


def recording(n_spikes, n_units=477):
    rng = np.random.default_rng(0)
    seconds = n_spikes / (n_units * RATE)
    counts = rng.multinomial(n_spikes, np.full(n_units, 1 / n_units))
    trains = [np.sort(rng.uniform(0, seconds, count)) for count in counts]
    return xr.Dataset(
        {
            "spike_times": ("spike", np.concatenate(trains)),
            "spike_times_index": ("unit", np.cumsum(counts)),
            "observed_start": ("observed", [0.0]),
            "observed_stop": ("observed", [seconds]),
        }
    )


@pytest.mark.parametrize("n_spikes", [8_640, 864_000])
def test_bin_spikes_speed(benchmark, n_spikes):
    ds = recording(n_spikes)
    bins = benchmark(bin_spikes, ds, bin_s=BIN_S)
    assert bins.n_spikes == pytest.approx(n_spikes, abs=5)


@pytest.mark.parametrize("n_intervals", [1_000])
def test_bin_spikes_speed_in_many_trials(benchmark, n_intervals):
    ds = recording(864_000)
    edges = np.linspace(0, float(ds["observed_stop"][0]), n_intervals + 1)
    trials = np.column_stack([edges[:-1], edges[1:]])
    benchmark(bin_spikes, ds, bin_s=BIN_S, intervals=trials)


@pytest.mark.parametrize("n_spikes", [8_640, 864_000])
def test_floor_one_sort_of_the_spikes(benchmark, n_spikes):
    cells = np.random.default_rng(0).permutation(n_spikes).astype(np.int64)
    benchmark(np.sort, cells)
