"""Whether work was done before, and what changed between two versions.

A shard is up to date if its input, the parameters its stage reads, the method's version and the
seed are those stored beside its values, and it did not fail. Equal content has one key, so work
that was finished by a killed run is found again.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from irrev.errors import StoreError
from storage.versions import JSON

HASH_SHOWN = 8  # characters of a hash in a reason
FAILED = "failed"
UNSET = "(unset)"

SAME = "same"
WITHIN = "changed within the intervals"
MOVED = "moved beyond the intervals"
CHANGED = "changed, no intervals"
ADDED = "added"
REMOVED = "removed"


def canonical_json(value: JSON) -> str:
    """Write JSON in the one form that equal values share: sorted keys, no spaces, no NaN.

    Raises
    ------
    StoreError
        If the value is not JSON, holds NaN or infinity, or has a key that is no text.
    """
    _check_keys(value)
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(f"no content key: {error}; use numbers, text, lists, dicts.") from None


def _check_keys(value: JSON) -> None:
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise StoreError(f"no content key: the key {wrong[0]!r} is no text; convert it.")
        for inner in value.values():
            _check_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_keys(inner)


def content_key(parts: Mapping[str, JSON]) -> str:
    """Name work by what decides its outcome: same key, same numbers.

    Parameters
    ----------
    parts
        For example input hash, parameters, method, version, seed.

    Returns
    -------
        SHA-256 of the canonical JSON, 64 hexadecimal digits.
    """
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


# --- why a shard runs --------------------------------------------------------------------------


def explain(
    stored: Mapping[str, Any] | None, planned: Mapping[str, Any], *, method: str
) -> str | None:
    """Say why a shard has to run.

    Parameters
    ----------
    stored
        Its stored identity: `input_hash, config` (JSON text), `method_version, seed, status,
        error`; numbers may be text. None if there is none.
    planned
        The same of what is planned, without `status` and `error`.
    method
        Name of the method, for the reason's words.

    Returns
    -------
        The reasons, or None if it is up to date.
    """
    if stored is None:
        return "new"
    reasons = [*_changes(stored, planned, method)]
    if stored["status"] == FAILED:
        kind = str(stored["error"]).partition(":")[0].strip()
        reasons.append(f"failed last time ({kind})" if kind else "failed last time")
    return ", ".join(reasons) or None


def _changes(stored: Mapping[str, Any], planned: Mapping[str, Any], method: str) -> Iterator[str]:
    old, new = str(stored["input_hash"]), str(planned["input_hash"])
    if old != new:
        yield f"input changed (sha256 {old[:HASH_SHOWN]} -> {new[:HASH_SHOWN]})"
    if stored["config"] != planned["config"]:
        yield from parameter_changes(_parsed(stored["config"]), _parsed(planned["config"]))
    if str(stored["method_version"]) != str(planned["method_version"]):
        yield f"method {method} {stored['method_version']} -> {planned['method_version']}"
    if str(stored["seed"]) != str(planned["seed"]):
        yield f"seed {stored['seed']} -> {planned['seed']}"


def _parsed(config: str) -> Any:
    try:
        return json.loads(config) if config else {}
    except json.JSONDecodeError:
        return {}


def parameter_changes(old: JSON, new: JSON) -> list[str]:
    """Name the parameters that differ: `parameter ep.folds 5 -> 10`."""
    before, after = dict(_leaves("", old)), dict(_leaves("", new))
    names = [*before, *(name for name in after if name not in before)]
    return [
        f"parameter {name} {before.get(name, UNSET)} -> {after.get(name, UNSET)}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _leaves(path: str, value: JSON) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}" if path else key, inner)
    elif path:
        yield path, json.dumps(value)


# --- what changed between versions ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """One shard in two versions; None where a version has no value."""

    shard: str
    old: float | None
    old_low: float | None
    old_high: float | None
    new: float | None
    new_low: float | None
    new_high: float | None
    change: str  # one of the words above


def compare(a: xr.Dataset | None, b: xr.Dataset | None, value: str) -> list[Difference]:
    """Compare two versions of a result table shard by shard.

    Parameters
    ----------
    a, b
        The older and the newer table, with dimension `shard`; None if a version lacks it.
    value
        Variable to compare; `<value>_low` and `<value>_high` are its interval, if there.

    Returns
    -------
        One row for each shard of either, by name. A value has moved beyond the intervals if
        each one lies outside the interval of the other.
    """
    old, new = _estimates(a, value), _estimates(b, value)
    return [_difference(name, old.get(name), new.get(name)) for name in sorted({*old, *new})]


Estimate = tuple[float | None, float | None, float | None]
NOTHING: Estimate = (None, None, None)


def _estimates(ds: xr.Dataset | None, value: str) -> dict[str, Estimate]:
    if ds is None:
        return {}
    if value not in ds:
        raise StoreError(
            f"the results hold no {value}; choose one of {', '.join(map(str, ds.data_vars))}."
        )
    nothing = np.full(ds.sizes["shard"], np.nan)
    names = (value, f"{value}_low", f"{value}_high")
    columns = [ds[n].to_numpy() if n in ds else nothing for n in names]
    rows = zip(*(map(_finite, column.tolist()) for column in columns), strict=True)
    return dict(zip(map(str, ds["shard"].to_numpy()), rows, strict=True))


def _finite(number: float) -> float | None:
    return None if math.isnan(number) else number


def _difference(shard: str, old: Estimate | None, new: Estimate | None) -> Difference:
    if old is None or new is None:
        change = ADDED if old is None else REMOVED
    else:
        change = _change(old, new)
    return Difference(shard, *(old or NOTHING), *(new or NOTHING), change)


def _change(old: Estimate, new: Estimate) -> str:
    if old[0] == new[0]:
        return SAME if old == new else WITHIN
    if old[0] is None or new[0] is None:
        return "value appeared" if old[0] is None else "value lost"
    if None in (*old, *new):
        return CHANGED
    return MOVED if _outside(new[0], old) and _outside(old[0], new) else WITHIN


def _outside(value: float, estimate: Estimate) -> bool:
    _, low, high = estimate
    return low is not None and high is not None and not low <= value <= high
