"""The main job on small recordings: what runs, what is skipped, what is stored."""

import json
import os

import numpy as np
import pytest
import xarray as xr

from flows.config import load
from flows.plan import plan_flow
from flows.specs import SPECS
from irrev import schema
from storage.pending import Pending
from storage.repository import Repository
from tests.flows.conftest import write_recording

pytestmark = pytest.mark.usefixtures("prefect_server")


def run(config) -> object:
    from flows.spikes import spikes

    return spikes(str(config))


def forbidden(*args, **kwargs):
    raise AssertionError("computed again")


def results(config, **where) -> xr.Dataset:
    return open_store(config).read("results/spikes/maxent", **where).load()


def open_store(config) -> Repository:
    return Repository.open(load(config).store_ref())


def reasons(config) -> dict[str, str]:
    plan = plan_flow(load(config), SPECS["spikes"], open_store(config))
    return {p.shard.id: p.reason for p in plan.shards}


def test_spikes__finds_the_driven_recording_and_not_the_still_one(project):
    config = project()
    summary = run(config)
    ds = schema.validate(results(config), "spikes/maxent")
    assert (summary.done, summary.failed, summary.quarantined) == (2, 0, 0)
    assert ds["shard"].values.tolist() == ["pair/driven:all", "pair/still:all"]
    assert ds["significant"].values.tolist() == [True, False]
    assert (ds["ep_rate_low"] <= ds["ep_rate"]).all()
    assert (ds["ep_rate"] <= ds["ep_rate_high"]).all()
    assert float(ds["ep_rate"][0]) == pytest.approx(float(ds["ep_per_step"][0]) / 0.01)
    coupling = open_store(config).read("results/spikes/couplings/pair/driven/all").load()
    schema.validate(coupling, "spikes/couplings")
    np.testing.assert_allclose(coupling["theta"], -coupling["theta"].values.T)
    leads = coupling["theta"].values[np.arange(1, 4), np.arange(3)]
    assert (leads > 0).all()  # each unit follows its left neighbour


def test_spikes__one_run_is_one_commit_with_its_provenance(project):
    config = project()
    summary = run(config)
    (version,) = open_store(config).log()
    assert version.id == summary.version
    assert version.message == "spikes: 2 results, 0 quarantined"
    meta = version.metadata
    assert meta["run_id"] == summary.run_id
    assert set(meta["inputs"]) == {"pair/driven", "pair/still"}
    assert meta["counts"] == {"done": 2, "bad": 0}
    assert {"config_hash", "code_version", "seed", "packages"} <= set(meta)
    assert not Pending(open_store(config)).keys()


def test_spikes__a_second_run_computes_nothing_and_makes_no_commit(project, monkeypatch):
    config = project()
    first = run(config)

    monkeypatch.setattr("tasks.entropy_production.measure_maxent", forbidden)
    monkeypatch.setattr("tasks.ingest.read_items", forbidden)
    again = run(config)
    assert (again.done, again.up_to_date, again.changed) == (0, 2, False)
    assert again.version == first.version
    assert plan_flow(load(config), SPECS["spikes"], open_store(config)).idle


def test_spikes__a_changed_parameter_file_or_source_is_named_as_the_reason(project):
    config = project()
    run(config)
    project(flows__spikes__ep__folds=4)
    assert set(reasons(config).values()) == {"parameter ep.folds 5 -> 4"}
    project()
    write_recording(config.parent / "data" / "still.npz", 9, driven=False)
    plan = plan_flow(load(config), SPECS["spikes"], open_store(config))
    assert [i.name for i in plan.unread] == ["pair/still"]
    before = results(config)
    summary = run(config)
    assert (summary.done, summary.up_to_date) == (1, 1)
    after = results(config)
    xr.testing.assert_equal(before.isel(shard=0), after.isel(shard=0))
    assert before["input_hash"][1] != after["input_hash"][1]
    old = results(config, at=open_store(config).log()[1].id)
    xr.testing.assert_equal(old, before)  # the earlier version still opens


def test_spikes__a_touched_file_with_the_same_content_runs_nothing_again(project):
    config = project()
    first = run(config)
    file = config.parent / "data" / "still.npz"
    file.write_bytes(file.read_bytes())
    assert file.stat().st_size > 0
    os.utime(file, ns=(1, 1))
    summary = run(config)
    assert (summary.done, summary.changed) == (0, False)
    assert summary.version == first.version


def test_spikes__a_source_that_leaves_takes_its_row_along(project):
    config = project()
    run(config)
    (config.parent / "data" / "still.npz").unlink()
    summary = run(config)
    assert summary.changed
    assert results(config)["shard"].values.tolist() == ["pair/driven:all"]


