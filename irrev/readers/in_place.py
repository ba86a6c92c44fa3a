"""Long records whose samples stay in their file: Zarr arrays and NPY files, read part by part.

What is stored of such a record are its names, rate, segments and where its samples begin; the
samples are read again when they are measured, from the file that the source names. A file that
has changed since is refused.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev import readers
from irrev.errors import FormatError, InputError
from irrev.readers.arrays import map_npy
from irrev.readers.raw import Findings
from irrev.readers.signals import RawSignals, default_names, refuse_exchanged
from irrev.readers.zarr_signals import ZarrSignal, zarr_signal

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class FileSamples:
    """The samples of one file; any part can be read, and it travels as a path."""

    path: str
    array: str  # name in a Zarr group, empty for NPY
    flip: bool  # rows are channels
    shape: tuple[int, int]  # (time, channel)

    def read(self, time: Span, channel: Span) -> NDArray[np.floating]:
        """Return some samples of some channels, shape (time, channel)."""
        first, second = (
            (slice(*channel), slice(*time)) if self.flip else (slice(*time), slice(*channel))
        )
        part = np.asarray(_opened(self.path, self.array)[first, second])
        part = part.T if self.flip else part
        return part if part.dtype.kind == "f" else part.astype(np.float64)

    def described(self) -> dict[str, Any]:
        """Return all but the path, for the store."""
        return {"array": self.array, "flip": self.flip, "shape": list(self.shape)}


@lru_cache(maxsize=8)
def _opened(path: str, array: str) -> Any:
    """Keep files open in a worker: opening costs more than a small read."""
    if not array:
        return map_npy(Path(path))
    return xr.open_dataset(path, engine="zarr", consolidated=False)[array].variable


def samples_of(recording: xr.Dataset, path: str | Path) -> FileSamples:
    """Point to the samples of a record that was read in place.

    Parameters
    ----------
    recording
        As `open_timeseries(path, in_place=True)` returned it.
    path
        Where the file is now.

    Raises
    ------
    InputError
        If the record was not read in place.
    FormatError
        If the file is gone or is not what was read.
    """
    if "samples" not in recording.attrs:
        raise InputError(
            "the record holds its samples; use in_place=True to leave them in the file."
        )
    check_unchanged(recording, path)
    found = recording.attrs["samples"]
    return FileSamples(str(path), found["array"], found["flip"], tuple(found["shape"]))


def check_unchanged(recording: xr.Dataset, path: str | Path) -> None:
    """Refuse a file whose content is not what was read, before and after it is measured.

    Raises
    ------
    FormatError
        If the file is gone or has other content.
    """
    path = Path(path)
    if not path.exists():
        raise FormatError(f"{path}: it is gone; its samples were left in place, so put it back.")
    if readers.content_hash(path) != recording.attrs["sha256"]:
        raise FormatError(f"{path}: changed since it was read; run again when it is complete.")


def open_in_place(
    path: Path, findings: Findings, *, array: str | None, transpose: bool
) -> tuple[str, RawSignals, FileSamples]:
    """Read all of a record but its samples.

    Parameters
    ----------
    path
        Zarr folder or NPY file.
    findings
        Names the file in errors.
    array, transpose
        As `irrev.readers.timeseries.open_timeseries`.

    Returns
    -------
        Name of the reader, the record with its first sample only, and where the samples are.

    Raises
    ------
    FormatError
        If the file is neither, or damaged.
    """
    if path.suffix.lower() == ".npy":
        found = ZarrSignal("", xr.Variable(("time", "channel"), map_npy(path)), None, None, None)
    elif path.is_dir():
        found = zarr_signal(path, findings, array)
    else:
        raise findings.error(
            "only Zarr folders and NPY files can be read in place", "set in_place: false"
        )
    signal = found.signal
    if signal.ndim != 2 or 0 in signal.shape or signal.dtype.kind not in "fiub":
        raise findings.error(
            f"the signal has shape {signal.shape} and type {signal.dtype}",
            "give real numbers (time, channel)",
        )
    flip = transpose or signal.dims == ("channel", "time")
    refuse_exchanged(signal.shape[::-1] if flip else signal.shape, findings)
    n, channels = signal.shape[::-1] if flip else signal.shape
    samples = FileSamples(str(path), found.name, flip, (n, channels))
    raw = RawSignals(
        samples.read((0, 1), (0, channels)),
        found.names or default_names(channels),
        found.rate,
        found.times,
        segments=np.array([[0, n]]),
    )
    return ("zarr" if found.name else "npy"), raw, samples
