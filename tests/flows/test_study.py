"""Studies over subsets of units and over temperatures: pieces, resumption, what is stored."""

import json

import numpy as np
import pytest
import xarray as xr

from flows.config import load
from irrev import schema
from irrev.report.page import part_key
from irrev.report.spikes import further as further_section
from storage.pending import Pending
from storage.repository import Repository
from tests.flows.conftest import write_recording

pytestmark = pytest.mark.usefixtures("prefect_server")

STUDY = {"sources": ["pair"], "sizes": [2, 3, 40], "subsets": 3, "min_active": 0.02}
SPINS = {"sources": ["ring"], "betas": [0.5, 1.5], "states": 1500, "chains": 5, "batch": 2}
FEW = {"interval": {"draws": 100}, "null": {"draws": 99}}


def open_store(config) -> Repository:
    return Repository.open(load(config).store_ref())


def study_project(project):
    config = project()
    text = project(flows={"study": STUDY | FEW})
    assert config == text
    return config


def spins_project(project, tmp_path):
    coupling = np.zeros((5, 5))
    coupling[np.arange(5), np.arange(5) - 1] = 1.0  # a directed ring: irreversible
    np.savez(tmp_path / "data" / "ring_system.npz", coupling=coupling)
    sources = {"ring": {"kind": "spins", "uri": "data/ring_system.npz"}}
    return project(sources=sources, flows={"spins": SPINS | FEW})


def test_study__measures_every_subset_of_the_sizes_that_fit(project):
    from flows.study import study

    config = study_project(project)
    summary = study(str(config))
    assert (summary.done, summary.failed) == (2, 0)
    ds = schema.validate(open_store(config).read("results/study/subsets").load(), "study/subsets")
    assert ds["n_subsets"].values.tolist() == [6, 6]
    sizes = ds["subset_size"].values[0]
    assert sorted(sizes[sizes > 0].tolist()) == [2, 2, 2, 3, 3, 3]  # four units: none of 40
    assert ds["significant"].values.tolist() == [True, False]
    assert not Pending(open_store(config)).keys()
    assert not study(str(config)).changed


def test_study__a_run_that_was_cut_off_goes_on_inside_a_shard(project, monkeypatch):
    """Finished subsets are not measured again; the numbers are those of an unbroken run."""
    from flows.study import study
    from tasks import keeping
    from tasks import study as bodies

    config = study_project(project)
    study(str(config))
    whole = open_store(config).read("results/study/subsets").load()
    project(flows={"study": STUDY | FEW}, store={"url": "./other"})
    monkeypatch.setattr(keeping, "FLUSH_S", 0.0)
    real, calls = bodies.measure_subset, []

    def dies_after_four(*args, **kwargs):
        calls.append(kwargs["size"])
        if len(calls) > 4:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(bodies, "measure_subset", dies_after_four)
    with pytest.raises(BaseException):  # noqa: B017, PT011
        study(str(config))
    kept = [k for k in sorted(Pending(open_store(config)).keys()) if "/" in k]
    subsets = [k for k in kept if not k.endswith("/bins")]
    assert subsets
    monkeypatch.setattr(
        bodies, "measure_subset", lambda *a, **k: (calls.append(0), real(*a, **k))[1]
    )
    calls.clear()
    assert study(str(config)).done == 2
    assert len(calls) == 12 - len(subsets)
    again = open_store(config).read("results/study/subsets").load()
    xr.testing.assert_equal(again.drop_vars("seconds"), whole.drop_vars("seconds"))
    assert not Pending(open_store(config)).keys()


def test_study__too_few_active_units_are_set_aside_with_the_reason(project):
    from flows.study import study

    config = project(flows={"study": STUDY | FEW | {"sizes": [30]}})
    assert study(str(config)).quarantined == 2
    error = open_store(config).read("results/study/subsets").load()["error"].values[0]
    assert "4 of 4 units are active enough" in error


def test_spins__compares_with_the_exact_value_and_couplings(project, tmp_path):
    from flows.spins import spins

    config = spins_project(project, tmp_path)
    summary = spins(str(config))
    assert (summary.done, summary.failed) == (2, 0)
    ds = open_store(config).read("results/spins/multipartite").load()
    schema.validate(ds, "spins/multipartite")
    assert ds["beta"].values.tolist() == [0.5, 1.5]
    assert ds["significant"].all()
    # A held-out bound stays below the exact value, beyond sampling noise of both.
    assert (ds["ep_per_attempt_low"] <= ds["ep_true"]).all()
    assert (ds["ep_per_attempt"] > 0.8 * ds["ep_true"]).all()
    np.testing.assert_allclose(ds["ep_true"], ds["ep_true_whole"])
    assert (ds["r_squared"] > 0.8).all()
    pairs = open_store(config).read("results/spins/couplings/ring/beta=1.5").load()
    schema.validate(pairs, "spins/couplings")
    assert set(np.round(pairs["true"].values, 9)) == {0.0, 1.5, -1.5}
    assert not Pending(open_store(config)).keys()


