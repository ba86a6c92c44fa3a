"""Printed numbers come from two independent implementations of the same formulas."""

import numpy as np
import pytest

from irrev.ep.linear import (
    frequency_grid,
    irreversibility_rate,
    langevin_ep_rate,
    langevin_pair_rates,
    pair_rates,
    sample_langevin,
    total_correlation_rate,
    var1_ep,
    var_spectrum,
)
from irrev.errors import InputError
from irrev.simulate.hidden_drive import (
    OneWayDrive,
    SharedDrive,
    simulate_one_way,
    simulate_shared_drive,
)

RELATIVE = 1e-9  # printed digits and rounding of the formulas

P1 = SharedDrive(0.5, (0.3, 0.9), (1.0, 1.0), (1.0, 1.0), 1.0, 0.8)
P2 = SharedDrive(0.5, (0.8, 0.8), (1.0, 1.0), (1.0, 1.0), 1.0, 0.8)
P3 = SharedDrive(0.3, (0.5, -0.2), (1.0, -2.0), (0.5, 2.0), 1.5, 0.6)
P4 = SharedDrive(1.0, (0.0, 0.0), (1.0, 1.0), (1.0, 1.0), 1.0, 0.0)
P5 = SharedDrive(0.5, (0.0,) * 5, (1.0,) * 5, (1.0,) * 5, 1.0, 0.8)
P6 = OneWayDrive(0.5, (1.0, 1.0), (1.0, 1.0), 1.0, 1.0, (1.0, 2.0))
P7 = OneWayDrive(0.1, (1.0, 1.0), (1.0, 1.0), 1.0, 1.0, (1.0, 2.0))
P8 = OneWayDrive(1.0, (1.0, 0.5), (1.0, 2.0), 2.0, 0.5, (1.5, 1.5))

DISCRETE = {
    # W, C_cross, W_irr, W_rev, sigma, full EP contemporaneous, lagged, C_scalar of both channels
    "P1": (P1, 0.0817294302657, 17.5754458162, 0.0435798550686, 0.0381495751971, 0.222501071819,
           0.7528195488721798, 1.221804511278195, (2.96862472404, 0.87483553092)),
    "P2": (P2, 0.0817294302657, 17.5754458162, 0.0, 0.0817294302657, 0.0,
           0.8888888888888893, 1.3888888888888893, (0.0, 0.0)),
    "P3": (P3, 0.0509596658132, 23.3459472656, 0.0088776451093, 0.0420820207039, 0.036214147092,
           0.1060714285714286, 0.6267857142857145, (0.126118562659, 3.15296406649)),
    "P4": (P4, 0.143841036226, 0.5, 0.0, 0.143841036226, 0.0, 0.0, 2.0, (0.0, 0.0)),
}  # fmt: skip

SPECTRA = {  # omega / (pi/4), S11, S22, S12, coh2
    "P1": [(0, 14.79591837, 725, 89.28571429, 0.7431629013),
           (1, 2.240403706, 2.776425184, 0.579246004 + 0.583083447j, 0.1085977843),
           (2, 1.057283509, 0.6367066433, 0.09812842059 + 0.04635988374j, 0.01749671062),
           (4, 0.6373730733, 0.2983824083, 0.03123906633, 0.005131320761)],
    "P2": [(0, 181.25, 181.25, 156.25, 0.7431629013),
           (1, 2.932425811, 2.932425811, 0.9663568195, 0.1085977843),
           (2, 0.7027067222, 0.7027067222, 0.09295062463, 0.01749671062),
           (4, 0.3324569425, 0.3324569425, 0.02381496723, 0.005131320761)],
    "P3": [(0, 5.375, 3.732638889, -2.8125, 0.3942671714),
           (1, 1.407172003, 2.310007474, -0.5056202693 + 0.3638332897j, 0.1193715511),
           (2, 0.4794117647, 2.304864253, -0.1374434389 + 0.1069004525j, 0.02743799164),
           (4, 0.2456597222, 3.454589844, -0.087890625, 0.009102373609)],
    "P4": [(k, 2, 2, 1, 0.25) for k in (0, 1, 2, 4)],
}  # fmt: skip

CONTINUOUS = {
    # W, leading W, EP rate, sigma of the pair, {dt: full EP, W, W_irr, sigma, per time}
    "P6": (P6, 0.0056615530541, 0.0078125, 0.208333333333, 0.00113662397195, {
        0.01: (0.2058429212, 0.00566123983, 0.0002839931346, 0.001136553866),
        0.1: (0.1843003762, 0.005631100626, 0.000282270498, 0.001129657665),
        1.0: (0.05110573407, 0.003835345699, 0.0001696741103, 0.0006789452508)}),
    "P7": (P7, 1.2315193985e-05, 1.25e-05, 0.00833333333333, 2.28892127265e-06, {
        0.01: (0.008233748671, 1.231447927e-05, 5.721926111e-07, 2.288772926e-06),
        0.1: (0.007374844225, 1.224523898e-05, 5.685443183e-07, 2.274179729e-06),
        1.0: (0.002100840991, 8.05306738e-06, 3.338415837e-07, 1.33536733e-06)}),
    "P8": (P8, 0.0629839755512, 0.5, 1.125, 0.0, {
        0.01: (1.113766617, 0.06298195236, 0.0, 0.0),
        0.1: (1.014352026, 0.0627880499, 0.0, 0.0),
        1.0: (0.3106413164, 0.05013414045, 0.0, 0.0)}),
}  # fmt: skip


