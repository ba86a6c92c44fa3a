"""Systems whose rates are known, bad input, and the traps that a user may fall into."""

import numpy as np
import pytest
import xarray as xr

from irrev.ep.linear import frequency_grid, pair_rates
from irrev.ep.spectra import summarise
from irrev.ep.whitening import fit_whitening, summarise_lags
from irrev.ep.witness import solve, witness
from irrev.errors import InputError, IrrevWarning
from irrev.simulate.hidden_drive import SharedDrive, simulate_shared_drive

P1 = SharedDrive(0.5, (0.3, 0.9), (1.0, 1.0), (1.0, 1.0), 1.0, 0.8)
P2 = SharedDrive(0.5, (0.8, 0.8), (1.0, 1.0), (1.0, 1.0), 1.0, 0.8)
P3 = SharedDrive(0.3, (0.5, -0.2), (1.0, -2.0), (0.5, 2.0), 1.5, 0.6)
P4 = SharedDrive(1.0, (0.0, 0.0), (1.0, 1.0), (1.0, 1.0), 1.0, 0.0)
PER_CALL = 16  # pairs measured at once, as 32 channels


def repeat(system, n, trials, rng, *, innovations="gaussian", **options):
    """Measure independent records of one pair; the columns of their own pairs, trials deep."""
    parts = []
    for _ in range(0, trials, PER_CALL):
        draws = [
            simulate_shared_drive(system, n, rng=rng, innovations=innovations)
            for _ in range(PER_CALL)
        ]
        ds = witness(np.concatenate(draws, axis=1), fs=1.0, **options)
        own = (ds["channel_i"] % 2 == 0) & (ds["channel_j"] == ds["channel_i"] + 1)
        parts.append(ds[["W", "W_se", "W_irr", "W_rev", "sigma", "sigma_se", "p", "p_irr"]].sel(
            pair=own.to_numpy()
        ))  # fmt: skip
    return xr.concat(parts, "pair")


def mean_error(values):
    return 4 * float(values.std()) / np.sqrt(values.size)


@pytest.mark.parametrize(
    ("system", "smear"),
    [
        # In-band smoothing at M = 64: W falls by 0.4 %, sigma by 2 % where time scales differ.
        pytest.param(P1, (0.005, 0.03), id="P1"),
        pytest.param(P2, (0.005, 0.0), id="P2"),
        pytest.param(P3, (0.005, 0.03), id="P3"),
        pytest.param(P4, (0.01, 0.0), id="P4"),
    ],
)
def test_witness__means_match_the_closed_forms(system, smear, rng):
    """Whitening with estimated filters and n = 4096 - 8 samples bias P4 by up to 1 %."""
    ds = repeat(system, 4096, 96, rng)
    true = pair_rates(system.spectrum(frequency_grid()))
    bias = smear[0] * true.witness
    assert float(ds["W"].mean()) == pytest.approx(system.witness(), abs=mean_error(ds["W"]) + bias)
    for name, value in (("sigma", true.sigma), ("W_irr", true.witness_irr)):
        tolerance = mean_error(ds[name]) + smear[1] * value
        assert float(ds[name].mean()) == pytest.approx(value, abs=tolerance)
    assert float(ds["W_se"].mean()) == pytest.approx(float(ds["W"].std()), rel=4 / np.sqrt(192))


@pytest.mark.parametrize(
    ("innovations", "excess"),
    [
        ("gaussian", 0.0),
        pytest.param("student3", 0.015, marks=pytest.mark.slow),
        pytest.param("exponential", 0.01, marks=pytest.mark.slow),
    ],
)
def test_witness__p_values_are_calibrated_for_independent_channels(innovations, excess, rng):
    """Binomial error at 5 %; heavy tails are slightly liberal, by `excess` at n = 1024."""
    null = SharedDrive(0.0, (0.95, 0.98), (1.0, 1.0), (1.0, 1.0), 1.0, 0.0)
    p = repeat(null, 1024, 320, rng, innovations=innovations)["p"]
    error = 4 * np.sqrt(0.05 * 0.95 / p.size)
    assert -error <= float((p < 0.05).mean()) - 0.05 <= error + excess


