"""Plan before paying: what a plan would take, and what it took."""

import json
from contextlib import nullcontext

import numpy as np
import pytest

from flows import ahead, cli
from flows.ahead import read_ahead
from flows.compute import Compute
from flows.config import load
from flows.estimate import TOTALS, estimate_plan, misfits
from flows.plan import plan_flow
from flows.specs import SPECS
from tests.flows.conftest import write_recording
from tests.flows.test_cli import invoke
from tests.flows.test_spikes import open_store, run


@pytest.fixture
def here(monkeypatch, prefect_server):
    monkeypatch.setattr(cli, "server", nullcontext)


def test_plan__gives_hours_bytes_and_memory_for_any_profile(project):
    config = project()
    code, text, _ = invoke("plan", "--profile", "local", "-c", config)
    assert code == 0
    assert "core-hours" in text
    assert "GPU-hours" in text
    (one,) = json.loads(invoke("plan", "-c", config, "--json")[1])
    assert {*TOTALS, "shards", "seconds", "longest_s", "workers", "from_runs"} == set(
        one["estimate"]
    )
    assert one["estimate"]["shards"] == 2
    assert one["estimate"]["peak_bytes"] > 1e8  # a worker with its libraries
    code, out, err = invoke("plan", "--profile", "cloud", "-c", config)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "profile" in err


def test_estimate_plan__workers_share_the_work_but_not_the_longest_shard(project):
    config = project()
    pipeline = load(config)
    plan = read_ahead(pipeline, plan_flow(pipeline, SPECS["spikes"], None), None)
    one, two, many = (
        estimate_plan(plan, None, Compute(workers=n, device="cpu")) for n in (1, 2, 100)
    )
    assert one.core_seconds == two.core_seconds == one.seconds
    assert two.seconds == pytest.approx(one.seconds / 2, rel=0.2)
    assert many.seconds >= one.seconds / 2.5  # of two shards the longer one
    assert one.gpu_seconds == 0


def test_misfits__name_what_a_profile_gives_too_little_of(project):
    config = project()
    assert invoke("plan", "--profile", "slurm", "-c", config)[0] == 0
    pipeline = load(config)
    plan = read_ahead(pipeline, plan_flow(pipeline, SPECS["spikes"], None), None)
    roomy = Compute(profile="slurm", workers=50, memory="8 GB")
    assert misfits(estimate_plan(plan, None, roomy), roomy) == []
    tight = Compute(profile="slurm", memory="100 MB", queue={"walltime": "1 s"}, timeout="1 s")
    memory, walltime, timeout = misfits(estimate_plan(plan, None, tight), tight)
    assert memory.endswith("and has 100 MB: raise compute.memory")
    assert walltime.endswith("raise compute.queue.walltime")
    assert timeout.endswith("raise compute.timeout")


def test_read_ahead__looks_into_some_of_very_many_and_counts_all(project, monkeypatch):
    config = project()
    for k in range(8):
        write_recording(config.parent / "data" / f"r{k}.npz", k, seconds=20)
    pipeline = load(config)
    whole = plan_flow(pipeline, SPECS["spikes"], None)
    every = estimate_plan(read_ahead(pipeline, whole, None), None, pipeline.compute)
    monkeypatch.setattr(ahead, "MOST", 5)
    plan = read_ahead(pipeline, whole, None)
    some = estimate_plan(plan, None, pipeline.compute)
    assert len(plan.shards) == 5
    assert len(plan.unread) == 5
    assert some.shards == every.shards == 10
    assert some.core_seconds == pytest.approx(every.core_seconds, rel=0.5)


@pytest.mark.usefixtures("here")
def test_run__stores_what_it_was_to_take_and_took_and_shows_it(project):
    config = project()
    run(config)
    (version,) = open_store(config).log()
    cost = version.metadata["cost"]
    assert cost["shards"] == 2
    assert set(cost["estimate"]) == set(cost["actual"]) == {*TOTALS, "seconds"}
    seconds = open_store(config).read("results/spikes/maxent")["seconds"].values
    # a body reads its input and packs its result besides measuring
    assert seconds.sum() <= cost["actual"]["core_seconds"] < seconds.sum() + 10
    assert cost["actual"]["peak_bytes"] > 1e8
    assert cost["actual"]["read_bytes"] > 0
    assert cost["actual"]["written_bytes"] > 0
    assert "2 shards took (expected)" in invoke("status", "-c", config)[1]
    assert "took (expected)" in invoke("log", "-c", config)[1]


@pytest.mark.usefixtures("here")
def test_plan__learns_from_earlier_runs(project):
    """Of the same work over again, time, memory and bytes are expected as they came out."""
    config = project()
    run(config)
    (version,) = open_store(config).log()
    actual = version.metadata["cost"]["actual"]
    took = open_store(config).read("results/spikes/maxent")["seconds"].values
    project(seed=4)
    (one,) = json.loads(invoke("plan", "-c", config, "--json")[1])
    estimate = one["estimate"]
    assert estimate["from_runs"] == 2
    spec, pipeline = SPECS["spikes"], load(config)
    plan = plan_flow(pipeline, spec, open_store(config))
    costs = [spec.cost(p.shard.input.size, p.shard.config).seconds for p in plan.todo]
    scale = np.clip(np.median(took / np.array(costs)), 0.1, 30)
    assert estimate["core_seconds"] == pytest.approx(sum(costs) * scale)
    for name in ("read_bytes", "written_bytes", "peak_bytes"):
        formula = version.metadata["cost"]["formula"][name]
        within = np.clip(actual[name] / formula, 0.1, 30) * formula
        assert estimate[name] == pytest.approx(within)
