"""Result tables: rows from workers -> one Dataset along `shard`, in a stable order.

Rows may differ in the length of their other dimensions (iterations, draws); shorter ones are
padded with NaN, empty text or zero.
"""

from collections.abc import Collection, Sequence

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
    old: xr.Dataset | None, new: Sequence[xr.Dataset], gone: Collection[str]
) -> xr.Dataset | None:
    """Put new rows beside the old ones.

    Parameters
    ----------
    old
        Table as stored, or None.
    new
        Rows of this run; they replace old rows of the same shard.
    gone
        Shards whose old rows leave.

    Returns
    -------
        The new table, sorted by the shard's name; None if there is no row at all.
    """
    rows = list(new)
    fresh = {str(name) for row in rows for name in row["shard"].to_numpy()}
    if old is not None:
        names = old["shard"].to_numpy().astype(str)
        stays = np.array([n not in gone and n not in fresh for n in names], dtype=bool)
        rows.insert(0, old.isel(shard=np.flatnonzero(stays)).load())
    if not rows:
        return None
    table = stack_rows(rows)
    return table.isel(shard=np.argsort(table["shard"].to_numpy().astype(str), kind="stable"))


def merge_table(
    old: xr.Dataset | None, new: xr.Dataset, *, by: str, gone: Collection[str]
) -> xr.Dataset:
    """Put rows of a table of text beside the old ones of other names.

    Parameters
    ----------
    old, new
        Tables along one dimension with the same columns.
    by
        Column that names a row; a new row replaces old ones of its name.
    gone
        Names whose old rows leave.
    """
    if old is None:
        return new
    (dim,) = new[by].dims
    drop = {*gone, *map(str, new[by].to_numpy())}
    stays = np.array([str(name) not in drop for name in old[by].to_numpy()], dtype=bool)
    kept = old.isel({dim: np.flatnonzero(stays)}).load()
    columns = {
        str(name): np.concatenate([kept[name].to_numpy(), new[name].to_numpy()]).astype(object)
        for name in new.variables
    }
    order = np.argsort(columns[by].astype(str), kind="stable")
    return xr.Dataset({name: (dim, values[order]) for name, values in columns.items()})
