import numpy as np
import pytest

from irrev.ep.linear import sample_langevin, var_spectrum
from irrev.ep.witness import witness
from irrev.ep.witness_oneway import ep_bound, fit_one_way, one_way_spectrum
from irrev.simulate.hidden_drive import OneWayDrive, simulate_one_way

STRONG = OneWayDrive(1.0, (1.0, 1.0), (1.0, 1.0), 1.0, 0.5, (1.0, 2.5))
COALESCED = OneWayDrive(1.0, (1.0, 1.0), (1.0, 1.0), 1.0, 1.0, (1.0, 1.0))
P6 = OneWayDrive(0.5, (1.0, 1.0), (1.0, 1.0), 1.0, 1.0, (1.0, 2.0))
P7 = OneWayDrive(0.1, (1.0, 1.0), (1.0, 1.0), 1.0, 1.0, (1.0, 2.0))
P8 = OneWayDrive(1.0, (1.0, 0.5), (1.0, 2.0), 2.0, 0.5, (1.5, 1.5))


@pytest.mark.parametrize(
    ("system", "expected"),
    [(P6, 0.173766940532), (P7, 0.00810438366484), (P8, 0.250966084464)],
)
def test_ep_bound__matches_printed_values_and_stays_below_the_truth(system, expected):
    bound = ep_bound(system.witness(), system.drive_rate, system.rates)
    assert bound == pytest.approx(expected, rel=1e-9)
    assert bound <= system.ep_rate()


@pytest.mark.parametrize("seed", range(20))
def test_ep_bound__holds_for_random_systems(seed):
    rng = np.random.default_rng(seed)
    rates = np.exp(rng.normal(size=3))
    system = OneWayDrive(
        float(np.exp(rng.normal())), tuple(rng.normal(size=2)), tuple(np.exp(rng.normal(size=2))),
        float(np.exp(rng.normal())), float(rates[0]), (float(rates[1]), float(rates[2])),
    )  # fmt: skip
    bound = ep_bound(system.witness(), system.drive_rate, system.rates)
    assert 0 <= bound <= system.ep_rate() * (1 + 1e-12)


@pytest.mark.parametrize("system", [STRONG, COALESCED, P6])
def test_one_way_spectrum__equals_the_generic_sampled_process(system):
    dt, omega = 0.1, np.array([0.01, 0.3, 1.0, 3.0])
    g = system.coupling * np.sqrt(system.drive_diffusion) * np.array(system.loadings)
    theta = np.concatenate(
        [np.log(dt * np.array([system.drive_rate, *system.rates, *system.diffusion])), g * dt**1.5]
    )
    # Time in samples: rates and diffusions times dt, g times dt^1.5 for a drive of unit D.
    step, cov = sample_langevin(*system.matrices(), dt)
    generic = var_spectrum(step[None], cov, omega)[:, 1:, 1:]
    np.testing.assert_allclose(one_way_spectrum(theta, omega), generic, rtol=1e-9)


@pytest.mark.parametrize("system", [STRONG, COALESCED])
def test_fit_one_way__finds_the_entropy_production(system):
    """15 % at this length, and within four predicted errors."""
    x = simulate_one_way(system, 200_000, dt=0.1, rng=np.random.default_rng(5))
    fit = fit_one_way(x, fs=10.0, rng=np.random.default_rng(1))
    assert fit.identifiable
    assert fit.ep_rate == pytest.approx(1.0, abs=min(0.15, 4 * fit.stderr))
    assert fit.kappa == pytest.approx(system.drive_rate, rel=0.25)


@pytest.mark.slow
def test_fit_one_way__predicted_error_is_the_observed_one():
    """Twenty records: the ratio of standard deviations has relative error 1 / sqrt(38)."""
    fits = [
        fit_one_way(
            simulate_one_way(COALESCED, 200_000, dt=0.1, rng=np.random.default_rng(s)),
            fs=10.0,
            rng=np.random.default_rng(1),
        )
        for s in range(20)
    ]
    scatter = np.std([f.ep_rate for f in fits], ddof=1)
    assert np.mean([f.stderr for f in fits]) == pytest.approx(scatter, rel=4 / np.sqrt(38))
    assert np.mean([f.ep_rate for f in fits]) == pytest.approx(1.0, abs=4 * scatter / np.sqrt(20))


@pytest.mark.parametrize("coupling", [0.0, 0.1])
def test_fit_one_way__a_weak_drive_gives_no_number(coupling):
    system = OneWayDrive(coupling, (1.0, 1.0), (1.0, 1.0), 1.0, 1.0, (1.0, 2.0))
    x = simulate_one_way(system, 50_000, dt=0.1, rng=np.random.default_rng(2))
    assert not fit_one_way(x, fs=10.0, rng=np.random.default_rng(1)).identifiable


def test_witness__one_way_fields_appear_only_on_request():
    x = simulate_one_way(COALESCED, 100_000, dt=0.1, rng=np.random.default_rng(3))
    assert "epr_bound" not in witness(x, fs=10.0)
    ds = witness(x, fs=10.0, assumption="one_way_ou")
    assert bool(ds["identifiable"][0])
    # True bound of W is 0.93 x EP; its value from the lower limit of W stays below the truth.
    assert 0.5 < float(ds["epr_bound"][0]) < 1.0
    assert float(ds["epr_fit"][0]) == pytest.approx(1.0, abs=4 * float(ds["epr_fit_se"][0]))
    assert "does not feel" in ds.attrs["certifies"]


def test_witness__one_way_fit_of_independent_channels_is_nan():
    system = OneWayDrive(0.0, (1.0, 1.0), (1.0, 1.0), 1.0, 1.0, (1.0, 2.0))
    x = simulate_one_way(system, 50_000, dt=0.1, rng=np.random.default_rng(4))
    ds = witness(x, fs=10.0, assumption="one_way_ou")
    assert not bool(ds["identifiable"][0])
    assert np.isnan(float(ds["epr_bound"][0]))
