"""Chat logs -> one row an assistant's turn, with hashes in place of texts unless asked for.

JSON lines, arrays and printed objects, parquet, CSV, Inspect logs; plain, gzip or zstd. Formats:
`irrev.readers.chats` and `inspect_logs`; `fields` maps any other table. What cannot be used is
listed with its line, reason and hash (dimension `bad`), never dropped:

- what `jsonlines` finds (invalid UTF-8 or JSON, too long, too deep), records without the fields of
  their format, chats without an assistant's turn, a second record with an identifier already seen
  and the same content; with other content it is kept as `<id>#2`;
- a turn without text is kept and has no behaviour (`answer_bytes` 0); with tool calls it is
  counted as an action;
- times are ISO 8601 (no zone means UTC) or numbers since 1970 in s, ms, us or ns; what is neither
  leaves the time empty with `t_source` = `unreadable`.

`confounded` names the models for which each time has one stress only: there a change over time
cannot be told from a change of stress, and no drift may be claimed.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from irrev.errors import FormatError, InputError
from irrev.readers.chat_parts import ASSISTANT, USER, Chat, UnusableError
from irrev.readers.chats import FORMATS, by_fields, detect, join_messages
from irrev.readers.inspect_logs import is_inspect_log, read_inspect_log
from irrev.readers.jsonlines import BadLine, Limits
from irrev.readers.record_files import read_records, record_hash

READER_VERSION = 2
UNKNOWN = "unknown"
NAMES: dict[str, Any] = {"model": "", "variants": None, "stresses": None, "labels": None}


@dataclass(frozen=True, slots=True)
class Turn:
    """One assistant's turn with its question."""

    transcript_id: str
    model: str
    variant: str
    stress: str
    t: float  # s since 1970, NaN if there is none
    t_source: str
    turn: int  # from 0 within the transcript
    question: str
    answer: str
    label: str
    group: str
    n_tool_calls: int
    line: int


@dataclass(frozen=True, slots=True)
class Bad:
    """One record that gives no turn."""

    line: int
    reason: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Naming:
    """How the names of a log map to model, variant and stress; never guessed."""

    model: str = ""  # of records that name none
    variants: Mapping[str, str] | None = None  # model -> base, tuned, ...
    stresses: Mapping[str, str] | None = None  # stress or task -> name
    labels: Mapping[str, str] | None = None  # label -> class; no other label is taken

    def refuses(self, label: str) -> bool:
        """Say whether a label is outside the map; without a map or a label nothing is."""
        return bool(self.labels and label) and label not in (self.labels or {})

    def model_of(self, chat: Chat) -> str:
        """Return the model of a chat."""
        return chat.model or self.model or UNKNOWN

    def variant_of(self, chat: Chat) -> str:
        """Return the variant of a chat's model."""
        return (self.variants or {}).get(self.model_of(chat), UNKNOWN)

    def stress_of(self, chat: Chat) -> str:
        """Return the stress of a chat."""
        return (self.stresses or {}).get(chat.stress, chat.stress or UNKNOWN)


def named(options: Mapping[str, Any]) -> Naming:
    """Make the naming from the reader's options."""
    return Naming(*(options.get(k) or default for k, default in NAMES.items()))


def open_transcripts(
    path: Path,
    *,
    on_error: Literal["quarantine", "stop"] = "quarantine",
    format: str = "auto",
    fields: Mapping[str, str] | None = None,
    model: str = "",
    variants: Mapping[str, str] | None = None,
    stresses: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    store_text: bool = False,
) -> xr.Dataset:
    """Read one file of chats into the kind `transcripts`.

    Parameters
    ----------
    path
        File; the format is told from its content.
    on_error
        List unusable records, or raise at the first.
    format
        `auto`, or one of `chats.FORMATS`, `pyrit`, `inspect`, `fields`.
    fields
        Map of `text, prompt, id, model, stress, t, label, group` to names in the file.
    model, variants, stresses, labels
        Names; see `Naming`. A record whose label is not in the map is listed as bad.
    store_text
        Keep questions and answers; hashes and sizes only if not.

    Returns
    -------
        Dataset over `answer` (assistant's turns) and `bad` (records without one).

    Raises
    ------
    FormatError
        If the file cannot be read at all, or at the first bad record under `stop`.
    """
    naming = Naming(model, variants, stresses, labels)
    turns: list[Turn] = []
    bad: list[Bad] = []
    for item in read_turns(path, format=format, fields=fields, naming=naming):
        if isinstance(item, Turn):
            turns.append(item)
        elif on_error == "stop":
            raise FormatError(f"{path}: record {item.line}: {item.reason}.")
        else:
            bad.append(item)
    return to_dataset(turns, bad, store_text=store_text)


