"""The digit model after 8,000 steps against the reference numbers; all of it is slow.

Trained here once (a minute or two of one core). Tolerances are those of the reference, which
covers the spread between training runs: 0.05 nat, 10 % in sigma, 5 % in costs and losses.
"""

import numpy as np
import pytest

from irrev.diffusion.class_entropy import class_entropy
from irrev.diffusion.exact import empirical_denoiser
from irrev.diffusion.guidance import compare_guidance
from irrev.diffusion.models.digits import DigitTrainer, digits_to_bytes, load_digits
from irrev.diffusion.moments import half_distances, spectral_marker
from irrev.diffusion.partitions import finest, partition
from irrev.diffusion.price_list import _curves
from irrev.diffusion.prices import schedule_prices
from irrev.diffusion.records import diffusion_piece
from irrev.diffusion.schedules import cond_ot, cosine, edm_grid, vp_linear
from irrev.diffusion.speed_accuracy import start_sensitivity, velocity_cost
from irrev.diffusion.study import open_study, study_sums
from tests.irrev.diffusion.models.test_digits import HALVES, TABLE

pytestmark = pytest.mark.slow
GRID = edm_grid(64, sigma_min=0.05, sigma_max=40)
DIGITS = load_digits()
X, Y = np.concatenate([DIGITS.test] * 3), np.tile(DIGITS.test_labels, 3)
# Half distances of the training rows, the other axis of the partition law.
DISTANCES = {"0/1": 2.63, "3/8": 1.59, "1/8": 1.33, "4/9": 2.42, "06/18": 1.83, "even/odd": 1.13}


@pytest.fixture(scope="module")
def model():
    trainer = DigitTrainer(steps=8000)
    trainer.run()
    return trainer.denoiser()


@pytest.fixture(scope="module")
def profile(model):
    questions = [finest(range(10)), *(partition(k, v[0]) for k, v in HALVES.items())]
    return class_entropy(model, Y, GRID, data=X, partitions=questions, draws=50)


def at(sigma, grid=GRID):
    return int(np.argmin(np.abs(np.log(grid / sigma))))


def test_digits__entropy_table(profile):
    got = {s: round(float(profile.entropy_mean[at(s), 0]), 3) for s in TABLE}
    print("H", got)
    assert got == pytest.approx(TABLE, abs=0.05)
    for name in ("sigma_peak", "sigma_var"):
        assert float(profile[name][0]) == pytest.approx(1.40, rel=0.12)  # one grid level
    assert float(profile.rate_peak[0]) == pytest.approx(1.53, abs=0.1)
    assert float(profile.accuracy[-1, 0]) == pytest.approx(0.99, abs=0.01)
    print("closure", float(profile.rate_closure[0]), "peak", float(profile.sigma_peak[0]))


def test_digits__partition_law(profile):
    """Half points within 10 % of the reference; of half the mean distance, by 13 % at most."""
    flat = DIGITS.train.reshape(len(DIGITS.train), -1).astype(float)
    for k, (name, (sets, half)) in enumerate(HALVES.items(), start=1):
        distance = half_distances(flat, DIGITS.train_labels, partition(name, sets))
        assert distance == pytest.approx(DISTANCES[name], abs=0.006)
        got = float(profile.sigma_half[k])
        print(name, round(got, 3), round(distance, 3))
        assert got == pytest.approx(half, rel=0.1)
        assert got == pytest.approx(distance, rel=0.14)


def test_digits__empirical_bayes_reference():
    """No network: training rows with h = 0.3 x rms, on held-out rows."""
    reference = empirical_denoiser(DIGITS.train, DIGITS.train_labels)
    ds = class_entropy(reference, Y, GRID, data=X.astype(float), draws=0)
    expected = {3.5: 2.01, 1.93: 1.44, 1.40: 0.95, 0.99: 0.46, 0.70: 0.15}
    got = {s: round(float(ds.entropy_mean[at(s), 0]), 3) for s in expected}
    print("empirical", got)
    assert got == pytest.approx(expected, abs=0.05)


def test_digits__spectral_marks():
    assert spectral_marker(DIGITS.train) == pytest.approx(1.67, abs=0.01)
    assert spectral_marker(DIGITS.train, DIGITS.train_labels) == pytest.approx(1.52, abs=0.01)


def test_digits__guidance_shifts(model):
    grid = edm_grid(32, sigma_min=0.05, sigma_max=40)
    ds = compare_guidance(model, np.resize(np.arange(10), 500), grid, [1.0, 2.0], draws=20)
    half, cross = ds.sigma_half[:, 0].to_numpy(), ds.sigma_half_cross[:, 0].to_numpy()
    print("guidance", half, cross)
    assert half == pytest.approx([1.59, 2.07], rel=0.1)
    assert cross == pytest.approx([1.6, 2.8], rel=0.1)


@pytest.fixture(scope="module")
def losses(model):
    """Errors of the null condition on 28 levels and held-out rows x 3."""
    from irrev.diffusion.information import information_profile

    sigmas = np.geomspace(60, 0.03, 28)
    return sigmas, information_profile(model, X, sigmas, trace_states=0)


