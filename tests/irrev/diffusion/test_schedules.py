"""Grids and schedules."""

import numpy as np
import pytest

from irrev.diffusion.schedules import (
    SCHEDULES,
    check_grid,
    cond_ot,
    cosine,
    edm_grid,
    entropic_grid,
    vp_linear,
)
from irrev.errors import InputError

TIMES = np.linspace(0.05, 0.95, 19)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("duration", [1.0, 3.0])
def test_schedule__rates_are_derivatives_and_the_start_is_data(name, duration):
    """Central differences of step 1e-6: error 1e-9 relative to the values."""
    schedule, h = SCHEDULES[name](duration=duration), 1e-6
    t = TIMES * duration
    for value, rate in (
        (schedule.signal, schedule.signal_rate),
        (schedule.noise, schedule.noise_rate),
    ):
        difference = (value(t + h) - value(t - h)) / (2 * h)
        np.testing.assert_allclose(
            rate(t), difference, atol=1e-7 * np.abs(difference).max() + 1e-8
        )
    assert float(schedule.signal(np.array(0.0))) == pytest.approx(1)
    assert float(schedule.noise(np.array(0.0))) == pytest.approx(0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule__temperature_is_m_s_times_the_rate_of_the_ratio(name):
    schedule, h = SCHEDULES[name](), 1e-6
    slope = (schedule.ratio(TIMES + h) - schedule.ratio(TIMES - h)) / (2 * h)
    expected = schedule.signal(TIMES) * schedule.noise(TIMES) * slope
    np.testing.assert_allclose(schedule.temperature(TIMES), expected, rtol=1e-6)


def test_vp_linear__temperature_is_half_beta():
    np.testing.assert_allclose(vp_linear().temperature(TIMES), 0.05 + 9.95 * TIMES, rtol=1e-9)


@pytest.mark.parametrize("make", [cosine, vp_linear])
def test_variance_preserving__stays_on_the_circle(make):
    schedule = make()
    total = schedule.signal(TIMES) ** 2 + schedule.noise(TIMES) ** 2
    np.testing.assert_allclose(total, 1, rtol=1e-12)


def test_cond_ot__ratio_is_infinite_at_the_end():
    assert cond_ot().ratio(np.array([0.5, 1.0])).tolist() == [1.0, np.inf]


def test_edm_grid__hits_its_ends():
    grid = edm_grid(32)
    assert (grid[0], grid[-1]) == (pytest.approx(80.0), pytest.approx(0.002))
    assert np.all(np.diff(grid) < 0)


def test_check_grid__says_how_to_order():
    with pytest.raises(InputError, match="sort them from large to small"):
        check_grid(np.array([0.1, 1.0]))


def test_entropic_grid__steps_are_equal_for_a_gaussian():
    """mmse = s^2/(1 + s^2): phi = -1/2 ln(1 + 1/s^2), so the levels are known.

    The measured curve has 400 nodes; trapezoid and interpolation errors are below 1e-4.
    """
    sigmas = np.geomspace(0.01, 100, 400)
    grid = entropic_grid(sigmas, sigmas**2 / (1 + sigmas**2), 20)
    phi = -0.5 * np.log1p(1 / grid**2)
    steps = np.diff(phi)
    np.testing.assert_allclose(steps, steps.mean(), rtol=1e-3)


def test_entropic_grid__refuses_a_loss_of_zero():
    with pytest.raises(InputError, match="held-out"):
        entropic_grid(np.array([0.1, 1.0]), np.array([0.0, 1.0]), 4)