@pytest.mark.parametrize("gaps", [False, True], ids=["segments", "split"])
def test_witness__unequal_segments_keep_the_level(gaps, rng):
    """496 pairs of white channels, pairwise independent tests, so the binomial error holds.

    Ordinates that scaled with segment length rejected 16 to 23 % and 10 to 32 % in three draws."""
    x = rng.standard_normal((6000, 32))
    if gaps:
        x[np.sort(rng.choice(6000, 10, replace=False))] = np.nan
        ds = witness(x, fs=1.0, nan="split")
    else:
        ds = witness(x, fs=1.0, segments=[[0, 400], [400, 5000], [5000, 6000]])
    error = 4 * np.sqrt(0.05 * 0.95 / ds.sizes["pair"])
    for name in ("p", "p_irr"):
        assert float((ds[name] < 0.05).mean()) == pytest.approx(0.05, abs=error)
    assert min(ds["p_total"].item(), ds["p_irr_N"].item()) > 1e-4
    # Standard errors are those of the scatter: 4 errors of a standard deviation of 496 values.
    assert float(ds["W"].std() / ds["W_se"].mean()) == pytest.approx(1, abs=4 / np.sqrt(2 * 496))
    assert abs(float(ds["W"].mean())) < 4 * float(ds["W_se"].mean()) / np.sqrt(496)


def test_witness__p_irr_is_calibrated_for_coherent_reversible_pairs(rng):
    ds = repeat(P2, 1024, 320, rng)
    error = 4 * np.sqrt(0.05 * 0.95 / ds["p_irr"].size)
    assert float((ds["p_irr"] < 0.05).mean()) == pytest.approx(0.05, abs=error)


def test_witness__causal_whitening_must_not_leak_into_irreversibility(rng):
    """Channels of one response have a real cross-spectrum, but unequal whitening filters give it
    a phase; restored phases remove it. Here a common drive with unequal noise makes the filters
    differ, so sums without restoration would report sigma > 0."""
    system = SharedDrive(1.0, (0.8, 0.8), (1.0, 1.0), (0.05, 20.0), 1.0, -0.7)
    x = simulate_shared_drive(system, 32_768, rng=rng)
    ds = witness(x, fs=1.0)
    assert abs(float(ds["sigma"][0])) < 4 * float(ds["sigma_se"][0])
    assert float(ds["p_irr"][0]) > 1e-3
    fit = fit_whitening(summarise_lags(x))
    sums = summarise(x, fit, n_bands=128)
    trap = type(sums)(sums.gram, sums.gram, *(getattr(sums, k) for k in sums.__slots__[2:]))
    fooled = solve(trap, fit, fs=1.0)
    assert float(fooled["p_irr"][0]) < 1e-6


def test_witness__filters_on_single_channels_leave_w_and_move_sigma(rng):
    """A delay of two samples on one channel: W the same, sigma not."""
    x = simulate_shared_drive(P2, 65_536, rng=rng)
    delayed = np.stack([x[2:, 0], x[:-2, 1]], axis=1)
    plain, moved = witness(x, fs=1.0), witness(delayed, fs=1.0)
    assert float(moved["W"][0]) == pytest.approx(float(plain["W"][0]), abs=1e-3)
    assert float(plain["p_irr"][0]) > 1e-3
    assert float(moved["p_irr"][0]) < 1e-9


def test_witness__reversing_time_swapping_and_scaling_change_nothing_of_sigma(rng):
    """Up to the eight samples that each direction drops."""
    x = simulate_shared_drive(P1, 8192, rng=rng)
    base = witness(x, fs=1.0)
    for other in (x[:, ::-1], x * np.array([-3.0, 1e4]) + 7.0):
        ds = witness(np.ascontiguousarray(other), fs=1.0)
        for name in ("W", "sigma", "W_irr", "log_p"):
            assert float(ds[name][0]) == pytest.approx(float(base[name][0]), rel=1e-8)
    back = witness(np.ascontiguousarray(x[::-1]), fs=1.0)
    assert float(back["W"][0]) == pytest.approx(float(base["W"][0]), abs=float(base["W_se"][0]))
    assert float(back["sigma"][0]) == pytest.approx(
        float(base["sigma"][0]), abs=float(base["sigma_se"][0])
    )


def test_witness__instantaneous_mixing_is_dependent_and_reversible(rng):
    """Eight independent channels minus a shared reference."""
    poles = (0.2, 0.5, 0.8, -0.3, 0.9, 0.6, 0.1, 0.7)
    sources = SharedDrive(0.0, poles, (1.0,) * 8, (1.0,) * 8, 1.0, 0.0)
    x = simulate_shared_drive(sources, 30_000, rng=rng)
    reference = simulate_shared_drive(sources, 30_000, rng=rng)[:, 4]
    ds = witness(x - reference[:, None], fs=1.0, shared_reference=True)
    assert bool(ds["reject"].all())
    assert int(ds["reject_irr"].sum()) == 0
    assert all("shared_reference" in s for s in ds["status"].to_numpy())


