"""Random subsets of units."""

import numpy as np
import xarray as xr

from irrev.binning import SpikeBins
from irrev.ep.maxent import maxent_ep
from irrev.ep.subsets import (
    draw_subset,
    measure_subset,
    subsets_row,
    take_units,
)

OPTIONS = {"draws": 100, "null_draws": 19}


def recording() -> SpikeBins:
    rng = np.random.default_rng(0)
    rates = np.array([0.001, 0.1, 0.2, 0.05, 0.3, 0.15])
    return SpikeBins.from_dense(rng.random((3000, 6)) < rates, 0.01, [(0, 1000), (1000, 3000)])


def test_take_units__is_the_recording_of_these_units_alone():
    bins, units = recording(), np.array([1, 3, 5])
    taken = take_units(bins, units)
    np.testing.assert_array_equal(taken.to_dense(), bins.to_dense()[:, units])
    alone = SpikeBins.from_dense(bins.to_dense()[:, units], 0.01, bins.segments)
    assert maxent_ep(taken, **OPTIONS).value == maxent_ep(alone, **OPTIONS).value


def test_draw_subset__depends_on_seed_size_and_number_only():
    units = np.arange(100)
    first = draw_subset(units, 10, 3, 7)
    np.testing.assert_array_equal(first, draw_subset(units, 10, 3, 7))
    assert np.unique(first).size == 10
    others = [draw_subset(units, 10, 4, 7), draw_subset(units, 10, 3, 8)]
    assert not any(np.array_equal(first, o) for o in others)


def test_subsets_row__combines_dependent_p_values_and_keeps_every_subset():
    bins = recording()
    units = np.arange(1, 6)
    parts = [
        measure_subset(bins, units, size=s, draw=d, draw_seed=0, seed=1, options=OPTIONS)
        for s in (2, 4)
        for d in range(3)
    ]
    about = xr.Dataset(
        {"n_candidates": 5, "n_units": 6, "n_steps": 2998, "bin_s": 0.01, "lost": 0.0}
    )
    row = subsets_row(parts, about).isel(shard=0)
    assert int(row["size"]) == 4
    assert int(row["n_subsets"]) == 6
    top = row["subset_p"].values[row["subset_size"].values == 4]
    assert float(row["p"]) == min(1.0, 2 * np.median(top))
    values = row["subset_ep_per_spike"].values[row["subset_size"].values == 4]
    assert float(row["ep_per_spike"]) == values.mean()
