"""The diffusion flow: a mixture whose answer is known, the digit model, and where models run."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from flows import runners
from flows.config import load
from irrev import schema
from irrev.errors import ConfigError
from irrev.simulate.mixtures import binary_mixture
from storage.repository import Repository

pytestmark = pytest.mark.usefixtures("prefect_server")
MIXTURE = binary_mixture(2, distance=4.0)
EXACT = {
    "kind": "mixture",
    "weights": [0.5, 0.5],
    "means": MIXTURE.means.tolist(),
    "cov": 1.0,
}
DIGITS = {"kind": "digits", "steps": 30}


@pytest.fixture
def project(tmp_path):
    x, y = MIXTURE.sample(600, np.random.default_rng(0))
    np.savez(tmp_path / "mix.npz", x=x.astype(np.float32), labels=y)
    images = np.random.default_rng(0).integers(0, 17, (8, 1, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "digits.npz", images=images, labels=np.arange(8))

    def make(model, source="mix", compute=None, **block):
        settings = {"value_range": [0, 16]} if source == "digits" else {}
        path = tmp_path / "pipeline.yaml"
        content = {
            "version": 1,
            "project": "test",
            "seed": 3,
            "store": {"url": "./results"},
            "compute": compute or {"profile": "threads", "workers": 2, "device": "cpu"},
            "sources": {source: {"kind": "samples", "uri": f"{source}.npz", **settings}},
            "flows": {
                "diffusion": {
                    "sources": [source],
                    "model": model,
                    "levels": {"n": 32, "sigma_max": 80.0},
                    "interval": {"draws": 100},
                    "trace_states": 4,
                    **block,
                }
            },
        }
        path.write_text(yaml.safe_dump(content))
        return path

    return make


def table(path):
    repo = Repository.open(load(path).store_ref())
    ds = repo.read("results/diffusion/class_entropy").load()
    return repo, schema.validate(ds, "diffusion/class_entropy")


def test_diffusion__measures_a_known_mixture_and_reports_it(project):
    from flows.diffusion import diffusion
    from flows.page import write_page

    path = project(EXACT, guidance=[1.0, 2.0], partitions={"sign": {"plus": [0], "minus": [1]}})
    summary = diffusion(str(path))
    assert (summary.done, summary.failed) == (3, 0)
    repo, ds = table(path)
    assert ds["shard"].to_numpy().tolist() == ["mix:data", "mix:w=1", "mix:w=2"]
    # Half of the entropy at g = 1.04401: noise 3.785; intervals are 95 % of 600 paths.
    low, high = ds["sigma_decision_low"].to_numpy(), ds["sigma_decision_high"].to_numpy()
    for i in (0, 1):
        assert float(ds["sigma_decision"][i]) == pytest.approx(3.785, abs=high[i] - low[i])
    assert float(ds["sigma_decision"][2]) > float(ds["sigma_decision"][1])
    profile = repo.read("results/diffusion/profile/mix/data").load()
    schema.validate(profile, "diffusion/profile")
    assert profile.sizes["noise_level"] == 32
    assert diffusion(str(path)).done == 0
    html = write_page(load(path), repo).read_text(encoding="utf-8")
    assert "the class is half decided at noise" in html
    assert "Price of schedules" in html


def test_diffusion__trains_the_digit_model_once(project):
    from flows.diffusion import diffusion

    first = diffusion(str(project(DIGITS, source="digits", levels={"n": 4})))
    assert first.done == 1
    repo, ds = table(project(DIGITS, source="digits", levels={"n": 4}))
    (name,) = repo.children("models")
    assert name.startswith("digits-")
    model_hash = ds["model_hash"].to_numpy()[0]
    assert len(model_hash) == 64
    again = diffusion(str(project(DIGITS, source="digits", levels={"n": 5})))
    assert again.done == 1
    repo, other = table(project(DIGITS, source="digits", levels={"n": 5}))
    assert other["model_hash"].to_numpy()[0] == model_hash
    assert repo.children("models") == [name]


def test_diffusion__refuses_cuda_before_any_work(project, monkeypatch):
    from flows.diffusion import diffusion

    monkeypatch.setattr(runners, "gpu_count", lambda: 0)
    path = project(EXACT, compute={"profile": "threads", "workers": 1, "device": "cuda"})
    with pytest.raises(ConfigError, match="no worker has the resource GPU"):
        diffusion(str(path))
    assert not Repository.open(load(path).store_ref()).has("results/diffusion/class_entropy")


def test_diffusion__auto_without_a_gpu_runs_on_the_cpu_and_says_so(project, monkeypatch):
    from flows.diffusion import diffusion

    monkeypatch.setattr(runners, "gpu_count", lambda: 0)
    path = project(EXACT, compute={"profile": "threads", "workers": 1, "device": "auto"})
    assert diffusion(str(path)).done == 1
    _, ds = table(path)
    assert "no GPU worker, ran on the CPU" in ds["device"].to_numpy()[0]


def test_diffusion__needs_no_samples_to_examine_a_model(project):
    """Generated paths only, at two weights on the same noise; nothing to do the second time."""
    from flows.diffusion import diffusion

    path = project(EXACT, sources=[], guidance=[1.0, 2.0], n_paths=200)
    assert diffusion(str(path)).done == 2
    _, ds = table(path)
    assert ds["shard"].to_numpy().tolist() == ["model:w=1", "model:w=2"]
    assert len(set(ds["seed"].to_numpy().tolist())) == 1
    assert float(ds["sigma_decision"][1]) > float(ds["sigma_decision"][0])
    assert not diffusion(str(path)).changed


def test_diffusion__asks_of_prompts_against_the_null_condition(project):
    from flows.diffusion import diffusion

    path = project(
        EXACT, sources=[], against="unconditional", guidance=[1.0], n_paths=150, batch=40
    )
    assert diffusion(str(path)).done == 1
    _, ds = table(path)
    assert ds["reference"].to_numpy().tolist() == ["unconditional, prior 0.5"]
    assert ds["partition"].to_numpy().tolist() == [["0", "1"]]
    assert int(ds["n_rows"][0]) == 2 * 32 * 300  # (prompt + null) x levels x paths of two prompts


def test_diffusion__seeds_repeat_with_noise_of_their_own(project):
    from flows.diffusion import diffusion

    path = project(EXACT, seeds=[0, 1], levels={"n": 4}, trace_states=0)
    assert diffusion(str(path)).done == 2
    _, ds = table(path)
    assert ds["condition"].to_numpy().tolist() == ["data", "data seed=1"]
    first, second = ds["sigma_decision"].to_numpy()
    assert first != second


def test_diffusion__samples_in_parts_give_the_same_numbers(project, monkeypatch):
    """600 samples in 5 parts, from the scratch and then from the branch, as from one piece."""
    from flows.diffusion import diffusion
    from irrev.readers import samples

    assert diffusion(str(project(EXACT))).done == 1
    _, whole = table(project(EXACT))
    parted = project(EXACT)
    parted.write_text(parted.read_text().replace("./results", "./parted"))
    monkeypatch.setattr(samples, "PART_BYTES", 120 * 2 * 4)
    assert diffusion(str(parted)).done == 1
    repo, ds = table(parted)
    names = [f"rows-{number:05d}" for number in range(5)]
    assert repo.children("inputs/samples/mix") == names
    assert "x" not in repo.read("inputs/samples/mix")
    same = [n for n, v in whole.data_vars.items() if v.dtype.kind == "f" and n != "seconds"]
    xr.testing.assert_equal(ds[same], whole[same])
    again = project(EXACT, interval={"draws": 120})
    again.write_text(again.read_text().replace("./results", "./parted"))
    assert diffusion(str(again)).done == 1
    assert Repository.open(load(again).store_ref()).read("results/diffusion/class_entropy")[
        "sigma_decision"
    ].to_numpy() == pytest.approx(whole["sigma_decision"].to_numpy(), rel=1e-12)


def test_plan__a_model_file_that_changed_is_a_reason(project, tmp_path):
    """The content of files that a model is made of is part of the key; a touch is not."""
    from flows.plan import plan_flow
    from flows.specs import SPECS

    (tmp_path / "m.pt").write_bytes(b"first")
    model = {"kind": "torchscript", "path": "m.pt", "dim": [2], "num_classes": 2}
    path = project(model, sources=[], guidance=[1.0])

    def key():
        return plan_flow(load(path), SPECS["diffusion"], None).todo[0].shard.key

    before = key()
    (tmp_path / "m.pt").touch()
    assert key() == before
    (tmp_path / "m.pt").write_bytes(b"other")
    assert key() != before


def test_docs__examples_of_models_are_valid_and_cost_what_they_say(tmp_path):
    """The two pipeline files of docs/models.md, and their number of states."""
    from flows.specs import SPECS

    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    states = []
    for k, part in enumerate(text.split("```yaml\n")[1:]):
        path = tmp_path / f"{k}.yaml"
        path.write_text(part.split("```")[0], encoding="utf-8")
        block = load(path).flows.diffusion
        config = SPECS["diffusion"].stage_config(block, None)
        asked = config["classes"] or range(len(config["model"]["prompts"]))
        each = 2 * len(asked) if config["against"] == "unconditional" else len(asked) + 1
        pieces = len(SPECS["diffusion"].pieces(block, None))
        states.append(pieces * each * config["levels"]["n"] * config["n_paths"])
    assert states == [288_000, 320_000]
    assert all(f"{n:,} states" in text for n in states)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"sources": []}, "no sources and no guidance"),
        ({"against": "unconditional"}, "name weights in guidance"),
        (
            {
                "against": "unconditional",
                "guidance": [1.0],
                "partitions": {"q": {"a": [0], "b": [1]}},
            },
            "leave partitions out",
        ),
        (
            {"levels": {"sigma_min": 5.0, "sigma_max": 1.0}},
            "sigma_min: 5 is not below sigma_max 1",
        ),
        ({"guidance": [1.0, float("nan")]}, "guidance.1: input should be a finite number"),
        ({"guidance": [1.0, 1.0]}, r"guidance: \[1.0, 1.0\] names one of them twice"),
        ({"seeds": [3, 3]}, r"seeds: \[3, 3\] names one of them twice"),
        ({"partitions": {"q": {"a": [0]}}}, "partitions: `q` needs two sets or more"),
        ({"partitions": {"q": {"a": {"b": [0], "c": [1]}, "d": [1]}}}, "no class twice"),
        ({"model": EXACT | {"means": [[0.0]]}}, "model.means: 1 means of lengths"),
        ({"model": EXACT | {"dtype": "float16"}}, "valid are: cov, kind, labels, means, weights"),
        ({"model": {"kind": "nix"}}, "`nix` is no kind of model"),
    ],
)
def test_config__says_what_a_diffusion_block_lacks(project, block, message):
    with pytest.raises(ConfigError, match=message):
        load(project(**({"model": EXACT} | block)))


@pytest.mark.slow
def test_diffusion__model_goes_to_the_worker_with_a_gpu(project):
    """Two workers, one of which declares a GPU (it computes on its CPU here)."""
    from dask.distributed import Client, Nanny, Scheduler, SpecCluster

    from flows.diffusion import diffusion

    workers = {
        "cpu-0": {"cls": Nanny, "options": {"nthreads": 1, "resources": {"CPU": 1}}},
        "gpu-0": {"cls": Nanny, "options": {"nthreads": 1, "resources": {"GPU": 1}}},
    }
    options = {"host": "127.0.0.1", "port": 0, "dashboard_address": ":0"}
    scheduler = {"cls": Scheduler, "options": options}
    with SpecCluster(scheduler=scheduler, workers=workers) as cluster, Client(cluster) as client:
        compute = {
            "profile": "address",
            "address": cluster.scheduler_address,
            "workers": 2,
            "device": "auto",
        }
        path = project(EXACT, compute=compute, guidance=[1.0])
        assert diffusion(str(path)).done == 2
        ran = client.run(_model_loaded)
        infos = client.scheduler_info(n_workers=-1)["workers"]
    _, ds = table(path)
    assert all("sent to a worker with a GPU" in d for d in ds["device"].to_numpy())
    assert {a for a, used in ran.items() if used} == {
        a for a, info in infos.items() if info["resources"].get("GPU")
    }


def _model_loaded():
    import sys

    return "irrev.diffusion.records" in sys.modules


def test_model_place__takes_a_gpu_of_this_process(monkeypatch):
    monkeypatch.setattr(runners, "gpu_count", lambda: 2)
    place = runners.model_place("auto")
    assert (place.device, place.resources) == ("auto", None)


def test_workers__one_process_a_gpu(monkeypatch, project):
    monkeypatch.setattr(runners, "gpu_count", lambda: 2)
    compute = load(project(EXACT, compute={"profile": "local", "workers": 3})).compute
    specs = runners._workers(compute)
    gpus = [s["options"] for name, s in specs.items() if name.startswith("gpu")]
    assert [g["env"]["CUDA_VISIBLE_DEVICES"] for g in gpus] == ["0", "1"]
    assert all(g["resources"] == {"GPU": 1.0} for g in gpus)
    assert sum(name.startswith("cpu") for name in specs) == 3
