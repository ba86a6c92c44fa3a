"""Real recordings: the warnings appear where they belong, and the known numbers come out.

Expected values are those of an independent implementation, given to the digits printed.
"""

import numpy as np
import pytest

from irrev.ep.witness import witness
from irrev.errors import IrrevWarning
from irrev.readers import open_source

DAY = 86_400.0


@pytest.fixture
def wind(data_dir):
    path = data_dir / "timeseries" / "irish_wind_daily_1961_1978.csv"
    return open_source(path, kind="timeseries")


def eeg(data_dir, **options):
    path = data_dir / "timeseries" / "eeglab_data.set"
    return open_source(path, kind="timeseries", **options)


def test_witness__wind_is_shared_and_irreversible(wind):
    raw, clean = witness(wind), witness(wind, periods=[365.25 * DAY])
    assert bool(raw["reject"].all())
    assert float(raw["W"].median()) == pytest.approx(0.426, abs=0.003)
    assert float(clean["W"].median()) == pytest.approx(0.423, abs=0.003)
    coarse = witness(wind, periods=[365.25 * DAY], n_bands=16)
    assert float(coarse["sigma"].median()) == pytest.approx(0.027, abs=0.001)
    assert float(coarse["reject_irr"].mean()) == pytest.approx(0.85, abs=0.01)


def test_witness__a_season_alone_fakes_a_witness_until_it_is_removed(wind):
    """Stations five years apart share the season only; at M = 16, of the pairs with the first
    six shifted, about a quarter are significant at 5 %, and after the harmonics about 5 %:
    nearly independent pairs, so at most 4 binomial errors of 36 more."""
    x = wind["signal"].to_numpy()
    lag = 5 * 365 + 1
    moved = np.concatenate([x[lag:, :6], x[:-lag, 6:]], axis=1)
    raw = witness(moved, fs=1 / DAY, n_bands=16)
    clean = witness(moved, fs=1 / DAY, n_bands=16, periods=[365.25 * DAY])
    across = ((raw["channel_i"] < 6) & (raw["channel_j"] >= 6)).to_numpy()
    assert float((raw["p"][across] < 0.05).mean()) > 0.15
    assert float((clean["p"][across] < 0.05).mean()) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 36)


def test_witness__eeg_epochs_are_found_and_change_the_answer(data_dir):
    with pytest.warns(IrrevWarning, match="epoch_length=385, first_join=89"):
        blind = witness(eeg(data_dir))
    told = witness(eeg(data_dir, epoch_length=385, first_join=89))
    # 5.0 and 6.0 with strength taken as steady
    assert blind["sigma_N"].item() == pytest.approx(4.81, abs=0.05)
    assert told["sigma_N"].item() == pytest.approx(5.81, abs=0.05)
    assert float(told["irr_fraction"].median()) == pytest.approx(0.05, abs=0.01)
    flags = set(";".join(told["status"].to_numpy()).split(";"))
    assert {"shared_reference", "short_segments"} <= flags


def test_witness__average_reference_lowers_w_and_loses_a_rank(data_dir):
    ds = eeg(data_dir, epoch_length=385, first_join=89)
    plain = witness(ds, n_bands=16)
    ds["signal"] = ds["signal"] - ds["signal"].mean("channel")
    referenced = witness(ds, n_bands=16)
    assert float(plain["W"].median()) == pytest.approx(0.37, abs=0.01)
    assert float(referenced["W"].median()) == pytest.approx(0.10, abs=0.01)
    assert referenced["set_status"].item() == "rank"


def test_witness__ecg_is_rank_deficient_and_does_not_converge(data_dir):
    path = data_dir / "timeseries" / "ecg_ptb_s0010_15ch_1kHz.npz"
    ds = open_source(path, kind="timeseries", shared_reference=True)
    results = [witness(ds, n_bands=m).set_index(pair="pair") for m in (16, 512)]
    assert all(r["set_status"].item() == "rank" for r in results)
    assert "sigma_not_converged" in str(results[0].sel(pair="v1|v2")["status"].item())
    w = [float(r.sel(pair="v1|v2")["W"]) for r in results]
    sigma = [float(r.sel(pair="v1|v2")["sigma"]) for r in results]
    assert w == pytest.approx([0.45, 0.65], abs=0.01)
    # sigma at 512 bands moves from 5.8 to 7.7 when 300 samples are cut: no rate at all.
    assert sigma[0] == pytest.approx(0.10, abs=0.01)
    assert sigma[1] > 10 * sigma[0]


@pytest.mark.parametrize(
    "name",
    [
        "retina_mea_hdf5/Hennig2011_spikes_P5_Bic_10uM_16_Mar_2010_control_day1.h5",
        "culture_mea_hdf5/TC147-C57-DIV24_B.h5",
    ],
)
def test_witness__spike_counts_carry_the_heavy_tail_warning(data_dir, name):
    ds = open_source(data_dir / "neuro" / name, kind="timeseries", spike_bin=0.1)
    out = witness(ds)
    assert bool(out["reject"].all())
    assert sum("shared_strength" in s for s in out["status"].to_numpy()) > out.sizes["pair"] / 2
    assert all("heavy_tails" in s for s in out["status"].to_numpy() if "constant" not in s)
