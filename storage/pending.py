"""Work that is finished but not yet published, so that a killed run loses nothing.

One run is one commit on its branch, made at its end. Until then finished items lie on a branch
of their own, `pending`, under a key made of their content (`storage.lookup.content_key`): a
later run finds them there and does not compute them again. All items of one put are one array
of bytes (`storage.blob`) and one commit; a put that was killed is not there at all.

    /pending/<put>      uint8 along `byte`: a table (JSON: key -> group -> [start, stop]), then
                        the Datasets; attributes: `table`, its length; `written`, when (UTC);
                        `dropped`, keys
"""

import json
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast

import icechunk as ic
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from irrev.errors import StoreError
from storage import blob, versions
from storage.backend import lock_of, one_line_errors
from storage.commits import transact
from storage.layout import ZSTD_LEVEL
from storage.repository import Repository

BRANCH = "pending"
CHUNK_BYTES = 2**20  # one item is read without much around it
Table: TypeAlias = dict[str, dict[str, tuple[int, int]]]
Bytes: TypeAlias = zarr.Array[Any]


class Pending:
    """Finished items by key; works for all kinds of store."""

    def __init__(self, repo: Repository) -> None:
        self._ref = repo.ref.on(BRANCH)
        self._ic = repo.ic
        self._known: dict[str, Table] = {}

    def put(self, items: Mapping[str, Mapping[str, xr.Dataset]]) -> None:
        """Keep items: key -> {group: Dataset}; one commit for all of them."""
        if not items:
            return
        table_bytes, payload = _pack(items)

        def change(session: ic.Session) -> bool:
            group = zarr.open_group(session.store, path=BRANCH, mode="a", zarr_format=3)
            array = group.create_array(
                uuid.uuid4().hex,
                shape=payload.shape,
                chunks=(min(CHUNK_BYTES, payload.size),),
                dtype="uint8",
                compressors=[ZstdCodec(level=ZSTD_LEVEL)],
                dimension_names=("byte",),
                attributes={"table": table_bytes, "written": datetime.now(UTC).isoformat()},
            )
            array[:] = payload
            return True

        self._commit(change, f"{len(items)} finished", owned=[])

    def keys(self) -> set[str]:
        """Name the items that are kept."""
        with one_line_errors(self._ref):
            return {key for _, table in self._puts(None) for key in table}

    def snapshot(self) -> str:
        """Give the id of the present state, for workers that read from it."""
        with one_line_errors(self._ref):
            self._begin()
            return self._ic.lookup_branch(BRANCH)

    def get(self, key: str, *, at: str | None = None) -> dict[str, xr.Dataset]:
        """Read one item.

        Parameters
        ----------
        key
            As it was put.
        at
            A `snapshot`; the present state by default.

        Raises
        ------
        StoreError
            If there is no such item.
        """
        with one_line_errors(self._ref):
            for name in [name for name, table in self._known.items() if key in table]:
                if (array := self._open(name, at)) is not None and key not in _dropped(array):
                    return _item(array, self._known[name][key])
        for _, datasets in self.load([key], at=at):
            return datasets
        raise StoreError(f"{self._ref.url}: nothing pending under {key}; compute it again.")

    def load(
        self, keys: Iterable[str], *, at: str | None = None, part: str = ""
    ) -> Iterator[tuple[str, dict[str, xr.Dataset]]]:
        """Read many items, put by put; faster than one `get` each. Absent keys are left out.

        With `part` only the Dataset of that name is decoded.
        """
        wanted = set(keys)
        with one_line_errors(self._ref):
            for array, table in self._puts(at):
                hit = sorted(wanted & table.keys())
                # many items of a put: one read of all of it, which is no more than was put at once
                body = _bytes(array, 0, array.shape[0]) if len(hit) > 1 else None
                for key in hit:
                    places = {part: table[key][part]} if part else table[key]
                    yield key, _item(array, places, body)
                wanted -= table.keys()
                if not wanted:
                    return

    def older_than(self, moment: datetime) -> set[str]:
        """Name the items that were put before a moment."""
        with one_line_errors(self._ref):
            return {
                key
                for array, table in self._puts(None)
                if datetime.fromisoformat(str(array.attrs["written"])) < moment
                for key in table
            }

    def drop(self, keys: Collection[str]) -> None:
        """Forget items, after they were published; unknown keys are passed over."""
        gone = set(keys) & self.keys()
        if not gone:
            return

        def change(session: ic.Session) -> bool:
            hit = [(a, table) for a, table in self._tables(session) if gone & table.keys()]
            root = zarr.open_group(session.store, mode="r+")
            for array, table in hit:
                if table.keys() <= gone:
                    del root[array.path]
                else:
                    dropped = _dropped(array) | (gone & table.keys())
                    root[array.path].attrs["dropped"] = sorted(dropped)
            return bool(hit)

        self._commit(change, f"{len(gone)} dropped", owned=None)

    # --- the branch ----------------------------------------------------------------------------

    def _commit(
        self, change: Callable[[ic.Session], bool], message: str, owned: list[str] | None
    ) -> None:
        with one_line_errors(self._ref):
            self._begin()
            meta = {versions.INTERNAL: BRANCH}
            transact(self._ic, self._ref, change, message=message, metadata=meta, owned=owned)

    def _begin(self) -> None:
        """Make the branch at the root of the history, where no result is, if it is not there."""
        if BRANCH in self._ic.list_branches():
            return
        *_, first = self._ic.ancestry(branch="main")
        try:
            with lock_of(self._ref):
                self._ic.create_branch(BRANCH, first.id)
        except ic.IcechunkError:
            if BRANCH not in self._ic.list_branches():  # else another process was faster
                raise

    def _open(self, name: str, at: str | None) -> Bytes | None:
        """Open one put; None if it is not there any more."""
        snapshot = at or self._ic.lookup_branch(BRANCH)
        store = self._ic.readonly_session(snapshot_id=snapshot).store
        try:
            return zarr.open_array(store, path=f"{BRANCH}/{name}", mode="r")
        except FileNotFoundError:
            return None

    def _puts(self, at: str | None) -> Iterator[tuple[Bytes, Table]]:
        if at is None and BRANCH not in self._ic.list_branches():
            return
        snapshot = at or self._ic.lookup_branch(BRANCH)
        yield from self._tables(self._ic.readonly_session(snapshot_id=snapshot))

    def _tables(self, session: ic.Session) -> Iterator[tuple[Bytes, Table]]:
        """Walk the puts with their tables; a table never changes, so it is read once."""
        try:
            group = zarr.open_group(session.store, path=BRANCH, mode="r")
        except FileNotFoundError:
            return
        for name, array in group.arrays():
            if name not in self._known:
                self._known[name] = json.loads(_bytes(array, 0, _table_bytes(array)))
            dropped = _dropped(array)
            yield array, {k: v for k, v in self._known[name].items() if k not in dropped}


