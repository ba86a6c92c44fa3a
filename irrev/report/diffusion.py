"""Section of diffusion models: decisions, guidance, bandwidth, prices, pictures."""

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
    "whose closure lies outside 0.85 to 1.15 is asked of a model that contradicts itself, or "
    "of classes that overlap in the data, so that entropy is left at the smallest noise; the "
    "curve still is the posterior of the path. Under guidance the states follow another law "
    "than the model's, and the cross-entropy is no entropy. A cost is what a schedule dissipates "
    "at the least with this loss; with a trained model it is an under-estimate, the flow that is "
    "run costs more. The relation bounds the sensitivity to a wrong start, not sample quality."
)


def diffusion(ds: xr.Dataset, extras: Mapping[str, xr.Dataset]) -> Section:
    """Decisions, information and cost of diffusion models."""
    done = [i for i, s in enumerate(ds["status"].to_numpy()) if s == "done"]
    pictures: list[Picture] = []
    for i in done[:DETAILED]:
        profile = extras.get(str(ds["shard"].to_numpy()[i]))
        if profile is not None:
            pictures += _figures(ds.isel(shard=i), profile, _name(ds, i))
    pictures += _guidance(ds, extras, done)
    made = (_decisions(ds, done), _shifts(ds, done), _prices(ds, done), _starts(ds, done))
    tables = [table for table in (*made, _single(ds, done)) if table.rows]
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


def _piece(row: xr.Dataset) -> list[str]:
    return [str(row[key].item()) for key in ("source", "condition")]


