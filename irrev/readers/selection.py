"""Which units and which stretches of time of a recording are used.

Rules apply one after another and count what they remove; conditions are named lists of intervals.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.binning import bin_grid, intersect
from irrev.errors import InputError
from irrev.readers import nearest
from irrev.readers.expressions import evaluate
from irrev.readers.spans import merge_spans
from irrev.trains import largest_times, read_trains

Rule = Callable[[xr.Dataset, NDArray[np.bool_]], NDArray[np.bool_]]  # of units left, which

NO_VALUE = "(none)"  # names the condition of intervals whose column is empty or not a number


@dataclass(frozen=True, slots=True)
class Selection:
    """Units that passed, and how many each rule removed, in the order of application."""

    dataset: xr.Dataset  # of kind "spikes"
    removed: dict[str, int]
    keep: NDArray[np.bool_]  # of the units there were, which passed


def select_units(
    ds: xr.Dataset,
    *,
    where: str | None = None,
    areas: Sequence[str] | None = None,
    min_active: float | None = None,
    bin_s: float | None = None,
    most_active: int | None = None,
    draw: int | None = None,
    seed: int = 0,
    within: NDArray[np.float64] | None = None,
    spikes: bool = True,
) -> Selection:
    """Keep the units that pass every given rule, applied in the order of the arguments.

    Parameters
    ----------
    ds
        Dataset of kind "spikes".
    where
        Condition on unit columns: comparisons, `in`, `and`, `or`, `not`, numbers, texts.
    areas
        Names of areas, upper or lower case.
    min_active
        Least fraction of bins with a spike, in [0, 1]; needs `bin_s`.
    bin_s
        Width of a bin, s.
    most_active
        Number of units with the most spikes; ties go to the earlier unit.
    draw
        Number of units drawn at random without replacement.
    seed
        Seed of the draw.
    within
        Starts and stops, s, shape (interval, 2): where activity is counted for `min_active`
        and `most_active`; default all recorded spans.
    spikes
        Whether the result holds spikes. They are read a group of units at a time, so that without
        them a lazy Dataset is never in memory as a whole.

    Returns
    -------
        The Dataset with the units that passed, in their old order, and the number of units that
        each given rule removed.

    Raises
    ------
    InputError
        If an expression, a column or an area is unknown, a number is out of range, or no unit
        passes.
    """
    rules: dict[str, Rule] = {}
    if where is not None:
        rules["where"] = lambda now, _: evaluate(where, now)
    if areas is not None:
        rules["areas"] = lambda now, _: _in_areas(now, areas)
    if min_active is not None:
        least, width = _check_min_active(min_active, bin_s)
        rules["min_active"] = lambda _, keep: active_fraction(ds, width, within, keep) >= least
    if most_active is not None:
        count = _check_count("most_active", most_active)
        rules["most_active"] = lambda _, keep: _most_active(ds, count, within, keep)
    if draw is not None:
        number = _check_count("draw", draw)
        rules["draw"] = lambda now, _: _drawn(now.sizes["unit"], number, seed)
    removed: dict[str, int] = {}
    keep = np.ones(ds.sizes["unit"], bool)
    for name, rule in rules.items():
        passed = rule(unit_table(ds, keep), keep.copy())
        removed[name] = int(passed.size - passed.sum())
        if not passed.any():
            counts = ", ".join(f"{rule} removed {n}" for rule, n in removed.items())
            raise InputError(f"no unit is left ({counts}); loosen the rules.")
        keep[keep] = passed
    if not spikes:
        return Selection(unit_table(ds, keep), removed, keep)
    return Selection(ds if keep.all() else take_units(ds, keep), removed, keep)


def take_units(ds: xr.Dataset, keep: NDArray[np.bool_]) -> xr.Dataset:
    """Return the Dataset with some of its units and their spikes.

    Parameters
    ----------
    ds
        Dataset of kind "spikes".
    keep
        True for the units to keep, shape (unit,).
    """
    index = ds["spike_times_index"].values
    spikes = np.repeat(keep, np.diff(index, prepend=0))
    return unit_table(ds, keep).assign(
        {k: v for k, v in ds.isel(spike=np.flatnonzero(spikes)).items() if "spike" in v.dims}
    )


def unit_table(ds: xr.Dataset, keep: NDArray[np.bool_]) -> xr.Dataset:
    """Return the Dataset with some of its units, without spikes; end offsets as if with them."""
    index = ds["spike_times_index"].values
    ends = np.cumsum(np.diff(index, prepend=0)[keep])
    attrs = ds["spike_times_index"].attrs
    out = ds.drop_dims("spike").isel(unit=np.flatnonzero(keep))
    return out.assign(spike_times_index=("unit", ends.astype(np.int64), attrs))


def conditions(
    ds: xr.Dataset, *, table: str | None = None, by: str = "tags"
) -> dict[str, NDArray[np.float64]]:
    """Return the intervals of each condition.

    Parameters
    ----------
    ds
        Dataset of kind "spikes".
    table
        Interval table; None gives one condition `all` with the recorded spans.
    by
        What names the condition of an interval: `tags` or `label` for its label, or a column
        of the table.

    Returns
    -------
        Starts and stops, s, shape (interval, 2), by condition in order of first appearance.
        Intervals of one condition that overlap are joined; those that touch stay apart.

    Raises
    ------
    InputError
        If the table or the column is not in the recording.
    """
    if table is None:
        spans = np.column_stack([ds["observed_start"].values, ds["observed_stop"].values])
        return {"all": spans}
    tables = ds["interval_table"].values.astype(str)
    known = list(dict.fromkeys(tables.tolist()))
    if table not in known:
        raise InputError(f"{table} is not an interval table;{nearest(table, known)}")
    rows = np.flatnonzero(tables == table)
    labels = _interval_names(ds, by)[rows]
    starts, stops = ds["interval_start"].values[rows], ds["interval_stop"].values[rows]
    spans = np.column_stack([starts, stops])
    return {name: merge_spans(spans[labels == name]) for name in dict.fromkeys(labels.tolist())}


def split_spikes(
    ds: xr.Dataset, *, table: str | None = None, by: str = "tags"
) -> dict[str, list[list[float]]]:
    """Return `conditions` as plain lists, to be stored and sent."""
    return {name: spans.tolist() for name, spans in conditions(ds, table=table, by=by).items()}


def _interval_names(ds: xr.Dataset, by: str) -> NDArray[np.str_]:
    if by in ("tags", "tag", "label"):
        return ds["interval_label"].values.astype(str)
    skip = ("interval_start", "interval_stop", "interval_table", "interval_label")
    columns = [
        str(n).removeprefix("interval_")
        for n in ds.variables
        if ds[n].dims == ("interval",) and n not in skip
    ]
    if by not in columns:
        raise InputError(f"{by} is not a column of intervals;{nearest(by, ['tags', *columns])}")
    return np.array([_name(v) for v in ds[f"interval_{by}"].values.tolist()])


def _name(value: object) -> str:
    """Write a value of an interval column as the name of a condition."""
    name = f"{value:g}" if isinstance(value, float) else str(value)
    return NO_VALUE if value != value or not name.strip() else name


def active_fraction(
    ds: xr.Dataset,
    bin_s: float,
    within: NDArray[np.float64] | None = None,
    keep: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Return the fraction of bins in which each unit spikes, shape (unit,), in [0, 1].

    Parameters
    ----------
    ds
        Dataset of kind "spikes".
    bin_s
        Width of a bin, s.
    within
        Starts and stops, s; default all recorded spans.
    keep
        True for the units asked for; default all.
    """
    n_units = ds.sizes["unit"] if keep is None else int(keep.sum())
    grid = bin_grid(ds, bin_s=bin_s, intervals=within, largest=largest_times(ds, keep))
    active = np.zeros(n_units, np.int64)
    for trains in read_trains(ds, keep):
        cells, _ = grid.cells(trains.times, trains.units, n_units)
        active += np.bincount(cells % n_units, minlength=n_units)
    return active / grid.n_bins