def test_witness__a_constant_and_a_duplicate_channel_do_not_spoil_the_others(rng):
    x = simulate_shared_drive(P1, 4096, rng=rng)
    clean = witness(x, fs=1.0)
    more = np.column_stack([x, np.full(4096, 0.1), 3.0 * x[:, 0]])
    ds = witness(more, fs=1.0)
    status = dict(zip(ds["pair"].to_numpy(), ds["status"].to_numpy(), strict=True))
    assert status == {
        "0|1": "ok", "0|2": "constant", "0|3": "degenerate",
        "1|2": "constant", "1|3": "ok", "2|3": "constant",
    }  # fmt: skip
    pair = ds.set_index(pair="pair").sel(pair="0|1")
    assert float(pair["W"]) == pytest.approx(float(clean["W"][0]), rel=1e-9)
    twin = ds.sel(pair="0|3")
    assert (float(twin["W"]), float(twin["p"])) == (np.inf, 0.0)
    assert np.isnan(float(ds.sel(pair="0|2")["W"]))
    assert ds["set_status"].item() == "rank"
    assert np.isnan(ds["sigma_N"].item())
    alone = witness(more[:, :3], fs=1.0)
    assert (alone["set_status"].item(), alone["set_channels"].item()) == ("ok", 2)
    assert alone["sigma_N"].item() == pytest.approx(clean["sigma_N"].item(), rel=1e-9)


def test_witness__one_channel_meets_the_scalar_ceiling(rng):
    ds = witness(rng.standard_normal((4096, 1)), fs=1.0)
    assert ds.sizes["pair"] == 0
    assert np.isnan([ds["sigma_N"].item(), ds["W_total"].item()]).all()
    assert ds["set_status"].item() == "scalar ceiling"


def test_witness__too_many_channels_keep_their_pairs(rng):
    ds = witness(rng.standard_normal((300, 60)), fs=1.0)
    assert ds["set_status"].item() == "rank"
    assert bool(np.isfinite(ds["W"]).all())


def test_witness__average_reference_is_rank_deficient_with_valid_pairs(rng):
    x = rng.standard_normal((5000, 6)).cumsum(axis=0) * 0.1 + rng.standard_normal((5000, 6))
    ds = witness(x - x.mean(axis=1, keepdims=True), fs=1.0)
    assert ds["set_status"].item() == "rank"
    assert bool(np.isfinite(ds["W"]).all())


def test_witness__too_short_says_how_long(rng):
    with pytest.raises(InputError, match=r"too_short: 60 samples.*about 74 samples"):
        witness(rng.standard_normal((60, 2)), fs=1.0)
    assert witness(rng.standard_normal((74, 2)), fs=1.0).attrs["n_bands"] == 4


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_witness__other_types_give_the_same_numbers(dtype, rng):
    x = np.round(simulate_shared_drive(P1, 4096, rng=rng) * 64)
    ds, base = witness(x.astype(dtype), fs=1.0), witness(x, fs=1.0)
    assert float(ds["W"][0]) == pytest.approx(float(base["W"][0]), rel=1e-9)


def test_witness__single_precision_changes_w_below_a_ten_thousandth(rng):
    x = simulate_shared_drive(P1, 20_000, rng=rng)
    fast, base = witness(x, fs=1.0, precision="float32"), witness(x, fs=1.0)
    assert float(fast["W"][0]) == pytest.approx(float(base["W"][0]), rel=1e-4)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.zeros(10), {"fs": 1.0}, "expected \\(time, channel\\)"),
        ([[1.0, 2.0], [3.0]], {"fs": 1.0}, "equal lengths and sampling rates"),
        (np.zeros((10, 2)), {}, "sampling rate"),
        (np.zeros((10, 2)), {"fs": -1.0}, "sampling rate"),
        (np.zeros((10, 2), dtype=complex), {"fs": 1.0}, "real numbers"),
        (np.zeros((500, 2)), {"fs": 1.0, "band": (0.2, 0.9)}, "between 0 and fs/2"),
        (np.zeros((500, 2)), {"fs": 1.0, "n_bands": 60, "test_bands": 16}, "divisor"),
        (np.zeros((500, 2)), {"fs": 1.0, "channels": ["a"]}, "1 names for 2 channels"),
        (np.zeros((500, 2)), {"fs": 1.0, "assumption": "sure"}, "use one of csm, one_way_ou"),
    ],
)
def test_witness__refuses_what_it_cannot_read(x, options, message):
    with pytest.raises(InputError, match=message):
        witness(x, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"level": 1.0}, {"fdr": 0}, {"fdr_method": "x"}, {"null": "x"}, {"nan": "x"},
        {"precision": "half"}, {"null": "phase", "draws": 0}, {"harmonics": 0}, {"periods": [0.0]},
        {"periods": [1.9]}, {"band": (0.1,)}, {"band": "ab"}, {"fs": True}, {"fs": "1"},
        {"fs": np.inf}, {"epoch_length": 1}, {"n_bands": 64.5}, {"seed": 1.5}, {"first_join": 3},
        {"channels": ["a", "a"]}, {"segments": [[0, 500]], "epoch_length": 100},
    ],
)  # fmt: skip
def test_witness__options_without_meaning_are_refused(options, rng):
    with pytest.raises(InputError, match=r"; (use|give|pass)|pass epoch_length"):
        witness(rng.standard_normal((500, 2)), **({"fs": 1.0} | options))


