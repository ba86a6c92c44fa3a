"""The signal of a Zarr group written by xarray: found by name or shape, not read yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.readers.raw import Findings
from irrev.readers.zarr_groups import open_group

RATE_NAMES = ("sampling_rate", "sample_rate", "fs", "fs_hz", "sfreq", "srate")


@dataclass(frozen=True, slots=True)
class ZarrSignal:
    """An array of a group and what the group says of it."""

    name: str
    signal: xr.Variable  # reads what is asked of it
    names: list[str] | None  # of the channels
    rate: float | None  # Hz
    times: NDArray[np.float64] | None  # s, where there is no rate


def zarr_signal(path: Path, findings: Findings, array: str | None) -> ZarrSignal:
    """Find the signal of a Zarr group.

    Parameters
    ----------
    path
        Folder of the group.
    findings
        Names the file in errors.
    array
        Name of the array; the only one with two dimensions when None.

    Raises
    ------
    FormatError
        If it is no group that xarray opens, or the array cannot be told.
    MissingExtraError
        If zarr is not installed.
    """
    ds = open_group(path, findings)
    name = pick_array({str(k): v.ndim for k, v in ds.data_vars.items()}, array, findings)
    names = [str(v) for v in ds["channel"].to_numpy()] if "channel" in ds.coords else None
    rates = [float(ds[k]) for k in RATE_NAMES if k in ds.variables and ds[k].size == 1]
    rates += [float(ds.attrs[k]) for k in RATE_NAMES if k in ds.attrs]
    timed = not rates and "time" in ds.coords
    times = seconds_of(ds["time"].to_numpy()) if timed else None
    return ZarrSignal(name, ds[name].variable, names, rates[0] if rates else None, times)


def pick_array(ndims: Mapping[str, int], array: str | None, findings: Findings) -> str:
    """Choose the array by name, or the only one with two dimensions."""
    wide = [name for name, n in ndims.items() if n == 2]
    if array is not None and array in ndims:
        return array
    if array is None and len(wide) == 1:
        return wide[0]
    raise findings.error(
        f"it holds the arrays {', '.join(ndims) or 'none'}", "name one of them: `array: ...`"
    )


def seconds_of(times: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return times as seconds; dates count from the first."""
    if times.dtype.kind == "M":
        return (times - times[0]) / np.timedelta64(1, "us") * 1e-6
    return times.astype(np.float64)
