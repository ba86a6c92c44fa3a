"""EEGLAB, EDF and BDF files, and through MNE the other formats of the field.

EEGLAB: the header is a MATLAB struct, the samples single precision, channel fastest, in the
header itself or in a .fdt file beside it; epochs (trials > 1) and `boundary` events become
segments. EDF: 16-bit records (BDF 24-bit) scaled by the physical and digital extremes of each
channel; records of EDF+D that do not follow one another become segments. Channels that are
sampled at another rate than most are left out.

Sources: EEGLAB wiki, the EEG structure; Kemp et al., Electroencephalogr. Clin. Neurophysiol. 82,
391 (1992); Kemp and Olivan, Clin. Neurophysiol. 114, 1755 (2003).
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irrev.errors import MissingExtraError
from irrev.readers.arrays import BROKEN
from irrev.readers.mstruct import read_structs
from irrev.readers.raw import Findings
from irrev.readers.signals import RawSignals, beside, default_names

MAX_CHANNELS = 10_000


def read_eeglab(path: Path, findings: Findings) -> RawSignals:
    """Read an EEGLAB header and its samples.

    Parameters
    ----------
    path
        The .set file; a .fdt file named in it must lie beside it.
    findings
        Collects what is found.

    Raises
    ------
    FormatError
        If the header is incomplete or the samples do not fit it.
    """
    found = read_structs(path)
    head: dict[str, Any] = found["EEG"] if isinstance(found.get("EEG"), dict) else found
    try:
        n_channels, n_points, n_trials = (
            int(np.ravel(head[k])[0]) for k in ("nbchan", "pnts", "trials")
        )
        rate = float(np.ravel(head["srate"])[0])
        data = head["data"]
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise findings.error(
            f"the header has no usable {error}", "save it again with EEGLAB (not as version 7.3)"
        ) from error
    if isinstance(data, str):
        values = np.fromfile(beside(path, data, findings), dtype="<f4")
    else:
        values = np.ravel(data, order="F")
    if n_channels < 1 or values.size != n_channels * n_points * n_trials:
        raise findings.error(
            f"{values.size:,} samples for {n_channels} channels x {n_points} x {n_trials}",
            "the .fdt file is truncated or of another .set, copy both again",
        )
    signal = values.reshape(-1, n_channels)
    segments = _trials(n_points, n_trials) if n_trials > 1 else _boundaries(head, len(signal))
    return RawSignals(
        signal, _labels(head, n_channels), rate, segments=segments, shared_reference=True
    )


def _trials(n_points: int, n_trials: int) -> NDArray[np.int64]:
    starts = np.arange(n_trials) * n_points
    return np.stack([starts, starts + n_points], axis=1)


def _boundaries(head: dict[str, Any], n: int) -> NDArray[np.int64] | None:
    """Segments between `boundary` events, whose latency is half a sample after a join."""
    events = head.get("event")
    events = [events] if isinstance(events, dict) else events
    if not isinstance(events, list):
        return None
    cuts = [
        int(np.ceil(float(np.ravel(e["latency"])[0]) - 1))
        for e in events
        if str(e.get("type")) == "boundary" and isinstance(e.get("latency"), np.ndarray)
    ]
    borders = np.unique([0, *(c for c in cuts if 0 < c < n), n])
    return np.stack([borders[:-1], borders[1:]], axis=1) if borders.size > 2 else None


def _labels(head: dict[str, Any], n_channels: int) -> list[str]:
    places = head.get("chanlocs")
    places = [places] if isinstance(places, dict) else places
    if not isinstance(places, list) or len(places) != n_channels:
        return default_names(n_channels)
    return [str(p.get("labels") or c) for c, p in enumerate(places)]


def read_edf(path: Path, findings: Findings) -> RawSignals:
    """Read an EDF, EDF+ or BDF file.

    Parameters
    ----------
    path
        Path of the file.
    findings
        Collects what is found; channels of another rate are listed.

    Raises
    ------
    FormatError
        If the header is not EDF or the records are missing.
    """
    content = path.read_bytes()
    try:
        return _edf(content, findings)
    except BROKEN as error:
        reason = " ".join(str(error).split())[:200]
        raise findings.error(
            f"not a readable EDF or BDF file ({reason})", "copy or export it again"
        ) from error


def _edf(content: bytes, findings: Findings) -> RawSignals:
    if content[:8].strip() not in (b"0", b"\xffBIOSEMI"):
        raise ValueError("no EDF header")
    width = 3 if content[:1] == b"\xff" else 2
    n_signals, header_bytes = int(content[252:256]), int(content[184:192])
    if not 0 < n_signals <= MAX_CHANNELS or header_bytes != 256 * (n_signals + 1):
        raise ValueError(f"{n_signals} signals with a header of {header_bytes} bytes")
    labels = _field(content, n_signals, 0, 16)
    units = _field(content, n_signals, 96, 8)
    low, high, dig_low, dig_high, sizes = (
        np.array([float(v) for v in _field(content, n_signals, at, 8)])
        for at in (104, 112, 120, 128, 216)
    )
    per_record, seconds = sizes.astype(np.int64), float(content[244:252])
    record_bytes = int(per_record.sum()) * width
    n_records = (len(content) - header_bytes) // record_bytes if record_bytes else 0
    stated = int(content[236:244])
    if n_records < 1 or seconds <= 0 or stated > n_records:
        raise ValueError(f"{n_records} of {stated} records of {seconds} s are there")
    n_records = stated if stated > 0 else n_records
    body = np.frombuffer(content, np.uint8, n_records * record_bytes, header_bytes)
    records = body.reshape(n_records, record_bytes)
    ends = np.cumsum(per_record) * width
    notes = [i for i, name in enumerate(labels) if name.endswith("Annotations")]
    kept = _common_rate(labels, per_record, seconds, notes, findings)
    columns = []
    for i in kept:
        part = records[:, ends[i] - per_record[i] * width : ends[i]]
        gain = (high[i] - low[i]) / (dig_high[i] - dig_low[i])
        columns.append((_integers(part, width) - dig_low[i]) * gain + low[i])
    segments = None
    if content[192:197] in (b"EDF+D", b"BDF+D") and notes:
        part = records[:, ends[notes[0]] - per_record[notes[0]] * width : ends[notes[0]]]
        segments = _discontinuous(part, seconds, int(per_record[kept[0]]))
    return RawSignals(
        np.stack(columns, axis=1).astype(np.float64),
        [labels[i] for i in kept],
        float(per_record[kept[0]] / seconds),
        segments=segments,
        units=[units[i] for i in kept],
        shared_reference=True,
    )


def _field(content: bytes, n: int, at: int, width: int) -> list[str]:
    start = 256 + at * n
    return [
        content[start + i * width : start + (i + 1) * width].decode("latin-1").strip()
        for i in range(n)
    ]


def _common_rate(
    labels: list[str],
    per_record: NDArray[np.int64],
    seconds: float,
    notes: list[int],
    findings: Findings,
) -> list[int]:
    """Channels of the commonest rate; the others cannot share a spectrum."""
    channels = [i for i in range(len(labels)) if i not in notes and per_record[i] > 0]
    if not channels:
        raise ValueError("there is no signal besides annotations")
    sizes, counts = np.unique(per_record[channels], return_counts=True)
    size = sizes[np.argmax(counts)]
    other = [labels[i] for i in channels if per_record[i] != size]
    if other:
        findings.fault(
            "other_rates",
            len(other),
            "removed",
            f"{', '.join(other[:5])} are not sampled at {size / seconds:g} Hz like the others",
            "resample them to one rate or set on_error: quarantine",
        )
    return [i for i in channels if per_record[i] == size]


def _integers(part: NDArray[np.uint8], width: int) -> NDArray[np.float64]:
    if width == 2:
        return np.ascontiguousarray(part).view("<i2").ravel().astype(np.float64)
    bytes3 = part.reshape(-1, 3).astype(np.int32)
    value = bytes3[:, 0] | bytes3[:, 1] << 8 | bytes3[:, 2] << 16
    return np.where(value >= 1 << 23, value - (1 << 24), value).astype(np.float64)


def _discontinuous(
    notes: NDArray[np.uint8], seconds: float, per_record: int
) -> NDArray[np.int64] | None:
    """Segments between records that do not start where the one before ended."""
    onsets = []
    for row in notes:
        match = re.match(rb"([+-]\d+(?:\.\d+)?)\x14\x14", row.tobytes())
        if match is None:
            return None
        onsets.append(float(match[1]))
    jumps = np.flatnonzero(np.abs(np.diff(onsets) - seconds) > 1e-3 * seconds) + 1
    borders = np.concatenate([[0], jumps, [len(onsets)]]) * per_record
    return np.stack([borders[:-1], borders[1:]], axis=1)


def read_mne(path: Path, findings: Findings) -> RawSignals:
    """Read what MNE reads, as continuous data.

    Parameters
    ----------
    path
        Path of the file.
    findings
        Collects what is found.

    Raises
    ------
    MissingExtraError
        If MNE is not installed.
    FormatError
        If MNE does not know or cannot read the file.
    """
    try:
        import mne
    except ImportError as error:
        raise MissingExtraError(
            f"{path.name}: this format is read by MNE; pip install 'irrev[eeg]'."
        ) from error
    try:
        raw = mne.io.read_raw(path, preload=True, verbose="ERROR")
    except (*BROKEN, AttributeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise findings.error(
            f"MNE does not read it ({reason})", "choose NPY, NPZ, CSV, Zarr, EEGLAB, EDF or NWB"
        ) from error
    signal = np.asarray(raw.get_data()).T
    rate = float(raw.info["sfreq"])
    joins = zip(raw.annotations.onset, raw.annotations.description, strict=True)
    cuts = [round((t - raw.first_time) * rate) for t, what in joins if "boundary" in what.lower()]
    borders = np.unique([0, *(c for c in cuts if 0 < c < len(signal)), len(signal)])
    segments = np.stack([borders[:-1], borders[1:]], axis=1)
    return RawSignals(signal, list(raw.ch_names), rate, segments=segments, shared_reference=True)
