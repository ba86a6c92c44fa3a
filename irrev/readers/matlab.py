"""Numeric arrays and cell arrays of MATLAB files before version 7.3.

A reader of its own: on damaged cell arrays the usual one leaves the process by a segmentation
fault. Structs, objects, texts, sparse and complex arrays are left out.

Layout: a header of 128 bytes, then elements (type, bytes, content, padding to 8); a matrix holds
flags, dimensions, name and values as elements of its own; a cell array holds matrices.

Source: MATLAB, MAT-File Format, Level 5.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irrev.readers.arrays import BROKEN, unreadable

MATRIX, COMPRESSED = 14, 15
VALUE_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
VALUE_TYPES |= {12: "i8", 13: "u8"}
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4"}
CLASSES |= {14: "i8", 15: "u8"}
CELL, COMPLEX = 1, 0x800

Values = NDArray[np.generic]


@dataclass(slots=True)
class Cursor:
    """A position in bytes that never leaves them."""

    content: memoryview
    order: str  # < or >
    at: int = 0

    def element(self) -> tuple[int, memoryview]:
        """Return type and content of the next element; short ones hold 4 bytes in their tag."""
        first, size = struct.unpack(f"{self.order}II", self._take(8))
        if first >> 16:
            first, size = first & 0xFFFF, first >> 16
            if size > 4:
                raise ValueError(f"a short element of {size} bytes")
            self.at -= 4
            return first, self._take(4)[:size]
        content = self._take(size)
        if first != COMPRESSED:
            self.at = min(self.at + (-size) % 8, len(self.content))
        return first, content

    def _take(self, size: int) -> memoryview:
        out = self.content[self.at : self.at + size]
        if len(out) < size:
            raise ValueError(f"{len(out):,} of {size:,} bytes are there")
        self.at += size
        return out


def read_mat(path: Path) -> dict[str, Values]:
    """Read the real numeric arrays of a MATLAB file, and its cell arrays of such arrays.

    Parameters
    ----------
    path
        Path of the file.

    Returns
    -------
        Arrays by name; a cell array becomes an array of arrays.

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
        return dict(_variables(Cursor(memoryview(content), order, 128)))
    except BROKEN as error:
        raise unreadable(path, "MAT", error) from error


def _variables(file: Cursor) -> Iterator[tuple[str, Values]]:
    while file.at < len(file.content):
        kind, content = file.element()
        if kind == COMPRESSED:
            kind, content = Cursor(inflated(content), file.order).element()
        if kind == MATRIX:
            name, values = _matrix(Cursor(content, file.order), with_cells=True)
            if name and values is not None:
                yield name, values


def inflated(content: memoryview) -> memoryview:
    """Decompress one variable; deflate bounds the size by 1032 times the stored one."""
    inflater = zlib.decompressobj()
    out = inflater.decompress(content)
    if not inflater.eof:
        raise ValueError("a compressed variable breaks off")
    return memoryview(out)


def _matrix(matrix: Cursor, *, with_cells: bool) -> tuple[str, Values | None]:
    """Return name and values of a matrix; None for a class that is left out."""
    flags = values_of(matrix, *matrix.element())
    dims = [int(d) for d in values_of(matrix, *matrix.element())]
    name = bytes(matrix.element()[1]).decode("ascii", "replace")
    if flags.size < 1 or any(d < 0 for d in dims):
        raise ValueError(f"variable {name} has dimensions {dims}")
    kind, n_values = int(flags[0]) & 0xFF, math.prod(dims)
    if kind == CELL and with_cells:
        return name, _cells(matrix, n_values)
    if kind not in CLASSES or int(flags[0]) & COMPLEX:
        return name, None
    values = values_of(matrix, *matrix.element())
    if values.size != n_values:
        raise ValueError(f"variable {name} has {values.size:,} of {n_values:,} values")
    return name, values.astype(CLASSES[kind])


def _cells(matrix: Cursor, n_cells: int) -> Values:
    cells: list[Values] = []
    while len(cells) < n_cells:
        kind, content = matrix.element()
        if kind != MATRIX:
            raise ValueError(f"a cell of type {kind}")
        # an empty cell has no content at all
        inner = Cursor(content, matrix.order)
        values = _matrix(inner, with_cells=False)[1] if len(content) else np.empty(0)
        cells.append(np.array("", dtype=object) if values is None else values)
    out = np.empty(n_cells, dtype=object)
    for i, values in enumerate(cells):
        out[i] = values
    return out


def values_of(cursor: Cursor, kind: int, content: memoryview) -> Values:
    """Return the numbers of one element."""
    if kind not in VALUE_TYPES:
        raise ValueError(f"values of type {kind}")
    dtype = np.dtype(cursor.order + VALUE_TYPES[kind])
    if len(content) % dtype.itemsize:
        raise ValueError(f"{len(content)} bytes of {dtype.itemsize}-byte values")
    return np.frombuffer(content, dtype=dtype).astype(dtype.newbyteorder("="))
