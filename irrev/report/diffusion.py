"""Section of diffusion models: decisions, guidance, bandwidth, prices, pictures."""

import math
from collections.abc import Mapping

import numpy as np
import xarray as xr

from irrev import plots_diffusion as plots
from irrev.citations import cite
from irrev.report.page import Picture, Section, TableBlock, picture

DETAILED = 3  # pieces with figures of their own; all are in the tables
MEANING = (
    "Each noise level is where a question about a sample is half decided, for the declared prior "
    "and this model. It says when the model commits, not how good its samples are. A question "
    "whose closure lies outside 0.85 to 1.15 is asked of a model that contradicts itself there; "
    "its curve still is the posterior of the path. Under guidance the states follow another law "
    "than the model's, and the cross-entropy is no entropy. A cost is what a schedule dissipates "
    "at the least with this loss; with a trained model it is an under-estimate, and eta <= c_1 "
    "<= c_2 bounds the sensitivity to a wrong start, not sample quality."
)


def diffusion(ds: xr.Dataset, extras: Mapping[str, xr.Dataset]) -> Section:
    """Decisions, information and cost of diffusion models."""
    done = [i for i, s in enumerate(ds["status"].to_numpy()) if s == "done"]
    pictures: list[Picture] = []
    for i in done[:DETAILED]:
        profile = extras.get(str(ds["shard"].to_numpy()[i]))
        if profile is not None:
            pictures += _figures(ds.isel(shard=i), profile, _name(ds, i))
    tables = [_decisions(ds, done)]
    prices = _prices(ds, done)
    if prices.rows:
        tables.append(prices)
    return Section(
        title="Diffusion models along the noise axis",
        verdicts=[f"{_name(ds, i)}: {_words(ds, i)}" for i in range(ds.sizes["shard"])],
        statement=MEANING,
        pictures=pictures,
        tables=tables,
        references=cite("class_entropy", "information", "speed_accuracy"),
    )


def _name(ds: xr.Dataset, i: int) -> str:
    return f"{ds['source'].to_numpy()[i]}, {ds['condition'].to_numpy()[i]}"


def _words(ds: xr.Dataset, i: int) -> str:
    row = ds.isel(shard=i)
    if str(row["status"].item()) != "done":
        return f"{row['status'].item()} ({row['error'].item()})"
    value, low, high = (float(row[f"sigma_decision{end}"]) for end in ("", "_low", "_high"))
    closes = bool(row["closed"].to_numpy()[0]) or _guided(row)
    open_ends = "" if closes else "; rate and entropy do not close"
    return f"the class is half decided at noise {value:.3g} ({low:.3g} … {high:.3g}){open_ends}"


def _guided(row: xr.Dataset) -> bool:
    """Say whether the states are guided: their law is not the model's, nothing has to close."""
    return float(row["guidance"]) != 1.0


def _figures(row: xr.Dataset, profile: xr.Dataset, name: str) -> list[Picture]:
    found = [
        picture(
            plots.entropy_curves(profile),
            alt=f"Share of entropy left against noise for each question, {name}.",
            caption=f"{name}: entropy of each question along the noise axis, with interval. Grey: "
            "decision window of the first question. Dotted: half points.",
        ),
        picture(
            plots.rate_curves(profile),
            alt=f"Entropy rate against noise, {name}.",
            caption=f"{name}: rate of the first question from the curve, and from the mixture of "
            "the model's conditional denoisers. They agree for a model without contradictions.",
        ),
    ]
    if np.isfinite(row["half_distance"].to_numpy()).any():
        found.append(
            picture(
                plots.half_points(row),
                alt=f"Half points against half distances of class means, {name}.",
                caption=f"{name}: different questions are decided at different noise, near half "
                "the distance of their class means (dashed: equal).",
            )
        )
    if "bandwidth_loss" in profile and np.isfinite(profile["bandwidth_loss"]).all():
        found.append(
            picture(
                plots.bandwidth_curves(profile),
                alt=f"Generative bandwidth against noise, {name}.",
                caption=f"{name}: information about the sample per ln σ, read in three ways; the "
                "gap between them is the model's error.",
            )
        )
    size = profile.sizes["feature"]
    side = math.isqrt(size)
    if profile.sizes["example"] and side * side == size and side > 1:
        found.append(
            picture(
                plots.denoised_examples(profile, (1, side, side)),
                alt=f"Denoised states from large to small noise, {name}.",
                caption=f"{name}: what the model sees in single paths, from noise (left) to data.",
            )
        )
    return found


def _decisions(ds: xr.Dataset, done: list[int]) -> TableBlock:
    head = ["source", "piece", "question", "half decided at σ (interval)", "by cross-entropy"]
    head += ["fastest at σ", "window", "surprise variance at σ", "half mean distance", "closure"]
    rows = []
    for i in done:
        row = ds.isel(shard=i)
        for k, question in enumerate(row["partition"].to_numpy()):
            if not str(question):
                continue
            one = row.isel(question=k)
            half = [float(one[f"sigma_half{end}"]) for end in ("", "_low", "_high")]
            ends = [float(one[f"sigma_window_{end}"]) for end in ("min", "max")]
            distance = float(one["half_distance"])
            rows.append(
                [
                    str(row["source"].item()),
                    str(row["condition"].item()),
                    str(question),
                    f"{half[0]:.3g} ({half[1]:.3g} … {half[2]:.3g})",
                    f"{float(one['sigma_half_cross']):.3g}",
                    f"{float(one['sigma_peak']):.3g}",
                    f"{ends[0]:.3g} … {ends[1]:.3g}",
                    f"{float(one['sigma_var']):.3g}",
                    f"{distance:.3g}" if np.isfinite(distance) else "",
                    _closure(one),
                ]
            )
    return TableBlock("Where each question is decided, noise in data units", head, rows)


def _closure(one: xr.Dataset) -> str:
    if _guided(one):
        return "not under guidance"
    return f"{float(one['rate_closure']):.3g}" + ("" if bool(one["closed"]) else " (flagged)")


def _prices(ds: xr.Dataset, done: list[int]) -> TableBlock:
    head = ["source", "schedule", "cost c₂", "at constant speed", "of one data point"]
    head += ["moment bound"]
    rows = []
    for i in done:
        row = ds.isel(shard=i)
        for k, schedule in enumerate(row["schedule"].to_numpy()):
            if not str(schedule):
                continue
            one = row.isel(schedule_rank=k)
            names = ("c2", "c2_retimed", "c2_conditional", "w2_lower")
            values = [f"{float(one[n]):.4g}" for n in names]
            rows.append([str(row["source"].item()), str(schedule), *values])
    caption = "Price of schedules from one denoising-loss curve, data units squared per time"
    return TableBlock(caption, head, rows)