def test_witness__a_record_without_channels_is_refused():
    with pytest.raises(InputError, match="no channel"):
        witness(np.zeros((500, 0)), fs=1.0)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("scale", [1e-200, 1e-100, 1e100, 1e200])
def test_witness__extreme_scales_change_nothing(scale, precision, rng):
    x = rng.standard_normal((2000, 2))
    base = witness(x, fs=1.0, precision=precision)
    ds = witness(x * scale, fs=1.0, precision=precision)
    assert ds["status"].item() == "ok"
    for name in ("W_total", "sigma_N", "W"):
        assert ds[name].item() == pytest.approx(base[name].item(), abs=1e-6)


def test_witness__missing_values_name_channel_and_sample(rng):
    x = rng.standard_normal((2000, 3))
    x[700, 2] = np.nan
    with pytest.raises(InputError, match="channel 2 is not finite at sample 700"):
        witness(x, fs=1.0)
    dropped = witness(x, fs=1.0, epoch_length=500, nan="drop_segment")
    assert (dropped.attrs["n_segments"], dropped.attrs["n_dropped"]) == (3, 1)
    split = witness(x, fs=1.0, nan="split")
    assert (split.attrs["n_segments"], split.attrs["n_missing"]) == (2, 1)


def test_witness__bands_of_a_range_add_up_to_the_whole(rng):
    """Disjoint ranges: contributions to one rate, same ordinates, so equal to rounding of the
    band edges; 4 SE of the difference is far above."""
    x = simulate_shared_drive(P1, 65_536, rng=rng)
    whole = witness(x, fs=100.0)
    parts = [witness(x, fs=100.0, band=b) for b in ((0.0, 10.0), (10.0, 50.0))]
    total = sum(float(p["W"][0]) for p in parts)
    assert total == pytest.approx(float(whole["W"][0]), rel=0.02)
    assert float(parts[0]["W"][0]) > float(parts[1]["W"][0])


def test_witness__chunks_of_a_record_give_the_segmented_answer(rng):
    x = simulate_shared_drive(P1, 30_000, rng=rng)
    ranges = np.array([[0, 10_000], [10_000, 20_000], [20_000, 30_000]])
    lags = [summarise_lags(x[a:b]) for a, b in ranges]
    fit = fit_whitening(lags[2] + (lags[0] + lags[1]))
    sums = [summarise(x[a:b], fit, n_bands=128) for a, b in ranges]
    ds = solve(sums[1] + sums[2] + sums[0], fit, fs=1.0)
    whole = witness(x, fs=1.0, segments=ranges)
    for name in ("W", "sigma", "W_irr", "log_p"):
        assert float(ds[name][0]) == pytest.approx(float(whole[name][0]), rel=1e-9)


def test_witness__epochs_with_a_common_offset_need_their_joins(rng):
    """40 independent epochs; told the joins, pairs are independent, blindly they never are."""
    null = SharedDrive(0.0, (0.98, 0.95), (1.0, 1.0), (1.0, 1.0), 1.0, 0.0)
    epochs = [
        simulate_shared_drive(null, 385, rng=rng) + 5 * rng.standard_normal() for _ in range(40)
    ]
    x = np.concatenate(epochs)
    with pytest.warns(IrrevWarning, match="epoch_length=385"):
        blind = witness(x, fs=1.0)
    # Offsets shared inside an epoch are removed only where each epoch has a mean of its own.
    told = witness(x, fs=1.0, epoch_length=385, detrend=True)
    assert float(blind["p"][0]) < 1e-6
    assert float(told["p"][0]) > 1e-4
    assert "short_segments" in told["status"].to_numpy()[0]


def test_witness__a_common_season_is_flagged_and_can_be_removed(rng):
    t = np.arange(6000.0)
    season = np.sin(2 * np.pi * t / 365.25)[:, None]
    x = rng.standard_normal((6000, 2)) + 1.5 * season
    raw = witness(x, fs=1.0)
    assert float(raw["p"][0]) < 1e-6
    assert "one_band" in raw["status"].to_numpy()[0]
    clean = witness(x, fs=1.0, periods=[365.25])
    assert float(clean["p"][0]) > 1e-3


