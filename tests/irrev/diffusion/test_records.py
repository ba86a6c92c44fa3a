"""Pieces of a study: rows and profiles valid under the schema, from samples and a description."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

from irrev.diffusion.models.build import build_denoiser
from irrev.diffusion.moments import half_distances
from irrev.diffusion.paths import GeneratedPaths, NoiseStream, walk
from irrev.diffusion.records import diffusion_piece
from irrev.diffusion.schedules import edm_grid
from irrev.errors import InputError
from irrev.schema import blank, validate
from irrev.simulate.mixtures import binary_entropy, binary_mixture

MIXTURE = binary_mixture(4, distance=4.0)
MODEL = {
    "kind": "mixture",
    "weights": MIXTURE.weights.tolist(),
    "means": MIXTURE.means.tolist(),
    "cov": 1.0,
}
OPTIONS = {
    "model": MODEL,
    "levels": {"n": 32, "sigma_min": 0.05, "sigma_max": 80.0},
    "partitions": {"sign": {"plus": [0], "minus": [1]}},
    "schedules": ["cosine", "cond_ot"],
    "n_paths": 0,
    "batch": 400,
    "trace_states": 4,
    "level": 0.95,
    "draws": 20,
    "seed": 3,
}
DATA = {"states": "data", "guidance": 1.0}


def samples(n=800, **extra):
    x, y = MIXTURE.sample(n, np.random.default_rng(0))
    ds = xr.Dataset({"x": (("sample", "feature"), x.astype(np.float32)), "label": ("sample", y)})
    return ds.assign(extra).assign_attrs(shape=json.dumps([4]))


def complete(row):
    """A row with the identity that planning adds."""
    identity = blank("diffusion/class_entropy", "shard")
    return row.assign({k: v for k, v in identity.items() if k not in row and v.dims == ("shard",)})


def test_diffusion_piece__data_row_is_valid_and_right():
    """The sign's half point is that of the binary mixture: g = 1.04401, 4 bootstrap errors."""
    made = diffusion_piece(samples(), piece=DATA, **OPTIONS)
    row, profile = made["row"], made["profile"]
    validate(complete(row), "diffusion/class_entropy")
    validate(
        profile.drop_vars("partition").assign(partition=profile["partition"]), "diffusion/profile"
    )
    half = np.sqrt(16 / 1.04401 - 1)
    error = float(row.sigma_half_high[0, 1] - row.sigma_half_low[0, 1]) / 3.92
    assert float(row.sigma_half[0, 1]) == pytest.approx(half, abs=4 * error + 0.05)
    assert float(row.half_distance[0, 1]) == pytest.approx(4.0, abs=4 * (4 / 400) ** 0.5)
    assert row.schedule.to_numpy().tolist() == [["cosine", "cond_ot"]]
    assert np.all(row.c2 <= row.c2_conditional)
    exact = [binary_entropy(16 / (1 + s**2)) for s in profile.sigma.to_numpy()]
    gap = np.abs(profile.entropy_mean[:, 1] - exact)
    assert np.all(gap <= 4 * profile.entropy_mean_se[:, 1] + 0.006)  # 32 levels
    assert profile.sizes["example"] == 4


def test_diffusion_piece__guided_row_decides_earlier():
    """Guidance moves the decision to larger noise: 3.785 to 4.66 for weights 1 and 2."""
    rows = [
        diffusion_piece(samples(), piece={"states": "generate", "guidance": w}, **OPTIONS)["row"]
        for w in (1.0, 2.0)
    ]
    for row in rows:
        validate(complete(row), "diffusion/class_entropy")
        assert row.sizes["schedule_rank"] == 0
    first, second = (float(r.sigma_decision[0]) for r in rows)
    assert second > first


def test_diffusion_piece__stored_paths_are_scored_on_their_own_levels():
    grid = edm_grid(16, sigma_min=0.05, sigma_max=80)
    model = build_denoiser(MODEL)
    target = torch.arange(200) % 2
    levels = walk(
        model, grid, GeneratedPaths(target, (4,), dtype=torch.float64), [0, 1], NoiseStream(0)
    )
    paths = np.stack([level.x.numpy() for level in levels]).astype(np.float32)
    ds = samples(200).drop_vars(["x", "label"])
    ds = ds.assign(
        x=(("sample", "feature"), paths[-1]), label=("sample", target.numpy()),
        path=(("noise_level", "sample", "feature"), paths), sigma=("noise_level", grid),
    )  # fmt: skip
    made = diffusion_piece(ds, piece=DATA, **OPTIONS)
    assert made["row"].states.item() == "paths"
    assert made["profile"].sizes["noise_level"] == 16
    assert float(made["row"].accuracy[0, 0]) > 0.9


def test_diffusion_piece__empirical_model_learns_from_other_rows():
    options = OPTIONS | {"model": {"kind": "empirical", "reference_share": 0.5}}
    made = diffusion_piece(samples(), piece=DATA, **options)
    assert int(made["row"].n_paths[0]) == 400
    half = np.sqrt(16 / 1.04401 - 1)
    assert float(made["row"].sigma_decision[0]) == pytest.approx(half, rel=0.2)


def test_diffusion_piece__names_a_class_without_samples():
    ds = samples(60)
    ds["label"] = ds["label"] * 0
    row = diffusion_piece(ds, piece=DATA, **OPTIONS)["row"]
    assert row.reference.item() == "classes; no sample of 1"


def test_diffusion_piece__repeats_rows_with_fresh_noise():
    made = diffusion_piece(samples(100), piece=DATA, **OPTIONS | {"n_paths": 250})
    assert int(made["row"].n_paths[0]) == 250
    assert int(made["row"].n_rows[0]) == 3 * 32 * 250


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"kind": "nothing"}}, "'nothing' is not known; choose digits"),
        ({"model": {"kind": "digits"}}, "no weights yet"),
        ({"model": MODEL | {"means": [[0.0] * 3] * 2}}, r"samples of shape \(4,\) for a model of"),
        ({"device": "cuda"}, "torch sees no GPU"),
    ],
)
def test_diffusion_piece__says_what_does_not_fit(change, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=message):
        diffusion_piece(samples(20), piece=DATA, **OPTIONS | change)


def test_diffusion_piece__asks_for_labels():
    with pytest.raises(InputError, match="no labels"):
        diffusion_piece(samples(20).drop_vars("label"), piece=DATA, **OPTIONS)


def test_half_distance__needs_two_sets_with_data():
    from irrev.diffusion.partitions import finest

    flat, labels = np.zeros((4, 2)), np.arange(4) % 2
    assert np.isnan(half_distances(flat, labels, finest(range(3))))
    assert np.isnan(half_distances(flat, labels, finest([0, 5])))
