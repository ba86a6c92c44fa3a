"""Prices of schedules and the bounds they obey."""

import numpy as np
import pytest
import torch

from irrev.diffusion.exact import GaussianMixture
from irrev.diffusion.prices import loss_curve, retimed, schedule_prices, speed_cost
from irrev.diffusion.schedules import cond_ot, cosine, edm_grid, vp_linear
from irrev.diffusion.speed_accuracy import (
    check_bound,
    chi_squared_fit,
    chi_squared_gaussian,
    imperfect_bound,
    start_sensitivity,
    velocity_cost,
)
from irrev.errors import InputError

SIGMAS = np.geomspace(0.01, 200, 300)


def gaussian_curve(s0, d=3):
    """N(0, s0^2 I): mmse = d s0^2 sigma^2/(s0^2 + sigma^2)."""
    mmse = d * s0**2 * SIGMAS**2 / (s0**2 + SIGMAS**2)
    return loss_curve(SIGMAS, mmse, power=d * s0**2, dimension=d)


@pytest.mark.parametrize("s0", [0.5, 2.0])
def test_schedule_prices__gaussian_closed_forms(s0):
    """Cosine d pi^2/8 (1 - s0)^2; cond-OT by number; ln-ln interpolation error below 1e-4."""
    ds = schedule_prices(gaussian_curve(s0), [cosine(), cond_ot()], n_times=4000)
    # cosine is exact only in the equal-variance sense of S_t = sqrt(m^2 s0^2 + s^2).
    t = (np.arange(200_000) + 0.5) / 200_000
    for k, schedule in enumerate((cosine(), cond_ot())):
        m, s = schedule.signal(t), schedule.noise(t)
        total = np.sqrt(m**2 * s0**2 + s**2)
        rate = (m * schedule.signal_rate(t) * s0**2 + s * schedule.noise_rate(t)) / total
        assert float(ds.c2[k]) == pytest.approx(3 * np.mean(rate**2), rel=1e-3)
    assert float(ds.c2[0]) == pytest.approx(3 * np.pi**2 / 8 * (1 - s0) ** 2, rel=1e-3)
    assert float(ds.c2[1]) == pytest.approx(3 * {0.5: 0.464602, 2.0: 1.858407}[s0], rel=1e-3)


TWO_PEAKS = GaussianMixture([0.5, 0.5], [[-2], [2]], 0.25)


def two_peak_curve():
    """The exact loss of the one-dimensional mixture: mmse = E sigma^2 dD/dx by quadrature."""
    sigmas, mmse = np.geomspace(0.02, 60, 60), []
    for sigma in map(float, sigmas):
        reach = 12 * np.sqrt(0.25 + sigma**2) + 2
        x = torch.linspace(-reach, reach, 4001, dtype=torch.float64)[:, None]
        p = torch.exp(TWO_PEAKS.log_density(x, sigma))
        _, slope = TWO_PEAKS.jvp(x, sigma, None, torch.ones_like(x))
        mmse.append(float(torch.trapezoid(p * sigma**2 * slope[:, 0], x[:, 0])))
    return loss_curve(sigmas, np.array(mmse), power=4.25, dimension=1)


def test_schedule_prices__two_peak_mixture():
    """One-dimensional mixture: 2.1251 (cosine) and 2.4795 (cond-OT)."""
    ds = schedule_prices(two_peak_curve(), [cosine(), cond_ot()])
    assert ds.c2.values == pytest.approx([2.1251, 2.4795], rel=2e-3)


def test_schedule_prices__order_of_costs():
    """Constant speed is the least of all time courses, one data point the most."""
    ds = schedule_prices(gaussian_curve(0.5), [cosine(), cond_ot(), vp_linear()])
    assert np.all(ds.c2_retimed <= ds.c2 * (1 + 1e-12))
    assert np.all(ds.c2 <= ds.c2_conditional)
    # High-dimensional limits of the conditional cost, unit variance: 2d and d pi^2/4.
    unit = schedule_prices(gaussian_curve(1.0), [cosine(), cond_ot()])
    assert unit.c2_conditional.values == pytest.approx([3 * np.pi**2 / 4, 6.0], rel=1e-6)


