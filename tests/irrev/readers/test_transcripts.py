"""Chat logs in all their shapes; generated texts only."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irrev.errors import FormatError, InputError
from irrev.readers import open_source, split
from irrev.readers.chat_parts import parse_time
from irrev.readers.chats import by_fields, detect, hh
from irrev.readers.transcripts import text_hash

SAID = [{"role": "user", "content": "how many"}, {"role": "assistant", "content": "five"}]
NOON = 1767268800.0  # 2026-01-01T12:00:00Z


TEXT = (json.dumps(SAID[:1]), json.dumps([{"content": "five"}]))


def write(path: Path, records, *, start=b"", end=b"\n") -> Path:
    path.write_bytes(start + end.join(json.dumps(r).encode() for r in records) + end)
    return path


def read(path: Path, **options):
    return open_source(path, kind="transcripts", store_text=True, **options)


def span(messages_as_text):
    said = [
        {"role": m["role"], "parts": [{"type": "text", "content": m["content"]}]} for m in SAID
    ]
    pack = json.dumps if messages_as_text else (lambda x: x)
    return {
        "gen_ai.conversation.id": "c1",
        "gen_ai.request.model": "m",
        "gen_ai.input.messages": pack(said[:1]),
        "gen_ai.output.messages": pack(said[1:]),
    }


OTLP = {
    "resourceSpans": [
        {
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "spanId": "s1",
                            "startTimeUnixNano": str(int(NOON * 1e9)),
                            "attributes": [
                                {"key": k, "value": {"stringValue": v}}
                                for k, v in span(True).items()
                            ],
                        },
                        {"spanId": "s2", "attributes": [{"key": "db", "value": {"intValue": 1}}]},
                    ]
                }
            ]
        }
    ]
}
PYRIT = [
    {
        "conversation_id": "c1",
        "sequence": n,
        "role": m["role"],
        "original_value": "x",
        "converted_value": m["content"],
        "timestamp": "2026-01-01T12:00:00",
        "prompt_target_identifier": {"model_name": "m"},
    }
    for n, m in reversed(list(enumerate(SAID)))
]
SHAPES = {
    "openai": [{"messages": SAID, "model": "m", "created": NOON}],
    "openai_parts": [
        {
            "messages": [
                SAID[0],
                {"role": "assistant", "content": [{"type": "text", "text": "five"}]},
            ]
        }
    ],
    "sharegpt": [
        {
            "conversations": [
                {"from": "human", "value": "how many"},
                {"from": "gpt", "value": "five"},
            ]
        }
    ],
    "lmsys": [{"conversation_id": "c1", "model": "m", "conversation": SAID, "turn": 1}],
    "wildchat": [
        {"conversation_hash": "c1", "conversation": SAID, "timestamp": "2026-01-01T12:00:00+00:00"}
    ],
    "langfuse": [
        {
            "id": "c1",
            "timestamp": "2026-01-01T12:00:00.000Z",
            "name": "n",
            "sessionId": "s",
            "input": {"messages": SAID[:1]},
            "output": {"role": "assistant", "content": "five"},
            "metadata": {"model": "m"},
        }
    ],
    "garak": [
        {"entry_type": "start_run setup"},
        {
            "entry_type": "attempt",
            "uuid": "c1",
            "status": 2,
            "probe_classname": "p.P",
            "prompt": {"turns": [{"role": "user", "content": {"text": "how many"}}]},
            "outputs": [{"text": "five"}, None],
        },
    ],
    "garak_old": [
        {"entry_type": "attempt", "uuid": "c1", "prompt": "how many", "outputs": ["five"]}
    ],
    "pyrit": PYRIT,
    "otel": [{"attributes": span(True), "start_time": "2026-01-01T12:00:00Z"}],
    "otel_structured": [{"attributes": span(False)}],
    "otlp": [OTLP],
    "langfuse_text": [
        {
            "id": "c1",
            "sessionId": None,
            "input": json.dumps(SAID[:1]),
            "output": json.dumps({"choices": [{"message": SAID[1]}]}),
        }
    ],
    "otel_numbered": [
        {
            "attributes": {
                "gen_ai.prompt.0.role": "user",
                "gen_ai.prompt.0.content": "how many",
                "gen_ai.completion.0.content": "five",
                "gen_ai.completion.0.tool_calls.0.name": "look",
            }
        }
    ],
    "otel_content_events": [
        {
            "attributes": {"gen_ai.system": "x"},
            "events": [
                {"name": "gen_ai.content.prompt", "attributes": {"gen_ai.prompt": TEXT[0]}},
                {
                    "name": "gen_ai.content.completion",
                    "attributes": {"gen_ai.completion": TEXT[1]},
                },
            ],
        }
    ],
    "otel_details": [
        {"attributes": {}, "events": [{"name": "details", "attributes": span(True)}]}
    ],
    "otel_events": [
        {
            "attributes": {"gen_ai.request.model": "m"},
            "events": [
                {"name": "gen_ai.user.message", "attributes": {"content": "how many"}},
                {"name": "gen_ai.choice", "attributes": {"message": {"content": "five"}}},
            ],
        }
    ],
}
WITH_TIME = {"openai", "wildchat", "langfuse", "pyrit", "otel", "otlp"}


@pytest.mark.parametrize("shape", SHAPES)
def test_open_transcripts__reads_each_shape_alike(shape, tmp_path):
    ds = read(write(tmp_path / "log.jsonl", SHAPES[shape]))
    assert ds["question_text"].values.tolist() == ["how many"]
    assert ds["answer_text"].values.tolist() == ["five"]
    assert ds["answer_hash"].values.tolist() == [text_hash("five")]
    assert ds.sizes["bad"] == 0
    assert (ds["t"].values.tolist() == [NOON]) == (shape in WITH_TIME)


@pytest.mark.parametrize("form", ["gz", "zst", "array", "printed", "printed_array", "crlf"])
def test_open_transcripts__reads_each_container_alike(form, tmp_path):
    path = write(tmp_path / "log.jsonl", SHAPES["openai"])
    if form == "gz":
        path.write_bytes(gzip.compress(path.read_bytes()))
    elif form == "zst":
        zstandard = pytest.importorskip("zstandard")
        path.write_bytes(zstandard.ZstdCompressor().compress(path.read_bytes()))
    elif form == "array":
        path.write_text("\ufeff" + json.dumps(SHAPES["openai"]))
    elif form == "printed":
        path.write_text("\ufeff\n" + json.dumps(SHAPES["openai"][0], indent=2))
    elif form == "printed_array":
        path.write_bytes(gzip.compress(json.dumps(SHAPES["openai"], indent=2).encode()))
    else:
        write(path, SHAPES["openai"], start=b"\xef\xbb\xbf", end=b"\r\n")
    assert read(path)["answer_text"].values.tolist() == ["five"]


def test_open_transcripts__reads_parquet(tmp_path):
    polars = pytest.importorskip("polars")
    polars.DataFrame(SHAPES["lmsys"] * 1).write_parquet(tmp_path / "chats.parquet")
    ds = read(tmp_path / "chats.parquet")
    assert ds["answer_text"].values.tolist() == ["five"]
    assert ds["transcript_id"].values.tolist() == ["c1"]


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv.gz"])
def test_open_transcripts__reads_tables_and_lists_their_bad_rows(name, tmp_path):
    """A comment before the header, a text over two lines, a short row, bytes that are no UTF-8."""
    comma = b"," if ".csv" in name else b"\t"
    rows = [b"# scored", b'"said",who', b'"fi\nve",m', b"only", b"\xff,m", b"six,m"]
    raw = b"\r\n".join(row.replace(b",", comma) for row in rows)
    path = tmp_path / name
    path.write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    ds = read(path, fields={"text": "said", "model": "who"})
    assert ds["answer_text"].values.tolist() == ["fi\nve", "six"]
    assert ds["bad_line"].values.tolist() == [5, 6]
    assert ds["bad_reason"].values.tolist() == ["1 columns, the header has 2", "invalid UTF-8"]


def test_open_transcripts__a_parquet_text_with_nul_can_be_stored(tmp_path):
    polars = pytest.importorskip("polars")
    polars.DataFrame({"text": ["a\0b"]}).write_parquet(tmp_path / "rows.parquet")
    ds = read(tmp_path / "rows.parquet", fields={"text": "text"})
    assert ds["answer_text"].values.tolist() == ["a\ufffdb"]


DIALOGUE = [*SAID, {"role": "user", "content": "and now"}, {"role": "assistant", "content": "six"}]


@pytest.mark.parametrize("shape", ["otel", "langfuse", "garak"])
def test_open_transcripts__repeated_history_is_counted_once(shape, tmp_path):
    """Two requests of one dialogue; the second repeats the first answer and adds its own."""
    requests = [(DIALOGUE[:1], DIALOGUE[1]), (DIALOGUE[:3], DIALOGUE[3])]
    records = {
        "otel": [
            {
                "span_id": f"s{i}",
                "attributes": {"gen_ai.input.messages": old, "gen_ai.output.messages": [new]},
            }
            for i, (old, new) in enumerate(requests)
        ],
        "langfuse": [
            {"id": f"t{i}", "input": old, "output": new} for i, (old, new) in enumerate(requests)
        ],
        "garak": [
            {
                "entry_type": "attempt",
                "uuid": f"u{i}",
                "prompt": {"turns": old},
                "outputs": [new["content"]],
            }
            for i, (old, new) in enumerate(requests)
        ],
    }
    ds = read(write(tmp_path / "log.jsonl", records[shape]))
    assert ds["answer_text"].values.tolist() == ["five", "six"]
    assert ds["question_text"].values.tolist() == ["how many", "and now"]
    assert ds["turn"].values.tolist() == [0, 1]


def test_open_transcripts__a_label_outside_the_map_is_listed_and_not_shown(tmp_path):
    rows = [{"text": "x", "label": label} for label in ("yes", "free words", "")]
    path = write(tmp_path / "rows.jsonl", rows)
    fields = {"text": "text", "label": "label"}
    ds = read(path, fields=fields, labels={"yes": "aligned"})
    assert ds["reported_label"].values.tolist() == ["yes", ""]
    assert ds["bad_line"].values.tolist() == [2]
    assert "free" not in str(ds.drop_vars("answer_text").to_dict())
    assert "10 characters" in ds["bad_reason"].item()


def test_open_transcripts__pictures_and_errors_of_pyrit_have_no_text(tmp_path):
    rows = [
        {**PYRIT[0], "sequence": 3, "converted_value_data_type": "error"} | {"original_value": ""}
    ]
    ds = read(write(tmp_path / "log.json", [*PYRIT, *rows]))
    assert ds["answer_bytes"].values.tolist() == [4, 0]


def test_open_transcripts__keeps_no_text_unless_asked(tmp_path):
    path = write(tmp_path / "log.jsonl", SHAPES["openai"])
    ds = open_source(path, kind="transcripts")
    assert not {"question_text", "answer_text"} & set(ds.variables)
    assert "five" not in str(ds.to_dict())


def test_open_transcripts__lists_each_bad_line_with_its_number_and_reason(tmp_path):
    good = json.dumps(SHAPES["lmsys"][0]).encode()
    other = json.dumps({**SHAPES["lmsys"][0], "model": "other"}).encode()
    lines = [
        good,
        b"\xff\xfe",
        b'{"messages": ',
        b'{"answer": "five"}',
        b'{"messages": [{"role": "user", "content": "a"}]}',
        b'{"messages": "no list"}',
        good,
        other,
        b'{"messages": [{"role": "assistant", "content": "\\ud800 and \\u0000"}]}',
        b"[" * 5000,
        b'{"messages": [null]}',
    ]
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\n".join(lines))
    ds = read(path)
    assert ds["bad_line"].values.tolist() == [2, 3, 4, 5, 6, 7, 10, 11]
    reasons = ds["bad_reason"].values.tolist()
    for reason, part in zip(
        reasons,
        [
            "UTF-8",
            "JSON",
            "no known format",
            "no_assistant",
            "not a list",
            "duplicate of record 1",
        ],
        strict=False,
    ):
        assert part in reason
    assert ds["transcript_id"].values.tolist() == ["c1", "c1#2", "log.jsonl:9"]
    assert int(ds["check_count"].sum()) == len(reasons)
    assert ds["answer_text"].values[2] == "\ufffd and \ufffd"


def test_open_transcripts__stops_at_the_first_bad_line_when_told(tmp_path):
    path = write(tmp_path / "log.jsonl", [SHAPES["openai"][0], {"answer": 1}])
    with pytest.raises(FormatError, match=r"record 2: no known format; fields are answer"):
        read(path, on_error="stop")


def test_open_transcripts__tool_calls_without_text_are_no_behaviour(tmp_path):
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "t"}]}
    ds = read(write(tmp_path / "log.jsonl", [{"messages": [SAID[0], call, SAID[1]]}]))
    assert ds["answer_bytes"].values.tolist() == [0, 4]
    assert ds["n_tool_calls"].values.tolist() == [1, 0]
    assert ds["turn"].values.tolist() == [0, 1]


def test_open_transcripts__names_come_from_the_map_and_are_never_guessed(tmp_path):
    records = [{"messages": SAID, "model": m, "stress": "s"} for m in ("a-chat", "b")]
    ds = read(
        write(tmp_path / "log.jsonl", records),
        variants={"a-chat": "tuned"},
        stresses={"s": "pressure"},
    )
    assert ds["variant"].values.tolist() == ["tuned", "unknown"]
    assert set(split(ds, "transcripts")) == {"a-chat/tuned/pressure", "b/unknown/pressure"}


def test_open_transcripts__says_where_time_and_stress_are_confounded(tmp_path):
    rows = [
        {"text": "x", "m": m, "s": s, "t": t}
        for m, s, t in [
            ("a", "one", "2026-01-01"),
            ("a", "two", "2026-01-02"),
            ("b", "one", "2026-01-01"),
            ("b", "two", "2026-01-01"),
            ("b", "two", "2026-01-02"),
        ]
    ]
    fields = {"text": "text", "model": "m", "stress": "s", "t": "t"}
    ds = read(write(tmp_path / "rows.jsonl", rows), fields=fields)
    assert json.loads(ds.attrs["confounded"]) == ["a"]


def test_hh__gives_shared_turns_once_and_ignores_a_bare_human():
    start = "\n\nHuman: a Human: b\n\nAssistant: c\n\nHuman: d\n\nAssistant: "
    chats = hh({"chosen": start + "yes", "rejected": start + "no"})
    assert [c.stress for c in chats] == ["shared", "chosen", "rejected"]
    assert [c.first_turn for c in chats] == [0, 1, 1]
    assert chats[0].messages[0].text == "a Human: b"
    assert chats[2].messages[-1].text == "no"


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-01T12:00:00Z",
        "2026-01-01 12:00:00",
        "2026-01-01T13:00:00+01:00",
        NOON,
        str(int(NOON)),
        NOON * 1e3,
        NOON * 1e6,
        NOON * 1e9,
    ],
)
def test_parse_time__reads_mixed_forms(value):
    assert parse_time(value, "f") == (NOON, "f")


def test_parse_time__does_not_guess():
    assert parse_time("yesterday", "f") == (None, "unreadable")
    assert parse_time(True, "f") == (None, "unreadable")
    assert parse_time(None, "f") == (None, "")


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["messages", "role", "content", "conversations", "input", "output", "id"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                [
                    "messages",
                    "conversations",
                    "conversation",
                    "input",
                    "output",
                    "attributes",
                    "entry_type",
                    "outputs",
                    "prompt",
                    "chosen",
                    "rejected",
                    "events",
                    "resourceSpans",
                    "created",
                    "id",
                ]
            ),
            json_values,
            max_size=5,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_open_transcripts__any_object_is_a_turn_or_a_reason(tmp_path_factory, records):
    """Nothing else is ever raised, whatever the shape."""
    path = write(tmp_path_factory.mktemp("any") / "log.jsonl", records)
    ds = read(path)
    assert ds.sizes["bad"] <= 2 * len(records)


def test_by_fields__names_the_fields_there_are():
    with pytest.raises(InputError, match="`text` is needed"):
        by_fields({}, {"answer": "a"})


def test_detect__tells_fields_and_no_content():
    with pytest.raises(ValueError, match=r"fields are secret$"):
        detect({"secret": "hidden words"})


# --- real data ----------------------------------------------------------------------------------


def test_open_transcripts__real_labelled_sets(data_dir):
    folder = data_dir / "llm"
    fields = {"text": "response", "prompt": "prompt", "model": "model", "label": "label"}
    xstest = open_source(folder / "xstest_completions.jsonl.gz", kind="transcripts", fields=fields)
    assert (xstest.sizes["answer"], xstest.sizes["bad"]) == (2250, 0)
    assert np.unique(xstest["group_hash"]).size == 450
    fields = {"text": "response", "model": "model", "stress": "attack", "t": "date"}
    jbb = open_source(
        folder / "jailbreakbench_transcripts.jsonl.gz", kind="transcripts", fields=fields
    )
    assert jbb.sizes["answer"] == 1637
    assert len(json.loads(jbb.attrs["confounded"])) == 4  # each date is one attack


def test_open_transcripts__real_labels_outside_the_map_are_quarantined(data_dir):
    """Of the 2,250 labels in this column 11 are free text."""
    fields = {"text": "response", "label": "gpt4_label"}
    names = ("1_full_compliance", "2_full_refusal", "3_partial_refusal")
    path = data_dir / "llm" / "xstest_completions.jsonl.gz"
    ds = open_source(path, kind="transcripts", fields=fields, labels=dict.fromkeys(names, "x"))
    assert (ds.sizes["answer"], ds.sizes["bad"]) == (2239, 11)
    assert all("not in the map" in reason for reason in ds["bad_reason"].values)


def test_open_transcripts__real_dialogues(data_dir):
    path = data_dir / "llm" / "hh_rlhf_harmless_base_test_first1200.jsonl.gz"
    ds = open_source(path, kind="transcripts")
    assert ds.sizes["bad"] == 0
    assert int((ds["answer_bytes"] == 0).sum()) == 4
    assert int(ds["turn"].max()) == 17
