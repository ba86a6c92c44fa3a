"""Where a worker finds an input: in the scratch while it is new, else in the branch."""

from functools import lru_cache

import xarray as xr

from storage.pending import Pending
from storage.repository import Repository, StoreRef

SCRATCH = "pending:"


def scratch_place(key: str) -> str:
    """Return the place of data that wait in the scratch under `key`."""
    return SCRATCH + key


def part_name(number: int) -> str:
    """Return the name of a part of the rows of a large input: below its group, after its key."""
    return f"rows-{number:05d}"


def part_key(key: str, number: int) -> str:
    """Return the key in the scratch of a part of an input."""
    return f"{key}-{part_name(number)}"


def part_place(place: str, number: int) -> str:
    """Return the place of a part of an input, as `load_input` takes it."""
    between = "-" if place.startswith(SCRATCH) else "/"
    return f"{place}{between}{part_name(number)}"


def load_input(ref: StoreRef, place: str, at: str) -> xr.Dataset:
    """Read the data of an input into memory.

    Parameters
    ----------
    ref
        The store.
    place
        A group of the branch, or a `scratch_place`.
    at
        Snapshot of the branch, or of the scratch.
    """
    return open_input(ref, place, at).load()


def open_input(ref: StoreRef, place: str, at: str) -> xr.Dataset:
    """Open the data of an input; numbers of the branch are read where they are used."""
    repo, scratch = opened(ref)
    if place.startswith(SCRATCH):
        return scratch.get(place.removeprefix(SCRATCH), at=at)["data"]
    return repo.read(place, at=at)


@lru_cache(maxsize=4)
def opened(ref: StoreRef) -> tuple[Repository, Pending]:
    """Keep the store open in a worker: opening and listing it cost more than a read."""
    repo = Repository.open(ref)
    return repo, Pending(repo)
