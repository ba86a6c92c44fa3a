"""Figures of the cross-spectral witness: a Dataset of kind `witness` in, Axes out."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from irrev.plots import BLUE, MARKERS, ORANGE, PALETTE, new_axes

SHOWN_NAMES = 40  # channels whose names fit on an axis
MANY = 60  # channels of a network that can still be told apart


def pair_matrix(ds: xr.Dataset, ax: Axes | None = None, *, name: str = "W") -> Axes:
    """Draw a quantity of all pairs as a symmetric matrix; a dot marks pairs at the chosen FDR.

    Parameters
    ----------
    ds
        Result of kind `witness`.
    ax
        Where to draw.
    name
        "W" (dots: `reject`) or "sigma" (dots: `reject_irr`).
    """
    ax = ax or new_axes(4.6, 4.0)
    labels = [str(c) for c in ds["channel"].to_numpy()]
    first, second = ds["channel_i"].to_numpy(), ds["channel_j"].to_numpy()
    values = ds[name].to_numpy()
    matrix = np.full((len(labels), len(labels)), np.nan)
    matrix[first, second] = matrix[second, first] = np.where(np.isfinite(values), values, np.nan)
    image = ax.imshow(np.maximum(matrix, 0.0), cmap="cividis", vmin=0, interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, label=f"{name} (nat per sample)")
    marked = ds["reject" if name == "W" else "reject_irr"].to_numpy()
    if len(labels) <= SHOWN_NAMES:
        ax.plot(second[marked], first[marked], ".", color="white", markersize=3)
        ax.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8)
        ax.set_yticks(range(len(labels)), labels, fontsize=8)
    ax.set(xlabel="channel", ylabel="channel")
    return ax


def coherence_spectra(ds: xr.Dataset, ax: Axes | None = None, *, top: int = 4) -> Axes:
    """Draw squared coherence against frequency for the pairs of largest W.

    The grey line is the level that 5 % of independent bands exceed, 1 - 0.05^(1 / (K - 1)).

    Parameters
    ----------
    ds
        Result of kind `witness` with `coh2`.
    ax
        Where to draw.
    top
        Number of pairs.
    """
    ax = ax or new_axes()
    values = np.where(np.isfinite(ds["W"]), ds["W"], -np.inf)
    order = [k for k in np.argsort(-values)[:top] if np.isfinite(values[k])]
    for rank, k in enumerate(order):
        ax.plot(
            ds["frequency"],
            ds["coh2"].to_numpy()[k],
            color=PALETTE[rank % len(PALETTE)],
            marker=MARKERS[rank % len(MARKERS)],
            markersize=3,
            linewidth=1,
            label=str(ds["pair"].to_numpy()[k]).replace("|", " – "),
        )
    level = 1 - 0.05 ** (1 / (ds["band_counts"].to_numpy() - 1))
    ax.plot(ds["frequency"], level, "--", color="0.5", label="5 % level of one band")
    ax.set(xlabel="frequency (Hz)", ylabel="squared coherence", ylim=(0, 1))
    ax.legend(frameon=False, fontsize=8)
    return ax


def p_histogram(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the p-values of dependence and of irreversibility; flat is what no effect gives."""
    ax = ax or new_axes()
    edges = np.linspace(0, 1, 21)
    styles = (("p", BLUE, "-", "independent"), ("p_irr", ORANGE, "--", "reversible"))
    n = 0
    for name, colour, line, null in styles:
        p = ds[name].to_numpy()
        p = p[np.isfinite(p)]
        n = max(n, p.size)
        ax.stairs(
            np.histogram(p, edges)[0], edges, color=colour, linestyle=line, label=f"null: {null}"
        )
    ax.axhline(n / 20, linestyle="--", color="0.5", linewidth=0.8)
    ax.set(xlabel="p", ylabel="pairs")
    ax.legend(frameon=False, fontsize=8)
    return ax


def drive_network(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw channels on a circle, joined where the witness passes the chosen FDR.

    Line width grows with W; orange lines are also irreversible.
    """
    ax = ax or new_axes(4.4, 4.4)
    labels = [str(c) for c in ds["channel"].to_numpy()]
    angle = 2 * np.pi * np.arange(len(labels)) / max(len(labels), 1)
    place = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    w = np.where(np.isfinite(ds["W"]), ds["W"], 0.0)
    widest = max(float(w.max(initial=0.0)), 1e-300)
    both = ds["reject_irr"].to_numpy()
    for k in np.flatnonzero(ds["reject"].to_numpy()):
        ends = place[[int(ds["channel_i"][k]), int(ds["channel_j"][k])]]
        ax.plot(
            *ends.T,
            color=ORANGE if both[k] else BLUE,
            linestyle="-" if both[k] else "--",
            linewidth=0.3 + 2.5 * max(float(w[k]), 0.0) / widest,
            zorder=1,
        )
    ax.scatter(*place.T, s=18, color="0.3", zorder=2)
    if len(labels) <= MANY:
        for name, (x, y) in zip(labels, place, strict=True):
            ax.text(1.12 * x, 1.12 * y, name, ha="center", va="center", fontsize=8)
    ax.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal")
    ax.set_axis_off()
    return ax


def pair_scatter(ds: xr.Dataset, ax: Axes | None = None, *, names: int = 3) -> Axes:
    """Draw sigma against W with both standard errors; the largest sigmas carry their names."""
    ax = ax or new_axes()
    good = np.flatnonzero(np.isfinite(ds["W"]) & np.isfinite(ds["sigma"]))
    part = ds.isel(pair=good)
    ax.errorbar(
        part["W"],
        part["sigma"],
        xerr=part["W_se"],
        yerr=part["sigma_se"],
        fmt="o",
        markersize=3,
        linewidth=0.6,
        color=BLUE,
    )
    for k in np.argsort(-part["sigma"].to_numpy())[:names]:
        text = str(part["pair"].to_numpy()[k]).replace("|", " – ")
        ax.annotate(text, (float(part["W"][k]), float(part["sigma"][k])), fontsize=8)
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.axvline(0, color="0.6", linewidth=0.8)
    ax.set(xlabel="W (nat per sample)", ylabel="sigma (nat per sample)")
    return ax