def read_turns(
    path: Path,
    *,
    format: str = "auto",
    fields: Mapping[str, str] | None = None,
    naming: Naming | None = None,
    limits: Limits | None = None,
) -> Iterator[Turn | Bad]:
    """Yield each assistant's turn with its text, and each unusable record, in order.

    Memory does not grow with the file, but for identifiers seen and for PyRIT, whose messages are
    joined at the end.
    """
    naming, seen = naming or Naming(), _Seen()
    for line, raw_hash, chat in _chats(path, format, fields, limits or Limits()):
        if isinstance(chat, UnusableError):
            yield Bad(line, str(chat), raw_hash)
            continue
        named = seen.name(chat, line, path.name)
        if isinstance(named, str):
            yield Bad(line, named, raw_hash)
            continue
        if naming.refuses(named.label):
            reason = f"a label of {len(named.label)} characters that is not in the map"
            yield Bad(line, reason, raw_hash)
            continue
        turns = list(_turns(named, line, naming))
        if turns:
            yield from turns
        else:
            yield Bad(line, "no_assistant", raw_hash)


def to_dataset(turns: list[Turn], bad: list[Bad], *, store_text: bool) -> xr.Dataset:
    """Put turns and unusable records into the kind `transcripts`."""

    def text(values: Iterable[str]) -> tuple[str, np.ndarray]:
        return "answer", np.array(list(values), dtype=object)

    data: dict[str, Any] = {
        "transcript_id": text(t.transcript_id for t in turns),
        "model": text(t.model for t in turns),
        "variant": text(t.variant for t in turns),
        "stress": text(t.stress for t in turns),
        "t": ("answer", np.array([t.t for t in turns], dtype=np.float64)),
        "t_source": text(t.t_source for t in turns),
        "turn": ("answer", np.array([t.turn for t in turns], dtype=np.int64)),
        "question_hash": text(text_hash(t.question) for t in turns),
        "answer_hash": text(text_hash(t.answer) for t in turns),
        "answer_bytes": ("answer", np.array([len(t.answer.encode()) for t in turns], np.int64)),
        "n_tool_calls": ("answer", np.array([t.n_tool_calls for t in turns], np.int64)),
        "reported_label": text(t.label for t in turns),
        "group_hash": text(text_hash(t.group) for t in turns),
        "line": ("answer", np.array([t.line for t in turns], dtype=np.int64)),
        "bad_line": ("bad", np.array([b.line for b in bad], dtype=np.int64)),
        "bad_reason": ("bad", np.array([b.reason for b in bad], dtype=object)),
        "bad_hash": ("bad", np.array([b.sha256 for b in bad], dtype=object)),
    }
    data |= _checks(bad, turns)
    if store_text:
        data["question_text"] = text(t.question for t in turns)
        data["answer_text"] = text(t.answer for t in turns)
    attrs = {
        "reader": "transcripts",
        "reader_version": READER_VERSION,
        "confounded": json.dumps(confounded(turns)),
    }
    return xr.Dataset(data, attrs=attrs)


def _checks(bad: list[Bad], turns: list[Turn]) -> dict[str, Any]:
    """Summarise what was set aside or is weak: one line a reason, with the first records."""
    by_reason: dict[str, list[int]] = defaultdict(list)
    for b in bad:
        by_reason[b.reason.split(" of record ")[0]].append(b.line)
    rows = [
        (reason, len(lines), "quarantined", _some("records", lines))
        for reason, lines in by_reason.items()
    ]
    unread = [t.line for t in turns if t.t_source == "unreadable"]
    if unread:
        rows.append(
            ("unreadable time", len(unread), "kept without a time", _some("records", unread))
        )
    if models := confounded(turns):
        detail = f"each time has one stress: {', '.join(models)}; no drift is claimed"
        rows.append(("time and stress confounded", len(models), "kept", detail))
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    names = ("check", "check_count", "check_action", "check_detail")
    types = (object, np.int64, object, object)
    return {
        name: ("check", np.array(list(values), dtype=kind))
        for name, values, kind in zip(names, columns, types, strict=True)
    }


def _some(what: str, lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:5]))
    return f"{what} {shown}" + (f" and {len(lines) - 5} more" if len(lines) > 5 else "")