def _pack(items: Mapping[str, Mapping[str, xr.Dataset]]) -> tuple[int, NDArray[np.uint8]]:
    """Lay items one after another behind their table; give the table's length and all bytes."""
    blobs: list[bytes] = []
    table: Table = {}
    offset = 0
    for key, datasets in items.items():
        table[key] = {}
        for group, ds in datasets.items():
            blobs.append(blob.encode(ds))
            table[key][group] = (offset, offset + len(blobs[-1]))
            offset += len(blobs[-1])
    head = json.dumps(table).encode()
    return len(head), np.frombuffer(b"".join([head, *blobs]), dtype=np.uint8)


def _item(
    array: Bytes, places: Mapping[str, tuple[int, int]], body: bytes | None = None
) -> dict[str, xr.Dataset]:
    """Read the Datasets of an item, from `body` if the put was read; places follow the table."""
    head = _table_bytes(array)
    found = {}
    for group, (start, stop) in places.items():
        part = slice(head + start, head + stop)
        found[group] = blob.decode(body[part] if body else _bytes(array, part.start, part.stop))
    return found


def _bytes(array: Bytes, start: int, stop: int) -> bytes:
    return np.asarray(array[start:stop]).tobytes()


def _table_bytes(array: Bytes) -> int:
    return cast(int, array.attrs["table"])


def _dropped(array: Bytes) -> set[str]:
    return set(cast(list[str], array.attrs.get("dropped", [])))