def test_digits__denoising_loss(losses):
    sigmas, ds = losses
    expected = {0.1: 0.384, 0.3: 1.77, 1.0: 7.65, 3.0: 16.3, 10.0: 18.9}
    log = np.log(sigmas[::-1])
    values = np.exp(np.interp(np.log(list(expected)), log, np.log(ds.mmse.to_numpy()[::-1])))
    print("mmse", values)
    assert values == pytest.approx(list(expected.values()), rel=0.05)
    assert np.var(X, axis=0).sum() == pytest.approx(18.92, abs=0.01)
    assert np.mean(np.sum(X.reshape(len(X), -1) ** 2, axis=1)) == pytest.approx(45.99, abs=0.01)


def test_digits__price_list(model):
    """From the paths' own curves: cost by loss, of the flow, of one data point, moment bound."""
    study = open_study(
        None, model={"kind": "digits"}, weights=digits_to_bytes(model),
        piece={"states": "generate", "guidance": 1.0},
        levels={"n": 8, "sigma_min": 0.05, "sigma_max": 40.0}, partitions={}, n_paths=10,
        batch=10, level=0.95, draws=0, seed=0,
    )  # fmt: skip
    assert study_sums(study, range(1)).losses is None
    import torch

    from irrev.diffusion.chunks import chunked
    from irrev.diffusion.entropy_sums import summarise
    from irrev.diffusion.paths import ForwardPaths

    sigmas = np.geomspace(60, 0.03, 28)
    sums = summarise(
        chunked(model), Y, sigmas, source=ForwardPaths(torch.as_tensor(X)), draws=0,
        questions=[finest([0, 1])], prior=np.full(10, 0.1),
    )  # fmt: skip
    curve, flow = _curves(sums.losses[0], sigmas, 64)
    made = [cond_ot(), cosine(), vp_linear()]
    ds = schedule_prices(curve, made, flow=flow)
    print({n: ds[n].to_numpy().round(2).tolist() for n in ds.data_vars if ds[n].ndim == 1})
    assert ds.c2.to_numpy() == pytest.approx([77.7, 85.0, 130.6], rel=0.05)
    assert ds.c2_flow.to_numpy()[:2] == pytest.approx([81.2, 91.0], rel=0.05)
    assert ds.c2_conditional.to_numpy()[:2] == pytest.approx([110.0, 135.7], rel=0.005)
    # The same flow by network calls at 101 times: no interpolation between levels.
    for k, schedule in enumerate(made[:2]):
        direct = velocity_cost(model, X, schedule)
        assert float(ds.c2_flow[k]) == pytest.approx(float(direct.c2), rel=0.01)


def test_digits__wrong_starts(model):
    grid = edm_grid(32, sigma_min=0.05, sigma_max=40)
    scale = start_sensitivity(model, grid, scale=1.1)
    shift = start_sensitivity(model, grid, shift=0.1)
    print("starts", scale, shift)
    assert scale.w1_upper == pytest.approx(0.237, rel=0.05)
    assert scale.w1_start == pytest.approx(0.793, rel=0.01)
    assert shift.w1_upper == pytest.approx(0.455, rel=0.05)
    assert shift.chi_squared == pytest.approx(np.expm1(0.64))


def test_digits__whole_piece(model):
    """The flow's row: bandwidths within their errors, instability, relation, moments."""
    import xarray as xr

    flat = DIGITS.test.reshape(360, 64)
    ds = xr.Dataset({"x": (("sample", "feature"), flat), "label": ("sample", DIGITS.test_labels)})
    made = diffusion_piece(
        ds.assign_attrs(shape="[1, 8, 8]"), model={"kind": "digits"},
        weights=digits_to_bytes(model), piece={"states": "data", "guidance": 1.0},
        levels={"n": 32, "sigma_min": 0.05, "sigma_max": 40.0},
        partitions={"3/8": {"a": [3], "b": [8]}}, schedules=["cond_ot", "cosine", "vp_linear"],
        trace_states=64, n_paths=1080, batch=512, level=0.95, draws=50, seed=0,
    )  # fmt: skip
    row, curves = made["row"], made["profile"]
    reference = {0.1: (37.4, 32.6, 27.7), 1.0: (7.5, 7.2, 6.8), 3.0: (1.8, 1.7, 1.5)}
    log = np.log(curves.sigma.to_numpy()[::-1])
    for sigma, expected in reference.items():
        for name, value in zip(("loss", "div", "score"), expected, strict=True):
            got, error = (
                float(
                    np.interp(np.log(sigma), log, curves[f"bandwidth_{name}{e}"].to_numpy()[::-1])
                )
                for e in ("", "_se")
            )
            print("bandwidth", sigma, name, got, error)
            assert got == pytest.approx(value, abs=0.05 * value + 4 * error)
    assert row.bound.to_numpy().tolist() == [["holds"] * 3]
    assert float(row.w2_lower[0]) == pytest.approx(62.2, abs=0.5)
    names = ("sigma_instability", "sigma_spectral", "sigma_spectral_between")
    print({n: [float(row[n + e][0]) for e in ("", "_low", "_high")] for n in names})
    print("midpoint 3/8", [float(row[f"sigma_midpoint{e}"][0, 1]) for e in ("", "_low", "_high")])
    print({n: row[n].to_numpy().round(3).tolist() for n in ("eta_low", "eta_high", "bound_slack")})
