"""Figures of diffusion models: Datasets of kinds `diffusion/*` in, Axes out."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from irrev.plots import MARKERS, PALETTE, new_axes

GREY = "0.6"
SHOWN = 7  # questions that can be told apart
EXAMPLE_LEVELS = 12  # pictures along the noise axis


def _levels(ds: xr.Dataset, ax: Axes) -> np.ndarray:
    ax.set_xscale("log")
    ax.set_xlabel("noise level σ (data units)")
    return ds["sigma"].to_numpy()


def entropy_curves(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the entropy left of each question, as a share of its prior, with interval and window.

    Parameters
    ----------
    ds
        Result of kind `diffusion/profile`; the first seven questions are drawn.
    ax
        Where to draw.
    """
    ax = ax or new_axes(4.8, 3.4)
    sigma = _levels(ds, ax)
    for k, name in enumerate(ds["partition"].to_numpy()[:SHOWN]):
        one = ds.isel(partition=k)
        colour, prior = PALETTE[k % len(PALETTE)], float(one["entropy_prior"])
        ax.plot(sigma, one["entropy_mean"] / prior, color=colour, label=str(name),
                marker=MARKERS[k % len(MARKERS)], markevery=8, markersize=4)  # fmt: skip
        low, high = one["entropy_mean_low"] / prior, one["entropy_mean_high"] / prior
        ax.fill_between(sigma, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot([float(one["sigma_half"])] * 2, [0, 0.5], color=colour, linewidth=0.8, ls=":")
    window = ds.isel(partition=0)
    ax.axvspan(float(window["sigma_window_min"]), float(window["sigma_window_max"]), color=GREY,
               alpha=0.15, linewidth=0)  # fmt: skip
    ax.axhline(0.5, color=GREY, ls="--", linewidth=0.8)
    ax.set(ylabel="entropy left (share)", ylim=(0, 1.05))
    ax.legend(fontsize=8, frameon=False)
    return ax


def rate_curves(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the rate of the first question and its mixture form, which agree for an exact model."""
    ax = ax or new_axes(4.8, 3.0)
    sigma, one = _levels(ds, ax), ds.isel(partition=0)
    ax.plot(sigma, one["rate"], color=PALETTE[0], label="slope of the curve")
    ax.plot(sigma, one["rate_mix"], color=PALETTE[1], ls="--", label="mixture form (I-MMSE)")
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set(ylabel="dH / d ln σ (nat)")
    ax.legend(fontsize=8, frameon=False)
    return ax


def bandwidth_curves(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the three readings of the generative bandwidth with two standard errors."""
    ax = ax or new_axes(4.8, 3.0)
    sigma = _levels(ds, ax)
    words = {"loss": "denoising loss", "div": "divergence", "score": "score norm"}
    for k, (name, text) in enumerate(words.items()):
        if f"bandwidth_{name}" not in ds:
            continue
        value, error = ds[f"bandwidth_{name}"], 2 * ds[f"bandwidth_{name}_se"]
        ax.plot(sigma, value, color=PALETTE[k], label=text, ls=("-", "--", ":")[k])
        ax.fill_between(sigma, value - error, value + error, color=PALETTE[k], alpha=0.2)
    ax.set(ylabel="dH(x₀|x) / d ln σ (nat)")
    ax.legend(fontsize=8, frameon=False)
    return ax


def half_points(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw where each two-set question is decided against half the distance of its set means.

    Parameters
    ----------
    ds
        One row (no `shard` dimension) of kind `diffusion/class_entropy`.
    ax
        Where to draw.
    """
    ax = ax or new_axes(4.6, 4.2)
    x, y = ds["half_distance"].to_numpy(), ds["sigma_half"].to_numpy()
    low, high = ds["sigma_half_low"].to_numpy(), ds["sigma_half_high"].to_numpy()
    use = np.isfinite(x) & np.isfinite(y)
    bars = np.abs(np.stack([y - low, high - y]))[:, use]
    ax.errorbar(x[use], y[use], yerr=bars, fmt="o", color=PALETTE[0], capsize=2)
    for name, a, b in zip(ds["partition"].to_numpy()[use], x[use], y[use], strict=True):
        ax.annotate(str(name), (a, b), xytext=(4, 3), textcoords="offset points", fontsize=8)
    top = 1.1 * float(max(np.max(x[use], initial=1), np.max(y[use], initial=1)))
    ax.plot([0, top], [0, top], color=GREY, ls="--", linewidth=0.8)
    ax.set(xlabel="half the distance of the means", ylabel="σ where half the entropy is left",
           xlim=(0, top), ylim=(0, top))  # fmt: skip
    return ax


def denoised_examples(ds: xr.Dataset, shape: tuple[int, ...], ax: Axes | None = None) -> Axes:
    """Draw what the model sees in a few paths from large noise to small, one path a row.

    Parameters
    ----------
    ds
        Result of kind `diffusion/profile`.
    shape
        Shape of one sample, (channel, height, width); the first channel is drawn.
    ax
        Where to draw.
    """
    _, height, width = shape
    sigma = ds["sigma"].to_numpy()
    chosen = np.linspace(0, len(sigma) - 1, min(EXAMPLE_LEVELS, len(sigma))).round().astype(int)
    states = ds["example_state"].to_numpy().reshape(-1, len(sigma), *shape)[:, chosen, 0]
    ax = ax or new_axes(6.0, 0.6 * len(states) + 0.6)
    board = states.transpose(0, 2, 1, 3).reshape(len(states) * height, len(chosen) * width)
    ax.imshow(board, cmap="gray", vmin=-1, vmax=1, interpolation="nearest", aspect="equal")
    ax.set_xticks(width * (np.arange(len(chosen)) + 0.5), [f"{s:.2g}" for s in sigma[chosen]])
    labels = [str(v) for v in ds["example_label"].to_numpy()]
    ax.set_yticks(height * (np.arange(len(states)) + 0.5), labels)
    ax.set(xlabel="noise level σ (data units)", ylabel="class")
    return ax
