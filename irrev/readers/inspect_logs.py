"""Inspect evaluation logs (`.eval`, `.json`) of all versions since October 2024.

An `.eval` file is a zip with `header.json` (or `_journal/start.json` while it runs) and one
`samples/<id>_epoch_<n>.json` a sample; of members with one name the last wins. A `.json` file is
the same as one object. Almost every field may be absent:

- time: sample `started_at`, else the first event's `timestamp`, else `eval.created`; the source
  of each time is kept, since the last is the same for all samples of a run;
- texts `attachment://<hash>` are looked up in the sample's attachments;
- a sample without an assistant's message or output has no behaviour: reason `no_assistant`;
- the log says nothing on base or tuned, nor on stress: the model is `eval.model`, the stress
  `eval.task`; maps in the caller's options may rename them.

Nothing of the log is run. Members are deflated, or zstd-compressed as in logs since 2026. Limits
bound the number of members, the size after expansion, the expansion ratio and the nesting.
inspect_ai itself is not needed (release 0.3.285 does not install beside this package's pinned
fsspec). Counts agree with its `read_eval_log` on thirteen real logs.
"""

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from irrev.errors import FormatError, MissingExtraError
from irrev.readers.chat_parts import Chat, Message, UnusableError, parse_time
from irrev.readers.jsonlines import Limits, depth, storable

READER_VERSION = 2
MAX_MEMBERS = 200_000
MAX_RATIO = 1000  # deflate expands by at most about 1,032
MAX_RATIO_ZSTD = 20_000  # repeated text; bounded by the total size as well
ZIP_MAGIC = b"PK\x03\x04"
ZSTD = 93  # compression method in a zip, unknown to Python before 3.14
MAX_JSON = 1 << 30  # bytes of a log in one JSON object, which is read whole
BROKEN_ARCHIVE = (
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zlib.error,
)
LOCAL_HEADER = struct.Struct("<26xHH")  # of a member: lengths of its name and of its extra field
ATTACHMENT = "attachment://"


def is_inspect_log(path: Path) -> bool:
    """Say whether a file is an Inspect log, from its start."""
    with path.open("rb") as file:
        start = file.read(4096)
    if start.startswith(ZIP_MAGIC):
        return True
    head = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    return head.startswith(b"{") and b'"eval"' in head and b'"status"' in head


def read_inspect_log(
    path: Path, *, limits: Limits | None = None
) -> Iterator[tuple[int, Chat | UnusableError]]:
    """Yield (sample number, chat or why there is none) of one log.

    Parameters
    ----------
    path
        `.eval` or `.json` file.
    limits
        Bounds: `line_bytes` for one sample of an archive, `total_bytes` for the archive.

    Yields
    ------
        Number of the sample from 1, and its chat or the reason.

    Raises
    ------
    FormatError
        If the file is no Inspect log or exceeds a limit.
    """
    limits = limits or Limits()
    with path.open("rb") as file:
        zipped = file.read(4) == ZIP_MAGIC
    if zipped:
        yield from _read_zip(path, limits)
        return
    if path.stat().st_size > min(limits.total_bytes, MAX_JSON):
        raise FormatError(f"{path}: larger than {MAX_JSON:,} bytes; convert it to `.eval`.")
    log = _parsed(path.read_bytes(), limits, f"{path}")
    if not isinstance(log, dict) or not isinstance(log.get("eval"), dict):
        raise FormatError(f"{path}: no field `eval`; is it an Inspect log?")
    for number, sample in enumerate(log.get("samples") or [], start=1):
        yield number, _sample(sample, log["eval"])


def _read_zip(path: Path, limits: Limits) -> Iterator[tuple[int, Chat | UnusableError]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path, limits)
            header = members.get("header.json") or members.get("_journal/start.json")
            if header is None:
                raise FormatError(f"{path}: neither header.json nor _journal/start.json inside.")
            run = _parsed(_content(archive, header, path), limits, f"{path}/header")
            run = run.get("eval") if isinstance(run, dict) else None
            if not isinstance(run, dict):
                raise FormatError(f"{path}: its header has no field `eval`.")
            samples = sorted(
                m for m in members if m.startswith("samples/") and m.endswith(".json")
            )
            for number, name in enumerate(samples, start=1):
                if members[name].file_size > limits.line_bytes:
                    size = members[name].file_size
                    yield number, UnusableError(f"{size:,} bytes, limit {limits.line_bytes:,}")
                    continue
                try:
                    sample = _parsed(_content(archive, members[name], path), limits, name)
                except FormatError as error:
                    yield number, UnusableError(str(error))
                    continue
                yield number, _sample(sample, run)
    except BROKEN_ARCHIVE as error:
        raise FormatError(f"{path}: damaged archive ({error}); copy it again.") from error


