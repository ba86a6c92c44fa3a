"""Figures of spike-train and spin studies: Dataset in, Axes out."""

import re
from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from irrev.plots import BLUE, GREEN, MARKERS, ORANGE, PALETTE, new_axes

DAY = re.compile(r"[-_ ]?(?:DIV|day)[-_ ]?(\d+)", re.IGNORECASE)
GREY = "0.5"
FAR = -1.0  # times the largest value: below, a few samples decide


def _errorbar(
    ax: Axes,
    x: NDArray[np.float64],
    values: Sequence[NDArray[np.float64]],
    k: int,
    label: str = "",
    line: str = "-",
) -> None:
    value, low, high = values
    error = np.maximum(np.nan_to_num([value - low, high - value]), 0.0)
    ax.errorbar(
        x,
        value,
        yerr=error,
        fmt=MARKERS[k % len(MARKERS)] + line,
        color=PALETTE[k % len(PALETTE)],
        markersize=4,
        linewidth=1,
        capsize=3,
        label=label,
    )


def _interval(ds: xr.Dataset, name: str) -> list[NDArray[np.float64]]:
    return [ds[f"{name}{end}"].to_numpy() for end in ("", "_low", "_high")]


def estimates(ds: xr.Dataset, ax: Axes | None = None, *, value: str = "ep_rate") -> Axes:
    """Draw the estimates of one family with their intervals, one row each, first on top.

    Parameters
    ----------
    ds
        Rows of kind `spikes/estimates`.
    ax
        Where to draw.
    value
        `ep_rate`, `ep_per_step` or `ep_per_spike`.
    """
    n = ds.sizes["estimate"]
    ax = ax or new_axes(4.8, 0.9 + 0.34 * max(n, 2))
    y = np.arange(n)[::-1]
    x, low, high = _interval(ds, value)
    error = np.maximum(np.nan_to_num([x - low, high - x]), 0.0)
    held = ds["held_out"].to_numpy()
    for chosen, marker, colour in ((held, "o", BLUE), (~held, "x", GREY)):
        if chosen.any():
            ax.errorbar(
                x[chosen], y[chosen], xerr=error[:, chosen], fmt=marker, color=colour, capsize=3
            )
    ax.axvline(0, color="0.6", linewidth=0.8)
    ax.set_yticks(y, ds["label"].to_numpy().astype(str).tolist())
    ax.set_ylim(-0.6, n - 0.4)
    ax.locator_params(axis="x", nbins=6)
    words = {"ep_rate": "nat/s", "ep_per_step": "nat per bin", "ep_per_spike": "nat per spike"}
    ax.set_xlabel(f"EP bound ({words[value]})")
    return ax


def sweep(ds: xr.Dataset, ax: Axes | None = None, *, value: str = "ep_rate") -> Axes:
    """Draw an EP bound against bin width, ms, logarithmic."""
    ax = ax or new_axes(4.6, 3.2)
    ordered = ds.sortby("bin_s")
    _errorbar(ax, 1000 * ordered["bin_s"].to_numpy(), _interval(ordered, value), 0)
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set_xscale("log")
    ticks = 1000 * ordered["bin_s"].to_numpy()
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.set(xlabel="bin width (ms)", ylabel=f"EP bound ({UNITS[value]})")
    return ax


UNITS = {"ep_rate": "nat/s", "ep_per_spike": "nat per spike", "ep_per_step": "nat per bin"}


