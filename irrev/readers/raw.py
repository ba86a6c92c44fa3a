"""Spike trains as a file has them, and the list of what is wrong with them."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from irrev.errors import FormatError, InputError


@dataclass(slots=True)
class Findings:
    """What the checks found in one file."""

    file: str
    stop: bool
    rows: list[tuple[str, int, str, str]] = field(default_factory=list)

    def fault(self, name: str, count: int, action: str, detail: str, mend: str) -> None:
        """List a fault, or raise it as `file: detail; mend` where faults stop the reading."""
        if self.stop:
            raise self.error(detail, mend)
        self.rows.append((name, int(count), action, detail))

    def note(self, name: str, count: int, detail: str) -> None:
        """List something worth knowing about usable data."""
        self.rows.append((name, int(count), "kept", detail))

    def error(self, detail: str, mend: str) -> FormatError:
        """Return the error of a file that cannot be used."""
        return FormatError(f"{self.file}: {detail}; {mend}.")


@dataclass(slots=True)
class RawSpikes:
    """Spike trains as a file has them, times already in seconds."""

    times: NDArray[np.float64]  # (spike,) unit after unit
    index: NDArray[np.int64]  # (unit,) end offsets
    ids: list[str]  # (unit,)
    columns: dict[str, NDArray[np.generic]] = field(default_factory=dict)  # (unit,) each
    # starts, stops (s), tables, labels and further columns of labelled intervals, (interval,)
    starts: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    stops: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    tables: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    interval_columns: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    # recorded spans where the file states them: (span, 2) and the unit of each, -1 for all
    stated: NDArray[np.float64] | None = None
    stated_unit: NDArray[np.int64] | None = None
    resolution_s: float = 0.0  # of the stored times at their largest, s
    unit_is_given: bool = False  # the caller stated the unit of the times: no guessing


def single_precision_step(stored: NDArray[np.generic], seconds: NDArray[np.float64]) -> float:
    """Return the spacing of single-precision times at their largest, s; finer types give 0."""
    if stored.dtype.kind != "f" or stored.dtype.itemsize > 4:
        return 0.0
    largest = np.abs(seconds[np.isfinite(seconds)]).max(initial=0.0)
    return float(largest) * (2.0**-23 if stored.dtype.itemsize == 4 else 2.0**-10)


def to_seconds(
    stored: NDArray[np.generic], findings: Findings, tick: float | None
) -> NDArray[np.float64]:
    """Return stored times in seconds; `tick` is their unit in s, None s, NaN unknown."""
    if tick is not None and np.isnan(tick):
        raise InputError(
            f"{findings.file}: time_unit is samples but no sampling rate is known; "
            "set sample_rate."
        )
    with np.errstate(invalid="ignore", over="ignore"):  # the checks find what is not finite
        return stored.ravel().astype(np.float64) * (1.0 if tick is None else tick)


def unit_of_spikes(index: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the unit of each spike, shape (spike,), from the end offsets."""
    return np.repeat(np.arange(index.size), np.diff(index, prepend=0))


def keep_spikes(raw: RawSpikes, keep: NDArray[np.bool_]) -> None:
    """Drop the other spikes in place."""
    counts = np.bincount(unit_of_spikes(raw.index)[keep], minlength=raw.index.size)
    raw.times, raw.index = raw.times[keep], np.cumsum(counts)


def keep_units(raw: RawSpikes, keep: NDArray[np.bool_]) -> None:
    """Drop the other units and their spikes in place."""
    keep_spikes(raw, keep[unit_of_spikes(raw.index)])
    raw.index = raw.index[keep]
    raw.ids = [name for name, kept in zip(raw.ids, keep, strict=True) if kept]
    raw.columns = {name: values[keep] for name, values in raw.columns.items()}
