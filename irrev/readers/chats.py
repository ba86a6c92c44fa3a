"""Records of chat logs in their published shapes -> `Chat`, one function a format.

A format is told from its fields (`detect`): `messages` (OpenAI), `conversations` (ShareGPT),
`gen_ai.*` attributes (OpenTelemetry), `sessionId` with input and output (Langfuse), `entry_type`
(garak), `conversation` (LMSYS-Chat-1M, WildChat), `chosen` and `rejected` (HH-RLHF). Rows of
PyRIT (`conversation_id`, `sequence`) are one message each and are joined by `join_messages`.

Texts are joined from their parts; parts that are no text are left out. A number is no text.
Nothing is guessed: an absent model, time or identifier stays empty.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from irrev.errors import InputError

USER, ASSISTANT = "user", "assistant"
ROLES = {"human": USER, "prompter": USER, "gpt": ASSISTANT, "bot": ASSISTANT, "model": ASSISTANT}
HH_TURN = re.compile(r"\n\n(Human|Assistant):")  # a bare `Human:` can stand inside a turn
MILLI, MICRO, NANO = 1e11, 1e14, 1e17  # seconds since 1970 stay below 1e11 until the year 5138


class Message(NamedTuple):
    """One message of a chat."""

    role: str
    text: str
    n_tool_calls: int = 0


@dataclass(frozen=True, slots=True)
class Chat:
    """One conversation, in the order of its messages."""

    messages: list[Message]
    id: str = ""
    model: str = ""
    stress: str = ""
    t: float | None = None  # s since 1970, UTC
    t_source: str = ""  # field that the time comes from; `unreadable` if there was one
    label: str = ""
    group: str = ""  # what must not be split between training and test; prompt if empty
    first_turn: int = 0  # assistant turns that another chat has already given
    extra: dict[str, str] = field(default_factory=dict)


class UnusableError(ValueError):
    """A record without what its format promises; the text says what, never the content."""


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
    t, source = _time(record, "created", "created_at", "timestamp")
    chat = Chat(_messages(record["messages"]), _text(record.get("id")), t=t, t_source=source)
    return [_with(chat, record)]


def sharegpt(record: Mapping[str, Any]) -> list[Chat]:
    """Read `{"conversations": [{"from", "value"}]}`."""
    return [_with(Chat(_messages(record["conversations"]), _text(record.get("id"))), record)]


def lmsys(record: Mapping[str, Any]) -> list[Chat]:
    """Read LMSYS-Chat-1M and WildChat; only the latter has a time."""
    t, source = _time(record, "timestamp")
    name = _text(record.get("conversation_id") or record.get("conversation_hash"))
    return [_with(Chat(_messages(record["conversation"]), name, t=t, t_source=source), record)]


def langfuse(record: Mapping[str, Any]) -> list[Chat]:
    """Read one trace: `input` and `output` are texts, messages, or objects that hold them."""
    t, source = _time(record, "timestamp")
    messages = _side(record["input"], USER) + _side(record["output"], ASSISTANT)
    name = _text(record.get("id"))
    metadata = record.get("metadata")
    chat = Chat(messages, name, t=t, t_source=source, stress=_text(record.get("name")))
    return [_with(chat, metadata if isinstance(metadata, dict) else {})]


def garak(record: Mapping[str, Any]) -> list[Chat]:
    """Read one finished attempt; other entries and unfinished attempts give no chat."""
    if record.get("entry_type") != "attempt" or not record.get("outputs"):
        return []
    prompt = record.get("prompt")
    turns = prompt.get("turns") if isinstance(prompt, dict) else None
    before = _messages(turns) if turns else [Message(USER, _text(prompt))]
    stress, name = _text(record.get("probe_classname")), _text(record.get("uuid"))
    return [
        Chat(
            [*before, Message(ASSISTANT, _text(output))],
            id=f"{name}/{n}",
            stress=stress,
            group=_text(record.get("goal")),
        )
        for n, output in enumerate(record["outputs"])
        if output is not None
    ]


def otel(record: Mapping[str, Any]) -> list[Chat]:
    """Read GenAI spans: bare, or inside an OTLP envelope."""
    if "resourceSpans" in record:
        scopes = [s for r in record["resourceSpans"] for s in r.get("scopeSpans", [])]
        return [c for s in scopes for span in s.get("spans", []) for c in otel(span)]
    a = _attributes(record.get("attributes"))
    said = [_messages(_decoded(a.get(f"gen_ai.{side}.messages"))) for side in ("input", "output")]
    messages = said[0] + said[1] or _events(record.get("events", []))
    if not messages and not any(k.startswith("gen_ai.") for k in a):
        return []  # a span of something else
    t, source = _time(record, "start_time", "startTimeUnixNano", "startTime", "timestamp")
    span = record.get("span_id") or record.get("spanId") or _context(record).get("span_id")
    name = "/".join(filter(None, [_text(a.get("gen_ai.conversation.id")), _text(span)]))
    model = _text(a.get("gen_ai.response.model") or a.get("gen_ai.request.model"))
    return [Chat(messages, name, model, t=t, t_source=source)]


def hh(record: Mapping[str, Any]) -> list[Chat]:
    """Read HH-RLHF; turns that `chosen` and `rejected` share are given once."""
    one, two = (_split_hh(_text(record[side])) for side in ("chosen", "rejected"))
    shared = 0
    while shared < min(len(one), len(two)) and one[shared] == two[shared]:
        shared += 1
    before = sum(m.role == ASSISTANT for m in one[:shared])
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
    before = [Message(USER, _text(prompt))] if prompt is not None else []
    return [
        Chat(
            [*before, Message(ASSISTANT, _text(value["text"]))],
            id=_text(value.get("id")),
            model=_text(value.get("model")),
            stress=_text(value.get("stress")),
            t=t,
            t_source=source,
            label=_text(value.get("label")),
            group=_text(value.get("group")),
        )
    ]


def join_messages(rows: Iterable[Mapping[str, Any]]) -> Chat:
    """Join the message rows of one PyRIT conversation by `sequence`."""
    rows = sorted(rows, key=lambda r: int(r.get("sequence") or 0))
    messages = [
        Message(_role(r.get("role")), _text(r.get("converted_value") or r.get("original_value")))
        for r in rows
    ]
    first = rows[0]
    t, source = _time(first, "timestamp")
    target = first.get("prompt_target_identifier")
    labels = first.get("labels")
    labels = labels if isinstance(labels, dict) else {}
    return Chat(
        messages,
        id=_text(first.get("conversation_id")),
        model=_text(target.get("model_name", "")) if isinstance(target, dict) else "",
        stress=_text(labels.get("operation", "")),
        t=t,
        t_source=source,
    )


# --- times --------------------------------------------------------------------------------------


def parse_time(value: Any, source: str) -> tuple[float | None, str]:
    """Read a time: ISO 8601 (no zone means UTC), or a number since 1970 in s, ms, us or ns."""
    if value is None or value == "":
        return None, ""
    if isinstance(value, datetime | date):
        moment = (
            value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
        )
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), source
    try:
        number = float(value) if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError):
        try:
            moment = datetime.fromisoformat(str(value).strip())
        except ValueError:
            return None, "unreadable"
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), source
    for limit, unit in ((NANO, 1e9), (MICRO, 1e6), (MILLI, 1e3)):
        if abs(number) >= limit:
            number /= unit
            break
    return (number, source) if abs(number) < MILLI else (None, "unreadable")


def _time(record: Mapping[str, Any], *names: str) -> tuple[float | None, str]:
    for name in names:
        if record.get(name) not in (None, ""):
            return parse_time(record[name], name)
    return None, ""


# --- parts --------------------------------------------------------------------------------------


def _with(chat: Chat, record: Mapping[str, Any]) -> Chat:
    """Add the fields that go by one name in all formats."""
    return Chat(
        chat.messages,
        chat.id,
        chat.model or _text(record.get("model")),
        chat.stress or _text(record.get("stress")),
        chat.t,
        chat.t_source,
        _text(record.get("label")),
        _text(record.get("group")),
    )


def _text(value: Any) -> str:
    """Join the text of a value: a string, parts, or an object that holds one of these."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, list):
        return "\n".join(filter(None, (_text(v) for v in value)))
    if isinstance(value, dict):
        for key in ("text", "content", "value", "parts"):
            if key in value:
                return _text(value[key])
    return ""


