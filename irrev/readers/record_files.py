"""Objects out of JSON lines, JSON arrays, printed JSON, parquet or CSV, as a stream with limits.

The container is told from the content; only a table of comma- or tab-separated values, which has
no mark, is told from its name.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from irrev.errors import FormatError, MissingExtraError
from irrev.readers.jsonlines import (
    BadLine,
    Limits,
    Record,
    broken_archive,
    open_stream,
    read_json_lines,
    storable,
)
from irrev.readers.jsonvalues import UNDECODED, read_json_values

PARQUET_MAGIC = b"PAR1"
PARQUET_ROWS = 10_000  # read at a time
PRINTED = re.compile(rb"(\xef\xbb\xbf)?\s*(\[|\{\s*\n)")  # an array, or an object over lines
DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_records(path: Path, *, limits: Limits | None = None) -> Iterator[Record | BadLine]:
    """Yield each object of a file, or each row of a table, in order.

    Parameters
    ----------
    path
        JSON lines, one JSON array, JSON objects printed over several lines, parquet, or a table
        with a header (`.csv`, `.tsv`); all but parquet plain, gzip or zstd.
    limits
        As in `read_json_lines`; `line_bytes` bounds one object.

    Yields
    ------
        `Record` or `BadLine`. Numbers are lines in JSON lines and tables, else records from 1.

    Raises
    ------
    FormatError
        If the container cannot be read at all.
    MissingExtraError
        If a package for the container is absent.
    """
    limits = limits or Limits()
    delimiters = [DELIMITERS[s] for s in path.suffixes[-2:] if s in DELIMITERS]
    if delimiters:
        return _table(path, delimiters[-1], limits)
    with open_stream(path) as stream:
        try:
            start = stream.read(4096)
        except broken_archive():
            start = b""  # said again, with the file's name, by the reader that is chosen
    if start.startswith(PARQUET_MAGIC):
        return _parquet(path)
    if PRINTED.match(start):
        return read_json_values(path, limits=limits)
    return read_json_lines(path, limits=limits)


def _table(path: Path, delimiter: str, limits: Limits) -> Iterator[Record | BadLine]:
    """Yield the rows of a table; lines before the header that begin with # are skipped."""
    csv.field_size_limit(limits.line_bytes)
    with open_stream(path) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
        lines = _within(text, path, limits)
        rows = csv.reader(lines, delimiter=delimiter)
        header: list[str] | None = None
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield BadLine(rows.line_num, f"no row of a table: {error}", "")
                continue
            except broken_archive() as error:
                raise FormatError(
                    f"{path}: cannot be decompressed ({error}); copy it again."
                ) from error
            if not row or (header is None and row[0].startswith("#")):
                continue
            if header is None:
                header = row
            else:
                yield _row(rows.line_num, header, row)


def _within(text: Iterator[str], path: Path, limits: Limits) -> Iterator[str]:
    total = 0
    for line in text:
        total += len(line)
        if total > limits.total_bytes:
            raise FormatError(
                f"{path}: expands beyond {limits.total_bytes:,} bytes; split the file or raise "
                "the limit."
            )
        yield line


def _row(line: int, header: list[str], row: list[str]) -> Record | BadLine:
    joined = "\0".join(row)
    if len(row) != len(header):
        reason = f"{len(row)} columns, the header has {len(header)}"
    elif UNDECODED.search(joined):
        reason = "invalid UTF-8"
    else:
        return Record(line, storable(dict(zip(header, row, strict=True))))
    digest = hashlib.sha256(joined.encode("utf-8", "surrogateescape")).hexdigest()
    return BadLine(line, reason, digest)


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
            yield Record(number, storable(row))
        if len(rows) < PARQUET_ROWS:
            return
        start += PARQUET_ROWS


def record_hash(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a record, whatever the order of its keys."""
    raw = json.dumps(value, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(raw.encode()).hexdigest()
