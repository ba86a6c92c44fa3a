"""From p-values to verdicts: false-discovery control over all results of a run."""

import numpy as np
import xarray as xr

from irrev.stats import benjamini_hochberg


def decide(ds: xr.Dataset, *, fdr: float) -> xr.Dataset:
    """Add the adjusted p-value `q` and the verdict `significant` to a result table.

    Parameters
    ----------
    ds
        Results with `status` and, where there is a test, `p` along `shard`; without `p` the table
        is returned as it is.
    fdr
        False-discovery rate over the results that are done, in (0, 1).

    Returns
    -------
        The table with `q` (NaN where there is no result) and `significant`; attribute `fdr`.
    """
    if "p" not in ds:
        return ds
    done = ds["status"].to_numpy().astype(str) == "done"
    q = benjamini_hochberg(np.where(done, ds["p"].to_numpy(), np.nan))
    out = ds.assign(q=("shard", q), significant=("shard", np.nan_to_num(q, nan=1.0) <= fdr))
    return out.assign_attrs(fdr=fdr)


def verdict(ds: xr.Dataset, i: int) -> str:
    """Say in words what row `i` of a decided result table shows.

    Examples
    --------
    >>> ds = xr.Dataset({"p": ("shard", [0.2]), "status": ("shard", ["done"])})
    >>> verdict(decide(ds, fdr=0.05), 0)
    'not significant'
    """
    status = str(ds["status"].to_numpy()[i])
    if status != "done":
        return status
    if "significant" not in ds:
        return status
    if not bool(ds["significant"].to_numpy()[i]):
        return "not significant"
    words = f"significant (FDR {100 * ds.attrs['fdr']:g} %)"
    low = f"{ds.attrs.get('value', '')}_low"
    if low in ds and float(ds[low].to_numpy()[i]) <= 0:
        words += ", size not resolved"  # the interval of the value reaches zero
    return words
