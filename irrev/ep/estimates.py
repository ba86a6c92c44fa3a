"""Further estimates of one recording as rows of one table (kind `spikes/estimates`).

Every row is a held-out bound of the same recording by another question: other bin widths, nested
orders of interaction, longer memory, pairs of areas, other methods. Rows of one `family` belong in
one figure.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import nan

import numpy as np
import xarray as xr

from irrev.binning import SpikeBins
from irrev.ep.hierarchy import HierarchyEp
from irrev.ep.plugin import MAX_UNITS, plugin_ep
from irrev.ep.result import MaxEntEp


@dataclass(frozen=True, slots=True)
class Estimate:
    """One row; values in nats per step, NaN where a method has none."""

    family: str  # sweep, orders, memory, areas, methods
    label: str
    bin_s: float
    spikes_per_step: float
    value: float
    low: float = nan
    high: float = nan
    p: float = nan
    added: float = nan  # to the level before, of nested families
    added_low: float = nan
    added_high: float = nan
    n_observables: int = 0
    held_out: bool = True  # False: biased upwards
    note: str = ""  # why there is no value


def estimates_table(rows: Sequence[Estimate]) -> xr.Dataset:
    """Return a Dataset of kind `spikes/estimates`, with values per step, second and spike."""
    columns = {name: [asdict(r)[name] for r in rows] for name in Estimate.__dataclass_fields__}
    width = np.array(columns["bin_s"], np.float64)
    spikes = np.array(columns["spikes_per_step"], np.float64)
    out: dict[str, tuple[str, np.ndarray]] = {}
    for name in ("family", "label", "note"):
        out[name] = ("estimate", np.array(columns[name], object))
    for name in ("bin_s", "spikes_per_step", "p", "added", "added_low", "added_high"):
        out[name] = ("estimate", np.array(columns[name], np.float64))
    for end in ("", "_low", "_high"):
        value = np.array(columns[end[1:] or "value"], np.float64)
        out[f"ep_per_step{end}"] = ("estimate", value)
        out[f"ep_rate{end}"] = ("estimate", value / width)
        with np.errstate(divide="ignore", invalid="ignore"):
            out[f"ep_per_spike{end}"] = ("estimate", value / spikes)
    out["n_observables"] = ("estimate", np.array(columns["n_observables"], np.int64))
    out["held_out"] = ("estimate", np.array(columns["held_out"], bool))
    return xr.Dataset(out)


def without_value(name: str, reason: str, bins: SpikeBins) -> xr.Dataset:
    """Return the table of a question that a recording cannot answer (`irrev.ep.further`)."""
    family = name.partition(" ")[0]
    scale = (bins.bin_s, spikes_per_step(bins))
    return estimates_table([Estimate(family, family, *scale, value=nan, note=reason)])


def of_maxent(ep: MaxEntEp, family: str, label: str) -> Estimate:
    """Return the row of a MaxEnt estimate."""
    return Estimate(
        family=family,
        label=label,
        bin_s=ep.bin_s,
        spikes_per_step=ep.spikes_per_step,
        value=ep.value,
        low=ep.low,
        high=ep.high,
        p=ep.p,
        n_observables=sum(c.size for c in ep.coefficients.values()),
    )


def of_hierarchy(
    ep: HierarchyEp, family: str, bin_s: float, spikes_per_step: float
) -> list[Estimate]:
    """Return one row a level; the first level adds its own value."""
    return [
        Estimate(
            family=family,
            label=name,
            bin_s=bin_s,
            spikes_per_step=spikes_per_step,
            value=float(ep.value[k]),
            low=float(ep.low[k]),
            high=float(ep.high[k]),
            added=float(ep.added[k]),
            added_low=float(ep.added_low[k]),
            added_high=float(ep.added_high[k]),
            n_observables=int(ep.n_observables[k]),
        )
        for k, name in enumerate(ep.names)
    ]


def of_methods(ep: MaxEntEp, bins: SpikeBins) -> list[Estimate]:
    """Return MaxEnt beside the one-step bounds on the same test parts, and counting if it can."""
    rows = [of_maxent(ep, "methods", f"MaxEnt {'+'.join(ep.observables)}")]
    common = {"family": "methods", "bin_s": ep.bin_s, "spikes_per_step": ep.spikes_per_step}
    rows.append(Estimate(label="one Newton step", value=ep.newton1, **common))
    rows.append(Estimate(label="uncertainty relation", value=ep.tur, **common))
    if bins.n_units <= MAX_UNITS:
        starts = np.concatenate([np.arange(a, max(b - 1, a)) for a, b in bins.segments])
        counted = plugin_ep(bins.to_dense().astype(np.int8), starts=starts)
        rows.append(Estimate(label="counting", value=counted, held_out=False, **common))
    return rows


def spikes_per_step(bins: SpikeBins) -> float:
    """Return the mean number of active units per bin."""
    return bins.indices.size / max(bins.n_bins, 1)
