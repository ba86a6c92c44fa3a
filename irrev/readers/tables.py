"""Plain tables of spikes: pairs of (time, unit), or times with end offsets, in NPZ, MAT or CSV.

Arrays and columns are found by name. A MATLAB cell array of time vectors is one unit per cell.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irrev.readers.arrays import read_npz
from irrev.readers.matlab import read_mat
from irrev.readers.raw import Findings, RawSpikes, single_precision_step, to_seconds
from irrev.readers.trains import ragged

VERSION = 1
TIME_NAMES = ("spike_times", "times", "time", "t", "spikes", "spike_time", "time_s", "spiketimes")
UNIT_NAMES = ("spike_clusters", "unit_ids", "unit_id", "units", "unit", "ids", "id", "clusters")
UNIT_NAMES += ("cluster", "cluster_id", "neuron", "neurons", "neuron_id", "channel")
INDEX_NAMES = ("spike_times_index", "times_index", "index")
MAX_CELL_ROWS = 10_000_000  # rows of a CSV; more belong into NPZ or NWB

Arrays = Mapping[str, NDArray[np.generic]]


def read_npz_spikes(path: Path, findings: Findings, tick: float | None) -> RawSpikes:
    """Read times and units from the arrays of an NPZ archive.

    Parameters
    ----------
    path
        Path of the file.
    findings
        Collects what is wrong.
    tick
        Unit of the times, s; None for seconds.

    Raises
    ------
    FormatError
        If the archive is damaged or has no such arrays.
    """
    return _from_arrays(read_npz(path), findings, tick)


def read_mat_spikes(path: Path, findings: Findings, tick: float | None) -> RawSpikes:
    """Read times and units from a MATLAB file before version 7.3.

    Parameters and errors as in `read_npz_spikes`.
    """
    return _from_arrays(read_mat(path), findings, tick)


def read_mat73_spikes(path: Path, findings: Findings, tick: float | None) -> RawSpikes:
    """Read times and units from a MATLAB 7.3 file (HDF5).

    Parameters and errors as in `read_npz_spikes`.
    """
    from irrev.readers import hdf5

    with hdf5.open_hdf5(path) as file:
        return _from_arrays(hdf5.matlab_arrays(file), findings, tick)


def read_csv_spikes(path: Path, findings: Findings, tick: float | None) -> RawSpikes:
    """Read times and units from a table with a header, or from two columns without one.

    Rows that have no time or no unit are faults. Parameters and errors as in `read_npz_spikes`.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            first = stream.readline()
            stream.seek(0)
            delimiter = max("\t;, ", key=first.count)
            times, units = _csv_columns(csv.reader(stream, delimiter=delimiter), findings)
    except (UnicodeDecodeError, csv.Error) as error:
        raise findings.error(
            f"not a table of text ({error})", "export it as CSV in UTF-8"
        ) from error
    return _from_arrays({"times": times, "units": units}, findings, tick)


def _csv_columns(
    rows: Iterator[list[str]], findings: Findings
) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    header = [cell.strip().lower() for cell in next(rows, [])]
    at_time, at_unit = (_position(header, names) for names in (TIME_NAMES, UNIT_NAMES))
    times: list[float] = []
    units: list[str] = []
    bad: list[int] = []
    if at_time is None and at_unit is None and len(header) == 2 and _is_number(header[0]):
        at_time, at_unit = 0, 1
        times, units = [float(header[0])], [header[1]]
    if at_time is None or at_unit is None:
        raise findings.error(
            f"the columns are {', '.join(header)[:200] or 'none'}",
            f"name one of them {TIME_NAMES[2]} and one {UNIT_NAMES[4]}",
        )
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) <= max(at_time, at_unit) or not _is_number(row[at_time]):
            bad.append(number)
        elif number > MAX_CELL_ROWS:
            raise findings.error(f"there are more than {MAX_CELL_ROWS:,} rows", "use NPZ or NWB")
        else:
            times.append(float(row[at_time]))
            units.append(row[at_unit].strip())
    if bad and not times:
        raise findings.error(
            f"none of {len(bad):,} rows has a time and a unit (line {bad[0]})",
            "write times as numbers with a decimal point",
        )
    if bad:
        findings.fault(
            "unreadable_rows",
            len(bad),
            "removed",
            f"{len(bad):,} rows have no time or no unit (line {bad[0]})",
            "correct them or set on_error: quarantine",
        )
    return np.array(times, dtype=np.float64), np.array(units, dtype=str)


