"""The time-series flow on small records whose answers are known."""

import numpy as np
import pytest
import xarray as xr
import yaml

from flows.config import load
from irrev import schema
from irrev.ep.streaming import Alone
from irrev.ep.witness import witness
from irrev.ep.witness_pieces import cut_pieces
from irrev.errors import ConfigError, FormatError
from irrev.simulate.hidden_drive import SharedDrive, simulate_shared_drive
from storage.inputs import scratch_place
from storage.pending import Pending
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


@pytest.fixture
def long_record(tmp_path):
    """Write a Zarr record that stays in its file; return the pipeline file and the record."""
    x = simulate_shared_drive(DRIVEN, 40_000, rng=np.random.default_rng(8))
    ds = xr.Dataset({"x": (("time", "channel"), x)}, attrs={"fs": 100.0})
    ds.to_zarr(tmp_path / "long.zarr", zarr_format=3, consolidated=False)
    path = tmp_path / "pipeline.yaml"
    source = {"kind": "timeseries", "uri": "long.zarr", "in_place": True}
    blocks = {"timeseries": {"sources": ["long"], "witness": {"piece": 8000}}}
    document = {
        "version": 1,
        "project": "test",
        "store": {"url": "./results"},
        "compute": {"profile": "threads", "workers": 2},
        "sources": {"long": source},
        "flows": blocks,
    }
    path.write_text(yaml.safe_dump(document))
    return path, x, document


def test_timeseries__a_record_that_stays_in_its_file_gives_the_same_numbers(long_record):
    from flows.timeseries import timeseries

    path, x, _ = long_record
    assert timeseries(str(path)).done == 1
    repo = Repository.open(load(path).store_ref())
    stored = repo.read("results/timeseries/pairs/long/all").load()
    pieces = cut_pieces(np.array([[0, len(x)]]), 8000)
    whole = witness(x, fs=100.0, segments=pieces)
    np.testing.assert_allclose(stored["W"], whole["W"], rtol=1e-9)
    np.testing.assert_allclose(stored["sigma"], whole["sigma"], rtol=1e-9)
    assert "signal" not in repo.read("inputs/timeseries/long").load()
    assert timeseries(str(path)).done == 0


def test_infer_witness__a_file_that_changed_since_it_was_read_is_set_aside(long_record):
    from tasks.ingest import read_items
    from tasks.witness import measure_in_place

    path, x, _ = long_record
    pipeline = load(path)
    Repository.open(pipeline.store_ref(), create=True)
    place = str(path.parent / "long.zarr")
    options = {"kind": "timeseries", "options": {"in_place": True}, "split": {}}
    (reading,) = read_items(pipeline.store_ref(), [("long", place)], options, "stop")
    at = Pending(Repository.open(pipeline.store_ref())).snapshot()
    xr.Dataset({"x": (("time", "channel"), x + 1)}, attrs={"fs": 100.0}).to_zarr(
        place, zarr_format=3, consolidated=False, mode="w"
    )
    with pytest.raises(FormatError, match="changed since it was read"):
        measure_in_place(
            pipeline.store_ref(), at, scratch_place(reading.key), place, {"witness": {}}, Alone()
        )


def test_timeseries__in_place_refuses_what_needs_the_whole_record(long_record):
    from flows.plan import plan_flow
    from flows.specs import SPECS

    path, _, document = long_record
    document["flows"]["timeseries"]["witness"]["periods"] = ["1 s"]
    path.write_text(yaml.safe_dump(document))
    pipeline = load(path)
    with pytest.raises(ConfigError, match=r"need the whole record; .*in_place: false"):
        plan_flow(
            pipeline, SPECS["timeseries"], Repository.open(pipeline.store_ref(), create=True)
        )