def confounded(turns: Iterable[Turn]) -> list[str]:
    """Name the models whose every time has a single stress, with two times or more."""
    stresses: dict[str, dict[float, set[str]]] = defaultdict(lambda: defaultdict(set))
    for turn in turns:
        if np.isfinite(turn.t):
            stresses[turn.model][turn.t].add(turn.stress)
    out = []
    for model, by_time in stresses.items():
        kinds = set().union(*by_time.values())
        if len(by_time) > 1 and len(kinds) > 1 and all(len(s) == 1 for s in by_time.values()):
            out.append(model)
    return sorted(out)


def split_transcripts(ds: xr.Dataset) -> dict[str, Any]:
    """Split by model, variant and stress: condition -> its three names."""
    names = zip(*(ds[k].to_numpy().tolist() for k in ("model", "variant", "stress")), strict=True)
    return {"/".join(key): list(key) for key in sorted(set(names))}


def text_hash(text: str) -> str:
    """Return the SHA-256 of a text; empty for an empty text."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() if text else ""


# --- records ------------------------------------------------------------------------------------

Found = Iterator[tuple[int, str, Chat | UnusableError]]


def _chats(path: Path, name: str, fields: Mapping[str, str] | None, limits: Limits) -> Found:
    """Yield (record number, hash of the record, chat or reason)."""
    known = {*FORMATS, "auto", "pyrit", "inspect", "fields"}
    if name not in known:
        raise InputError(f"format {name!r} does not exist; choose {', '.join(sorted(known))}.")
    if name == "inspect" or (name == "auto" and fields is None and is_inspect_log(path)):
        for number, chat in read_inspect_log(path, limits=limits):
            yield number, "", chat
        return
    rows: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for record in read_records(path, limits=limits):
        if isinstance(record, BadLine):
            yield record.line, record.sha256, UnusableError(record.reason)
            continue
        digest = record_hash(record.value)
        try:
            kind = "fields" if fields is not None else name
            kind = detect(record.value) if kind == "auto" else kind
            if kind == "pyrit":
                key = str(record.value.get("conversation_id"))
                rows.setdefault(key, []).append((record.line, record.value))
                continue
            chats = by_fields(record.value, fields or {}) if kind == "fields" else None
            for chat in FORMATS[kind](record.value) if chats is None else chats:
                yield record.line, digest, chat
        except UnusableError as error:
            yield record.line, digest, error
        except (KeyError, TypeError, AttributeError) as error:
            why = f"not the shape of its format ({type(error).__name__})"
            yield record.line, digest, UnusableError(why)
    for group in rows.values():
        yield group[0][0], "", join_messages(row for _, row in group)


class _Seen:
    """Identifiers met so far: numbers records without one, sets repeated ones apart."""

    def __init__(self) -> None:
        self._content: dict[str, list[str]] = {}
        self._lines: dict[str, int] = {}

    def name(self, chat: Chat, line: int, file: str) -> Chat | str:
        """Return the chat with a unique identifier, or why it is a repetition."""
        if not chat.id:
            tail = f":{chat.stress}" if chat.stress in ("shared", "chosen", "rejected") else ""
            return replace(chat, id=f"{file}:{line}{tail}")
        content = text_hash(json.dumps([chat.messages, chat.label, chat.model, chat.stress]))
        before = self._content.setdefault(chat.id, [])
        if content in before:
            return f"duplicate of record {self._lines[chat.id]}"
        before.append(content)
        self._lines.setdefault(chat.id, line)
        return chat if len(before) == 1 else replace(chat, id=f"{chat.id}#{len(before)}")


def _turns(chat: Chat, line: int, naming: Naming) -> Iterator[Turn]:
    question, first_question, number = "", "", 0
    for message in chat.messages:
        if message.role == USER:
            question = message.text
            first_question = first_question or question
        elif message.role == ASSISTANT:
            if number >= chat.first_turn:
                yield Turn(
                    transcript_id=chat.id,
                    model=naming.model_of(chat),
                    variant=naming.variant_of(chat),
                    stress=naming.stress_of(chat),
                    t=float("nan") if chat.t is None else chat.t,
                    t_source=chat.t_source,
                    turn=number,
                    question=question,
                    answer=message.text,
                    label=chat.label,
                    group=chat.group or first_question,
                    n_tool_calls=message.n_tool_calls,
                    line=line,
                )
            number += 1
