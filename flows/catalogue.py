"""The catalogue of inputs: which content each item had when it was read, and its conditions.

One row an item. A file whose size and modification time are unchanged is not read again; one
that was only touched is hashed and, if its content is the same, not read again either.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISDIR
from typing import Any

import numpy as np
import xarray as xr

from flows.driven_tasks import DrivenTask
from flows.shards import Input
from flows.sources import Item
from irrev.errors import InputError
from irrev.readers import content_hash
from storage.repository import Repository


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: what was known of an item when it was last read."""

    item: str
    source: str
    uri: str
    stamp: str  # size and modification time of every file of the item
    sha256: str
    read_hash: str  # hash of the reader's parameters and version
    group: str
    selections: str  # JSON
    size: str  # JSON
    checks: str  # JSON: name, count, action, detail of each check that found something
    error: str = ""

    def as_input(self, at: str) -> Input:
        """Return the item as an input to be read at snapshot `at`."""
        return Input(
            item=self.item,
            source=self.source,
            sha256=self.sha256,
            group=self.group,
            at=at,
            selections=json.loads(self.selections),
            size=json.loads(self.size),
            error=self.error,
        )


FIELDS = tuple(Entry.__dataclass_fields__)


def group_of(flow: str) -> str:
    """Return the group of a flow's catalogue."""
    return f"inputs/catalogue/{flow}"


def load(repo: Repository, flow: str, *, at: str | None = None) -> dict[str, Entry]:
    """Read a flow's catalogue; empty if there is none yet."""
    group = group_of(flow)
    if not repo.has(group, at=at):
        return {}
    ds = repo.read(group, at=at).load()
    columns = [ds[name].to_numpy().astype(object) for name in FIELDS]
    rows = (Entry(*map(str, values)) for values in zip(*columns, strict=True))
    return {entry.item: entry for entry in rows}


def to_dataset(entries: Iterable[Entry]) -> xr.Dataset:
    """Return the catalogue as a Dataset along `item`."""
    rows = sorted(entries, key=lambda e: e.item)
    return xr.Dataset(
        {
            name: ("item", np.array([getattr(e, name) for e in rows], dtype=object))
            for name in FIELDS
        }
    )


def stated(name: str, source: DrivenTask) -> Entry:
    """Return the entry of a source that the pipeline file itself states: nothing is read."""
    return Entry(
        item=name,
        source=name,
        uri=f"stated as sources.{name}",
        stamp="",
        sha256=source.sha256,
        read_hash="",
        group="",
        selections=json.dumps({"all": None}),
        size="{}",
        checks="[]",
    )


def stamp(path: Path) -> str:
    """Return size and modification time of a file, or of every file of a folder.

    Empty for a link that leads nowhere.
    """
    try:
        status = path.stat()
        if not S_ISDIR(status.st_mode):
            return _stamp(path, status)
        parts = [_stamp(p, p.stat()) for p in sorted(path.rglob("*")) if p.is_file()]
    except FileNotFoundError:
        return ""
    if len(parts) == 1:
        return parts[0]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def _stamp(file: Path, status: os.stat_result) -> str:
    return f"{file.name}:{status.st_size}:{status.st_mtime_ns}"


def read_hash(config: Mapping[str, Any]) -> str:
    """Return the hash of what ingestion reads from the configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def still_known(entry: Entry | None, item: Item, hash_of_reading: str) -> Entry | None:
    """Return the entry of an item that need not be read: same content, same way of reading.

    A file whose stamp changed is hashed; if only the stamp changed, the entry takes the new one.
    What could not even be hashed last time is tried again once it can be.
    """
    if entry is None or entry.read_hash != hash_of_reading:
        return None
    now = stamp(item.path)
    if entry.stamp == now and entry.sha256:
        return entry
    try:
        same = content_hash(item.path) == entry.sha256
    except InputError:  # where it was readable before, reading it will say so
        return None if entry.sha256 else entry
    return replace(entry, stamp=now) if same else None
