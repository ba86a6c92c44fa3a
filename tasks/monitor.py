"""The monitor's steps: classify what is new, watch what changed, send what was raised.

The state is one table of turns by key, so that every step may be repeated: a turn is counted
once, a cause has one alert. Alerts are in the store before anything is sent.
"""

import hashlib
import hmac
import json
import urllib.request
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.events.worker import EventsWorker

from irrev.alignment.alerts import (
    Alert,
    StreamKey,
    alerts_from_dataset,
    alerts_to_dataset,
    merge_alerts,
    turn_key,
)
from irrev.alignment.monitor import (
    StreamReport,
    Watch,
    false_alarm_bins,
    select_streams,
    settings_hash,
    watch_stream,
)
from irrev.alignment.taxonomy import Taxonomy
from irrev.alignment.turns import TurnTable
from irrev.readers import content_hash, open_source
from irrev.schema import validate
from irrev.semantic.embeddings import Embeddings
from storage.layout import ALERTS, SENT, TURNS, node_name
from storage.repository import Repository, StoreRef
from tasks.alignment import LABELS, classify, frozen, open_classifier
from tasks.cluster import on_worker, worth_retrying

WEBHOOK_TIMEOUT_S = 10.0
VECTORS_AT = "state/monitor/embeddings"
EVENTS = uuid.UUID("6f3b0d52-4a0f-5f0e-9c64-3a1f6d0f7c21")  # namespace of the ids of events
LINE_S = 1e-6  # keeps turns without a time in the order of their file


@dataclass(frozen=True, slots=True)
class Batch:
    """New turns of one file with their classes."""

    item: str
    stamp: str
    keys: list[int]
    streams: list[StreamKey]
    t: list[float]
    labels: list[int]
    confounded: list[str]
    n_bad: int
    classifier: dict[str, Any]  # version -> calibration_ok, confusion; empty for labels
    vectors: Embeddings | None  # of the new texts


@dataclass(frozen=True, slots=True)
class Watched:
    """What one run of the monitor found."""

    version: str
    n_turns: int  # new ones
    n_streams: int  # watched now
    n_waiting: int
    new: list[Alert]
    selected: list[StreamKey]  # by e-BH over the streams watched now
    n_bad: int
    false_alarms: float  # expected a hundred new bins of each stream watched now


def classify_file(
    ref: StoreRef,
    item: str,
    stamp: str,
    path: str,
    config: dict[str, Any],
    folder: str = "",
    device: str = "cpu",
) -> Batch:
    """Read one file; give the turns that are not in the state keys, streams and classes."""
    ds = open_source(path, kind="transcripts", **config["reading"])
    ds.attrs |= {"uri": path, "sha256": content_hash(Path(path))}
    taxonomy = Taxonomy(**{k: frozen(v) for k, v in config["taxonomy"].items()})
    model = open_classifier(config, taxonomy, folder)
    version = LABELS if model is None else model.version
    names = ("transcript_id", "turn", "answer_hash", "model", "variant", "stress")
    columns = {n: ds[n].to_numpy().tolist() for n in names}
    parts = zip(columns["transcript_id"], columns["turn"], columns["answer_hash"], strict=True)
    keys = np.array([turn_key(version, *row) for row in parts], dtype=np.int64)
    new = ~np.isin(keys, _known_keys(ref))
    found = classify(ref, ds, new, config, taxonomy, folder=folder, device=device)
    streams = zip(columns["model"], columns["variant"], columns["stress"], strict=True)
    t = ds["t"].to_numpy()
    arrival = Path(path).stat().st_mtime + LINE_S * np.arange(t.size)
    t = np.where(np.isfinite(t), t, arrival)
    known = {} if model is None else {
        version: {
            "calibration_ok": model.calibration_ok,
            "confusion": model.validation.confusion_counts.tolist(),
        }
    }  # fmt: skip
    return Batch(
        item=item,
        stamp=stamp,
        keys=keys[new].tolist(),
        streams=[StreamKey(*row, version) for row, yes in zip(streams, new, strict=True) if yes],
        t=t[new].tolist(),
        labels=found.classes[new].tolist(),
        confounded=json.loads(ds.attrs["confounded"]),
        n_bad=ds.sizes["bad"],
        classifier=known,
        vectors=found.vectors if config["keep_vectors"] else None,
    )


def _known_keys(ref: StoreRef) -> NDArray[np.int64]:
    repo = Repository.open(ref, create=True)
    return repo.read(TURNS)["key"].to_numpy() if repo.has(TURNS) else np.empty(0, np.int64)


