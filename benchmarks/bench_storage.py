"""Cost of the store: opening, committing, keeping unpublished work, publishing many small parts.

Floors, measured in the same run: a bare Icechunk commit of one number without lock, and xarray's
own writer for the same groups.
"""

import hashlib
import itertools

import icechunk as ic
import numpy as np
import pytest
import xarray as xr
import zarr

from storage.pending import Pending
from storage.repository import Repository, StoreRef

COUNTER = itertools.count()


@pytest.fixture
def repo(tmp_path):
    return Repository.open(StoreRef(str(tmp_path / "results")), create=True)


def row(n_shards=1):
    """A result table of 40 columns, as wide as the widest of ours."""
    shard = np.array([f"recording-{i}:wake" for i in range(n_shards)], dtype=object)
    numbers = {f"value_{k}": ("shard", np.full(n_shards, 0.1 * k)) for k in range(32)}
    texts = {f"text_{k}": ("shard", shard) for k in range(7)}
    null = {"null_value": (("shard", "draw"), np.random.default_rng(0).random((n_shards, 200)))}
    return xr.Dataset(numbers | texts | null, coords={"shard": shard})


def couplings(n_units=15):
    """The coupling matrices of one shard."""
    units = np.array([f"unit {i}" for i in range(n_units)], dtype=object)
    matrix = np.random.default_rng(0).random((n_units, n_units))
    return xr.Dataset(
        dict.fromkeys(("theta", "share"), (("unit_to", "unit_from"), matrix)),
        coords={"unit_to": units, "unit_from": units},
    )


def key(i):
    return hashlib.sha256(str(i).encode()).hexdigest()


@pytest.mark.parametrize("n_versions", [1, 100])
def test_open(benchmark, repo, n_versions):
    for i in range(n_versions):
        repo.commit({"results/x/y": couplings(2)}, message=str(i), metadata={})
    benchmark(Repository.open, repo.ref)


@pytest.mark.parametrize("n_versions", [1, 100])
def test_log(benchmark, repo, n_versions):
    for i in range(n_versions):
        repo.commit({"results/x/y": couplings(2)}, message=str(i), metadata={})
    assert len(benchmark(repo.log)) == n_versions


def test_commit_floor(benchmark, tmp_path):
    """Icechunk alone: one number, no lock, one writer."""
    bare = ic.Repository.create(ic.local_filesystem_storage(str(tmp_path / "bare")))

    def commit():
        session = bare.writable_session("main")
        zarr.create_array(session.store, name=f"v{next(COUNTER)}", shape=(), dtype="f8")
        session.commit("m")

    benchmark(commit)


@pytest.mark.parametrize("n_shards", [2, 1000])
def test_commit_table(benchmark, repo, n_shards):
    table = row(n_shards)
    benchmark(lambda: repo.commit({"results/a/b": table}, message="m", metadata={}))


@pytest.mark.parametrize("n_groups", [10, 1000])
def test_commit_parts(benchmark, repo, n_groups):
    parts = {f"results/spikes/couplings/s{i}/wake": couplings() for i in range(n_groups)}
    run = lambda: repo.commit(parts, message="m", metadata={})  # noqa: E731
    benchmark.pedantic(run, rounds=2 if n_groups > 100 else 5)


def test_commit_parts_floor(benchmark, repo):
    """The ten groups of `test_commit_parts` through xarray's own writer."""
    parts = {f"results/spikes/couplings/s{i}/wake": couplings() for i in range(10)}

    def commit():
        session = repo.ic.writable_session("main")
        for group, ds in parts.items():
            ds.to_zarr(session.store, group=group, mode="w", zarr_format=3, consolidated=False)
        session.commit("m")

    benchmark.pedantic(commit, rounds=5)


@pytest.mark.parametrize("n_keys", [10, 1000])
def test_pending_put(benchmark, repo, n_keys):
    pending = Pending(repo)
    table = row()

    def put():
        first = next(COUNTER) * n_keys
        pending.put({key(first + i): {"row": table} for i in range(n_keys)})

    benchmark.pedantic(put, rounds=5)


@pytest.mark.parametrize("n_puts", [1, 100])
def test_pending_keys(benchmark, repo, n_puts):
    """A thousand keys in one put and in a hundred."""
    per_put = 1000 // n_puts
    table = row()
    for p in range(n_puts):
        keys = [key(p * per_put + i) for i in range(per_put)]
        Pending(repo).put({k: {"row": table} for k in keys})
    assert len(benchmark(lambda: Pending(repo).keys())) == 1000


@pytest.mark.parametrize("n_keys", [10, 1000])
def test_pending_load(benchmark, repo, n_keys):
    keys = [key(i) for i in range(n_keys)]
    Pending(repo).put({k: {"row": row()} for k in keys})
    run = lambda: len(list(Pending(repo).load(keys)))  # noqa: E731
    assert benchmark.pedantic(run, rounds=2) == n_keys
