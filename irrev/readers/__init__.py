"""Files -> Datasets with the names of `irrev.schema`.

`open_source` picks the reader by kind, then by suffix and content. A kind is one entry of
`KINDS`: a function that is imported when it is first needed and called as
`open_kind(path, on_error=..., **options)`.
"""

import difflib
import hashlib
import importlib
import inspect
import itertools
import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from irrev import schema
from irrev.errors import InputError

OnError = Literal["quarantine", "stop"]

# kind of irrev.schema -> "module:function"; a new kind adds its line here
KINDS: dict[str, str] = {
    "samples": "irrev.readers.samples:open_samples",
    "spikes": "irrev.readers.spikes:open_spikes",
    "spins": "irrev.readers.spins:open_spins",
    "timeseries": "irrev.readers.timeseries:open_timeseries",
    "trajectories": "irrev.readers.tracks:open_tracks",
    "transcripts": "irrev.readers.transcripts:open_transcripts",
    "triplets": "irrev.readers.triplets:open_triplets",
}

# kinds that can be read in parts: "module:class", built as the function of KINDS is called; it
# gives Datasets of rows and then its `head`, what belongs to all of them
STREAMS: dict[str, str] = {"samples": "irrev.readers.samples:SampleStream"}

# kind -> "module:function" that splits a Dataset into conditions; other kinds have one, `all`
SPLITTERS: dict[str, str] = {
    "spikes": "irrev.readers.selection:split_spikes",
    "trajectories": "irrev.readers.tracks:split_groups",
    "transcripts": "irrev.readers.transcripts:split_transcripts",
}

HASH_BLOCK = 1 << 20  # bytes read at once; keeps memory flat for files of any size


def open_source(
    uri: str | Path, *, kind: str = "spikes", on_error: OnError = "quarantine", **options: Any
) -> xr.Dataset:
    """Read one file or folder into a Dataset of the given kind.

    Parameters
    ----------
    uri
        Path of the file or folder.
    kind
        A key of `KINDS`.
    on_error
        `quarantine` mends what can be mended and lists it in the Dataset's checks;
        `stop` raises at the first finding.
    **options
        Passed to the reader. Spikes: `time_unit` ("s", "ms" or "samples"), `sample_rate` (per
        second), `recording` (start and stop, s, for files that do not state their range).

    Returns
    -------
        Dataset valid under `irrev.schema.validate(ds, kind)`; attributes `uri`, `sha256` (of
        the content), `reader`, `reader_version`.

    Raises
    ------
    InputError
        If the kind or an option is unknown or the path does not exist.
    FormatError
        If the content is not what its reader expects.
    """
    path = _checked(uri, kind, on_error, options)
    ds = _function(KINDS[kind])(path, on_error=on_error, **options)
    ds.attrs |= {"uri": str(uri), "sha256": content_hash(path)}
    return schema.validate(ds, kind)


def stream_source(
    uri: str | Path, *, kind: str, on_error: OnError = "quarantine", **options: Any
) -> Iterator[xr.Dataset]:
    """Read one file or folder of a kind of `STREAMS` in parts, two of them in memory at a time.

    Parameters
    ----------
    uri, kind, on_error, **options
        As in `open_source`.

    Yields
    ------
        Datasets of some rows of the kind's large variables, and last the head: all the rest,
        with the attribute `rows`, how many rows each part has. A file of one part yields one
        Dataset, that of `open_source`.
    """
    path = _checked(uri, kind, on_error, options)
    stream = _function(STREAMS[kind])(path, on_error=on_error, **options)
    parts = iter(stream)
    first, second = next(parts), next(parts, None)
    head: xr.Dataset
    if second is None:
        head = stream.head.assign(first.variables)
    else:
        for part in itertools.chain([first, second], parts):
            yield schema.validate(part, kind, partial=True)
        head = stream.head.assign_attrs(rows=stream.rows)
    yield schema.validate(
        head.assign_attrs(uri=str(uri), sha256=content_hash(path)),
        kind,
        partial=second is not None,
    )


def look_into(
    uri: str | Path, *, kind: str, on_error: OnError = "quarantine", **options: Any
) -> xr.Dataset:
    """Read a source for what it is, not for its data: of kinds in parts only the head is kept.

    Parameters
    ----------
    uri, kind, on_error, **options
        As in `open_source`.
    """
    if kind not in STREAMS:
        return open_source(uri, kind=kind, on_error=on_error, **options)
    return deque(stream_source(uri, kind=kind, on_error=on_error, **options), maxlen=1)[0]


