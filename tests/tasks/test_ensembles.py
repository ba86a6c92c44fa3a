"""Ensembles in the store: one version, the same bits whoever simulates which blocks."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from irrev.simulate.chains import simulate
from irrev.simulate.langevin import euler_maruyama
from irrev.simulate.systems import Ring, rotation
from storage.repository import Repository, StoreRef
from tasks.cluster import use_client
from tasks.ensembles import learn_ensemble, write_ensemble

CHAIN = euler_maruyama(Ring(2, 1, 1).system(), dt=0.01)
RUN = {"n_trajectories": 300, "n_steps": 40, "seed": 5, "block_size": 64}


def stored(folder, **options) -> np.ndarray:
    repo = Repository.open(StoreRef(str(folder)), create=True, project="test")
    version = write_ensemble(repo, CHAIN, group="simulated/ring", dtype="float64", **RUN | options)
    return repo.read("simulated/ring", at=version)["x"].load().to_numpy()


@pytest.fixture(scope="module")
def whole():
    return simulate(CHAIN, **RUN)


@pytest.mark.parametrize("blocks_per_job", [1, 2, 5])
def test_write_ensemble__is_bit_identical_for_any_chunking(tmp_path, whole, blocks_per_job):
    assert np.array_equal(stored(tmp_path, blocks_per_job=blocks_per_job), whole)


def test_write_ensemble__is_bit_identical_on_threads(tmp_path, whole):
    with ThreadPoolExecutor(3) as pool:
        assert np.array_equal(stored(tmp_path, run=pool.map), whole)


def test_write_ensemble__is_bit_identical_on_dask_processes(tmp_path, whole):
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(2, timeout=120)
        use_client(client)
        try:
            one = stored(tmp_path / "one")
            two = stored(tmp_path / "two", blocks_per_job=2)
        finally:
            use_client(None)
    assert np.array_equal(one, whole)
    assert np.array_equal(two, whole)


def test_write_ensemble__thins_and_rounds(tmp_path, whole):
    x = stored(tmp_path, every=4)
    assert np.array_equal(x, whole[:, ::4])


def test_learn_ensemble__reads_the_store_block_by_block(tmp_path):
    system, ref = rotation(), StoreRef(str(tmp_path))
    repo = Repository.open(ref, create=True, project="test")
    run = {"n_trajectories": 240, "n_steps": 200, "seed": 1, "block_size": 24}
    write_ensemble(repo, system.chain(0.01), group="simulated/turning", dtype="float64", **run)
    est = learn_ensemble(ref, "simulated/turning", diffusion=1.0, null_draws=19)
    exact = system.finite_dt_ep_rate(0.01, fitted=True)
    assert est.value == pytest.approx(exact, abs=4 * est.sd + est.train - est.debiased)
    other = learn_ensemble(ref, "simulated/turning", diffusion=1.0, null_draws=19, block_size=48)
    assert other.train == pytest.approx(est.train, rel=1e-9)
