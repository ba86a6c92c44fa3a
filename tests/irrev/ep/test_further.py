"""Further estimates of one recording as rows of one table."""

import numpy as np
import pytest
import xarray as xr

from irrev import schema
from irrev.binning import bin_spikes
from irrev.ep.estimates import without_value
from irrev.ep.further import (
    further_estimates,
    further_names,
    in_folds,
    is_fold,
    joined_tables,
)
from irrev.errors import InputError

NEEP = {"use": True, "hidden": [16], "steps": 30, "batch": 256, "learning_rate": 1e-3}
FURTHER = {
    "sweep": [0.02],
    "orders": ["lin", "pair"],
    "memory": 2,
    "areas": True,
    "distances": [150.0],
    "methods": True,
    "neep": NEEP,
}
FIT = {"observables": ["pair"], "lag": 1, "window": 1, "folds": 4, "n_blocks": 20}
CONFIG = {"ep": FIT | {"solver": "lbfgs", "trajectory": False}, "further": FURTHER}


@pytest.fixture(scope="module")
def units() -> xr.Dataset:
    """Four units in two areas; each tends to follow its neighbour by a bin of 10 ms."""
    rng = np.random.default_rng(0)
    active = rng.random((4000, 4)) < 0.08
    active[1:, 1:] |= active[:-1, :-1] & (rng.random((3999, 3)) < 0.5)
    trains = [np.flatnonzero(active[:, k]) * 0.01 + 0.005 for k in range(4)]
    return xr.Dataset(
        {
            "spike_times": ("spike", np.concatenate(trains)),
            "spike_times_index": ("unit", np.cumsum([t.size for t in trains])),
            "observed_start": ("observed", [0.0]),
            "observed_stop": ("observed", [40.0]),
            "x_um": ("unit", 100.0 * np.arange(4)),
            "y_um": ("unit", np.zeros(4)),
            "area": ("unit", np.array(["ca1", "ca1", "adn", "adn"], object)),
        }
    )


def table(units: xr.Dataset, name: str) -> xr.Dataset:
    spans = np.array([[0.0, 40.0]])
    bins = bin_spikes(units, bin_s=0.01, intervals=spans)
    options = {"level": 0.95, "draws": 100, "null_draws": 99, "seed": 1, "device": "cpu"}
    return further_estimates(name, units, bins, spans, CONFIG, **options)


@pytest.mark.parametrize("name", further_names(FURTHER))
def test_further_estimates__every_name_gives_a_valid_table(units, name):
    found = schema.validate(table(units, name), "spikes/estimates")
    rate = found["ep_per_step"] / found["bin_s"]
    np.testing.assert_allclose(found["ep_rate"], rate)
    assert np.isfinite(found["ep_rate"]).all()


def test_further_estimates__each_pair_of_areas_is_one_row(units):
    found = table(units, "areas")
    assert sorted(found["label"].values) == ["adn - adn", "adn - ca1", "ca1 - ca1"]
    assert found["n_observables"].values.tolist() == [1, 4, 1]
    assert (found["p"] <= 0.05).all()  # units 0 -> 1 -> 2 -> 3 cross the border once


def test_further_estimates__nested_levels_say_what_they_add(units):
    found = table(units, "orders")
    assert found["label"].values.tolist() == ["lin", "lin+pair"]
    both = found["ep_per_step"].values
    assert found["added"].values[1] == pytest.approx(both[1] - both[0])
    assert found["added_low"].values[1] > 0


def test_further_estimates__areas_need_names(units):
    with pytest.raises(InputError, match="names no areas"):
        table(units.drop_vars("area"), "areas")


def test_further_estimates__near_pairs_carry_what_neighbours_do(units):
    """A unit follows its neighbour at 100 um; pairs beyond 150 um add less."""
    found = table(units, "distances")
    assert found["label"].values.tolist() == ["up to 150", "all"]
    assert found["n_observables"].values.tolist() == [3, 6]
    assert found["added_low"].values[0] > found["added_high"].values[1]
    with pytest.raises(InputError, match="no positions"):
        table(units.drop_vars("x_um"), "distances")


def test_joined_tables__what_a_recording_cannot_answer_is_one_row(units):
    """Every fold of `within` says that there are no areas; `orders` stands."""
    bins = bin_spikes(units, bin_s=0.01)
    names = in_folds(["orders", "within", "areas"], FIT["folds"])
    tables = [
        table(units, n) if n.startswith("orders") else without_value(n, "names no areas", bins)
        for n in names
    ]
    found = joined_tables(tables, level=0.95, draws=100, seed=1)
    schema.validate(found, "spikes/estimates")
    assert found["family"].values.tolist() == ["orders", "orders", "within", "areas"]
    assert found["note"].values.tolist() == ["", "", "names no areas", "names no areas"]
    assert np.isfinite(found["ep_rate"].values).tolist() == [True, True, False, False]
    whole = joined_tables([table(units, "orders")], level=0.95, draws=100, seed=1)
    xr.testing.assert_identical(found.isel(estimate=[0, 1]), whole)


def test_in_folds__folds_apart_give_the_rows_of_all_together(units):
    names = ["methods", "orders", "memory"]
    pieces = in_folds(names, FIT["folds"])
    assert pieces == ["methods", *(f"{n} {k}" for n in names[1:] for k in range(4))]
    assert [is_fold(p) for p in pieces] == [False] + 8 * [True]
    apart = joined_tables([table(units, p) for p in pieces], level=0.95, draws=100, seed=1)
    whole = joined_tables([table(units, n) for n in names], level=0.95, draws=100, seed=1)
    xr.testing.assert_identical(apart, whole)
    schema.validate(apart, "spikes/estimates")
