"""The monitor's steps: classify what is new, watch what changed, send what was raised.

The state is one table of turns by key, so that every step may be repeated: a turn is counted
once, a cause has one alert. Alerts are in the store before anything is sent.
"""

import hashlib
import hmac
import json
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

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
    select_streams,
    settings_hash,
    watch_stream,
)
from irrev.alignment.taxonomy import Taxonomy
from irrev.alignment.turns import TurnTable
from irrev.readers import content_hash, open_source
from irrev.schema import validate
from storage.layout import ALERTS, TURNS
from storage.repository import Repository, StoreRef
from tasks.alignment import classify, frozen
from tasks.cluster import on_worker, worth_retrying

WEBHOOK_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Classified turns of one file."""

    item: str
    stamp: str
    keys: list[int]
    streams: list[StreamKey]
    t: list[float]
    labels: list[int]
    confounded: list[str]
    n_bad: int


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


def classify_file(item: str, stamp: str, path: str, config: dict[str, Any]) -> Batch:
    """Read one file and give its turns keys, streams and classes."""
    ds = open_source(path, kind="transcripts", **config["reading"])
    ds.attrs |= {"uri": path, "sha256": content_hash(Path(path))}
    taxonomy = Taxonomy(**{k: frozen(v) for k, v in config["taxonomy"].items()})
    classes, _, _, version = classify(ds, config, taxonomy)
    names = ("transcript_id", "turn", "answer_hash", "model", "variant", "stress")
    columns = {n: ds[n].to_numpy().tolist() for n in names}
    streams = zip(columns["model"], columns["variant"], columns["stress"], strict=True)
    parts = zip(columns["transcript_id"], columns["turn"], columns["answer_hash"], strict=True)
    t = ds["t"].to_numpy()
    order = np.where(np.isfinite(t), t, ds["line"].to_numpy().astype(float))
    return Batch(
        item,
        stamp,
        [turn_key(version, *row) for row in parts],
        [StreamKey(m, v, s, version) for m, v, s in streams],
        order.tolist(),
        classes.tolist(),
        json.loads(ds.attrs["confounded"]),
        ds.sizes["bad"],
    )


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
    taxonomy = Taxonomy(**{k: frozen(v) for k, v in config["taxonomy"].items()})
    outcome: dict[str, Any] = {}

    def writes(base: str) -> dict[str, xr.Dataset]:
        table, known, attrs = load_state(repo, base)
        before = table.key.size
        old_keys = table.key
        for b in batches:
            table = table.add(b.keys, b.streams, b.t, b.labels)
        confounded = sorted({*attrs["confounded"], *(m for b in batches for m in b.confounded)})
        changed = attrs["settings"] != settings_hash(settings)
        fresh = ~np.isin(table.key, old_keys)
        touched = set(range(len(table.streams))) if changed else set(table.stream[fresh].tolist())
        reports = [
            _watch(table, i, settings, taxonomy, now, confounded, config["seed"])
            for i in sorted(touched)
        ]
        found = [a for r in reports for a in r.alerts]
        alerts, new = merge_alerts(
            known, found, rearm=settings.rearm, streams=[r.key for r in reports]
        )
        outcome.update(reports=reports, new=new, n=table.key.size - before)
        stamps = attrs["stamps"] | {b.item: b.stamp for b in batches}
        state = validate(table.to_dataset(), "alignment/turns").assign_attrs(
            stamps=json.dumps(stamps),
            confounded=json.dumps(confounded),
            settings=settings_hash(settings),
            sent=json.dumps(attrs["sent"]),
        )
        return {TURNS: state, ALERTS: validate(alerts_to_dataset(alerts), "alerts")}

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
    )


def _watch(
    table: TurnTable,
    index: int,
    settings: Watch,
    taxonomy: Taxonomy,
    now: str,
    confounded: Sequence[str],
    seed: int,
) -> StreamReport:
    key, mine = table.streams[index], table.stream == index
    return watch_stream(
        key,
        table.t[mine],
        table.label[mine],
        settings,
        now=now,
        taxonomy=taxonomy,
        confounded=key.model in confounded,
        seed=seed,
    )


def load_state(
    repo: Repository, at: str | None = None
) -> tuple[TurnTable, list[Alert], dict[str, Any]]:
    """Read the monitor's turns, alerts and bookkeeping; empty before its first run."""
    attrs: dict[str, Any] = {"stamps": {}, "confounded": [], "settings": "", "sent": {}}
    if not repo.has(TURNS, at=at):
        return TurnTable.empty(), [], attrs
    ds = repo.read(TURNS, at=at).load()
    attrs["settings"] = ds.attrs["settings"]
    attrs |= {k: json.loads(ds.attrs[k]) for k in ("stamps", "confounded", "sent")}
    return TurnTable.from_dataset(ds), load_alerts(repo, at=at), attrs


def load_alerts(repo: Repository, *, at: str | None = None) -> list[Alert]:
    """Read the alerts on record."""
    return alerts_from_dataset(repo.read(ALERTS, at=at).load()) if repo.has(ALERTS, at=at) else []


def load_stamps(repo: Repository) -> dict[str, str]:
    """Return item -> stamp of the files that were read, without reading any turn."""
    return json.loads(repo.read(TURNS).attrs["stamps"]) if repo.has(TURNS) else {}


def unsent(repo: Repository, channel: str) -> list[Alert]:
    """Return the open alerts that a channel has not taken yet."""
    _, alerts, attrs = load_state(repo)
    done = set(attrs["sent"].get(channel, []))
    return [a for a in alerts if a.status == "open" and a.alert_id not in done]


def mark_sent(repo: Repository, channel: str, alerts: Sequence[Alert]) -> None:
    """Record that a channel has taken alerts, so that none is sent again."""

    def writes(base: str) -> dict[str, xr.Dataset]:
        ds = repo.read(TURNS, at=base).load()
        sent = json.loads(ds.attrs["sent"])
        sent[channel] = sorted({*sent.get(channel, []), *(a.alert_id for a in alerts)})
        return {TURNS: ds.assign_attrs(sent=json.dumps(sent))}

    repo.commit(writes, message=f"alerts: {len(alerts)} sent to {channel}", metadata={})


# --- channels -----------------------------------------------------------------------------------


def append_lines(path: Path, alerts: Sequence[Alert]) -> None:
    """Append alerts to a file of JSON lines; one that is there already is not written again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    there = {json.loads(line)["alert_id"] for line in lines if line.strip()}
    with path.open("a", encoding="utf-8") as file:
        for alert in alerts:
            if alert.alert_id not in there:
                file.write(alert.to_json() + "\n")


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


# --- tasks --------------------------------------------------------------------------------------


@task(
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="classify {item}",
)
def classify_new(item: str, stamp: str, path: str, config: dict[str, Any]) -> Batch:
    """Classify one file where work runs."""
    return on_worker(classify_file, (item, stamp, path, config))


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
        emit_event("irrev.alert", resource=_resource(alert), payload=json.loads(alert.to_json()))
    if waiting:
        mark_sent(repo, channel, waiting)
    return len(waiting)


def _resource(alert: Alert) -> dict[str, str]:
    stream = "/".join((alert.model, alert.variant, alert.stress))
    return {"prefect.resource.id": f"irrev.stream.{stream}", "irrev.severity": alert.severity}
