"""Exact optima against the published and tabulated numbers; tolerances are their last digits."""

import numpy as np
import pytest
from scipy.optimize import minimize

from irrev.control.bounds import (
    Stiffening,
    best_bit_flip,
    bit_flip,
    delivery_loss,
    delivery_optimum,
    delivery_work,
    erasure_bound,
    erasure_distance,
    linear_translation_work,
    translation_optimum,
    translation_protocol,
    translation_work,
)
from irrev.errors import InputError
from irrev.simulate.chains import simulate
from irrev.simulate.driven import heavy_double_well
from irrev.simulate.ou import exact_ou


@pytest.mark.parametrize(
    ("duration", "best", "linear"),
    [(0.5, 0.4, 0.42612), (1, 1 / 3, 0.36788), (2, 0.25, 0.28383), (5, 1 / 7, 0.16027)],
)
def test_translation_work__matches_known_values(duration, best, linear):
    assert translation_work(1.0, duration) == pytest.approx(best, abs=1e-12)
    assert linear_translation_work(1.0, duration) == pytest.approx(linear, abs=5e-6)


def test_translation_work__scales_with_the_square_of_the_distance():
    assert translation_work(5.0, 1.0) == pytest.approx(25 / 3, abs=1e-12)
    # Cantilever of the public benchmark: quality factor 7, 0.15 of a period.
    cantilever = translation_work(5.0, 0.3 * np.pi, mobility=7.0)
    assert cantilever == pytest.approx(25 / (2 + 7 * 0.3 * np.pi), abs=1e-12)


def test_translation_protocol__jumps_by_the_same_at_both_ends():
    first, last = translation_protocol([0.0, 1.0], 1.0, 1.0)
    assert first == pytest.approx(1 - last, abs=1e-14)
    assert first == pytest.approx(1 / 3, abs=1e-14)


@pytest.mark.parametrize(
    ("duration", "n_intervals", "substeps", "work"),
    [
        (1, 10, None, 0.33343),
        (1, 50, None, 0.333337),
        (1, 20, 10, 0.33308),
        (5, 10, None, 0.14496),
        (5, 50, None, 0.142942),
        (1, 20, None, 0.33336),
    ],
)
def test_translation_optimum__matches_overdamped_table(duration, n_intervals, substeps, work):
    best = translation_optimum(1.0, duration, n_intervals=n_intervals, substeps=substeps)
    assert best.work(best.optimum) == pytest.approx(work, abs=6e-6)
    np.testing.assert_allclose(best.gradient(best.optimum), 0, atol=1e-12)


def test_translation_optimum__tends_to_the_exact_protocol():
    """The error of K values is O(1/K^2): 2.7e-5 at K = 20, so 1/25 of it at K = 100."""
    best = translation_optimum(1.0, 1.0, n_intervals=100)
    times = (np.arange(100) + 0.5) / 100
    assert best.work(best.optimum) == pytest.approx(1 / 3, abs=2e-6)
    np.testing.assert_allclose(
        best.optimum[5:-5], translation_protocol(times, 1.0, 1.0)[5:-5], atol=2e-3
    )


@pytest.mark.parametrize(
    ("mass", "duration", "n_intervals", "work"),
    [
        (1, 1, 10, 0.33968),
        (1, 1, 50, 0.33461),
        (1, 1, 150, 0.33376),
        (1, 3, 50, 0.20137),
        (5, 3, 50, 0.20139),
    ],
)
def test_translation_optimum__matches_underdamped_table(mass, duration, n_intervals, work):
    best = translation_optimum(1.0, duration, n_intervals=n_intervals, mass=mass)
    assert best.work(best.optimum) == pytest.approx(work, abs=6e-6)


def test_translation_optimum__underdamped_values_are_kicks_at_the_ends():
    best = translation_optimum(1.0, 1.0, n_intervals=50, mass=1.0).optimum
    np.testing.assert_allclose(best[[0, 1, 2]], [21.4, -5.3, 1.9], atol=0.06)
    np.testing.assert_allclose(best[[-3, -2, -1]], [-0.9, 6.3, -20.4], atol=0.06)