def test_spins__numbers_do_not_depend_on_the_batches(project, tmp_path):
    from flows.spins import spins

    config = spins_project(project, tmp_path)
    spins(str(config))
    names = ["ep_per_attempt", "ep_per_attempt_low", "ep_true", "ep_newton1", "ep_tur", "p"]
    first = open_store(config).read("results/spins/multipartite").load()[names]
    block = SPINS | FEW | {"batch": 5}
    project(
        **{"flows": {"spins": block}, "store": {"url": "./other"}},
        sources={"ring": {"kind": "spins", "uri": "data/ring_system.npz"}},
    )
    spins(str(config))
    second = open_store(config).read("results/spins/multipartite").load()[names]
    xr.testing.assert_allclose(first, second, rtol=1e-12)


def test_spikes__further_estimates_are_pieces_of_the_same_shard(project):
    from flows.spikes import spikes

    write_recording(project().parent / "data" / "driven.npz", 1)
    further = {
        "sweep": ["20 ms"],
        "orders": ["lin", "pair"],
        "memory": 2,
        "areas": True,  # which these recordings do not name
        "methods": True,
    }
    config = project(
        flows__spikes__further=further, flows__spikes__ep={"trajectory": True, "folds": 4}
    )
    assert spikes(str(config)).done == 2
    store = open_store(config)
    table = store.read("results/spikes/estimates/pair/driven/all").load()
    schema.validate(table, "spikes/estimates")
    families = table["family"].values.tolist()
    assert families.count("orders") == 2
    assert families.count("memory") == 2
    assert table["label"].values[families.index("sweep")] == "20 ms"
    for name in ("within", "areas"):
        assert families.count(name) == 1
        note = table["note"].values[families.index(name)]
        assert note == "the recording names no areas; leave `areas` out."
    counting = table.isel(estimate=table["label"].values.tolist().index("counting"))
    assert not bool(counting["held_out"])
    rows = store.read("results/spikes/maxent").load()
    pictures, (block,) = further_section(
        rows, {part_key("estimates", str(rows["shard"].values[0])): table}
    )
    assert len(block.rows) == table.sizes["estimate"]
    assert sum("names no areas" in cell for cells in block.rows for cell in cells) == 2
    assert len(pictures) == len({*families} - {"within", "areas"})  # nothing to draw there
    row = rows.isel(shard=0)
    path = schema.validate(
        store.read("results/spikes/trajectory/pair/driven/all").load(), "spikes/trajectory"
    )
    assert float(path["ep"].mean()) == pytest.approx(float(row["ep_per_step"]), abs=1e-6)
    assert json.loads(str(row["config"].values))["further"]["memory"] == 2
    assert not Pending(store).keys()


def test_spikes__a_streamed_shard_is_stored_like_any_other(project):
    from flows.spikes import spikes

    rules = {"min_active": 0.01, "activity": "condition"}
    config = project(sources__pair__units=rules)
    spikes(str(config))
    plain = open_store(config).read("results/spikes/maxent").load()
    config = project(
        sources__pair__units=rules,
        flows__spikes__stream="always",
        flows__spikes__further={"methods": True},
        store__url="./streamed",
    )
    assert spikes(str(config)).done == 2
    assert open_store(config).has("results/spikes/estimates/pair/driven/all")
    streamed = schema.validate(
        open_store(config).read("results/spikes/maxent").load(), "spikes/maxent"
    )
    np.testing.assert_array_equal(streamed["p"], plain["p"])
    wide = (plain["ep_rate_high"] - plain["ep_rate_low"]).values
    assert (np.abs(streamed["ep_rate"] - plain["ep_rate"]).values < 0.2 * wide).all()


def test_spikes__streams_only_what_can_be_streamed(project):
    from irrev.errors import ConfigError

    config = project(
        flows__spikes__stream="always", flows__spikes__ep={"observables": ["lin", "pair"]}
    )
    with pytest.raises(ConfigError, match=r"stream is always, which takes observables \[pair\]"):
        load(config)
