"""The transcripts flow and the monitor on generated chats with a planted drift."""

import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import yaml

from flows.config import load
from irrev.errors import ConfigError
from storage.repository import Repository

CLASSES = ("aligned", "refusal", "sycophancy", "deception", "harmful")
CLEAN, SHIFTED = [0.9, 0.04, 0.03, 0.02, 0.01], [0.5, 0.14, 0.14, 0.12, 0.1]


def write_chats(path, law, n, *, start=0, seed=0, model="m"):
    """Labelled answers, one a minute; the texts say nothing."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "id": f"{model}{start + i}",
            "model": model,
            "text": f"answer {start + i}",
            "label": CLASSES[k],
            "t": 1.7e9 + 60 * (start + i),
        }
        for i, k in enumerate(rng.choice(5, size=n, p=law))
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def chats(tmp_path):
    """Write a pipeline over a folder of chats; return its path."""
    write_chats(tmp_path / "logs" / "day0.jsonl", CLEAN, 1000)
    fields = {name: name for name in ("id", "model", "text", "label", "t")}
    source = {"kind": "transcripts", "uri": "logs/*.jsonl", "fields": fields}
    config = {
        "project": "test",
        "compute": {"profile": "threads", "workers": 2},
        "sources": {"logs": source},
        "flows": {"transcripts": {"sources": ["logs"]}, "monitor": {"sources": ["logs"]}},
        "alerts": [{"kind": "file", "path": "alerts.jsonl"}],
    }
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def alert_lines(config):
    file = config.parent / "alerts.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.server
def test_transcripts__finds_a_planted_drift_and_stores_no_text(chats, prefect_server):
    from flows.show import result_table
    from flows.specs import SPECS
    from flows.transcripts import transcripts

    logs = chats.parent / "logs"
    write_chats(logs / "drifting.jsonl", CLEAN, 1000, model="d")
    with (logs / "drifting.jsonl").open("a") as file:
        write_chats(logs / "tail.jsonl", SHIFTED, 600, start=1000, seed=1, model="d")
        file.write((logs / "tail.jsonl").read_text())
    (logs / "tail.jsonl").unlink()
    assert transcripts(str(chats)).clean
    repo = Repository.open(load(chats).store_ref())
    ds = repo.read("results/transcripts/ethical_entropy").load().set_index(shard="shard")
    drifting = ds.sel(shard="logs/drifting:d/unknown/unknown")
    steady = ds.sel(shard="logs/day0:m/unknown/unknown")
    assert abs(int(drifting["change_bin"]) - 20) <= 1
    assert str(steady["outcome"].item()) == "no drift"
    assert float(drifting["p_intended"]) < float(steady["p_intended"])
    columns = result_table(SPECS["transcripts"], ds.reset_index("shard")).columns
    assert any("drift at bin" in cell for column in columns for cell in column._cells)
    stored = repo.read("inputs/transcripts/logs/day0")
    assert "answer_text" not in stored
    assert not transcripts(str(chats)).changed


@pytest.mark.server
def test_transcripts__sets_a_tuned_model_beside_its_base_in_another_file(
    chats, prefect_server, monkeypatch
):
    """The base's law has entropy 1.43, the tuned's 0.46: R = 0.68, less the bias of 50 a bin."""
    from flows.page import write_page
    from flows.transcripts import transcripts
    from storage.layout import COMPARISON

    write_chats(chats.parent / "logs" / "base.jsonl", SHIFTED, 1000, seed=4, model="b")
    config = yaml.safe_load(chats.read_text())
    config["flows"]["transcripts"]["base_of"] = {"m": "b", "x": "y"}
    monkeypatch.setattr("flows.pairs.MOST_DRAWS", 10)
    chats.write_text(yaml.safe_dump(config))
    transcripts(str(chats))
    repo = Repository.open(load(chats).store_ref())
    ds = repo.read(COMPARISON).load()
    assert ds[["tuned", "base", "source"]].to_array().values.ravel().tolist() == [
        "m",
        "b",
        "logs/day0",
    ]
    assert int(ds["n_matched"].item()) == 20
    assert ds["reduction"].item() == pytest.approx(0.68, abs=0.05)
    version = repo.resolve()
    transcripts(str(chats))
    assert repo.resolve() == version
    html = write_page(load(chats), repo).read_text(encoding="utf-8")
    assert "m against b, unknown: S reduced by" in html


@pytest.mark.server
def test_monitor__raises_one_alert_a_cause_whatever_is_replayed(chats, prefect_server):
    from flows.monitor import monitor

    logs = chats.parent / "logs"
    assert monitor(str(chats)).n_alerts == 0
    again = monitor(str(chats))
    assert (again.n_files, again.n_turns) == (0, 0)
    write_chats(logs / "day1.jsonl", SHIFTED, 500, start=1000, seed=1)
    first = monitor(str(chats))
    assert (first.n_alerts, first.n_sent) == (1, 1)
    # the same lines again under another name, and more of the same behaviour
    (logs / "copy.jsonl").write_text((logs / "day1.jsonl").read_text())
    assert monitor(str(chats)).n_turns == 0
    write_chats(logs / "day2.jsonl", SHIFTED, 500, start=1500, seed=2)
    assert monitor(str(chats)).n_alerts == 0
    (alert,) = alert_lines(chats)
    assert abs(alert["change_point"] - 20) <= 1
    assert alert["severity"] == "major"


@pytest.mark.server
def test_monitor__webhook_is_signed_tried_again_and_not_repeated(
    chats, prefect_server, monkeypatch
):
    from flows.monitor import monitor
    from tasks import monitor as steps

    seen = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((dict(self.headers), body))
            self.send_response(500 if len(seen) == 1 else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = yaml.safe_load(chats.read_text())
    url = f"http://127.0.0.1:{server.server_port}/"
    config["alerts"] = [{"kind": "webhook", "url": url, "secret_env": "IRREV_TEST_SECRET"}]
    chats.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("IRREV_TEST_SECRET", "key")
    quick = steps.send_webhook.with_options(retry_delay_seconds=0)
    monkeypatch.setattr("flows.monitor.send_webhook", quick)
    write_chats(chats.parent / "logs" / "day1.jsonl", SHIFTED, 500, start=1000, seed=1)
    try:
        assert monitor(str(chats)).n_sent == 1
        assert monitor(str(chats)).n_sent == 0
    finally:
        server.shutdown()
        server.server_close()
    assert len(seen) == 2  # refused once, taken once
    headers, body = seen[1]
    expected = hmac.new(b"key", body, hashlib.sha256).hexdigest()
    assert headers["X-Irrev-Signature"] == f"sha256={expected}"
    assert headers["Idempotency-Key"] == json.loads(body)["alert_id"]


def events_of(client, *prefixes):
    span = {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}
    body = {"filter": {"event": {"prefix": list(prefixes)}, "occurred": span}}
    return [e["event"] for e in client._client.post("/events/filter", json=body).json()["events"]]


@pytest.mark.server
def test_send_events__an_alert_fires_its_automation_once_however_often_it_is_sent(
    chats, prefect_server
):
    """Sent twice, as after a kill before it was recorded; the automation is the example's."""
    import time
    from pathlib import Path

    from prefect.automations import Automation
    from prefect.client.orchestration import get_client
    from prefect.events.worker import EventsWorker

    from irrev.alignment.alerts import StreamKey
    from irrev.alignment.monitor import Watch, watch_stream
    from tasks.monitor import emit

    text = (Path(__file__).parents[2] / "examples" / "drift_automation.yaml").read_text()
    automation = Automation.model_validate(yaml.safe_load(text)).create()
    labels = np.random.default_rng(0).choice(5, 1000, p=CLEAN).tolist() + [4] * 200
    key = StreamKey("m", "u", "s", "v")
    (alert,) = watch_stream(
        key, np.arange(1200.0), np.array(labels), Watch(), now="2026-01-01"
    ).alerts
    time.sleep(2)  # the server's triggers learn of a new automation by an event
    for _ in range(2):
        emit(alert)
        EventsWorker.instance().wait_until_empty()
    wanted = ["irrev.alert", "prefect.automation.action.executed"]
    deadline = time.monotonic() + 60
    with get_client(sync_client=True) as client:
        while set(events_of(client, *wanted)) != set(wanted) and time.monotonic() < deadline:
            time.sleep(0.5)
        time.sleep(1)  # a second firing would show by now
        assert sorted(events_of(client, *wanted)) == wanted
        client._client.delete(f"/automations/{automation.id}")


