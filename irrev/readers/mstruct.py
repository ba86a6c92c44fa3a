"""Structs and texts of MATLAB files before version 7.3, e.g. the header of EEGLAB.

Built on the guarded cursor of `irrev.readers.matlab`: nothing leaves the bytes of the file.
A struct becomes a dict, or a list of dicts if it has several elements; a text a str; a cell
array a list; a numeric array keeps its shape. Objects and sparse arrays become None.

Source: MATLAB, MAT-File Format, Level 5.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from irrev.readers.arrays import BROKEN, unreadable
from irrev.readers.matlab import (
    CELL,
    CLASSES,
    COMPLEX,
    COMPRESSED,
    MATRIX,
    Cursor,
    inflated,
    values_of,
)

STRUCT, TEXT = 2, 4
MAX_DEPTH = 8  # of structs within structs
MAX_ELEMENTS = 1_000_000  # of one struct array


def read_structs(path: Path) -> dict[str, Any]:
    """Read all variables of a MATLAB file, structs included.

    Parameters
    ----------
    path
        Path of the file.

    Returns
    -------
        Variables by name.

    Raises
    ------
    FormatError
        If it is not a MATLAB 5 to 7 file or is damaged.
    """
    try:
        content = path.read_bytes()
        if len(content) < 128 or content[126:128] not in (b"IM", b"MI"):
            raise ValueError("no MATLAB 5 header")
        order = "<" if content[126:128] == b"IM" else ">"
        file, found = Cursor(memoryview(content), order, 128), {}
        while file.at < len(content):
            kind, inner = file.element()
            if kind == COMPRESSED:
                kind, inner = Cursor(inflated(inner), order).element()
            if kind == MATRIX:
                name, value = _matrix(Cursor(inner, order), MAX_DEPTH)
                found[name] = value
    except BROKEN as error:
        raise unreadable(path, "MAT", error) from error
    return found


def _matrix(matrix: Cursor, depth: int) -> tuple[str, Any]:
    flags = values_of(matrix, *matrix.element())
    dims = [int(d) for d in values_of(matrix, *matrix.element())]
    name = bytes(matrix.element()[1]).decode("ascii", "replace")
    if flags.size < 1 or any(d < 0 for d in dims) or depth < 0:
        raise ValueError(f"variable {name} has dimensions {dims}")
    kind, n_values = int(flags[0]) & 0xFF, math.prod(dims)
    if kind == STRUCT:
        return name, _struct(matrix, n_values, depth)
    if kind == CELL:
        return name, [_member(matrix, depth) for _ in range(_bounded(n_values))]
    if kind == TEXT:
        return name, _text(matrix)
    if kind not in CLASSES or int(flags[0]) & COMPLEX:
        return name, None
    values = values_of(matrix, *matrix.element())
    if values.size != n_values:
        raise ValueError(f"variable {name} has {values.size:,} of {n_values:,} values")
    return name, values.astype(CLASSES[kind]).reshape(dims, order="F")


def _struct(matrix: Cursor, n_values: int, depth: int) -> Any:
    width = int(values_of(matrix, *matrix.element())[0])
    blob = bytes(matrix.element()[1])
    if not 0 < width <= 1024:
        raise ValueError(f"field names of {width} bytes")
    names = [
        blob[i : i + width].split(b"\0")[0].decode("ascii", "replace")
        for i in range(0, len(blob), width)
    ]
    rows = [{n: _member(matrix, depth) for n in names} for _ in range(_bounded(n_values))]
    return rows[0] if len(rows) == 1 else rows


def _member(matrix: Cursor, depth: int) -> Any:
    kind, content = matrix.element()
    if kind != MATRIX:
        raise ValueError(f"a member of type {kind}")
    return _matrix(Cursor(content, matrix.order), depth - 1)[1] if len(content) else None


def _text(matrix: Cursor) -> str:
    kind, content = matrix.element()
    if kind == 16:  # UTF-8
        return bytes(content).decode("utf-8", "replace").strip()
    codes = values_of(matrix, kind, content).astype(np.uint32)
    return "".join(chr(c) for c in codes if c < 0x110000).strip()


def _bounded(n: int) -> int:
    if n > MAX_ELEMENTS:
        raise ValueError(f"an array of {n:,} structs")
    return n
