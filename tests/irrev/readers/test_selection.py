"""Unit selection, expressions on unit columns, conditions."""

import numpy as np
import pytest
import xarray as xr

from irrev.errors import InputError
from irrev.readers import open_source
from irrev.readers.expressions import evaluate
from irrev.readers.selection import active_fraction, conditions, select_units, take_units


@pytest.fixture
def ds():
    """Five units with 10, 20, ... 50 spikes in 100 s; the third has no snr."""
    trains = [np.linspace(0.5, 99.5, 10 * (k + 1)) for k in range(5)]
    return xr.Dataset(
        {
            "spike_times": ("spike", np.concatenate(trains)),
            "spike_times_index": ("unit", np.cumsum([t.size for t in trains])),
            "unit": ("unit", np.array(["3", "4", "5", "6", "9"], dtype=object)),
            "area": ("unit", np.array(["ca1", "adn", "adn", "ca1", ""], dtype=object)),
            "snr": ("unit", [0.5, 2.0, np.nan, 4.0, 1.0]),
            "good": ("unit", [True, True, False, True, True]),
            "observed_start": ("observed", [0.0]),
            "observed_stop": ("observed", [100.0]),
            "interval_start": ("interval", [0.0, 10.0, 15.0, 50.0, 0.0]),
            "interval_stop": ("interval", [10.0, 20.0, 25.0, 60.0, 1.0]),
            "interval_table": ("interval", ["epochs"] * 4 + ["trials"]),
            "interval_label": ("interval", ["sleep", "wake", "wake", "sleep", "trials"]),
            "interval_side": ("interval", ["l", "r", "r", "r", ""]),
            "interval_angle": ("interval", [0.0, 45.0, 0.0, 22.5, np.nan]),
        }
    )


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("snr > 1", "01010"),
        ("snr <= 1", "10001"),
        ("not snr > 1", "10001"),
        ("not (snr > 1 or area == 'adn')", "10001"),
        ("snr != 2", "10011"),
        ("snr > 1 and firing_rate > 0.3", "00010"),
        ("snr > 3 or n_spikes < 15", "10010"),
        ("0.1 < firing_rate <= 0.3", "01100"),
        ("area in ('ca1', 'ca3')", "10010"),
        ("area not in ['ca1']", "01101"),
        ("unit == '9'", "00001"),
        ("good and snr >= 0.5", "11011"),
        ("not good", "00100"),
        ("snr > -1", "11011"),
        ("n_spikes in {10, 50}", "10001"),
    ],
)
def test_evaluate__follows_the_expression_and_missing_values_fail(ds, expression, expected):
    assert "".join("01"[int(v)] for v in evaluate(expression, ds)) == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("snrs > 1", r"snrs is not a column of the units; did you mean `snr`"),
        ("firing_rat > 1", r"did you mean `firing_rate`"),
        ("depth > 1", r"depth is not a column of the units; there are: .*snr.*firing_rate"),
        ("snr >", r"'snr >' is not an expression"),
        ("snr", r"'snr' is not a condition; use columns, numbers and texts"),
        ("1", r"'1' is not a condition"),
        ("snr + 1 > 2", r"'snr \+ 1' is not a column, a number or a text"),
        ("__import__('os').system('true')", r"is not a condition"),
        ("(lambda: 1)() > 0", r"is not a column, a number or a text"),
        ("snr.real > 1", r"'snr.real' is not a column"),
        ("[x for x in snr] == 1", r"is not a column"),
        ("area > 3", r"compares a number with a text; quote texts only"),
        ("snr in ('a',)", r"compares a number with a text"),
        ("snr in area", r"needs `in` with a list"),
        ("snr == (1, 2)", r"needs `in` with a list"),
        ("snr in ()", r"empty list"),
        ("snr is 1", r"comparison that is not known"),
        ("snr > 9" + "9" * 400, r"is not a column, a number or a text"),
        ("snr > 1" + " and snr > 1" * 200, r"where has 2407 characters; 1000 are allowed"),
    ],
)
@pytest.mark.filterwarnings("ignore:.is. with .int. literal:SyntaxWarning")
def test_evaluate__refuses_with_a_line_that_helps(ds, expression, message):
    with pytest.raises(InputError, match=message):
        evaluate(expression, ds)


def test_evaluate__a_rate_of_the_file_wins_over_the_computed_one(ds):
    stored = ds.assign(firing_rate=("unit", [9.0, 0, 0, 0, 0]))
    assert evaluate("firing_rate > 1", stored).tolist() == [True] + [False] * 4
    assert not evaluate("firing_rate > 1", ds).any()


def test_select_units__says_how_many_units_each_rule_removed(ds):
    chosen = select_units(
        ds, where="n_spikes > 10", areas=["ADN", "ca1"], min_active=0.25, bin_s=1.0, most_active=1
    )
    assert chosen.removed == {"where": 1, "areas": 1, "min_active": 1, "most_active": 1}
    assert chosen.dataset["unit"].values.tolist() == ["6"]
    assert chosen.dataset.sizes["spike"] == 40


