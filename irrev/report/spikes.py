"""Figures and tables of spike-train and spin studies for the page."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from irrev import plots_spikes as plots
from irrev.citations import cite
from irrev.report.page import Picture, Section, TableBlock, part_key, picture
from irrev.verdicts import verdict

Extras = Mapping[str, xr.Dataset]
DETAILED = 6  # recordings, or systems, with figures of their own
LISTED = 100  # recordings whose further estimates are in the table
CAPTIONS = {
    "sweep": "by bin width: narrow bins miss coincidences, wide ones lose spikes and average",
    "orders": "by order of interaction; each level holds the one before",
    "memory": "by memory: pairs at longer lags added one lag after another, per bin of the window",
    "within": "within areas, then between them as well",
    "distances": "by distance between units, um: near pairs, then those further apart as well",
    "areas": "pairs of areas; each is a bound of the whole, they do not add up",
    "methods": "by method on the same test parts; crosses are biased upwards",
}


def further(ds: xr.Dataset, extras: Extras) -> tuple[list[Picture], list[TableBlock]]:
    """Return figures of the first recordings' further estimates, and a table of them all."""
    pictures, rows = [], []
    done = np.flatnonzero(ds["status"].to_numpy().astype(str) == "done")
    for k, i in enumerate(done[:LISTED]):
        shard = str(ds["shard"].to_numpy()[i])
        name = f"{ds['source'].to_numpy()[i]}, {ds['condition'].to_numpy()[i]}"
        path = extras.get(part_key("trajectory", shard)) if k < DETAILED else None
        if path is not None:
            pictures.append(
                picture(
                    plots.trajectory_ep(path),
                    alt=f"Entropy production of {name} along the recording.",
                    caption=f"{name}: held-out estimate of every bin, averaged.",
                )
            )
        table = extras.get(part_key("estimates", shard))
        if table is None:
            continue
        rows += [_row(name, table.isel(estimate=j)) for j in range(table.sizes["estimate"])]
        families = table["family"].to_numpy().astype(str)
        for family in dict.fromkeys(families) if k < DETAILED else ():
            answered = (families == family) & np.isfinite(table["ep_rate"].to_numpy())
            if answered.any():
                part = table.isel(estimate=np.flatnonzero(answered))
                pictures.append(_family(family, part, name))
    head = ["recording", "question", "estimate", "EP bound, nat/s", "nat per spike", "p", "adds"]
    title = "Further estimates" + (f", first {LISTED} recordings" if done.size > LISTED else "")
    return pictures, [TableBlock(title, head, rows)] if rows else []


def _family(family: str, part: xr.Dataset, name: str) -> Picture:
    ax = plots.sweep(part) if family == "sweep" and part.sizes["estimate"] > 1 else None
    return picture(
        ax or plots.estimates(part),
        alt=f"{name}, {family}: " + "; ".join(_spoken(part, k) for k in range(len(part["label"]))),
        caption=f"{name}, {CAPTIONS.get(family, family)}.",
    )


def _spoken(part: xr.Dataset, k: int) -> str:
    return f"{part['label'].to_numpy()[k]} {float(part['ep_rate'].to_numpy()[k]):.3g} nat/s"


def _row(name: str, row: xr.Dataset) -> list[str]:
    added = ""
    if np.isfinite(float(row["added"])):
        bin_s = float(row["bin_s"])
        values = (float(row[f"added{e}"]) / bin_s for e in ("", "_low", "_high"))
        added = "{:.3g} ({:.3g} … {:.3g})".format(*values)
    p = float(row["p"])
    return [
        name,
        str(row["family"].item()),
        str(row["label"].item()) + ("" if bool(row["held_out"]) else " (biased upwards)"),
        interval(row, "ep_rate") or (str(row["note"].item()) if "note" in row else ""),
        interval(row, "ep_per_spike"),
        f"{p:.3g}" if np.isfinite(p) else "",
        added,
    ]


def interval(row: xr.Dataset, name: str, form: str = ".3g") -> str:
    """Write a value with its interval, where it has one."""
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    if not np.isfinite(value):
        return ""
    ends = f" ({low:{form}} … {high:{form}})" if np.isfinite(low) else ""
    return f"{value:{form}}{ends}"


def longitudinal(ds: xr.Dataset) -> list[Picture]:
    """Return EP per second and per spike against day, where names hold days."""
    series = plots.days(ds)
    if not series:
        return []
    return [
        picture(
            plots.over_days(ds, value=value),
            alt=f"EP bound in {plots.UNITS[value]} against day in vitro: {', '.join(series)}.",
            caption="Cultures over days; filled: significant. Bars: interval of each recording. "
            "Values far below zero, where a few samples decide, are told in words.",
        )
        for value in ("ep_rate", "ep_per_spike")
    ]


# --- subsets ---------------------------------------------------------------------------------


