"""Figures of results: Dataset in, Axes out. Nothing is shown, saved or styled globally.

Data are solid lines of the Okabe-Ito palette, theory is dashed grey, uncertainty is always drawn.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, "#56B4E9", "#E69F00")
MOST_ROWS = 40  # of a figure that is read without scrolling for long
MOST_SPREAD = 30.0  # the largest end of an interval over the median one, on a linear axis
LABEL = 54  # characters of a label in a figure of 4.8 inches
MARKERS = ("o", "s", "^", "D", "v", "P")  # no meaning by colour alone


def new_axes(width: float = 4.8, height: float = 3.2) -> Axes:
    """Make an Axes in a Figure of its own, inches."""
    return Figure(figsize=(width, height), layout="constrained").subplots()


def _label(ds: xr.Dataset, name: str, text: str) -> str:
    return f"{text} ({ds[name].attrs.get('units', '1').replace(' s-1', '/s')})"


# --- spike trains --------------------------------------------------------------------------------


def ep_by_shard(ds: xr.Dataset, ax: Axes | None = None, *, value: str = "ep_rate") -> Axes:
    """Draw a value with its interval for every source and condition, one row each.

    Parameters
    ----------
    ds
        Result table along `shard` with `source`, `condition`, `status`, `significant`, and
        `<value>`, `<value>_low`, `<value>_high`.
    ax
        Where to draw.
    value
        Name of the variable.
    """
    rows = [i for i, s in enumerate(ds["status"].to_numpy()) if s == "done"]
    if len(rows) > MOST_ROWS:  # the largest; all are in the table
        rows = sorted(sorted(rows, key=lambda i: -float(ds[value].to_numpy()[i]))[:MOST_ROWS])
    ax = ax or new_axes(4.8, 1.0 + 0.42 * max(len(rows), 2))
    conditions = list(dict.fromkeys(str(c) for c in ds["condition"].to_numpy()[rows]))
    for y, i in enumerate(reversed(rows)):
        row = ds.isel(shard=i)
        k = conditions.index(str(row["condition"].item())) % len(PALETTE)
        x = row[value].item()
        error = [[x - row[f"{value}_low"].item()], [row[f"{value}_high"].item() - x]]
        ax.errorbar(
            x,
            y,
            xerr=np.maximum(error, 0.0),
            fmt=MARKERS[k],
            color=PALETTE[k],
            markerfacecolor=PALETTE[k] if bool(row["significant"].item()) else "none",
            capsize=3,
        )
        # above its line and not beside it, so that long names leave room for the values
        label = f"{row['source'].item()}  {row['condition'].item()}"
        ax.text(0.0, y + 0.24, _short(label), transform=ax.get_yaxis_transform(), fontsize=9)
    ax.axvline(0, color="0.6", linewidth=0.8)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_ylim(-0.6, len(rows) - 0.2)
    ax.set_xlabel(_label(ds, value, "held-out EP bound"))
    ends = ds[[value, f"{value}_low", f"{value}_high"]].isel(shard=rows).to_array().to_numpy()
    _spread(ax, np.abs(ends).max(axis=0, initial=0.0))
    return ax


def _spread(ax: Axes, reach: NDArray[np.float64]) -> None:
    """Keep small intervals visible beside huge ones: logarithmic from the median end outwards."""
    typical, largest = (float(np.median(reach)), float(reach.max())) if reach.size else (0.0, 0.0)
    if not 0 < MOST_SPREAD * typical < largest < np.inf:
        ax.locator_params(axis="x", nbins=6)
        return
    first, last = (int(np.floor(np.log10(x))) for x in (typical, largest))
    ax.set_xscale("symlog", linthresh=10.0**first)
    step = -(-(last - first + 1) // 3)
    ticks = 10.0 ** np.arange(first, last + 1, step)
    ticks = np.concatenate([-ticks[::-1], [0.0], ticks])
    ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
    ax.minorticks_off()
    ax.set_xlabel(f"{ax.get_xlabel()}, logarithmic outwards")


def _short(label: str) -> str:
    """Keep both ends of a long label."""
    return label if len(label) <= LABEL else f"{label[: LABEL // 2]}…{label[-LABEL // 2 :]}"


def coupling_map(ds: xr.Dataset, ax: Axes | None = None, *, name: str = "theta") -> Axes:
    """Draw the antisymmetric couplings, units sorted by area: red where the column leads.

    Parameters
    ----------
    ds
        Dataset of kind `spikes/couplings`.
    ax
        Where to draw.
    name
        `theta` or `share`.
    """
    ax = ax or new_axes(5.2, 4.4)
    areas = ds["area_to"].to_numpy().astype(str)
    order = np.argsort(areas, kind="stable")
    values = ds[name].to_numpy()[np.ix_(order, order)]
    limit = float(np.quantile(np.abs(values), 0.995)) if values.size else 1.0
    image = ax.imshow(
        values, cmap="RdBu_r", vmin=-(limit or 1.0), vmax=limit or 1.0, interpolation="nearest"
    )
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.85)
    bar.set_label("coupling, earlier → later" if name == "theta" else "coupling × mean (nat)")
    _mark_areas(ax, areas[order].tolist(), ds["unit_to"].to_numpy().astype(str)[order].tolist())
    ax.set(xlabel="earlier unit", ylabel="later unit")
    return ax


def _mark_areas(ax: Axes, areas: Sequence[str], units: Sequence[str]) -> None:
    """Label the axes by area where there are areas, by unit where there are few."""
    borders = [i for i in range(1, len(areas)) if areas[i] != areas[i - 1]]
    if any(areas):
        edges = [0, *borders, len(areas)]
        centres = [(a + b - 1) / 2 for a, b in pairwise(edges)]
        names = [areas[a] for a in edges[:-1]]
        ax.set_xticks(centres, names)
        ax.set_yticks(centres, names)
        for border in borders:
            ax.axhline(border - 0.5, color="0.4", linewidth=0.6)
            ax.axvline(border - 0.5, color="0.4", linewidth=0.6)
    elif len(units) <= 30:
        ax.set_xticks(range(len(units)), list(units), rotation=90)
        ax.set_yticks(range(len(units)), list(units))


def learning_curve(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw training and held-out value against iteration for one shard.

    Parameters
    ----------
    ds
        One row of kind `spikes/maxent`.
    ax
        Where to draw.
    """
    ax = ax or new_axes(4.6, 3.2)
    train, held = ds["curve_train"].to_numpy(), ds["curve_validation"].to_numpy()
    keep = np.isfinite(train)
    x = np.arange(1, keep.sum() + 1)
    ax.plot(x, train[keep], color=ORANGE, marker="s", markersize=3, label="training part")
    ax.plot(x, held[keep], color=BLUE, marker="o", markersize=3, label="held out")
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set(xlabel="iteration", ylabel="EP bound (nat per bin)")
    ax.legend(frameon=False)
    return ax


def null_histogram(
    null: np.ndarray[tuple[int], np.dtype[np.float64]],
    value: float,
    ax: Axes | None = None,
    *,
    xlabel: str = "statistic (nat per bin)",
) -> Axes:
    """Draw the null distribution of a statistic with the observed value.

    Parameters
    ----------
    null
        Draws, shape (draw,); NaN is left out.
    value
        Observed statistic.
    ax
        Where to draw.
    xlabel
        Name and unit of the statistic.
    """
    ax = ax or new_axes(4.6, 3.2)
    finite = null[np.isfinite(null)]
    ax.hist(finite, bins=24, color="0.7", label="directions drawn at random")
    ax.axvline(value, color=BLUE, linewidth=2, label="observed")
    ax.locator_params(axis="x", nbins=5)
    ax.set(xlabel=xlabel, ylabel="draws")
    ax.legend(frameon=False)
    return ax
