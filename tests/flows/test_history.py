"""What was computed before: releases, reprocessing, backfill, lineage, reasons, cleaning."""

import json
import os
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from flows import cli_history
from flows.config import load
from flows.plan import plan_flow
from flows.scope import Scope, day_of
from flows.sources import Item
from flows.specs import SPECS
from storage.leases import at_work
from storage.repository import Repository
from tests.flows.conftest import write_recording
from tests.flows.test_cli import invoke
from tests.flows.test_spikes import forbidden, open_store, results, run


@pytest.fixture(autouse=True)
def here(monkeypatch, prefect_server):
    """Run commands against the session's API instead of a server of their own."""
    monkeypatch.setattr(cli_history, "server", nullcontext)
    monkeypatch.setattr("flows.cli.server", nullcontext)


@pytest.fixture
def released(project):
    """A pipeline that has run once, with the tag v1."""
    config = project()
    run(config)
    assert invoke("tag", "v1", "-c", config)[0] == 0
    return config


@pytest.fixture
def new_method(monkeypatch):
    """A next version of the method, whose numbers are larger by `shift`."""
    from tasks import entropy_production

    real = entropy_production.measure_maxent
    calls = []

    def start(shift):
        def measure(ref, at, group, config, seed):
            calls.append(group)
            out = real(ref, at, group, config, seed)
            names = [n for n in out["row"] if str(n).startswith("ep_rate")]
            return {**out, "row": out["row"].assign({n: out["row"][n] + shift for n in names})}

        monkeypatch.setattr(entropy_production, "measure_maxent", measure)
        spec = SPECS["spikes"]
        monkeypatch.setitem(SPECS, "spikes", replace(spec, version=spec.version + 1))
        return calls

    return start


def test_reprocess__computes_what_the_change_touches_and_tells_what_moved(released, new_method):
    before = results(released)
    calls = new_method(shift=1000.0)
    code, text, _ = invoke("reprocess", "--since", "v1", "--method", "maxent", "-c", released)
    assert code == 0
    assert len(calls) == 2
    assert text.count("moved beyond the intervals") == 3  # two results and the summary
    xr.testing.assert_equal(results(released), before)  # main stays as it is
    after = results(released, at="reprocess-v1-maxent")
    np.testing.assert_allclose(after["ep_rate"], before["ep_rate"] + 1000.0)
    side = Repository(open_store(released).ref.on("reprocess-v1-maxent"), open_store(released).ic)
    table = side.read("comparisons/spikes").load()
    assert table["change"].values.tolist() == ["moved beyond the intervals"] * 2
    assert table.attrs["since"] == "v1"

    code, text, _ = invoke(
        "reprocess", "--since", "v1", "-c", released, "--json", "--publish", "v2"
    )
    outcome = json.loads(text)
    assert (outcome["done"], outcome["published"]) == (2, "v2")  # another branch, taken over
    assert len(calls) == 2  # nothing is computed twice
    xr.testing.assert_equal(results(released, at="v2")["ep_rate"], after["ep_rate"])


def test_reprocess__a_change_within_the_intervals_is_told_as_such(released, new_method):
    new_method(shift=1e-6)
    rows = json.loads(invoke("reprocess", "-c", released, "--json")[1])["rows"]
    assert {row["change"] for row in rows} == {"changed within the intervals"}


def test_reprocess__takes_the_inputs_of_the_release_whatever_became_of_the_files(
    released, new_method
):
    (released.parent / "data" / "still.npz").unlink()
    write_recording(released.parent / "data" / "driven.npz", 77)
    write_recording(released.parent / "data" / "new.npz", 78)
    before = results(released)
    calls = new_method(shift=1.0)
    invoke("reprocess", "--since", "v1", "-c", released)
    after = results(released, at="reprocess-v1")
    assert len(calls) == 2
    assert after["shard"].values.tolist() == before["shard"].values.tolist()
    assert after["input_hash"].values.tolist() == before["input_hash"].values.tolist()


def test_reprocess__later_runs_take_its_results_over(released, new_method):
    calls = new_method(shift=1.0)
    invoke("reprocess", "--since", "v1", "-c", released)
    n = len(calls)
    summary = run(released)
    assert summary.done == 2
    assert len(calls) == n
    xr.testing.assert_equal(results(released), results(released, at="reprocess-v1"))
    group = "results/spikes/couplings/pair/driven/all"
    copied, made = (open_store(released).read(group, at=at) for at in (None, "reprocess-v1"))
    xr.testing.assert_equal(copied, made)
    _, text, _ = invoke("why", "pair/still:all", "-c", released)
    assert "taken over from reprocess-v1" in text


