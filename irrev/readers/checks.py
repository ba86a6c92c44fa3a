"""Checks and repairs of spike trains, whatever file they come from.

A reader fills `RawSpikes`; `to_dataset` mends it and returns the Dataset of `irrev.schema`.
A fault raises under `on_error="stop"`; otherwise it is mended and listed in the Dataset's check
table. A note is listed and never raises: the data are usable as they are. What makes the whole
file unusable always raises.
"""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev import schema
from irrev.readers.raw import Findings, RawSpikes, keep_spikes, keep_units, unit_of_spikes
from irrev.readers.spans import intersect_units, merge_spans, overlapping

SAMPLE_RATES = (10_000, 20_000, 24_414.0625, 25_000, 30_000, 32_000, 40_000, 50_000)  # per s
SCALE_FACTOR = 100  # times that exceed the intervals this much are not seconds (ms: 1000)
WHOLE_SPIKES = 100  # that many spikes, all at whole seconds, are not in seconds
SLOW_RATE = 0.01  # spikes per second: what units of a few spikes per second have in milliseconds
COARSE_S = 1e-4  # time resolution beyond which narrow bins are not meaningful
BORDER_S = 1e-6  # spikes this far outside the stated range are rounding, not faults


def to_dataset(raw: RawSpikes, findings: Findings, *, reader: str, version: int) -> xr.Dataset:
    """Check and mend spike trains and return them under the names of `irrev.schema`.

    Parameters
    ----------
    raw
        Spike trains as read.
    findings
        Collects what is found; reading may have added to it.
    reader, version
        Stored as attributes.

    Returns
    -------
        Dataset of kind "spikes"; times ascend within each unit and lie in the recorded spans'
        hull.

    Raises
    ------
    FormatError
        If nothing usable is left, or at the first fault where faults stop.
    """
    _check_index(raw, findings)
    _check_ids(raw, findings)
    _drop(raw, ~np.isfinite(raw.times), findings, "non_finite_times", "are not finite")
    _check_intervals(raw, findings)
    observed = _stated_spans(raw, findings)
    _check_scale(raw, observed, findings)
    _check_range(raw, observed, findings)
    _check_order(raw, findings)
    _check_units(raw, findings)
    if observed is None:
        observed = _spans_of_data(raw)
    _note_observation(raw, observed, findings)
    return _assemble(raw, observed, findings, reader, version)


def _check_index(raw: RawSpikes, findings: Findings) -> None:
    if not raw.ids or not raw.times.size:
        raise findings.error(
            f"there are {len(raw.ids)} units with {raw.times.size} spikes",
            "choose a file with sorted units",
        )
    steps = np.diff(raw.index, prepend=0)
    if (steps < 0).any():
        raise findings.error(
            f"end offsets of the units do not ascend (unit {raw.ids[int(np.argmax(steps < 0))]})",
            "the file is truncated or its index is wrong, export it again",
        )
    if raw.index.size != len(raw.ids) or raw.index[-1] != raw.times.size:
        raise findings.error(
            f"{raw.index.size} units end at spike {raw.index[-1]:,} but {len(raw.ids)} units and "
            f"{raw.times.size:,} spikes are there",
            "the file is truncated or its index is wrong, export it again",
        )


def _check_ids(raw: RawSpikes, findings: Findings) -> None:
    names, first, counts = np.unique(
        np.array(raw.ids, dtype=object), return_index=True, return_counts=True
    )
    twice = counts > 1
    if not twice.any():
        return
    repeats = int(np.sum(counts[twice] - 1))
    name = names[twice][np.argmin(first[twice])]
    findings.fault(
        "duplicate_unit_ids",
        repeats,
        "repaired",
        f"unit id {name} and {int(twice.sum()) - 1} others occur more than once",
        "give every unit its own id",
    )
    raw.ids = _unique(raw.ids)