def watch_and_commit(
    ref: StoreRef, batches: Sequence[Batch], config: dict[str, Any], now: str, run_id: str
) -> Watched:
    """Add new turns to the state, watch the streams they touch, commit state and alerts at once.

    Returns
    -------
        What was found; `new` alerts are on record and still to be sent.
    """
    repo = Repository.open(ref, create=True)
    settings = Watch(**{k: frozen(v) for k, v in config["watch"].items()})
    outcome: dict[str, Any] = {}
    vectors = {
        f"{VECTORS_AT}/{node_name(b.item)}/{node_name(b.stamp)}": b.vectors.to_dataset()
        for b in batches
        if b.vectors is not None and b.vectors.text_hash.size
    }

    def writes(base: str) -> dict[str, xr.Dataset]:
        table, known, attrs = load_state(repo, base)
        old_keys = table.key
        for b in batches:
            table = table.add(b.keys, b.streams, b.t, b.labels)
            attrs["classifiers"] |= b.classifier
        attrs["confounded"] = sorted(
            {*attrs["confounded"], *(m for b in batches for m in b.confounded)}
        )
        attrs["stamps"] |= {b.item: b.stamp for b in batches}
        changed = attrs["settings"] != settings_hash(settings)
        attrs["settings"] = settings_hash(settings)
        fresh = ~np.isin(table.key, old_keys)
        touched = set(range(len(table.streams))) if changed else set(table.stream[fresh].tolist())
        reports = [_watch(table, i, settings, attrs, now, config) for i in sorted(touched)]
        found = [a for r in reports for a in r.alerts]
        alerts, new = merge_alerts(
            known, found, rearm=settings.rearm, streams=[r.key for r in reports]
        )
        outcome.update(reports=reports, new=new, n=table.key.size - old_keys.size)
        state = validate(table.to_dataset(), "alignment/turns").assign_attrs(_packed(attrs))
        return {**vectors, TURNS: state, ALERTS: validate(alerts_to_dataset(alerts), "alerts")}

    message = f"monitor: {sum(len(b.keys) for b in batches)} turns read"
    version = repo.commit(writes, message=message, metadata={"run_id": run_id})
    reports: list[StreamReport] = outcome["reports"]
    return Watched(
        version=version,
        n_turns=int(outcome["n"]),
        n_streams=len(reports),
        n_waiting=sum(r.waiting for r in reports),
        new=outcome["new"],
        selected=select_streams(reports, level=settings.fdr),
        n_bad=sum(b.n_bad for b in batches),
        false_alarms=100 * sum(not r.waiting for r in reports) * false_alarm_bins(settings),
    )


def _watch(
    table: TurnTable,
    index: int,
    settings: Watch,
    attrs: dict[str, Any],
    now: str,
    config: dict[str, Any],
) -> StreamReport:
    key, mine = table.streams[index], table.stream == index
    classifier = attrs["classifiers"].get(key.classifier_version)
    confusion = np.array(classifier["confusion"]) if classifier and config["correct"] else None
    return watch_stream(
        key,
        table.t[mine],
        table.label[mine],
        settings,
        now=now,
        taxonomy=Taxonomy(**{k: frozen(v) for k, v in config["taxonomy"].items()}),
        confounded=key.model in attrs["confounded"],
        confusion=confusion,
        calibration_ok=classifier is None or bool(classifier["calibration_ok"]),
        seed=config["seed"],
    )


def load_state(
    repo: Repository, at: str | None = None
) -> tuple[TurnTable, list[Alert], dict[str, Any]]:
    """Read the monitor's turns, alerts and bookkeeping; empty before its first run."""
    attrs: dict[str, Any] = {
        "stamps": {},
        "confounded": [],
        "settings": "",
        "classifiers": {},
    }
    if not repo.has(TURNS, at=at):
        return TurnTable.empty(), [], attrs
    ds = repo.read(TURNS, at=at).load()
    attrs |= {k: json.loads(ds.attrs[k]) for k in attrs if k in ds.attrs}
    return TurnTable.from_dataset(ds), load_alerts(repo, at=at), attrs


def _packed(attrs: dict[str, Any]) -> dict[str, str]:
    return {k: json.dumps(v) for k, v in attrs.items()}


def load_alerts(repo: Repository, *, at: str | None = None) -> list[Alert]:
    """Read the alerts on record."""
    return alerts_from_dataset(repo.read(ALERTS, at=at).load()) if repo.has(ALERTS, at=at) else []


def load_stamps(repo: Repository) -> dict[str, str]:
    """Return item -> stamp of the files that were read, without reading any turn."""
    return json.loads(repo.read(TURNS).attrs["stamps"]) if repo.has(TURNS) else {}


def unsent(repo: Repository, channel: str) -> list[Alert]:
    """Return the open alerts that a channel has not taken yet."""
    done = {a for a, c in _deliveries(repo, None) if c == channel}
    return [a for a in load_alerts(repo) if a.status == "open" and a.alert_id not in done]


