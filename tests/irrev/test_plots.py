import numpy as np
import pytest
import xarray as xr

from irrev import plots


def table(*intervals):
    """Results whose value is the middle of each interval."""
    low, high = np.array(intervals).T
    names = [f"s{k}" for k in range(low.size)]
    return xr.Dataset(
        {
            "source": ("shard", np.array(names, object)),
            "condition": ("shard", np.array(["all"] * low.size, object)),
            "status": ("shard", np.array(["done"] * low.size, object)),
            "significant": ("shard", low > 0),
            "ep_rate": ("shard", (low + high) / 2, {"units": "nat s-1"}),
            "ep_rate_low": ("shard", low),
            "ep_rate_high": ("shard", high),
        }
    )


def widths(ax, *intervals):
    """Width of each interval as a fraction of the figure's axis."""
    left, right = ax.transData.transform([(x, 0) for x in ax.get_xlim()])[:, 0]
    ends = [ax.transData.transform([(x, 0) for x in pair])[:, 0] for pair in intervals]
    return [(b - a) / (right - left) for a, b in ends]


def test_ep_by_shard__keeps_small_intervals_visible_beside_huge_ones():
    rows = [(0.1, 0.3), (-0.2, 0.1), (0.4, 0.9), (-800.0, 300.0)]
    ax = plots.ep_by_shard(table(*rows))
    assert min(widths(ax, *rows)) > 0.02
    assert "logarithmic" in ax.get_xlabel()


@pytest.mark.parametrize("rows", [[(0.1, 0.3), (-0.2, 0.1)], [(0.0, 0.0), (0.0, 0.0)]])
def test_ep_by_shard__is_linear_otherwise(rows):
    assert plots.ep_by_shard(table(*rows)).get_xscale() == "linear"
