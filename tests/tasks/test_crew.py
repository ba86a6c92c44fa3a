"""One recording on real worker processes, one of which is killed."""

import logging
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from dask.distributed import Client, LocalCluster

from irrev.binning import SpikeBins
from irrev.ep.chunks import save_bins
from irrev.ep.streaming import Alone, stream_ep
from irrev.simulate.spikes import simulate_spikes
from tasks.cluster import Workers

OPTIONS = {"draws": 100, "null_draws": 19, "chunk": 4000}


@dataclass
class Deadly:
    """Workers of which the first is killed while it computes its fifteenth answer."""

    crew: Workers
    flag: Path
    asked: int = 0

    @property
    def size(self):
        return self.crew.size

    def map(self, work, args):
        return self.crew.map(work, args)

    def each(self, work, args):
        self.asked += 1
        if self.asked != 15:
            return self.crew.each(work, args)
        return self.crew.each(die_once, [(work, str(self.flag), *a) for a in args])


def die_once(work, flag, *args):
    """Kill this process if none has died before, in the middle of the work."""
    result = work(*args)
    try:
        Path(flag).touch(exist_ok=False)
    except FileExistsError:
        return result
    os.kill(os.getpid(), signal.SIGKILL)
    return None


def fail(k):
    if k:
        raise ValueError(f"piece {k}")
    return k


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
        flag = tmp_path / "died"
        survived = stream_ep(recording, crew=Deadly(crew, flag), **OPTIONS)
        assert flag.exists()
        with pytest.raises(ValueError, match="piece 1"):
            crew.each(fail, [(0,), (1,)])
        assert crew.each(abs, [(-1,), (-2,)]) == [1, 2]
    assert survived.value == pytest.approx(alone.value, rel=1e-6)
    np.testing.assert_allclose(survived.theta, alone.theta, rtol=1e-5, atol=1e-9)
