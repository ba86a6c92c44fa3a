"""Alert records, and how those on record combine with those found now: one alert a cause.

An alert on record keeps its identifier, its time and its acknowledgement when it is found again;
it is closed when late turns undo it or when its stream's classifier is replaced, because counts of
two classifiers must not be compared.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr

METHOD_VERSION = 1
Status = Literal["open", "ack", "closed"]
COLUMN_TYPES = {float: np.float64, int: np.int64, bool: np.bool_}


class StreamKey(NamedTuple):
    """What one series belongs to."""

    model: str
    variant: str
    stress: str
    classifier_version: str


@dataclass(frozen=True, slots=True)
class Alert:
    """One cause, as written to file and store."""

    alert_id: str  # hash of stream, detector and bin
    model: str
    variant: str
    stress: str
    detector: str  # the first to speak
    also: str  # the others that spoke in the same episode
    raised_at: str  # ISO time of the run that raised it
    bin: int
    bin_start: float  # s since 1970
    bin_end: float
    change_point: int  # bin where the change is best placed
    statistic: float
    threshold: float
    entropy: float  # S of the bin, nats
    entropy_low: float
    entropy_high: float
    entropy_drift: float  # nats per bin over the last bins
    entropy_drift_low: float
    entropy_drift_high: float
    p_intended: float
    d_align: float
    class_counts: str  # JSON, since the change
    baseline_counts: str  # JSON
    n: int  # transcripts since the change
    classifier_version: str
    calibration_ok: bool
    underpowered: bool
    config_hash: str
    severity: str  # major if the intended share fell by more than 0.1, else minor
    status: Status = "open"

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def stream(self) -> StreamKey:
        """Return the stream it belongs to."""
        return StreamKey(self.model, self.variant, self.stress, self.classifier_version)


def alerts_to_dataset(alerts: Iterable[Alert]) -> xr.Dataset:
    """Return the kind `alerts`, one row an alert."""
    rows = [asdict(a) for a in alerts]
    columns = {}
    for field in fields(Alert):
        values = [row[field.name] for row in rows]
        known = [kind for kind in COLUMN_TYPES if field.type is kind]
        columns[field.name] = (
            "alert",
            np.array(values, COLUMN_TYPES[known[0]] if known else object),
        )
    return xr.Dataset(columns)


def alerts_from_dataset(ds: xr.Dataset) -> list[Alert]:
    """Read what `alerts_to_dataset` wrote."""
    names = [f.name for f in fields(Alert)]
    columns = [ds[name].to_numpy().tolist() for name in names]
    return [Alert(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]


def merge_alerts(
    known: Iterable[Alert],
    found: Iterable[Alert],
    *,
    rearm: int,
    streams: Iterable[StreamKey] = (),
) -> tuple[list[Alert], list[Alert]]:
    """Combine alerts on record with those found now; return (all, new ones).

    A cause on record keeps its identifier, time and acknowledgement, its figures are renewed. An
    alert that is no longer found, because late turns undid it, is closed, and so are those of a
    stream whose classifier has been replaced.

    Parameters
    ----------
    known, found
        Alerts of earlier runs, and of this one for the streams that were watched.
    rearm
        Bins within which an alarm is the same cause.
    streams
        Streams that were watched now; alerts of others stay as they are.
    """
    watched, out, new = set(streams), [], []
    waiting = list(found)
    latest = {(s.model, s.variant, s.stress): s.classifier_version for s in streams}
    for old in known:
        near = [a for a in waiting if a.stream == old.stream and abs(a.bin - old.bin) < rearm]
        same = sorted(near, key=lambda a: abs(a.bin - old.bin))
        current = latest.get((old.model, old.variant, old.stress), old.classifier_version)
        if same:
            waiting.remove(same[0])
            keep = {"alert_id": old.alert_id, "raised_at": old.raised_at, "status": old.status}
            out.append(replace(same[0], **keep))
        elif old.stream in watched or current != old.classifier_version:
            out.append(replace(old, status="closed"))
        else:
            out.append(old)
    for alert in waiting:
        new.append(alert)
        out.append(alert)
    return out, new


def turn_key(*parts: Any) -> int:
    """Return a 63-bit key of a turn: transcript, turn, text hash, classifier version."""
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1