def test_witness__a_narrow_drive_is_flagged_as_finer_than_the_bands(rng):
    """The trigger rate of this system at M = 16 is 97 %."""
    narrow = SharedDrive(0.1, (0.3, 0.9), (1.0, 1.0), (1.0, 1.0), 1.0, 0.97)
    x = simulate_shared_drive(narrow, 8192, rng=rng)
    assert "bands_too_wide" in witness(x, fs=1.0, n_bands=16)["status"].to_numpy()[0]


def test_witness__heavy_tails_are_flagged(rng):
    null = SharedDrive(0.0, (0.5, 0.5), (1.0, 1.0), (1.0, 1.0), 1.0, 0.0)
    x = simulate_shared_drive(null, 8192, rng=rng, innovations="student3")
    assert "heavy_tails" in witness(x, fs=1.0)["status"].to_numpy()[0]


def test_witness__by_is_bh_times_the_harmonic_number(rng):
    x = rng.standard_normal((2000, 4))
    bh, by = (witness(x, fs=1.0, fdr_method=m)["q"] for m in ("bh", "by"))
    harmonic = np.sum(1 / np.arange(1, 7))
    np.testing.assert_allclose(by, np.minimum(bh * harmonic, 1.0), rtol=1e-12)


def test_witness__a_slow_drive_is_no_trend(rng):
    """At 16 bands the lowest holds about half of the statistic; at 64 it does not."""
    x = simulate_shared_drive(P1, 16_384, rng=rng)
    for n_bands in (16, 64):
        assert "one_band" not in witness(x, fs=1.0, n_bands=n_bands)["status"].to_numpy()[0]


def test_witness__takes_a_timeseries_dataset(rng):
    x = simulate_shared_drive(P1, 4000, rng=rng)
    ds = xr.Dataset(
        {
            "signal": (("time", "channel"), x),
            "sampling_rate": 250.0,
            "segment_start": ("segment", [0, 2000]),
            "segment_stop": ("segment", [2000, 4000]),
            "shared_reference": True,
        },
        coords={"channel": np.array(["Fz", "Cz"], dtype=object)},
    )
    with pytest.raises(InputError, match="the Dataset has 250 Hz"):
        witness(ds, fs=3.0)
    out = witness(ds)
    assert out["pair"].to_numpy().tolist() == ["Fz|Cz"]
    assert (out.attrs["fs"], out.attrs["n_segments"]) == (250.0, 2)
    assert "shared_reference" in out["status"].to_numpy()[0]


def test_witness__states_what_it_certifies(rng):
    ds = witness(rng.standard_normal((2000, 2)), fs=1.0)
    assert "No entropy production by itself" in ds.attrs["certifies"]
    assert "epr_bound" not in ds


@pytest.mark.slow
def test_witness__short_epochs_keep_the_level(rng):
    """40 epochs of 385 samples, correlation times 50 and 20: reference null rates are 0.065 and
    0.043 at 0.05, so the epochs add at most 0.015 to the binomial error."""
    null = SharedDrive(0.0, (0.98, 0.95), (1.0, 1.0), (1.0, 1.0), 1.0, 0.0)
    p = []
    for _ in range(25):
        x = np.concatenate(
            [
                np.concatenate(
                    [simulate_shared_drive(null, 385, rng=rng) for _ in range(PER_CALL)], axis=1
                )
                for _ in range(40)
            ]
        )
        ds = witness(x, fs=1.0, epoch_length=385)
        own = (ds["channel_i"] % 2 == 0) & (ds["channel_j"] == ds["channel_i"] + 1)
        p.append(ds["p"].to_numpy()[own.to_numpy()])
    rate = float((np.concatenate(p) < 0.05).mean())
    assert abs(rate - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 400) + 0.015


@pytest.mark.slow
@pytest.mark.parametrize("system", [pytest.param(P2, id="P2"), pytest.param(P4, id="P4")])
def test_witness__intervals_cover_at_their_level(system, rng):
    """Reference coverage is 0.94 to 0.955 over 1,500 records; here within 4 binomial errors."""
    ds = repeat(system, 4096, 640, rng)
    covered = np.abs(ds["W"] - system.witness()) < 1.96 * ds["W_se"]
    error = 4 * np.sqrt(0.95 * 0.05 / ds["W"].size)
    assert float(covered.mean()) == pytest.approx(0.95, abs=error + 0.005)
