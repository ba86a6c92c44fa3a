"""One function per method: figure + table + sentence. `SECTIONS` finds it by schema kind."""

import json
from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from irrev import plots
from irrev.citations import cite
from irrev.report.alignment_work import alignment_work
from irrev.report.behaviour import behaviour
from irrev.report.currents import currents
from irrev.report.diffusion import diffusion
from irrev.report.faithfulness import faithfulness
from irrev.report.page import Picture, Section, TableBlock, picture
from irrev.report.protocols import protocols
from irrev.report.spikes import further, longitudinal, spins, study
from irrev.report.witness import witness
from irrev.verdicts import verdict

Extras = Mapping[str, xr.Dataset]  # per shard, e.g. its coupling map
DETAILED = 8  # shards with figures of their own; all are in the table


def maxent(ds: xr.Dataset, extras: Extras) -> Section:
    """Entropy production of spike trains."""
    done = [i for i, s in enumerate(ds["status"].to_numpy()) if s == "done"]
    pictures = []
    if done:
        pictures.append(
            picture(
                plots.ep_by_shard(ds),
                alt=_spoken(ds, done),
                caption="Held-out lower bound on the entropy-production rate with its interval. "
                "Filled: significant at the run's false-discovery rate. Below zero means that "
                "nothing was found.",
            )
        )
        pictures += longitudinal(ds)
    more, more_tables = further(ds, extras)
    order = sorted(done, key=lambda i: -float(ds["ep_rate"].to_numpy()[i]))
    for i in order[:DETAILED]:
        pictures += _details(ds, i, extras)
    return Section(
        title="Entropy production of spike trains",
        verdicts=[f"{_name(ds, i)}: {_words(ds, i)}" for i in range(ds.sizes["shard"])],
        statement=(
            "Each value is a lower bound, evaluated on data that its parameters never saw. It "
            "says how far the binned, binarised activity is from being reversible in time; it is "
            "entropy production only as far as the segment is stationary, and units that were "
            "not recorded can only add to it. Couplings are statistical: they do not show that "
            "one unit drives another. Not significant does not mean reversible."
        ),
        pictures=pictures + more,
        tables=[
            *_maxent_tables(ds),
            *more_tables,
            *([_pair_table(ds, order)] if order else []),
        ],
        references=cite("maxent"),
    )


def _name(ds: xr.Dataset, i: int) -> str:
    return f"{ds['source'].to_numpy()[i]}, {ds['condition'].to_numpy()[i]}"


def _words(ds: xr.Dataset, i: int) -> str:
    if str(ds["status"].to_numpy()[i]) != "done":
        return f"{verdict(ds, i)} ({ds['error'].to_numpy()[i]})"
    return f"{_interval(ds, i, 'ep_rate')} nat/s, {verdict(ds, i)}"


def _interval(ds: xr.Dataset, i: int, name: str) -> str:
    value, low, high = (float(ds[f"{name}{end}"].to_numpy()[i]) for end in ("", "_low", "_high"))
    return f"{value:.3g} ({low:.3g}\u00a0…\u00a0{high:.3g})"  # breaks only before the bracket


def _spoken(ds: xr.Dataset, rows: list[int]) -> str:
    head = "; ".join(f"{_name(ds, i)}: {_words(ds, i)}" for i in rows[:6])
    rest = f"; and {len(rows) - 6} more in the table" if len(rows) > 6 else ""
    return f"Entropy-production bound with interval. {head}{rest}."


def _details(ds: xr.Dataset, i: int, extras: Extras) -> list[Picture]:
    row, name = ds.isel(shard=i), _name(ds, i)
    found = []
    coupling = extras.get(str(row["shard"].item()))
    if coupling is not None:
        found.append(
            picture(
                plots.coupling_map(coupling),
                alt=f"Directed coupling map of {name}, {coupling.sizes['unit_to']} units by area.",
                caption=f"{name}: antisymmetric couplings, units sorted by area. Red: activity of "
                "the column's unit tends to come before that of the row's unit.",
            )
        )
    found.append(
        picture(
            plots.learning_curve(row),
            alt=f"Training and held-out value against iteration, {name}.",
            caption=f"{name}: the training value keeps rising while the held-out value decides "
            "where to stop (first fold).",
        )
    )
    found.append(
        picture(
            plots.null_histogram(row["null_value"].to_numpy(), float(row["statistic"])),
            alt=f"Null distribution of {name}; p = {float(row['p']):.3g}.",
            caption=f"{name}: the test statistic against the same data with blocks read in "
            f"random directions, p = {float(row['p']):.3g}.",
        )
    )
    return found