def test_translation_optimum__matches_the_cantilever_benchmark():
    best = translation_optimum(5.0, 0.3 * np.pi, n_intervals=50, mass=1.0, mobility=7.0)
    assert best.work(best.optimum) == pytest.approx(2.9339, abs=6e-5)


def test_delivery_optimum__tends_to_the_closed_form_and_never_beats_it():
    for weight in (1.0, 4.0, 50.0):
        least = delivery_loss(1.0, 2.0, weight, mobility=0.5)
        losses = []
        for n in (10, 100, 1000):
            case = delivery_optimum(1.0, 2.0, n_intervals=n, mobility=0.5)
            best = case.optimum(weight)
            losses.append(case.work.work(best) + weight * case.error(best))
            error = case.error(best)
            assert case.work.work(best) >= delivery_work(error, 1.0, 2.0, mobility=0.5)
        assert losses[0] > losses[1] > losses[2] > least
        assert losses[2] == pytest.approx(least, rel=0.002)  # the last jump takes an interval


def test_delivery_optimum__no_other_protocol_costs_less(rng):
    case = delivery_optimum(2.0, 1.0, n_intervals=6, substeps=10)
    best = case.optimum(5.0)
    least = case.work.work(best) + 5 * case.error(best)
    for _ in range(50):
        other = best + 0.1 * rng.standard_normal(6)
        assert case.work.work(other) + 5 * case.error(other) > least


def test_delivery_work__nothing_is_paid_for_staying():
    assert delivery_work(1.0, 1.0, 3.0) == 0.0
    assert delivery_work(0.0, 3.0, 2.0, mobility=0.5) == pytest.approx(9.0)


def test_piecewise_optimum__is_the_minimum_and_tends_to_the_exact_work():
    case = Stiffening(1.0, 2.0, 1.0)
    ten = case.piecewise_work(case.piecewise_optimum(10))
    assert case.work < case.piecewise_work(case.piecewise_optimum(40)) < ten
    assert ten == pytest.approx(case.work, rel=2e-3)


@pytest.mark.parametrize(
    ("start", "end", "duration", "work"),
    [
        (1, 2, 1, 0.402918),
        (1, 2, 0.1, 0.478289),
        (1, 2, 10, 0.354741),
        (1, 5, 0.5, 1.227789),
        (2, 1, 1, -0.302575),
    ],
)
def test_stiffening__matches_known_values(start, end, duration, work):
    assert Stiffening(start, end, duration).work == pytest.approx(work, abs=6e-7)


def test_stiffening__jumps_at_both_ends_and_beats_the_ramp():
    case = Stiffening(1.0, 2.0, 1.0)
    np.testing.assert_allclose(case.stiffness([0.0, 1.0]), [1.19098, 1.76393], atol=6e-6)
    ramp = 1 + (np.arange(2000) + 0.5) / 2000
    assert case.piecewise_work(ramp) == pytest.approx(0.412466, abs=1e-6)
    assert case.piecewise_work([1.0]) == pytest.approx(0.5, abs=1e-12)
    assert case.free_energy == pytest.approx(0.346574, abs=6e-7)
    times = (np.arange(400) + 0.5) / 400
    assert case.piecewise_work(case.stiffness(times)) == pytest.approx(case.work, abs=1e-5)


def test_stiffening__no_piecewise_protocol_does_better():
    case = Stiffening(1.0, 2.0, 1.0)
    found = minimize(case.piecewise_work, np.linspace(1.2, 1.8, 8))
    assert case.work <= found.fun <= 1.002 * case.work


@pytest.mark.parametrize(
    ("barrier", "distance"),
    [(2, 1.16807), (4, 1.47592), (6, 1.62620), (8, 1.70174), (10, 1.74625)],
)
def test_erasure_distance__matches_known_values(barrier, distance):
    assert erasure_distance(0.0, barrier=barrier) == pytest.approx(distance, abs=2e-5)


