"""Multichannel time series of any known format; this module picks the format.

Formats: NPY, NPZ, CSV with a time or date column, Zarr, EEGLAB (.set with .fdt), EDF and BDF,
ElectricalSeries of NWB, spike trains counted in bins, and through MNE what it reads.
"""

import csv
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.errors import InputError, MissingExtraError
from irrev.readers import OnError, arrays
from irrev.readers.raw import Findings
from irrev.readers.signals import RawSignals, as_columns, default_names, to_dataset
from irrev.readers.zarr_signals import RATE_NAMES, pick_array, seconds_of, zarr_signal

VERSION = 1
TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
TIME_NAMES = ("time", "t", "time_s", "seconds", "timestamp", "date", "datetime")
NAME_NAMES = ("channels", "channel", "channel_names", "ch_names", "names")
MISSING = ("", "na", "nan", "null", "none")
DAY_S = 86_400.0


def open_timeseries(
    path: Path,
    *,
    on_error: OnError = "quarantine",
    sampling_rate: float | None = None,
    array: str | None = None,
    transpose: bool = False,
    resample: bool = False,
    epoch_length: int | None = None,
    first_join: int = 0,
    shared_reference: bool | None = None,
    spike_bin: float | None = None,
    in_place: bool = False,
) -> xr.Dataset:
    """Read a multichannel record from a file or folder.

    Parameters
    ----------
    path
        NPY, NPZ, CSV, Zarr, EEGLAB, EDF, BDF, NWB file; any file of spike trains with
        `spike_bin`; other formats through MNE.
    on_error
        `quarantine` mends and lists faults; `stop` raises at the first.
    sampling_rate
        Hz; needed where the file does not state it.
    array
        Name of the array in NPZ or Zarr, or path of the series in NWB.
    transpose
        Rows of the array are channels.
    resample
        Interpolate irregularly sampled times instead of refusing them.
    epoch_length, first_join
        Samples of epochs that were joined end to end, and where the first join lies.
    shared_reference
        Channels of one body or one reference electrode; by default true for EEG formats.
    spike_bin
        Count spikes in bins of this width, s; one channel a unit.
    in_place
        Leave the samples in their file (Zarr, NPY), for records larger than memory: the Dataset
        has no `signal`, and `irrev.readers.in_place.samples_of` reads any part of it.

    Returns
    -------
        Dataset of kind "timeseries".

    Raises
    ------
    FormatError
        If the content is not what its reader expects.
    InputError
        If an option does not fit.
    MissingExtraError
        If the format needs a library that is not installed.
    """
    findings = Findings(path.name, on_error == "stop")
    if sampling_rate is not None and not (np.isfinite(sampling_rate) and sampling_rate > 0):
        raise InputError(f"sampling_rate is {sampling_rate}; give samples per second.")
    samples = None
    if in_place:
        if resample or spike_bin is not None:
            raise InputError("in_place with resample or spike_bin: these need the whole record.")
        from irrev.readers.in_place import open_in_place

        reader, raw, samples = open_in_place(path, findings, array=array, transpose=transpose)
    elif spike_bin is not None:
        reader, raw = "spikes", _count_spikes(path, spike_bin, on_error)
    else:
        reader, raw = _read(path, findings, array, transpose)
    if sampling_rate is not None:
        raw.rate, raw.times = sampling_rate, None
    if shared_reference is not None:
        raw.shared_reference = shared_reference
    if epoch_length is not None:
        n = samples.shape[0] if samples else len(raw.signal)
        raw.segments = _epochs(n, epoch_length, first_join)
    ds = to_dataset(raw, findings, resample=resample, reader=reader, version=VERSION)
    if samples is None:
        return ds
    return ds.drop_vars("signal").assign_attrs(samples=samples.described())


def _read(
    path: Path, findings: Findings, array: str | None, transpose: bool
) -> tuple[str, RawSignals]:
    suffix = path.suffix.lower()
    if path.is_dir() and (suffix == ".zarr" or (path / "zarr.json").is_file()):
        return "zarr", _read_zarr(path, findings, array, transpose)
    if suffix == ".npy":
        signal = as_columns(arrays.read_npy(path), findings, transpose)
        return "npy", RawSignals(signal, default_names(signal.shape[-1]))
    if suffix == ".npz":
        return "npz", _read_npz(path, findings, array, transpose)
    if suffix in TEXT_SUFFIXES:
        return "csv", _read_csv(path, findings)
    from irrev.readers import eeg

    if suffix == ".set":
        return "eeglab", eeg.read_eeglab(path, findings)
    if suffix in (".edf", ".bdf"):
        return suffix[1:], eeg.read_edf(path, findings)
    if suffix in (".nwb", ".h5", ".hdf5"):
        return "nwb", _read_nwb(path, findings, array)
    return "mne", eeg.read_mne(path, findings)


def _read_nwb(path: Path, findings: Findings, array: str | None) -> RawSignals:
    try:
        from irrev.readers import nwb_series
    except ImportError as error:
        raise MissingExtraError(
            f"{path.name}: HDF5 files need h5py; pip install 'irrev[spikes]'."
        ) from error
    return nwb_series.read_series(path, findings, array)


def _read_npz(path: Path, findings: Findings, array: str | None, transpose: bool) -> RawSignals:
    found = arrays.read_npz(path)
    name = pick_array(
        {k: v.ndim for k, v in found.items() if v.dtype.kind in "fiu"}, array, findings
    )
    signal = as_columns(found[name], findings, transpose)
    rates = [float(found[k]) for k in RATE_NAMES if k in found and found[k].size == 1]
    lists = [found[k] for k in NAME_NAMES if k in found and found[k].size == signal.shape[1]]
    names = [str(v) for v in lists[0].ravel()] if lists else default_names(signal.shape[1])
    return RawSignals(signal, names, rates[0] if rates else None)