@pytest.mark.parametrize("name", DISCRETE)
def test_shared_drive__closed_forms_match_printed_values(name):
    system, w, c_cross, _, _, _, now, lagged, scalar = DISCRETE[name]
    assert system.witness() == pytest.approx(w, rel=RELATIVE)
    assert system.leading_coefficient() == pytest.approx(c_cross, rel=RELATIVE)
    assert system.ep_per_step() == pytest.approx(now, rel=RELATIVE)
    assert system.ep_per_step(lagged=True) == pytest.approx(lagged, rel=RELATIVE)
    for channel in (0, 1):
        expected = pytest.approx(scalar[channel], rel=RELATIVE, abs=1e-14)
        assert system.scalar_coefficient(channel) == expected


@pytest.mark.parametrize("name", DISCRETE)
def test_shared_drive__spectrum_integrates_to_the_printed_rates(name):
    system, w, _, w_irr, w_rev, sigma, *_ = DISCRETE[name]
    rates = pair_rates(system.spectrum(frequency_grid()))
    assert rates.witness == pytest.approx(w, rel=RELATIVE)
    assert rates.witness_irr == pytest.approx(w_irr, rel=RELATIVE, abs=1e-15)
    assert rates.witness_rev == pytest.approx(w_rev, rel=RELATIVE)
    assert rates.sigma == pytest.approx(sigma, rel=RELATIVE, abs=1e-15)
    assert rates.witness_irr + rates.witness_rev == pytest.approx(rates.witness, rel=1e-12)
    assert irreversibility_rate(system.spectrum(frequency_grid())) == pytest.approx(
        sigma, rel=RELATIVE, abs=1e-13
    )


@pytest.mark.parametrize("name", SPECTRA)
def test_shared_drive__spectrum_matches_printed_frequencies(name):
    system = DISCRETE[name][0]
    for k, s11, s22, s12, coherence in SPECTRA[name]:
        s = system.spectrum(np.array([k * np.pi / 4]))[0]
        assert s[0, 0].real == pytest.approx(s11, rel=1e-9)  # ten printed digits
        assert s[1, 1].real == pytest.approx(s22, rel=1e-9)
        assert abs(s[0, 1] - s12) <= 1e-9 * abs(s12)
        power = (s[0, 0] * s[1, 1]).real
        assert abs(s[0, 1]) ** 2 / power == pytest.approx(coherence, rel=1e-9)


def test_shared_drive__five_channels_match_the_printed_total():
    assert P5.total_witness() == pytest.approx(0.43851934866509445, rel=RELATIVE)
    grid = total_correlation_rate(P5.spectrum(frequency_grid()))
    assert grid == pytest.approx(0.43851934866509445, rel=RELATIVE)


@pytest.mark.parametrize("lagged", [False, True])
@pytest.mark.parametrize("name", DISCRETE)
def test_shared_drive__full_ep_is_the_var1_rate(name, lagged):
    """The whole system (h, x_1, x_2) is a VAR(1) whose rate has a formula of its own."""
    system = DISCRETE[name][0]
    pull = system.coupling * np.array(system.loadings)
    step = np.diag([system.drive_pole, *system.poles])
    step[1:, 0] = pull if lagged else pull * system.drive_pole
    cov = np.diag([system.drive_noise, *system.noise])
    if not lagged:
        mix = np.eye(3)
        mix[1:, 0] = pull
        cov = mix @ cov @ mix.T
    exact = var1_ep(step, cov)
    assert system.ep_per_step(lagged=lagged) == pytest.approx(exact, rel=RELATIVE, abs=1e-14)
    spectrum = var_spectrum(step[None], cov, frequency_grid())
    assert irreversibility_rate(spectrum) == pytest.approx(exact, rel=1e-8, abs=1e-12)


def test_shared_drive__tiny_coupling_keeps_its_digits():
    """W / (C lambda^4) -> 1; the relative correction is of order rho / (1 - b)^2 = 2.5e-5."""
    tiny = SharedDrive(1e-3, (0.8, 0.8), (1.0, 1.0), (1.0, 1.0), 1.0, 0.8)
    ratio = tiny.witness() / (tiny.leading_coefficient() * 1e-12)
    assert 1 - 1e-4 < ratio < 1