def _words(ds: xr.Dataset, i: int) -> str:
    row = ds.isel(shard=i)
    if str(row["status"].item()) != "done":
        return f"{row['status'].item()} ({row['error'].item()})"
    value, low, high = (float(row[f"sigma_decision{end}"]) for end in ("", "_low", "_high"))
    closes = bool(row["closed"].to_numpy()[0]) or _guided(row)
    open_ends = "" if closes else "; rate and entropy do not close"
    if np.isnan(value):
        return f"the class is not half decided at any noise that was followed{open_ends}"
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
    if np.isfinite(row["half_distance"].to_numpy() * row["sigma_half"].to_numpy()).any():
        found.append(
            picture(
                plots.decision_law(row),
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
    if np.any(row["schedule"].to_numpy() != ""):
        found.append(
            picture(
                plots.speed_costs(row),
                alt=f"Speed cost of each schedule with its bounds, {name}.",
                caption=f"{name}: cost of each schedule from the loss, which is too low for a "
                "trained model, and of the flow that the model runs; no time course of the same "
                "path costs less than the bar, and none at all less than the moment bound.",
            )
        )
    if profile.sizes["example"] and profile.sizes["axis"] in (2, 3):
        found.append(
            picture(
                plots.denoised_examples(profile),
                alt=f"Denoised states from large to small noise, {name}.",
                caption=f"{name}: what the model sees in single paths, from noise (left) to data.",
            )
        )
    return found


def _studies(ds: xr.Dataset, done: list[int]) -> list[list[int]]:
    """Group generated pieces that differ in their guidance weight only."""
    found: dict[tuple[str, int], list[int]] = {}
    for i in done:
        if str(ds["states"].to_numpy()[i]) == "generate":
            key = str(ds["source"].to_numpy()[i]), int(ds["seed"].to_numpy()[i])
            found.setdefault(key, []).append(i)
    weights = ds["guidance"].to_numpy()
    return [sorted(group, key=lambda i: weights[i]) for group in found.values()]


def _guidance(ds: xr.Dataset, extras: Mapping[str, xr.Dataset], done: list[int]) -> list[Picture]:
    """Draw the curves of all weights of a study together."""
    out = []
    for group in _studies(ds, done)[:DETAILED]:
        profiles = {
            float(ds["guidance"].to_numpy()[i]): extras.get(str(ds["shard"].to_numpy()[i]))
            for i in group
        }
        runs = {w: p for w, p in profiles.items() if p is not None}
        if len(runs) < 2:
            continue
        source, seed = (ds[key].to_numpy() for key in ("source", "seed"))
        name = f"{source[group[0]]}, noise {seed[group[0]]}"
        out.append(
            picture(
                plots.guidance_curves(runs),
                alt=f"Entropy left against noise for each guidance weight, {name}.",
                caption=f"{name}: what guidance does to the first question, on the same noise. "
                "Dashed: cross-entropy with the target, which is no entropy under guidance.",
            )
        )
    return out


def _shifts(ds: xr.Dataset, done: list[int]) -> TableBlock:
    """Compare the half points of each question with those at the least weight."""
    head = ["source", "piece", "question", "half decided at σ", "against least weight"]
    head += ["by cross-entropy", "against least weight"]
    rows = []
    for group in _studies(ds, done):
        first = ds.isel(shard=group[0])
        for i in group[1:]:
            row = ds.isel(shard=i)
            for k, question in enumerate(row["partition"].to_numpy()):
                if not str(question):
                    continue
                one, base = row.isel(question=k), first.isel(question=k)
                cells = [*_piece(row), str(question)]
                for name in ("sigma_half", "sigma_half_cross"):
                    value = float(one[name])
                    ratio = value / float(base[name])
                    cells += [_number(value), f"x {ratio:.2f}" if np.isfinite(ratio) else ""]
                rows.append(cells)
    return TableBlock("What guidance moves, noise in data units", head, rows)


def _decisions(ds: xr.Dataset, done: list[int]) -> TableBlock:
    head = ["source", "piece", "question", "half decided at σ (interval)", "by cross-entropy"]
    head += ["fastest at σ", "window", "surprise variance at σ", "half mean distance"]
    head += ["unstable half-way below σ", "closure"]
    rows = []
    for i in done:
        row = ds.isel(shard=i)
        for k, question in enumerate(row["partition"].to_numpy()):
            if not str(question):
                continue
            one = row.isel(question=k)
            half = [float(one[f"sigma_half{end}"]) for end in ("", "_low", "_high")]
            reached = np.isfinite(half[0])
            ends = [float(one[f"sigma_window_{end}"]) for end in ("min", "max")]
            distance, onset = float(one["half_distance"]), float(one["sigma_midpoint"])
            rows.append(
                [
                    *_piece(row),
                    str(question),
                    f"{half[0]:.3g} ({half[1]:.3g} … {half[2]:.3g})" if reached else "not reached",
                    _number(float(one["sigma_half_cross"])),
                    f"{float(one['sigma_peak']):.3g}",
                    f"{ends[0]:.3g} … {ends[1]:.3g}",
                    f"{float(one['sigma_var']):.3g}",
                    f"{distance:.3g}" if np.isfinite(distance) else "",
                    f"{onset:.3g}" if np.isfinite(onset) else "",
                    _closure(one),
                ]
            )
    return TableBlock("Where each question is decided, noise in data units", head, rows)


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "not reached"


def _closure(one: xr.Dataset) -> str:
    if _guided(one):
        return "not under guidance"
    return f"{float(one['rate_closure']):.3g}" + ("" if bool(one["closed"]) else " (flagged)")


def _prices(ds: xr.Dataset, done: list[int]) -> TableBlock:
    head = ["source", "piece", "schedule", "cost c₂ (interval)", "of the flow that is run"]
    head += ["at constant speed", "of one data point", "moment bound"]
    head += ["entropy production forward", "relation", "slack"]
    rows = []
    for i in done:
        row = ds.isel(shard=i)
        for k, schedule in enumerate(row["schedule"].to_numpy()):
            if not str(schedule):
                continue
            one = row.isel(schedule_rank=k)
            names = ("c2_flow", "c2_retimed", "c2_conditional", "w2_lower")
            ends = f"({float(one['c2_low']):.4g} … {float(one['c2_high']):.4g})"
            cells = [*_piece(row), str(schedule), f"{float(one['c2']):.4g} {ends}"]
            cells += [f"{float(one[n]):.4g}" for n in names]
            slack = float(one["bound_slack"])
            cells += [
                f"{float(one['ep_forward']):.3g} nat",
                str(one["bound"].item()) or "not asked",
            ]
            rows.append([*cells, f"{slack:.3g}" if np.isfinite(slack) else ""])
    caption = "Price of schedules from one set of curves, data units squared per time"
    return TableBlock(caption, head, rows)


def _starts(ds: xr.Dataset, done: list[int]) -> TableBlock:
    head = ["source", "piece", "wrong start", "χ² distance", "W₁ of the start"]
    head += ["W₁ of samples, at least", "at most (coupled)", "η, at least", "at most"]
    rows = []
    for i in done:
        row = ds.isel(shard=i)
        for k, start in enumerate(row["start"].to_numpy()):
            if not str(start):
                continue
            one = row.isel(start_rank=k)
            names = ("chi_squared", "w1_start", "w1_lower", "w1_upper", "eta_low", "eta_high")
            values = [f"{float(one[n]):.3g}" for n in names]
            rows.append([*_piece(row), str(start), *values])
    return TableBlock("What a wrong start of the sampler does", head, rows)


def _single(ds: xr.Dataset, done: list[int]) -> TableBlock:
    """List the marks that belong to the data as a whole, and how the piece was computed."""
    head = ["source", "piece", "√Λ of the data", "√Λ between classes", "mean unstable below σ"]
    head += ["states evaluated", "precision", "rms error of D/σ", "device"]
    rows = []
    for i in done:
        row = ds.isel(shard=i)
        names = ("sigma_spectral", "sigma_spectral_between", "sigma_instability")
        marks = [_ranged(row, name) for name in names]
        error = float(row["precision_rms"])
        rows.append(
            [
                *_piece(row),
                *marks,
                f"{int(row['n_rows']):,}",
                str(row["precision"].item()),
                f"{error:.1e}" if np.isfinite(error) else "",
                str(row["device"].item()),
            ]
        )
    return TableBlock("Marks of the data, and how it was computed", head, rows)


def _ranged(row: xr.Dataset, name: str) -> str:
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return f"{value:.3g} ({low:.3g} … {high:.3g})" if np.isfinite(value) else ""
