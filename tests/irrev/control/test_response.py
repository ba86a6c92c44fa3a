"""Response gradients against exact gradients of the same discrete chain."""

from dataclasses import replace

import numpy as np
import pytest

from irrev.control.bounds import Stiffening, delivery_optimum, translation_optimum
from irrev.control.response import merge, protocol_gradient, response_sums
from irrev.control.systems import carry_particle, erase_bit, stiffen_trap, translate_trap
from irrev.control.targets import MissedBy
from irrev.errors import ConvergenceError, InputError
from irrev.simulate.noise import blocks

# 20 to 40 components at once: 4 standard errors, section 8 of the style rules.
SIGMAS = 4


@pytest.mark.parametrize("method", ["response", "naive", "pathwise"])
@pytest.mark.parametrize("control", ["regression", "mean", "none"])
def test_protocol_gradient__translation_matches_exact_gradient(method, control):
    task = translate_trap()
    exact = translation_optimum(1.0, 1.0, n_intervals=20, substeps=10).gradient(task.guess[:, 0])
    g = protocol_gradient(task, task.guess, n_trajectories=2000, method=method, control=control)
    assert np.all(np.abs(g.value[:, 0] - exact) < SIGMAS * g.stderr[:, 0])


@pytest.mark.parametrize("method", ["response", "naive", "pathwise"])
def test_protocol_gradient__a_task_without_an_end_matches_its_exact_gradient(method):
    """Work has no last switch, and the error is a distance: both parts of the loss count."""
    task, weight = carry_particle(2.0, 0.7, n_intervals=10), 3.0
    case, c = delivery_optimum(2.0, 0.7, n_intervals=10, substeps=10), task.guess[:, 0]
    task = replace(task, error=MissedBy(2.0, mean=float(case.end @ c)))
    g = protocol_gradient(
        task, task.guess, n_trajectories=4000, error_weight=weight, method=method
    )
    exact = case.work.gradient(c) + 2 * weight * (case.end @ c - case.target) * case.end
    assert np.all(np.abs(g.value[:, 0] - exact) < SIGMAS * g.stderr[:, 0])
    assert g.work == pytest.approx(case.work.work(c), abs=SIGMAS * g.work_stderr)


@pytest.mark.parametrize("method", ["response", "pathwise"])
def test_protocol_gradient__underdamped_matches_exact_gradient(method):
    task = translate_trap(duration=2.0, mass=0.7)
    best = translation_optimum(1.0, 2.0, n_intervals=20, substeps=10, mass=0.7)
    g = protocol_gradient(task, task.guess, n_trajectories=2000, method=method)
    exact = best.gradient(task.guess[:, 0])
    assert np.all(np.abs(g.value[:, 0] - exact) < SIGMAS * g.stderr[:, 0])


@pytest.mark.parametrize("method", ["response", "pathwise"])
def test_protocol_gradient__stiffness_matches_exact_gradient(method):
    task, case = stiffen_trap(n_intervals=10), Stiffening(1.0, 2.0, 1.0)
    k = task.guess[:, 0]
    work = lambda h: case.piecewise_work(k + h, substeps=10)  # noqa: E731
    exact = [(work(h) - work(-h)) / 2e-5 for h in 1e-5 * np.eye(10)]
    g = protocol_gradient(task, task.guess, n_trajectories=4000, method=method)
    assert np.all(np.abs(g.value[:, 0] - exact) < SIGMAS * g.stderr[:, 0])


def test_protocol_gradient__variances_of_the_estimators_match_the_table():
    """Mean over intervals; spread over 8 samples of 1000 gives the standard error."""
    task = translate_trap()
    table = {
        ("naive", "none"): 0.154,
        ("naive", "mean"): 0.116,
        ("response", "none"): 0.129,
        ("response", "mean"): 0.105,
        ("response", "regression"): 0.0091,
        ("pathwise", "none"): 0.098,
    }
    for (method, control), expected in table.items():
        found = [
            protocol_gradient(
                task, task.guess, n_trajectories=1000, seed=s, method=method, control=control
            ).variance.mean()
            for s in range(8)
        ]
        stderr = np.std(found, ddof=1) / np.sqrt(8)
        rounding = 0.5 * 10.0 ** -(4 if expected < 0.01 else 3)
        # The table's own sample adds as much: sqrt(2) of ours.
        assert np.mean(found) == pytest.approx(expected, abs=SIGMAS * 1.42 * stderr + rounding)


