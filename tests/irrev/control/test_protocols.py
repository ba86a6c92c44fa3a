"""Learned protocols against exact optima; every learned price is on fresh trajectories."""

import numpy as np
import pytest
from scipy.optimize import minimize

from irrev.control.bounds import Stiffening, translation_optimum
from irrev.control.protocols import learn_protocol, parametrise
from irrev.control.systems import carry_particle, erase_bit, stiffen_trap, translate_trap
from irrev.errors import InputError

SMALL = {"n_iterations": 120, "n_trajectories": 200, "n_evaluation": 4000}


def test_learn_protocol__translation_is_within_half_a_percent_of_its_optimum():
    """Priced exactly: the mean work of the learned values on the same Euler chain."""
    task = translate_trap(n_intervals=10)
    exact = translation_optimum(1.0, 1.0, n_intervals=10, substeps=10)
    learned = learn_protocol(task, **SMALL)
    best = exact.work(exact.optimum)
    assert best <= exact.work(learned.values[:, 0]) <= 1.005 * best
    out = learned.evaluation
    assert out.work == pytest.approx(exact.work(learned.values[:, 0]), abs=4 * out.work_stderr)
    assert learned.loss_history[-20:].mean() < learned.loss_history[:5].mean()
    # Jumps at both ends: 1/3 of the way in the continuum; a value holds for 1/10 of the time.
    assert learned.values[0, 0] > 0.25
    assert learned.values[-1, 0] < 0.75


@pytest.mark.parametrize("distance", [2.0, -1.0])
def test_learn_protocol__work_scales_with_the_square_of_the_distance(distance):
    task = translate_trap(distance, n_intervals=5)
    exact = translation_optimum(distance, 1.0, n_intervals=5, substeps=10)
    unit = translation_optimum(1.0, 1.0, n_intervals=5, substeps=10)
    best = exact.work(exact.optimum)
    assert best == pytest.approx(distance**2 * unit.work(unit.optimum), rel=1e-12)
    learned = learn_protocol(task, rate=0.05 * abs(distance), **SMALL)
    assert exact.work(learned.values[:, 0]) <= 1.005 * best


def test_learn_protocol__stiffening_is_within_one_percent_of_its_bound():
    case = Stiffening(1.0, 2.0, 1.0)
    task = stiffen_trap(n_intervals=10)
    learned = learn_protocol(task, **SMALL)
    priced = case.piecewise_work(learned.values[:, 0], substeps=10)
    best = minimize(lambda k: case.piecewise_work(k, substeps=10), learned.values[:, 0]).fun
    assert priced <= 1.005 * best
    # Euler's variance is off by m k dt / 2 = 1 % at most, and the work by less.
    assert priced == pytest.approx(case.work, rel=0.01)


@pytest.mark.parametrize("method", ["response", "pathwise"])
def test_learn_protocol__underdamped_translation_reaches_its_optimum(method):
    """K = 4: the optimum needs values far outside [0, 1], and both gradients find them."""
    task = translate_trap(duration=2.0, mass=1.0, n_intervals=4, substeps=20)
    exact = translation_optimum(1.0, 2.0, n_intervals=4, substeps=20, mass=1.0)
    learned = learn_protocol(task, rate=0.1, method=method, **SMALL)
    assert exact.work(learned.values[:, 0]) <= 1.01 * exact.work(exact.optimum)


def test_learn_protocol__a_heavy_error_is_within_one_percent_of_its_optimum():
    """Defaults of learning; the last iterate alone, moved by the error's noise, misses by more."""
    task, weight = carry_particle(duration=5.0, n_intervals=10), 40.0
    learned = learn_protocol(task, error_weight=weight, n_evaluation=4000)
    best = task.solved.price(task.solved.best(weight)).loss(weight)
    assert best <= task.solved.price(learned.values[:, 0]).loss(weight) <= 1.01 * best


def test_learn_protocol__same_seed_same_history():
    task = translate_trap(n_intervals=3)
    run = {"n_iterations": 3, "n_trajectories": 50, "n_evaluation": 100}
    once, again, other = (learn_protocol(task, seed=s, **run) for s in (1, 1, 2))
    np.testing.assert_array_equal(once.loss_history, again.loss_history)
    assert not np.array_equal(once.loss_history, other.loss_history)


def test_learn_protocol__straight_line_with_jumps_is_the_optimal_family():
    """The exact protocol is a line between jumps: two knots lose nothing."""
    task = translate_trap(n_intervals=10)
    exact = translation_optimum(1.0, 1.0, n_intervals=10, substeps=10)
    for shape in ("linear", "polynomial"):
        family = parametrise(shape, 10, 2)
        learned = learn_protocol(task, parametrisation=family, **SMALL)
        assert exact.work(learned.values[:, 0]) <= 1.005 * exact.work(exact.optimum)


def test_learn_protocol__erasure_improves_and_stays_above_the_bound():
    task = erase_bit(2.0, n_intervals=10, substeps=20)
    learned = learn_protocol(
        task,
        error_weight=20.0,
        n_iterations=60,
        n_trajectories=300,
        rate=0.3,
        n_evaluation=4000,
    )
    out = learned.evaluation
    assert out.work + 20 * out.error < 0.75 * learned.loss_history[0]
    assert out.bound is not None
    assert out.work > out.bound


@pytest.mark.slow
@pytest.mark.parametrize(
    ("duration", "substeps", "objective"), [(5.0, 50, 1.543), (2.0, 20, 1.867)]
)
def test_learn_protocol__erasure_reaches_the_reference(duration, substeps, objective):
    """Objectives that an independent implementation reached with the same family and schedule."""
    task = erase_bit(duration, substeps=substeps)
    learned = learn_protocol(
        task, error_weight=20.0, n_iterations=200, n_trajectories=1500, rate=0.2
    )
    out = learned.evaluation
    assert out.work + 20 * out.error <= 1.10 * objective
    assert out.bound is not None
    assert out.work > out.bound


@pytest.mark.parametrize("shape", ["steps", "linear", "polynomial"])
def test_parametrise__pull_back_is_the_transpose_and_fit_the_inverse(shape, rng):
    family = parametrise(shape, 12, 12 if shape == "steps" else 4)
    p, g = rng.normal(size=(family.basis.shape[1], 2)), rng.normal(size=(12, 2))
    assert np.sum(family.values(p) * g) == pytest.approx(np.sum(p * family.pull_back(g)))
    np.testing.assert_allclose(family.fit(family.values(p)), p, atol=1e-10)


def test_parametrise__says_how_to_mend():
    with pytest.raises(InputError, match="take 1 \\(linear: 2\\) to 5"):
        parametrise("linear", 5, 9)
    with pytest.raises(InputError, match="parameter an interval"):
        parametrise("steps", 5, 3)
    with pytest.raises(InputError, match="must be positive"):
        learn_protocol(translate_trap(), n_iterations=0)
