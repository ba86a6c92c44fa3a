"""Witness results as rows of kind `timeseries/witness`: one row a shard."""

from collections import Counter

import numpy as np
import xarray as xr

COUNTS = ("n_samples", "n_segments", "n_dropped", "n_missing")


def witness_row(ds: xr.Dataset) -> xr.Dataset:
    """Return one row of kind `timeseries/witness`, without its identity.

    `p` is that of the reversibility of all channels at once; where the set has no rate of its own
    (dependent channels) it is the smallest q_irr of the pairs, which tests the same hypothesis.

    Parameters
    ----------
    ds
        Result of kind `witness`.
    """
    fs = float(ds.attrs["fs"])
    p = float(ds["p_irr_N"])
    if not np.isfinite(p) and np.isfinite(ds["q_irr"]).any():
        p = float(np.nanmin(ds["q_irr"]))
    numbers = {
        **{f"sigma_rate{end}": fs * float(ds[f"sigma_N{end}"]) for end in ("", "_low", "_high")},
        **{f"sigma_N{end}": float(ds[f"sigma_N{end}"]) for end in ("", "_low", "_high")},
        **{f"witness_rate{end}": fs * float(ds[f"W_total{end}"]) for end in ("", "_low", "_high")},
        "p": p,
        "p_total": float(ds["p_total"]),
        "witness_median": _median(ds["W"]),
        "irr_fraction": _median(ds["irr_fraction"]),
        "fs": fs,
    }
    counts = {
        **{name: int(ds.attrs[name]) for name in COUNTS},
        "n_channels": int(ds["set_channels"]),
        "n_pairs": int(np.isfinite(ds["q"]).sum()),
        "n_dependent": int(ds["reject"].sum()),
        "n_irreversible": int(ds["reject_irr"].sum()),
    }
    texts = {
        "set_status": str(ds["set_status"].item()),
        "assumption": str(ds.attrs["assumption"]),
        "notes": _notes(ds),
    }
    return xr.Dataset(
        {
            **{name: ("shard", np.array([v], np.float64)) for name, v in numbers.items()},
            **{name: ("shard", np.array([v], np.int64)) for name, v in counts.items()},
            **{name: ("shard", np.array([v], object)) for name, v in texts.items()},
        },
        attrs={"level": float(ds.attrs["level"])},
    )


def _median(values: xr.DataArray) -> float:
    finite = values.to_numpy()[np.isfinite(values.to_numpy())]
    return float(np.median(finite)) if finite.size else float("nan")


def _notes(ds: xr.Dataset) -> str:
    """Count the warnings of all pairs: `one_band 3/66; rank`."""
    n = ds.sizes["pair"]
    flags = Counter(f for s in ds["status"].to_numpy() if s != "ok" for f in str(s).split(";"))
    notes = [f"{name} {count}/{n}" for name, count in sorted(flags.items())]
    status = str(ds["set_status"].item())
    return "; ".join(notes if status == "ok" else [status, *notes])
