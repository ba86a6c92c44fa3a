"""Units and intervals of an NWB file (HDF5).

The ragged column of spike times is read once and flat; no NWB library is needed. Every 1-D
column of the unit table is kept; the area of a unit is its own location column, or the location
of its electrode, or that of its electrode group. Every table with start_time and stop_time gives
labelled intervals, one row per tag. A stretch counts as recorded if it lies in the obs_intervals
of all units; files without that column count as recorded from their first to their last spike or
interval border.
"""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from irrev.readers import hdf5
from irrev.readers.raw import Findings, RawSpikes, single_precision_step, to_seconds

VERSION = 1
AREA_COLUMNS = ("location", "area", "brain_area", "brain_region", "region", "structure_acronym")
# text columns that name what happened, best first; else the first text column of the table
LABEL_COLUMNS = ("label", "labels", "condition", "stimulus_name", "trial_type", "type", "state")
POSITION_COLUMNS = {"x_um": ("x_um", "x"), "y_um": ("y_um", "y")}


def read_nwb(
    path: Path, findings: Findings, *, seconds_per_tick: float | None = None
) -> RawSpikes:
    """Read the units and intervals of an NWB file.

    Parameters
    ----------
    path
        HDF5 file with a group `units`.
    findings
        Collects what is wrong.
    seconds_per_tick
        Length of the unit of the spike times, s; NaN takes it from the file's resolution.
        Default: the times are seconds, as NWB demands.

    Raises
    ------
    FormatError
        If the file is damaged, has no units, or links to other files.
    InputError
        If `seconds_per_tick` is NaN and the file does not state its resolution.
    """
    with hdf5.open_hdf5(path) as file:
        units = hdf5.subgroup(file, "units")
        if units is None:
            raise findings.error(
                "there is no group `units`", "choose an NWB file with sorted units"
            )
        raw = _read_trains(units, findings, seconds_per_tick)
        raw.columns |= _unit_columns(units, len(raw.ids))
        raw.columns |= _places(file, units, raw.columns, len(raw.ids))
        _read_observed(units, raw, findings)
        _read_intervals(file, raw, findings)
    return raw


def _read_trains(
    units: h5py.Group, findings: Findings, seconds_per_tick: float | None
) -> RawSpikes:
    data = hdf5.column(units, "spike_times")
    index = hdf5.numbers(units, "spike_times_index")
    times = hdf5.numbers(units, "spike_times")
    if data is None or times is None or index is None or index.dtype.kind not in "iu":
        raise findings.error(
            "the units have no ragged column spike_times", "choose a file with spike times"
        )
    tick = seconds_per_tick
    if tick is not None and np.isnan(tick):
        tick = float(np.ravel(data.attrs.get("resolution", np.nan))[0])
    seconds = to_seconds(times, findings, tick if tick is None or tick > 0 else np.nan)
    ids = hdf5.column(units, "id")
    names = np.arange(index.size) if ids is None else np.ravel(ids[()])
    return RawSpikes(
        times=seconds,
        index=index.ravel().astype(np.int64),
        ids=[_as_text(name) for name in names],
        resolution_s=single_precision_step(times, seconds),
    )


def _as_text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _unit_columns(units: h5py.Group, n_units: int) -> dict[str, NDArray[np.generic]]:
    """Read the columns with one number or text per unit; ragged ones have an index."""
    names = hdf5.members(units)
    skip = {name.removesuffix("_index") for name in names if name.endswith("_index")}
    skip |= {"id", "electrodes", "waveform_mean", "waveform_sd"}
    columns = {}
    for name in names:
        if name in skip or name.endswith("_index"):
            continue
        values = _flat_column(units, name, n_units)
        if values is not None:
            columns[name] = values
    return columns


def _flat_column(group: h5py.Group, name: str, n_rows: int) -> NDArray[np.generic] | None:
    data = hdf5.column(group, name)
    if data is None or data.shape != (n_rows,):
        return None
    if hdf5.is_text(data):
        return hdf5.texts(data)
    return np.asarray(data[()]) if data.dtype.kind in "fiub" else None


