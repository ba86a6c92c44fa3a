"""Binning of spike trains."""

from fractions import Fraction

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from irrev.binning import SpikeBins, bin_spikes, intersect
from irrev.errors import InputError


def recording(trains, observed):
    times = np.concatenate([np.asarray(t, dtype=float) for t in trains])
    observed = np.asarray(observed, dtype=float)
    return xr.Dataset(
        {
            "spike_times": ("spike", times),
            "spike_times_index": ("unit", np.cumsum([len(t) for t in trains])),
            "observed_start": ("observed", observed[:, 0]),
            "observed_stop": ("observed", observed[:, 1]),
        }
    )


widths = st.sampled_from([Fraction(n, 1000) for n in (1, 2, 5, 7, 10, 20, 33, 50)])
origins = st.fractions(min_value=-100, max_value=20_000, max_denominator=10_000)


@given(start=origins, width=widths, bins=st.lists(st.integers(0, 100_000), min_size=1))
def test_bin_spikes__puts_every_exact_edge_into_the_bin_that_it_opens(start, width, bins):
    """The edge start + k width of exact fractions, rounded once to a double, lies in bin k."""
    n_bins = 100_001
    spikes = sorted({float(start + k * width) for k in bins})
    expected = sorted(set(bins))
    ds = recording([spikes], [[float(start), float(start + n_bins * width)]])
    result = bin_spikes(ds, bin_s=float(width))
    assert result.n_bins == n_bins
    assert np.flatnonzero(np.diff(result.indptr)).tolist() == expected
    assert result.n_spikes == len(spikes)


@given(start=origins, width=widths, bins=st.lists(st.integers(0, 100_000), min_size=1))
def test_bin_spikes__puts_edges_computed_in_doubles_into_the_same_bins(start, width, bins):
    """start + k * width evaluated in floating point, as a program that makes test data does."""
    origin, step, n_bins = float(start), float(width), 100_001
    spikes = sorted({origin + k * step for k in bins})
    ds = recording([spikes], [[origin, origin + n_bins * step]])
    result = bin_spikes(ds, bin_s=step)
    assert np.flatnonzero(np.diff(result.indptr)).tolist() == sorted(set(bins))


@given(
    rate=st.sampled_from([10_000, 20_000, 24_414, 30_000, 32_000]),
    width=widths,
    samples=st.lists(st.integers(0, 30_000 * 360), min_size=1, max_size=50),
)
def test_bin_spikes__agrees_with_fractions_on_any_sampling_grid(rate, width, samples):
    """Times on a grid of samples are binned as their exact fractions are."""
    n_bins = int(Fraction(30_000 * 360 + 1, rate) / width) + 1
    ds = recording([sorted({s / rate for s in samples})], [[0.0, float(n_bins * width)]])
    expected = sorted({int(Fraction(s, rate) / width) for s in samples})
    result = bin_spikes(ds, bin_s=float(width))
    assert np.flatnonzero(np.diff(result.indptr)).tolist() == expected


def test_bin_spikes__plain_division_would_misplace_an_edge():
    """The reason for the snap: 0.29 / 0.01 is below 29 in doubles."""
    assert np.floor(0.29 / 0.01) == 28
    result = bin_spikes(recording([[0.29]], [[0, 1]]), bin_s=0.01)
    assert np.flatnonzero(np.diff(result.indptr)).tolist() == [29]


trains_on_a_grid = st.lists(
    st.lists(st.integers(0, 999), max_size=60).map(lambda s: sorted(n / 1000 for n in s)),
    min_size=1,
    max_size=5,
)


@given(trains=trains_on_a_grid, cut=st.integers(1, 99))
def test_bin_spikes__two_touching_intervals_share_out_the_bins_of_one(trains, cut):
    """Same bins, one segment border more: no transition joins the two intervals."""
    ds = recording(trains, [[0, 1]])
    whole = bin_spikes(ds, bin_s=0.01)
    parts = bin_spikes(ds, bin_s=0.01, intervals=np.array([[cut / 100, 1], [0, cut / 100]]))
    np.testing.assert_array_equal(whole.to_dense(), parts.to_dense())
    assert parts.segments.tolist() == [[0, cut], [cut, 100]]
    assert parts.n_transitions == whole.n_transitions - 1


@given(trains=trains_on_a_grid)
def test_bin_spikes__counts_agree_with_a_dense_histogram(trains):
    ds = recording(trains, [[0, 1]])
    result = bin_spikes(ds, bin_s=0.02)
    edges = np.arange(51) * 20
    counts = np.array([np.histogram(np.rint(np.array(t) * 1000), edges)[0] for t in trains]).T
    counts[-1] -= [sum(np.rint(np.array(t) * 1000) == 1000) for t in trains]
    np.testing.assert_array_equal(result.to_dense(), counts > 0)
    assert result.n_spikes == counts.sum()
    n_lost = counts.sum() - (counts > 0).sum()
    assert result.lost == pytest.approx(n_lost / counts.sum() if counts.sum() else 0.0, abs=1e-12)