def test_reprocess__without_a_change_makes_no_branch(released):
    code, text, _ = invoke("reprocess", "-c", released)
    assert code == 0
    assert "touches no result of v1" in text
    assert open_store(released).branches() == ["main"]


def test_reprocess__of_some_items_leaves_the_others(released, new_method):
    calls = new_method(shift=1.0)
    _, text, _ = invoke("reprocess", "--source", "*/still", "-c", released, "--plan")
    assert open_store(released).branches() == ["main"]  # a plan makes nothing
    assert "pair/still:all" in text
    assert "pair/driven:all" not in text
    invoke("reprocess", "--source", "*/still", "-c", released)
    assert len(calls) == 1
    (branch,) = set(open_store(released).branches()) - {"main"}
    assert results(released, at=branch).sizes["shard"] == 2


def test_reprocess__does_not_publish_what_failed(released, monkeypatch):
    def broken(*args):
        raise MemoryError("no")

    spec = SPECS["spikes"]
    monkeypatch.setitem(SPECS, "spikes", replace(spec, version=spec.version + 1))
    monkeypatch.setattr("tasks.entropy_production.measure_maxent", broken)
    monkeypatch.setattr("tasks.cluster.RETRY_DELAYS_S", (0.0,))
    code, _, err = invoke("reprocess", "-c", released, "--publish", "v2")
    assert code == 2
    assert "2 shards failed: 'v2' is not published" in err
    assert "v2" not in open_store(released).tags()


def test_reprocess__mistakes_are_one_line(project):
    config = project()
    run(config)
    code, _, err = invoke("reprocess", "-c", config)
    assert code == 2
    assert "no release to begin at" in err
    invoke("tag", "v1", "-c", config)
    _, _, err = invoke("reprocess", "--method", "maxnet", "-c", config)
    assert "did you mean 'maxent'?" in err
    assert invoke("reprocess", "--since", "v9", "-c", config)[0] == 2


def test_backfill__takes_the_days_and_items_asked_for_and_leaves_the_rest(project):
    config = project()
    run(config)
    data = config.parent / "data"
    for day in ("2026-01-05", "20260110", "2026-02-01"):
        write_recording(data / f"rec_{day}.npz", int(day[-2:]))
    (data / "still.npz").unlink()
    before = results(config)
    words = ("backfill", "--from", "2026-01-01", "--to", "2026-01-31", "-c", config)
    code, text, _ = invoke(*words, "--plan")
    assert "2 items to read" in text
    code, text, _ = invoke(*words)
    assert code == 0
    after = results(config)
    names = set(after["shard"].values) - set(before["shard"].values)
    assert names == {"pair/rec_2026-01-05:all", "pair/rec_20260110:all"}
    kept = after.isel(shard=[n not in names for n in after["shard"].values])
    for name in ("ep_rate", "p", "input_hash"):
        assert kept[name].values.tolist() == before[name].values.tolist()
    invoke("backfill", "--source", "*/rec_2026-02*", "-c", config)
    assert results(config).sizes["shard"] == 5
    assert run(config).done == 0  # the whole: nothing but the file that has left
    assert results(config).sizes["shard"] == 4
    assert "say which days" in invoke("backfill", "-c", config)[2]


def test_day_of__is_in_the_name_or_that_of_the_last_change(tmp_path):
    for name, day in {
        "a_2026-03-01.npz": "2026-03-01",
        "20251231_b.npz": "2025-12-31",
        "x99999999.npz": "2020-01-02",
        "plain.npz": "2020-01-02",
    }.items():
        path = tmp_path / name
        path.touch()
        os.utime(path, (1577959200, 1577959200))  # 2020-01-02 10:00 UTC
        assert str(day_of(Item("i", "s", path))) == day


def test_plan_flow__out_of_scope_is_neither_gone_nor_to_do(released):
    (released.parent / "data" / "still.npz").unlink()
    plan = plan_flow(
        load(released), SPECS["spikes"], open_store(released), Scope(items="*/driven")
    )
    assert plan.idle
    assert not plan_flow(load(released), SPECS["spikes"], open_store(released)).idle


