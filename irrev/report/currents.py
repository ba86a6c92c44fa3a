"""Section of entropy production learned from currents: values, time, trajectories, forces."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from irrev import plots
from irrev import plots_currents as own
from irrev.citations import cite
from irrev.report.page import Picture, Section, TableBlock, picture
from irrev.verdicts import verdict

DETAILED = 4  # sources with figures of their own; all are in the table

MEANING = (
    "Each value is the current of a learned force, measured on trajectories that the force was "
    "not fitted to; the certified value is in expectation a lower bound of the entropy production "
    "visible in these coordinates at this frame rate. Intervals resample whole trajectories or, "
    "for tracks of one film, common blocks of time, whichever is wider. A current of tracks of "
    "one film counts only if it survives in each track's own frame: a flow of the medium carries "
    "all particles and is not their entropy production. Not significant means that no current was "
    "seen in this family of forces, not that the system is at equilibrium."
)


def currents(ds: xr.Dataset, extras: Mapping[str, xr.Dataset]) -> Section:
    """Entropy production of trajectories."""
    done = [i for i, s in enumerate(ds["status"].to_numpy()) if s == "done"]
    pictures: list[Picture] = []
    if done:
        pictures.append(
            picture(
                _by_source(ds),
                alt="Entropy production rate with interval. "
                + "; ".join(f"{_name(ds, i)}: {_words(ds, i)}" for i in done[:6]),
                caption="Held-out entropy production rate with its interval. Filled: significant "
                "at the run's false-discovery rate.",
            )
        )
    for i in done[:DETAILED]:
        pictures += _figures(ds.isel(shard=i), _name(ds, i))
    return Section(
        title="Entropy production of trajectories",
        verdicts=[f"{_name(ds, i)}: {_words(ds, i)}" for i in range(ds.sizes["shard"])],
        statement=MEANING,
        pictures=pictures,
        tables=[_table(ds), _diagnostics(ds, done), _notes(ds, done)],
        references=cite("currents"),
    )


def _by_source(ds: xr.Dataset) -> Axes:
    ax = plots.ep_by_shard(ds)
    ax.set_xlabel("held-out EP rate (nat/s)")
    return ax


def _name(ds: xr.Dataset, i: int) -> str:
    return f"{ds['source'].to_numpy()[i]}, {ds['condition'].to_numpy()[i]}"


def _words(ds: xr.Dataset, i: int) -> str:
    row = ds.isel(shard=i)
    if str(row["status"].item()) != "done":
        return f"{verdict(ds, i)} ({row['error'].item()})"
    return f"{_interval(row, 'ep_rate')} nat/s, {verdict(ds, i)}"


def _interval(row: xr.Dataset, name: str) -> str:
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return f"{value:.3g} ({low:.3g} … {high:.3g})"


def _figures(row: xr.Dataset, name: str) -> list[Picture]:
    found = bool(row["significant"])
    return [
        picture(
            own.ep_against_time(row),
            alt=f"Entropy production rate in slices of time, {name}.",
            caption=f"{name}: held-out rate in slices of time with the error of its noise; the "
            "band is the interval of the whole record.",
        ),
        picture(
            own.path_histogram(row),
            alt=f"Histogram of the entropy production of single trajectories, {name}.",
            caption=f"{name}: entropy production of single trajectories. {_theorem(row)}",
        ),
        picture(
            own.force_field(row),
            alt=f"Learned thermodynamic force, {name}.",
            caption=f"{name}: learned force, mean of the folds, in the middle of the record."
            + ("" if found else " The current is not significant: what is drawn is noise."),
        ),
    ]


def _theorem(row: xr.Dataset) -> str:
    if not np.isfinite(float(row["ift"])):
        return "The mean of exp(-EP) is carried by rare trajectories here and says nothing."
    value, error = float(row["ift"]), float(row["ift_error"])
    return f"Mean of exp(-EP): {value:.3f} ± {error:.3f}, 1 by the fluctuation theorem (dashed)."


def _table(ds: xr.Dataset) -> TableBlock:
    level = 100 * float(ds.attrs.get("level", 0.95))
    head = ["source", "condition", "tracks", "steps", f"EP, nat/s ({level:g} % interval)"]
    head += ["certified", "second order in dt", "without drift removal", "training", "resampled"]
    head += ["p", "q", "verdict"]
    rows = []
    for i in range(ds.sizes["shard"]):
        row = ds.isel(shard=i)
        cells = [str(row["source"].item()), str(row["condition"].item())]
        if str(row["status"].item()) == "done":
            cells += [f"{int(row['n_trajectories']):,}", f"{int(row['n_steps']):,}"]
            cells.append(_interval(row, "ep_rate"))
            names = ("ep_certified", "ep_second_order", "ep_raw", "ep_train")
            cells += [f"{float(row[n]):.3g}" for n in names]
            cells += [str(row["unit"].item()), f"{float(row['p']):.3g}", f"{float(row['q']):.3g}"]
            cells.append(verdict(ds, i))
        else:
            cells += [""] * 10 + [f"{verdict(ds, i)}: {row['error'].item()}"]
        rows.append(cells)
    return TableBlock("Results by source and condition", head, rows)


def _diagnostics(ds: xr.Dataset, done: list[int]) -> TableBlock:
    head = ["source", "condition", "diffusion", "from", "noise s²/(D dt)", "spread ratio"]
    head += ["increment covariance, lags 0 to 4", "p by track", "p by time", "p in own frame"]
    rows = []
    for i in done:
        row = ds.isel(shard=i)
        rows.append(
            [
                str(row["source"].item()),
                str(row["condition"].item()),
                f"{float(row['diffusion_trace']):.3g}",
                str(row["diffusion_rule"].item()),
                *(f"{float(row[n]):.3g}" for n in ("noise_ratio", "spread_ratio")),
                ", ".join(f"{v:.2g}" for v in row["increment_cov"].to_numpy()[:5]),
                *(_p(row, n) for n in ("p_track", "p_time", "p_own_frame")),
            ]
        )
    return TableBlock("What the increments say", head, rows)


def _notes(ds: xr.Dataset, done: list[int]) -> TableBlock:
    rows = [
        [str(ds[n].to_numpy()[i]) for n in ("source", "condition")] + [note]
        for i in done
        for note in str(ds["notes"].to_numpy()[i]).split("; ")
        if note
    ]
    return TableBlock("What to be wary of", ["source", "condition", "note"], rows)


def _p(row: xr.Dataset, name: str) -> str:
    value = float(row[name])
    return f"{value:.3g}" if np.isfinite(value) else ""
