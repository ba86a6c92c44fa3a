"""The monitor's steps without a server: new turns only, one alert a cause, also over kill -9."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from irrev.alignment.classifier import fit_classifier, save_classifier
from irrev.alignment.correction import correct_counts, smoothed_confusion
from irrev.alignment.monitor import Watch
from irrev.alignment.taxonomy import Taxonomy
from irrev.semantic.embeddings import HashingEncoder
from storage.layout import ALERTS, TURNS
from storage.repository import Repository, StoreRef
from tasks.monitor import (
    append_lines,
    classify_file,
    load_alerts,
    load_state,
    mark_sent,
    send_file,
    unsent,
    watch_and_commit,
)

TAXONOMY = Taxonomy(classes=("aligned", "refusal"), intended="aligned")
WORDS = ("here is the answer", "sorry I cannot help")
WATCH = {**asdict(Watch()), "size": 20, "baseline": 500, "n_draws": 50, "detectors": ["cusum"]}
NOW = "2026-01-01T00:00:00+00:00"


def log(path: Path, share: float, n: int, *, start: int = 0, seed: int = 0, timed: bool = True):
    """Append answers, a share of them refusals; the first words tell the class."""
    refused = np.random.default_rng(seed).random(n) < share
    with path.open("a") as file:
        for i, k in enumerate(refused.astype(int), start):
            row = {"id": f"a{i}", "model": "m", "text": f"{WORDS[k]} {i}"}
            file.write(json.dumps(row | ({"t": 1.7e9 + i} if timed else {})) + "\n")
    return path


@pytest.fixture
def store(tmp_path):
    return Repository.open(StoreRef(f"memory:{tmp_path.name}", "main"), create=True)


def train(path: Path, seed: int = 0):
    """Train on generated texts, so well that every answer of `log` gets its class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 200)
    encoder = HashingEncoder()
    model = fit_classifier(
        encoder.encode([f"{WORDS[k]} {i}" for i, k in enumerate(labels)]),
        labels,
        [str(i) for i in range(200)],
        taxonomy=TAXONOMY,
        encoder=encoder.name,
        encoder_sha256=encoder.sha256,
        rng=rng,
    )
    save_classifier(model, path)
    return model


@pytest.fixture
def config(tmp_path):
    train(tmp_path / "model.npz")
    names = ("id", "model", "text", "t")
    return {
        "reading": {"fields": {n: n for n in names}, "format": "auto", "labels": {}},
        "labels": {},
        "classifier": {"path": "model.npz", "encoder": "hashing"},
        "taxonomy": {"classes": list(TAXONOMY.classes), "intended": "aligned", "acceptable": []},
        "watch": WATCH,
        "correct": True,
        "keep_vectors": True,
        "seed": 0,
    }


def run(store, path, config, stamp="s"):
    batch = classify_file(store.ref, path.stem, stamp, str(path), config, str(path.parent))
    return batch, watch_and_commit(store.ref, [batch], config, NOW, "run")


@pytest.fixture
def asked(monkeypatch):
    texts = []
    encode = HashingEncoder.encode
    monkeypatch.setattr(
        HashingEncoder, "encode", lambda self, t: texts.extend(t) or encode(self, t)
    )
    return texts


def test_classify_file__of_a_file_that_has_grown_only_the_new_lines_are_encoded(
    tmp_path, store, config, asked
):
    path = log(tmp_path / "log.jsonl", 0.05, 40)
    first, watched = run(store, path, config, "one")
    assert (len(first.keys), watched.n_turns, len(asked)) == (40, 40, 40)
    asked.clear()
    log(path, 0.05, 3, start=40, seed=1)
    second, watched = run(store, path, config, "two")
    assert (len(second.keys), watched.n_turns, len(asked)) == (3, 3, 3)
    assert run(store, path, config, "two")[1].n_turns == 0


def test_watch__another_classifier_starts_anew_from_stored_vectors(tmp_path, store, config, asked):
    """All turns come again under the new version; the old alert is closed, no text is encoded."""
    path = log(tmp_path / "log.jsonl", 0.05, 600)
    log(path, 0.6, 100, start=600, seed=1)
    _, watched = run(store, path, config, "one")
    assert len(watched.new) == 1
    asked.clear()
    train(tmp_path / "model.npz", seed=5)
    asked.clear()
    _, watched = run(store, path, config, "two")
    assert asked == []
    assert watched.n_turns == 700
    old, new = load_alerts(store)
    assert (old.status, new.status) == ("closed", "open")
    assert old.classifier_version != new.classifier_version
    streams = load_state(store)[0].streams
    assert {s.classifier_version for s in streams} == {
        old.classifier_version,
        new.classifier_version,
    }


