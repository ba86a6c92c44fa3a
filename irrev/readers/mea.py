"""Multi-electrode recordings in the HDF5 layout of the retina and culture repositories.

`spikes` holds all spike times unit after unit, `sCount` the number of each unit, `names` and
`epos` (2 x unit, um) its name and place, `recordingtime` start and stop. Where the last is absent,
`summary/duration` is the range: from 0 if all spikes fit, else from the first spike, because the
writers of these files took it from first to last spike, rounded up.

Source: Eglen et al., GigaScience 3:3 (2014).
"""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from irrev.readers import hdf5
from irrev.readers.raw import Findings, RawSpikes, single_precision_step, to_seconds

VERSION = 1


def is_mea(file: h5py.File) -> bool:
    """Say whether a file has the columns of this layout."""
    return {"spikes", "sCount"} <= set(hdf5.members(file))


def read_mea(
    path: Path, findings: Findings, *, seconds_per_tick: float | None = None
) -> RawSpikes:
    """Read a multi-electrode file.

    Parameters
    ----------
    path
        HDF5 file with `spikes` and `sCount`.
    findings
        Collects what is wrong.
    seconds_per_tick
        Length of the unit of the spike times, s; default: they are seconds.

    Raises
    ------
    FormatError
        If the file is damaged or its counts do not fit its spikes.
    """
    with hdf5.open_hdf5(path) as file:
        stored, counts = hdf5.numbers(file, "spikes"), hdf5.numbers(file, "sCount")
        if stored is None or counts is None or counts.dtype.kind not in "iu":
            raise findings.error(
                "`spikes` or `sCount` hold no numbers", "the file is damaged, copy it again"
            )
        counts = counts.ravel().astype(np.int64)
        if (counts < 0).any() or counts.sum() != stored.size:
            raise findings.error(
                f"sCount adds up to {counts.sum():,} but {stored.size:,} spikes are there",
                "the file is truncated, copy it again",
            )
        times = to_seconds(stored, findings, seconds_per_tick)
        raw = RawSpikes(
            times=times,
            index=np.cumsum(counts),
            ids=_names(file, counts.size),
            columns=_columns(file, counts.size),
            resolution_s=single_precision_step(stored, times),
        )
        span = _recorded(file, times)
    if span is not None:
        raw.stated, raw.stated_unit = span, np.array([-1])
    return raw


def _names(file: h5py.File, n_units: int) -> list[str]:
    data = hdf5.column(file, "names")
    if data is not None and data.size == n_units and hdf5.is_text(data):
        return [str(name) for name in hdf5.texts(data)]
    return [str(unit) for unit in range(n_units)]


def _columns(file: h5py.File, n_units: int) -> dict[str, NDArray[np.generic]]:
    columns: dict[str, NDArray[np.generic]] = {}
    places = hdf5.numbers(file, "epos")
    if places is not None and places.shape == (n_units, 2) and n_units != 2:
        places = places.T
    if places is not None and places.shape == (2, n_units):
        columns["x_um"], columns["y_um"] = places.astype(np.float64)
    region = hdf5.column(file, "meta/region")
    if region is not None and hdf5.is_text(region) and region.size == 1:
        columns["area"] = np.full(n_units, hdf5.texts(region)[0], dtype=object)
    return columns


def _recorded(file: h5py.File, times: NDArray[np.float64]) -> NDArray[np.float64] | None:
    span = hdf5.numbers(file, "recordingtime")
    if span is not None and span.size == 2:
        return span.astype(np.float64).reshape(1, 2)
    length = hdf5.numbers(file, "summary/duration")
    finite = times[np.isfinite(times)]
    if length is None or length.size != 1 or not finite.size:
        return None
    duration = float(length.ravel()[0])
    start = 0.0 if finite.max() <= duration else float(finite.min())
    return np.array([[start, start + duration]])