def _in_areas(ds: xr.Dataset, areas: Sequence[str]) -> NDArray[np.bool_]:
    if "area" not in ds:
        raise InputError("areas are given but the recording names no areas; leave them out.")
    own = np.array([str(a).lower() for a in ds["area"].values])
    for name in areas:
        if name.lower() not in own:
            known = sorted(set(map(str, ds["area"].values)) - {""})
            raise InputError(f"{name} is not an area of the recording;{nearest(name, known)}")
    return np.isin(own, [name.lower() for name in areas])


def _most_active(
    ds: xr.Dataset,
    count: int,
    within: NDArray[np.float64] | None,
    keep: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    observed = np.column_stack([ds["observed_start"].values, ds["observed_stop"].values])
    spans = observed if within is None else intersect(merge_spans(within), observed)
    counts = np.zeros(int(keep.sum()), np.int64)
    for trains in read_trains(ds, keep):
        times = trains.times
        at = np.searchsorted(spans[:, 0], times, side="right") - 1
        inside = (at >= 0) & (times < spans[at, 1]) if len(spans) else np.zeros(times.size, bool)
        counts += np.bincount(trains.units[inside], minlength=counts.size)
    most = np.zeros(counts.size, dtype=bool)
    most[np.argsort(-counts, kind="stable")[:count]] = True
    return most


def _drawn(n_units: int, count: int, seed: int) -> NDArray[np.bool_]:
    keep = np.zeros(n_units, dtype=bool)
    keep[np.random.default_rng(seed).permutation(n_units)[:count]] = True
    return keep


def _check_min_active(min_active: float, bin_s: float | None) -> tuple[float, float]:
    if not 0 <= min_active <= 1:
        raise InputError(f"min_active is {min_active}; give a fraction of bins, 0 to 1.")
    if bin_s is None:
        raise InputError("min_active is a fraction of bins; give bin_s too.")
    return min_active, bin_s


def _check_count(name: str, count: int) -> int:
    if count < 1:
        raise InputError(f"{name} is {count}; give a number of units.")
    return count
