"""Figures of faithfulness: answers against what supports them, rankings of labelled answers."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from irrev.plots import MARKERS, PALETTE, new_axes
from irrev.stats import benjamini_hochberg


def answers_by_support(ds: xr.Dataset, ax: Axes | None = None, *, fdr: float = 0.05) -> Axes:
    """Draw smoothed faithfulness against lexical support, one mark an answer.

    Parameters
    ----------
    ds
        Table of answers, kind `semantic/faithfulness`.
    ax
        Where to draw.
    fdr
        Answers whose topics depart from the question's at this rate are filled.
    """
    ax = ax or new_axes(4.8, 3.4)
    departed = benjamini_hochberg(ds["p_perm"].to_numpy()) <= fdr
    groups = ((departed, "departs from its question"), (~departed, "not shown to depart"))
    for k, (which, text) in enumerate(groups):
        ax.plot(
            ds["support_lex"].to_numpy()[which],
            ds["sf_smooth"].to_numpy()[which],
            MARKERS[k],
            color=PALETTE[k],
            markerfacecolor=PALETTE[k] if k == 0 else "none",
            markersize=4,
            alpha=0.7,
            label=text,
        )
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    ax.set_xlabel("content words of the answer that the context has")
    ax.set_ylabel("faithfulness, smoothed")
    ax.legend(fontsize="small", loc="lower left")
    return ax


def rankings(row: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw how each score ranks supported answers, with intervals; dashed: knows nothing.

    Parameters
    ----------
    row
        One shard of kind `triplets/faithfulness` with rankings.
    ax
        Where to draw.
    """
    scores = list(dict.fromkeys(str(s) for s in row["ranking_score"].to_numpy() if str(s)))
    pairings = list(dict.fromkeys(str(s) for s in row["ranking_pairing"].to_numpy() if str(s)))
    ax = ax or new_axes(4.8, 1.2 + 0.5 * len(scores))
    for i in range(row.sizes["ranking"]):
        score, pairing = (str(row[n].to_numpy()[i]) for n in ("ranking_score", "ranking_pairing"))
        value, low, high = (float(row[f"auroc{e}"].to_numpy()[i]) for e in ("", "_low", "_high"))
        if not np.isfinite(value):
            continue
        k = pairings.index(pairing)
        y = len(scores) - 1 - scores.index(score) + 0.22 * (1 - k)
        error = [[max(value - low, 0.0)], [max(high - value, 0.0)]]
        first = score == scores[0]
        ax.errorbar(
            value,
            y,
            xerr=error,
            fmt=MARKERS[k],
            color=PALETTE[k],
            markersize=4,
            capsize=2,
            label=pairing if first else None,
        )
    ax.axvline(0.5, color="0.5", linestyle="--", linewidth=0.8)
    ax.set_yticks(range(len(scores)), [s.replace("_", " ") for s in reversed(scores)])
    ax.set(xlim=(0, 1), xlabel="supported answer ranked above: probability")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return ax
