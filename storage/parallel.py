"""One large array written by many workers, seen by readers in one commit.

The layout is made first, on a branch that nobody reads; each worker fills its own region of it
in a fork of that session; the forks are merged and the branch's tip becomes the new version.
Two forks that write one chunk overwrite each other unseen, so regions must own whole chunks:
that is checked before any work starts.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import icechunk as ic
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from irrev.errors import StoreError
from storage import versions
from storage.backend import MEMORY, lock_of, one_line_errors
from storage.commits import transact
from storage.groups import write_groups
from storage.layout import TEXT_KINDS, ZSTD_LEVEL, chunk_shape
from storage.leases import at_work
from storage.repository import Repository
from storage.versions import JSON

BRANCH = "writing."


@dataclass(frozen=True, slots=True)
class Region:
    """Indices [start, stop) along the first dimension of one variable of one group."""

    group: str
    variable: str
    start: int
    stop: int

    def __str__(self) -> str:
        return f"{self.group}/{self.variable}[{self.start}:{self.stop}]"


@dataclass(frozen=True)
class Job:
    """What one worker does: compute the values of its regions."""

    regions: tuple[Region, ...]
    body: Callable[..., Sequence[NDArray[Any]]]  # module-level; one array for each region
    args: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Task:
    """A job with the session it writes into: a fork, which pickles, or for memory the session."""

    job: Job
    session: ic.Session

    def __getstate__(self) -> dict[str, Any]:
        if not isinstance(self.session, ic.ForkSession):
            raise StoreError("a memory: store cannot be written by processes; use a folder or S3.")
        return self.__dict__


Run = Callable[[Callable[[Task], ic.Session], Sequence[Task]], Iterable[ic.Session]]


def parallel_write(
    repo: Repository,
    layout: Mapping[str, xr.Dataset],
    jobs: Sequence[Job],
    *,
    message: str,
    metadata: Mapping[str, JSON],
    run: Run = map,
) -> str:
    """Replace groups whose large variables are filled by many workers, in one version.

    Parameters
    ----------
    repo
        The store.
    layout
        Dataset by group. Variables that a region names are made but not written, so a template
        such as `np.broadcast_to(np.float64(0), shape)` costs no memory; all others are written.
        Chunks are those of `encoding["chunks"]`, else those of `chunk_shape`.
    jobs
        The work; together their regions cover every variable that they name.
    message, metadata
        Of the commit.
    run
        Applies a function to all tasks, here or on workers, and gives what it returns.

    Returns
    -------
        Id of the new version.

    Raises
    ------
    StoreError
        Before any work: if regions overlap, leave a gap, cut a chunk or lie outside.
    """
    check_regions(layout, [region for job in jobs for region in job.regions])
    filled = {(r.group, r.variable) for job in jobs for r in job.regions}
    with one_line_errors(repo.ref), at_work(repo), _own_branch(repo) as (branch, base):
        side = Repository(repo.ref.on(branch), repo.ic)

        def make(session: ic.Session) -> bool:
            _make_layout(session, layout, filled)
            return True

        _transact(side, make, "Lay out", {versions.INTERNAL: "layout"})
        session = repo.ic.writable_session(branch)
        in_memory = repo.ref.url.startswith(MEMORY)  # a fork of it would be an empty store
        tasks = [Task(job, session if in_memory else session.fork()) for job in jobs]
        done = list(run(fill, tasks))
        session.merge(*(fork for fork in done if isinstance(fork, ic.ForkSession)))
        new = session.commit(message, metadata=dict(metadata))
        return _publish(repo, base, new, layout, filled, message, metadata)


def fill(task: Task) -> ic.Session:
    """Compute one job and write it into its fork; this runs on a worker."""
    results = task.job.body(*task.job.args)
    for region, values in zip(task.job.regions, results, strict=True):
        array = zarr.open_array(
            task.session.store, path=f"{region.group}/{region.variable}", mode="r+"
        )
        expected = (region.stop - region.start, *array.shape[1:])
        if values.shape != expected:
            raise StoreError(f"{region} got values of shape {values.shape}, expected {expected}.")
        array[region.start : region.stop] = values
    return task.session


# --- the plan ------------------------------------------------------------------------------------


def check_regions(layout: Mapping[str, xr.Dataset], regions: Iterable[Region]) -> None:
    """Refuse a plan in which workers could overwrite each other or forget a part.

    Raises
    ------
    StoreError
        Naming the first region that overlaps another, cuts a chunk, or lies outside, and the
        first gap.
    """
    planned: dict[tuple[str, str], list[Region]] = {}
    for region in regions:
        planned.setdefault((region.group, region.variable), []).append(region)
    for (group, variable), parts in planned.items():
        if group not in layout or variable not in layout[group].variables:
            raise StoreError(f"{parts[0]} is not in the layout; add {variable} to {group}.")
        _check_variable(layout[group][variable], sorted(parts, key=lambda r: (r.start, r.stop)))


def _check_variable(template: xr.DataArray, regions: Sequence[Region]) -> None:
    if template.dtype.kind in TEXT_KINDS or not template.ndim:
        raise StoreError(f"{regions[0]} is text or a scalar; write it with the layout.")
    length, chunk = template.shape[0], _chunks(template)[0]
    for region in regions:
        if not 0 <= region.start < region.stop <= length:
            raise StoreError(f"{region} is empty or outside of 0:{length}; mend the plan.")
        if region.start % chunk or (region.stop % chunk and region.stop != length):
            raise StoreError(
                f"{region} cuts a chunk of {chunk}; begin and end regions at multiples of it."
            )
    for before, after in pairwise(regions):
        if after.start < before.stop:
            raise StoreError(f"{after} overlaps {before}; each chunk needs one owner.")
    edges = [0, *(r.stop for r in regions)]
    starts = [*(r.start for r in regions), length]
    if gap := next(((a, b) for a, b in zip(edges, starts, strict=True) if a != b), None):
        raise StoreError(f"nobody writes {gap[0]}:{gap[1]} of {regions[0].variable}; plan it.")


def _chunks(template: xr.DataArray) -> tuple[int, ...]:
    return tuple(template.encoding.get("chunks") or chunk_shape(template))


def _make_layout(
    session: ic.Session, layout: Mapping[str, xr.Dataset], filled: set[tuple[str, str]]
) -> None:
    """Write everything but the values that workers fill."""
    empties = {group: [v for g, v in sorted(filled) if g == group] for group in layout}
    write_groups(session.store, {g: ds.drop_vars(empties[g]) for g, ds in layout.items()})
    for group, ds in layout.items():
        node = zarr.open_group(session.store, path=group, mode="r+")
        for name in empties[group]:
            node.create_array(
                name,
                shape=ds[name].shape,
                chunks=_chunks(ds[name]),
                dtype=ds[name].dtype,
                compressors=[ZstdCodec(level=ZSTD_LEVEL)],
                dimension_names=tuple(map(str, ds[name].dims)),
                attributes=cast(Any, dict(ds[name].attrs)),
                config={"write_empty_chunks": True},
            )


# --- the branch ----------------------------------------------------------------------------------


@contextmanager
def _own_branch(repo: Repository) -> Iterator[tuple[str, str]]:
    """Give a branch of our own at the tip, and the tip's id; the branch is gone afterwards."""
    base, branch = repo.resolve(), f"{BRANCH}{uuid.uuid4().hex}"
    with lock_of(repo.ref):
        repo.ic.create_branch(branch, base)
    try:
        yield branch, base
    finally:
        with lock_of(repo.ref):
            repo.ic.delete_branch(branch)


