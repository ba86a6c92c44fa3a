"""The protocols flow: a sweep that is learned once, taken over when cut off, and reported."""

import numpy as np
import pytest
import yaml

from flows.config import load
from flows.specs import SPECS
from irrev import schema
from irrev.errors import ConfigError
from storage.repository import Repository

KIND = "protocols/response"


@pytest.fixture
def config(tmp_path):
    def make(**changes):
        block = {
            "sources": ["trap", "carry"],
            "durations": [1.0, 2.0],
            "error_weights": [2.0, 8.0],
            "n_intervals": 4,
            "dt": 0.05,
            "learning": {
                "n_iterations": 150, "n_trajectories": 200, "n_evaluation": 1000
            },
        } | changes  # fmt: skip
        file = tmp_path / "pipeline.yaml"
        file.write_text(
            yaml.safe_dump(
                {
                    "version": 1,
                    "project": "test",
                    "seed": 3,
                    "store": {"url": "./results"},
                    "compute": {"profile": "threads", "workers": 2},
                    "sources": {
                        "trap": {"kind": "translate_trap"},
                        "carry": {"kind": "carry_particle", "target": 2.0},
                    },
                    "flows": {"protocols": block},
                }
            )
        )
        return file

    return make


def test_plan__a_sweep_needs_no_file_and_weighs_only_tasks_with_an_error(config):
    from flows.plan import plan_flow

    plan = plan_flow(load(config()), SPECS["protocols"], None)
    assert [p.shard.id for p in plan.todo] == [
        "trap:duration=1",
        "trap:duration=2",
        "carry:duration=1 weight=2",
        "carry:duration=1 weight=8",
        "carry:duration=2 weight=2",
        "carry:duration=2 weight=8",
    ]
    assert not plan.unread


def test_load__a_file_of_tracks_cannot_be_driven(config):
    file = config()
    settings = yaml.safe_load(file.read_text())
    settings["sources"]["trap"] = {"kind": "trajectories", "uri": "x.csv"}
    file.write_text(yaml.safe_dump(settings))
    with pytest.raises(ConfigError, match=r"`trap` is of kind trajectories; this flow reads"):
        load(file)


@pytest.mark.usefixtures("prefect_server")
def test_protocols__learns_the_sweep_once_and_reports_it(config):
    from flows.page import write_page
    from flows.protocols import protocols

    file = str(config())
    summary = protocols(file)
    assert (summary.done, summary.failed, summary.quarantined) == (6, 0, 0)
    pipeline = load(file)
    repo = Repository.open(pipeline.store_ref())
    ds = schema.validate(repo.read(f"results/{KIND}").load(), KIND)
    least = ds["best_work"] + ds["error_weight"] * ds["best_error"]
    assert np.all(ds["over_best"] >= 0)
    assert np.all(ds["over_best"] <= 0.01 * least)
    assert np.all(ds["work"] > ds["bound"] - 4 * (ds["work_high"] - ds["work"]))
    # The front: a dearer error is rarer, and haste costs.
    carry = ds.isel(shard=ds["source"].to_numpy() == "carry")
    for duration in (1.0, 2.0):
        one = carry.isel(shard=carry["duration"].to_numpy() == duration).sortby("error_weight")
        assert one["exact_error"][0] > one["exact_error"][1]
        assert one["exact_work"][0] < one["exact_work"][1]
    curves = repo.read("results/protocols/curves/trap/duration=1").load()
    schema.validate(curves, "protocols/curves")
    assert curves.sizes["iteration"] == 150
    assert not protocols(file).changed
    html = write_page(pipeline, repo).read_text(encoding="utf-8")
    assert "Protocols at the least work" in html
    assert "Learned protocol with its jumps, carry, duration=1 weight=2" in html


@pytest.mark.usefixtures("prefect_server")
def test_protocols__a_new_point_leaves_the_others_alone(config):
    from flows.protocols import protocols

    assert protocols(str(config(sources=["trap"], durations=[1.0]))).done == 1
    more = protocols(str(config(sources=["trap"], durations=[1.0, 3.0])))
    assert (more.done, more.up_to_date) == (1, 1)


@pytest.mark.usefixtures("prefect_server")
def test_protocols__a_cut_off_sweep_is_taken_over(config, monkeypatch):
    """Two of three points are in the scratch when the run dies; the next run learns one."""
    import flows.protocols as module

    calls = []

    def submit(run, shard):
        calls.append(shard.id)
        return infer(run, shard)

    def die(*args):
        raise RuntimeError("power failure")

    infer = module.infer
    monkeypatch.setattr(module, "infer", submit)
    with monkeypatch.context() as patch:
        patch.setattr(module, "publish_findings", die)
        with pytest.raises(RuntimeError, match="power failure"):
            module.protocols(str(config(sources=["trap"], durations=[1.0, 2.0])))
    assert len(calls) == 2
    assert module.protocols(str(config(sources=["trap"], durations=[1.0, 2.0, 3.0]))).done == 3
    assert calls[2:] == ["trap:duration=3"]