def _unique(names: list[str]) -> list[str]:
    """Append #2, #3, ... to repeated names, avoiding names that exist."""
    taken, out = set(names), []
    seen: dict[str, int] = {}
    for name in names:
        number = seen.get(name, 0) + 1
        new = name if number == 1 else f"{name}#{number}"
        while number > 1 and new in taken:
            number += 1
            new = f"{name}#{number}"
        seen[name] = number
        taken.add(new)
        out.append(new)
    return out


def _drop(
    raw: RawSpikes, bad: NDArray[np.bool_], findings: Findings, name: str, what: str
) -> None:
    if not bad.any():
        return
    units = np.unique(unit_of_spikes(raw.index)[bad])
    example = raw.times[np.argmax(bad)]
    findings.fault(
        name,
        int(bad.sum()),
        "removed",
        f"{int(bad.sum()):,} spike times of {units.size} units {what} "
        f"(unit {raw.ids[units[0]]}, first {example:g} s)",
        "remove these spikes or set on_error: quarantine",
    )
    keep_spikes(raw, ~bad)


def _stated_spans(raw: RawSpikes, findings: Findings) -> NDArray[np.float64] | None:
    """Return the spans in which all units were recorded, or None if the file does not say."""
    if raw.stated is None or raw.stated_unit is None:
        return None
    good = np.isfinite(raw.stated).all(axis=1) & (raw.stated[:, 1] > raw.stated[:, 0])
    if not good.all():
        findings.fault(
            "bad_observed_spans",
            int((~good).sum()),
            "removed",
            f"{int((~good).sum())} recorded spans are empty or not finite",
            "correct obs_intervals",
        )
    spans, units = raw.stated[good], raw.stated_unit[good]
    if not len(spans):
        return None
    common = intersect_units(spans, units)
    if not len(common):
        raise findings.error(
            "no stretch of time was recorded from all units",
            "split the file into sessions whose units were recorded together",
        )
    union = merge_spans(spans)
    seconds, total = (float(np.sum(s[:, 1] - s[:, 0])) for s in (common, union))
    if seconds < total * (1 - 1e-9):
        findings.note(
            "uneven_observation",
            len(common),
            f"all units were recorded together for {seconds:g} s of {total:g} s",
        )
    return common


def _check_scale(raw: RawSpikes, observed: NDArray[np.float64] | None, findings: Findings) -> None:
    """Find units whose times are samples or milliseconds: they leave the recording by far."""
    if not raw.times.size:
        return
    if observed is None and not raw.starts.size:
        if not raw.unit_is_given:
            _check_whole_seconds(raw, findings)
        return
    end = float(raw.stops.max() if observed is None else observed[-1, 1])
    start = float(raw.starts.min() if observed is None else observed[0, 0])
    length = max(end - start, 1e-3)
    largest = np.zeros(raw.index.size)
    np.maximum.at(largest, unit_of_spikes(raw.index), raw.times)
    bad = largest > end + SCALE_FACTOR * length
    if not bad.any():
        return
    top = float(largest[bad].max())
    name = raw.ids[int(np.argmax(bad))]
    what, mend = _scale_words(top / length)
    detail = (
        f"unit {name} has spike times up to {largest[np.argmax(bad)]:.3g} s "
        f"in a recording of {length:,.4g} s{what}"
    )
    if bad.all():
        raise findings.error(detail, mend)
    findings.fault("times_not_in_seconds", int(bad.sum()), "removed", detail, mend)
    keep_units(raw, ~bad)


def _scale_words(ratio: float) -> tuple[str, str]:
    """Name the unit that brings the times back into the recording."""
    if ratio <= 1000 * 1.01:
        return "; they look like milliseconds", "set time_unit: ms"
    rate = next((r for r in SAMPLE_RATES if r * 1.01 >= ratio), None)
    if rate is None:
        return "", "check the unit of the times"
    return (
        f"; they look like samples ({rate:,.10g} per second)",
        f"set time_unit: samples and sample_rate: {rate:.10g} Hz",
    )


