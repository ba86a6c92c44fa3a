"""Secrets reach no output: a canary in every place for a secret is searched for everywhere."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
import zarr
from numcodecs import Zstd

from flows.config import load, parse
from irrev.errors import ConfigError
from storage.repository import Repository
from tests.flows.test_transcripts import CLEAN, SHIFTED, write_chats

ROOT = Path(__file__).parents[2]
CANARY = "c4nary-7f3a91"
COMMANDS = (
    ["plan"],
    ["run", "--verbose"],
    ["monitor"],
    ["show", "--json"],
    ["log", "--json"],
    ["status", "--json"],
    ["lineage", "logs/day0:m/unknown/unknown", "--json"],
    ["why", "logs/day0:m/unknown/unknown"],
    ["alerts", "list", "--all", "--json"],
    ["report"],
)


@pytest.fixture
def hook():
    """Take every POST; yield the address."""

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Taker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def guarded(tmp_path, hook):
    """Write a pipeline with every place for a secret."""
    write_chats(tmp_path / "logs" / "day0.jsonl", CLEAN, 1000)
    with (tmp_path / "logs" / "day0.jsonl").open("a") as file:
        write_chats(tmp_path / "tail" / "tail.jsonl", SHIFTED, 600, start=1000, seed=1)
        file.write((tmp_path / "tail" / "tail.jsonl").read_text())
    fields = {name: name for name in ("id", "model", "text", "label", "t")}
    document = {
        "version": 1,
        "project": "test",
        "compute": {"profile": "threads", "workers": 2},
        "sources": {"logs": {"kind": "transcripts", "uri": "logs/*.jsonl", "fields": fields}},
        "flows": {"transcripts": {"sources": ["logs"]}, "monitor": {"sources": ["logs"]}},
        "alerts": [
            {"kind": "webhook", "url": "${HOOK}", "secret_env": "HOOK_SECRET"},
            {"kind": "webhook", "url": f"{hook}/{CANARY}/?token={CANARY}"},
        ],
    }
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def everything_stored(pipeline):
    """Yield all text of the store: metadata of all versions, attributes, arrays, raw files."""
    repo = Repository.open(pipeline.store_ref())
    for branch in repo.ic.list_branches():
        for snapshot in repo.ic.ancestry(branch=branch):
            yield f"{snapshot.message} {json.dumps(snapshot.metadata, default=str)}"
        root = zarr.open_group(repo.ic.readonly_session(branch).store, mode="r")
        for name, node in root.members(max_depth=None):
            yield f"{name} {json.dumps(dict(node.attrs), default=str)}"
            if isinstance(node, zarr.Array):
                yield str(node[...].tolist() if node.ndim else node[()])
    for file in Path(pipeline.store_ref().url).rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            yield content.decode("latin-1")
            if content[:4] == b"\x28\xb5\x2f\xfd":
                yield bytes(Zstd().decode(content)).decode("latin-1")


@pytest.mark.server
@pytest.mark.slow
def test_commands__no_output_holds_a_secret(guarded, hook, tmp_path):
    home = tmp_path / "home"
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment = kept | {
        "PREFECT_HOME": str(home),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "HOOK": f"{hook}/{CANARY}",
        "HOOK_SECRET": CANARY,
        "AWS_SECRET_ACCESS_KEY": CANARY,
        "AWS_SESSION_TOKEN": CANARY,
    }
    for command in COMMANDS:
        done = subprocess.run(
            [sys.executable, "-m", "flows", *command, "-c", str(guarded)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        assert CANARY not in done.stdout + done.stderr, command
    pipeline = load(guarded)
    assert all(CANARY not in text for text in everything_stored(pipeline))
    written = [p for p in (*home.rglob("*"), *(tmp_path / "report").rglob("*")) if p.is_file()]
    assert any(p.suffix == ".html" for p in written)
    assert any(p.suffix == ".db" for p in written)
    assert [p for p in written if CANARY.encode() in p.read_bytes()] == []


def test_redacted__masks_tokens_of_urls(tmp_path):
    (tmp_path / "a.npz").touch()
    document = {
        "project": "test",
        "sources": {"a": {"kind": "spikes", "uri": "a.npz"}},
        "store": {"url": f"s3://{CANARY}@bucket/prefix?{CANARY}"},
        "flows": {"spikes": {"sources": ["a"]}},
        "alerts": [{"kind": "webhook", "url": f"https://u:{CANARY}@h.example/{CANARY}?{CANARY}"}],
    }
    text = json.dumps(parse(document, tmp_path / "pipeline.yaml").redacted())
    assert CANARY not in text
    assert "h.example" in text


def test_webhook__a_url_is_http_or_comes_from_the_environment(tmp_path):
    document = {
        "project": "test",
        "sources": {"a": {"kind": "spikes", "uri": "a.npz"}},
        "flows": {"spikes": {"sources": ["a"]}},
        "alerts": [{"kind": "webhook", "url": "file:///etc/passwd"}],
    }
    with pytest.raises(ConfigError, match=r"alerts\.0.*url"):
        parse(document, tmp_path / "pipeline.yaml")