def test_watch__alerts_carry_corrected_shares_and_the_state_of_calibration(
    tmp_path, store, config
):
    """A classifier that errs in a fifth of texts: the share in an alert is that behind labels."""
    path = log(tmp_path / "log.jsonl", 0.05, 600)
    log(path, 0.9, 200, start=600, seed=1)
    batch = classify_file(store.ref, "log", "s", str(path), config, str(tmp_path))
    wrong = np.random.default_rng(3).random(len(batch.labels)) < 0.2
    labels = np.where(wrong, 1 - np.array(batch.labels), batch.labels)
    (version,) = batch.classifier
    table = [[800, 200], [200, 800]]
    known = {version: {"calibration_ok": False, "confusion": table}}
    batch = replace(batch, labels=labels.tolist(), classifier=known)
    config["watch"] = {**WATCH, "detectors": ["bayes_eprocess"]}
    (alert,) = watch_and_commit(store.ref, [batch], config, NOW, "run").new
    assert not alert.calibration_ok
    seen = np.bincount(labels[20 * alert.bin : 20 * alert.bin + 20], minlength=2)
    law = correct_counts(seen, smoothed_confusion(table))
    assert alert.p_intended == pytest.approx(law[0], abs=1e-6)
    assert abs(law[0] - seen[0] / 20) > 0.05


def test_classify_file__turns_without_a_time_stand_in_order_of_arrival(tmp_path, store, config):
    """Two files without times: all of the first before all of the second."""
    for name, age in (("b", 2000), ("a", 1000)):
        path = log(tmp_path / f"{name}.jsonl", 0.05, 30, start=age, timed=False)
        os.utime(path, (1.7e9 - age, 1.7e9 - age))
        run(store, path, config, name)
    keys = [load_state(store)[0].t[i] for i in (0, 29, 30, 59)]
    np.testing.assert_allclose(keys, 1.7e9 - np.array([2000, 2000, 1000, 1000]), atol=1e-3)
    assert np.all(np.diff(load_state(store)[0].t) > 0)


# --- exactly once -------------------------------------------------------------------------------


def an_alert(tmp_path, store, config):
    path = log(tmp_path / "log.jsonl", 0.05, 600)
    log(path, 0.6, 100, start=600, seed=1)
    return run(store, path, config)[1].new


def test_append_lines__a_line_cut_off_by_a_kill_is_written_again(tmp_path, store, config):
    (alert,) = an_alert(tmp_path, store, config)
    other = replace(alert, alert_id="other")
    path = tmp_path / "out" / "alerts.jsonl"
    append_lines(path, [other])
    whole = path.read_bytes()
    path.write_bytes(whole + alert.to_json().encode()[:50])
    append_lines(path, [other, alert])
    lines = path.read_text().splitlines()
    assert [json.loads(line)["alert_id"] for line in lines] == ["other", alert.alert_id]


def test_unsent__each_channel_takes_an_alert_once(tmp_path, store, config):
    (alert,) = an_alert(tmp_path, store, config)
    turns = store.read(TURNS).load()
    mark_sent(store, "0:file", [alert])
    assert unsent(store, "0:file") == []
    assert unsent(store, "1:webhook") == [alert]
    assert store.read(TURNS).load().identical(turns)


KILLED = """
import os, signal, sys
from pathlib import Path
from storage.repository import Repository, StoreRef
from tasks import monitor
ref = StoreRef(sys.argv[1], "main")
if sys.argv[3] == "delivery":  # the line is written, the store does not know it yet
    monitor.mark_sent = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
else:  # nothing is written yet
    monitor.append_lines = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
monitor.send_file.fn(ref, sys.argv[2], "0:file")
"""


@pytest.mark.parametrize("after", ["store", "delivery"])
def test_send_file__a_kill_after_store_or_delivery_neither_loses_nor_repeats(
    after, tmp_path, config
):
    store = Repository.open(StoreRef(str(tmp_path / "results"), "main"), create=True)
    (alert,) = an_alert(tmp_path, store, config)
    out = tmp_path / "alerts.jsonl"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "results"), str(out), after]
    killed = subprocess.run(
        command, check=False, env={**os.environ, "PREFECT_HOME": str(tmp_path)}
    )
    assert killed.returncode == -signal.SIGKILL
    assert out.exists() == (after == "delivery")
    assert send_file.fn(store.ref, str(out), "0:file") == 1
    assert send_file.fn(store.ref, str(out), "0:file") == 0
    (line,) = out.read_text().splitlines()
    assert json.loads(line)["alert_id"] == alert.alert_id
    assert store.read(ALERTS).sizes["alert"] == 1
