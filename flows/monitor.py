"""Scheduled: new transcripts -> classes -> S(t) and drift -> alerts out, each cause once."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture

from flows import catalogue
from flows.blocks import MonitorBlock
from flows.config import Pipeline, load, secret
from flows.outlets import FileOutlet, WebhookOutlet
from flows.runners import model_place, threads
from flows.sources import Item, TranscriptsSource, from_environment
from irrev.errors import ConfigError
from irrev.readers import content_hash
from irrev.readers.transcripts import READER_VERSION
from storage.layout import ALERTS
from storage.repository import Repository
from tasks.monitor import (
    Batch,
    classify_new,
    load_stamps,
    send_events,
    send_file,
    send_webhook,
    watch,
)


@dataclass(frozen=True, slots=True)
class MonitorSummary:
    """What a run of the monitor did."""

    n_files: int
    n_turns: int
    n_streams: int
    n_alerts: int  # new causes
    n_sent: int
    n_bad: int
    selected: list[str]  # streams that e-BH selects among those watched in this run
    false_alarms: float | None  # expected per 100 new bins of every stream watched; None: unknown


@flow(name="monitor", task_runner=threads(8))
def monitor(config: str = "pipeline.yaml") -> MonitorSummary:
    """Watch the behaviour of models in files that are new or have grown."""
    pipeline = load(config)
    block = pipeline.flows.monitor
    if block is None:
        raise ConfigError(f"{config}: no flows.monitor; add the block to be watched.")
    repo = Repository.open(pipeline.store_ref(), create=True, project=pipeline.project)
    now = datetime.now(UTC)
    run_id = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    files = _changed(pipeline, block, repo)
    futures = [_submit(pipeline, block, repo, item, stamp) for item, stamp in files]
    batches = [f.result() for f in futures]
    found = None
    if batches:
        first = _config(pipeline, block, files[0][0])
        found = watch(repo.ref, batches, first, now.isoformat(timespec="seconds"), run_id)
    return MonitorSummary(
        n_files=len(files),
        n_turns=found.n_turns if found else 0,
        n_streams=found.n_streams if found else 0,
        n_alerts=len(found.new) if found else 0,
        n_sent=_send(pipeline, repo),
        n_bad=found.n_bad if found else 0,
        selected=["/".join(key[:3]) for key in found.selected] if found else [],
        false_alarms=_known(found.false_alarms) if found else 0.0,
    )


def _submit(
    pipeline: Pipeline, block: MonitorBlock, repo: Repository, item: Item, stamp: str
) -> PrefectFuture[Batch]:
    """Hand one file to its task; only a classifier asks for a model's place."""
    config = _config(pipeline, block, item)
    place = model_place(pipeline.compute.device if config["classifier"] else "cpu")
    return classify_new.submit(
        repo.ref,
        item.name,
        stamp,
        str(item.path),
        config,
        str(pipeline.folder),
        place.device,
        place.resources,
    )


def _changed(pipeline: Pipeline, block: MonitorBlock, repo: Repository) -> list[tuple[Item, str]]:
    """Return the files whose size or time has changed since they were read, or how they are."""
    known = load_stamps(repo)
    out = []
    for name in block.sources:
        for item in pipeline.sources[name].items(name, pipeline.folder):
            reading = catalogue.read_hash(_config(pipeline, block, item))[:16]
            stamp = f"{catalogue.stamp(item.path)}|{reading}"
            if known.get(item.name) != stamp:
                out.append((item, stamp))
    return out


def _config(pipeline: Pipeline, block: MonitorBlock, item: Item) -> dict[str, Any]:
    source = pipeline.sources[item.source]
    assert isinstance(source, TranscriptsSource)  # checked when the file was loaded
    names = ("format", "fields", "model", "variants", "stresses", "on_error")
    reading = {name: getattr(source, name) for name in names}
    return {
        "reading": {**reading, "labels": {} if source.classifier else source.labels},
        "reader_version": READER_VERSION,
        "labels": source.labels,
        "classifier": _classifier(source, pipeline.folder),
        "taxonomy": block.taxonomy.model_dump(),
        "correct": block.correct,
        "keep_vectors": source.store_vectors,
        "watch": {**block.watch.model_dump(), "level": block.interval.level, "fdr": block.fdr},
        "seed": pipeline.seed,
    }


def _known(value: float) -> float | None:
    return None if isnan(value) else value


def _classifier(source: TranscriptsSource, folder: Path) -> dict[str, Any] | None:
    """Name the classifier of a source with its content, so that another one is noticed."""
    if source.classifier is None:
        return None
    file = folder / source.classifier.path
    sha256 = content_hash(file) if file.is_file() else "missing"
    return {**source.classifier.model_dump(), "sha256": sha256}


def _send(pipeline: Pipeline, repo: Repository) -> int:
    """Hand alerts to every outlet; one that fails keeps them for the next run."""
    if not repo.has(ALERTS):
        return 0
    count = 0
    for number, outlet in enumerate(pipeline.alerts):
        channel = f"{number}:{outlet.kind}"
        if isinstance(outlet, FileOutlet):
            count += send_file(repo.ref, str(pipeline.folder / outlet.path), channel)
        elif isinstance(outlet, WebhookOutlet):
            key = secret(outlet.secret_env)
            state = send_webhook(
                repo.ref, from_environment(outlet.url, "alerts"), key, channel, return_state=True
            )
            count += state.result() if state.is_completed() else 0
        else:
            count += send_events(repo.ref, channel)
    return count
