"""JSON objects one after another, or the members of one array, as a stream with limits.

For files that are no JSON lines: exports of one big array, and objects printed over many lines.
Memory is bounded by `Limits.line_bytes`, not by the file. A member is judged as a line is (see
`jsonlines`); records are counted from 1. What cannot be parsed hides where the next member
begins: it is listed, and nothing after it is read.
"""

import codecs
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from irrev.errors import FormatError
from irrev.readers.jsonlines import BadLine, Limits, Record, accept, broken_archive, open_stream

PIECE = 1 << 20  # bytes read at a time
GAP = re.compile(r"[\s,]*")  # between members
UNDECODED = re.compile("[\udc80-\udcff]")  # bytes that are no UTF-8


def read_json_values(path: Path, *, limits: Limits | None = None) -> Iterator[Record | BadLine]:
    """Yield each member of a JSON array, or each of several JSON objects, in order.

    Parameters
    ----------
    path
        Plain, gzip or zstd.
    limits
        As in `read_json_lines`; `line_bytes` bounds one member.

    Yields
    ------
        `Record` or `BadLine`; after a member that is no JSON there is no further one.

    Raises
    ------
    FormatError
        If the file cannot be decompressed or expands beyond `limits.total_bytes`.
    """
    limits = limits or Limits()
    with open_stream(path) as stream:
        try:
            yield from _members(_Buffer(stream, path, limits), limits)
        except broken_archive() as error:
            raise FormatError(
                f"{path}: cannot be decompressed ({error}); copy it again."
            ) from error


class _Buffer:
    """Decoded text from the stream, from the next member on."""

    def __init__(self, stream: IO[bytes], path: Path, limits: Limits) -> None:
        self._stream, self._path, self._limits = stream, path, limits
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._total = 0
        self.text, self.ended = "", False

    def grow(self) -> None:
        """Read as much again as is there, at least one piece."""
        raw = self._stream.read(max(PIECE, len(self.text)))
        self._total += len(raw)
        if self._total > self._limits.total_bytes:
            raise FormatError(
                f"{self._path}: expands beyond {self._limits.total_bytes:,} bytes; split the file "
                "or raise the limit."
            )
        self.ended = not raw
        self.text += self._decoder.decode(raw, final=self.ended)

    def skip(self, pattern: re.Pattern[str]) -> None:
        """Drop what matches, reading on until something else stands there."""
        while True:
            end = pattern.match(self.text).end()  # pyright: ignore[reportOptionalMemberAccess]
            self.text = self.text[end:]
            if self.text or self.ended:
                return
            self.grow()


def _members(buffer: _Buffer, limits: Limits) -> Iterator[Record | BadLine]:
    parse = json.JSONDecoder().raw_decode
    buffer.skip(GAP)
    in_array = buffer.text.startswith("[")
    if in_array:
        buffer.text = buffer.text[1:]
    number, at, text = 0, 0, buffer.text
    while True:
        at = GAP.match(text, at).end()  # pyright: ignore[reportOptionalMemberAccess]
        if at == len(text) and not buffer.ended:
            buffer.text = ""
            buffer.grow()
            at, text = 0, buffer.text
            continue
        if at == len(text) or (in_array and text[at] == "]"):
            if in_array and at == len(text):
                yield BadLine(number + 1, "the array has no end; the file is cut off", "")
            return
        try:
            value, end = parse(text, at)
            done = end < len(text) or buffer.ended  # a number could go on
            reason = ""
        except (ValueError, RecursionError) as error:
            value, end, done = None, len(text), buffer.ended
            deep = isinstance(error, RecursionError)
            reason = f"nested deeper than {limits.depth}" if deep else "invalid JSON"
            done = done or deep
        if not done and len(text) - at <= limits.line_bytes:
            buffer.text = text[at:]
            buffer.grow()
            at, text = 0, buffer.text
            continue
        number += 1
        raw = text[at:end].encode("utf-8", "surrogateescape")
        digest = hashlib.sha256(raw).hexdigest()
        if not done:
            reason = f"no JSON within {limits.line_bytes:,} bytes"
        if reason:
            yield BadLine(number, f"{reason}; nothing after it can be read", digest)
            return
        if len(raw) > limits.line_bytes:
            yield BadLine(number, f"{len(raw):,} bytes, limit {limits.line_bytes:,}", digest)
        elif UNDECODED.search(text, at, end):
            yield BadLine(number, "invalid UTF-8", digest)
        else:
            yield accept(number, value, raw, limits)
        at = end
