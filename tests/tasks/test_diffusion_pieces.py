"""A piece in parts: the same bits when it is killed and taken up again, nothing computed twice."""

import json

import numpy as np
import pytest
import xarray as xr

from irrev.diffusion import study
from irrev.diffusion.models import build as models
from irrev.simulate.mixtures import binary_mixture
from storage.pending import Pending
from storage.repository import Repository, StoreRef
from tasks import diffusion
from tasks.cluster import use_client
from tasks.diffusion import StudyRef, measure_study
from tasks.pieces import drop_pieces

MIXTURE = binary_mixture(2, distance=4.0)
CONFIG = {
    "model": {"kind": "mixture", "weights": [0.5, 0.5], "means": MIXTURE.means.tolist(), "cov": 1},
    "levels": {"n": 8, "sigma_min": 0.05, "sigma_max": 80.0},
    "partitions": {},
    "classes": [],
    "against": "classes",
    "schedules": ["cosine"],
    "n_paths": 0,
    "batch": 10,
    "trace_states": 0,
    "interval": {"level": 0.95, "draws": 20},
    "selection": {"states": "data", "guidance": 1.0},
}


@pytest.fixture
def ref(tmp_path):
    place = StoreRef(str(tmp_path / "store"), "main")
    repo = Repository.open(place, create=True, project="test")
    x, y = MIXTURE.sample(60, np.random.default_rng(0))
    ds = xr.Dataset({"x": (("sample", "feature"), x.astype(np.float32)), "label": ("sample", y)})
    Pending(repo).put({"data": {"data": ds.assign_attrs(shape=json.dumps([2]))}})
    return place


@pytest.fixture(autouse=True)
def _fresh():
    diffusion._opened.cache_clear()
    diffusion._built.cache_clear()


def piece(ref, **change):
    at = Pending(Repository.open(ref)).snapshot()
    config = json.dumps(CONFIG | change)
    return StudyRef(ref, at, "pending:data", None, config, "/", 3, "cpu", "")


def drop_time(result):
    return result["row"].drop_vars("seconds")


def test_measure_study__killed_and_resumed_gives_the_same_bits(ref, monkeypatch):
    """Six batches; the fourth call fails. What was kept is not computed again."""
    whole = measure_study(piece(ref), "one", None, 60.0)
    done, resumed, sums = [], [], study.study_sums

    def watched(study, numbers):
        done.append(list(numbers))
        if len(done) > 3 and not resumed:
            raise ValueError("killed here")
        return sums(study, numbers)

    monkeypatch.setattr(study, "study_sums", watched)
    with pytest.raises(ValueError, match="killed here"):
        measure_study(piece(ref), "two", None, 60.0)
    waiting = Pending(Repository.open(ref)).keys()
    kept = sum(k.startswith("two/") for k in waiting)
    assert kept in (2, 3)  # all that finished, but one whose answer may still be on its way
    resumed.append(True)
    done.clear()
    again = measure_study(piece(ref), "two", None, 60.0)
    assert len(done) == 6 - kept
    assert drop_time(again).identical(drop_time(whole))
    assert again["profile"].identical(whole["profile"])
    keys = Pending(Repository.open(ref)).keys()
    assert sum(k.startswith("two/") for k in keys) == 6
    drop_pieces(ref, {"one", "two"})
    assert Pending(Repository.open(ref)).keys() == {"data"}


def test_measure_study__how_many_at_once_changes_nothing(ref):
    made = []
    for n in (1, 3):
        use_client(None, slots=n)
        made.append(measure_study(piece(ref), f"at-{n}", None, 60.0))
    use_client(None)
    one, three = made
    assert drop_time(one).identical(drop_time(three))


def test_measure_batches__pieces_that_alternate_share_one_model(ref, monkeypatch):
    """Parts of two guidance weights in one worker: a model that takes minutes is loaded once."""
    build, built = models.build_denoiser, []

    def watched(model, **options):
        built.append(model["kind"])
        return build(model, **options)

    monkeypatch.setattr(models, "build_denoiser", watched)
    weights = [piece(ref, selection={"states": "generate", "guidance": w}) for w in (1.0, 2.0)]
    for first in (0, 1):
        for one in weights:
            diffusion.measure_batches(one, first, first + 1)
    assert built == ["mixture"]


def test_measure_study__one_batch_leaves_nothing_behind(ref):
    made = measure_study(piece(ref, batch=60), "small", None, 60.0)
    assert int(made["row"]["n_paths"][0]) == 60
    assert Pending(Repository.open(ref)).keys() == {"data"}


def test_measure_study__paths_of_the_model_start_at_the_configuration(ref, tmp_path):
    """Rows to learn from lie beside the pipeline file."""
    x, y = MIXTURE.sample(40, np.random.default_rng(1))
    np.savez(tmp_path / "train.npz", x=x.astype(np.float32), labels=y)
    model = {"kind": "empirical", "reference_rows": "train.npz"}
    made = piece(ref, model=model, batch=60)
    moved = StudyRef(made.ref, made.at, made.group, None, made.config, str(tmp_path), 3, "cpu", "")
    assert int(measure_study(moved, "own", None, 60.0)["row"]["n_paths"][0]) == 60