def test_retimed__steps_have_equal_length():
    curve, schedule = gaussian_curve(0.5), vp_linear()
    times = retimed(curve, schedule, 10)
    fine = np.linspace(0, 1, 20001)
    middle = 0.5 * (fine[1:] + fine[:-1])
    length = np.cumsum(np.sqrt(speed_cost(curve, schedule, middle))) / 20000
    at = np.interp(times, fine[1:], length)
    np.testing.assert_allclose(np.diff(at), at[-1] / 10, rtol=0.02)


@pytest.mark.parametrize("make", [cosine, cond_ot, vp_linear])
def test_velocity_cost__agrees_with_the_loss_curve_for_an_exact_model(make):
    """Both are E|nu|^2: four standard errors plus 1 % for the midpoints of 200 times."""
    rng = np.random.default_rng(0)
    x = 0.5 * rng.normal(size=(2000, 1)) + np.where(rng.random((2000, 1)) < 0.5, 2, -2)
    price = float(schedule_prices(two_peak_curve(), [make()], n_times=200).c2[0])
    got = velocity_cost(TWO_PEAKS, x, make(), n_times=200)
    assert float(got.c2) == pytest.approx(price, abs=4 * float(got.c2_se) + 0.01 * price)


def test_chi_squared_gaussian__multiplies_over_coordinates():
    """1/(s sqrt(2 - s^2)) - 1 and e^(delta^2) - 1, sixty-four times."""
    assert chi_squared_gaussian(1, scale=1.2) == pytest.approx(0.113589, abs=1e-6)
    assert chi_squared_gaussian(64, shift=0.1) == pytest.approx(np.expm1(0.64))
    assert chi_squared_gaussian(64, scale=1.1) == pytest.approx(
        (1 / (1.1 * np.sqrt(0.79))) ** 64 - 1
    )
    with pytest.raises(InputError, match=r"infinite from 1.41"):
        chi_squared_gaussian(2, scale=1.5)


def test_chi_squared_fit__small_shift_of_a_gaussian():
    """2 KL = delta^2 per coordinate to leading order; same draws, so variances cancel."""
    z = np.random.default_rng(0).normal(size=(500, 8))
    assert chi_squared_fit(z + 0.1, z) == pytest.approx(0.08, rel=0.1)


def test_start_sensitivity__gaussian_data_is_a_closed_form():
    """N(0, s0^2 I): the flow shrinks a gap by s0/sqrt(s0^2 + sigma_max^2) exactly."""
    model = GaussianMixture([1.0], [np.zeros(8)], 0.25)
    grid = edm_grid(64, sigma_min=0.002, sigma_max=80)
    got = start_sensitivity(model, grid, shift=0.1, n_samples=50)
    expected = 80 * 0.1 * np.sqrt(8) * 0.5 / np.sqrt(0.25 + 6400)
    assert got.w1_upper == pytest.approx(expected, rel=5e-3)  # 64 Heun steps
    assert got.w1_lower == pytest.approx(got.w1_upper, rel=1e-6)
    assert got.chi_squared == pytest.approx(np.expm1(0.08))


def test_imperfect_bound__reduces_to_the_exact_one_without_velocity_error():
    """eta <= w_D: left squared is (Delta W1)^2/(tau D)."""
    got = imperfect_bound(0.5, 2.0, velocity_error=0.0, chi_max=1.7, duration=2.0)
    assert got.left**2 == pytest.approx(0.25 / 3.4)
    assert got.right**2 == pytest.approx(2.0)
    assert got.holds


def test_check_bound__allows_three_standard_errors():
    assert check_bound(1.05, 1.0, stderr=0.02, relation="c1 <= c2").holds
    assert not check_bound(1.07, 1.0, stderr=0.02, relation="c1 <= c2").holds


def test_loss_curve__refuses_losses_without_logarithm():
    with pytest.raises(InputError, match="all positive"):
        loss_curve(np.array([0.1, 1.0]), np.array([0.0, 1.0]), power=1.0, dimension=1)