def _checked(uri: str | Path, kind: str, on_error: str, options: Mapping[str, Any]) -> Path:
    """Return the path of a source, if it is there and the reader knows the options."""
    if kind not in KINDS:
        raise InputError(f"{kind} is not a kind of source;{nearest(kind, KINDS)}")
    if on_error not in ("quarantine", "stop"):
        raise InputError(f"on_error is {on_error!r}; choose quarantine or stop.")
    path = Path(uri)
    if not path.exists():
        raise InputError(f"{uri}: no such file or folder; check the path.")
    known = list(inspect.signature(_function(KINDS[kind])).parameters)
    for name in options:
        if name not in known:
            raise InputError(f"{name} is not an option of {kind} sources;{nearest(name, known)}")
    return path


def split(ds: xr.Dataset, kind: str, **options: Any) -> dict[str, Any]:
    """Split a Dataset into conditions.

    Parameters
    ----------
    ds
        Dataset of the kind.
    kind
        A key of `KINDS`.
    **options
        What the kind's splitter takes; for spikes `table` and `by`.

    Returns
    -------
        Condition -> JSON description of its part, for spikes a list of [start, stop] in seconds.
        Kinds without conditions give `{"all": None}`.
    """
    if kind not in SPLITTERS:
        return {"all": None}
    return _function(SPLITTERS[kind])(ds, **options)


def size(ds: xr.Dataset) -> dict[str, float]:
    """Return what the cost of a method may depend on: bytes and the length of each dimension."""
    sizes = {"bytes": float(ds.nbytes), **{str(d): float(n) for d, n in ds.sizes.items()}}
    if "samples" in ds.attrs:  # they stay in their file
        n, channels = ds.attrs["samples"]["shape"]
        sizes |= {"time": float(n), "channel": float(channels), "bytes": 8.0 * n * channels}
    if "rows" in ds.attrs:  # they lie in parts
        n = float(sum(ds.attrs["rows"]))
        states = 1 + ds.sizes.get("noise_level", 0)
        numbers = n * states * math.prod(json.loads(ds.attrs["shape"]))
        sizes |= {"sample": n, "bytes": 4.0 * numbers + ds.nbytes}
    if "observed_start" in ds:
        sizes["observed_s"] = float((ds["observed_stop"] - ds["observed_start"]).sum())
    return sizes


def findings(ds: xr.Dataset) -> list[list[str]]:
    """Return name, count, action and detail of each check that found something, as text."""
    bad = _bad_records(ds)
    if "check" not in ds:
        return bad
    names = ("check", "check_count", "check_action", "check_detail")
    columns = (ds[name].to_numpy().tolist() for name in names)
    return [[str(value) for value in row] for row in zip(*columns, strict=True)] + bad


def _bad_records(ds: xr.Dataset) -> list[list[str]]:
    """Return one finding on the records that were set aside; reasons never hold their content."""
    n = ds.sizes.get("bad", 0)
    if not n:
        return []
    first = zip(ds["bad_line"].to_numpy()[:3], ds["bad_reason"].to_numpy()[:3], strict=True)
    detail = "; ".join(f"line {line}: {reason}" for line, reason in first)
    return [["bad records", str(n), "set aside", detail + f"; and {n - 3} more" * (n > 3)]]


def content_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file, or of a folder's sorted relative names and contents.

    Parameters
    ----------
    path
        File or folder; names that start with a dot are left out of a folder.

    Returns
    -------
        64 hexadecimal digits.

    Raises
    ------
    InputError
        If a file is gone or this user may not read it.
    """
    path = Path(path)
    if path.is_file():
        return _file_digest(path).hex()
    if not path.is_dir():  # a pipe would keep its reader waiting for ever
        raise InputError(f"{path}: no file or folder; check the path, or where its link leads.")
    total = hashlib.sha256()
    inside = (p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
    for name, file in sorted((p.relative_to(path).as_posix(), p) for p in inside):
        total.update(name.encode() + b"\0" + _file_digest(file))
    return total.hexdigest()


def _file_digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(HASH_BLOCK):
                digest.update(block)
    except FileNotFoundError:
        raise InputError(f"{path}: is gone; run again when the copying has ended.") from None
    except PermissionError:
        raise InputError(f"{path}: this user may not read it; change its permissions.") from None
    return digest.digest()


def _function(address: str) -> Callable[..., Any]:
    module, function = address.split(":")
    return getattr(importlib.import_module(module), function)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of an error line: the known word that is meant, or all known words."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f" did you mean `{close[0]}`?"
    return f" there are: {', '.join(names)}." if names else " there are none."