def _check_whole_seconds(raw: RawSpikes, findings: Findings) -> None:
    """Without a stated range only the grid of the times can tell."""
    if raw.times.size >= WHOLE_SPIKES and np.all(raw.times == np.rint(raw.times)):
        raise findings.error(
            f"all {raw.times.size:,} spike times are whole numbers up to {raw.times.max():.4g}; "
            "they look like samples or milliseconds",
            "set time_unit: samples with sample_rate, or time_unit: ms",
        )


def _check_range(raw: RawSpikes, observed: NDArray[np.float64] | None, findings: Findings) -> None:
    first = 0.0 if observed is None else min(0.0, float(observed[0, 0]))
    if observed is None and raw.starts.size:
        first = min(first, float(raw.starts.min()))
    _drop(raw, raw.times < first - BORDER_S, findings, "negative_times", "are negative")
    if observed is None:
        return
    low, high = observed[0, 0] - BORDER_S, observed[-1, 1] + BORDER_S
    what = f"lie outside the recording ({observed[0, 0]:g} to {observed[-1, 1]:g} s)"
    bad = (raw.times < low) | (raw.times > high)
    if bad.all() and bad.size:
        raise findings.error(
            f"all {bad.size:,} spike times {what}", "check the unit and the origin of the times"
        )
    _drop(raw, bad, findings, "outside_recording", what)


def _check_order(raw: RawSpikes, findings: Findings) -> None:
    """Sort within units and keep one of several spikes of a unit at the same time."""
    unit = unit_of_spikes(raw.index)
    same = unit[1:] == unit[:-1]
    back = same & (raw.times[1:] < raw.times[:-1])
    if back.any():
        units = np.unique(unit[1:][back])
        findings.fault(
            "unsorted_times",
            units.size,
            "repaired",
            f"spike times of {units.size} units do not ascend (unit {raw.ids[units[0]]})",
            "sort them or set on_error: quarantine",
        )
        raw.times = raw.times[np.lexsort((raw.times, unit))]
    twice = np.concatenate([[False], same & (raw.times[1:] == raw.times[:-1])])[: unit.size]
    _drop(raw, twice, findings, "duplicate_spikes", "occur more than once")


def _check_units(raw: RawSpikes, findings: Findings) -> None:
    if not raw.times.size:
        raise findings.error("no usable spike is left", "see what the checks removed")
    silent = np.diff(raw.index, prepend=0) == 0
    if silent.any():
        name = raw.ids[int(np.argmax(silent))]
        findings.note("silent_units", silent.sum(), f"units without a spike (unit {name})")
    _note_rates(raw, findings)
    if len(raw.ids) == 1:
        findings.fault(
            "one_unit",
            1,
            "kept",
            f"only unit {raw.ids[0]} is there, pairs need two",
            "choose a file with more units",
        )
    if raw.resolution_s > COARSE_S:
        findings.note(
            "coarse_times",
            raw.times.size,
            f"times are stored in steps of {raw.resolution_s:.2g} s at their end",
        )


def _note_rates(raw: RawSpikes, findings: Findings) -> None:
    """Doubt the unit of times that nobody stated where hardly any unit spikes."""
    span = float(np.ptp(raw.times))
    if raw.unit_is_given or raw.times.size < WHOLE_SPIKES or not span:
        return
    rates = np.diff(raw.index, prepend=0) / span
    if np.median(rates) < SLOW_RATE:
        findings.note(
            "low_rates",
            int(np.sum(rates < SLOW_RATE)),
            f"half of the units spike less than {np.median(rates):.2g} times per second; if the "
            "times are milliseconds or samples set time_unit",
        )


