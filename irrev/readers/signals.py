"""Multichannel signals as a file has them, made into the Dataset of kind `timeseries`.

What every format shares: a sampling rate that is stated or follows from regular times, segments
that no spectrum may cross, missing values that are counted and kept, and channels with names.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev import schema
from irrev.readers.raw import Findings

JITTER = 0.01  # of a step: larger differences of sampling times are irregular, not rounding
MAX_GAPS = 0.01  # of the steps; more than that is irregular sampling


@dataclass(slots=True)
class RawSignals:
    """Channels as a file has them."""

    signal: NDArray[np.generic]  # (time, channel)
    names: list[str]
    rate: float | None = None  # Hz
    times: NDArray[np.float64] | None = None  # (time,) s, where the file has them
    segments: NDArray[np.int64] | None = None  # (segment, 2) half-open
    units: list[str] = field(default_factory=list)
    shared_reference: bool = False


def to_dataset(
    raw: RawSignals, findings: Findings, *, resample: bool, reader: str, version: int
) -> xr.Dataset:
    """Check channels and times and return them under the names of `irrev.schema`.

    Parameters
    ----------
    raw
        Channels as read.
    findings
        Collects what is found.
    resample
        Interpolate irregular times linearly to their median rate.
    reader, version
        Stored as attributes.

    Returns
    -------
        Dataset of kind "timeseries".

    Raises
    ------
    FormatError
        If there is no rate, times are irregular and `resample` is off, or nothing is there.
    """
    if raw.signal.ndim != 2 or 0 in raw.signal.shape:
        raise findings.error(
            f"the signal has shape {raw.signal.shape}", "give an array (time, channel)"
        )
    if raw.signal.dtype.kind not in "fiub":
        raise findings.error(
            f"the signal has type {raw.signal.dtype}", "give real numbers, not texts or complex"
        )
    if raw.times is not None:
        _regular(raw, findings, resample)
    if raw.rate is None or not np.isfinite(raw.rate) or raw.rate <= 0:
        raise findings.error("no sampling rate is known", "set sampling_rate in Hz")
    signal = raw.signal if raw.signal.dtype.kind == "f" else raw.signal.astype(np.float64)
    missing = ~np.isfinite(signal)
    if missing.any():
        t, c = np.argwhere(missing)[0]
        findings.note(
            "missing_values",
            int(missing.any(axis=1).sum()),
            f"{int(missing.sum()):,} values are missing, first in {raw.names[c]} at sample {t}",
        )
    ranges = np.array([[0, len(signal)]]) if raw.segments is None else raw.segments
    rows = list(zip(*findings.rows, strict=True)) or [(), (), (), ()]
    units = raw.units or [""] * len(raw.names)
    ds = xr.Dataset(
        {
            "signal": (("time", "channel"), signal),
            "channel_units": ("channel", np.array(units, dtype=object)),
            "sampling_rate": ((), float(raw.rate)),
            "segment_start": ("segment", ranges[:, 0].astype(np.int64)),
            "segment_stop": ("segment", ranges[:, 1].astype(np.int64)),
            "shared_reference": ((), bool(raw.shared_reference)),
            "check": ("check", np.array(rows[0], dtype=object)),
            "check_count": ("check", np.array(rows[1], dtype=np.int64)),
            "check_action": ("check", np.array(rows[2], dtype=object)),
            "check_detail": ("check", np.array(rows[3], dtype=object)),
        },
        coords={"channel": np.array(raw.names, dtype=object)},
        attrs={"reader": reader, "reader_version": version},
    )
    return schema.validate(ds, "timeseries")


def _regular(raw: RawSignals, findings: Findings, resample: bool) -> None:
    """Take the rate from the times; gaps become segment borders, irregular times an error."""
    times = np.asarray(raw.times, dtype=np.float64)
    steps = np.diff(times)
    if times.size < 2 or not np.isfinite(times).all() or (steps <= 0).any():
        bad = int(np.argmin(steps)) + 1 if times.size > 1 else 0
        raise findings.error(
            f"times do not ascend at row {bad}", "sort the rows by time and drop repeated ones"
        )
    step = float(np.median(steps))
    off = np.abs(steps - step) > JITTER * step
    gaps = off & (np.abs(steps / step - np.round(steps / step)) < JITTER * steps / step)
    raw.rate = 1 / step if raw.rate is None else raw.rate
    if not off.any():
        return
    if off.sum() == gaps.sum() and off.mean() <= MAX_GAPS:
        findings.fault(
            "gaps",
            int(gaps.sum()),
            "repaired",
            f"{int(gaps.sum())} gaps in the times, the longest of {steps.max():.4g} s",
            "cut the file at the gaps or set on_error: quarantine",
        )
        borders = np.concatenate([[0], np.flatnonzero(gaps) + 1, [times.size]])
        raw.segments = np.stack([borders[:-1], borders[1:]], axis=1)
        return
    if not resample:
        raise findings.error(
            f"sampling is irregular: {int(off.sum()):,} of {steps.size:,} steps differ from "
            f"{step:.4g} s by more than {JITTER:.0%}",
            "set resample: true to interpolate, or give regular samples",
        )
    regular = np.arange(times[0], times[-1] + step / 2, step)
    raw.signal = np.stack([np.interp(regular, times, c) for c in raw.signal.T], axis=1)
    findings.note("resampled", int(off.sum()), f"interpolated linearly to steps of {step:.4g} s")


def default_names(n: int) -> list[str]:
    """Name channels that have no names: "0", "1", ..."""
    return [str(c) for c in range(n)]


def as_columns(
    signal: NDArray[np.generic], findings: Findings, transpose: bool
) -> NDArray[np.generic]:
    """Return (time, channel); refuse an array that is wider than long, unless told.

    Raises
    ------
    FormatError
        If the array has more channels than samples, so its axes are likely exchanged.
    """
    if signal.ndim == 1:
        return signal[:, None]
    if transpose:
        return signal.T
    refuse_exchanged(signal.shape, findings)
    return signal


def refuse_exchanged(shape: tuple[int, ...], findings: Findings) -> None:
    """Refuse a shape that is wider than long: its axes are likely exchanged.

    Raises
    ------
    FormatError
        With the way to mend it.
    """
    if len(shape) == 2 and shape[1] > shape[0]:
        raise findings.error(
            f"the array has shape {shape}, more channels than samples",
            "set transpose: true if its rows are channels",
        )


def beside(path: Path, name: str, findings: Findings) -> Path:
    """Return the file of that bare name in the same folder.

    Raises
    ------
    FormatError
        If the name leaves the folder or no such file exists.
    """
    other = path.parent / Path(name).name
    if not other.is_file():
        raise findings.error(f"its data file {Path(name).name} is not there", "copy it too")
    return other