def _members(archive: zipfile.ZipFile, path: Path, limits: Limits) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name, the last of each, within the limits."""
    infos = archive.infolist()
    total = sum(i.file_size for i in infos)
    packed = max(sum(i.compress_size for i in infos), 1)
    ratio = MAX_RATIO_ZSTD if any(i.compress_type == ZSTD for i in infos) else MAX_RATIO
    if len(infos) > MAX_MEMBERS or total > limits.total_bytes or total > ratio * packed:
        raise FormatError(
            f"{path}: {len(infos):,} members that expand to {total:,} bytes "
            f"({total / packed:.0f} times); this is no log."
        )
    return {i.filename: i for i in infos}


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> bytes:
    """Expand one member, never beyond the size that the archive states."""
    if info.compress_type != ZSTD:
        return archive.read(info)
    try:
        import zstandard
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: zstd needs the package zstandard; pip install 'irrev[transcripts]'."
        ) from error
    with path.open("rb") as file:
        file.seek(info.header_offset)
        file.seek(sum(LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))), 1)
        packed = file.read(info.compress_size)
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    try:
        with reader.stream_reader(packed, read_across_frames=True) as stream:
            raw = stream.read(info.file_size + 1)
    except zstandard.ZstdError as error:
        raise zipfile.BadZipFile(str(error)) from error
    if len(raw) != info.file_size or zlib.crc32(raw) != info.CRC:
        raise zipfile.BadZipFile(f"bad CRC-32 of {info.filename!r}")
    return raw


def _parsed(raw: bytes, limits: Limits, where: str) -> Any:
    try:
        value = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise FormatError(f"{where}: invalid UTF-8 at byte {error.start}.") from error
    except RecursionError as error:
        raise FormatError(f"{where}: nested deeper than {limits.depth}.") from error
    except ValueError as error:
        raise FormatError(f"{where}: invalid JSON.") from error
    if depth(value) > limits.depth:
        raise FormatError(f"{where}: nested deeper than {limits.depth}.")
    return storable(value)


def _sample(sample: Any, run: Mapping[str, Any]) -> Chat | UnusableError:
    if not isinstance(sample, dict):
        return UnusableError(f"a sample is a {type(sample).__name__}, not an object")
    attachments = sample.get("attachments")
    attachments = attachments if isinstance(attachments, dict) else {}
    messages = [_message(m, attachments) for m in sample.get("messages") or []]
    if not any(m.role == "assistant" for m in messages):
        output = sample.get("output")
        choices = output.get("choices") if isinstance(output, dict) else None
        messages += [_message(c["message"], attachments) for c in choices or [] if "message" in c]
    if not any(m.role == "assistant" for m in messages):
        return UnusableError("no_assistant")
    t, source = _sample_time(sample, run)
    task = run.get("task")
    names = (run.get("run_id") or run.get("task_id") or "", sample.get("id"), sample.get("epoch"))
    return Chat(
        messages,
        id="/".join(str(n) for n in names),
        model=str(run.get("model") or ""),
        stress=str(task or ""),
        t=t,
        t_source=source,
    )


def _sample_time(sample: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[float | None, str]:
    if sample.get("started_at"):
        return parse_time(sample["started_at"], "started_at")
    transcript = sample.get("transcript")
    events = sample.get("events") or (
        transcript.get("events") if isinstance(transcript, dict) else None
    )
    if events and isinstance(events[0], dict) and events[0].get("timestamp"):
        return parse_time(events[0]["timestamp"], "events")
    return parse_time(run.get("created"), "eval.created")


def _message(message: Any, attachments: Mapping[str, str]) -> Message:
    if not isinstance(message, dict):
        return Message("", "")
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str) and text.startswith(ATTACHMENT):
            text = attachments.get(text.removeprefix(ATTACHMENT), "")
        if isinstance(text, str) and text:
            texts.append(text)
    calls = message.get("tool_calls")
    n_calls = len(calls) if isinstance(calls, list) else 0
    return Message(str(message.get("role") or ""), "\n".join(texts), n_calls)
