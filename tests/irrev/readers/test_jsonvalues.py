"""One JSON array, or printed objects, as a stream."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irrev.errors import FormatError
from irrev.readers import jsonvalues
from irrev.readers.jsonlines import BadLine, Limits, Record
from irrev.readers.jsonvalues import read_json_values


@pytest.fixture
def write(tmp_path):
    def _write(content: bytes):
        (tmp_path / "x.json").write_bytes(content)
        return tmp_path / "x.json"

    return _write


objects = st.dictionaries(st.text(max_size=4), st.text(max_size=9) | st.integers(), max_size=3)


@given(st.lists(objects, max_size=6), st.booleans(), st.sampled_from([None, 1]), st.integers(1, 9))
def test_read_json_values__gives_the_members_whatever_the_pieces(
    tmp_path_factory, members, array, indent, piece
):
    text = json.dumps(members, indent=indent, ensure_ascii=False)
    if not array:
        text = "\n".join(json.dumps(m, indent=indent, ensure_ascii=False) for m in members)
    path = tmp_path_factory.mktemp("values") / "x.json"
    path.write_text("\ufeff" + text, encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonvalues, "PIECE", piece)
        found = list(read_json_values(path))
    clean = json.loads(json.dumps(members).replace("\\u0000", "\\ufffd"))
    assert [r.value for r in found] == clean
    assert [r.line for r in found] == list(range(1, len(members) + 1))


def test_read_json_values__a_bad_member_gets_a_reason_and_the_rest_is_read(write):
    deep = b"[" * 70 + b"]" * 70
    path = write(b'[{"a": 1}, 12, {"b": "\xff"}, {"d": ' + deep + b'}, {"c": "\\ud800"}]')
    found = list(read_json_values(path))
    assert [f.line for f in found] == [1, 2, 3, 4, 5]
    assert [f.reason for f in found if isinstance(f, BadLine)] == [
        "a int, not an object",
        "invalid UTF-8",
        "nested deeper than 64",
    ]
    assert found[-1] == Record(5, {"c": "\ufffd"})


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (b', {"b": }, {"c": 1}]', "invalid JSON; nothing after it can be read"),
        (b', {"b": "' + b"x" * 5000 + b'"}]', "no JSON within 2,000 bytes"),
        (b', {"b": ' + b"[" * 100_000, "nested deeper than 64"),
        (b', {"b": 1', "invalid JSON"),
        (b"", "the array has no end"),
    ],
)
def test_read_json_values__says_where_it_had_to_stop(write, monkeypatch, end, reason):
    monkeypatch.setattr(jsonvalues, "PIECE", 1000)
    limits = Limits(line_bytes=2000 if b"x" in end else 1 << 20)
    good, bad = read_json_values(write(b'[{"a": 1}' + end), limits=limits)
    assert good == Record(1, {"a": 1})
    assert bad.line == 2
    assert reason in bad.reason


def test_read_json_values__memory_is_that_of_a_member_and_not_of_the_file(write):
    import tracemalloc

    path = write(b"[" + b", ".join([b'{"a": "' + b"x" * 10_000 + b'"}'] * 4000) + b"]")  # 40 MB
    tracemalloc.start()
    assert sum(1 for _ in read_json_values(path)) == 4000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * jsonvalues.PIECE  # a piece as bytes, as text, and their copies


def test_read_json_values__refuses_bombs_and_damaged_archives(write):
    packed = gzip.compress(b"[" + b" " * 5_000_000 + b"]")
    with pytest.raises(FormatError, match="expands beyond 1,000,000 bytes"):
        list(read_json_values(write(packed), limits=Limits(total_bytes=1_000_000)))
    with pytest.raises(FormatError, match="cannot be decompressed"):
        list(read_json_values(write(packed[:-200])))
