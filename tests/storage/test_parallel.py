import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr

from irrev.errors import StoreError
from storage.parallel import Job, Region, check_regions, parallel_write
from storage.repository import Repository
from tests.storage import fillers
from tests.storage.conftest import make_table

GROUP = "results/big"
N, WIDTH, CHUNK = 12, 5, 3


def template(**attrs):
    array = xr.DataArray(
        np.broadcast_to(np.float64(0), (N, WIDTH)), dims=("shard", "x"), attrs=attrs
    )
    array.encoding["chunks"] = (CHUNK, WIDTH)
    names = xr.DataArray(np.array([f"s{i}" for i in range(N)], dtype=object), dims="shard")
    return xr.Dataset({"value": array}, coords={"shard": names}, attrs={"method": "m"})


def jobs(body, step=CHUNK):
    return [
        Job((Region(GROUP, "value", i, min(i + step, N)),), body, (i, min(i + step, N), WIDTH))
        for i in range(0, N, step)
    ]


def write(repo, run=map, body=fillers.rows, step=CHUNK):
    return parallel_write(
        repo,
        {GROUP: template(units="nat")},
        jobs(body, step),
        message="big",
        metadata={"run_id": "r"},
        run=run,
    )


def assert_filled(repo):
    ds = repo.read(GROUP).load()
    assert ds["value"].to_numpy().tolist() == fillers.rows(0, N, WIDTH)[0].tolist()
    assert ds["value"].attrs == {"units": "nat"}
    assert ds["value"].dims == ("shard", "x")
    assert ds["shard"].to_numpy().tolist() == [f"s{i}" for i in range(N)]


# --- writing -------------------------------------------------------------------------------------


def test_parallel_write__merges_threads_into_one_version(repo, table):
    repo.commit({"results/old": table}, message="before", metadata={})
    with ThreadPoolExecutor(4) as pool:
        version = write(repo, pool.map)
    assert_filled(repo)
    assert repo.log()[0].id == version
    assert [v.message for v in repo.log()] == ["big", "before"]
    assert repo.ic.list_branches() == {"main"}
    assert repo.has("results/old")


def test_parallel_write__merges_processes_into_one_version(folder):
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        write(folder, pool.map)
    assert_filled(Repository.open(folder.ref))


def test_parallel_write__takes_regions_of_several_chunks(repo):
    write(repo, step=2 * CHUNK)
    assert_filled(repo)


def test_parallel_write__keeps_what_others_committed_meanwhile(repo):
    """Readers never see an unfinished array, and the other run's commit stays."""

    def run(fill, tasks):
        for task in tasks:
            assert not repo.has(GROUP)
            yield fill(task)
        repo.commit({"results/other": make_table()}, message="other", metadata={})

    write(repo, run)
    assert_filled(repo)
    assert [v.message for v in repo.log()] == ["big", "other"]
    assert repo.log()[0].metadata == {"run_id": "r"}


def test_parallel_write__that_fails_leaves_nothing(repo):
    version = repo.resolve()
    with pytest.raises(ZeroDivisionError):
        write(repo, body=fillers.breaks)
    assert repo.resolve() == version
    assert repo.ic.list_branches() == {"main"}


def test_parallel_write__refuses_values_of_another_shape(repo):
    with pytest.raises(StoreError, match=r"value\[0:3\] got values of shape \(1, 5\)"):
        write(repo, body=fillers.too_short)


def test_parallel_write__refuses_memory_across_processes(repo):
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=spawn) as pool,
        pytest.raises(StoreError, match="memory: store cannot be written by processes"),
    ):
        write(repo, pool.map)


# --- the plan ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ([(0, 6), (3, 12)], r"value\[3:12\] overlaps results/big/value\[0:6\]"),
        ([(0, 12), (0, 12)], "overlaps"),
        ([(0, 4), (4, 12)], r"\[0:4\] cuts a chunk of 3"),
        ([(0, 3), (6, 12)], "nobody writes 3:6 of value"),
        ([(0, 9)], "nobody writes 9:12 of value"),
        ([(3, 12)], "nobody writes 0:3 of value"),
        ([(0, 15)], "outside of 0:12"),
        ([(-3, 12)], "outside of 0:12"),
        ([(0, 12), (3, 3)], "empty"),
    ],
)
def test_check_regions__refuses_before_any_work(repo, bounds, message):
    plan = [Job((Region(GROUP, "value", a, b),), fillers.breaks, (a, b, 1)) for a, b in bounds]
    with pytest.raises(StoreError, match=message):
        parallel_write(repo, {GROUP: template()}, plan, message="m", metadata={})


def test_check_regions__knows_the_layout():
    layout = {GROUP: template()}
    with pytest.raises(StoreError, match="is not in the layout; add other"):
        check_regions(layout, [Region(GROUP, "other", 0, 1)])
    with pytest.raises(StoreError, match="is text or a scalar"):
        check_regions(layout, [Region(GROUP, "shard", 0, N)])


def test_check_regions__takes_a_last_chunk_that_is_short():
    array = xr.DataArray(np.zeros(10), dims="shard")
    array.encoding["chunks"] = (4,)
    layout = {GROUP: xr.Dataset({"value": array})}
    check_regions(layout, [Region(GROUP, "value", 0, 8), Region(GROUP, "value", 8, 10)])