def _maxent_tables(ds: xr.Dataset) -> list[TableBlock]:
    """Values and verdicts; what they rest on; what could not be measured, with the reason."""
    level = f"{100 * float(ds.attrs.get('level', 0.95)):g} %"
    values, grounds, missing = [], [], []
    single = ds[[n for n, v in ds.variables.items() if v.dims == ("shard",)]]
    for i in range(ds.sizes["shard"]):
        row = single.isel(shard=i)
        name = [str(row["source"].item()), str(row["condition"].item())]
        if str(row["status"].item()) != "done":
            missing.append([*name, verdict(ds, i), str(row["error"].item())])
            continue
        bin_s = float(row["bin_s"])
        values.append([*name, _interval(ds, i, "ep_rate"), _interval(ds, i, "ep_per_spike")])
        values[-1] += [f"{float(row['p']):.3g}", f"{float(row['q']):.3g}", verdict(ds, i)]
        grounds.append([*name, f"{int(row['n_units'])}", f"{int(row['n_steps']):,}"])
        grounds[-1] += [f"{float(row[n]) / bin_s:.3g}" for n in ("ep_certified", "ep_train")]
        grounds[-1] += [f"{float(row['ess']):,.0f}", _notes(row)]
    head = ["source", "condition", f"EP bound, nat/s ({level} interval)"]
    head += [f"nat per spike ({level} interval)", "p", "q", "verdict"]
    found = [TableBlock("Results by source and condition", head, values)]
    head = ["source", "condition", "units", "bins", "certified, nat/s", "training, nat/s"]
    head += ["effective samples", "notes"]
    found.append(TableBlock("What the results rest on", head, grounds))
    if missing:
        head = ["source", "condition", "status", "reason"]
        found.append(TableBlock("Not measured", head, missing))
    return found


def _notes(row: xr.Dataset) -> str:
    notes = [str(row["notes"].item())] if str(row["notes"].item()) else []
    for rule, count in json.loads(str(row["units_removed"].item()) or "{}").items():
        if count:
            notes.append(f"`{rule}` removed {count} units")
    if float(row["lost"]) > 0.01:
        notes.append(f"{100 * float(row['lost']):.1f} % of spikes share a bin with another")
    if abs(float(row["drift"])) > 0.2:
        notes.append(f"firing rate drifts by {100 * float(row['drift']):+.0f} %")
    return "; ".join(notes)


def _pair_table(ds: xr.Dataset, order: list[int]) -> TableBlock:
    rows = []
    for i in order[:DETAILED]:
        row = ds.isel(shard=i)
        for rank in range(min(5, row.sizes["rank"])):
            pair = row.isel(rank=rank)
            if not str(pair["pair_from"].item()) or not np.isfinite(float(pair["pair_theta"])):
                continue
            ends = [
                f"{pair[f'pair_{end}'].item()} {pair[f'pair_{end}_area'].item()}".strip()
                for end in ("from", "to")
            ]
            rows.append(
                [
                    _name(ds, i),
                    f"{ends[0]} → {ends[1]}",
                    f"{float(pair['pair_theta']):.3f}",
                    f"{float(pair['pair_share']):.2g}",
                ]
            )
    head = ["recording", "earlier → later unit", "coupling", "coupling × mean, nat per bin"]
    return TableBlock("Strongest directed pairs (a pair's share is not unique)", head, rows)


SECTIONS: dict[str, Callable[[xr.Dataset, Extras], Section]] = {
    "diffusion/class_entropy": diffusion,
    "protocols/response": protocols,
    "spikes/maxent": maxent,
    "spins/multipartite": spins,
    "study/subsets": study,
    "timeseries/witness": witness,
    "trajectories/currents": currents,
    "transcripts/ethical_entropy": behaviour,
    "transcripts/alignment_work": alignment_work,
    "triplets/faithfulness": faithfulness,
}