def test_spikes__a_bad_file_goes_to_quarantine_and_the_rest_goes_on(project):
    config = project()
    (config.parent / "data" / "broken.npz").write_bytes(b"PK\x03\x04 this is no archive")
    summary = run(config)
    assert (summary.done, summary.quarantined) == (2, 1)
    quarantine = open_store(config).read("quarantine/spikes").load()
    assert quarantine["item"].values.tolist() == ["pair/broken"]
    assert "broken.npz" in quarantine["reason"].values[0]
    again = run(config)  # the reason is final until the file changes
    assert (again.done, again.quarantined, again.changed) == (0, 1, False)
    write_recording(config.parent / "data" / "broken.npz", 5)
    assert run(config).quarantined == 0


def test_spikes__a_link_that_leads_nowhere_is_set_aside_until_it_leads_somewhere(project):
    config = project()
    (config.parent / "data" / "link.npz").symlink_to(config.parent / "later.npz")
    summary = run(config)
    assert (summary.done, summary.quarantined) == (2, 1)
    reason = open_store(config).read("quarantine/spikes").load()["reason"].values[0]
    assert "link.npz: no file or folder; check the path" in reason
    assert run(config).changed is False
    write_recording(config.parent / "later.npz", 5)
    assert run(config).done == 1


def test_spikes__only_bad_files_still_leave_a_record(project):
    config = project(sources__pair__uri="data/broken.npz")
    (config.parent / "data" / "broken.npz").write_bytes(b"nothing")
    summary = run(config)
    assert (summary.done, summary.quarantined) == (0, 1)
    assert open_store(config).read("quarantine/spikes").sizes["entry"] == 1


def test_spikes__on_error_stop_stops(project):
    from irrev.errors import FormatError

    config = project(sources__pair__on_error="stop")
    (config.parent / "data" / "broken.npz").write_bytes(b"nothing")
    with pytest.raises(FormatError, match="broken"):
        run(config)


def test_spikes__a_failing_shard_does_not_stop_the_others_and_is_tried_again(project, monkeypatch):
    from tasks import entropy_production

    real = entropy_production.measure_maxent

    def poisoned(ref, at, group, config, seed):
        result = real(ref, at, group, config, seed)
        if int(result["row"]["n_spikes"][0]) > 2300:  # the driven one
            raise TypeError("poison")
        return result

    config = project()
    monkeypatch.setattr(entropy_production, "measure_maxent", poisoned)
    summary = run(config)
    assert (summary.done, summary.failed) == (1, 1)
    ds = results(config)
    assert ds["status"].values.tolist() == ["failed", "done"]
    assert ds["error"].values[0] == "TypeError: poison"
    assert np.isnan(ds["ep_rate"].values[0])
    monkeypatch.setattr(entropy_production, "measure_maxent", real)
    assert reasons(config)["pair/driven:all"] == "failed last time (TypeError)"
    assert run(config).done == 1
    assert results(config)["status"].values.tolist() == ["done", "done"]


def test_spikes__too_short_a_recording_is_set_aside_with_the_reason(project):
    config = project()
    write_recording(config.parent / "data" / "short.npz", 7, seconds=0.3)
    summary = run(config)
    assert (summary.done, summary.quarantined) == (2, 1)
    ds = results(config)
    assert ds["status"].values.tolist() == ["done", "quarantined", "done"]
    assert ds["error"].values[1]
    assert run(config).changed is False


def test_spikes__the_numbers_do_not_depend_on_the_company_or_the_workers(project):
    config = project()
    run(config)
    together = results(config).isel(shard=[1])
    project(sources__pair__uri=["data/still.npz"], store__url="./alone", compute__workers=1)
    run(config)
    alone = results(config)
    assert alone["shard"].values[0] == together["shard"].values[0]
    for name in ("ep_rate", "ep_rate_low", "ep_rate_high", "p", "ep_certified", "fold_value"):
        np.testing.assert_array_equal(alone[name], together[name], err_msg=name)


def test_spikes__finished_work_of_a_run_that_was_cut_off_is_taken_over(project, monkeypatch):
    from flows import steps

    config = project()

    def cut_off(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(steps, "publish", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    assert open_store(config).log() == []  # nothing half-done looks done
    kept = Pending(open_store(config)).keys()
    assert len(kept) >= 2
    monkeypatch.undo()

    monkeypatch.setattr("tasks.entropy_production.measure_maxent", forbidden)
    summary = run(config)
    assert summary.done == 2
    timings = open_store(config).read(f"runs/{summary.run_id}").load()
    assert timings["reason"].values.tolist() == ["new", "new"]
    assert json.loads(results(config)["config"].values[0])["bin"] == 0.01


def test_spikes__two_runs_over_the_same_work_both_survive(project, monkeypatch):
    """The slower run finds its work published by the faster one and changes no number."""
    from flows import steps
    from tasks.publish import publish_run

    config = project()
    late = []

    def overtaken(ref, publication):
        late.append((ref, publication))
        raise KeyboardInterrupt

    monkeypatch.setattr(steps, "publish", overtaken)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    monkeypatch.undo()
    run(config)
    before = results(config)
    publish_run(*late[0])
    xr.testing.assert_equal(results(config), before)
    assert open_store(config).has("inputs/spikes/pair/still")
    assert len(open_store(config).log()) == 2
