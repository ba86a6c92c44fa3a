"""The pipeline file with every default filled in, each with its unit and one line of meaning."""

from typing import Any

import yaml
from pydantic import BaseModel

from flows.config import Pipeline

COLUMN = 44  # where the comments start


def full_text(pipeline: Pipeline) -> str:
    """Return the file as YAML with defaults and comments; it can be saved and run."""
    return "".join(f"{line}\n" for line in _model(pipeline, 0))


def _model(model: BaseModel, depth: int) -> list[str]:
    lines = []
    dumped = model.model_dump(mode="json", exclude={"folder"})
    for name, field in type(model).model_fields.items():
        if name not in dumped:
            continue
        value = getattr(model, name)
        meaning = field.description or _meaning(value)
        lines += _field(name, value, dumped[name], meaning, depth)
    return lines


def _meaning(value: Any) -> str:
    return (type(value).__doc__ or "").splitlines()[0] if isinstance(value, BaseModel) else ""


def _field(name: str, value: Any, dumped: Any, meaning: str, depth: int) -> list[str]:
    pad = "  " * depth
    if isinstance(value, BaseModel):
        return [_line(f"{pad}{name}:", meaning), *_model(value, depth + 1)]
    if isinstance(value, dict) and any(isinstance(v, BaseModel) for v in value.values()):
        lines = [_line(f"{pad}{name}:", meaning)]
        for key, item in value.items():
            lines += _field(str(key), item, dumped[key], _meaning(item), depth + 1)
        return lines
    text = yaml.safe_dump(dumped, default_flow_style=True, width=10_000, allow_unicode=True)
    return [
        _line(f"{pad}{name}: {text.removesuffix(chr(10)).removesuffix('...').strip()}", meaning)
    ]


def _line(text: str, meaning: str) -> str:
    return f"{text:<{COLUMN}}  # {meaning}" if meaning else text
