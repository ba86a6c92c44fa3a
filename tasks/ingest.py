"""Read items of a source, check them, and put them into the store's scratch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr
from prefect import task
from prefect.cache_policies import NO_CACHE

from irrev import readers
from irrev.errors import FormatError, InputError
from storage.inputs import part_key
from storage.lookup import content_key
from storage.pending import Pending
from storage.repository import Repository, StoreRef
from tasks.cluster import on_worker, worth_retrying

# what a reader meets in a file that it does not expect; others come from machine or store
UNFORESEEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What ingestion found in one item; the data themselves are in the store."""

    item: str
    key: str  # pending key of the data, empty if the item is in quarantine
    sha256: str
    selections: dict[str, Any]  # condition -> its part of the data
    size: dict[str, float]
    checks: list[list[str]]  # name, count, action, detail of each check that found something
    error: str = ""
    parts: int = 0  # of its rows, each under `part_key(key, ...)`; 0 for data in one piece
    failed: bool = False  # for a reason that no reader foresaw: tried again in the next run


def read_items(
    ref: StoreRef, items: Sequence[tuple[str, str]], read_config: dict[str, Any], on_error: str
) -> list[Reading]:
    """Read a batch of items and leave their data in the store's scratch, in one commit.

    Parameters
    ----------
    ref
        The store.
    items
        Name and path of each; the batch is held in memory, but of a kind that is read in parts
        two parts of a file only.
    read_config
        Kind, reader's options, and how to split into conditions.
    on_error
        With `quarantine`, a file that is not what its reader expects is returned with its reason;
        with `stop`, the error is raised.
    """
    readings, data = [], {}
    pending = Pending(Repository.open(ref))
    for item, path in items:
        try:
            reading, ds = _read(item, path, read_config, pending)
            data[reading.key] = {"data": ds}
        except (FormatError, InputError) as error:
            if on_error == "stop":
                raise
            reading = Reading(item, "", _hash_or_empty(path), {}, {}, [], str(error))
        except UNFORESEEN as error:  # of one file: its neighbours in the batch are read
            if on_error == "stop":
                raise
            why = f"{type(error).__name__}: {' '.join(str(error).split())}"
            reading = Reading(item, "", "", {}, {}, [], why, failed=True)
        readings.append(reading)
    pending.put(data)
    return readings


def _read(
    item: str, path: str, read_config: dict[str, Any], pending: Pending
) -> tuple[Reading, xr.Dataset]:
    before = readers.content_hash(path)
    kind, options = read_config["kind"], read_config["options"]
    key = content_key({"sha256": before, "read": read_config})
    if kind in readers.STREAMS:
        ds = _keep_parts(readers.stream_source(path, kind=kind, **options), key, pending)
    else:
        ds = readers.open_source(path, kind=kind, **options)
    parts = len(ds.attrs.get("rows", ()))
    if ds.attrs["sha256"] != before:
        pending.drop([part_key(key, i) for i in range(parts)])
        raise FormatError(f"{path}: changed while it was read; run again when it is complete.")
    selections = readers.split(ds, kind, **read_config["split"])
    reading = Reading(
        item, key, before, selections, readers.size(ds), readers.findings(ds), parts=parts
    )
    return reading, ds


def _keep_parts(stream: Iterator[xr.Dataset], key: str, pending: Pending) -> xr.Dataset:
    """Put each part as it comes, and return the last Dataset, which is the head."""
    kept: list[str] = []
    try:
        last = next(stream)
        for ds in stream:
            kept.append(part_key(key, len(kept)))
            pending.put({kept[-1]: {"data": last}})
            last = ds
    except BaseException:
        pending.drop(kept)
        raise
    return last


def _hash_or_empty(path: str) -> str:
    try:
        return readers.content_hash(path)
    except InputError:  # gone, or not for this user to read
        return ""


@task(
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="read {name}",
)
def read_source(
    name: str,
    ref: StoreRef,
    items: Sequence[tuple[str, str]],
    read_config: dict[str, Any],
    on_error: str,
    timeout_s: float,
) -> list[Reading]:
    """Read a batch of items where work runs."""
    return on_worker(read_items, (ref, items, read_config, on_error), timeout_s=timeout_s)
