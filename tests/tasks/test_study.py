"""Which units the conditions of one recording are compared over."""

import json

import numpy as np
import pytest
import xarray as xr

from irrev import schema
from irrev.readers import open_source
from storage.repository import StoreRef
from tasks import entropy_production, study

SPANS = {"first": [[0.0, 100.0]], "second": [[100.0, 200.0]]}
PLACE = (StoreRef("memory:"), "", "")


@pytest.fixture
def recording(tmp_path, monkeypatch) -> xr.Dataset:
    """Eight units; the first four are active in the first condition, the others in the second."""
    rng = np.random.default_rng(0)
    chance = np.array([[0.4] * 4 + [0.01] * 4, [0.01] * 4 + [0.2] * 4]).repeat(10_000, axis=0)
    bins, units = np.nonzero(rng.random(chance.shape) < chance)
    np.savez(tmp_path / "a.npz", times=(bins + 0.5) * 0.01, units=units)
    ds = schema.validate(open_source(tmp_path / "a.npz"), "spikes")
    monkeypatch.setattr(entropy_production, "load_input", lambda *_: ds)
    return ds


def config(condition: str, **units) -> dict:
    return {"selection": SPANS[condition], "bin": 0.01, "units": units}


@pytest.mark.usefixtures("recording")
@pytest.mark.parametrize("rule", [{"most_active": 4}, {"min_active": 0.05}])
def test_read_bins__takes_the_same_units_in_all_conditions(rule):
    def units(condition, **activity):
        chosen, bins = entropy_production.read_bins(*PLACE, config(condition, **rule, **activity))
        assert abs(bins.n_bins - 10_000) < 3  # of its own stretch, whatever chose the units
        return chosen.dataset["unit"].values.astype(str).tolist()

    assert units("first") == units("second") == units("first", activity="recording")
    own = [units(c, activity="condition") for c in SPANS]
    assert not set(own[0]) & set(own[1])


@pytest.mark.usefixtures("recording")
def test_recording__candidates_of_subsets_are_those_of_all_conditions():
    def candidates(condition, activity):
        options = config(condition, activity=activity) | {"min_active": 0.05}
        study._recording.cache_clear()
        return study._recording(*PLACE, json.dumps(options))[1].tolist()

    assert candidates("first", "recording") == candidates("second", "recording") == [*range(8)]
    assert candidates("first", "condition") == [0, 1, 2, 3]
    assert candidates("second", "condition") == [4, 5, 6, 7]
