"""Many small Datasets into a session at once, in the form that xarray writes and reads.

xarray's own writer takes 3 to 6 ms an array, nearly all of it in waiting for one document after
another. A small array is two documents: its metadata (`zarr.json` of Zarr version 3) and one
chunk. Here they are composed first and then set together. An array that is large, empty or of a
rare type goes through xarray, with its whole Dataset.
"""

import asyncio
import json
import struct
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from icechunk import IcechunkStore
from numcodecs import Zstd
from xarray.conventions import encode_cf_variable, encode_dataset_coordinates
from zarr.buffer import default_buffer_prototype

from irrev.errors import StoreError
from storage.blob import plain
from storage.layout import TEXT_KINDS, ZSTD_LEVEL, prepared

AT_ONCE = 64  # documents under way at a time; in an object store each one is an upload
SMALL_BYTES = 2**20
NUMBERS = {f"{kind}{size}" for kind in ("int", "uint") for size in (8, 16, 32, 64)}
FLOATS = {"float32", "float64"}
ZSTD = {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}}

PORTION_BYTES = 2**26  # of datasets in memory at once while a version is written
LEAST_BYTES = 2**16  # that a dataset takes, however short its arrays are

Documents: TypeAlias = dict[str, bytes]


def in_portions(content: Mapping[str, xr.Dataset]) -> Iterator[dict[str, xr.Dataset]]:
    """Cut what is to be written into portions that are held in memory one after another."""
    portion: dict[str, xr.Dataset] = {}
    size = 0
    for group, ds in content.items():
        taken = max(ds.nbytes, LEAST_BYTES)
        if portion and size + taken > PORTION_BYTES:
            yield portion
            portion, size = {}, 0
        portion[group] = ds
        size += taken
    if portion:
        yield portion


def write_groups(store: IcechunkStore, content: Mapping[str, xr.Dataset]) -> None:
    """Write Datasets in place of what their groups held; groups below them stay.

    Raises
    ------
    StoreError
        If a column of objects holds anything but text, or an attribute is no JSON.
    """
    ready = {group.strip("/"): prepared(ds) for group, ds in content.items()}
    small: Documents = {}
    large: list[str] = []
    for group, (data, encoding) in ready.items():
        documents = _documents(group, data, encoding)
        small |= documents or {}
        if documents is None:
            large.append(group)
    run(_make_way(store, ready))
    run(_set_all(store, small))
    for group in large:
        data, encoding = ready[group]
        data.to_zarr(
            store,
            group=group,
            mode="a",
            zarr_format=3,
            consolidated=False,
            encoding=encoding,
            write_empty_chunks=True,  # a chunk of -0.0 or of another NaN is not "empty"
        )


# --- documents -----------------------------------------------------------------------------------


def _documents(
    group: str, data: xr.Dataset, encoding: Mapping[str, Mapping[str, Any]]
) -> Documents | None:
    """Compose all documents of a Dataset; None if xarray has to write it."""
    variables, attrs = encode_dataset_coordinates(data)
    out = {f"{group}/zarr.json": _json({**_GROUP, "attributes": attrs}, group)}
    for name, variable in variables.items():
        path = f"{group}/{name}"
        array = _array(variable, path)
        if array is None or encoding[str(name)].get("chunks", ()) != _one_chunk(variable):
            return None
        metadata, chunk = array
        out[f"{path}/zarr.json"] = _json(metadata, path)
        if variable.size:
            out["/".join([path, "c", *("0" * variable.ndim)])] = chunk
    return out


def _one_chunk(variable: xr.Variable) -> tuple[int, ...]:
    """Give the shape of the chunk that holds all of an array; Zarr has no chunk of length 0."""
    return tuple(max(n, 1) for n in variable.shape)


