"""Objects out of JSON lines, one JSON array or parquet, told from the content, with limits."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from irrev.errors import FormatError, MissingExtraError
from irrev.readers.jsonlines import BadLine, Limits, Record, open_stream, read_json_lines

PARQUET_MAGIC = b"PAR1"
PARQUET_ROWS = 1000  # read at a time


def read_records(path: Path, *, limits: Limits | None = None) -> Iterator[Record | BadLine]:
    """Yield each object of a file of JSON lines, of one JSON array, or of parquet rows.

    Parameters
    ----------
    path
        File; the container is told from its content.
    limits
        As in `read_json_lines`; an array must fit the limit of a line.

    Yields
    ------
        `Record` or `BadLine`, in order.

    Raises
    ------
    FormatError
        If the container cannot be read at all.
    MissingExtraError
        If a package for the container is absent.
    """
    limits = limits or Limits()
    with open_stream(path) as stream:
        start = stream.read(4096)
    if start.startswith(PARQUET_MAGIC):
        return _parquet(path)
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        return _array(path, limits)
    return read_json_lines(path, limits=limits)


def _array(path: Path, limits: Limits) -> Iterator[Record | BadLine]:
    """Yield the objects of one JSON array; the whole array must fit the limit of a line."""
    with open_stream(path) as stream:
        raw = stream.read(limits.line_bytes + 1)
    if len(raw) > limits.line_bytes:
        raise FormatError(
            f"{path}: a JSON array above {limits.line_bytes:,} bytes; write one object a line."
        )
    try:
        rows = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not a JSON array that can be read.") from error
    for number, row in enumerate(rows, start=1):
        if isinstance(row, dict):
            yield Record(number, row)
        else:
            yield BadLine(number, f"a {type(row).__name__}, not an object", "")


def _parquet(path: Path) -> Iterator[Record | BadLine]:
    try:
        import polars
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: parquet needs polars; pip install 'irrev[transcripts]'."
        ) from error
    table = polars.scan_parquet(path)
    start = 0
    while True:
        try:
            rows = table.slice(start, PARQUET_ROWS).collect().to_dicts()
        except polars.exceptions.PolarsError as error:
            raise FormatError(f"{path}: not a parquet file that can be read.") from error
        for number, row in enumerate(rows, start=start + 1):
            yield Record(number, row)
        if len(rows) < PARQUET_ROWS:
            return
        start += PARQUET_ROWS


def record_hash(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a record, whatever the order of its keys."""
    raw = json.dumps(value, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(raw.encode()).hexdigest()