def test_shared_drive__refuses_a_pole_outside():
    with pytest.raises(InputError, match="outside the unit circle"):
        SharedDrive(0.5, (1.0, 0.2), (1.0, 1.0), (1.0, 1.0), 1.0, 0.8)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_one_way__closed_forms_match_printed_values(name):
    system, w, leading, ep, sigma, _ = CONTINUOUS[name]
    assert system.witness() == pytest.approx(w, rel=RELATIVE)
    assert system.leading_witness() == pytest.approx(leading, rel=RELATIVE)
    assert system.ep_rate() == pytest.approx(ep, rel=RELATIVE)
    assert langevin_ep_rate(*system.matrices()) == pytest.approx(ep, rel=RELATIVE)
    assert system.pair_irreversibility() == pytest.approx(sigma, rel=RELATIVE, abs=1e-15)
    rates = langevin_pair_rates(*system.matrices(), pair=(1, 2))
    assert rates.witness == pytest.approx(w, rel=RELATIVE)
    assert rates.sigma == pytest.approx(sigma, rel=RELATIVE, abs=1e-15)


@pytest.mark.parametrize("dt", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_one_way__sampled_rates_match_printed_values(name, dt):
    """Q of a short step carries rounding of Sigma, hence 1e-7 on the full rate at dt = 0.01."""
    system, *_, sampled = CONTINUOUS[name]
    full, w, w_irr, sigma = sampled[dt]
    step, cov = sample_langevin(*system.matrices(), dt)
    assert var1_ep(step, cov) / dt == pytest.approx(full, rel=1e-7)
    pair = var_spectrum(step[None], cov, frequency_grid())[:, 1:, 1:]
    rates = pair_rates(pair)
    assert rates.witness / dt == pytest.approx(w, rel=1e-8)
    assert rates.witness_irr / dt == pytest.approx(w_irr, rel=1e-8, abs=1e-13)
    assert rates.sigma / dt == pytest.approx(sigma, rel=1e-8, abs=1e-13)
    assert full <= system.ep_rate()
    assert w <= system.witness()


def test_langevin__equilibrium_network_has_a_witness_and_no_ep():
    """P11: reciprocal coupling, so dependence without dissipation."""
    drift = np.array([[1, -0.4, -0.4], [-0.4, 1, 0], [-0.4, 0, 2]])
    assert langevin_ep_rate(drift, np.eye(3)) == pytest.approx(0.0, abs=1e-14)
    rates = langevin_pair_rates(drift, np.eye(3), pair=(1, 2))
    assert rates.witness == pytest.approx(0.0120909364466, rel=RELATIVE)


def test_langevin__rotation_matches_closed_form():
    """P9 and P10."""
    step = np.array([[0.5, 0.3], [-0.3, 0.5]])
    assert var1_ep(step, np.eye(2)) == pytest.approx(0.5454545454545459, rel=RELATIVE)
    spectrum = var_spectrum(step[None], np.eye(2), frequency_grid())
    assert irreversibility_rate(spectrum) == pytest.approx(0.5454545454545459, rel=RELATIVE)
    drift = np.array([[1, -0.6], [0.6, 1]])
    assert langevin_ep_rate(drift, np.eye(2)) == pytest.approx(0.72, rel=RELATIVE)


def test_simulate_shared_drive__variances_match_the_spectrum(rng):
    """Standard error of a variance: var sqrt(2 tau / n), tau <= (1 + a^2) / (1 - a^2) = 9.5."""
    n = 400_000
    x = simulate_shared_drive(P1, n, rng=rng)
    expected = P1.spectrum(frequency_grid()).real.mean(axis=0)
    error = 4 * np.sqrt(2 * 9.5 / n)
    assert np.var(x, axis=0) == pytest.approx(np.diag(expected), rel=error)
    scale = np.sqrt(np.prod(np.diag(expected)))
    assert np.cov(x.T)[0, 1] == pytest.approx(expected[0, 1], abs=error * scale)


def test_simulate_one_way__covariance_matches_lyapunov(rng):
    """Correlation time at most 1 / 0.5 = 2 = 20 samples."""
    n = 200_000
    system = OneWayDrive(1.0, (1.0, 1.0), (1.0, 1.0), 1.0, 0.5, (1.0, 2.5))
    x = simulate_one_way(system, n, dt=0.1, rng=rng)
    step, cov = sample_langevin(*system.matrices(), 0.1)
    pair = var_spectrum(step[None], cov, frequency_grid())[:, 1:, 1:].real.mean(axis=0)
    error = 4 * np.sqrt(2 * 20 / n)
    assert np.var(x, axis=0) == pytest.approx(np.diag(pair), rel=error)


@pytest.mark.parametrize("law", ["gaussian", "student3", "exponential"])
def test_simulate_shared_drive__every_law_has_unit_innovations(law, rng):
    """Student t with 3 degrees of freedom has no fourth moment: compare medians of squares."""
    system = SharedDrive(0.0, (0.0, 0.0), (1.0, 1.0), (1.0, 1.0), 1.0, 0.0)
    x = simulate_shared_drive(system, 200_000, rng=rng, innovations=law)
    assert np.abs(x.mean(axis=0)).max() < 4 / np.sqrt(200_000)
    if law != "student3":  # kurtosis 3 and 9
        assert np.var(x, axis=0) == pytest.approx(1.0, abs=4 * np.sqrt(8 / 200_000))