def test_erasure_distance__is_less_when_errors_are_allowed():
    assert erasure_distance(0.05, barrier=4) == pytest.approx(1.26782, abs=2e-5)
    assert erasure_distance(0.5, barrier=4) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("duration", "work"), [(1, 2.169), (2, 1.431), (5, 0.988), (10, 0.841)])
def test_erasure_bound__matches_known_values(duration, work):
    assert erasure_bound(0.0, duration) == pytest.approx(work, abs=6e-4)


@pytest.mark.parametrize(
    ("barrier", "friction", "stiffness", "work", "error"),
    [
        (4, 0.01, 4, 0.068, 0.0011),
        (4, 0.1, 4, 0.614, 0.0044),
        (8, 0.01, 16, 0.068, 1e-5),
        (8, 0.1, 16, 0.680, 3e-5),
        (4, 0.01, 1, 0.410, None),
        (4, 0.1, 1, 3.196, 0.075),
    ],
)
def test_bit_flip__matches_the_simulated_table(barrier, friction, stiffness, work, error):
    """The table is a simulation: 3 standard errors of .001 to .003 in the work, 10x at k = 1."""
    cost = bit_flip(barrier=barrier, friction=friction, stiffness=stiffness)
    assert cost.work == pytest.approx(work, abs=max(0.004, 0.015 * work))
    if error is not None:
        assert cost.error == pytest.approx(error, rel=0.1, abs=1e-5)


def test_bit_flip__matches_trajectories_of_the_engine():
    """Start in the double well, swing half a period by the exact linear sampler, restore."""
    cost = bit_flip(barrier=4.0, friction=0.3, stiffness=4.0)
    well = heavy_double_well(quartic=4.0, quadratic=8.0, friction=0.3)
    drift, diffusion = [[0.0, 1.0], [-4.0, -0.3]], np.diag([0.0, 0.3])
    swing = exact_ou(drift, diffusion, dt=cost.duration, start=well.start)
    x = simulate(swing, n_trajectories=20_000, n_steps=1, seed=0)[:, :, 0]
    trap_less_well = 2.0 * x**2 - 4.0 * (x**2 - 1) ** 2
    work = trap_less_well[:, 0] - trap_less_well[:, 1]
    assert cost.work == pytest.approx(work.mean(), abs=4 * work.std() / np.sqrt(len(x)))
    wrong = np.mean(x[:, 0] * x[:, 1] > 0)
    assert cost.error == pytest.approx(wrong, abs=4 * np.sqrt(cost.error / len(x)))
    assert np.mean(np.exp(-work)) == pytest.approx(1, abs=4 * np.exp(-work).std() / 141)


def test_bit_flip__is_free_and_perfect_without_friction():
    cost = bit_flip(barrier=4.0, friction=0.0, stiffness=3.0)
    assert cost.work == pytest.approx(0.0, abs=1e-10)
    assert cost.error == pytest.approx(0.0, abs=1e-3)  # starts at the top stay there


def test_best_bit_flip__beats_the_tabulated_stiffnesses():
    best = best_bit_flip(barrier=4.0, friction=0.01)
    assert best.work < bit_flip(barrier=4.0, friction=0.01, stiffness=4.0).work
    assert best.work > 0


def test_erasure_distance__tends_to_the_deep_well_limit():
    """Half of the bits move by 2 minus half a normal's mean, sqrt(2/pi) s, s^2 = 1/(8 E)."""
    s = np.sqrt(1 / (8 * 400))
    expected = 2 - 2 * np.sqrt(2 / np.pi) * s
    assert erasure_distance(0.0, barrier=400) == pytest.approx(expected, abs=8 * s**2)


def test_bounds__say_how_to_mend_bad_numbers():
    with pytest.raises(InputError, match="wrong well lies in"):
        erasure_bound(0.7, 1.0)
    with pytest.raises(InputError, match="must swing"):
        bit_flip(barrier=4.0, friction=9.0, stiffness=4.0)
    with pytest.raises(InputError, match="duration is 0"):
        translation_work(1.0, 0.0)