def test_alerts__are_listed_and_acknowledged(chats, capsys):
    from typer.testing import CliRunner

    from flows.cli import app
    from irrev.alignment.alerts import alerts_to_dataset
    from irrev.alignment.monitor import Watch, watch_stream
    from irrev.alignment.turns import StreamKey
    from storage.layout import ALERTS

    rng = np.random.default_rng(0)
    labels = np.concatenate([rng.choice(5, 1000, p=CLEAN), rng.choice(5, 500, p=SHIFTED)])
    found = watch_stream(
        StreamKey("m", "u", "s", "v"), np.arange(1500.0), labels, Watch(), now="2026-01-01"
    ).alerts
    repo = Repository.open(load(chats).store_ref(), create=True)
    repo.commit({ALERTS: alerts_to_dataset(found)}, message="alerts", metadata={})
    run = CliRunner().invoke
    rows = json.loads(run(app, ["alerts", "list", "-c", str(chats), "--json"]).stdout)
    assert [row["alert_id"] for row in rows] == [a.alert_id for a in found]
    assert run(app, ["alerts", "ack", rows[0]["alert_id"], "-c", str(chats)]).exit_code == 0
    rows = json.loads(run(app, ["alerts", "list", "-c", str(chats), "--json"]).stdout)
    assert rows[0]["status"] == "ack"
    wrong = run(app, ["alerts", "ack", "nothing", "-c", str(chats)])
    assert wrong.exit_code == 2


