"""Section of learned protocols: fronts of work against error, jumps, learning curves, checks."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from irrev import plots_protocols as plots
from irrev.citations import cite
from irrev.report.page import Picture, Section, TableBlock, picture

DETAILED = 3  # protocols drawn for each source, spread over its sweep; all are in the table
SPOKEN = 12  # points with a sentence of their own at the top of the page

MEANING = (
    "Each price is the mean over fresh trajectories that no protocol was learned on. A learned "
    "protocol is good, not proven to be the best: compare it with the bound, which grants full "
    "control of the energy, and where the task is solved with the optimum of the same discrete "
    "chain, priced without sampling noise. Work below a bound by less than one percent is the "
    "error of the time step, not physics. Energies and times are in each system's own units, "
    "kT = 1 unless it says otherwise."
)


def protocols(ds: xr.Dataset, extras: Mapping[str, xr.Dataset]) -> Section:
    """Protocols that drive a system at the least work."""
    done = ds.isel(shard=np.flatnonzero(ds["status"].to_numpy().astype(str) == "done"))
    pictures: list[Picture] = []
    for source in dict.fromkeys(map(str, done["source"].to_numpy())):
        mine = done.isel(shard=np.flatnonzero(done["source"].to_numpy().astype(str) == source))
        pictures.append(_sweep(mine, source))
        for i in _spread(mine.sizes["shard"]):
            pictures += _protocol(mine.isel(shard=i), extras)
    return Section(
        title="Protocols at the least work",
        verdicts=_verdicts(ds),
        statement=MEANING,
        pictures=pictures,
        tables=[_prices(ds), _solved(done), _checks(done)],
        references=cite("protocols", "trap_optima", "erasure"),
    )


def _verdicts(ds: xr.Dataset) -> list[str]:
    """Say a sentence a point, or for a large sweep one a source."""
    n = ds.sizes["shard"]
    if n <= SPOKEN:
        return [f"{_name(ds, i)}: {_words(ds, i)}" for i in range(n)]
    lines = []
    for source in dict.fromkeys(map(str, ds["source"].to_numpy())):
        mine = ds.isel(shard=np.flatnonzero(ds["source"].to_numpy().astype(str) == source))
        good = mine.isel(shard=np.flatnonzero(mine["status"].to_numpy().astype(str) == "done"))
        line = f"{source}: {good.sizes['shard']} of {mine.sizes['shard']} protocols learned"
        if good.sizes["shard"]:
            ends = [f"{float(f(good['work'])):.4g}" for f in (np.min, np.max)]
            ratios = [f"{float(f(good['over_bound'])):.3g}" for f in (np.nanmin, np.nanmax)]
            line += f", work {' to '.join(ends)}, {' to '.join(ratios)} times its bound"
        lines.append(line)
    return lines


def _name(ds: xr.Dataset, i: int) -> str:
    return f"{ds['source'].to_numpy()[i]}, {ds['condition'].to_numpy()[i]}"


def _words(ds: xr.Dataset, i: int) -> str:
    row = ds.isel(shard=i)
    if str(row["status"].item()) != "done":
        return f"{row['status'].item()} ({row['error'].item()})"
    error = f" at error {float(row['task_error']):.3g}" if _weighs(row) else ""
    notes = f"; {row['notes'].item()}" if str(row["notes"].item()) else ""
    return f"work {_interval(row, 'work')}{error}, {row['outcome'].item()}{notes}"


def _weighs(row: xr.Dataset) -> bool:
    """Say whether the task has an error to weigh."""
    return float(row["error_weight"]) > 0


def _interval(row: xr.Dataset, name: str) -> str:
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return f"{value:.4g} ({low:.4g} … {high:.4g})"


def _spread(n: int) -> list[int]:
    """First, middle and last of n."""
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, DETAILED))})


def _sweep(mine: xr.Dataset, source: str) -> Picture:
    if bool((mine["error_weight"].to_numpy() > 0).all()):
        return picture(
            plots.work_against_error(mine),
            alt=f"Mean work against error of the learned protocols, {source}.",
            caption=f"{source}: price of an error. Each point is a learned protocol on fresh "
            "trajectories, with intervals; dashed: least work at that error and duration.",
        )
    return picture(
        plots.work_against_duration(mine),
        alt=f"Mean work against duration of the learned protocols, {source}.",
        caption=f"{source}: price of haste. Dashed: exact least work; dotted: the plain protocol "
        "that learning started from.",
    )


def _protocol(row: xr.Dataset, extras: Mapping[str, xr.Dataset]) -> list[Picture]:
    curves = extras.get(str(row["shard"].item()))
    if curves is None:
        return []
    name = f"{row['source'].item()}, {row['condition'].item()}"
    return [
        picture(
            plots.protocol_curves(curves),
            alt=f"Learned protocol with its jumps, {name}.",
            caption=f"{name}: learned values, held constant on each interval, with the jumps from "
            "the start and to the end. Grey dashes and dots: exact protocols where there are any.",
        ),
        picture(
            plots.learning_curve(curves),
            alt=f"Learning curve, {name}.",
            caption=f"{name}: each iteration on its own fresh trajectories.",
        ),
    ]


def _prices(ds: xr.Dataset) -> TableBlock:
    level = f"{100 * float(ds.attrs.get('level', 0.95)):g} %"
    head = ["source", "point", f"work ({level} interval)", f"error ({level} interval)"]
    head += [
        "bound",
        "work / bound",
        "guess: work",
        "guess: error",
        "heat to the bath",
        "gradient",
    ]
    rows = []
    for i in range(ds.sizes["shard"]):
        row = ds.isel(shard=i)
        cells = [str(row["source"].item()), str(row["condition"].item())]
        if str(row["status"].item()) == "done":
            weighs = _weighs(row)
            cells += [_interval(row, "work"), _interval(row, "task_error") if weighs else ""]
            cells += [_number(row, n) for n in ("bound", "over_bound", "guess_work")]
            cells += [_number(row, "guess_error") if weighs else "", _number(row, "heat")]
            cells.append(str(row["method"].item()))
        else:
            cells += [str(row["error"].item()), *[""] * 7]
        rows.append(cells)
    return TableBlock("Learned protocols, on fresh trajectories", head, rows)


def _solved(done: xr.Dataset) -> TableBlock:
    head = ["source", "point", "exact work", "exact error", "optimum: work", "optimum: error"]
    head += ["loss above the optimum"]
    names = ("exact_work", "exact_error", "best_work", "best_error", "over_best")
    rows = [
        [
            str(row["source"].item()),
            str(row["condition"].item()),
            *(_number(row, n) for n in names),
        ]
        for row in (done.isel(shard=i) for i in range(done.sizes["shard"]))
        if np.isfinite(float(row["best_work"]))
    ]
    return TableBlock("Priced without noise, where the task is solved", head, rows)


def _checks(done: xr.Dataset) -> TableBlock:
    head = ["source", "point", "trajectories", "steps", "dt", "first law, largest residual"]
    head += ["mean of exp(-W/T)", "expected", "variance of the response weight", "note"]
    rows = []
    for i in range(done.sizes["shard"]):
        row = done.isel(shard=i)
        mean, error = float(row["jarzynski"]), float(row["jarzynski_error"])
        rows.append(
            [
                str(row["source"].item()),
                str(row["condition"].item()),
                f"{int(row['n_evaluation']):,}",
                f"{int(row['n_steps']):,}",
                _number(row, "dt"),
                f"{float(row['first_law']):.1e}",
                f"{mean:.4g} ± {error:.2g}",
                _number(row, "jarzynski_expected"),
                _number(row, "weight_variance"),
                str(row["notes"].item()),
            ]
        )
    return TableBlock("Checks of the simulation", head, rows)


def _number(row: xr.Dataset, name: str) -> str:
    value = float(row[name])
    return f"{value:.4g}" if np.isfinite(value) else ""