def _position(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _from_arrays(arrays: Arrays, findings: Findings, tick: float | None) -> RawSpikes:
    """Find the trains among named arrays."""
    stored = _named(arrays, TIME_NAMES)
    if stored is None:
        raise findings.error(
            f"the arrays are {', '.join(arrays)[:200] or 'none'}",
            f"name the spike times {TIME_NAMES[0]} and their units {UNIT_NAMES[1]}",
        )
    if stored.dtype.kind == "O":
        stored, index, ids = _from_cells(stored, findings)
    else:
        index, ids = None, None
    if stored.dtype.kind not in "fiu":
        raise findings.error(f"spike times have type {stored.dtype}", "store numbers")
    seconds = to_seconds(stored, findings, tick)
    if index is None or ids is None:
        seconds, index, ids = _grouped(seconds, arrays, findings)
    raw = RawSpikes(times=seconds, index=index, ids=ids)
    raw.resolution_s = single_precision_step(stored, seconds)
    span = arrays.get("recording")
    if span is not None and span.size == 2 and span.dtype.kind in "fiu":
        raw.stated = span.astype(np.float64).reshape(1, 2)
        raw.stated_unit = np.array([-1])
    return raw


def _named(arrays: Arrays, names: tuple[str, ...]) -> NDArray[np.generic] | None:
    lower = {name.lower(): name for name in arrays}
    return next((arrays[lower[name]] for name in names if name in lower), None)


def _from_cells(
    cells: NDArray[np.generic], findings: Findings
) -> tuple[NDArray[np.generic], NDArray[np.int64], list[str]]:
    """Join a cell array with one vector of times per unit."""
    trains = [np.asarray(cell).ravel() for cell in cells.ravel().tolist()]
    if any(train.dtype.kind not in "fiu" for train in trains):
        raise findings.error("cells of the spike times hold no numbers", "store one vector each")
    ends = np.cumsum([train.size for train in trains], dtype=np.int64)
    joined = np.concatenate(trains) if trains else np.empty(0)
    return joined, ends, [str(unit) for unit in range(len(trains))]


def _grouped(
    seconds: NDArray[np.float64], arrays: Arrays, findings: Findings
) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
    """Group times by their unit ids, or cut them at their end offsets."""
    index, units = _named(arrays, INDEX_NAMES), _named(arrays, UNIT_NAMES)
    if index is not None and index.dtype.kind in "iu" and index.size:
        ends = index.ravel().astype(np.int64)
        named = units is not None and units.size == ends.size
        names = np.ravel(units).tolist() if named and units is not None else range(ends.size)
        return seconds, ends, [str(name) for name in names]
    if units is None or units.size != seconds.size:
        what = "no unit ids" if units is None else f"{units.size:,} unit ids"
        raise findings.error(
            f"there are {seconds.size:,} spike times but {what}",
            f"store one id per spike as {UNIT_NAMES[1]}",
        )
    if units.dtype.kind not in "iuUS" and not _are_whole(units):
        raise findings.error(f"unit ids have type {units.dtype}", "store whole numbers or texts")
    flat = units.ravel().astype(np.int64) if units.dtype.kind == "f" else units.ravel()
    times, ends, names = ragged(seconds, flat)
    return (
        times,
        ends,
        [n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in names.tolist()],
    )


def _are_whole(units: NDArray[np.generic]) -> bool:
    """MATLAB stores ids as doubles."""
    if units.dtype.kind != "f":
        return False
    values = units.astype(np.float64)
    return bool(np.all(np.isfinite(values)) and np.all(np.abs(values) < 2**53)) and bool(
        np.all(values == np.rint(values))
    )
