"""Question-context-answer records -> one row an answer; hashes in place of texts unless asked.

JSON lines, plain, gzip or zstd. Each record is read by the first form that fits:

- 10-K items: `item_1A`, `item_7`, ... of one filing; a row pairs an item with the same item of the
  company's next filing: context = earlier text, answer = later text, no question, so that
  entropy production and grounding are defined and faithfulness is not;
- several answers: `answers`, a list of objects with `answer` and perhaps `model` and `label`; or
  `right_answer` and `hallucinated_answer`, labelled `right` and `hallucinated`;
- one answer: names of `FIELDS`; the option `fields` maps others.

A context that is a list of texts is joined by newlines. What cannot be used is listed with line,
reason and hash (dimension `bad`), never dropped: what `jsonlines` finds, records of no form, texts
that are no strings, and a second record with an identifier and content already seen; with other
content it is kept as `<id>#2`. Empty texts are kept; their scores are missing with a reason.
`group` joins the answers to one question.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from irrev.errors import FormatError, InputError
from irrev.readers.jsonlines import BadLine, Limits, Record, read_json_lines

READER_VERSION = 1
TEXTS = ("question", "context", "answer")
FIELDS: dict[str, tuple[str, ...]] = {  # what a row needs -> names looked for, in this order
    "id": ("triplet_id", "id", "_id", "qid"),
    "question": ("question", "query", "prompt"),
    "context": ("context", "contexts", "knowledge", "evidence", "documents"),
    "answer": ("answer", "response", "completion"),
    "model": ("model",),
    "label": ("label",),
    "group": ("group",),
}


@dataclass(frozen=True, slots=True)
class Triplet:
    """One question, context and answer."""

    id: str
    question: str
    context: str
    answer: str
    model: str
    label: str
    group: str
    line: int


class _Unusable(ValueError):  # noqa: N818  a reason, not an error of ours
    """Why a record gives no row."""


def open_triplets(
    path: Path,
    *,
    on_error: Literal["quarantine", "stop"] = "quarantine",
    fields: Mapping[str, str] | None = None,
    items: Sequence[str] = ("item_1A", "item_7"),
    store_text: bool = False,
) -> xr.Dataset:
    """Read one file of question-context-answer records into the kind `triplets`.

    Parameters
    ----------
    path
        File of JSON lines.
    on_error
        List unusable records, or raise at the first.
    fields
        Map of keys of `FIELDS` to names in the file.
    items
        Items of 10-K filings that make rows.
    store_text
        Keep questions, contexts and answers; hashes and lengths only if not.

    Returns
    -------
        Dataset over `triplet` (rows) and `bad` (records without one).

    Raises
    ------
    FormatError
        If the file cannot be read, or at the first bad record under `stop`.
    InputError
        If `fields` maps an unknown name.
    """
    rows: list[Triplet] = []
    bad: list[BadLine] = []
    for row in read_triplets(path, fields=fields, items=items):
        if isinstance(row, Triplet):
            rows.append(row)
        elif on_error == "stop":
            raise FormatError(f"{path}: line {row.line}: {row.reason}; mend it or quarantine it.")
        else:
            bad.append(row)
    return _to_dataset(rows, bad, store_text=store_text)


def read_triplets(
    path: Path,
    *,
    fields: Mapping[str, str] | None = None,
    items: Sequence[str] = ("item_1A", "item_7"),
    limits: Limits | None = None,
) -> Iterator[Triplet | BadLine]:
    """Yield each row with its texts, and each unusable record, in order.

    Memory grows with the identifiers seen, and by one filing a company.
    """
    names = {key: (fields or {}).get(key) for key in FIELDS}
    if unknown := set(fields or {}) - set(FIELDS):
        raise InputError(f"fields maps {sorted(unknown)}; choose from {', '.join(FIELDS)}.")
    seen, filings = _Seen(), _Filings(tuple(items))
    for entry in read_json_lines(path, limits=limits):
        if isinstance(entry, BadLine):
            yield entry
            continue
        try:
            for row in _rows(entry, names, filings):
                yield seen.name(row)
        except _Unusable as reason:
            yield BadLine(entry.line, str(reason), _hash(repr(entry.value)))


def _rows(
    record: Record, names: Mapping[str, str | None], filings: "_Filings"
) -> Iterator[Triplet]:
    value = record.value
    if any(key.startswith("item_") for key in value) and "answer" not in value:
        yield from filings.pair(record)
        return
    row_id = _scalar(value, names, "id") or str(record.line)
    base = Triplet(
        id=row_id,
        question=_text(value, names, "question"),
        context=_text(value, names, "context"),
        answer="",
        model=_scalar(value, names, "model"),
        label=_scalar(value, names, "label"),
        group=_scalar(value, names, "group") or row_id,
        line=record.line,
    )
    if isinstance(answers := value.get("answers"), list):
        parts = [a for a in answers if isinstance(a, dict)]
        if len(parts) != len(answers):
            raise _Unusable("answers holds something that is not an object")
    elif "right_answer" in value and "hallucinated_answer" in value:
        parts = [
            {"answer": value[f"{label}_answer"], "label": label, "suffix": label}
            for label in ("right", "hallucinated")
        ]
    else:
        yield replace(base, answer=_text(value, names, "answer"))
        return
    for number, part in enumerate(parts, start=1):
        model = _scalar(part, names, "model") or base.model
        suffix = part.get("suffix") or "-".join(filter(None, (str(number), model)))
        yield replace(
            base,
            id=f"{row_id}:{suffix}",
            answer=_text(part, names, "answer"),
            model=model,
            label=_scalar(part, names, "label") or base.label,
        )


def _find(value: Mapping[str, Any], names: Mapping[str, str | None], key: str) -> Any:
    """Return the first field present of those that may hold `key`; None if there is none."""
    mapped = names[key]
    return next((value[n] for n in ((mapped,) if mapped else FIELDS[key]) if n in value), None)


def _text(value: Mapping[str, Any], names: Mapping[str, str | None], key: str) -> str:
    found = _find(value, names, key)
    if found is None:
        wanted = names[key] or " or ".join(FIELDS[key])
        raise _Unusable(f"no {key} (looked for {wanted})")
    if isinstance(found, list) and all(isinstance(part, str) for part in found):
        return "\n".join(found)
    if not isinstance(found, str):
        raise _Unusable(f"{key} is a {type(found).__name__}, not a text")
    return found


def _scalar(value: Mapping[str, Any], names: Mapping[str, str | None], key: str) -> str:
    found = _find(value, names, key)
    return str(found) if isinstance(found, str | int | float | bool) else ""


@dataclass(slots=True)
class _Seen:
    """Names given so far: a repeated one is refused or numbered."""

    content: dict[str, str] = field(default_factory=dict)  # name -> hash of its texts
    count: dict[str, int] = field(default_factory=dict)

    def name(self, row: Triplet) -> Triplet:
        """Return the row under a name of its own; raise for a copy."""
        digest = _hash("\0".join((row.question, row.context, row.answer)))
        number = self.count.get(row.id, 0) + 1
        numbered = [row.id, *(f"{row.id}#{n}" for n in range(2, number))]
        if number > 1 and digest in (self.content[n] for n in numbered):
            raise _Unusable(f"a copy of {row.id}")
        self.count[row.id] = number
        new = row.id if number == 1 else f"{row.id}#{number}"
        self.content[new] = digest
        return replace(row, id=new)


@dataclass(slots=True)
class _Filings:
    """The last filing of each company, to be paired with its next one."""

    items: tuple[str, ...]
    last: dict[str, tuple[date, dict[str, Any]]] = field(default_factory=dict)

    def pair(self, record: Record) -> Iterator[Triplet]:
        """Yield the items of this filing against those of the company's filing before."""
        value = record.value
        company = str(value.get("cik") or value.get("company") or "")
        stated = str(value.get("period_of_report") or value.get("filing_date") or "")
        try:
            when = date.fromisoformat(stated)
        except ValueError:
            raise _Unusable("a filing without period_of_report or filing_date") from None
        if not company:
            raise _Unusable("a filing without cik or company")
        before = self.last.get(company)
        if before is not None and before[0] >= when:
            raise _Unusable(f"a filing of {when} after that of {before[0]}: sort by date")
        self.last[company] = (when, value)
        if before is None:
            return
        for item in self.items:
            earlier, later = (str(v.get(item) or "") for v in (before[1], value))
            if earlier and later:
                group = f"{company}:{item}"
                row_id = f"{group}:{when.isoformat()}"
                yield Triplet(row_id, "", earlier, later, "", "", group, record.line)


