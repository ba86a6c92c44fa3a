"""Figures of entropy production learned from currents; conventions as in `irrev.plots`."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from irrev.plots import BLUE, ORANGE, new_axes


def ep_against_time(row: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the held-out rate in slices of time with its standard error; one shard."""
    ax = ax or new_axes()
    ax.errorbar(
        row["time"],
        row["ep_time"],
        yerr=row["ep_time_sd"],
        fmt="o-",
        color=BLUE,
        markersize=3,
        linewidth=1,
    )
    ax.axhline(0, color="0.6", linewidth=0.8)
    low, high = float(row["ep_rate_low"]), float(row["ep_rate_high"])
    ax.axhspan(low, high, color=ORANGE, alpha=0.2, linewidth=0)
    ax.set(xlabel="time (s)", ylabel="EP rate (nat/s)")
    return ax


def path_histogram(row: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the entropy production of single trajectories; one shard.

    The dashed line is exp(-ep) times the histogram: where the fluctuation theorem holds for all
    trajectories its area is that of the histogram.
    """
    ax = ax or new_axes()
    ep, n = row["ep_track"].to_numpy(), row["n_track"].to_numpy()
    width = ep[1] - ep[0] if len(ep) > 1 else 1.0
    ax.bar(ep, n, width=width, color=BLUE, alpha=0.7, linewidth=0)
    if np.isfinite(float(row["ift"])):
        ax.plot(ep, n * np.exp(-ep), "--", color="0.4", linewidth=1)
    ax.axvline(0, color="0.6", linewidth=0.8)
    ax.set(xlabel="EP of a trajectory (nat)", ylabel="trajectories")
    return ax


def force_field(row: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the learned force, mean of folds: arrows in the plane, a line in one dimension."""
    ax = ax or new_axes(4.2, 3.8)
    x, f = row["field_x"].to_numpy(), row["field_f"].to_numpy()
    seen = np.isfinite(x[:, 0])
    if not np.isfinite(x[seen, 1]).any():
        ax.plot(x[seen, 0], f[seen, 0], color=BLUE)
        ax.axhline(0, color="0.6", linewidth=0.8)
        ax.set(xlabel="first component", ylabel="force")
        return ax
    ax.quiver(*x[seen].T, *f[seen].T, color=BLUE, width=0.004)
    ax.set(xlabel="first component", ylabel="second component")
    return ax
