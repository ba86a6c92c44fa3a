"""Energies of single trajectories: balance, known means, the Jarzynski equality."""

import numpy as np
import pytest

from irrev.control.bounds import Stiffening, translation_optimum
from irrev.control.energetics import energetics, evaluate
from irrev.control.systems import erase_bit, stiffen_trap, translate_trap
from irrev.errors import ConvergenceError

TASKS = [
    translate_trap(),
    translate_trap(duration=2.0, mass=0.5),
    stiffen_trap(),
    erase_bit(1.0, substeps=20),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_energetics__first_law_holds_for_every_trajectory(task):
    run = energetics(task, task.guess, n_trajectories=500, seed=3)
    np.testing.assert_allclose(run.work + run.heat, run.change, rtol=0, atol=1e-10)


def test_energetics__last_short_block_leaves_the_others_alone():
    task = TASKS[0]
    many = energetics(task, task.guess, n_trajectories=600, seed=3, block_size=256)
    few = energetics(task, task.guess, n_trajectories=512, seed=3, block_size=256)
    np.testing.assert_array_equal(many.work[:512], few.work)


def test_evaluate__mean_work_of_a_linear_start_is_exact():
    """The exact mean of the same Euler chain is known; see `translation_optimum`."""
    task = translate_trap()
    exact = translation_optimum(1.0, 1.0, n_intervals=20, substeps=10)
    out = evaluate(task, task.guess, n_trajectories=20_000, seed=0)
    assert out.work == pytest.approx(exact.work(task.guess[:, 0]), abs=4 * out.work_stderr)
    assert out.bound == pytest.approx(1 / 3)
    assert out.error == 0
    # The Euler chain is off by 0.0004 at this step.
    assert out.jarzynski == pytest.approx(1, abs=3 * out.jarzynski_stderr + 5e-4)


def test_evaluate__optimal_stiffening_costs_its_bound_and_obeys_jarzynski():
    case = Stiffening(1.0, 2.0, 1.0)
    task = stiffen_trap(n_intervals=20, substeps=10)
    values = case.stiffness((np.arange(20) + 0.5) / 20)
    out = evaluate(task, values[:, None], n_trajectories=20_000, seed=0)
    exact = case.piecewise_work(values, substeps=10)
    assert out.work == pytest.approx(exact, abs=4 * out.work_stderr)
    assert exact == pytest.approx(case.work, rel=0.01)
    # e^{-W} on the chain differs by about dt max|U''| x W/2 = 0.005 x 2 x 0.2.
    expected = np.exp(-case.free_energy)
    assert out.jarzynski == pytest.approx(expected, abs=3 * out.jarzynski_stderr + 2e-3)


def test_evaluate__underdamped_translation_obeys_jarzynski():
    task = translate_trap(duration=2.0, mass=0.5, substeps=20)
    exact = translation_optimum(1.0, 2.0, n_intervals=20, mass=0.5, substeps=20)
    out = evaluate(task, task.guess, n_trajectories=8000, seed=1)
    assert out.work == pytest.approx(exact.work(task.guess[:, 0]), abs=4 * out.work_stderr)
    # Kicks shift the sampled temperature by about g dt/(2m) = 0.005.
    assert out.jarzynski == pytest.approx(1, abs=3 * out.jarzynski_stderr + 5e-3)


def test_energetics__tells_when_a_step_is_too_large():
    task = erase_bit(5.0, substeps=20)
    with pytest.raises(ConvergenceError, match="more substeps"):
        energetics(task, np.full((20, 2), -500.0), n_trajectories=10, seed=0)
