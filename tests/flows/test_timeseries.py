"""The time-series flow on small records whose answers are known."""

import numpy as np
import pytest
import yaml

from flows.config import load
from irrev import schema
from irrev.simulate.hidden_drive import SharedDrive, simulate_shared_drive
from storage.repository import Repository

pytestmark = pytest.mark.usefixtures("prefect_server")
DRIVEN = SharedDrive(0.5, (0.3, 0.9, 0.6), (1.0,) * 3, (1.0,) * 3, 1.0, 0.8)
STILL = SharedDrive(0.0, (0.3, 0.9, 0.6), (1.0,) * 3, (1.0,) * 3, 1.0, 0.8)


@pytest.fixture
def config(tmp_path):
    rng = np.random.default_rng(4)
    for name, system in (("driven", DRIVEN), ("still", STILL)):
        x = simulate_shared_drive(system, 8192, rng=rng)
        np.savez(tmp_path / f"{name}.npz", x=x, fs=100.0)
    np.savez(tmp_path / "broken.npz", x=np.zeros((3, 3)), y=np.zeros((3, 3)), fs=100.0)
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "version": 1,
                "project": "test",
                "seed": 3,
                "store": {"url": "./results"},
                "compute": {"profile": "threads", "workers": 2},
                "sources": {"lab": {"kind": "timeseries", "uri": "*.npz"}},
                "flows": {"timeseries": {"sources": ["lab"]}},
            }
        )
    )
    return path


def test_timeseries__finds_the_drive_stores_it_and_reports(config):
    from flows.page import write_page
    from flows.timeseries import timeseries

    summary = timeseries(str(config))
    assert (summary.done, summary.failed, summary.quarantined) == (2, 0, 1)
    pipeline = load(config)
    repo = Repository.open(pipeline.store_ref())
    ds = schema.validate(repo.read("results/timeseries/witness").load(), "timeseries/witness")
    assert ds["shard"].to_numpy().tolist() == ["lab/driven:all", "lab/still:all"]
    assert ds["significant"].to_numpy().tolist() == [True, False]
    assert ds["n_dependent"].to_numpy().tolist() == [3, 0]
    assert ds["n_pairs"].to_numpy().tolist() == [3, 3]
    pairs = repo.read("results/timeseries/pairs/lab/driven/all").load()
    schema.validate(pairs, "witness")
    # Five standard errors of n = 8192; the smearing at 64 bands is below one.
    for k, (i, j) in enumerate(((0, 1), (0, 2), (1, 2))):
        error = 5 * float(pairs["W_se"][k])
        assert float(pairs["W"][k]) == pytest.approx(DRIVEN.witness(i, j), abs=error)
    assert timeseries(str(config)).done == 0
    html = write_page(pipeline, repo).read_text(encoding="utf-8")
    assert "3 of 3 pairs driven" in html
    assert "no entropy production by itself" in html
