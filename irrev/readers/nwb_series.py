"""ElectricalSeries (LFP, raw voltage, EEG) of an NWB file.

The series is named by its path, or is the only one of type ElectricalSeries in the file. Values
are scaled to volts; a stated rate is taken, else the timestamps must be regular.

Source: NWB schema 2, ElectricalSeries and TimeSeries.
"""

from pathlib import Path

import h5py
import numpy as np

from irrev.readers import hdf5
from irrev.readers.raw import Findings
from irrev.readers.signals import RawSignals, default_names

PLACES = ("acquisition", "processing")
MAX_DEPTH = 4  # processing/ecephys/LFP/series


def read_series(path: Path, findings: Findings, name: str | None = None) -> RawSignals:
    """Read one ElectricalSeries.

    Parameters
    ----------
    path
        HDF5 file.
    findings
        Collects what is found.
    name
        Path of the series in the file, e.g. "processing/ecephys/LFP/ElectricalSeries".

    Raises
    ------
    FormatError
        If there is no such series, several and no name, or its times are missing.
    """
    with hdf5.open_hdf5(path) as file:
        found = [p for place in PLACES for p in _series(file, place, MAX_DEPTH)]
        chosen = [p for p in found if p == name or p.split("/")[-1] == name] if name else found
        if len(chosen) != 1:
            raise findings.error(
                f"it holds the series {', '.join(found) or 'none'}", "name one: `array: ...`"
            )
        group = hdf5.subgroup(file, chosen[0])
        data = None if group is None else hdf5.column(group, "data")
        if group is None or data is None or data.ndim > 2:
            raise findings.error(f"{chosen[0]} has no data (time, channel)", "choose another")
        scale = float(np.ravel(data.attrs.get("conversion", 1.0))[0])
        signal = np.asarray(data[()], dtype=np.float64) * scale
        start = hdf5.column(group, "starting_time")
        times = hdf5.numbers(group, "timestamps")
        rate = None if start is None else float(np.ravel(start.attrs.get("rate", np.nan))[0])
        unit = str(data.attrs.get("unit", "volts"))
    signal = signal.reshape(len(signal), -1)
    return RawSignals(
        signal,
        default_names(signal.shape[1]),
        rate,
        times=None if rate is not None or times is None else times.astype(np.float64),
        units=[unit] * signal.shape[1],
        shared_reference=True,
    )


def _series(file: h5py.File, place: str, depth: int) -> list[str]:
    group = hdf5.subgroup(file, place)
    if group is None or depth < 0:
        return []
    kind = group.attrs.get("neurodata_type", "")
    if (kind.decode() if isinstance(kind, bytes) else str(kind)) == "ElectricalSeries":
        return [place]
    return [p for name in hdf5.members(group) for p in _series(file, f"{place}/{name}", depth - 1)]
