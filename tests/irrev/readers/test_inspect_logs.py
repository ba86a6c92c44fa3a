"""Inspect logs: generated ones of both containers, and thirteen real ones."""

import json
import struct
import zipfile
import zlib

import pytest

from irrev.errors import FormatError
from irrev.readers import open_source
from irrev.readers.inspect_logs import is_inspect_log

EVAL = {"run_id": "r", "task": "task", "model": "m", "created": "2026-01-01T12:00:00+00:00"}
SAID = [{"role": "user", "content": "how many"}, {"role": "assistant", "content": "five"}]


def sample(**fields):
    return {"id": 1, "epoch": 1, "input": "how many", "target": "5", "messages": SAID, **fields}


def as_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in members:
            archive.writestr(name, json.dumps(value))
    return path


def as_json(path, samples, status="success"):
    log = {"version": 2, "status": status, "eval": EVAL, "samples": samples}
    path.write_text(json.dumps(log))
    return path


def read(path):
    return open_source(path, kind="transcripts", store_text=True)


@pytest.mark.filterwarnings("ignore:Duplicate name")  # the archive is made so on purpose
def test_read_inspect_log__of_repeated_members_the_last_wins(tmp_path):
    later = sample(messages=[SAID[0], {"role": "assistant", "content": "six"}])
    name = "samples/1_epoch_1.json"
    members = [("header.json", {"eval": EVAL}), (name, sample()), (name, later)]
    ds = read(as_zip(tmp_path / "a.eval", members))
    assert ds["answer_text"].values.tolist() == ["six"]
    assert ds["transcript_id"].values.tolist() == ["r/1/1"]


def as_zstd(path, members, spoil=0):
    """Write the archive of current Inspect versions: zip members compressed by method 93."""
    zstandard = pytest.importorskip("zstandard")
    plain = as_zip(path, members)
    with zipfile.ZipFile(plain) as archive:
        texts = {i.filename: archive.read(i) for i in archive.infolist()}
    out, directory = b"", b""
    for name, text in texts.items():
        packed = zstandard.compress(text)
        packed = packed[: len(packed) - spoil]
        sizes = struct.pack("<III", zlib.crc32(text), len(packed), len(text))
        lengths = struct.pack("<HH", len(name), 0)
        head = struct.pack("<HHHHH", 63, 0, 93, 0, 33)
        directory += b"PK\x01\x02" + struct.pack("<H", 63) + head + sizes + lengths
        directory += struct.pack("<HHHII", 0, 0, 0, 0, len(out)) + name.encode()
        out += b"PK\x03\x04" + head + sizes + lengths + name.encode() + packed
    end = struct.pack("<HHHHIIH", 0, 0, len(texts), len(texts), len(directory), len(out), 0)
    path.write_bytes(out + directory + b"PK\x05\x06" + end)
    return path


def test_read_inspect_log__reads_zstd_members(tmp_path):
    members = [("header.json", {"eval": EVAL}), ("samples/1_epoch_1.json", sample())]
    assert read(as_zstd(tmp_path / "a.eval", members))["answer_text"].values.tolist() == ["five"]
    with pytest.raises(FormatError, match="damaged archive"):
        read(as_zstd(tmp_path / "b.eval", members, spoil=3))


def test_read_inspect_log__nesting_and_odd_characters_are_handled_as_in_chats(tmp_path):
    odd = [SAID[0], {"role": "assistant", "content": "\ud800 and \0"}]
    deep = 5
    for _ in range(70):
        deep = [deep]
    members = [("header.json", {"eval": EVAL}), ("samples/1_epoch_1.json", sample(messages=odd))]
    members.append(("samples/2_epoch_1.json", sample(metadata=deep)))
    ds = read(as_zip(tmp_path / "a.eval", members))
    assert ds["answer_text"].values.tolist() == ["\ufffd and \ufffd"]
    assert "nested deeper than 64" in ds["bad_reason"].item()


def test_read_inspect_log__running_log_has_a_journal_only(tmp_path):
    members = [("_journal/start.json", {"eval": EVAL}), ("samples/1_epoch_1.json", sample())]
    assert read(as_zip(tmp_path / "a.eval", members)).sizes["answer"] == 1


@pytest.mark.parametrize(
    ("fields", "source"),
    [
        ({"started_at": "2026-01-02T00:00:00Z"}, "started_at"),
        ({"events": [{"timestamp": "2026-01-03T00:00:00Z"}]}, "events"),
        ({"transcript": {"events": [{"timestamp": "2026-01-03T00:00:00Z"}]}}, "events"),
        ({}, "eval.created"),
    ],
)
def test_read_inspect_log__says_where_the_time_comes_from(fields, source, tmp_path):
    ds = read(as_json(tmp_path / "a.json", [sample(**fields)]))
    assert ds["t_source"].values.tolist() == [source]


