"""Ensembles of any size: simulated into the store by many workers, and learned from there.

A worker holds one block of trajectories at full length; nothing else grows with the size of the
ensemble. The noise of a block is keyed by (seed, block), and sums are merged in the order of the
blocks, so the numbers do not depend on the workers, their number, or how blocks are dealt to them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import starmap
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.ep.learn_blocks import learn_blocks
from irrev.ep.learned import LearnedEp
from irrev.ep.steps import Tracks, tracks_from
from irrev.simulate.chains import Chain, stream
from irrev.simulate.noise import BLOCK, blocks
from storage.parallel import Job, Region, Run, Task, parallel_write
from storage.repository import JSON, Repository, StoreRef
from tasks.cluster import crew

CHUNK_TIMES = 4096  # recorded times of a chunk: 64 MiB a component for a full block, float32


def write_ensemble(
    repo: Repository,
    chain: Chain,
    *,
    group: str,
    n_trajectories: int,
    n_steps: int,
    seed: int,
    every: int = 1,
    block_size: int = BLOCK,
    blocks_per_job: int = 1,
    dtype: str = "float32",
    message: str = "Simulate an ensemble",
    metadata: Mapping[str, JSON] | None = None,
    run: Run | None = None,
) -> str:
    """Simulate an ensemble into a group of the store; return the version.

    Parameters
    ----------
    repo
        The store; a folder or S3 where `run` uses processes.
    chain
        From `irrev.simulate.langevin` or `irrev.simulate.ou`; it is sent to the workers.
    group
        Group that will hold `x` (trajectory, time, component) and the attributes dt and seed.
    n_trajectories, n_steps, seed, every, block_size
        Of `irrev.simulate.chains.stream`; the block size is part of the seed.
    blocks_per_job
        Blocks that one job simulates one after another. A job's memory is its blocks at their
        full length, `blocks_per_job * block_size * n_steps / every * dim` numbers of `dtype`.
    dtype
        Of the stored numbers; they are computed in float64.
    message, metadata
        Of the commit.
    run
        Applies a function to all jobs; default: on the Dask workers if there are any, else here.
    """
    every_block = blocks(n_trajectories, size=block_size)
    n_times = n_steps // every + 1
    shape = (n_trajectories, n_times, chain.dim)
    template = xr.Dataset(
        {"x": (("trajectory", "time", "component"), np.broadcast_to(np.zeros((), dtype), shape))},
        attrs={"dt": chain.dt * every, "seed": seed, "block_size": block_size},
    )
    template["x"].encoding["chunks"] = (
        min(block_size, n_trajectories), min(CHUNK_TIMES, n_times), chain.dim,
    )  # fmt: skip
    jobs = []
    for first in range(0, len(every_block), blocks_per_job):
        mine = every_block[first : first + blocks_per_job]
        regions = (Region(group, "x", mine[0].start, mine[-1].stop),)
        only = tuple(block.index for block in mine)
        options = {
            "n_trajectories": n_trajectories, "n_steps": n_steps, "seed": seed,
            "every": every, "block_size": block_size,
        }  # fmt: skip
        jobs.append(Job(regions, simulate_blocks, (chain, only, options, dtype)))
    return parallel_write(
        repo,
        {group: template},
        jobs,
        message=message,
        metadata=metadata or {},
        run=run or everywhere,
    )


def simulate_blocks(
    chain: Chain, only: Sequence[int], options: Mapping[str, Any], dtype: str
) -> list[NDArray[Any]]:
    """Simulate some blocks; this runs on a worker."""
    pieces = stream(chain, only=only, **options)
    first = blocks(options["n_trajectories"], size=options["block_size"])[only[0]].start
    last = blocks(options["n_trajectories"], size=options["block_size"])[only[-1]].stop
    times = options["n_steps"] // options["every"] + 1
    out = np.empty((last - first, times, chain.dim), dtype=dtype)
    for piece in pieces:
        rows = slice(piece.block.start - first, piece.block.stop - first)
        out[rows, piece.time : piece.time + piece.x.shape[1]] = piece.x
    return [out]


def everywhere(fill: Callable[[Task], Any], tasks: Sequence[Task]) -> Iterable[Any]:
    """Run jobs on the Dask workers if there are any, else one after the other here."""
    workers = crew()
    return map(fill, tasks) if workers is None else workers.map(fill, [(task,) for task in tasks])


def learn_ensemble(
    ref: StoreRef,
    group: str,
    *,
    at: str | None = None,
    block_size: int | None = None,
    **options: Any,
) -> LearnedEp:
    """Learn the entropy production of a stored ensemble on all workers, block by block.

    Parameters
    ----------
    ref
        The store.
    group
        Group that `write_ensemble` wrote.
    at
        Version; default: the newest.
    block_size
        Trajectories that a worker holds; default: those of a block of the ensemble.
    **options
        Of `irrev.ep.learn_blocks.learn_blocks`.
    """
    repo = Repository.open(ref)
    version = repo.resolve(at)
    ds = repo.read(group, at=version)
    size = block_size or int(ds.attrs["block_size"])
    load = partial(load_block, ref, group, version, size, float(ds.attrs["dt"]))
    return learn_blocks(load, -(-ds.sizes["trajectory"] // size), run=_spread, **options)


def load_block(ref: StoreRef, group: str, at: str, size: int, dt: float, b: int) -> Tracks:
    """Read one block of a stored ensemble; this runs on a worker."""
    x = Repository.open(ref).read(group, at=at)["x"][b * size : (b + 1) * size]
    return tracks_from(x.to_numpy().astype(np.float64), dt=dt)


def _spread(work: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> Iterable[Any]:
    workers = crew()
    return starmap(work, args) if workers is None else workers.map(work, args)