def test_select_units__without_rules_keeps_everything(ds):
    chosen = select_units(ds)
    assert chosen.removed == {}
    assert chosen.dataset.identical(ds)


def test_select_units__counts_activity_within_the_intervals(ds):
    """Spikes before 4 s: 1, 1, 2, 2, 2; of a tie the earlier units are taken."""
    within = np.array([[0.0, 4.0]])
    chosen = select_units(ds, most_active=2, within=within).dataset
    assert chosen["unit"].values.tolist() == ["5", "6"]
    everywhere = select_units(ds, most_active=2).dataset
    assert everywhere["unit"].values.tolist() == ["6", "9"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_select_units__draws_the_same_units_for_the_same_seed(ds, seed):
    first, second = (select_units(ds, draw=3, seed=seed) for _ in range(2))
    assert first.removed == {"draw": 2}
    assert first.dataset.identical(second.dataset)


def test_select_units__draws_every_unit_equally_often(ds):
    """Binomial counts with p = 2/5 over 500 seeds stay within four standard errors."""
    n_seeds, p = 500, 2 / 5
    draws = (select_units(ds, draw=2, seed=s).dataset["unit"].values.tolist() for s in range(500))
    names, counts = np.unique([name for pair in draws for name in pair], return_counts=True)
    assert names.size == 5
    assert np.all(np.abs(counts - n_seeds * p) <= 4 * np.sqrt(n_seeds * p * (1 - p)))


def test_select_units__asks_for_no_more_units_than_there_are(ds):
    assert select_units(ds, draw=99, most_active=99).removed == {"most_active": 0, "draw": 0}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"areas": ["adm"]}, r"adm is not an area of the recording; did you mean `adn`"),
        ({"areas": []}, r"no unit is left \(areas removed 5\); loosen"),
        ({"where": "snr > 9"}, r"no unit is left \(where removed 5\)"),
        ({"min_active": 0.1}, r"min_active is a fraction of bins; give bin_s too"),
        ({"min_active": 5.0, "bin_s": 1.0}, r"min_active is 5.0; give a fraction"),
        ({"draw": 0}, r"draw is 0; give a number of units"),
        ({"most_active": -1}, r"most_active is -1; give"),
    ],
)
def test_select_units__says_how_to_mend_bad_rules(ds, rules, message):
    with pytest.raises(InputError, match=message):
        select_units(ds, **rules)


def test_select_units__says_that_a_recording_names_no_areas(ds):
    with pytest.raises(InputError, match=r"names no areas; leave them out"):
        select_units(ds.drop_vars("area"), areas=["ca1"])


@pytest.mark.parametrize("draw", range(5))
def test_take_units__keeps_each_train_whole(example_nwb, draw):
    ds = open_source(example_nwb)
    keep = np.random.default_rng(draw).random(15) < draw / 4
    part = take_units(ds, keep)
    trains, kept = (
        np.split(d["spike_times"].values, d["spike_times_index"].values)[:-1] for d in (ds, part)
    )
    wanted = [t for t, k in zip(trains, keep, strict=True) if k]
    assert len(kept) == len(wanted)
    assert all(np.array_equal(a, b) for a, b in zip(kept, wanted, strict=True))


def test_active_fraction__counts_bins_not_spikes(ds):
    """Ten spikes, 11 s apart, in 100 bins of 1 s; ten bins of 10 s each hold one at least."""
    assert active_fraction(ds, 1.0)[0] == pytest.approx(0.1)
    assert active_fraction(ds, 10.0).tolist() == [1.0] * 5


def test_conditions__are_the_labels_of_a_table(ds):
    found = conditions(ds, table="epochs")
    assert list(found) == ["sleep", "wake"]
    assert found["sleep"].tolist() == [[0, 10], [50, 60]]
    assert found["wake"].tolist() == [[10, 25]]


def test_conditions__can_be_the_values_of_a_column(ds):
    assert list(conditions(ds, table="epochs", by="side")) == ["l", "r"]
    assert list(conditions(ds, table="epochs", by="angle")) == ["0", "45", "22.5"]


def test_conditions__a_row_without_a_value_has_a_name_all_the_same(ds):
    """An empty name could not be stored; it kept the results of a whole run from publication."""
    ds = ds.assign(interval_angle=("interval", np.full(ds.sizes["interval"], np.nan)))
    assert list(conditions(ds, table="epochs", by="angle")) == ["(none)"]
    ds["interval_side"][:] = " "
    assert list(conditions(ds, table="epochs", by="side")) == ["(none)"]


def test_conditions__without_a_table_are_all_that_was_recorded(ds):
    assert conditions(ds)["all"].tolist() == [[0, 100]]


def test_conditions__name_the_nearest_table_and_column(ds):
    with pytest.raises(InputError, match=r"epoch is not an interval table; did you mean `epochs`"):
        conditions(ds, table="epoch")
    with pytest.raises(InputError, match=r"sides is not a column of intervals; did you mean"):
        conditions(ds, table="epochs", by="sides")
