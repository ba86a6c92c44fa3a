import gzip
import json

import pytest

from irrev import readers
from irrev.errors import FormatError, InputError


@pytest.fixture
def read(tmp_path):
    def _read(*records, **options):
        path = tmp_path / "x.jsonl"
        lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
        path.write_bytes(b"\n".join(lines))
        return readers.open_source(path, kind="triplets", **options)

    return _read


ROW = {"id": "a", "question": "Why?", "context": "Because.", "answer": "So."}


def test_open_triplets__keeps_hashes_and_lengths_unless_texts_are_asked_for(read):
    plain, full = read(ROW), read(ROW, store_text=True)
    assert "answer_text" not in plain
    assert "So." not in str(plain.to_dict())
    assert plain["answer_bytes"].item() == 3
    assert full["answer_text"].item() == "So."
    assert full["answer_hash"].item() == plain["answer_hash"].item()


def test_open_triplets__several_answers_share_question_and_group(read):
    answers = [{"model": "m", "answer": "yes", "label": "good"}, {"answer": "no"}]
    ds = read({"id": 7, "question": "q", "context": ["c", "d"], "answers": answers})
    assert ds["triplet"].values.tolist() == ["7:1-m", "7:2"]
    assert ds["group"].values.tolist() == ["7", "7"]
    assert ds["label"].values.tolist() == ["good", ""]
    assert ds["context_bytes"].values.tolist() == [3, 3]


def test_open_triplets__a_labelled_pair_gives_two_rows(read):
    record = {"id": "h", "question": "q", "context": "c"}
    ds = read(record | {"right_answer": "r", "hallucinated_answer": "w"})
    assert ds["triplet"].values.tolist() == ["h:right", "h:hallucinated"]
    assert ds["label"].values.tolist() == ["right", "hallucinated"]


def test_open_triplets__maps_fields_by_name(read):
    ds = read({"q": "Why?", "doc": "d", "out": "o"}, fields={"question": "q", "context": "doc"} | {
        "answer": "out"
    })  # fmt: skip
    assert ds["triplet"].values.tolist() == ["1"]
    with pytest.raises(InputError, match=r"fields maps \['prompt'\]; choose from id, question"):
        read(ROW, fields={"prompt": "q"})


def test_open_triplets__pairs_an_item_with_the_same_item_of_the_next_filing(read):
    filings = [
        {"cik": c, "period_of_report": f"{y}-12-31", "item_1A": f"risk {y}", "item_7": ""}
        for y in (2012, 2013, 2014)
        for c in ("1", "2")
    ]
    ds = read(*filings, store_text=True)
    assert ds["triplet"].values.tolist() == [
        f"{c}:item_1A:{y}-12-31" for y in (2013, 2014) for c in ("1", "2")
    ]
    assert ds["context_text"].values[0] == "risk 2012"
    assert ds["answer_text"].values[0] == "risk 2013"
    assert set(ds["question_bytes"].values) == {0}


def test_open_triplets__lists_what_it_cannot_use_with_line_and_reason(read):
    ds = read(ROW, b'{"id": ', ROW, ROW | {"answer": "Else."}, {"id": "b"}, ROW | {"answer": 3})
    assert ds["triplet"].values.tolist() == ["a", "a#2"]
    assert ds["bad_line"].values.tolist() == [2, 3, 5, 6]
    reasons = ["invalid JSON", "a copy of a", "no question (looked for", "answer is a int"]
    assert all(r in found for r, found in zip(reasons, ds["bad_reason"].values, strict=True))


def test_open_triplets__a_third_row_of_one_name_is_compared_with_all(read):
    rows = [ROW, ROW | {"answer": "2"}, ROW | {"answer": "3"}, ROW | {"answer": "2"}]
    ds = read(*rows)
    assert ds["triplet"].values.tolist() == ["a", "a#2", "a#3"]
    assert ds["bad_line"].values.tolist() == [4]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"{", r"line 2: invalid JSON.*mend it or quarantine"),
        ({"id": "b", "question": "q"}, r"line 2: no context"),
        ({"item_7": "x", "cik": "1"}, r"line 2: a filing without period_of_report"),
    ],
)
def test_open_triplets__stops_at_the_first_fault_where_asked(read, record, message):
    with pytest.raises(FormatError, match=message):
        read(ROW, record, on_error="stop")


def test_open_triplets__reads_the_labelled_sets_whole(data_dir):
    """Counts from the sets' own documentation."""
    halueval = readers.open_source(data_dir / "qca" / "halueval_qa.jsonl.gz", kind="triplets")
    assert (halueval["label"].values == "right").sum() == 500
    assert halueval.sizes == {"triplet": 1000, "bad": 0}
    name = "financebench_qca_first100.jsonl.gz"
    bench = readers.open_source(data_dir / "qca" / name, kind="triplets")
    assert bench.sizes == {"triplet": 400, "bad": 0}
    assert len(set(bench["group"].values)) == 100


def test_open_triplets__reads_a_compressed_file(tmp_path):
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(ROW).encode()))
    assert readers.open_source(path, kind="triplets")["triplet"].item() == "a"


def test_findings__say_which_records_were_set_aside_and_not_what_they_hold(read):
    assert readers.findings(read(ROW)) == []
    ((name, n, action, detail),) = readers.findings(read(ROW, b"{secret", b"", *[b"{secret"] * 3))
    assert (name, n, action) == ("bad records", "4", "set aside")
    assert detail.startswith("line 2: ")
    assert detail.endswith("; and 1 more")
    assert "secret" not in detail