def test_lineage__names_input_code_parameters_seed_and_parents(released):
    code, text, _ = invoke("lineage", "pair/driven:all", "-c", released, "--json")
    (record,) = json.loads(text)
    ds = results(released).isel(shard=0)
    (version,) = open_store(released).log()
    assert record["input"]["sha256"] == str(ds["input_hash"].values)
    assert record["input"]["uri"] == "data/driven.npz"
    assert open_store(released).has(record["input"]["group"])
    assert record["made"]["version"] == version.id
    assert record["made"]["code_version"] == version.metadata["code_version"]
    assert record["made"]["because"] == "new"
    assert record["parameters"]["bin"] == 0.01
    assert record["seed"] == int(ds["seed"])
    code, text, _ = invoke("lineage", "pair", "-c", released)
    assert code == 2  # no such source: its items are pair/driven and pair/still
    code, text, _ = invoke("lineage", "pair/driven", "-c", released)
    assert code == 0
    assert "data/driven.npz" in text


def test_lineage__finds_the_run_that_made_a_result_not_the_latest(released, project):
    write_recording(released.parent / "data" / "still.npz", 9, driven=False)
    run(released)
    newest, first = open_store(released).log()
    made = {}
    for name in ("pair/driven:all", "pair/still:all"):
        (record,) = json.loads(invoke("lineage", name, "-c", released, "--json")[1])
        made[name] = record["made"]["version"]
    assert made == {"pair/driven:all": first.id, "pair/still:all": newest.id}
    (record,) = json.loads(
        invoke("lineage", "pair/still:all", "--at", "v1", "-c", released, "--json")[1]
    )
    assert record["made"]["version"] == first.id


def test_why__tells_of_now_and_of_past_runs(released, project):
    write_recording(released.parent / "data" / "still.npz", 9, driven=False)
    (released.parent / "data" / "broken.npz").write_bytes(b"nothing")
    run(released)
    project(flows__spikes__ep__folds=4)
    (driven,) = json.loads(invoke("why", "pair/driven:all", "-c", released, "--json")[1])
    assert driven["now"] == "runs: parameter ep.folds 5 -> 4"
    assert [e["what"].split(" (")[0] for e in driven["past"]] == [
        "skipped: up to date",
        "ran: new",
    ]
    (still,) = json.loads(invoke("why", "pair/still", "-c", released, "--json")[1])
    assert still["past"][0]["what"].startswith("ran: input changed")
    (broken,) = json.loads(invoke("why", "pair/broken", "-c", released, "--json")[1])
    assert broken["now"].startswith("set aside:")
    assert broken["past"][1]["what"] == "not there"
    code, text, _ = invoke("why", "pair/driven:all", "-c", released)
    assert "ran: new (" in text
    code, _, err = invoke("why", "pair/drivn:all", "-c", released)
    assert (code, "did you mean 'pair/driven:all'" in err) == (2, True)


def test_retention__forgets_only_when_told_and_never_a_tag(released, project):
    for folds in (4, 6):
        project(flows__spikes__ep__folds=folds)
        run(released)
    repo = open_store(released)
    tip, middle, first = repo.log()
    code, text, _ = invoke("retention", "--older-than", "0", "-c", released)
    assert code == 0
    assert f"would be forgotten  {middle.short}" in text
    assert "nothing was changed" in text
    assert len(open_store(released).log()) == 3
    with at_work(repo):
        code, _, err = invoke("retention", "--older-than", "0", "--apply", "-c", released)
        assert code == 2
        assert "is at work since" in err
    code, text, _ = invoke("retention", "--older-than", "0", "--apply", "-c", released, "--json")
    done = json.loads(text)
    assert [v["version"] for v in done["versions"]] == [middle.id]
    xr.testing.assert_equal(results(released, at="v1"), results(released, at=first.id))
    assert [v.id for v in open_store(released).log()][:1] == [tip.id]
    assert middle.id not in {v.id for v in open_store(released).log()}


def test_run__two_runs_with_different_files_both_survive(project, monkeypatch):
    """A slow run that began before a file arrived does not take the file's results away."""
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
    write_recording(config.parent / "data" / "arrived.npz", 5)
    (config.parent / "data" / "broken.npz").write_bytes(b"nothing")
    run(config)
    publish_run(*late[0])
    assert results(config).sizes["shard"] == 3
    assert open_store(config).read("quarantine/spikes").sizes["entry"] == 1
    monkeypatch.setattr("tasks.entropy_production.measure_maxent", forbidden)
    assert run(config).changed is False