def _to_dataset(rows: list[Triplet], bad: list[BadLine], *, store_text: bool) -> xr.Dataset:
    def texts(values: list[str]) -> tuple[str, np.ndarray[Any, np.dtype[Any]]]:
        return "triplet", np.array(values, dtype=object)

    columns: dict[str, Any] = {
        "triplet": texts([r.id for r in rows]),
        **{name: texts([getattr(r, name) for r in rows]) for name in ("model", "label", "group")},
        "line": ("triplet", np.array([r.line for r in rows], dtype=np.int64)),
        "bad_line": ("bad", np.array([b.line for b in bad], dtype=np.int64)),
        "bad_reason": ("bad", np.array([b.reason for b in bad], dtype=object)),
        "bad_hash": ("bad", np.array([b.sha256 for b in bad], dtype=object)),
    }
    for name in TEXTS:
        values = [str(getattr(r, name)) for r in rows]
        columns[f"{name}_hash"] = texts([_hash(v) for v in values])
        columns[f"{name}_bytes"] = ("triplet", np.array([len(v.encode()) for v in values], int))
        if store_text:
            columns[f"{name}_text"] = texts(values)
    attrs = {"reader": "triplets", "reader_version": READER_VERSION}
    return xr.Dataset(columns, attrs=attrs)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