def _role(value: Any) -> str:
    word = _text(value).lower()
    return ROLES.get(word, word)


def _messages(value: Any) -> list[Message]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise UnusableError(f"messages are a {type(value).__name__}, not a list")
    out = []
    for m in value:
        if not isinstance(m, dict):
            raise UnusableError(f"a message is a {type(m).__name__}, not an object")
        content = m.get("parts", m.get("content", m.get("value")))
        out.append(Message(_role(m.get("role", m.get("from"))), _text(content), _tools(m)))
    return out


def _tools(message: Mapping[str, Any]) -> int:
    calls = message.get("tool_calls")
    parts = message.get("parts")
    n = len(calls) if isinstance(calls, list) else 0
    if isinstance(parts, list):
        n += sum(isinstance(p, dict) and p.get("type") == "tool_call" for p in parts)
    return n


def _side(value: Any, role: str) -> list[Message]:
    if isinstance(value, dict):
        value = value.get("messages", [value] if "role" in value else value)
    if isinstance(value, list) and all(isinstance(v, dict) and "role" in v for v in value):
        return _messages(value)
    return [Message(role, _text(value))]


def _decoded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise UnusableError("messages are a text that is no JSON") from error


def _attributes(value: Any) -> dict[str, Any]:
    """Read attributes as an object, or as OTLP's list of typed values."""
    if isinstance(value, dict):
        return value
    pairs = value if isinstance(value, list) else []
    return {p["key"]: _typed(p.get("value")) for p in pairs if isinstance(p, dict) and "key" in p}


def _typed(value: Any) -> Any:
    if not isinstance(value, dict) or len(value) != 1:
        return value
    kind, inner = next(iter(value.items()))
    if kind == "arrayValue":
        return [_typed(v) for v in inner.get("values", [])]
    if kind == "kvlistValue":
        return {p["key"]: _typed(p.get("value")) for p in inner.get("values", [])}
    return inner


def _events(events: Any) -> list[Message]:
    """Read the events of older spans: `gen_ai.user.message`, `gen_ai.choice`, ..."""
    out = []
    for e in events if isinstance(events, list) else []:
        name, a = _text(e.get("name")), _attributes(e.get("attributes"))
        if name.startswith("gen_ai."):
            role = ASSISTANT if name == "gen_ai.choice" else name.split(".")[1]
            content = a.get("content", a.get("gen_ai.event.content", a.get("message")))
            out.append(Message(_role(role), _text(content)))
    return out


def _context(record: Mapping[str, Any]) -> dict[str, Any]:
    context = record.get("context")
    return context if isinstance(context, dict) else {}


def _split_hh(text: str) -> list[Message]:
    pieces = HH_TURN.split(text)
    if len(pieces) < 3:
        raise UnusableError("no turn starts with Human: or Assistant:")
    roles, texts = pieces[1::2], pieces[2::2]
    return [Message(_role(r), t.strip()) for r, t in zip(roles, texts, strict=True)]