def trajectory_ep(ds: xr.Dataset, ax: Axes | None = None, *, points: int = 400) -> Axes:
    """Draw the mean of a stored series of estimates over equal stretches of time, nat/s."""
    ax = ax or new_axes(6.0, 2.6)
    step, ep = ds["step"].to_numpy(), ds["ep"].to_numpy().astype(np.float64)
    bin_s = float(ds["bin_s"])
    width = max(1, step.size // points)
    n = step.size // width
    mean = ep[: n * width].reshape(n, width).mean(axis=1) / bin_s
    time = step[: n * width].reshape(n, width).mean(axis=1) * bin_s
    ax.plot(time, mean, color=BLUE, linewidth=0.9)
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set(xlabel="time (s)", ylabel=f"EP, mean of {width * bin_s:.3g} s (nat/s)")
    return ax


def population_size(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw nats per spike against the size of subsets, mean and s.e.m. over recordings x draws.

    Parameters
    ----------
    ds
        Rows of kind `study/subsets`; one line for each of `study_groups`.
    ax
        Where to draw.
    """
    ax = ax or new_axes(4.8, 3.4)
    groups = study_groups(ds)
    for k, (name, rows) in enumerate(groups.items()):
        size, mean, sem, _ = subset_means(ds.isel(shard=rows))
        _errorbar(ax, size, [mean, mean - sem, mean + sem], k, name)
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set(xlabel="units", ylabel="EP bound (nat per spike)")
    if groups:
        ax.legend(frameon=False, fontsize=8)
    return ax


def study_groups(ds: xr.Dataset) -> dict[str, list[int]]:
    """Return the measured rows of each source of the pipeline under each condition, by name."""
    found: dict[str, list[int]] = {}
    columns = (ds[n].to_numpy().astype(str) for n in ("source", "condition", "status"))
    for i, (source, condition, status) in enumerate(zip(*columns, strict=True)):
        if status == "done":
            name = source.partition("/")[0] + ("" if condition == "all" else f", {condition}")
            found.setdefault(name, []).append(i)
    return found


def subset_means(
    rows: xr.Dataset,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return sizes, mean and s.e.m. of nats per spike over all subsets, and their numbers."""
    size = rows["subset_size"].to_numpy().ravel()
    value = rows["subset_ep_per_spike"].to_numpy().ravel()
    sizes = np.unique(size[size > 0])
    groups = [value[(size == s) & np.isfinite(value)] for s in sizes]
    mean = np.array([g.mean() if g.size else np.nan for g in groups])
    sem = np.array([g.std(ddof=1) / np.sqrt(g.size) if g.size > 1 else 0.0 for g in groups])
    return sizes.astype(np.float64), mean, sem, np.array([g.size for g in groups])


def ep_against_beta(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw exact value and estimates of one spin system against inverse temperature.

    Parameters
    ----------
    ds
        Rows of kind `spins/multipartite` of one source, all done.
    ax
        Where to draw.
    """
    ax = ax or new_axes(5.0, 3.5)
    rows = ds.sortby("beta")
    beta = rows["beta"].to_numpy()
    ax.plot(beta, rows["ep_true"].to_numpy(), "--", color=GREY, label="exact")
    _errorbar(ax, beta, _interval(rows, "ep_per_attempt"), 0, "MaxEnt, per spin")
    for name, label, colour, marker in (
        ("ep_newton1", "one Newton step", ORANGE, "s"),
        ("ep_tur", "uncertainty relation", GREEN, "^"),
    ):
        ax.plot(
            beta,
            rows[name].to_numpy(),
            marker + ":",
            color=colour,
            markersize=4,
            linewidth=1,
            label=label,
        )
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set(xlabel="inverse temperature β", ylabel="EP (nat per attempt)")
    ax.legend(frameon=False, fontsize=8)
    return ax


def recovered_couplings(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw recovered against true antisymmetric couplings, kind `spins/couplings`."""
    ax = ax or new_axes(3.8, 3.6)
    true, found = ds["true"].to_numpy(), ds["found"].to_numpy()
    ax.plot(true, found, ".", color=BLUE, markersize=2.5, alpha=0.5, rasterized=True)
    limit = 1.05 * float(max(np.abs(true).max(initial=0.0), np.abs(found).max(initial=0.0), 1e-9))
    ax.plot([-limit, limit], [-limit, limit], "--", color=GREY, linewidth=1)
    ax.set(xlabel="true β(J_ij - J_ji)", ylabel="recovered θ_ij - θ_ji")
    ax.set_xlim(-limit, limit)
    ax.set_ylim(-limit, limit)
    return ax


def days(ds: xr.Dataset) -> dict[str, list[tuple[int, int]]]:
    """Find series over days: name without the day -> (day, row), where a name has two or more.

    Names such as `TC147-C57-DIV14_B` hold the day in vitro.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    columns = (ds[n].to_numpy().astype(str) for n in ("source", "condition", "status"))
    for i, (source, condition, status) in enumerate(zip(*columns, strict=True)):
        name = source.rsplit("/", 1)[-1]
        match = DAY.search(name)
        if match and status == "done":
            rest = name[: match.start()] + name[match.end() :]
            label = rest if condition == "all" else f"{rest} {condition}"
            found.setdefault(label, []).append((int(match[1]), i))
    return {k: sorted(v) for k, v in found.items() if len(v) > 1}


def over_days(ds: xr.Dataset, ax: Axes | None = None, *, value: str = "ep_rate") -> Axes:
    """Draw a value with its interval against day, one line a culture; filled: significant.

    Values far below zero, where a few samples decide, are left out of the lines and told in words.
    """
    ax = ax or new_axes(5.0, 3.4)
    significant, values = ds["significant"].to_numpy(), ds[value].to_numpy()
    floor = FAR * float(np.max(values[[i for s in days(ds).values() for _, i in s]], initial=0.0))
    for k, (name, points) in enumerate(days(ds).items()):
        near = [(day, i) for day, i in points if values[i] >= floor]
        day = np.array([d for d, _ in near], np.float64) + 0.15 * (k - 1)
        rows = [i for _, i in near]
        _errorbar(ax, day, [v[rows] for v in _interval(ds, value)], k, name)
        hollow = [j for j, i in enumerate(rows) if not significant[i]]
        style = {"color": PALETTE[k % len(PALETTE)], "markerfacecolor": "white", "zorder": 3}
        marker = MARKERS[k % len(MARKERS)]
        ax.plot(day[hollow], values[rows][hollow], marker, markersize=4, **style)
        for d, i in points:
            if values[i] < floor:
                words = f"day {d}: {values[i]:.2g}"
                place = (d, 0.97 - 0.06 * k)
                ax.annotate(
                    words,
                    place,
                    xycoords=ax.get_xaxis_transform(),
                    ha="center",
                    va="top",
                    fontsize=8,
                    color=PALETTE[k % len(PALETTE)],
                )
    all_days = [d for series in days(ds).values() for d, _ in series]
    if all_days:
        ax.set_xlim(min(all_days) - 1.5, max(all_days) + 1.5)
        ax.set_xticks(sorted(set(all_days)))
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, floor) if floor < 0 else low, high + 0.35 * (high - low))
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set(xlabel="day in vitro", ylabel=f"EP bound ({UNITS[value]})")
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0.0, 0.88))
    return ax
