"""One stream as a row and a series."""

import numpy as np
import xarray as xr

from irrev.alignment.alerts import StreamKey
from irrev.alignment.monitor import Watch
from irrev.alignment.records import measure_behaviour
from irrev.alignment.taxonomy import DEFAULT_TAXONOMY


def turns_of(n: int) -> xr.Dataset:
    columns = {
        "t": np.arange(n, dtype=float),
        "answer_bytes": np.ones(n, dtype=int),
        "n_tool_calls": np.zeros(n, dtype=int),
    }
    return xr.Dataset({k: ("answer", v) for k, v in columns.items()})


def test_measure_behaviour__divergence_is_that_of_the_last_full_bin(rng):
    """The last bin holds 10 of 50 and has no value of its own."""
    n = 1010
    classes = rng.choice(5, size=n, p=[0.9, 0.04, 0.03, 0.02, 0.01])
    turns = turns_of(n)
    key = StreamKey("m", "u", "s", "v")
    settings = Watch(detectors=("bayes_eprocess",), n_draws=20)
    row, series = measure_behaviour(turns, classes, key, settings, taxonomy=DEFAULT_TAXONOMY)
    assert np.isnan(series["d_align"].values[-1])
    assert float(row["d_align"][0]) == series["d_align"].values[-2]


def test_measure_behaviour__says_that_no_answer_has_a_known_label():
    key = StreamKey("m", "u", "s", "v")
    settings = Watch(detectors=("bayes_eprocess",), n_draws=20)
    row, _ = measure_behaviour(
        turns_of(300), np.full(300, -1), key, settings, taxonomy=DEFAULT_TAXONOMY
    )
    assert row["outcome"].item() == "no answer has a known label"