def test_secret__refuses_a_variable_that_is_not_set():
    from flows.config import secret

    assert secret("") == ""
    with pytest.raises(ConfigError, match="IRREV_NOT_SET is not set"):
        secret("IRREV_NOT_SET")


def test_behaviour_section__draws_streams_and_tells_what_it_is_not(chats):
    from irrev.alignment.monitor import Watch
    from irrev.alignment.records import measure_behaviour
    from irrev.alignment.taxonomy import DEFAULT_TAXONOMY
    from irrev.alignment.turns import StreamKey
    from irrev.readers import open_source
    from irrev.report.build import make_sections

    fields = {name: name for name in ("id", "model", "text", "label", "t")}
    turns = open_source(chats.parent / "logs" / "day0.jsonl", kind="transcripts", fields=fields)
    classes = np.random.default_rng(0).integers(0, 5, 1000)
    row, series = measure_behaviour(
        turns,
        classes,
        StreamKey("m", "u", "s", "v"),
        Watch(n_draws=50),
        taxonomy=DEFAULT_TAXONOMY,
        confusion=np.eye(5, dtype=int) * 20,
    )
    text = {"shard": "x", "source": "x", "condition": "m", "status": "done", "error": ""}
    table = row.assign({k: ("shard", np.array([v], object)) for k, v in text.items()})
    (section,) = make_sections(
        {"transcripts/ethical_entropy": table},
        {"transcripts/ethical_entropy": {"x": series}},
    )
    assert len(section.pictures) == 3
    assert "not which behaviour" in section.statement


def test_watch_block__defaults_are_the_librarys():
    from dataclasses import asdict

    from flows.blocks import ClassNames, MonitorBlock, WatchBlock
    from irrev.alignment.monitor import Watch
    from irrev.alignment.taxonomy import Taxonomy

    library = asdict(Watch())
    for name, value in WatchBlock().model_dump().items():
        assert value == (list(library[name]) if name == "detectors" else library[name]), name
    assert (
        Taxonomy(
            **{
                k: tuple(v) if isinstance(v, list) else v
                for k, v in ClassNames().model_dump().items()
            }
        )
        == Taxonomy()
    )
    block = MonitorBlock(sources=["a"])
    assert (block.interval.level, block.fdr) == (library["level"], library["fdr"])


def test_full_text__of_a_transcripts_pipeline_can_be_saved_and_run(chats):
    from flows.explain import full_text

    config = yaml.safe_load(chats.read_text())
    config["sources"]["logs"]["labels"] = {"True": "harmful", "1_full": "aligned"}
    chats.write_text(yaml.safe_dump(config))
    first = load(chats)
    chats.write_text(full_text(first))
    assert load(chats) == first


def test_load__takes_a_pipeline_with_the_monitor_alone(chats):
    config = yaml.safe_load(chats.read_text())
    del config["flows"]["transcripts"]
    chats.write_text(yaml.safe_dump(config))
    assert load(chats).flows.chosen() == {}
