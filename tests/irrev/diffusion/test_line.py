"""The reference solver on a line against closed forms and fine-grid values."""

import numpy as np
import pytest

from irrev.diffusion.line import (
    Uniform,
    chi_squared,
    line_mixture,
    marginal,
    optimal_transport_line,
    speed_accuracy_line,
    velocity,
)
from irrev.diffusion.schedules import cond_ot, cosine, vp_linear
from irrev.errors import InputError

TWO_PEAKS = line_mixture([0.5, 0.5], [-2, 2], [0.5, 0.5])
STARTS = {
    "mean": line_mixture([1], [1], [1]),
    "variance": line_mixture([1], [0], [1.2]),
    "mixture": line_mixture([0.5, 0.5], [-0.5, 0.5], [0.9, 0.9]),
    "uniform": Uniform(-2, 2),
}
FAST = {"n_times": 24, "n_nodes": 8001}


@pytest.mark.parametrize(
    ("start", "chi", "eta", "cosine_c1", "cond_ot_c1", "w1"),
    [
        ("mean", 1.718282, 0.288402, 0.402111, 0.602687, 1.703958),
        ("variance", 0.113589, 0.018530, 0.107681, 0.054663, 0.113699),
    ],
)
def test_speed_accuracy_line__two_peak_table(start, chi, eta, cosine_c1, cond_ot_c1, w1):
    """Fine-grid reference values, 1e-3 relative."""
    for schedule, c1, c2 in (
        (cosine(), cosine_c1, 2.125092),
        (cond_ot(), cond_ot_c1, 2.479535),
    ):
        got = speed_accuracy_line(TWO_PEAKS, schedule, STARTS[start], **FAST)
        values = got.chi_squared, got.eta, got.c1, got.c2, got.w1_data
        assert values == pytest.approx((chi, eta, c1, c2, w1), rel=1e-3)
    best = optimal_transport_line(TWO_PEAKS, STARTS[start])
    assert (best.eta, best.c1) == pytest.approx((eta, eta), rel=1e-3)
    assert best.c2 == pytest.approx(1.478098, rel=1e-5)


@pytest.mark.parametrize(("delta", "eta"), [(0.1, 0.248752), (1.0, 0.145494)])
def test_speed_accuracy_line__shifted_gaussian_is_a_closed_form(delta, eta):
    """eta = (1 - s0)^2 d^2/(e^(d^2) - 1); v_loss^2/v_2^2 = d^2/(e^(d^2) - 1) at all times."""
    data, start = line_mixture([1], [0], [0.5]), line_mixture([1], [delta], [1])
    got = speed_accuracy_line(data, cosine(), start, **FAST)
    assert got.eta == pytest.approx(eta, abs=1e-6)
    assert got.c2 == pytest.approx(np.pi**2 / 8 * 0.25, rel=1e-6)
    ratio = got.v_loss_squared / got.v2_squared
    np.testing.assert_allclose(ratio, delta**2 / np.expm1(delta**2), rtol=1e-4)


@pytest.mark.parametrize(("s0", "cost"), [(0.5, 0.464602), (2.0, 1.858407)])
def test_speed_accuracy_line__gaussian_cost_of_cond_ot(s0, cost):
    got = speed_accuracy_line(line_mixture([1], [0], [s0]), cond_ot(), STARTS["mean"], **FAST)
    assert got.c2 == pytest.approx(cost, abs=1e-6)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("make", [cosine, cond_ot, vp_linear])
def test_speed_accuracy_line__relation_holds_and_eta_ignores_the_schedule(start, make):
    """eta <= c_1 <= c_2 with slack >= -1e-4; vp_linear ends at a law 1e-3 from N(0, 1)."""
    got = speed_accuracy_line(TWO_PEAKS, make(), STARTS[start], **FAST)
    assert got.slack >= -1e-4
    reference = optimal_transport_line(TWO_PEAKS, STARTS[start]).eta
    assert got.eta == pytest.approx(reference, rel=5e-3)


def test_velocity__satisfies_continuity():
    """dF/dt = -nu p, by central differences."""
    x, t, h = np.linspace(-5, 5, 41), 0.4, 1e-5
    for schedule in (cosine(), cond_ot(), vp_linear()):
        before, after = (marginal(TWO_PEAKS, schedule, s).cdf(x) for s in (t - h, t + h))
        flux = velocity(TWO_PEAKS, schedule, t, x) * marginal(TWO_PEAKS, schedule, t).density(x)
        np.testing.assert_allclose((after - before) / (2 * h), -flux, atol=1e-8)


def test_quantiles__invert_the_distribution():
    x = np.array([-2.7, -2.0, 0.5, 2.0, 3.1])
    from scipy.special import ndtri

    np.testing.assert_allclose(TWO_PEAKS.quantiles(ndtri(TWO_PEAKS.cdf(x))), x, atol=1e-7)


def test_chi_squared__is_infinite_from_twice_the_variance():
    with pytest.raises(InputError, match=r"chi-square distance is infinite; use less than 1.41"):
        chi_squared(line_mixture([1], [0], [1.5]), line_mixture([1], [0], [1]))