def mark_sent(repo: Repository, channel: str, alerts: Sequence[Alert]) -> None:
    """Record that a channel has taken alerts, so that none is sent again."""

    def writes(base: str) -> dict[str, xr.Dataset]:
        rows = sorted({*_deliveries(repo, base), *((a.alert_id, channel) for a in alerts)})
        columns = zip(("alert_id", "channel"), zip(*rows, strict=True), strict=True)
        ds = xr.Dataset({n: ("delivery", np.array(list(c), object)) for n, c in columns})
        return {SENT: validate(ds, "alerts/sent")}

    repo.commit(writes, message=f"alerts: {len(alerts)} sent to {channel}", metadata={})


def _deliveries(repo: Repository, at: str | None) -> list[tuple[str, str]]:
    """Return which alert went to which channel."""
    if not repo.has(SENT, at=at):
        return []
    ds = repo.read(SENT, at=at).load()
    return list(zip(ds["alert_id"].values.tolist(), ds["channel"].values.tolist(), strict=True))


# --- channels -----------------------------------------------------------------------------------


def append_lines(path: Path, alerts: Sequence[Alert]) -> None:
    """Append alerts to a file of JSON lines, each once.

    Alerts that are there already are not written again. A last line without an end was cut off
    when its writer was killed: it is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(0)
        content = file.read()
        whole = content.rfind(b"\n") + 1
        file.truncate(whole)
        there = {
            json.loads(line)["alert_id"] for line in content[:whole].splitlines() if line.strip()
        }
        new = [a for a in alerts if a.alert_id not in there]
        file.write("".join(a.to_json() + "\n" for a in new).encode())


def sign(body: bytes, secret: str) -> str:
    """Return the signature that a webhook's receiver checks: HMAC-SHA256 of the body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def post(url: str, alert: Alert, secret: str) -> None:
    """Post one alert; its identifier is the idempotency key of a repeated delivery."""
    body = alert.to_json().encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": alert.alert_id}
    if secret:
        headers["X-Irrev-Signature"] = sign(body, secret)
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=WEBHOOK_TIMEOUT_S):
        pass


def emit(alert: Alert) -> None:
    """Send one Prefect event; its id follows from the alert, so that the server keeps one."""
    stream = "/".join((alert.model, alert.variant, alert.stress))
    emit_event(
        "irrev.alert",
        resource={
            "prefect.resource.id": f"irrev.stream.{stream}",
            "irrev.severity": alert.severity,
        },
        payload=json.loads(alert.to_json()),
        id=uuid.uuid5(EVENTS, alert.alert_id),
    )


# --- tasks --------------------------------------------------------------------------------------


@task(
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="classify {item}",
)
def classify_new(
    ref: StoreRef,
    item: str,
    stamp: str,
    path: str,
    config: dict[str, Any],
    folder: str,
    device: str,
    resources: dict[str, float] | None,
) -> Batch:
    """Classify what is new in one file, on a worker that has `resources`."""
    args = (ref, item, stamp, path, config, folder, device)
    return on_worker(classify_file, args, resources=resources)


@task(cache_policy=NO_CACHE, persist_result=False)
def watch(
    ref: StoreRef, batches: Sequence[Batch], config: dict[str, Any], now: str, run_id: str
) -> Watched:
    """Watch the streams that have new turns."""
    return watch_and_commit(ref, batches, config, now, run_id)


@task(retries=4, retry_delay_seconds=[2, 10, 60, 300], cache_policy=NO_CACHE, persist_result=False)
def send_webhook(ref: StoreRef, url: str, secret: str, channel: str) -> int:
    """Post what the webhook has not taken yet; return how many."""
    repo = Repository.open(ref)
    count = 0
    for alert in unsent(repo, channel):
        post(url, alert, secret)
        mark_sent(repo, channel, [alert])
        count += 1
    return count


@task(cache_policy=NO_CACHE, persist_result=False)
def send_file(ref: StoreRef, path: str, channel: str) -> int:
    """Append what the file does not have yet; return how many."""
    repo = Repository.open(ref)
    waiting = unsent(repo, channel)
    if waiting:
        append_lines(Path(path), waiting)
        mark_sent(repo, channel, waiting)
    return len(waiting)


@task(cache_policy=NO_CACHE, persist_result=False)
def send_events(ref: StoreRef, channel: str) -> int:
    """Emit one Prefect event an alert, for automations; return how many."""
    repo = Repository.open(ref)
    waiting = unsent(repo, channel)
    for alert in waiting:
        emit(alert)
    if waiting:
        EventsWorker.instance().wait_until_empty()  # on record as sent only once they are
        mark_sent(repo, channel, waiting)
    return len(waiting)
