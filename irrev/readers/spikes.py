"""Spike trains of any known format; this module picks the format by content and suffix.

Formats: NWB, multi-electrode HDF5, Kilosort/Phy folders, and plain tables of (time, unit) in NPZ,
MAT and CSV.
"""

import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from irrev.errors import FormatError, InputError, MissingExtraError
from irrev.readers import OnError, kilosort, tables
from irrev.readers.checks import to_dataset
from irrev.readers.raw import Findings, RawSpikes

TimeUnit = Literal["s", "ms", "samples"]
TEXT_SUFFIXES = (".csv", ".tsv", ".txt")


def open_spikes(
    path: Path,
    *,
    on_error: OnError = "quarantine",
    time_unit: TimeUnit = "s",
    sample_rate: float | None = None,
    recording: tuple[float, float] | None = None,
) -> xr.Dataset:
    """Read spike trains from a file or folder.

    Parameters
    ----------
    path
        NWB, multi-electrode HDF5, NPZ, MAT or CSV file, or Kilosort/Phy folder.
    on_error
        `quarantine` mends and lists faults; `stop` raises at the first.
    time_unit
        Unit of the stored spike times; Kilosort folders are always in samples.
    sample_rate
        Samples per second, for times in samples; default from the file where it says so.
    recording
        Start and stop of the recording, s; for files that do not state them.

    Returns
    -------
        Dataset of kind "spikes".

    Raises
    ------
    FormatError
        If the content is not what its reader expects.
    InputError
        If the time unit is unknown or lacks its sample rate.
    MissingExtraError
        If the format needs a library that is not installed.
    """
    tick = _seconds_per_tick(time_unit, sample_rate)
    findings = Findings(path.name, on_error == "stop")
    if path.is_dir():
        reader, version = "kilosort", kilosort.VERSION
        if not kilosort.is_kilosort(path):
            raise findings.error(
                "there is no spike_times.npy in this folder", "choose a Kilosort or Phy folder"
            )
        raw = kilosort.read_kilosort(path, findings, sample_rate=sample_rate)
    else:
        reader, version, raw = _read_file(path, findings, tick)
        raw.unit_is_given = tick is not None
    if recording is not None:
        raw.stated, raw.stated_unit = _check_recording(recording), np.array([-1])
    return to_dataset(raw, findings, reader=reader, version=version)


def _read_file(path: Path, findings: Findings, tick: float | None) -> tuple[str, int, RawSpikes]:
    """Pick the format of a file and read it."""
    with path.open("rb") as stream:
        head = stream.read(8)
    if not head:
        raise findings.error("the file is empty", "copy or export it again")
    if _has_hdf5_signature(path):
        return _read_hdf5(path, findings, tick)
    if zipfile.is_zipfile(path) or head.startswith(b"PK") or path.suffix == ".npz":
        return "npz", tables.VERSION, tables.read_npz_spikes(path, findings, tick)
    if head.startswith(b"MATLAB") or path.suffix == ".mat":
        return "mat", tables.VERSION, tables.read_mat_spikes(path, findings, tick)
    if path.suffix.lower() in TEXT_SUFFIXES:
        return "csv", tables.VERSION, tables.read_csv_spikes(path, findings, tick)
    raise findings.error(
        f"the format is not known (it begins with {head!r})",
        "choose NWB, multi-electrode HDF5, NPZ, MAT, CSV or a Kilosort folder",
    )


def _has_hdf5_signature(path: Path) -> bool:
    """Say whether a file begins as HDF5 does (at 0, or behind a user block)."""
    with path.open("rb") as stream:
        for offset in (0, 512, 1024, 2048):
            stream.seek(offset)
            if stream.read(8) == b"\x89HDF\r\n\x1a\n":
                return True
    return path.suffix.lower() in (".nwb", ".h5", ".hdf5")


def _read_hdf5(path: Path, findings: Findings, tick: float | None) -> tuple[str, int, RawSpikes]:
    try:
        from irrev.readers import hdf5, mea, nwb
    except ImportError as error:
        raise MissingExtraError(
            f"{path.name}: HDF5 files need h5py; pip install 'irrev[spikes]'."
        ) from error
    with hdf5.open_hdf5(path) as file:
        layout = "mea" if mea.is_mea(file) else "nwb" if "units" in hdf5.members(file) else "other"
        is_matlab = any(
            "MATLAB_class" in hdf5.attribute_names(file, name) for name in hdf5.members(file)
        )
    if layout == "mea":
        return "mea", mea.VERSION, mea.read_mea(path, findings, seconds_per_tick=tick)
    if layout == "nwb":
        return "nwb", nwb.VERSION, nwb.read_nwb(path, findings, seconds_per_tick=tick)
    if is_matlab or path.suffix == ".mat":
        raw = tables.read_mat73_spikes(path, findings, tick)
        return "mat", tables.VERSION, raw
    raise FormatError(
        f"{path.name}: this HDF5 file has neither `units` (NWB) nor `spikes` and `sCount` "
        "(multi-electrode); choose a file with spike times."
    )


def _check_recording(
    recording: tuple[float, float],
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    start, stop = recording
    if not (np.isfinite(start) and np.isfinite(stop) and stop > start):
        raise InputError(f"recording runs from {start} to {stop} s; give start < stop.")
    return np.array([[start, stop]], dtype=np.float64)


def _seconds_per_tick(time_unit: TimeUnit, sample_rate: float | None) -> float | None:
    """Return the unit of the times in s; None for seconds, NaN for samples of unknown rate."""
    if sample_rate is not None and not (np.isfinite(sample_rate) and sample_rate > 0):
        raise InputError(f"sample_rate is {sample_rate}; give samples per second.")
    if time_unit not in ("s", "ms", "samples"):
        raise InputError(f"time_unit is {time_unit!r}; choose s, ms or samples.")
    if time_unit == "samples":
        return float("nan") if sample_rate is None else 1 / sample_rate
    return 1e-3 if time_unit == "ms" else None
