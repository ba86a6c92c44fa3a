"""Where things lie in the store, and how their arrays are cut and compressed.

    /                          project, schema
    /inputs/<kind>/<source>    what was read
    /results/<flow>/<method>   one Dataset per method, dimension shard first
    /models/<name>             weights
    /state/<monitor>           counts and detector state
    /quarantine                items set aside, with reasons
    /runs                      one row per run

Small arrays are one chunk. Large ones are cut along their first dimension into chunks of about
16 MiB, so that a shard owns whole chunks. Text is stored with variable length, so a longer
name can be appended later. Consolidated metadata is never written: a snapshot holds it already.
"""

from typing import Any
from urllib.parse import quote

import numpy as np
import xarray as xr
from xarray.coding.strings import create_vlen_dtype
from zarr.codecs import ZstdCodec

from irrev.errors import StoreError

SCHEMA_VERSION = 1
TURNS, ALERTS = "state/monitor/turns", "state/monitor/alerts"  # of the monitor
SENT = "state/monitor/sent"  # which alert went where
COMPARISON = "results/transcripts/alignment_work"  # tuned beside base models
TOPICS = "models/topics"  # one topic model a source, below
VECTORS = (  # where sentence vectors lie, in groups below
    "results/transcripts/embeddings",
    "results/triplets/embeddings",
    "state/monitor/embeddings",
)
PARENTS = ("inputs", "results", "models", "state")  # made with the store: no two writers race
CHUNK_BYTES = 16 * 2**20  # between the 8 and 64 MiB that object stores and laptops both like
WHOLE_BELOW_BYTES = 2 * CHUNK_BYTES  # below this one chunk is read faster than several
ZSTD_LEVEL = 1  # 450 MB/s a process; decimals shrink to a third
TEXT_KINDS = "OUT"


def node_name(text: str) -> str:
    """Make one path component from any text, another one for each: `a/b` becomes `a%2Fb`.

    What the store keeps for itself (no name, dots alone, two underscores first) is escaped too.
    """
    name = quote(text, safe=" +,=@()[]")
    if set(name) == {"."}:
        return name.replace(".", "%2E")
    return f"%5F%5F{name[2:]}" if name.startswith("__") else name or "%"


def chunk_shape(array: xr.DataArray | xr.Variable) -> tuple[int, ...]:
    """Cut an array into chunks.

    Parameters
    ----------
    array
        The array; its first dimension is the one that shards share.

    Returns
    -------
        Chunk lengths, each at least 1.
    """
    shape = tuple(max(1, n) for n in array.shape)
    if not shape:
        return ()
    row_bytes = max(1, array.dtype.itemsize) * int(np.prod(shape[1:], dtype=np.int64))
    if row_bytes * shape[0] < WHOLE_BELOW_BYTES:
        return shape
    return (min(shape[0], max(1, CHUNK_BYTES // row_bytes)), *shape[1:])


def prepared(ds: xr.Dataset) -> tuple[xr.Dataset, dict[str, dict[str, Any]]]:
    """Give a Dataset and the encoding under which it is read back bit for bit.

    Raises
    ------
    StoreError
        If a column of objects holds anything but text.
    """
    variables: dict[str, xr.Variable] = {}
    encoding: dict[str, dict[str, Any]] = {}
    for name in map(str, ds.variables):
        variable = ds.variables[name].to_base_variable().copy(deep=False)
        variable.encoding = {}
        variables[name] = _text(variable, name) if variable.dtype.kind in TEXT_KINDS else variable
        encoding[name] = {"compressors": [ZstdCodec(level=ZSTD_LEVEL)]}
        if variable.ndim:
            encoding[name]["chunks"] = chunk_shape(variable)
        if variable.dtype.kind == "f":
            encoding[name]["_FillValue"] = None  # a fill value would change the bits of NaN
    # without indexes: they are not stored, and take longer to make than all the rest
    coords = xr.Coordinates({str(n): variables.pop(str(n)) for n in ds.coords}, indexes={})
    return xr.Dataset(variables, coords=coords, attrs=ds.attrs), encoding


def _text(variable: xr.Variable, name: str) -> xr.Variable:
    """Turn any kind of text into the object columns that append can lengthen."""
    values = np.asarray(variable.values, dtype=object)
    if wrong := [v for v in values.flat if not isinstance(v, str)]:
        raise StoreError(f"{name} holds {wrong[0]!r} among its text; convert it to text first.")
    # an empty object array says nothing of its type, so it is said in the dtype
    values = values.astype(create_vlen_dtype(str)) if values.size == 0 else values
    return xr.Variable(variable.dims, values, variable.attrs)
