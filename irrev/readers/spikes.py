"""Spike trains of any known format; this module picks the format by content and suffix."""

from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from irrev.errors import FormatError, InputError, MissingExtraError
from irrev.readers import OnError

TimeUnit = Literal["s", "ms", "samples"]


def open_spikes(
    path: Path,
    *,
    on_error: OnError = "quarantine",
    time_unit: TimeUnit = "s",
    sample_rate: float | None = None,
) -> xr.Dataset:
    """Read spike trains from a file or folder.

    Parameters
    ----------
    path
        NWB file.
    on_error
        `quarantine` mends and lists faults; `stop` raises at the first.
    time_unit
        Unit of the stored spike times.
    sample_rate
        Samples per second, for times in samples.

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
    stop = on_error == "stop"
    try:
        from irrev.readers import hdf5, nwb
    except ImportError as error:
        raise MissingExtraError(
            "HDF5 files need h5py; install it with pip install 'irrev[spikes]'."
        ) from error
    if not hdf5.is_hdf5(path):
        raise FormatError(f"{path.name}: not an HDF5 file; choose an NWB file.")
    return nwb.read_nwb(path, stop=stop, seconds_per_tick=tick)


def _seconds_per_tick(time_unit: TimeUnit, sample_rate: float | None) -> float | None:
    """Return the unit of the times in s; None for seconds, NaN for samples of unknown rate."""
    if sample_rate is not None and not (np.isfinite(sample_rate) and sample_rate > 0):
        raise InputError(f"sample_rate is {sample_rate}; give samples per second.")
    if time_unit not in ("s", "ms", "samples"):
        raise InputError(f"time_unit is {time_unit!r}; choose s, ms or samples.")
    if time_unit == "samples":
        return float("nan") if sample_rate is None else 1 / sample_rate
    return 1e-3 if time_unit == "ms" else None