def _places(
    file: h5py.File,
    units: h5py.Group,
    columns: dict[str, NDArray[np.generic]],
    n_units: int,
) -> dict[str, NDArray[np.generic]]:
    """Find area and position: the unit's own columns first, then those of its electrode."""
    electrodes = hdf5.subgroup(file, "general/extracellular_ephys/electrodes")
    row = _electrode_rows(units, electrodes, n_units)
    found: dict[str, NDArray[np.generic]] = {}
    area = next((columns[n] for n in AREA_COLUMNS if _is_named(columns.get(n))), None)
    if area is None and electrodes is not None and row is not None:
        area = _taken(electrodes, "location", row)
    if not _is_named(area):
        area = _group_locations(file, units, n_units)
    if area is not None and _is_named(area):
        found["area"] = area.astype(object)
    for name, (own, electrode) in POSITION_COLUMNS.items():
        values = columns.get(own)
        if values is None and electrodes is not None and row is not None:
            values = _taken(electrodes, electrode, row)
        if values is not None and values.dtype.kind in "fiu":
            found[name] = values.astype(np.float64)
    return found


def _is_named(area: NDArray[np.generic] | None) -> bool:
    return area is not None and area.dtype.kind == "O" and bool(np.any(area != ""))


def _electrode_rows(
    units: h5py.Group, electrodes: h5py.Group | None, n_units: int
) -> NDArray[np.int64] | None:
    """Return each unit's row in the electrode table, -1 where it has none."""
    if electrodes is None:
        return None
    peak = hdf5.numbers(units, "peak_channel_id")
    ids = hdf5.numbers(electrodes, "id")
    if peak is not None and ids is not None and peak.shape == (n_units,) and ids.size:
        order = np.argsort(ids, kind="stable")
        at = order[np.searchsorted(ids, peak, sorter=order).clip(max=ids.size - 1)]
        return np.where(ids[at] == peak, at, -1)
    rows = hdf5.numbers(units, "electrodes")
    index = hdf5.numbers(units, "electrodes_index")
    if rows is None or rows.dtype.kind not in "iu":
        return None
    if index is None:
        return rows.astype(np.int64) if rows.shape == (n_units,) else None
    ends = index.astype(np.int64)
    if ends.shape != (n_units,) or (np.diff(ends, prepend=0) < 0).any() or ends[-1] > rows.size:
        return None
    first = np.concatenate([[0], ends[:-1]])
    has = ends > first
    out = np.full(n_units, -1, dtype=np.int64)
    out[has] = rows[first[has]]
    return out


def _taken(
    electrodes: h5py.Group, name: str, row: NDArray[np.int64]
) -> NDArray[np.generic] | None:
    """Take one column of the electrode table at the units' rows."""
    data = hdf5.column(electrodes, name)
    if data is None or data.ndim != 1:
        return None
    values = _flat_column(electrodes, name, data.shape[0])
    if values is None:
        return None
    good = (row >= 0) & (row < values.size)
    out = np.full(row.size, "" if values.dtype.kind == "O" else np.nan, dtype=object)
    out[good] = values[row[good]]
    return out if values.dtype.kind == "O" else out.astype(np.float64)


def _group_locations(
    file: h5py.File, units: h5py.Group, n_units: int
) -> NDArray[np.generic] | None:
    data = hdf5.column(units, "electrode_group")
    if data is None or data.shape != (n_units,) or not h5py.check_ref_dtype(data.dtype):
        return None
    out = np.full(n_units, "", dtype=object)
    for unit, reference in enumerate(data[()]):
        group = file[reference] if reference else None
        if group is not None:
            out[unit] = _as_text(group.attrs.get("location", ""))
    return out


def _read_observed(units: h5py.Group, raw: RawSpikes, findings: Findings) -> None:
    spans = hdf5.numbers(units, "obs_intervals")
    index = hdf5.numbers(units, "obs_intervals_index")
    if spans is None or index is None:
        return
    ends = index.ravel().astype(np.int64)
    counts = np.diff(ends, prepend=0)
    shaped = spans.ndim == 2 and spans.shape[1] == 2 and ends.size == len(raw.ids)
    if not shaped or (counts < 0).any() or (ends.size and ends[-1] != len(spans)):
        raise findings.error(
            "obs_intervals does not fit its index", "the file is truncated, export it again"
        )
    raw.stated = spans.astype(np.float64)
    raw.stated_unit = np.repeat(np.arange(ends.size), counts)


