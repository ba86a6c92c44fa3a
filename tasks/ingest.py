"""Read one item of a source, check it, and put it into the store."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from irrev import readers
from irrev.errors import FormatError, InputError
from storage.lookup import content_key
from storage.pending import Pending
from storage.repository import Repository, StoreRef
from tasks.cluster import on_worker, worth_retrying


@dataclass(frozen=True, slots=True)
class Reading:
    """What ingestion found in one item; the data themselves are in the store."""

    item: str
    key: str  # pending key of the data, empty if the item is in quarantine
    sha256: str
    selections: dict[str, Any]  # condition -> its part of the data
    size: dict[str, float]
    error: str = ""


def read_item(
    ref: StoreRef, item: str, path: str, read_config: dict[str, Any], on_error: str
) -> Reading:
    """Read one item and leave the data in the store's scratch under its content key.

    A file that is not what its reader expects is returned with its reason if `on_error` is
    `quarantine`, else the FormatError is raised.
    """
    try:
        sha256 = readers.content_hash(Path(path))
        ds = readers.open_source(path, kind=read_config["kind"], **read_config["options"])
        selections = readers.split(ds, read_config["kind"], **read_config["split"])
        _check_unchanged(path, sha256)
    except (FormatError, InputError) as error:
        if on_error == "stop":
            raise
        return Reading(item, "", _hash_or_empty(path), {}, {}, str(error))
    key = content_key({"sha256": sha256, "read": read_config})
    Pending(Repository.open(ref)).put({key: {"data": ds}})
    return Reading(item, key, sha256, selections, readers.size(ds))


def _check_unchanged(path: str, sha256: str) -> None:
    if readers.content_hash(Path(path)) != sha256:
        raise FormatError(f"{path}: changed while it was read; run again when it is complete.")


def _hash_or_empty(path: str) -> str:
    try:
        return readers.content_hash(Path(path))
    except (FormatError, InputError, OSError):
        return ""


@task(
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="read {item}",
)
def read_source(
    ref: StoreRef, item: str, path: str, read_config: dict[str, Any], on_error: str
) -> Reading:
    """Read one item where work runs."""
    return on_worker(read_item, (ref, item, path, read_config, on_error))