def _transact(
    repo: Repository,
    change: Callable[[ic.Session], bool],
    message: str,
    metadata: Mapping[str, JSON],
) -> str:
    return transact(repo.ic, repo.ref, change, message=message, metadata=metadata, owned=None)


def _publish(
    repo: Repository,
    base: str,
    new: str,
    layout: Mapping[str, xr.Dataset],
    filled: set[tuple[str, str]],
    message: str,
    metadata: Mapping[str, JSON],
) -> str:
    """Make the new version the branch's tip; copy it there if others have committed meanwhile."""
    with lock_of(repo.ref):
        try:
            repo.ic.reset_branch(repo.ref.branch, new, from_snapshot_id=base)
        except ic.IcechunkError:
            if repo.resolve() == base:
                raise  # not because of another commit
        else:
            return new
    source = repo.ic.readonly_session(snapshot_id=new).store

    def copy(session: ic.Session) -> bool:
        _make_layout(session, layout, filled)
        for group, name in sorted(filled):
            path = f"{group}/{name}"
            read = zarr.open_array(source, path=path, mode="r")
            write = zarr.open_array(session.store, path=path, mode="r+")
            step = read.chunks[0]
            for start in range(0, read.shape[0], step):
                write[start : start + step] = np.asarray(read[start : start + step])
        return True

    return _transact(repo, copy, message, metadata)
