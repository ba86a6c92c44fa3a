"""Section of the cross-spectral witness: matrices, spectra, p-values, network, warnings."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from irrev import plots_witness as plots
from irrev.citations import cite
from irrev.report.page import Picture, Section, TableBlock, picture
from irrev.verdicts import verdict

DETAILED = 4  # recordings with figures of their own; all are in the table
TOP_PAIRS = 8  # pairs of a recording in the table

MEANING = (
    "A pair counts as driven if its witness W is significant: the two channels are statistically "
    "dependent. That shows a shared hidden drive only if they have no direct link, do not act "
    "back on the drive, and share no reference electrode or line noise; it is no entropy "
    "production by itself. sigma above zero shows that a pair distinguishes past from future, if "
    "its channels are sampled at the same instants through equal filters; sigma of zero does not "
    "mean equilibrium. Rates are contributions of second-order statistics: for non-Gaussian data "
    "they indicate and do not bound."
)
ONE_WAY = (
    " The assumption one_way_ou was switched on: entropy-production figures hold only if a hidden "
    "Ornstein-Uhlenbeck drive acts on the channels and does not feel them."
)


def witness(ds: xr.Dataset, extras: Mapping[str, xr.Dataset]) -> Section:
    """Witness and irreversibility of multichannel records."""
    done = [i for i, s in enumerate(ds["status"].to_numpy()) if s == "done"]
    pictures: list[Picture] = []
    tables = [_table(ds)]
    for i in done[:DETAILED]:
        pairs = extras.get(str(ds["shard"].to_numpy()[i]))
        if pairs is not None and pairs.sizes["pair"]:
            pictures += _figures(pairs, _name(ds, i))
            tables.append(_pairs(pairs, _name(ds, i)))
    assumed = any(str(ds["assumption"].to_numpy()[i]) == "one_way_ou" for i in done)
    return Section(
        title="Witness of hidden drive in time series",
        verdicts=[f"{_name(ds, i)}: {_words(ds, i)}" for i in range(ds.sizes["shard"])],
        statement=MEANING + (ONE_WAY if assumed else ""),
        pictures=pictures,
        tables=tables,
        references=cite("witness"),
    )


def _name(ds: xr.Dataset, i: int) -> str:
    return f"{ds['source'].to_numpy()[i]}, {ds['condition'].to_numpy()[i]}"


def _words(ds: xr.Dataset, i: int) -> str:
    row = ds.isel(shard=i)
    if str(row["status"].item()) != "done":
        return f"{verdict(ds, i)} ({row['error'].item()})"
    found = (
        f"{int(row['n_dependent'])} of {int(row['n_pairs'])} pairs driven, "
        f"{int(row['n_irreversible'])} irreversible"
    )
    return f"{found}; irreversibility of the set {_rate(row)}, {verdict(ds, i)}"


def _rate(row: xr.Dataset) -> str:
    value, low, high = (float(row[f"sigma_rate{end}"]) for end in ("", "_low", "_high"))
    if not np.isfinite(value):
        return f"not defined ({row['set_status'].item()})"
    return f"{value:.3g} ({low:.3g} … {high:.3g}) nat/s"


def _figures(pairs: xr.Dataset, name: str) -> list[Picture]:
    n, driven = pairs.sizes["pair"], int(pairs["reject"].sum())
    found = [
        picture(
            plots.pair_matrix(pairs, name=quantity),
            alt=f"Matrix of {quantity} over {pairs.sizes['channel']} channels, {name}.",
            caption=f"{name}: {quantity} of every pair, nat per sample; values below zero, which "
            "mean nothing found, are drawn as zero. White dots: significant at the chosen rate.",
        )
        for quantity in ("W", "sigma")
    ]
    if "coh2" in pairs:
        found.append(
            picture(
                plots.coherence_spectra(pairs),
                alt=f"Coherence spectra of the strongest pairs, {name}.",
                caption=f"{name}: squared coherence of the pairs of largest W.",
            )
        )
    found.append(
        picture(
            plots.p_histogram(pairs),
            alt=f"Histogram of the p-values of {n} pairs, {name}.",
            caption=f"{name}: p-values of all pairs; without effect they are flat (grey line).",
        )
    )
    found.append(
        picture(
            plots.drive_network(pairs),
            alt=f"Network of {driven} driven pairs of {pairs.sizes['channel']} channels, {name}.",
            caption=f"{name}: pairs whose witness passes the false-discovery rate. Width: W. "
            "Solid orange: also irreversible; dashed blue: not.",
        )
    )
    return found


def _table(ds: xr.Dataset) -> TableBlock:
    level = 100 * float(ds.attrs.get("level", 0.95))
    head = ["source", "condition", "channels", "samples", "driven", "irreversible"]
    head += [f"irreversibility of the set ({level:g} % interval)", "p", "q", "verdict", "notes"]
    rows = []
    for i in range(ds.sizes["shard"]):
        row = ds.isel(shard=i)
        cells = [str(row["source"].item()), str(row["condition"].item())]
        if str(row["status"].item()) == "done":
            n = int(row["n_pairs"])
            cells += [f"{int(row['n_channels'])}", f"{int(row['n_samples']):,}"]
            cells += [f"{int(row[k])} of {n}" for k in ("n_dependent", "n_irreversible")]
            cells += [_rate(row), f"{float(row['p']):.3g}", f"{float(row['q']):.3g}"]
            cells += [verdict(ds, i), _notes(row)]
        else:
            cells += [""] * 7 + [verdict(ds, i), str(row["error"].item())]
        rows.append(cells)
    return TableBlock("Results by source and condition", head, rows)


def _notes(row: xr.Dataset) -> str:
    notes = [str(row["notes"].item()).replace("_", " ")]
    if int(row["n_dropped"]):
        notes.append(f"{int(row['n_dropped'])} segments left out")
    if int(row["n_missing"]):
        notes.append(f"{int(row['n_missing'])} samples with missing values")
    return "; ".join(n for n in notes if n)


def _pairs(pairs: xr.Dataset, name: str) -> TableBlock:
    head = ["pair", "W", "W_irr / W", "sigma", "q", "q (irreversible)", "warnings"]
    fitted = "epr_bound" in pairs
    head += ["EP bound, nat/s", "EP fitted, nat/s"] if fitted else []
    order = np.argsort(-np.where(np.isnan(pairs["W"]), -np.inf, pairs["W"]), kind="stable")
    rows = []
    for k in order[:TOP_PAIRS]:
        row = pairs.isel(pair=int(k))
        cells = [
            str(row["pair"].item()).replace("|", " – "),
            f"{float(row['W']):.3g} ± {float(row['W_se']):.1g}",
            f"{float(row['irr_fraction']):.2f}" if bool(row["reject"]) else "",
            f"{float(row['sigma']):.3g} ± {float(row['sigma_se']):.1g}",
            f"{float(row['q']):.2g}",
            f"{float(row['q_irr']):.2g}",
            str(row["status"].item()).replace("_", " ").replace(";", ", "),
        ]
        if fitted:
            cells += [_fitted(row, "epr_bound", None), _fitted(row, "epr_fit", "epr_fit_se")]
        rows.append(cells)
    return TableBlock(f"{name}: pairs of largest W (nat per sample ± standard error)", head, rows)


def _fitted(row: xr.Dataset, name: str, error: str | None) -> str:
    if not np.isfinite(float(row[name])):
        return "not identifiable"
    spread = f" ± {float(row[error]):.1g}" if error else ""
    return f"{float(row[name]):.3g}{spread}"
