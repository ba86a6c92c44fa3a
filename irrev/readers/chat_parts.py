"""What chat logs of all formats share: `Chat`, `Message`, and how texts, roles, times are read.

Texts are joined from their parts; parts that are no text are left out. A number is no text.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

USER, ASSISTANT = "user", "assistant"
ROLES = {"human": USER, "prompter": USER, "gpt": ASSISTANT, "bot": ASSISTANT, "model": ASSISTANT}
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


def time_of(record: Mapping[str, Any], *names: str) -> tuple[float | None, str]:
    """Read the first of these fields that holds something as a time; return it with its name."""
    for name in names:
        if record.get(name) not in (None, ""):
            return parse_time(record[name], name)
    return None, ""


def n_answers(messages: Iterable[Message]) -> int:
    """Count the assistant's messages."""
    return sum(m.role == ASSISTANT for m in messages)


def text_of(value: Any) -> str:
    """Join the text of a value: a string, parts, or an object that holds one of these."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, list):
        return "\n".join(filter(None, (text_of(v) for v in value)))
    if isinstance(value, dict):
        for key in ("text", "content", "value", "parts"):
            if key in value:
                return text_of(value[key])
    return ""


def role_of(value: Any) -> str:
    """Name a role as `user`, `assistant`, or by its own word."""
    word = text_of(value).lower()
    return ROLES.get(word, word)


def messages_of(value: Any) -> list[Message]:
    """Read a list of messages of any format; raise `UnusableError` for another shape."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise UnusableError(f"messages are a {type(value).__name__}, not a list")
    out = []
    for m in value:
        if not isinstance(m, dict):
            raise UnusableError(f"a message is a {type(m).__name__}, not an object")
        content = m.get("parts", m.get("content", m.get("value")))
        out.append(Message(role_of(m.get("role", m.get("from"))), text_of(content), n_tools(m)))
    return out


def n_tools(message: Mapping[str, Any]) -> int:
    """Count the tool calls of a message."""
    calls = message.get("tool_calls")
    parts = message.get("parts")
    n = len(calls) if isinstance(calls, list) else 0
    if isinstance(parts, list):
        n += sum(isinstance(p, dict) and p.get("type") == "tool_call" for p in parts)
    return n
