"""Figures of learned protocols; conventions as in `irrev.plots`.

Energies are in the task's own unit, kT unless it says otherwise; times in its own unit.
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from irrev.plots import MARKERS, ORANGE, PALETTE, new_axes

GREY = "0.5"


def work_against_error(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the front of one source: work against error, one line a duration, bounds dashed.

    Parameters
    ----------
    ds
        Rows of kind `protocols/response` of one source, done, with errors.
    ax
        Where to draw.
    """
    ax = ax or new_axes(6.0, 3.8)
    for k, duration in enumerate(np.unique(ds["duration"].to_numpy())):
        one = ds.isel(shard=ds["duration"].to_numpy() == duration).sortby("task_error")
        error, work = one["task_error"].to_numpy(), one["work"].to_numpy()
        colour, marker = PALETTE[k % len(PALETTE)], MARKERS[k % len(MARKERS)]
        ax.errorbar(
            error,
            work,
            xerr=_bars(one, "task_error"),
            yerr=_bars(one, "work"),
            fmt=f"{marker}-",
            color=colour,
            markersize=4,
            linewidth=1,
            label=f"duration {duration:g}",
        )
        ax.plot(error, one["bound"], "--", marker=marker, color=GREY, markersize=3, linewidth=1)
    if np.all(ds["task_error_low"].to_numpy() > 0):
        ax.set_xscale("log")
    ax.set(xlabel="error of the task", ylabel="mean work (dashed: bound at that error)")
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    ax.legend(fontsize=8, frameon=False)
    return ax


def work_against_duration(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw work, guess and bound of one source without errors against the duration."""
    ax = ax or new_axes(6.0, 3.4)
    ds = ds.sortby("duration")
    time = ds["duration"].to_numpy()
    ax.plot(time, ds["bound"], "--", color=GREY, linewidth=1, label="bound")
    ax.plot(time, ds["guess_work"], ":", color=ORANGE, marker="s", markersize=3, label="straight")
    ax.errorbar(
        time, ds["work"], yerr=_bars(ds, "work"), fmt="o", color=PALETTE[0], markersize=4,
        label="learned",
    )  # fmt: skip
    if len(time) > 1:
        ax.set_xscale("log")
    ax.set(xlabel="duration", ylabel="mean work")
    ax.legend(fontsize=8, frameon=False)
    return ax


def protocol_curves(curves: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the learned values with their jumps at both ends, beside the exact protocol.

    Parameters
    ----------
    curves
        Dataset of kind `protocols/curves`.
    ax
        Where to draw.
    """
    ax = ax or new_axes(6.0, 3.4)
    edge = curves["edge"].to_numpy()
    margin = 0.06 * (edge[-1] - edge[0])
    for j, name in enumerate(curves["control"].to_numpy()):
        one, colour = curves.isel(control=j), PALETTE[j % len(PALETTE)]
        time, value = _with_ends(one, edge, margin)
        ax.step(time, value, where="post", color=colour, linewidth=1.5, label=str(name))
        if np.isfinite(one["best_value"]).all():
            _, best = _with_ends(one.assign(value=one["best_value"]), edge, margin)
            ax.step(time, best, where="post", color=GREY, ls="--", linewidth=0.8,
                    label="optimum of this chain")  # fmt: skip
        if np.isfinite(one["curve_value"]).all():
            ax.plot(one["curve_time"], one["curve_value"], ":", color="0.2", linewidth=1.2,
                    label="exact, continuous time")  # fmt: skip
    for end in (edge[0], edge[-1]):
        ax.axvline(end, color=GREY, linewidth=0.6)
    ax.set(xlabel="time", ylabel="control")
    ax.legend(fontsize=8, frameon=False)
    return ax


def learning_curve(curves: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw work and work + weight x error of each iteration's own trajectories."""
    ax = ax or new_axes(6.0, 2.8)
    loss, work = curves["loss_history"].to_numpy(), curves["work_history"].to_numpy()
    ax.plot(loss, color=PALETTE[0], linewidth=0.8, label="work + weight × error")
    if not np.array_equal(loss, work):
        ax.plot(work, color=PALETTE[1], linewidth=0.8, ls="--", label="work")
    ax.set(xlabel="iteration", ylabel="energy")
    ax.legend(fontsize=8, frameon=False)
    return ax


def _bars(ds: xr.Dataset, name: str) -> NDArray[np.float64]:
    x = ds[name].to_numpy()
    ends = np.stack([x - ds[f"{name}_low"].to_numpy(), ds[f"{name}_high"].to_numpy() - x])
    return np.maximum(ends, 0.0)


def _with_ends(
    one: xr.Dataset, edge: NDArray[np.float64], margin: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times and values of a step curve that shows what holds before and after."""
    value = one["value"].to_numpy()
    end = float(one["end_value"]) if np.isfinite(float(one["end_value"])) else value[-1]
    time = np.concatenate([[edge[0] - margin], edge, [edge[-1] + margin]])
    return time, np.concatenate([[float(one["start_value"])], value, [end, end]])
