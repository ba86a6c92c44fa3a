import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from irrev.errors import StoreError
from storage.lookup import compare, content_key, explain, parameter_changes

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
trees = st.recursive(leaves, lambda t: st.lists(t) | st.dictionaries(st.text(), t), max_leaves=8)


# --- content_key ---------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.dictionaries(st.text(), trees, min_size=2))
def test_content_key__ignores_the_order_of_keys(parts):
    assert content_key(parts) == content_key(dict(reversed(parts.items())))


@settings(max_examples=40)
@given(st.dictionaries(st.text(), trees), st.dictionaries(st.text(), trees))
def test_content_key__differs_where_the_content_does(a, b):
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (content_key(a) == content_key(b)) is same


def test_content_key__is_the_same_for_ever():
    """SHA-256 of the text {"bin":0.01,"folds":5}, by coreutils 9.1."""
    assert (
        content_key({"folds": 5, "bin": 0.01})
        == "562ba9a72e747a50e7aa4253e70b0a29fc23d8ee35465295261bbb4a95cb0635"
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "Out of range float"),
        (float("inf"), "Out of range float"),
        ({1, 2}, "not JSON serializable"),
        (np.float64, "not JSON serializable"),
        ({1: 2}, "the key 1 is no text"),
        ([{"a": {None: 0}}], "the key None is no text"),
    ],
)
def test_content_key__refuses_what_has_no_one_form(value, message):
    with pytest.raises(StoreError, match=message):
        content_key({"x": value})


# --- explain -------------------------------------------------------------------------------------

PLANNED = {
    "input_hash": "a" * 64,
    "config": json.dumps({"bin": 0.01, "ep": {"folds": 5}}),
    "method_version": 3,
    "seed": 7,
}
STORED = {name: str(value) for name, value in PLANNED.items()} | {"status": "done", "error": ""}


def test_explain__of_the_same_shard_is_none():
    assert explain(STORED, PLANNED, method="maxent") is None
    assert explain(STORED | {"status": "quarantined"}, PLANNED, method="maxent") is None


@pytest.mark.parametrize(
    ("stored", "planned", "reason"),
    [
        ({}, {"config": '{"bin":0.01,"ep":{"folds":10}}'}, "parameter ep.folds 5 -> 10"),
        ({}, {"config": '{"bin":0.01}'}, "parameter ep.folds 5 -> (unset)"),
        (
            {},
            {"config": '{"bin":0.01,"ep":{"folds":5,"new":"x"}}'},
            'parameter ep.new (unset) -> "x"',
        ),
        ({}, {"method_version": 4}, "method maxent 3 -> 4"),
        ({}, {"input_hash": "b" * 64}, "input changed (sha256 aaaaaaaa -> bbbbbbbb)"),
        ({}, {"seed": 8}, "seed 7 -> 8"),
        ({"status": "failed", "error": "KilledWorker: x"}, {}, "failed last time (KilledWorker)"),
        ({"status": "failed"}, {}, "failed last time"),
        (
            {"config": ""},
            {"method_version": 4},
            "parameter bin (unset) -> 0.01, parameter ep.folds (unset) -> 5, method maxent 3 -> 4",
        ),
    ],
)
def test_explain__gives_every_reason(stored, planned, reason):
    assert explain(STORED | stored, PLANNED | planned, method="maxent") == reason


def test_explain__of_an_unknown_shard_is_new():
    assert explain(None, PLANNED, method="maxent") == "new"


def test_parameter_changes__takes_empty_parts_for_values():
    assert parameter_changes({"units": {}}, {"units": {"where": "snr > 1"}}) == [
        "parameter units {} -> (unset)",
        'parameter units.where (unset) -> "snr > 1"',
    ]


def test_explain__calls_the_same_parameters_in_another_form_up_to_date():
    other = STORED | {"config": json.dumps({"ep": {"folds": 5}, "bin": 0.01}, indent=1)}
    assert explain(other, PLANNED, method="maxent") is None


# --- compare -------------------------------------------------------------------------------------


def table(rows, *, interval=True):
    names, values, low, high = zip(*rows, strict=True)
    columns = {"ep": values} | ({"ep_low": low, "ep_high": high} if interval else {})
    return xr.Dataset(
        {n: ("shard", np.array(v, dtype=float)) for n, v in columns.items()},
        coords={"shard": np.array(names, dtype=object)},
    )


def changes(a, b):
    return {d.shard: d.change for d in compare(a, b, "ep")}


def test_compare__sorts_shards_by_what_happened_to_them():
    nan = np.nan
    a = table(
        [
            ("same", 1, 0, 2),
            ("within", 1, 0, 2),
            ("moved", 1, 0, 2),
            ("gone", 1, 0, 2),
            ("lost", 1, 0, 2),
            ("failed", nan, nan, nan),
            ("mended", nan, nan, nan),
            ("narrower", 1, 0, 2),
        ]
    )
    b = table(
        [
            ("same", 1, 0, 2),
            ("within", 1.5, 0.5, 3),
            ("moved", 5, 4, 6),
            ("fresh", 1, 0, 2),
            ("lost", nan, nan, nan),
            ("failed", nan, nan, nan),
            ("mended", 1, 0, 2),
            ("narrower", 1, 0.5, 1.5),
        ]
    )
    assert changes(a, b) == {
        "same": "same",
        "within": "changed within the intervals",
        "moved": "moved beyond the intervals",
        "gone": "removed",
        "fresh": "added",
        "lost": "value lost",
        "failed": "same",
        "mended": "value appeared",
        "narrower": "changed within the intervals",
    }


def test_compare__needs_both_intervals_to_call_it_moved():
    """A wide interval that holds the other value explains the difference."""
    assert changes(table([("s", 5, 0, 10)]), table([("s", 1, 0.9, 1.1)])) == {
        "s": "changed within the intervals"
    }


def test_compare__is_the_same_in_both_directions():
    a, b = table([("s", 1, 0, 2)]), table([("s", 3, 2.5, 4)])
    assert changes(a, b) == changes(b, a)


def test_compare__without_intervals_says_so():
    a, b = table([("s", 1, 0, 0)], interval=False), table([("s", 2, 0, 0)], interval=False)
    assert changes(a, b) == {"s": "changed, no intervals"}


def test_compare__takes_a_version_without_the_table():
    rows = compare(None, table([("s", 1, 0, 2)]), "ep")
    assert [(r.shard, r.old, r.new, r.new_low, r.change) for r in rows] == [
        ("s", None, 1, 0, "added")
    ]
    assert compare(None, None, "ep") == []


def test_compare__names_the_values_there_are():
    with pytest.raises(StoreError, match="hold no sigma; choose one of ep, ep_low, ep_high"):
        compare(table([("s", 1, 0, 2)]), None, "sigma")
