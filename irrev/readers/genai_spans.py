"""OpenTelemetry spans of language models -> `Chat`, in the conventions of 2024 to 2026.

Messages stand in `gen_ai.input.messages` and `gen_ai.output.messages` (JSON text or structure), in
numbered attributes (`gen_ai.prompt.0.content`), or in events of older spans. A span repeats the
turns before it; only its own answers are turns of it.
"""

import json
from collections.abc import Mapping
from typing import Any

from irrev.readers.chat_parts import (
    ASSISTANT,
    USER,
    Chat,
    Message,
    UnusableError,
    messages_of,
    n_answers,
    role_of,
    text_of,
    time_of,
)


def otel(record: Mapping[str, Any]) -> list[Chat]:
    """Read GenAI spans: bare, or inside an OTLP envelope."""
    if "resourceSpans" in record:
        scopes = [s for r in record["resourceSpans"] for s in r.get("scopeSpans", [])]
        return [c for s in scopes for span in s.get("spans", []) for c in otel(span)]
    a = _attributes(record.get("attributes"))
    before, said = _span_messages(a, record.get("events"))
    if not (before or said) and not any(k.startswith("gen_ai.") for k in a):
        return []  # a span of something else
    t, source = time_of(record, "start_time", "startTimeUnixNano", "startTime", "timestamp")
    span = record.get("span_id") or record.get("spanId") or _context(record).get("span_id")
    name = "/".join(filter(None, [text_of(a.get("gen_ai.conversation.id")), text_of(span)]))
    model = text_of(a.get("gen_ai.response.model") or a.get("gen_ai.request.model"))
    first = n_answers(before)
    return [Chat(before + said, name, model, t=t, t_source=source, first_turn=first)]


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


def _span_messages(a: Mapping[str, Any], events: Any) -> tuple[list[Message], list[Message]]:
    """Return what a span was given and what it answered, from the places of all conventions."""
    found = _sides(a, "gen_ai.input.messages", "gen_ai.output.messages")
    if not any(found):  # numbered attributes: gen_ai.prompt.0.role, gen_ai.completion.0.content
        found = _numbered(a, "gen_ai.prompt"), _numbered(a, "gen_ai.completion")
    for event in events if isinstance(events, list) and not any(found) else []:
        b = _attributes(event.get("attributes"))
        more = _sides(b, "gen_ai.input.messages", "gen_ai.output.messages")
        if not any(more):
            more = _sides(b, "gen_ai.prompt", "gen_ai.completion")
        if not any(more):
            more = _event_message(text_of(event.get("name")), b)
        found = found[0] + more[0], found[1] + more[1]
    return found


def _sides(a: Mapping[str, Any], before: str, said: str) -> tuple[list[Message], list[Message]]:
    given, answered = messages_of(_decoded(a.get(before))), messages_of(_decoded(a.get(said)))
    return given, [m if m.role else m._replace(role=ASSISTANT) for m in answered]


def _numbered(a: Mapping[str, Any], name: str) -> list[Message]:
    """Read messages that are spread over attributes with numbers in their names."""
    rows: dict[int, dict[str, Any]] = {}
    for key, value in a.items():
        number, _, part = key.removeprefix(f"{name}.").partition(".")
        if key.startswith(f"{name}.") and number.isdecimal():
            rows.setdefault(int(number), {})[part] = value
    other = ASSISTANT if name.endswith("completion") else USER
    return [
        Message(
            role_of(rows[n].get("role") or other),
            text_of(rows[n].get("content")),
            len({k.split(".")[1] for k in rows[n] if k.startswith("tool_calls.")}),
        )
        for n in sorted(rows)
    ]


def _event_message(name: str, a: Mapping[str, Any]) -> tuple[list[Message], list[Message]]:
    """Read an event of one message: `gen_ai.user.message`, `gen_ai.choice`, ..."""
    if not name.startswith("gen_ai."):
        return [], []
    content = a.get("content", a.get("gen_ai.event.content", a.get("message")))
    if name == "gen_ai.choice":
        return [], [Message(ASSISTANT, text_of(content))]
    return [Message(role_of(name.split(".")[1]), text_of(content))], []


def _context(record: Mapping[str, Any]) -> dict[str, Any]:
    context = record.get("context")
    return context if isinstance(context, dict) else {}
