"""Errors of end positions: values, derivatives at a law, merging, and the laws they ask for."""

from dataclasses import replace

import numpy as np
import pytest

from irrev.control.protocols import learn_protocol
from irrev.control.response import protocol_gradient
from irrev.control.systems import erase_bit
from irrev.control.targets import LeftOf, MissedBy, distance_to

NODES = np.linspace(-3.0, 3.0, 401)
TARGETS = {
    "well": LeftOf(),
    "missed": MissedBy(0.7),
    "law": distance_to(NODES, np.exp(-((NODES - 0.5) ** 2))),
}


@pytest.mark.parametrize("name", TARGETS)
def test_target__linear_error_has_the_value_as_mean_at_its_own_law(name, rng):
    x, target = rng.normal(0.2, 0.8, 5000), TARGETS[name]
    law = target.summary(x)
    # 401 nodes, positions in between are interpolated: off by a share of a cell.
    assert target.about(law)(x).mean() == pytest.approx(target.value(law), abs=2e-3)


@pytest.mark.parametrize("name", TARGETS)
def test_target__linear_error_is_the_derivative_of_the_value(name, rng):
    """Mix a little of another sample into the law: the value moves by the mean linear error."""
    x, y, target = rng.normal(0.2, 0.8, 5000), rng.normal(1.0, 0.3, 5000), TARGETS[name]
    law, other, share = target.summary(x), target.summary(y), 1e-4
    moved = (target.value((1 - share) * law + share * other) - target.value(law)) / share
    linear = target.about(law)
    assert moved == pytest.approx(linear(y).mean() - linear(x).mean(), abs=5e-3)


@pytest.mark.parametrize("name", ["missed", "law"])
def test_target__slope_is_the_derivative_of_the_error(name, rng):
    x, step = rng.uniform(-2.5, 2.5, 200), 1e-3
    target = TARGETS[name].about(TARGETS[name].summary(rng.normal(0.0, 1.0, 20_000)))
    rise = (target(x + step) - target(x - step)) / (2 * step)
    # Within a cell of the grid the error is a straight line: half a cell times its bend.
    np.testing.assert_allclose(target.slope(x), rise, atol=4 * 0.015)


@pytest.mark.parametrize("name", TARGETS)
def test_target__laws_of_blocks_add_up(name, rng):
    x, target = rng.normal(0.0, 2.0, 1000), TARGETS[name]
    parts = [target.summary(part) for part in np.array_split(x, 7)]
    np.testing.assert_allclose(sum(parts), target.summary(x), rtol=1e-12)


def test_distance_to__is_the_energy_distance(rng):
    """2 E|x - y| - E|x - x'| - E|y - y'| of two samples of the normal laws."""
    target = distance_to(NODES, np.exp(-((NODES - 0.5) ** 2) / (2 * 0.6**2)))
    x, y = rng.normal(-0.5, 0.4, 3000), rng.normal(0.5, 0.6, 3000)

    def spread(a, b):
        return np.abs(a[:, None] - b[None]).mean()

    expected = 2 * spread(x, y) - spread(x, x) - spread(y, y)
    assert target.value(target.summary(x)) == pytest.approx(expected, rel=0.03)  # sampled y


def test_distance_to__nothing_is_left_at_the_law_itself(rng):
    target = distance_to(NODES, np.exp(-(NODES**2) / 2))
    far, near = (target.value(target.summary(rng.normal(m, 1.0, 20_000))) for m in (0.5, 0.0))
    # 2 int (F_n - F)^2 has mean E|y - y'| / n = 1.13 / n; ten times that is rarer than 1 in 10^4.
    assert near < 11.3 / 20_000 < far


def test_protocol_gradient__a_law_is_approached_by_finite_differences():
    """Response and pathwise gradients of the distance, against common random numbers."""
    task = erase_bit(1.0, goal="law", n_intervals=3, substeps=40)
    n, weight, step = 20_000, 50.0, 0.05
    base = protocol_gradient(task, task.guess, n_trajectories=n, error_weight=weight)
    assert task.error is not None
    at = replace(task, error=task.error.about(base.law))
    for method in ("response", "pathwise"):
        g = protocol_gradient(at, task.guess, n_trajectories=n, error_weight=weight, method=method)
        for k, j in ((2, 1), (2, 0)):
            losses = []
            for sign in (1, -1):
                values = task.guess.copy()
                values[k, j] += sign * step
                out = protocol_gradient(task, values, n_trajectories=n)
                losses.append(out.work + weight * out.error)
            slope = (losses[0] - losses[1]) / (2 * step)
            assert g.value[k, j] == pytest.approx(slope, abs=4 * g.stderr[k, j])


def test_learn_protocol__a_law_is_reached_and_costs_more_than_the_well():
    options = {"error_weight": 40.0, "n_iterations": 60, "n_trajectories": 400}
    options["n_evaluation"] = 4000
    task = erase_bit(2.0, goal="law", n_intervals=8, substeps=50)
    learned = learn_protocol(task, **options)
    assert learned.evaluation.error < 0.3 * learned.error_history[0]
    assert learned.evaluation.bound is not None
    assert learned.evaluation.work > learned.evaluation.bound