def _array(variable: xr.Variable, path: str) -> tuple[dict[str, Any], bytes] | None:
    """Give metadata and the only chunk of an array, or None if it is not of the simple kind."""
    if variable.nbytes > SMALL_BYTES:
        return None
    if variable.dtype.kind in TEXT_KINDS:
        attrs, codec, payload = variable.attrs, {"name": "vlen-utf8"}, _vlen(variable.values)
        data_type, fill = "string", ""
    else:
        # no fill value is said, or it would become one and change the bits of NaN
        bare = {"_FillValue": None} if variable.dtype.kind == "f" else {}
        encoded = encode_cf_variable(
            xr.Variable(variable.dims, variable.values, variable.attrs, bare), name=path
        )
        values = np.ascontiguousarray(encoded.values)
        data_type = values.dtype.name
        if data_type not in NUMBERS | FLOATS:
            return None
        attrs = encoded.attrs
        codec = {"name": "bytes", "configuration": {"endian": "little"}}
        payload = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        fill = "NaN" if data_type in FLOATS else 0
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": variable.shape,
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": _one_chunk(variable)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": [codec, ZSTD],
        "attributes": attrs,
        "dimension_names": variable.dims,
        "storage_transformers": [],
    }
    return metadata, Zstd(level=ZSTD_LEVEL).encode(payload)


_GROUP = {"zarr_format": 3, "node_type": "group"}


def _json(document: Mapping[str, Any], path: str) -> bytes:
    try:
        return json.dumps(document, default=plain, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise StoreError(f"{path}: an attribute is no JSON: {error}; convert it.") from None


def _vlen(texts: np.ndarray[Any, Any]) -> bytes:
    """Write the number of texts, then each with its length in bytes before it."""
    encoded = [str(text).encode() for text in texts.ravel().tolist()]
    parts = [struct.pack("<I", len(encoded))]
    for text in encoded:
        parts += [struct.pack("<I", len(text)), text]
    return b"".join(parts)


# --- the session ---------------------------------------------------------------------------------


async def _make_way(store: IcechunkStore, groups: Iterable[str]) -> None:
    """Empty the groups that are there, and make those that are missing with their parents."""
    groups = list(groups)
    await asyncio.gather(*(_empty(store, group) for group in groups))
    above = {
        "/".join(parts[:n]) for g in groups for parts in [g.split("/")] for n in range(len(parts))
    }
    for group in sorted({*above, *groups}):
        path = f"{group}/zarr.json".lstrip("/")
        if not await store.exists(path):
            await _set(store, path, _json(_GROUP, group))


async def _empty(store: IcechunkStore, group: str) -> None:
    """Delete the arrays of a group, and its attributes."""
    if not await store.exists(f"{group}/zarr.json"):
        return
    names = [name async for name in store.list_dir(group) if name != "zarr.json"]
    kinds = await asyncio.gather(*(_node_type(store, f"{group}/{name}") for name in names))
    arrays = [
        f"{group}/{name}" for name, kind in zip(names, kinds, strict=True) if kind == "array"
    ]
    if len(arrays) == len(names):
        await store.delete_dir(group)
        return
    await asyncio.gather(*(store.delete_dir(path) for path in arrays))
    await _set(store, f"{group}/zarr.json", _json(_GROUP, group))


async def _node_type(store: IcechunkStore, path: str) -> str:
    document = await store.get(f"{path}/zarr.json", default_buffer_prototype())
    return "" if document is None else json.loads(document.to_bytes())["node_type"]


async def _set_all(store: IcechunkStore, documents: Documents) -> None:
    """Set metadata before chunks, many at a time."""
    ordered = sorted(documents, key=lambda path: not path.endswith("zarr.json"))
    metadata = [p for p in ordered if p.endswith("zarr.json")]
    for paths in (metadata, ordered[len(metadata) :]):
        for start in range(0, len(paths), AT_ONCE):
            batch = paths[start : start + AT_ONCE]
            await asyncio.gather(*(_set(store, path, documents[path]) for path in batch))


async def _set(store: IcechunkStore, path: str, content: bytes) -> None:
    await store.set(path, default_buffer_prototype().buffer.from_bytes(content))


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, also where an event loop is running already."""
    errors: list[BaseException] = []

    def body() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:  # raised below, in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