def test_read_inspect_log__resolves_attachments_and_parts(tmp_path):
    content = [{"type": "image"}, {"type": "text", "text": "attachment://abc"}]
    messages = [SAID[0], {"role": "assistant", "content": content}]
    one = sample(messages=messages, attachments={"abc": "five"})
    assert read(as_json(tmp_path / "a.json", [one]))["answer_text"].values.tolist() == ["five"]


def test_read_inspect_log__sample_without_an_assistant_is_listed(tmp_path):
    ds = read(as_json(tmp_path / "a.json", [sample(messages=[{"role": "tool"}]), sample()]))
    assert ds["bad_reason"].values.tolist() == ["no_assistant"]
    assert ds["bad_line"].values.tolist() == [1]
    assert ds.sizes["answer"] == 1


@pytest.mark.parametrize("samples", [None, []])
def test_read_inspect_log__cancelled_log_is_an_empty_table(samples, tmp_path):
    ds = read(as_json(tmp_path / "a.json", samples, status="cancelled"))
    assert ds.sizes["answer"] == ds.sizes["bad"] == 0


def test_read_inspect_log__refuses_an_archive_that_explodes(tmp_path):
    path = tmp_path / "a.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("samples/1.json", b" " * 20_000_000)
    with pytest.raises(FormatError, match=r"expand to 20,000,000 bytes .* no log"):
        read(path)


def test_read_inspect_log__says_what_is_missing(tmp_path):
    with pytest.raises(FormatError, match=r"neither header\.json nor _journal"):
        read(as_zip(tmp_path / "a.eval", [("other.json", {})]))
    broken = tmp_path / "b.eval"
    broken.write_bytes(
        as_zip(tmp_path / "c.eval", [("header.json", {"eval": EVAL})]).read_bytes()[:60]
    )
    with pytest.raises(FormatError, match="damaged archive"):
        read(broken)


def test_is_inspect_log__tells_it_from_chat_lines(tmp_path):
    chat = tmp_path / "chat.jsonl"
    chat.write_text(json.dumps({"messages": SAID}))
    assert not is_inspect_log(chat)
    assert is_inspect_log(as_json(tmp_path / "a.json", []))


# model, assistant turns, of these with text, characters of these: inspect_ai 0.3.285
REFERENCE = {
    "2024-11-05T13-32-37-05-00_input-task_hxs4q9azL3ySG": ("openai/gpt-4o-mini", 1, 1, 222),
    "2025-02-11T15-17-00-05-00_popularity_dPiJifoWeEQBr": ("openai/gpt-4o-mini", 10, 10, 23),
    "2025-02-11T15-18-04-05-00_popularity_mj7khqpMM4GBC": ("openai/gpt-4o-mini", 10, 10, 23),
    "2025-05-12T20-27-36-04-00_browser.json": ("openai/gpt-4o-mini", 5, 1, 1264),
    "2025-05-12T20-28-13-04-00_no-samples.json": ("openai/gpt-4o-mini", 0, 0, 0),
    "2025-05-12T20-28-13-04-00_popularity.json": ("openai/gpt-4o-mini", 3, 3, 7),
    "2025-05-12T20-28-26-04-00_security-guide.json": ("openai/gpt-4o-mini", 3, 3, 263),
    "log_formats.eval": ("ollama/llama3.1", 1, 1, 2),
    "log_formats.json": ("ollama/llama3.1", 1, 1, 2),
    "log_read_sample.eval": ("ollama/gemma3", 1, 1, 4),
    "log_streaming.eval": ("azureai/Meta-Llama-3-1-405B-Instruct-jqf", 4, 4, 11),
    "log_tool_call_error.json": ("...", 0, 0, 0),
    "mmlu-summary-choices.eval": ("openai/gpt-4o", 1, 1, 9),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_read_inspect_log__counts_what_inspect_ai_counts(name, data_dir):
    (path,) = (data_dir / "llm" / "inspect_logs").glob(f"{name}*")
    ds = read(path)
    model, turns, with_text, characters = REFERENCE[name]
    assert set(ds["model"].values) <= {model}
    assert ds.sizes["answer"] == turns
    assert int((ds["answer_bytes"] > 0).sum()) == with_text
    assert sum(map(len, ds["answer_text"].values.tolist())) == characters
