import numpy as np
import pytest

from irrev.ep.recording import equal_epochs, find_joins, plan_bands, remove_periods, take
from irrev.ep.witness import witness
from irrev.errors import InputError, IrrevWarning


def joined(length, first, n, channels, rng, *, jump=5.0):
    """Random walks that start anew in each epoch, at offsets `jump` times a step apart."""
    x = rng.standard_normal((n, channels))
    for start, stop in equal_epochs(n, length, first_join=first):
        x[start:stop] = np.cumsum(x[start:stop], axis=0) * 0.3
        x[start:stop] += jump * rng.standard_normal(channels)
    return x


@pytest.mark.parametrize(("length", "first"), [(385, 89), (100, 0), (250, 249)])
def test_find_joins__recovers_epoch_length_and_first_join(length, first, rng):
    found = find_joins(joined(length, first, 60 * length, 8, rng))
    assert found == (length, first or length)


def test_find_joins__finds_nothing_in_noise_or_in_a_wave(rng):
    for _ in range(10):
        assert find_joins(rng.standard_normal((5000, 1)).cumsum(axis=0)) is None
    beat = np.exp(-(((np.arange(200) - 100) / 5.0) ** 2))[:, None] * 20
    assert find_joins(np.tile(beat, (40, 1)) + 0.1 * rng.standard_normal((8000, 1))) is None
    t = np.arange(5000.0)[:, None]
    assert find_joins(np.sin(t / 30) + 0.1 * rng.standard_normal((5000, 1))) is None


def test_witness__warns_of_joined_epochs_unless_they_are_told(rng):
    x = joined(385, 89, 40 * 385, 4, rng)
    with pytest.warns(IrrevWarning, match="epoch_length=385, first_join=89"):
        witness(x, fs=128.0)
    ds = witness(x, fs=128.0, epoch_length=385, first_join=89)
    assert ds.attrs["n_segments"] >= 39


def test_remove_periods__leaves_what_has_another_period(rng):
    t = np.arange(2000.0)
    yearly, weekly = np.sin(2 * np.pi * t / 365.25), np.cos(2 * np.pi * t / 7)
    clean = remove_periods((yearly + weekly)[:, None], t, [365.25], harmonics=2)[:, 0]
    assert np.std(clean - weekly) < 0.02  # 2000 days are no whole number of weeks and years


def record(n, segments=None, fs=1.0, channels=2):
    return take(np.zeros((n, channels)), fs, None, segments, None, 0, None)


@pytest.mark.parametrize(
    ("n", "bands"), [(200_000, 64), (1100, 64), (1024, 32), (200, 8), (100, 4)]
)
def test_plan_bands__halves_until_eight_ordinates(n, bands):
    plan = plan_bands(record(n), 64, 16, None)
    assert plan.n_bands == bands
    assert plan.test_bands == min(16, bands)


def test_plan_bands__drops_a_short_segment_and_counts_it():
    ranges = np.concatenate([[[0, 89]], equal_epochs(385 * 79, 385) + 89])
    plan = plan_bands(record(89 + 79 * 385, ranges), 64, 16, None)
    assert (len(plan.segments), plan.n_dropped, plan.n_bands) == (79, 1, 64)
    assert plan.fine_bands == 128


def test_plan_bands__halves_where_short_segments_are_the_record():
    plan = plan_bands(record(9000, equal_epochs(9000, 90)), 64, 16, None)
    assert (plan.n_bands, plan.n_dropped) == (32, 0)


def test_plan_bands__narrow_ranges_need_more_samples():
    with pytest.raises(InputError, match=r"too_short.*about 33\d\d samples"):
        plan_bands(record(1000, fs=100.0), 64, 16, (10.0, 11.0))
    assert plan_bands(record(3400, fs=100.0), 64, 16, (10.0, 11.0)).n_bands == 4