def study(ds: xr.Dataset, extras: Extras) -> Section:
    """Entropy production against population size."""
    del extras
    done = np.flatnonzero(ds["status"].to_numpy().astype(str) == "done")
    pictures, tables = [], []
    if done.size:
        pictures.append(
            picture(
                plots.population_size(ds),
                alt="EP bound per spike against the number of units, by source and condition.",
                caption="Random subsets of active units: mean and standard error over recordings "
                "and draws. Draws of one recording overlap.",
            )
        )
        tables.append(_size_table(ds))
    head = ["source", "condition", "active units", "subsets", "largest", "nat per spike", "p", "q"]
    values, missing = [], []
    for i in range(ds.sizes["shard"]):
        row = ds[[n for n, v in ds.variables.items() if v.dims == ("shard",)]].isel(shard=i)
        name = [str(row["source"].item()), str(row["condition"].item())]
        if i not in done:
            missing.append([*name, verdict(ds, i), str(row["error"].item())])
            continue
        counts = [str(int(row[n])) for n in ("n_candidates", "n_subsets", "size")]
        numbers = [f"{float(row[n]):.3g}" for n in ("p", "q")]
        values.append([*name, *counts, interval(row, "ep_per_spike"), *numbers])
    tables.append(TableBlock("Recordings: mean of the largest subsets, one sd", head, values))
    if missing:
        head = ["source", "condition", "status", "reason"]
        tables.append(TableBlock("Not measured", head, missing))
    return Section(
        title="Entropy production and population size",
        verdicts=[
            f"{ds['source'].to_numpy()[i]}, {ds['condition'].to_numpy()[i]}: "
            f"{verdict(ds, int(i))} in subsets of {int(ds['size'].to_numpy()[i])}"
            for i in done
        ],
        statement="Every point is a held-out bound; a larger subset can show more, and also "
        "loses more of it to sampling noise, since its couplings grow with the square of its "
        "size. A falling curve therefore says nothing about the population.",
        pictures=pictures,
        tables=tables,
        references=cite("maxent"),
    )


def _size_table(ds: xr.Dataset) -> TableBlock:
    rows = []
    for name, shards in plots.study_groups(ds).items():
        means = plots.subset_means(ds.isel(shard=shards))
        for size, mean, sem, n in zip(*means, strict=True):
            rows.append([name, f"{size:.0f}", f"{mean:.4g}", f"{sem:.2g}", str(n)])
    head = ["source, condition", "units", "nat per spike", "s.e.m.", "subsets"]
    return TableBlock("By size", head, rows)


# --- spins -----------------------------------------------------------------------------------


def spins(ds: xr.Dataset, extras: Extras) -> Section:
    """Entropy production of spin models against temperature."""
    status = ds["status"].to_numpy().astype(str) == "done"
    sources = ds["source"].to_numpy().astype(str)
    pictures, verdicts = [], []
    for name in list(dict.fromkeys(sources[status]))[:DETAILED]:
        rows = np.flatnonzero(status & (sources == name))
        part = ds.isel(shard=rows)
        top = int(np.argmax(part["ep_per_attempt"].to_numpy()))
        beta = float(part["beta"].to_numpy()[top])
        exact = float(part["beta"].to_numpy()[int(np.argmax(part["ep_true"].to_numpy()))])
        verdicts.append(f"{name}: largest bound at β = {beta:g}, largest exact value at {exact:g}")
        pictures.append(
            picture(
                plots.ep_against_beta(part),
                alt=f"{name}: exact entropy production and bounds against β; {verdicts[-1]}.",
                caption=f"{name}: held-out bounds and the exact value of the same states.",
            )
        )
        best = int(np.nanargmax(np.append(part["r_squared"].to_numpy(), -np.inf)))
        pairs = extras.get(str(part["shard"].to_numpy()[best])) if best < rows.size else None
        if pairs is not None and pairs.sizes["pair"]:
            score, beta = (float(part[n].to_numpy()[best]) for n in ("r_squared", "beta"))
            pictures.append(
                picture(
                    plots.recovered_couplings(pairs),
                    alt=f"Recovered against true couplings of {name}, R² = {score:.3f}.",
                    caption=f"{name} at β = {beta:g}, where recovery is best: antisymmetric "
                    f"couplings, R² = {score:.3f}.",
                )
            )
    names = ("ep_true", "ep_newton1", "ep_tur", "ep_certified", "r_squared")
    rows = []
    for i in np.argsort(ds["beta"].to_numpy(), kind="stable"):
        row = ds.isel(shard=int(i))
        if not status[i]:
            rows.append([sources[i], str(row["condition"].item()), str(row["error"].item())])
            continue
        numbers = [f"{float(row[n]):.4f}" for n in names]
        bound = interval(row, "ep_per_attempt", ".4f")
        rows.append(
            [sources[i], f"{float(row['beta']):g}", bound, *numbers, f"{int(row['n_units'])}"]
        )
    head = [
        "system",
        "β",
        "bound, nat per attempt",
        "exact",
        "Newton step",
        "uncertainty relation",
    ]
    head += ["certified", "R²", "spins measured"]
    width = len(head)
    rows = [r + [""] * (width - len(r)) for r in sorted(rows, key=lambda r: str(r[0]))]
    return Section(
        title="Entropy production of spin models",
        verdicts=verdicts,
        statement="The exact value comes from the known rates on the same states. Bounds are "
        "held out; the difference is what the couplings could not be learned well enough to show.",
        pictures=pictures,
        tables=[TableBlock("Values", head, rows)],
        references=cite("maxent"),
    )