@pytest.mark.parametrize(("friction", "expected"), [(0.1, 9.92), (1, 0.99), (10, 0.099)])
def test_protocol_gradient__weight_variance_grows_as_one_over_friction(friction, expected):
    """One interval: every a_j is the same constant, so L is normal with variance tau k^2/(2gT)."""
    task = translate_trap(
        duration=2.0, mobility=1 / friction, mass=1.0, n_intervals=1, substeps=100
    )
    n = 4000
    g = protocol_gradient(task, task.guess, n_trajectories=n)
    exact = 2.0 / (2 * friction)
    assert g.weight_variance[0, 0] == pytest.approx(exact, rel=SIGMAS * np.sqrt(2 / n))
    assert exact == pytest.approx(expected, rel=0.011)


def test_protocol_gradient__error_indicator_agrees_with_finite_differences():
    """Common random numbers; the difference of an indicator has its own standard error."""
    task = erase_bit(1.0, n_intervals=4, substeps=50)
    n, h = 20_000, 0.25
    g = protocol_gradient(task, task.guess, n_trajectories=n, error_weight=20.0)
    plain = protocol_gradient(task, task.guess, n_trajectories=n)
    slope = (g.value - plain.value)[2, 1] / 20.0
    runs = []
    for sign in (1, -1):
        values = task.guess.copy()
        values[2, 1] += sign * h
        runs.append(protocol_gradient(task, values, n_trajectories=n).error)
    difference = (runs[0] - runs[1]) / (2 * h)
    # Binomial error of the flipped bits plus that of the gradient; h^2 bias is below both.
    stderr = np.hypot(np.sqrt(abs(runs[0] - runs[1]) / n) / (2 * h), g.stderr[2, 1] / 20)
    assert slope < -SIGMAS * g.stderr[2, 1] / 20
    assert slope == pytest.approx(difference, abs=SIGMAS * stderr)


def test_protocol_gradient__pathwise_is_blind_to_an_indicator_and_sees_a_smooth_one():
    sharp = erase_bit(1.0, n_intervals=4)
    soft = erase_bit(1.0, n_intervals=4, width=0.1)
    run = {"n_trajectories": 500, "method": "pathwise"}
    plain = protocol_gradient(sharp, sharp.guess, **run).value
    blind = protocol_gradient(sharp, sharp.guess, error_weight=20.0, **run).value
    np.testing.assert_array_equal(blind, plain)
    seen = protocol_gradient(soft, soft.guess, error_weight=20.0, **run).value
    assert np.all((seen - plain)[2:, 1] < 0)


def test_protocol_gradient__sign_of_the_weight_flips_the_error_gradient():
    task = erase_bit(1.0, n_intervals=4)
    up, none, down = (
        protocol_gradient(
            task, task.guess, n_trajectories=300, error_weight=a, control="none"
        ).value
        for a in (5.0, 0.0, -5.0)
    )
    np.testing.assert_allclose(up - none, none - down, atol=1e-12)


def test_protocol_gradient__a_control_without_force_has_no_weight():
    """A trap held at stiffness 0 does not feel its centre: no force, no work, no gradient."""
    task = translate_trap()
    energy = task.energy
    x = np.linspace(-1, 1, 5)
    np.testing.assert_array_equal(energy.force_by_control(x, np.array([0.0, 0.3]))[1], 0)
    np.testing.assert_array_equal(energy.by_control(x, np.array([0.0, 0.3]))[1], 0)


def test_protocol_gradient__earlier_coefficients_agree_with_the_sample_s_own():
    task = translate_trap(n_intervals=5)
    own = protocol_gradient(task, task.guess, n_trajectories=1000)
    free = protocol_gradient(
        task, task.guess, n_trajectories=1000, seed=1, coefficients=own.coefficients
    )
    spread = np.hypot(own.stderr, free.stderr)
    assert np.all(np.abs(own.value - free.value) < SIGMAS * spread)
    assert free.variance.mean() < 1.2 * own.variance.mean()


def test_response_sums__do_not_depend_on_who_runs_which_block():
    task = translate_trap(n_intervals=3)
    parts = blocks(700, size=256)
    forward = [response_sums(task, task.guess, b, 4) for b in parts]
    backward = [response_sums(task, task.guess, b, 4) for b in reversed(parts)]
    np.testing.assert_array_equal(merge(forward).al, merge(reversed(backward)).al)


def test_protocol_gradient__says_how_to_mend():
    task = translate_trap()
    with pytest.raises(InputError, match=r"shape \(20, 1\)"):
        protocol_gradient(task, np.zeros(20))
    with pytest.raises(InputError, match="at least 2"):
        protocol_gradient(task, task.guess, n_trajectories=1)
    wild = erase_bit(5.0, substeps=20)
    with pytest.raises(ConvergenceError, match="more substeps"):
        protocol_gradient(wild, np.full((20, 2), -500.0), n_trajectories=10)
    with pytest.raises(InputError, match="more substeps"):
        translate_trap(duration=150.0)
