"""Figures of behaviour over time: entropy with change points, class shares, confusion."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from irrev.plots import BLUE, MARKERS, ORANGE, PALETTE, new_axes


def entropy_series(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw S per bin with its interval, the baseline, alarms and where a change is placed.

    Parameters
    ----------
    ds
        Series of one stream: `entropy` with its interval, `alarm`, attribute `n_baseline_bins`.
    ax
        Where to draw.
    """
    ax = ax or new_axes(6.0, 3.2)
    x, S = ds["bin"].to_numpy(), ds["entropy"].to_numpy()
    ax.fill_between(x, ds["entropy_low"], ds["entropy_high"], color=BLUE, alpha=0.25, linewidth=0)
    ax.plot(x, S, color=BLUE, marker="o", markersize=3, label="S with interval")
    ax.axhline(np.log(ds.sizes["label"]), color="0.6", linestyle="--", linewidth=0.8)
    alarm = ds["alarm"].to_numpy().astype(bool)
    if alarm.any():
        ax.plot(x[alarm], S[alarm], "s", color=ORANGE, markersize=6, mfc="none", label="alarm")
    edge = int(ds.attrs.get("n_baseline_bins", 0))
    if 0 < edge < x.size:
        ax.axvline(edge - 0.5, color="0.6", linewidth=0.8)
    for place in np.atleast_1d(ds.attrs.get("change_bins", [])):
        ax.axvline(float(place), color=ORANGE, linestyle=":", linewidth=1.5)
    ax.set(xlabel="bin", ylabel="entropy of behaviour (nat)", ylim=(0, None))
    ax.locator_params(axis="x", integer=True)
    ax.legend(frameon=False)
    return ax


def class_shares(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the share of every class per bin."""
    ax = ax or new_axes(6.0, 3.2)
    for k, name in enumerate(map(str, ds["label"].to_numpy())):
        ax.plot(
            ds["bin"],
            ds["share"].isel(label=k),
            color=PALETTE[k % len(PALETTE)],
            marker=MARKERS[k % len(MARKERS)],
            markersize=3,
            label=name,
        )
    ax.set(xlabel="bin", ylabel="share of transcripts", ylim=(0, 1))
    ax.locator_params(axis="x", integer=True)
    ax.legend(frameon=False)
    return ax


def reductions(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the reduction of S with its interval, one row a pair of tuned and base model."""
    rows = np.flatnonzero(np.isfinite(ds["reduction"].to_numpy()))[::-1]
    ax = ax or new_axes(5.2, 1.0 + 0.4 * max(rows.size, 2))
    for y, i in enumerate(rows):
        row = ds.isel(pair=int(i))
        value, low, high = (float(row[f"reduction{end}"]) for end in ("", "_low", "_high"))
        error = np.maximum([[value - low], [high - value]], 0.0)
        ax.errorbar(value, y, xerr=error, fmt=MARKERS[0], color=BLUE, markersize=5)
    names = [f"{ds['tuned'].values[i]}\n{ds['stress'].values[i]}" for i in rows]
    ax.set_yticks(range(rows.size), names)
    ax.axvline(0, color="0.6", linestyle="--", linewidth=0.8)
    ax.set(xlabel="reduction of S against the base model", ylim=(-0.6, rows.size - 0.4))
    return ax


def confusion(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw P(predicted | true) of the classifier from held-out counts, with the counts."""
    ax = ax or new_axes(4.6, 3.6)
    counts = ds["confusion"].to_numpy().astype(float)
    rows = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(counts / rows, cmap="Greys", vmin=0, vmax=1)
    names = list(map(str, ds["label"].to_numpy()))
    for i, j in np.ndindex(counts.shape):
        shade = "white" if counts[i, j] / rows[i, 0] > 0.5 else "black"
        ax.text(j, i, f"{counts[i, j]:.0f}", ha="center", va="center", color=shade, fontsize=8)
    ax.set_xticks(range(len(names)), names, rotation=30, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="predicted", ylabel="true")
    return ax
