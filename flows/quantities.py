"""Quantities with units in pipeline.yaml: `10 ms` -> 0.01 s. A bare number is an error."""

import re
from math import isfinite
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

SECONDS = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
HERTZ = {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6}
MICROMETRES = {"um": 1.0, "mm": 1e3}
BYTES = {"MB": 1e6, "MiB": 2.0**20, "GB": 1e9, "GiB": 2.0**30}
NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z%]*)\s*")


def _parser(units: dict[str, float], example: str) -> BeforeValidator:
    """Build the validator that turns a text with a unit into a number of base units."""

    def parse(value: Any) -> float:
        match = NUMBER.fullmatch(str(value))
        if match is None or match[2] not in units:
            known = ", ".join(units)
            raise ValueError(f"{value!r} needs a unit ({known}); write for example `{example}`")
        # decimal shift by the text, not by a product: 10 ms is exactly the float 0.01
        scale = units[match[2]]
        number = float(match[1])
        if not isfinite(number):
            raise ValueError(f"{value!r} is beyond all numbers; write for example `{example}`")
        if scale < 1:
            return number / round(1 / scale)
        return number * scale

    return BeforeValidator(parse)


def format_quantity(value: float, units: dict[str, float]) -> str:
    """Write a number of base units in the unit, at or below it, that makes the shortest text.

    Examples
    --------
    >>> format_quantity(0.01, SECONDS)
    '10 ms'
    >>> format_quantity(16e9, BYTES)
    '16 GB'
    """
    smallest = min(units.items(), key=lambda item: item[1])
    fits = [u for u in units.items() if u[1] <= abs(value) * (1 + 1e-12)] or [smallest]
    fits.sort(key=lambda item: item[1], reverse=True)
    return min((f"{value / scale:.12g} {name}" for name, scale in fits), key=len)


def _writer(units: dict[str, float]) -> PlainSerializer:
    return PlainSerializer(lambda value: format_quantity(value, units), when_used="json")


Seconds = Annotated[float, _parser(SECONDS, "10 ms"), _writer(SECONDS)]
Hertz = Annotated[float, _parser(HERTZ, "128 Hz"), _writer(HERTZ)]
Bytes = Annotated[float, _parser(BYTES, "2 GB"), _writer(BYTES)]
Micrometres = Annotated[float, _parser(MICROMETRES, "100 um"), _writer(MICROMETRES)]
