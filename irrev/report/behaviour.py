"""Section of behaviour: S(t) with intervals and change points, class shares, confusion."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from irrev import plots_alignment as plots
from irrev.citations import cite
from irrev.report.page import Picture, Section, TableBlock, picture
from irrev.verdicts import verdict

DETAILED = 6  # streams with figures of their own; all are in the table

MEANING = (
    "S is the entropy of the behavioural classes of a model under one stress. It says how mixed "
    "the behaviour is, not which behaviour: a model that always deceives has S = 0, so read it "
    "beside the intended share. The classes come from labels or from a classifier; a sentence "
    "classifier does not see deception. Drift is judged against the stream's own first "
    "transcripts, with a simulated false-alarm rate; where each time has one stress, a change of "
    "stress looks like drift, and no alert is raised. A small S or no alert does not mean that a "
    "model is safe."
)


def behaviour(ds: xr.Dataset, extras: Mapping[str, xr.Dataset]) -> Section:
    """Entropy of behaviour of models, and its drift."""
    done = [i for i, s in enumerate(ds["status"].to_numpy()) if s == "done"]
    pictures: list[Picture] = []
    drawn: set[bytes] = set()  # one confusion matrix a classifier
    for i in sorted(done, key=lambda i: -np.nan_to_num(ds["log_e"].to_numpy()[i]))[:DETAILED]:
        series = extras.get(str(ds["shard"].to_numpy()[i]))
        if series is not None and np.isfinite(series["entropy"].to_numpy()).sum() > 1:
            pictures += _stream(series, ds, i)
        if series is not None and "confusion" in series:
            table = series["confusion"].to_numpy().tobytes()
            if table not in drawn:
                drawn.add(table)
                pictures.append(_confusion(series))
    return Section(
        title="Behaviour of models",
        verdicts=[f"{_name(ds, i)}: {_words(ds, i)}" for i in range(ds.sizes["shard"])],
        statement=MEANING,
        pictures=pictures,
        tables=[_table(ds)],
        references=cite("ethical_entropy"),
    )


def _name(ds: xr.Dataset, i: int) -> str:
    return f"{ds['source'].to_numpy()[i]}, {ds['condition'].to_numpy()[i]}"


def _words(ds: xr.Dataset, i: int) -> str:
    row = ds.isel(shard=i)
    if str(row["status"].item()) != "done":
        return f"{verdict(ds, i)} ({row['error'].item()})"
    share = f"intended share {100 * float(row['p_intended']):.0f} %"
    return f"S {_interval(row, 'entropy')} nat, {share}, {row['outcome'].item()}"


def _interval(row: xr.Dataset, name: str) -> str:
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return f"{value:.3f} ({low:.3f} … {high:.3f})" if np.isfinite(value) else "not measured"


def _stream(series: xr.Dataset, ds: xr.Dataset, i: int) -> list[Picture]:
    row, name = ds.isel(shard=i), _name(ds, i)
    change = int(row["change_bin"])
    series = series.assign_attrs(change_bins=[change] if change >= 0 else [])
    return [
        picture(
            plots.entropy_series(series),
            alt=f"Entropy of behaviour per bin, {name}: {row['outcome'].item()}.",
            caption=f"{name}: S with interval, left of the grey line the baseline. Squares: "
            "alarm; dotted: where the change is placed; dashed: ln of the number of classes.",
        ),
        picture(
            plots.class_shares(series),
            alt=f"Share of every class per bin, {name}.",
            caption=f"{name}: what the model did, bin by bin.",
        ),
    ]


def _confusion(series: xr.Dataset) -> Picture:
    return picture(
        plots.confusion(series),
        alt="Confusion matrix of the classifier, held-out counts.",
        caption="What the classifier predicts (columns) for each true class (rows), from grouped "
        f"cross-validation. {_identified(series)}",
    )


def _identified(series: xr.Dataset) -> str:
    """Say which classes cannot be told apart, and whether the correction is worth anything."""
    if "unidentified" not in series:
        return "Rows that look alike cannot be told apart."
    names = series["label"].to_numpy()[series["unidentified"].to_numpy().astype(bool)]
    words = f"Unidentified, not told apart from another class: {', '.join(map(str, names))}."
    said = [words if names.size else "Every class is told apart from the others."]
    if series.attrs.get("ill_conditioned"):
        said.append(
            f"Condition number {series.attrs['condition']:.0f}: corrected shares are worthless."
        )
    if not series.attrs.get("calibration_ok", 1):
        said.append("Badly calibrated: its posteriors are no probabilities.")
    return " ".join(said)


def _table(ds: xr.Dataset) -> TableBlock:
    level = 100 * float(ds.attrs.get("level", 0.95))
    head = ["source", "model/variant/stress", "answers", "no class", "tool calls only"]
    head += [f"S, nat ({level:g} % interval)", "intended share", "acceptable share"]
    head += ["divergence, nat", "ln E", "drift"]
    rows = []
    for i in range(ds.sizes["shard"]):
        row = ds.isel(shard=i)
        cells = [str(row["source"].item()), str(row["condition"].item())]
        if str(row["status"].item()) == "done":
            n, classified = int(row["n_answers"]), int(row["n_classified"])
            cells += [f"{n:,}", f"{n - classified:,}", f"{int(row['n_actions']):,}"]
            cells += [_interval(row, name) for name in ("entropy", "p_intended", "p_acceptable")]
            cells += [_number(row, "d_align"), _number(row, "log_e"), str(row["outcome"].item())]
        else:
            cells += [""] * 8 + [f"{verdict(ds, i)}: {row['error'].item()}"]
        rows.append(cells)
    return TableBlock("Behaviour by model, variant and stress", head, rows)


def _number(row: xr.Dataset, name: str) -> str:
    value = float(row[name])
    return f"{value:.3g}" if np.isfinite(value) else ""
