"""The rotating force with a wrong start: closed forms, the invariance, the published order."""

from functools import cache

import numpy as np
import pytest

from irrev.diffusion.rotating import RotatingForce, point_costs
from irrev.diffusion.transport import w1_signed, w1_sorted
from irrev.diffusion.wrong_start import (
    backward_states,
    end_states,
    optimal_wrong_start,
    point_wrong_start,
    rotation_cost,
    start_distance,
    start_ratio,
)
from irrev.errors import InputError

N_STATES, N_STEPS = 256, 60


def roll(scale, n=80):
    """The two-dimensional Swiss roll (t cos t, t sin t), 3 pi/2 <= t <= 9 pi/2."""
    t = 1.5 * np.pi * (1 + 2 * (np.arange(n) + 0.5) / n)
    return scale * t[:, None] * np.stack([np.cos(t), np.sin(t)], axis=1)


@cache
def measured(scale, rotation):
    return point_wrong_start(
        RotatingForce(rotation=rotation), roll(scale), n_states=N_STATES, n_steps=N_STEPS,
        rng=np.random.default_rng(0),
    )  # fmt: skip


@cache
def optimal(scale):
    return optimal_wrong_start(
        RotatingForce(), roll(scale), n_states=N_STATES, rng=np.random.default_rng(0)
    )


def test_w1_signed__on_a_line_is_the_area_between_the_two_laws(rng):
    """Masses in steps of 1/400: the same laws as sorted samples with repeats."""
    x, repeats = rng.standard_normal(40), rng.multinomial(400, np.full(40, 1 / 40))
    expected = w1_sorted(np.repeat(x, 10), np.repeat(x, repeats))
    got = w1_signed(x[:, None], (repeats - 10) / 400)
    assert got == pytest.approx(expected, abs=1e-12)


def test_w1_signed__scales_with_the_mass_and_ignores_a_turn(rng):
    """The property that two independent samples lack: half the mass is half the distance."""
    x, mass = rng.standard_normal((60, 2)), rng.standard_normal(60)
    turned = x @ np.array([[0.6, -0.8], [0.8, 0.6]])
    assert w1_signed(x, 1e-6 * mass) == pytest.approx(1e-6 * w1_signed(x, mass), rel=1e-9)
    assert w1_signed(turned, mass) == pytest.approx(w1_signed(x, mass), rel=1e-9)
    assert w1_signed(x, np.zeros(60)) == 0


def test_start_distance__of_one_point_is_the_closed_form():
    """One point at 0: two coordinates of variance ratio q, 1 + D_0 = 1 / (1 - (q - 1)^2)."""
    force = RotatingForce()
    q = 0.81 / force.spread(np.array([10.0]))[0]
    got = start_distance(force, np.zeros((1, 2)), 0.9)
    assert got == pytest.approx(1 / (1 - (q - 1) ** 2) - 1, rel=1e-6)


@pytest.mark.parametrize("start_sd", [2.0, 0.8961939])
def test_start_distance__refuses_a_start_too_wide_or_none(start_sd):
    force = RotatingForce()
    sd = start_sd if start_sd > 1 else force.spread(np.array([10.0]))[0] ** 0.5
    with pytest.raises(InputError, match=r"no finite positive chi-square.*below 1\.41"):
        start_distance(force, np.zeros((1, 2)), sd)


def test_point_wrong_start__one_point_forgets_the_start():
    """W1 at the end is sqrt(pi/2) |s1 - s2|, 0.0048, and 0 at the data: eta = W1^2/(tau D_0)."""
    force = RotatingForce()
    got = point_wrong_start(
        force, np.zeros((1, 2)), n_states=N_STATES, n_steps=N_STEPS, rng=np.random.default_rng(1)
    )
    sd = force.spread(np.array([10.0]))[0] ** 0.5
    end = np.sqrt(np.pi / 2) * (0.9 - sd) / np.sqrt(got.d0)
    assert got.distance[-1] == pytest.approx(0, abs=1e-12)
    # the plan of n points is too long by a part of their spacing: 4 % here, 1 % at 1,024
    assert got.distance[0] == pytest.approx(end, rel=0.06)
    assert got.eta == pytest.approx(end**2 / 10, abs=4 * got.eta_stderr + 0.12 * end**2 / 10)


@pytest.mark.parametrize("rotation", [3.0, 5.0])
def test_backward_states__rotation_only_turns_the_start(rotation):
    """States turned by b(tau) arrive where those of g = 0 do: so eta cannot depend on g."""
    still, turning = RotatingForce(), RotatingForce(rotation=rotation)
    data, b = roll(0.144, 30), rotation * 10.0 / 2
    turn = np.array([[np.cos(b), -np.sin(b)], [np.sin(b), np.cos(b)]])
    x = end_states(still, data, 64, np.random.default_rng(2))
    ratio = start_ratio(still, data, x, 0.9)
    np.testing.assert_allclose(start_ratio(turning, data, x @ turn.T, 0.9), ratio, rtol=1e-9)
    _, arrived = backward_states(still, data, x, n_steps=800, every=200)
    _, turned = backward_states(turning, data, x @ turn.T, n_steps=800, every=200)
    np.testing.assert_allclose(turned[-1], arrived[-1], atol=1e-6)


@pytest.mark.parametrize("rotation", [3.0, 5.0])
def test_rotation_cost__is_what_the_rotation_adds(rotation):
    """E|nu|^2 = E|nu of g = 0|^2 + G^2 E|x|^2: the cross term vanishes."""
    data, rng = roll(0.144), np.random.default_rng(3)
    still = point_costs(RotatingForce(), data, rng, n_states=400, n_times=60)
    got = point_costs(RotatingForce(rotation=rotation), data, rng, n_states=400, n_times=60)
    added = rotation_cost(RotatingForce(rotation=rotation), data, n_times=60)
    assert got.total - still.total == pytest.approx(added, abs=4 * got.stderr + 4 * still.stderr)


@pytest.mark.parametrize("scale", [0.144, 1.0])
def test_point_wrong_start__order_of_the_published_table(scale):
    """eta <= c_1 <= w_D for g = 0, 3, 5, and for OT, whose cost is least; w_D grows, eta not."""
    rng, costs = np.random.default_rng(4), []
    for g in (0.0, 3.0, 5.0):
        got, still = measured(scale, g), measured(scale, 0.0)
        cost = point_costs(RotatingForce(rotation=g), roll(scale), rng, n_states=300, n_times=40)
        assert got.eta <= got.c1 <= cost.total + 4 * cost.stderr
        # 4 repeats: 4 standard errors of Student's law with 3 degrees are 2.2 times as many
        assert got.eta == pytest.approx(
            still.eta, abs=2.2 * 4 * np.hypot(got.eta_stderr, still.eta_stderr)
        )
        costs.append(cost.total)
    best = optimal(scale)
    assert best.eta <= best.c1 <= best.c2 < costs[0] < costs[1] < costs[2]


def test_optimal_wrong_start__eta_vanishes_at_one_scale_of_the_roll():
    """W1 of the samples grows with the scale, W1 of the start does not: eta falls to 0, rises."""
    gaps = [optimal(s).distance[-1] - optimal(s).distance[0] for s in (0.144, 0.3)]
    assert gaps[0] < 0 < gaps[1]
