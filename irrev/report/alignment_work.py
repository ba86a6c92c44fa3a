"""Section of alignment work: reduction of S and rates of tuned models against base models."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from irrev import plots_alignment as plots
from irrev.citations import cite
from irrev.report.page import Section, TableBlock, picture

MEANING = (
    "R = 1 - S_tuned / S_base is how much less mixed the behaviour of a tuned model is than that "
    "of its base model under the same stress. Less mixed is not better: read it beside the "
    "intended share. gamma_eff is the rate of resets to the intended class in a model of hops; "
    "where the fit of that model is rejected, the slope, the growth of S that the tuned model "
    "lacks, is what can be quoted. Bins are matched by number, which is a match in time only "
    "where both models were logged at one pace."
)


def alignment_work(ds: xr.Dataset, extras: Mapping[str, xr.Dataset]) -> Section:
    """Tuned models beside their base models."""
    pictures = []
    if np.isfinite(ds["reduction"].to_numpy()).any():
        pictures.append(
            picture(
                plots.reductions(ds),
                alt="Reduction of S of each tuned model; the values are in the table.",
                caption="Reduction of S against the base model, with intervals over transcripts. "
                "Dashed: none.",
            )
        )
    return Section(
        title="Alignment work",
        verdicts=[_words(ds.isel(pair=i)) for i in range(ds.sizes["pair"])],
        statement=MEANING,
        pictures=pictures,
        tables=[_table(ds)],
        references=cite("ethical_entropy"),
    )


def _words(row: xr.Dataset) -> str:
    name = f"{row['tuned'].item()} against {row['base'].item()}, {row['stress'].item()}"
    if not np.isfinite(float(row["reduction"])):
        return f"{name}: {row['reason'].item()}"
    return f"{name}: S reduced by {_interval(row, 'reduction')}"


def _interval(row: xr.Dataset, name: str, unit: str = "") -> str:
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    if not np.isfinite(value):
        return ""
    return f"{value:.3g} ({low:.3g} … {high:.3g}) {unit}".rstrip()


def _table(ds: xr.Dataset) -> TableBlock:
    level = 100 * float(ds.attrs.get("level", 0.95))
    head = ["file", "stress", "tuned", "base", "bins", f"reduction of S ({level:g} % interval)"]
    head += ["gamma_eff", "p of the fit", "slope, nat", "relaxation (descriptive)", "note"]
    rows = []
    for i in range(ds.sizes["pair"]):
        row = ds.isel(pair=i)
        unit = str(row["rate_unit"].item()).removesuffix("-1")
        cells = [str(row[n].item()) for n in ("source", "stress", "tuned", "base")]
        cells += [f"{int(row['n_matched'])}", _interval(row, "reduction")]
        cells += [_interval(row, "gamma_eff", f"per {unit}"), _number(row, "fit_p")]
        cells += [_interval(row, "slope", f"per {unit}"), _number(row, "kappa_difference")]
        rows.append([*cells, str(row["reason"].item())])
    return TableBlock("Tuned models against their base models", head, rows)


def _number(row: xr.Dataset, name: str) -> str:
    value = float(row[name])
    return f"{value:.3g}" if np.isfinite(value) else ""
