"""JSON lines, plain or compressed, as a stream with limits: a record or a reason for each line.

What happens to odd input:

- a byte-order mark at the start is dropped, CRLF and LF both end a line, blank lines are skipped;
- invalid UTF-8, invalid JSON, a raw control character (NUL included), a value that is no object,
  a line above the length limit and nesting above the depth limit make a `BadLine`: number, reason
  and SHA-256 of the bytes, never the text;
- an escaped lone surrogate or NUL (valid JSON, but not storable as text) becomes U+FFFD;
- a file that expands beyond the limit stops with `FormatError`: such an archive is no log.

Compression is told from the first bytes (gzip, zstd), not from the name.
"""

import gzip
import hashlib
import io
import json
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from irrev.errors import FormatError, MissingExtraError

GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
BOM = b"\xef\xbb\xbf"
PIECE = 1 << 20  # bytes read at a time while a line that is too long is skipped


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may cost."""

    line_bytes: int = 32 << 20  # one line, expanded
    total_bytes: int = 64 << 30  # the whole file, expanded
    depth: int = 64  # nested objects and arrays


@dataclass(frozen=True, slots=True)
class Record:
    """One good line."""

    line: int  # counted from 1
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadLine:
    """One line that cannot be read."""

    line: int  # counted from 1
    reason: str
    sha256: str  # of the line's bytes without its end


def read_json_lines(path: Path, *, limits: Limits | None = None) -> Iterator[Record | BadLine]:
    """Yield each line of a JSON-lines file as a record or as a bad line, in order.

    Parameters
    ----------
    path
        File of one JSON object a line; plain, gzip or zstd.
    limits
        Bounds on length, expansion and depth; the defaults of `Limits` if not given.

    Yields
    ------
        `Record` or `BadLine`; blank lines are skipped but counted.

    Raises
    ------
    FormatError
        If the file cannot be decompressed or expands beyond `limits.total_bytes`.
    MissingExtraError
        If the file is zstd and `zstandard` is not installed.
    """
    limits = limits or Limits()
    total = 0
    with open_stream(path) as stream:
        try:
            for number, (raw, length, digest) in enumerate(_lines(stream, limits), start=1):
                total += length
                if total > limits.total_bytes:
                    raise FormatError(
                        f"{path}: expands beyond {limits.total_bytes:,} bytes at line {number}; "
                        "split the file or raise the limit."
                    )
                if raw is None:
                    reason = f"{length:,} bytes, limit {limits.line_bytes:,}"
                    yield BadLine(number, reason, digest)
                elif raw:
                    yield _parse(number, raw, limits)
        except broken_archive() as error:
            raise FormatError(
                f"{path}: cannot be decompressed ({error}); copy it again."
            ) from error


def open_stream(path: Path) -> IO[bytes]:
    """Open a file for reading bytes, decompressed if it starts like gzip or zstd."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic.startswith(GZIP_MAGIC):
        return io.BufferedReader(gzip.open(path))
    if magic == ZSTD_MAGIC:
        try:
            import zstandard
        except ImportError as error:
            raise MissingExtraError(
                f"{path}: zstd needs the package zstandard; pip install 'irrev[transcripts]'."
            ) from error
        source = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        return io.BufferedReader(source.stream_reader(path.open("rb"), closefd=True))
    return path.open("rb")


def broken_archive() -> tuple[type[Exception], ...]:
    """Exceptions that the decompressors raise on damaged data."""
    module = sys.modules.get("zstandard")
    return (EOFError, OSError, zlib.error, *([module.ZstdError] if module else []))


def _lines(stream: IO[bytes], limits: Limits) -> Iterator[tuple[bytes | None, int, str]]:
    """Yield (bytes or None if too long, length, SHA-256 if too long) of each line."""
    first = True
    while piece := stream.readline(limits.line_bytes + 1):
        if first:
            piece, first = piece.removeprefix(BOM), False
        if len(piece) > limits.line_bytes and not piece.endswith(b"\n"):
            digest, length = hashlib.sha256(piece), len(piece)
            while (piece := stream.readline(PIECE)) and not piece.endswith(b"\n"):
                digest.update(piece)
                length += len(piece)
            digest.update(piece.rstrip(b"\r\n"))
            yield None, length + len(piece), digest.hexdigest()
        else:
            yield piece.strip(), len(piece), ""


def _parse(number: int, raw: bytes, limits: Limits) -> Record | BadLine:
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        reason = f"invalid UTF-8 at byte {error.start}"
    except json.JSONDecodeError as error:
        reason = f"invalid JSON: {error.msg} at column {error.colno}"
    except RecursionError:
        reason = f"nested deeper than {limits.depth}"
    except ValueError:  # an integer of more digits than Python parses
        reason = "invalid JSON: number too long"
    else:
        odd = b"\\ud" in raw.lower() or b"\\u0000" in raw
        return accept(number, value, raw, limits, odd=odd)
    return BadLine(number, reason, hashlib.sha256(raw).hexdigest())


def accept(
    number: int, value: Any, raw: bytes, limits: Limits, *, odd: bool = True
) -> Record | BadLine:
    """Take a parsed value if it is an object within the limits.

    Parameters
    ----------
    number, raw
        Of the record, for a `BadLine`.
    value
        What was parsed.
    limits
        Bound on nesting.
    odd
        It may hold lone surrogates or NUL, which are replaced.
    """
    if not isinstance(value, dict):
        reason = f"a {type(value).__name__}, not an object"
    elif depth(value) > limits.depth:
        reason = f"nested deeper than {limits.depth}"
    else:
        return Record(number, storable(value) if odd else value)
    return BadLine(number, reason, hashlib.sha256(raw).hexdigest())


def depth(value: object) -> int:
    """Return the deepest nesting of objects and arrays, without recursion."""
    deepest, level = 0, [value]
    while level := [v for v in level if isinstance(v, dict | list)]:
        deepest += 1
        level = [c for v in level for c in (v.values() if isinstance(v, dict) else v)]
    return deepest


def storable(value: Any) -> Any:
    """Replace lone surrogates and NUL in every string by U+FFFD."""
    if isinstance(value, str):
        if not value.isascii():
            value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return value.replace("\x00", "\ufffd")
    if isinstance(value, dict):
        return {storable(k): storable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [storable(v) for v in value]
    return value
