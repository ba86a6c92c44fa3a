"""Result tables: rows from workers -> one Dataset along `shard`, in a stable order.

Rows may differ in the length of their other dimensions (iterations, draws); shorter ones are
padded with NaN, empty text or zero.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

FILL = {"f": np.nan, "i": 0, "u": 0, "b": False}


def stack_rows(rows: Sequence[xr.Dataset]) -> xr.Dataset:
    """Join Datasets along `shard`, in the given order.

    Parameters
    ----------
    rows
        Datasets with a dimension `shard`, any number of shards each; a variable that a row lacks
        is filled.

    Returns
    -------
        One Dataset; memory is that of the rows twice.
    """
    sizes: dict[str, int] = {}
    models: dict[str, xr.Variable] = {}
    for row in rows:
        for name, array in row.variables.items():
            models.setdefault(str(name), array)
            for dim, size in zip(array.dims, array.shape, strict=True):
                if dim != "shard":
                    sizes[str(dim)] = max(sizes.get(str(dim), 0), size)
    variables = {name: _stack(name, model, rows, sizes) for name, model in models.items()}
    attrs = dict(rows[0].attrs) if rows else {}
    return xr.Dataset(variables, attrs=attrs)


def _stack(
    name: str, model: xr.Variable, rows: Sequence[xr.Dataset], sizes: dict[str, int]
) -> xr.Variable:
    """Join one variable, padded to the common sizes."""
    kind = model.dtype.kind
    fill = FILL.get(kind, "")
    dtype = model.dtype if kind in FILL else np.dtype(object)
    dims = ("shard", *(d for d in model.dims if d != "shard"))
    shape = tuple(sizes[str(d)] for d in model.dims if d != "shard")
    parts = []
    for row in rows:
        block = np.full((row.sizes["shard"], *shape), fill, dtype=dtype)
        if name in row.variables:
            values = row.variables[name].transpose(*dims).to_numpy()
            block[tuple(slice(0, n) for n in values.shape)] = values
        parts.append(block)
    return xr.Variable(dims, np.concatenate(parts), attrs=model.attrs)


def merge_rows(
    old: xr.Dataset | None, new: Sequence[xr.Dataset], keep: set[str]
) -> xr.Dataset | None:
    """Put new rows beside the old ones that are still planned.

    Parameters
    ----------
    old
        Table as stored, or None.
    new
        Rows of this run; they replace old rows of the same shard.
    keep
        Shards whose old rows stay.

    Returns
    -------
        The new table, sorted by the shard's name; None if there is no row at all.
    """
    rows = list(new)
    fresh = {str(name) for row in rows for name in row["shard"].to_numpy()}
    if old is not None:
        names = old["shard"].to_numpy().astype(str)
        stays = np.array([n in keep and n not in fresh for n in names], dtype=bool)
        rows.insert(0, old.isel(shard=np.flatnonzero(stays)).load())
    if not rows:
        return None
    table = stack_rows(rows)
    return table.isel(shard=np.argsort(table["shard"].to_numpy().astype(str), kind="stable"))