def _read_zarr(path: Path, findings: Findings, array: str | None, transpose: bool) -> RawSignals:
    found = zarr_signal(path, findings, array)
    flip = transpose or found.signal.dims == ("channel", "time")
    signal = as_columns(found.signal.to_numpy(), findings, flip)
    names = default_names(signal.shape[1]) if found.names is None else found.names
    return RawSignals(signal, names, found.rate, found.times)


def _read_csv(path: Path, findings: Findings) -> RawSignals:
    """Read a table with a header; a time column, or year, month, day, or none."""
    with path.open(newline="", encoding="utf-8-sig", errors="backslashreplace") as stream:
        sample = stream.read(4096)
        stream.seek(0)
        delimiter = max(",;\t", key=sample.count)
        try:
            rows = list(csv.reader(stream, delimiter=delimiter))
        except csv.Error as error:
            raise findings.error(f"not a table ({error})", "export it again as text") from error
    if len(rows) < 3:
        raise findings.error(f"there are {len(rows)} rows", "give a header and samples below it")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) < len(header):
        raise findings.error("two columns have one name", "name every channel apart")
    body = [row for row in rows[1:] if any(cell.strip() for cell in row)]
    short = next((i for i, row in enumerate(body) if len(row) != len(header)), None)
    if short is not None:
        raise findings.error(
            f"row {short + 2} has {len(body[short])} fields, the header {len(header)}",
            "export the table again",
        )
    columns = dict(zip(header, zip(*body, strict=True), strict=True))
    lower = {name.lower(): name for name in header}
    times = None
    if {"year", "month", "day"} <= set(lower):
        parts = [
            _numbers(columns.pop(lower[k]), lower[k], findings) for k in ("year", "month", "day")
        ]
        times = _days(*parts) * DAY_S
    else:
        for key in TIME_NAMES:
            if key in lower:
                times = _times(columns.pop(lower[key]), lower[key], findings)
                break
    values = [_numbers(cells, name, findings) for name, cells in columns.items()]
    if not values:
        raise findings.error("there is no column besides the time", "give one column a channel")
    return RawSignals(np.stack(values, axis=1), list(columns), times=times)


def _numbers(cells: tuple[str, ...], name: str, findings: Findings) -> NDArray[np.float64]:
    out = np.empty(len(cells))
    for i, cell in enumerate(cells):
        text = cell.strip()
        try:
            out[i] = np.nan if text.lower() in MISSING else float(text)
        except ValueError:
            raise findings.error(
                f"column {name} has {text[:40]!r} in row {i + 2}",
                "give numbers, or leave the field empty where a value is missing",
            ) from None
    return out


def _times(cells: tuple[str, ...], name: str, findings: Findings) -> NDArray[np.float64]:
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        pass
    try:
        return seconds_of(np.array([cell.strip() for cell in cells], dtype="datetime64[us]"))
    except ValueError as error:
        raise findings.error(
            f"column {name} holds neither seconds nor ISO dates ({error})",
            "write times as seconds or like 2020-01-31T12:00:00",
        ) from None


def _days(
    year: NDArray[np.float64], month: NDArray[np.float64], day: NDArray[np.float64]
) -> NDArray[np.float64]:
    full = np.where(year < 100, year + 1900, year).astype(np.int64)
    months = (full - 1970) * 12 + month.astype(np.int64) - 1
    dates = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return (dates + day.astype(np.int64) - 1).astype(np.float64)


def _epochs(n: int, epoch_length: int, first_join: int) -> NDArray[np.int64]:
    if epoch_length < 1 or not 0 <= first_join <= n:
        raise InputError(
            f"epoch_length={epoch_length}, first_join={first_join}; give samples within {n}."
        )
    borders = np.unique(np.concatenate([[0], np.arange(first_join, n, epoch_length), [n]]))
    return np.stack([borders[:-1], borders[1:]], axis=1)


def _count_spikes(path: Path, bin_s: float, on_error: OnError) -> RawSignals:
    """Count the spikes of each unit in bins; recorded spans become segments."""
    from irrev.readers.spikes import open_spikes

    if not bin_s > 0:
        raise InputError(f"spike_bin is {bin_s}; give a width in seconds.")
    return bin_counts(open_spikes(path, on_error=on_error), bin_s)


def bin_counts(spikes: xr.Dataset, bin_s: float) -> RawSignals:
    """Count spikes in bins: shape (bin, unit), one segment for each recorded span.

    Parameters
    ----------
    spikes
        Dataset of kind "spikes".
    bin_s
        Width of a bin, s; far below the correlation time of interest.
    """
    times = spikes["spike_times"].to_numpy()
    index = spikes["spike_times_index"].to_numpy()
    unit = np.repeat(np.arange(index.size), np.diff(index, prepend=0))
    counts, segments, first = [], [], 0
    spans = zip(
        spikes["observed_start"].to_numpy(), spikes["observed_stop"].to_numpy(), strict=True
    )
    for start, stop in spans:
        n_bins = int((stop - start) / bin_s + 1e-9)
        bins = np.floor((times - start) / bin_s + 1e-9).astype(np.int64)
        inside = (times >= start) & (bins < n_bins)
        flat = bins[inside] * index.size + unit[inside]
        counts.append(np.bincount(flat, minlength=n_bins * index.size).reshape(n_bins, -1))
        segments.append((first, first + n_bins))
        first += n_bins
    signal = np.concatenate(counts).astype(np.float32)
    names = [str(u) for u in spikes["unit"].to_numpy()]
    return RawSignals(signal, names, 1 / bin_s, segments=np.array(segments))
