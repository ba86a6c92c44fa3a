"""One recording on real worker processes, one of which is killed."""

import logging
import os
import signal
from threading import Timer

import numpy as np
import pytest
from dask.distributed import Client, LocalCluster

from irrev.binning import SpikeBins
from irrev.ep.chunks import save_bins
from irrev.ep.streaming import Alone, stream_ep
from irrev.simulate.spikes import simulate_spikes
from tasks.cluster import Workers

OPTIONS = {"draws": 100, "null_draws": 19, "chunk": 4000}


@pytest.mark.slow
def test_workers__a_killed_worker_changes_no_number(tmp_path):
    """Couplings are told again in single precision, hence 1e-6; without a death it is exact."""
    states = simulate_spikes(120, 60_000, np.random.default_rng(0)).states
    recording = save_bins(SpikeBins.from_dense(states, 0.01), tmp_path / "bins")
    alone = stream_ep(recording, crew=Alone(), **OPTIONS)
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        crew = Workers(client, tuple(sorted(client.scheduler_info(n_workers=-1)["workers"])))
        together = stream_ep(recording, crew=crew, **OPTIONS)
        assert together.value == alone.value
        np.testing.assert_array_equal(together.theta, alone.theta)
        victim = client.run(os.getpid, workers=[crew.addresses[0]])[crew.addresses[0]]
        killer = Timer(1.0, os.kill, (victim, signal.SIGKILL))
        killer.start()
        survived = stream_ep(recording, crew=crew, **OPTIONS)
        killer.join()
    assert survived.value == pytest.approx(alone.value, rel=1e-6)
    np.testing.assert_allclose(survived.theta, alone.theta, rtol=1e-5, atol=1e-9)
