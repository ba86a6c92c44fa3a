import gzip
import json

import pytest

from irrev.errors import FormatError
from irrev.readers.jsonlines import BadLine, Limits, Record, read_json_lines


@pytest.fixture
def write(tmp_path):
    def _write(content: bytes, name: str = "x.jsonl"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return _write


def test_read_json_lines__keeps_order_and_line_numbers_over_blank_lines(write):
    got = list(read_json_lines(write(b'\xef\xbb\xbf{"a":1}\r\n\r\n\n{"a":2}')))
    assert got == [Record(1, {"a": 1}), Record(4, {"a": 2})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": ', "invalid JSON"),
        (b'{"a": "\xff"}', "invalid UTF-8 at byte 7"),
        (b'{"a": "\x00"}', "invalid JSON: Invalid control character"),
        (b"[1]", "a list, not an object"),
        (b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}", "nested deeper than 64"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested deeper than 64"),
        (b'{"a": ' + b"9" * 5000 + b"}", "number too long"),
        (b'{"a": "' + b"x" * 300_000 + b'"}', "300,010 bytes, limit 250,000"),
    ],
)
def test_read_json_lines__a_bad_line_gets_a_reason_and_stops_nothing(write, line, reason):
    path = write(b'{"n": 1}\n' + line + b'\n{"n": 3}\n')
    first, bad, last = read_json_lines(path, limits=Limits(line_bytes=250_000))
    assert (first, last) == (Record(1, {"n": 1}), Record(3, {"n": 3}))
    assert isinstance(bad, BadLine)
    assert bad.line == 2
    assert reason in bad.reason
    assert len(bad.sha256) == 64


def test_read_json_lines__makes_escaped_surrogates_and_nul_storable(write):
    (record,) = read_json_lines(write(rb'{"a": ["x\ud800y", "\u0000", "\ud83d\ude00"]}'))
    assert record.value == {"a": ["x\ufffdy", "\ufffd", "\U0001f600"]}
    json.dumps(record.value, ensure_ascii=False).encode("utf-8")


def test_read_json_lines__reads_gzip_and_zstd_by_content(write):
    zstandard = pytest.importorskip("zstandard")
    content = b'{"a": 1}\n' * 1000
    for packed in (gzip.compress(content), zstandard.compress(content)):
        assert len(list(read_json_lines(write(packed, "no-suffix")))) == 1000


def test_read_json_lines__refuses_an_archive_bomb(write):
    path = write(gzip.compress(b'{"a": "' + b" " * 5_000_000 + b'"}\n'))
    with pytest.raises(FormatError, match="expands beyond 1,000,000 bytes at line 1"):
        list(read_json_lines(path, limits=Limits(total_bytes=1_000_000)))


def test_read_json_lines__a_cut_or_damaged_archive_is_a_format_error(write):
    zstandard = pytest.importorskip("zstandard")
    content = b"".join(b'{"a": %d}\n' % i for i in range(1000))
    cut = gzip.compress(content)[:-20]
    damaged = zstandard.compress(content)[:9] + b"\xff" * 50
    for packed in (cut, damaged):
        with pytest.raises(FormatError, match=r"cannot be decompressed.*copy it again"):
            list(read_json_lines(write(packed)))
