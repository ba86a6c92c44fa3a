"""Records of chat logs in their published shapes -> `Chat`, one function a format.

A format is told from its fields (`detect`): `messages` (OpenAI), `conversations` (ShareGPT),
`gen_ai.*` attributes (OpenTelemetry), `sessionId` with input and output (Langfuse), `entry_type`
(garak), `conversation` (LMSYS-Chat-1M, WildChat), `chosen` and `rejected` (HH-RLHF). Rows of
PyRIT (`conversation_id`, `sequence`) are one message each and are joined by `join_messages`.

Texts are joined from their parts; parts that are no text are left out. A number is no text.
Nothing is guessed: an absent model, time or identifier stays empty.

A span, a trace or an attempt repeats the turns before it: only the answers that it gives itself
are turns of it, or a dialogue of n answers would count n (n + 1) / 2.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from irrev.errors import InputError
from irrev.readers.chat_parts import (
    ASSISTANT,
    USER,
    Chat,
    Message,
    UnusableError,
    messages_of,
    n_answers,
    parse_time,
    role_of,
    text_of,
    time_of,
)
from irrev.readers.genai_spans import otel

HH_TURN = re.compile(r"\n\n(Human|Assistant):")  # a bare `Human:` can stand inside a turn


def detect(record: Mapping[str, Any]) -> str:
    """Name the format of a record, or raise `UnusableError`."""
    tests: list[tuple[str, bool]] = [
        ("garak", "entry_type" in record),
        ("pyrit", {"conversation_id", "sequence", "role"} <= record.keys()),
        ("otel", bool({"resourceSpans", "attributes"} & record.keys())),
        ("openai", "messages" in record),
        ("sharegpt", "conversations" in record),
        ("lmsys", "conversation" in record),
        ("hh", {"chosen", "rejected"} <= record.keys()),
        ("langfuse", {"input", "output"} <= record.keys()),
    ]
    for name, found in tests:
        if found:
            return name
    raise UnusableError(f"no known format; fields are {', '.join(map(str, sorted(record)))[:200]}")


# --- one function a format ----------------------------------------------------------------------


def openai(record: Mapping[str, Any]) -> list[Chat]:
    """Read `{"messages": [{"role", "content"}]}`."""
    t, source = time_of(record, "created", "created_at", "timestamp")
    chat = Chat(messages_of(record["messages"]), text_of(record.get("id")), t=t, t_source=source)
    return [_with(chat, record)]


def sharegpt(record: Mapping[str, Any]) -> list[Chat]:
    """Read `{"conversations": [{"from", "value"}]}`."""
    return [_with(Chat(messages_of(record["conversations"]), text_of(record.get("id"))), record)]


def lmsys(record: Mapping[str, Any]) -> list[Chat]:
    """Read LMSYS-Chat-1M and WildChat; only the latter has a time."""
    t, source = time_of(record, "timestamp")
    name = text_of(record.get("conversation_id") or record.get("conversation_hash"))
    return [_with(Chat(messages_of(record["conversation"]), name, t=t, t_source=source), record)]


def langfuse(record: Mapping[str, Any]) -> list[Chat]:
    """Read one trace: `input` and `output` are texts, messages, or objects that hold them."""
    t, source = time_of(record, "timestamp")
    before, said = _side(record["input"], USER), _side(record["output"], ASSISTANT)
    chat = Chat(
        before + said,
        text_of(record.get("id")),
        t=t,
        t_source=source,
        stress=text_of(record.get("name")),
        first_turn=n_answers(before),
    )
    metadata = record.get("metadata")
    return [_with(chat, metadata if isinstance(metadata, dict) else {})]


def garak(record: Mapping[str, Any]) -> list[Chat]:
    """Read one finished attempt; other entries and unfinished attempts give no chat."""
    if record.get("entry_type") != "attempt" or not record.get("outputs"):
        return []
    prompt = record.get("prompt")
    turns = prompt.get("turns") if isinstance(prompt, dict) else None
    before = messages_of(turns) if turns else [Message(USER, text_of(prompt))]
    stress, name = text_of(record.get("probe_classname")), text_of(record.get("uuid"))
    return [
        Chat(
            [*before, Message(ASSISTANT, text_of(output))],
            id=f"{name}/{n}",
            stress=stress,
            group=text_of(record.get("goal")),
            first_turn=n_answers(before),
        )
        for n, output in enumerate(record["outputs"])
        if output is not None
    ]


def hh(record: Mapping[str, Any]) -> list[Chat]:
    """Read HH-RLHF; turns that `chosen` and `rejected` share are given once."""
    one, two = (_split_hh(text_of(record[side])) for side in ("chosen", "rejected"))
    shared = 0
    while shared < min(len(one), len(two)) and one[shared] == two[shared]:
        shared += 1
    before = n_answers(one[:shared])
    group = one[0].text if one else ""
    chats = [Chat(one[:shared], stress="shared", group=group)] if before else []
    for side, messages in (("chosen", one), ("rejected", two)):
        if len(messages) > shared:
            chats.append(Chat(messages, stress=side, group=group, first_turn=before))
    return chats


FORMATS: dict[str, Callable[[Mapping[str, Any]], list[Chat]]] = {
    "openai": openai,
    "sharegpt": sharegpt,
    "lmsys": lmsys,
    "langfuse": langfuse,
    "garak": garak,
    "otel": otel,
    "hh": hh,
}
FIELDS = ("text", "prompt", "id", "model", "stress", "t", "label", "group")


def by_fields(record: Mapping[str, Any], fields: Mapping[str, str]) -> list[Chat]:
    """Read a labelled table through a map from `FIELDS` to the names in the file."""
    unknown = set(fields) - set(FIELDS)
    if unknown or "text" not in fields:
        raise InputError(
            f"fields maps {', '.join(sorted(fields))}; `text` is needed, and there are "
            f"{', '.join(FIELDS)}."
        )
    if fields["text"] not in record:
        raise UnusableError(f"no field {fields['text']}")
    value = {k: record.get(name) for k, name in fields.items()}
    t, source = parse_time(value.get("t"), fields.get("t", ""))
    prompt = value.get("prompt")
    before = [Message(USER, text_of(prompt))] if prompt is not None else []
    return [
        Chat(
            [*before, Message(ASSISTANT, text_of(value["text"]))],
            id=text_of(value.get("id")),
            model=text_of(value.get("model")),
            stress=text_of(value.get("stress")),
            t=t,
            t_source=source,
            label=text_of(value.get("label")),
            group=text_of(value.get("group")),
        )
    ]


def join_messages(rows: Iterable[Mapping[str, Any]]) -> Chat:
    """Join the message rows of one PyRIT conversation by `sequence`."""
    rows = sorted(rows, key=lambda r: int(r.get("sequence") or 0))
    messages = [Message(role_of(r.get("role")), _piece(r)) for r in rows]
    first = rows[0]
    t, source = time_of(first, "timestamp")
    target = first.get("prompt_target_identifier")
    labels = first.get("labels")
    labels = labels if isinstance(labels, dict) else {}
    return Chat(
        messages,
        id=text_of(first.get("conversation_id")),
        model=text_of(target.get("model_name", "")) if isinstance(target, dict) else "",
        stress=text_of(labels.get("operation", "")),
        t=t,
        t_source=source,
    )


# --- parts --------------------------------------------------------------------------------------


def _with(chat: Chat, record: Mapping[str, Any]) -> Chat:
    """Add the fields that go by one name in all formats."""
    return Chat(
        chat.messages,
        chat.id,
        chat.model or text_of(record.get("model")),
        chat.stress or text_of(record.get("stress")),
        chat.t,
        chat.t_source,
        text_of(record.get("label")),
        text_of(record.get("group")),
        chat.first_turn,
    )


def _side(value: Any, role: str) -> list[Message]:
    """Read one side of a trace: a text, messages as structure or JSON, or a reply's choices."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return [Message(role, value)]
    if isinstance(value, dict) and isinstance(value.get("choices"), list):
        value = [c["message"] for c in value["choices"][:1] if "message" in c]
    if isinstance(value, dict):
        value = value.get("messages", [value] if "role" in value else value)
    if isinstance(value, list) and all(isinstance(v, dict) and "role" in v for v in value):
        return messages_of(value)
    return [Message(role, text_of(value))]


def _piece(row: Mapping[str, Any]) -> str:
    """Return the text of a PyRIT message; images and errors have none."""
    for side in ("converted", "original"):
        if row.get(f"{side}_value") and row.get(f"{side}_value_data_type", "text") == "text":
            return text_of(row[f"{side}_value"])
    return ""


def _split_hh(text: str) -> list[Message]:
    pieces = HH_TURN.split(text)
    if len(pieces) < 3:
        raise UnusableError("no turn starts with Human: or Assistant:")
    roles, texts = pieces[1::2], pieces[2::2]
    return [Message(role_of(r), t.strip()) for r, t in zip(roles, texts, strict=True)]