def _interval_tables(file: h5py.File) -> Iterator[tuple[str, h5py.Group]]:
    """Yield the tables with start_time and stop_time, wherever NWB allows them."""
    places = ["intervals", "stimulus/presentation"]
    processing = hdf5.subgroup(file, "processing")
    if processing is not None:
        places += [f"processing/{name}" for name in hdf5.members(processing)]
    for place in places:
        parent = hdf5.subgroup(file, place)
        for name in hdf5.members(parent) if parent is not None else ():
            table = hdf5.subgroup(file, f"{place}/{name}")
            if table is not None and {"start_time", "stop_time"} <= set(hdf5.members(table)):
                yield name, table


def _read_intervals(file: h5py.File, raw: RawSpikes, findings: Findings) -> None:
    starts, stops = [np.empty(0)], [np.empty(0)]
    columns: list[dict[str, NDArray[np.generic]]] = []
    for name, table in _interval_tables(file):
        start, stop = hdf5.numbers(table, "start_time"), hdf5.numbers(table, "stop_time")
        if start is None or stop is None or start.ndim != 1 or start.shape != stop.shape:
            raise findings.error(
                f"table {name} has unequal start_time and stop_time",
                "the file is truncated, export it again",
            )
        own = _table_columns(table, start.size)
        rows, labels = _labels(table, name, own, start.size, findings)
        starts.append(start[rows].astype(np.float64))
        stops.append(stop[rows].astype(np.float64))
        raw.tables += [name] * rows.size
        raw.labels += labels
        columns.append({key: values[rows] for key, values in own.items()})
    raw.starts, raw.stops = np.concatenate(starts), np.concatenate(stops)
    raw.interval_columns = _stack_columns(columns, [s.size for s in starts[1:]])


def _table_columns(table: h5py.Group, n_rows: int) -> dict[str, NDArray[np.generic]]:
    """Read the 1-D columns of an interval table, in the order that the table states."""
    stated = [_as_text(n) for n in np.ravel(table.attrs.get("colnames", []))]
    names = hdf5.members(table)
    order = [n for n in stated if n in names] + [n for n in names if n not in stated]
    skip = {"id", "start_time", "stop_time", "tags"}
    found = {n: _flat_column(table, n, n_rows) for n in order if n not in skip}
    return {n: v for n, v in found.items() if v is not None and not n.endswith("_index")}


def _labels(
    table: h5py.Group,
    name: str,
    columns: dict[str, NDArray[np.generic]],
    n_rows: int,
    findings: Findings,
) -> tuple[NDArray[np.int64], list[str]]:
    """Return the rows of the table, repeated for every tag they carry, and their labels."""
    tags = hdf5.column(table, "tags")
    if tags is not None and hdf5.is_text(tags) and tags.ndim == 1:
        words = hdf5.texts(tags)
        index = hdf5.numbers(table, "tags_index")
        ends = np.arange(1, n_rows + 1) if index is None else index.ravel().astype(np.int64)
        counts = np.diff(ends, prepend=0)
        if ends.size != n_rows or (counts < 0).any() or counts.sum() != words.size:
            raise findings.error(
                f"the tags of table {name} do not fit their index",
                "the file is truncated, export it again",
            )
        # a row without a tag keeps the table's name
        labels = np.full(int(np.maximum(counts, 1).sum()), name, dtype=object)
        labels[np.repeat(counts > 0, np.maximum(counts, 1))] = words
        return np.repeat(np.arange(n_rows), np.maximum(counts, 1)), [w or name for w in labels]
    texts = {key for key, values in columns.items() if values.dtype.kind == "O"}
    chosen = next((n for n in (*LABEL_COLUMNS, *columns) if n in texts), None)
    if chosen is None:
        return np.arange(n_rows), [name] * n_rows
    return np.arange(n_rows), [str(word) or name for word in columns[chosen]]


def _stack_columns(
    tables: list[dict[str, NDArray[np.generic]]], sizes: list[int]
) -> dict[str, NDArray[np.generic]]:
    """Put the tables' columns under one another; a table without the column has NaN or ''."""
    out = {}
    for name in dict.fromkeys(key for table in tables for key in table):
        parts = [table.get(name) for table in tables]
        text = any(part is not None and part.dtype.kind == "O" for part in parts)
        blank, dtype = ("", object) if text else (np.nan, np.float64)
        filled = [
            np.full(size, blank, dtype=dtype)
            if part is None
            else np.array([str(v) for v in part], dtype=object)
            if text
            else part.astype(np.float64)
            for part, size in zip(parts, sizes, strict=True)
        ]
        out[name] = np.concatenate(filled)
    return out