def test_bin_spikes__starts_the_grid_at_the_start_of_each_interval():
    ds = recording([[3600.0, 3600.013, 3607.505]], [[3600, 3610]])
    result = bin_spikes(ds, bin_s=0.01, intervals=np.array([[3600.003, 3601], [3607.5, 3608]]))
    assert result.segments.tolist() == [[0, 99], [99, 149]]
    assert np.flatnonzero(result.to_dense()[:, 0]).tolist() == [1, 99]


def test_bin_spikes__crosses_no_gap_in_the_recording():
    ds = recording([[0.05, 0.5, 0.95]], [[0, 0.4], [0.6, 1.0]])
    result = bin_spikes(ds, bin_s=0.1, intervals=np.array([[0.0, 1.0]]))
    assert result.segments.tolist() == [[0, 4], [4, 8]]
    assert result.n_spikes == 2
    assert np.flatnonzero(result.to_dense()[:, 0]).tolist() == [0, 7]


def test_bin_spikes__uses_whole_bins_only():
    ds = recording([[0.01, 0.245]], [[0, 0.249]])
    result = bin_spikes(ds, bin_s=0.1)
    assert (result.n_bins, result.n_spikes) == (2, 1)


def test_bin_spikes__memory_follows_the_spikes_not_bins_times_units():
    """A thousand units for an hour at 1 ms: 3.6e9 cells, three active."""
    trains = [[] for _ in range(1000)]
    trains[7], trains[999] = [0.5, 3599.0], [0.5]
    result = bin_spikes(recording(trains, [[0, 3600]]), bin_s=0.001)
    assert result.indices.tolist() == [7, 999, 7]
    assert result.indptr.nbytes + result.indices.nbytes < 30e6


@pytest.mark.parametrize(
    ("intervals", "bin_s", "message"),
    [
        ([[0.0, 0.5], [0.4, 1.0]], 0.01, r"0 to 0.5 s and 0.4 to 1 s overlap; merge"),
        ([[0.5, 0.5]], 0.01, r"0.5 to 0.5 s is empty; leave it out"),
        ([[0.0, 0.5]], 2.0, r"no whole bin of 2 s fits .*0.5 s.*narrower"),
        ([[0.0, 0.5]], -1.0, r"bin_s is -1.0; give a positive"),
        ([0.0, 0.5], 0.01, r"shape \(2,\); pass starts and stops"),
        ([[5.0, 6.0]], 0.01, r"no whole bin"),
        ([[0.0, 0.5]], 1e-10, r"5e\+09 bins of 1e-10 s; choose wider"),
        ([[0.0, 0.5]], 1e-14, r"cannot be resolved at times up to 0.5 s"),
    ],
)
def test_bin_spikes__says_how_to_mend_bad_intervals(intervals, bin_s, message):
    ds = recording([[0.1]], [[0, 1]])
    with pytest.raises(InputError, match=message):
        bin_spikes(ds, bin_s=bin_s, intervals=np.array(intervals))


def test_spike_bins__dense_round_trip_counts_lost_coincidences(rng):
    counts = rng.poisson(0.3, (40, 7))
    bins = SpikeBins.from_dense(counts, 0.01, [(0, 15), (15, 40)])
    np.testing.assert_array_equal(bins.to_dense(), counts > 0)
    assert (bins.n_bins, bins.n_spikes, bins.n_transitions) == (40, counts.sum(), 38)
    assert bins.lost == pytest.approx(1 - (counts > 0).sum() / counts.sum())
    again = SpikeBins.from_dense(bins.to_dense(), 0.01)
    np.testing.assert_array_equal(again.indices, bins.indices)
    assert again.lost == 0


def test_spike_bins__from_dense_refuses_what_is_not_counts():
    with pytest.raises(InputError, match=r"shape \(3,\)"):
        SpikeBins.from_dense([0, 1, 0], 0.01)
    for value in (-1, -1.0, 0.5, np.nan, np.inf):
        with pytest.raises(InputError, match=rf"value {value}; pass 0/1"):
            SpikeBins.from_dense([[0, value]], 0.01)
    with pytest.raises(InputError, match=r"type <U1; pass 0/1"):
        SpikeBins.from_dense([["0", "1"]], 0.01)
    for bin_s in (0.0, np.nan, "10 ms"):
        with pytest.raises(InputError, match=r"bin_s is .*; pass the width of a bin"):
            SpikeBins.from_dense([[0, 1]], bin_s)


spans = st.lists(st.integers(0, 60), max_size=12, unique=True).map(
    lambda edges: np.array(sorted(edges)[: len(edges) // 2 * 2], dtype=float).reshape(-1, 2)
)


@given(first=spans, second=spans)
def test_intersect__agrees_with_membership_at_every_point(first, second):
    points = np.arange(0, 61) + 0.5

    def inside(s):
        return ((points[:, None] > s[:, 0]) & (points[:, None] < s[:, 1])).any(axis=1)

    np.testing.assert_array_equal(inside(intersect(first, second)), inside(first) & inside(second))