def _check_intervals(raw: RawSpikes, findings: Findings) -> None:
    """Drop intervals without length; note the ones that overlap under the same label."""
    good = np.isfinite(raw.starts) & np.isfinite(raw.stops) & (raw.stops > raw.starts)
    if not good.all():
        worst = int(np.argmin(good))
        findings.fault(
            "empty_intervals",
            int((~good).sum()),
            "removed",
            f"{int((~good).sum())} intervals have no length ({raw.tables[worst]} "
            f"{raw.labels[worst]}, {raw.starts[worst]:g} to {raw.stops[worst]:g} s)",
            "correct their start_time and stop_time",
        )
        raw.starts, raw.stops = raw.starts[good], raw.stops[good]
        raw.tables = [t for t, kept in zip(raw.tables, good, strict=True) if kept]
        raw.labels = [t for t, kept in zip(raw.labels, good, strict=True) if kept]
        raw.interval_columns = {k: v[good] for k, v in raw.interval_columns.items()}
    groups: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(zip(raw.tables, raw.labels, strict=True)):
        groups.setdefault(key, []).append(row)
    for (table, label), rows in groups.items():
        spans = np.column_stack([raw.starts[rows], raw.stops[rows]])
        count = overlapping(spans)
        if count:
            findings.fault(
                "overlapping_intervals",
                count,
                "kept",
                f"{count} intervals of {table} {label} overlap; conditions merge them",
                "correct their start_time and stop_time",
            )


def _spans_of_data(raw: RawSpikes) -> NDArray[np.float64]:
    """Return the hull of spikes and intervals for files that do not say when they recorded."""
    edges = np.concatenate([[raw.times.min(), raw.times.max()], raw.starts, raw.stops])
    return np.array([[edges.min(), edges.max()]])


def _note_observation(raw: RawSpikes, observed: NDArray[np.float64], findings: Findings) -> None:
    gaps = observed[1:, 0] - observed[:-1, 1]
    if gaps.size:
        findings.note(
            "gaps",
            gaps.size,
            f"{gaps.size} gaps of {gaps.sum():g} s in all; no transition crosses them",
        )
    outside = (raw.starts < observed[0, 0] - BORDER_S) | (raw.stops > observed[-1, 1] + BORDER_S)
    if outside.any():
        row = int(np.argmax(outside))
        findings.note(
            "intervals_outside_recording",
            int(outside.sum()),
            f"{raw.tables[row]} {raw.labels[row]} runs from {raw.starts[row]:g} to "
            f"{raw.stops[row]:g} s; only the recorded part is used",
        )


def _assemble(
    raw: RawSpikes,
    observed: NDArray[np.float64],
    findings: Findings,
    reader: str,
    version: int,
) -> xr.Dataset:
    checks = list(zip(*findings.rows, strict=True)) or [(), (), (), ()]
    known = {
        "spike_times": ("spike", raw.times.astype(np.float64)),
        "spike_times_index": ("unit", raw.index.astype(np.int64)),
        "unit": ("unit", np.array(raw.ids, dtype=object)),
        "interval_start": ("interval", raw.starts.astype(np.float64)),
        "interval_stop": ("interval", raw.stops.astype(np.float64)),
        "interval_table": ("interval", np.array(raw.tables, dtype=object)),
        "interval_label": ("interval", np.array(raw.labels, dtype=object)),
        "observed_start": ("observed", observed[:, 0]),
        "observed_stop": ("observed", observed[:, 1]),
        "check": ("check", np.array(checks[0], dtype=object)),
        "check_count": ("check", np.array(checks[1], dtype=np.int64)),
        "check_action": ("check", np.array(checks[2], dtype=object)),
        "check_detail": ("check", np.array(checks[3], dtype=object)),
    }
    reserved = {variable.name for variable in schema.KINDS["spikes"].variables}
    reserved = (reserved - {"area", "x_um", "y_um"}) | {"spike", "interval", "observed"}
    units = {k: ("unit", v) for k, v in raw.columns.items() if k not in reserved}
    rows = {
        f"interval_{k}": ("interval", v)
        for k, v in raw.interval_columns.items()
        if f"interval_{k}" not in reserved
    }
    return xr.Dataset(rows | units | known, attrs={"reader": reader, "reader_version": version})
