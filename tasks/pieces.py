"""One shard's work as pieces: thousands of futures in a run, one Prefect task a shard.

Pieces are kept in the store's scratch as they finish, under the shard's key and their name, so a
run that was killed in the middle of a shard goes on from there. They are dropped with the
publication of the shard (`drop_pieces`).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import xarray as xr

from storage.inputs import opened
from storage.repository import StoreRef
from tasks.cluster import as_finished
from tasks.keeping import Keeper

SEPARATOR = "/"  # between the key of a shard and the name of a piece
Result: TypeAlias = dict[str, xr.Dataset]


@dataclass(frozen=True, slots=True)
class Piece:
    """One future: a module-level function and its arguments."""

    name: str  # of what decides its numbers beside the shard's key
    body: Callable[..., Result]
    args: tuple[Any, ...]
    resources: dict[str, float] | None = None


def run_pieces(
    ref: StoreRef, key: str, pieces: Sequence[Piece], *, timeout_s: float
) -> dict[str, Result]:
    """Compute the pieces of a shard that are not in the scratch; return all by name.

    Parameters
    ----------
    ref
        The store.
    key
        Content key of the shard.
    pieces
        The work; names are unique.
    timeout_s
        Limit of the wait for each next piece.
    """
    _, scratch = opened(ref)
    names = {f"{key}{SEPARATOR}{p.name}": p for p in pieces}
    kept = scratch.keys() & names.keys()
    found = {names[k].name: result for k, result in scratch.load(kept)}
    todo = [p for p in pieces if p.name not in found]
    with Keeper(scratch) as keeper:
        for name, result in as_finished(_calls(todo), timeout_s=timeout_s):
            keeper.add(f"{key}{SEPARATOR}{name}", result)
            found[name] = result
    return {p.name: found[p.name] for p in pieces}


def _calls(
    pieces: Sequence[Piece],
) -> list[tuple[str, Callable[..., Result], tuple[Any, ...], dict[str, float] | None]]:
    return [(p.name, p.body, p.args, p.resources) for p in pieces]


def drop_pieces(ref: StoreRef, keys: Collection[str]) -> None:
    """Forget the pieces of shards that are published."""
    if not keys:
        return
    _, scratch = opened(ref)
    scratch.drop([k for k in sorted(scratch.keys()) if k.partition(SEPARATOR)[0] in keys])
