"""Checks and repairs: each fault under both policies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irrev import schema
from irrev.errors import FormatError
from irrev.readers.checks import to_dataset
from irrev.readers.raw import Findings, RawSpikes
from irrev.readers.spans import intersect_units, merge_spans, overlapping


def raw(trains, ids=None, stated=None, intervals=(), **more):
    trains = [np.asarray(t, dtype=float) for t in trains]
    starts, stops, labels = zip(*intervals, strict=True) if intervals else ((), (), ())
    out = RawSpikes(
        times=np.concatenate(trains) if trains else np.empty(0),
        index=np.cumsum([t.size for t in trains], dtype=np.int64),
        ids=list(ids) if ids else [str(i) for i in range(len(trains))],
        starts=np.array(starts, dtype=float),
        stops=np.array(stops, dtype=float),
        tables=["epochs"] * len(labels),
        labels=list(labels),
    )
    if stated is not None:
        out.stated = np.array(stated, dtype=float).reshape(-1, 2)
        out.stated_unit = np.array(more.pop("stated_unit", [-1] * len(out.stated)))
    for name, value in more.items():
        setattr(out, name, value)
    return out


def mended(data, *, stop=False):
    ds = to_dataset(data, Findings("a.nwb", stop), reader="test", version=1)
    return schema.validate(ds, "spikes")


def trains_of(ds):
    ends = ds["spike_times_index"].values
    return [t.tolist() for t in np.split(ds["spike_times"].values, ends)[:-1]]


def found(ds):
    return list(
        zip(
            ds["check"].values.tolist(),
            ds["check_count"].values.tolist(),
            ds["check_action"].values.tolist(),
            strict=True,
        )
    )


NAN, INF = float("nan"), float("inf")
FAULTS = {  # data, checks found, mended trains, message under stop
    "not finite": (
        lambda: raw([[1, NAN, 2], [INF, 3]]),
        [("non_finite_times", 2, "removed")],
        [[1, 2], [3]],
        r"a.nwb: 2 spike times of 2 units are not finite \(unit 0, first nan s\); remove",
    ),
    "not ascending": (
        lambda: raw([[2, 1, 3], [4, 5]]),
        [("unsorted_times", 1, "repaired")],
        [[1, 2, 3], [4, 5]],
        r"spike times of 1 units do not ascend \(unit 0\); sort them",
    ),
    "negative": (
        lambda: raw([[-1, 1], [2]]),
        [("negative_times", 1, "removed")],
        [[1], [2]],
        r"1 spike times of 1 units are negative \(unit 0, first -1 s\)",
    ),
    "twice": (
        lambda: raw([[1, 1, 2], [1, 3, 3, 3]]),
        [("duplicate_spikes", 3, "removed")],
        [[1, 2], [1, 3]],
        r"3 spike times of 2 units occur more than once",
    ),
    "one id for two units": (
        lambda: raw([[1], [2], [3]], ids=["7", "8", "7"]),
        [("duplicate_unit_ids", 1, "repaired")],
        [[1], [2], [3]],
        r"unit id 7 and 0 others occur more than once; give every unit its own id",
    ),
    "outside the stated range": (
        lambda: raw([[1, 5], [12, 3]], stated=[[0, 10]]),
        [("outside_recording", 1, "removed")],
        [[1, 5], [3]],
        r"1 spike times of 1 units lie outside the recording \(0 to 10 s\) \(unit 1, first 12 s\)",
    ),
    "one unit in samples": (
        lambda: raw([[1, 5], [1, 2], [2.4e7, 3e6]], intervals=[(0, 1200, "sleep")]),
        [("times_not_in_seconds", 1, "removed")],
        [[1, 5], [1, 2]],
        r"a.nwb: unit 2 has spike times up to 2.4e\+07 s in a recording of 1,200 s; they look "
        r"like samples \(20,000 per second\); set time_unit: samples and sample_rate: 20000",
    ),
    "one unit only": (
        lambda: raw([[1, 2]]),
        [("one_unit", 1, "kept")],
        [[1, 2]],
        r"only unit 0 is there, pairs need two; choose a file with more units",
    ),
    "an interval without length": (
        lambda: raw([[1], [2]], intervals=[(3, 3, "a"), (5, 4, "b"), (0, NAN, "c"), (0, 1, "d")]),
        [("empty_intervals", 3, "removed")],
        [[1], [2]],
        r"3 intervals have no length \(epochs a, 3 to 3 s\); correct their start_time",
    ),
    "overlapping intervals": (
        lambda: raw([[1], [2]], intervals=[(0, 3, "a"), (2, 4, "a"), (1, 2, "b")]),
        [("overlapping_intervals", 1, "kept")],
        [[1], [2]],
        r"1 intervals of epochs a overlap; conditions merge them; correct",
    ),
    "a recorded span without length": (
        lambda: raw([[1], [2]], stated=[[0, 5], [6, 6]]),
        [("bad_observed_spans", 1, "removed")],
        [[1], [2]],
        r"1 recorded spans are empty or not finite; correct obs_intervals",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_to_dataset__mends_and_lists_the_fault(fault):
    data, checks, trains, _ = FAULTS[fault]
    ds = mended(data())
    assert found(ds) == checks
    assert trains_of(ds) == trains
    assert all(ds["check_detail"].values)


@pytest.mark.parametrize("fault", FAULTS)
def test_to_dataset__stops_at_the_fault_with_a_line_that_helps(fault):
    data, _, _, message = FAULTS[fault]
    with pytest.raises(FormatError, match=message):
        mended(data(), stop=True)


def test_to_dataset__gives_a_repeated_unit_id_a_free_name():
    ds = mended(raw([[1], [2], [3], [4]], ids=["7", "7", "7#2", "7"]))
    assert ds["unit"].values.tolist() == ["7", "7#3", "7#2", "7#4"]


NOTES = {
    "a silent unit": (lambda: raw([[1], [], [2]]), ("silent_units", 1)),
    "a gap": (lambda: raw([[1], [7]], stated=[[0, 5], [6, 9]]), ("gaps", 1)),
    "uneven observation": (
        lambda: raw([[1], [2]], stated=[[0, 5], [0, 4]], stated_unit=[0, 1]),
        ("uneven_observation", 1),
    ),
    "an interval beyond the recording": (
        lambda: raw([[1], [2]], stated=[[0, 5]], intervals=[(1, 9, "a")]),
        ("intervals_outside_recording", 1),
    ),
    "coarse times": (lambda: raw([[1], [2]], resolution_s=0.001), ("coarse_times", 2)),
    "milliseconds without a range": (
        lambda: raw([np.arange(60.0) * 310.5, np.arange(60.0) * 170.5]),
        ("low_rates", 2),
    ),
}


@pytest.mark.parametrize("note", NOTES)
@pytest.mark.parametrize("stop", [False, True])
def test_to_dataset__notes_never_stop(note, stop):
    data, expected = NOTES[note]
    assert found(mended(data(), stop=stop)) == [(*expected, "kept")]


REFUSED = {
    "no units": (lambda: raw([]), r"a.nwb: there are 0 units with 0 spikes; choose a file"),
    "no spikes": (lambda: raw([[], []]), r"there are 2 units with 0 spikes"),
    "no finite spike": (lambda: raw([[NAN], [NAN]]), r"no usable spike is left|are not finite"),
    "a short index": (
        lambda: raw([[1], [2]], index=np.array([1, 1])),
        r"2 units end at spike 1 but 2 units and 2 spikes are there; the file is truncated",
    ),
    "a falling index": (
        lambda: raw([[1], [2], [3]], index=np.array([2, 1, 3])),
        r"the file is truncated or its index is wrong",
    ),
    "milliseconds": (
        lambda: raw([[1e6, 2e5], [1.1e6]], intervals=[(0, 1200, "a")]),
        r"they look like milliseconds; set time_unit: ms",
    ),
    "samples of all units": (
        lambda: raw([[3e7, 3.6e7]], stated=[[0, 1200]]),
        r"they look like samples \(30,000 per second\); set time_unit: samples and sample_rate",
    ),
    "whole numbers without a range": (
        lambda: raw([np.arange(60.0) * 31, np.arange(60.0) * 17]),
        r"all 120 spike times are whole numbers up to 1829; they look like samples or",
    ),
    "another origin": (
        lambda: raw([[101, 105], [103]], stated=[[0, 10]]),
        r"all 3 spike times lie outside the recording \(0 to 10 s\); check the unit and the",
    ),
    "units never recorded together": (
        lambda: raw([[1], [6]], stated=[[0, 5], [5, 9]], stated_unit=[0, 1]),
        r"no stretch of time was recorded from all units; split the file",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("stop", [False, True])
def test_to_dataset__refuses_what_is_unusable_under_both_policies(case, stop):
    data, message = REFUSED[case]
    with pytest.raises(FormatError, match=message):
        mended(data(), stop=stop)


def test_to_dataset__does_not_guess_a_unit_that_was_given():
    data = raw([np.arange(60.0), np.arange(60.0)], unit_is_given=True)
    assert mended(data, stop=True).sizes["spike"] == 120


def test_to_dataset__keeps_negative_times_of_a_recording_that_begins_before_zero():
    ds = mended(raw([[-5, 1], [2]], stated=[[-10, 10]]), stop=True)
    assert trains_of(ds) == [[-5, 1], [2]]


def test_to_dataset__leaves_out_columns_that_would_hide_its_own():
    data = raw([[1], [2]], columns={"observed_start": np.zeros(2), "snr": np.ones(2)})
    assert set(mended(data)["snr"].values) == {1.0}


times = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=32), st.integers(-3, 50).map(float)
)


@given(trains=st.lists(st.lists(times, max_size=12), max_size=5))
def test_to_dataset__returns_clean_trains_or_a_format_error(trains):
    """Whatever the times are: ascending, finite, within the recorded hull, or refused."""
    try:
        ds = mended(raw(trains))
    except FormatError:
        return
    low, high = ds["observed_start"].values.min(), ds["observed_stop"].values.max()
    for train in trains_of(ds):
        assert np.all(np.isfinite(train))
        assert np.all(np.diff(train) > 0)
        assert not train or (low <= train[0] and train[-1] <= high)


spans = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 10)).map(lambda s: (s[0], s[0] + s[1])),
    min_size=1,
    max_size=8,
).map(lambda rows: np.array(rows, dtype=float))


def inside(rows):
    points = np.arange(0, 45) + 0.5
    return ((points[:, None] > rows[:, 0]) & (points[:, None] < rows[:, 1])).any(axis=1)


@given(rows=spans)
def test_merge_spans__covers_the_same_points_without_overlap(rows):
    merged = merge_spans(rows)
    np.testing.assert_array_equal(inside(merged), inside(rows))
    assert overlapping(merged) == 0


@given(rows=spans, unit=st.lists(st.integers(0, 2), min_size=8, max_size=8))
def test_intersect_units__covers_what_every_unit_covers(rows, unit):
    unit = np.array(unit[: len(rows)])
    common = intersect_units(rows, unit)
    expected = np.all([inside(rows[unit == u]) for u in set(unit.tolist())], axis=0)
    np.testing.assert_array_equal(
        inside(common) if len(common) else np.zeros(45, dtype=bool), expected
    )
