"""Figures of diffusion models: Datasets of kinds `diffusion/*` in, Axes out."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from irrev.plots import MARKERS, PALETTE, new_axes

GREY = "0.6"
SHOWN = 7  # questions that can be told apart
FEW = 20  # points that can all be named


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
    ax.legend(fontsize=9, frameon=False)
    return ax


def rate_curves(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the rate of the first question and its mixture form, which agree for an exact model."""
    ax = ax or new_axes(4.8, 3.0)
    sigma, one = _levels(ds, ax), ds.isel(partition=0)
    ax.plot(sigma, one["rate"], color=PALETTE[0], label="slope of the curve")
    ax.plot(sigma, one["rate_mix"], color=PALETTE[1], ls="--", label="mixture form (I-MMSE)")
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set(ylabel="dH / d ln σ (nat)")
    ax.legend(fontsize=9, frameon=False)
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
    ax.legend(fontsize=9, frameon=False)
    return ax


def decision_law(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw where each two-set question is half decided against half the distance of its means.

    Parameters
    ----------
    ds
        One dimension of questions with `partition`, `half_distance` and `sigma_half` with its
        interval; of more than twenty questions only the extreme ones are named.
    ax
        Where to draw.
    """
    ax = ax or new_axes(4.8, 4.4)
    x, y = ds["half_distance"].to_numpy(), ds["sigma_half"].to_numpy()
    low, high = ds["sigma_half_low"].to_numpy(), ds["sigma_half_high"].to_numpy()
    use = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    bars = np.abs(np.stack([y - low, high - y]))[:, use]
    ax.errorbar(x[use], y[use], yerr=bars, fmt="o", color=PALETTE[0], capsize=2, markersize=4,
                elinewidth=0.8)  # fmt: skip
    names = ds["partition"].to_numpy()
    for k in use if len(use) <= FEW else _extremes(x, y, use):
        ax.annotate(
            str(names[k]), (x[k], y[k]), xytext=(6, -9), textcoords="offset points", fontsize=9
        )
    ends = np.concatenate([x[use], low[use], high[use]])
    top, bottom = 1.08 * float(ends.max()), 0.92 * float(ends.min()) if len(use) > FEW else 0.0
    ax.plot([bottom, top], [bottom, top], color=GREY, ls="--", linewidth=0.8)
    ax.set(xlabel="half the distance of the means", ylabel="σ where half the entropy is left",
           xlim=(bottom, top), ylim=(bottom, top))  # fmt: skip
    return ax


def _extremes(x: np.ndarray, y: np.ndarray, use: np.ndarray) -> set[int]:
    """Return the questions of smallest and largest distance, and those farthest off the line."""
    found: set[int] = set()
    for key, n in ((x[use], 2), (-x[use], 1), (y[use] / x[use], 1), (-y[use] / x[use], 2)):
        found |= {int(k) for k in use[np.argsort(key)[:n]]}
    return found


def guidance_curves(runs: Mapping[float, xr.Dataset], ax: Axes | None = None) -> Axes:
    """Draw the first question's entropy of generated paths for each guidance weight.

    Parameters
    ----------
    runs
        Guidance weight -> result of kind `diffusion/profile`. The cross-entropy is dashed.
    ax
        Where to draw.
    """
    ax = ax or new_axes(4.8, 3.4)
    for k, (weight, ds) in enumerate(list(runs.items())[:SHOWN]):
        sigma, one = _levels(ds, ax), ds.isel(partition=0)
        colour, prior = PALETTE[k % len(PALETTE)], float(one["entropy_prior"])
        ax.plot(sigma, one["entropy_mean"] / prior, color=colour, label=f"w = {weight:g}",
                marker=MARKERS[k % len(MARKERS)], markevery=8, markersize=4)  # fmt: skip
        low, high = one["entropy_mean_low"] / prior, one["entropy_mean_high"] / prior
        ax.fill_between(sigma, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(sigma, one["cross_entropy"] / prior, color=colour, ls="--", linewidth=1)
    ax.axhline(0.5, color=GREY, ls="--", linewidth=0.8)
    ax.set(ylabel="entropy left (share)", ylim=(0, 1.1))
    ax.legend(fontsize=9, frameon=False)
    return ax


def speed_costs(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw what each schedule costs, with interval, and the bounds around it.

    Parameters
    ----------
    ds
        One row (no `shard` dimension) of kind `diffusion/class_entropy`.
    ax
        Where to draw.
    """
    names = [str(n) for n in ds["schedule"].to_numpy() if str(n)]
    ax = ax or new_axes(4.8, 0.5 * len(names) + 1.8)
    place = np.arange(len(names), dtype=float)
    for k, (name, text) in enumerate(
        {"c2": "from the loss", "c2_flow": "flow that is run"}.items()
    ):
        value, low, high = (
            ds[name + end].to_numpy()[: len(names)] for end in ("", "_low", "_high")
        )
        bars = np.abs(np.stack([value - low, high - value]))
        ax.errorbar(value, place + 0.12 * (2 * k - 1), xerr=bars, fmt=MARKERS[k], capsize=2,
                    color=PALETTE[k], label=text)  # fmt: skip
    ax.plot(ds["c2_retimed"].to_numpy()[: len(names)], place, "|", color=PALETTE[2], markersize=14,
            label="same path, constant speed")  # fmt: skip
    ax.axvline(float(ds["w2_lower"]), color=GREY, ls="--", linewidth=0.8, label="moment bound")
    ax.set_yticks(place, names)
    ax.set(xlabel="speed cost c₂ (data units squared per time)", ylim=(len(names) - 0.5, -0.5))
    ax.legend(fontsize=9, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncol=2)
    return ax


def denoised_examples(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw what the model sees in a few paths from large noise to small, one path a row.

    Images of one channel are grey and of three in colour; of latents the first three channels are
    shown, scaled to their range.

    Parameters
    ----------
    ds
        Result of kind `diffusion/profile`.
    ax
        Where to draw.
    """
    *first, height, width = (int(v) for v in ds["example_shape"].to_numpy())
    channels = first[0] if first else 1
    sigma = ds["example_sigma"].to_numpy()
    states = ds["example_state"].to_numpy().reshape(-1, len(sigma), channels, height, width)
    shown = states[:, :, :1] if channels < 3 else states[:, :, :3]
    reach = 1.0 if channels in (1, 3) else float(np.max(np.abs(shown)))
    board = np.clip(0.5 + 0.5 * shown / max(reach, 1e-12), 0, 1)
    board = board.transpose(0, 3, 1, 4, 2).reshape(len(states) * height, len(sigma) * width, -1)
    ax = ax or new_axes(6.0, 0.6 * len(states) + 0.6)
    ax.imshow(board.squeeze(-1) if board.shape[-1] == 1 else board, cmap="gray", vmin=0, vmax=1,
              interpolation="nearest", aspect="equal")  # fmt: skip
    ax.set_xticks(width * (np.arange(len(sigma)) + 0.5), [f"{s:.2g}" for s in sigma])
    labels = [str(v) for v in ds["example_label"].to_numpy()]
    ax.set_yticks(height * (np.arange(len(states)) + 0.5), labels)
    ax.set(xlabel="noise level σ (data units)", ylabel="class")
    return ax
