"""Figures of spike studies: what they group and leave out."""

import numpy as np
import xarray as xr

from irrev import plots_spikes as plots


def table(sources, values) -> xr.Dataset:
    n = len(sources)
    columns = {"source": sources, "condition": ["all"] * n, "status": ["done"] * n}
    texts = {name: ("shard", np.array(column, object)) for name, column in columns.items()}
    value = np.array(values, float)
    numbers = {"ep_rate": value, "ep_rate_low": value - 0.1, "ep_rate_high": value + 0.1}
    return xr.Dataset(
        texts
        | {name: ("shard", x) for name, x in numbers.items()}
        | {"significant": ("shard", value > 0.5)}
    )


def test_days__groups_cultures_by_the_name_without_the_day():
    ds = table(["lab/TC147-C57-DIV21_B", "lab/TC147-C57-DIV07_B", "lab/other"], [1.0, 0.2, 3.0])
    assert plots.days(ds) == {"TC147-C57_B": [(7, 1), (21, 0)]}


def test_over_days__leaves_values_far_below_zero_to_words():
    ds = table([f"a-DIV{d}" for d in (7, 10, 14)], [0.5, -75.0, 1.0])
    ax = plots.over_days(ds)
    assert ax.get_ylim()[0] >= -1.0
    assert [t.get_text() for t in ax.texts] == ["day 10: -75"]
    (line, *_) = ax.containers[0].lines
    assert line.get_ydata().tolist() == [0.5, 1.0]


def test_subset_means__average_over_recordings_and_draws():
    size, value = np.array([[2, 2, 0], [2, 4, 4]]), np.array([[1.0, 2.0, np.nan], [3.0, 5.0, 7.0]])
    rows = xr.Dataset(
        {
            "subset_size": (("shard", "subset"), size),
            "subset_ep_per_spike": (("shard", "subset"), value),
        }
    )
    sizes, mean, sem, count = plots.subset_means(rows)
    assert sizes.tolist() == [2.0, 4.0]
    assert mean.tolist() == [2.0, 6.0]
    np.testing.assert_allclose(sem, [1 / np.sqrt(3), 1.0])
    assert count.tolist() == [3, 2]


def test_study_groups__join_the_recordings_of_a_source_and_keep_conditions_apart():
    ds = table(["retina/a", "mouse", "mouse", "retina/b"], [1.0] * 4)
    ds["condition"] = ("shard", np.array(["all", "sleep", "wake", "all"], object))
    groups = plots.study_groups(ds)
    assert groups == {"retina": [0, 3], "mouse, sleep": [1], "mouse, wake": [2]}
    ds["status"] = ("shard", np.array(["quarantined", "done", "done", "failed"], object))
    assert plots.study_groups(ds) == {"mouse, sleep": [1], "mouse, wake": [2]}
