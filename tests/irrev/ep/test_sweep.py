"""One estimate a bin width, of the same recording."""

import numpy as np
import pytest
import xarray as xr

from irrev.ep.sweep import sweep_bins


def test_sweep_bins__a_fast_sequence_shows_only_in_narrow_bins():
    """Unit 1 follows unit 0 by 4 ms: seen across 5 ms bins, inside one bin at 100 ms."""
    rng = np.random.default_rng(0)
    first = np.sort(rng.uniform(0, 300, 3_000))
    other = np.sort(rng.uniform(0, 300, 3_000))
    times = [first, first + 0.004, other]
    ds = xr.Dataset(
        {
            "spike_times": ("spike", np.concatenate(times)),
            "spike_times_index": ("unit", np.cumsum([t.size for t in times])),
            "observed_start": ("observed", [0.0]),
            "observed_stop": ("observed", [301.0]),
        }
    )
    narrow, wide = sweep_bins(ds, widths=(0.005, 0.1), draws=100)
    assert (narrow.bin_s, wide.bin_s) == (0.005, 0.1)
    assert narrow.low > 0
    assert narrow.rate > 10 * abs(wide.rate)
    assert narrow.per_spike == pytest.approx(narrow.rate * 300 / 9_000, rel=0.1)
