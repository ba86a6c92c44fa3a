"""Which further estimates of a recording there are, by name.

sweep 0.005     the same observables at another bin width, s
orders          nested sets in the given order
memory          pairs at lag 1, then at longer lags
within          pairs within areas, then between them
areas           each pair of areas
distances       pairs of near units, then those further apart
methods         MaxEnt, one Newton step, uncertainty relation, counting
neep            a network of antisymmetric output
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.binning import SpikeBins, bin_spikes
from irrev.ep.conditioned import area_ep
from irrev.ep.estimates import (
    Estimate,
    estimates_table,
    of_maxent,
    of_methods,
    spikes_per_step,
)
from irrev.ep.hierarchy import (
    Level,
    area_levels,
    distance_levels,
    hierarchy_sums,
    memory_levels,
)
from irrev.ep.maxent import maxent_ep
from irrev.ep.partial import family_of, fold_dataset, is_partial, joined_rows
from irrev.errors import InputError

Options = Mapping[str, Any]
NESTED = ("orders", "memory", "within", "distances")  # families whose folds can be computed apart


def further_names(further: Mapping[str, Any]) -> list[str]:
    """Name the estimates that a `further` block of the configuration asks for."""
    names = [f"sweep {width!r}" for width in further["sweep"]]
    names += ["orders"] if further["orders"] else []
    names += ["memory"] if further["memory"] > 1 else []
    names += ["within", "areas"] if further["areas"] else []
    names += ["distances"] if further.get("distances") else []
    names += ["methods"] if further["methods"] else []
    return [*names, *(["neep"] if further["neep"]["use"] else [])]


def in_folds(names: Sequence[str], folds: int) -> list[str]:
    """Cut the names whose folds can be computed apart: `orders` into `orders 0` and so on."""
    return [
        piece
        for name in names
        for piece in ([f"{name} {k}" for k in range(folds)] if name in NESTED else [name])
    ]


def is_fold(piece: str) -> bool:
    """Say whether a name is that of a fold."""
    kind, _, fold = piece.partition(" ")
    return kind in NESTED and bool(fold)


def joined_tables(
    found: Sequence[xr.Dataset], *, level: float, draws: int, seed: int
) -> xr.Dataset:
    """Put what `further_estimates` returned, in the order of the names, into one table.

    Parameters
    ----------
    found
        Tables, and the folds of families cut by `in_folds`; where one has no value, its family
        has none.
    level, draws, seed
        As for `further_estimates`.
    """
    folds: dict[str, list[xr.Dataset]] = {}
    for one in found:
        if is_partial(one):
            folds.setdefault(family_of(one), []).append(one)
    tables: list[xr.Dataset] = []
    unanswered: set[str] = set()
    for one in found:
        if not is_partial(one):
            family = str(one["family"].values[0])
            if family in NESTED and one["note"].values[0]:
                folds.pop(family, None)
                if family in unanswered:
                    continue  # every fold says so
                unanswered.add(family)
            tables.append(one)
        elif parts := folds.pop(family_of(one), None):
            rows = joined_rows(parts, level=level, draws=draws, seed=seed)
            tables.append(estimates_table(rows))
    return xr.concat(tables, "estimate")


def further_estimates(
    name: str,
    units: xr.Dataset,
    bins: SpikeBins,
    spans: NDArray[np.float64],
    config: Mapping[str, Any],
    *,
    level: float,
    draws: int,
    null_draws: int,
    seed: int,
    device: str = "auto",
) -> xr.Dataset:
    """Compute one of `further_names` as a table of kind `spikes/estimates`.

    Parameters
    ----------
    name
        What to compute; with a fold (`in_folds`), that fold's part of it for `joined_tables`.
    units
        The recording with the units used, of kind `spikes`.
    bins
        The recording, binned.
    spans
        Starts and stops of the condition, s, shape (span, 2).
    config
        With `ep` (options of `irrev.maxent_ep`) and `further`.
    level, draws, null_draws, seed
        As for `irrev.maxent_ep`.
    device
        Of the network.
    """
    fit = {k: v for k, v in config["ep"].items() if k != "trajectory"}
    rest = {"level": level, "draws": draws, "seed": seed}
    dealing = {k: fit[k] for k in ("folds", "n_blocks")}
    further = config["further"]
    kind, _, value = name.partition(" ")
    if kind == "sweep":
        other = bin_spikes(units, bin_s=float(value), intervals=spans)
        ep = maxent_ep(other, **fit, **rest, null_draws=null_draws)
        rows = [of_maxent(ep, "sweep", f"{1000 * float(value):g} ms")]
    elif kind in NESTED:
        window = further["memory"] if kind == "memory" else 1
        if kind == "orders" and "delayed" in further["orders"]:
            window = max(2, further["memory"])
        levels = _levels(kind, units, further)
        only = [int(value)] if value else None
        sums = hierarchy_sums(bins, levels=levels, window=window, **dealing, seed=seed, only=only)
        folds = fold_dataset(sums, kind, bins)
        if only is not None:
            return folds
        rows = joined_rows([folds], **rest)
    elif kind == "methods":
        rows = of_methods(maxent_ep(bins, **fit, **rest, null_draws=null_draws), bins)
    elif kind == "areas":
        rows = _areas(units, bins, fit | rest | {"null_draws": null_draws})
    elif kind == "neep":
        rows = [_neep(bins, dealing | rest, further["neep"], device)]
    else:
        raise InputError(f"{name} is not an estimate; use one of the names of `further_names`.")
    return estimates_table(rows)


def _levels(kind: str, units: xr.Dataset, further: Mapping[str, Any]) -> Sequence[Level]:
    if kind == "memory":
        return memory_levels(further["memory"])
    if kind == "within":
        return area_levels(_area_names(units))
    if kind == "distances":
        return distance_levels(_distances(units), sorted(further["distances"]))
    sets = further["orders"]
    return [Level("+".join(sets[: k + 1]), tuple(sets[: k + 1])) for k in range(len(sets))]


def _area_names(units: xr.Dataset) -> NDArray[np.str_]:
    if "area" not in units:
        raise InputError("the recording names no areas; leave `areas` out.")
    return units["area"].to_numpy().astype(str)


def _distances(units: xr.Dataset) -> NDArray[np.float64]:
    if "x_um" not in units or "y_um" not in units:
        raise InputError("the recording holds no positions of units; leave `distances` out.")
    x, y = (units[n].to_numpy().astype(np.float64) for n in ("x_um", "y_um"))
    return np.hypot(x[:, None] - x, y[:, None] - y)


def _areas(units: xr.Dataset, bins: SpikeBins, options: Options) -> list[Estimate]:
    fit = {k: v for k, v in options.items() if k not in ("observables", "lag", "window")}
    ep = area_ep(bins, _area_names(units), **fit)
    rows = []
    for i, j in zip(*np.triu_indices(len(ep.areas)), strict=True):
        if np.isfinite(ep.value[i, j]):
            rows.append(
                Estimate(
                    family="areas",
                    label=f"{ep.areas[i]} - {ep.areas[j]}",
                    bin_s=bins.bin_s,
                    spikes_per_step=spikes_per_step(bins),
                    value=float(ep.value[i, j]),
                    low=float(ep.low[i, j]),
                    high=float(ep.high[i, j]),
                    p=float(ep.p[i, j]),
                    n_observables=int(ep.n_pairs[i, j]),
                )
            )
    return rows


def _neep(bins: SpikeBins, options: Options, training: Options, device: str) -> Estimate:
    from irrev.ep.neep import Training, neep_ep  # torch, only where it is asked for

    how: dict[str, Any] = {k: v for k, v in training.items() if k != "use"}
    how["hidden"] = tuple(how["hidden"])
    ep = neep_ep(bins, training=Training(**how), device=cast(Any, device), **options)
    return Estimate(
        family="methods",
        label=f"network on {ep.device}",
        bin_s=bins.bin_s,
        spikes_per_step=spikes_per_step(bins),
        value=ep.value,
        low=ep.low,
        high=ep.high,
    )
