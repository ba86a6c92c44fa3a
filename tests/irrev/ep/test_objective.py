"""Exact expectations by enumeration: every value of the closed-form table."""

import numpy as np
import pytest

from irrev.ep import objective
from irrev.ep.explicit import AntisymmetricTable, ExplicitObservables
from irrev.ep.objective import Dual
from irrev.ep.observables import DensePairs
from irrev.ep.solvers import lbfgs
from irrev.ep.tur import one_step
from tests.closed_forms import RING_VALUES, SPIN_CHAINS, ring

EXACT = 1e-8  # rounding of ten-digit reference values and of an optimum found to 1e-13


def population(chain):
    before, after, p = chain.steps()
    pairs = DensePairs(before, after)
    return Dual(pairs, pairs.total(p), p)


def covariance(dual):
    g = dual.observables.columns(np.arange(dual.observables.n_samples))
    return (g * dual.probability[:, None]).T @ g - np.outer(dual.mean, dual.mean)


@pytest.mark.parametrize("chain", SPIN_CHAINS, ids=lambda c: c.name)
def test_exact_ep__matches_the_reference(chain):
    assert chain.ep == pytest.approx(chain.known["ep"], abs=EXACT)


@pytest.mark.parametrize("chain", SPIN_CHAINS, ids=lambda c: c.name)
def test_dual__pair_bound_matches_the_reference(chain):
    fit = lbfgs(population(chain))
    assert fit.converged
    assert fit.value_train == pytest.approx(chain.known["pair"], abs=EXACT)
    assert fit.value_train <= chain.ep + EXACT


def test_dual__couplings_of_the_directed_cycle():
    asynchronous, synchronous = SPIN_CHAINS[:2]
    # The value is quadratic in the error of theta: 1e-13 of value is 1e-6 of theta.
    np.testing.assert_allclose(lbfgs(population(asynchronous)).theta, [0.5, -0.5, 0.5], atol=3e-6)
    np.testing.assert_allclose(lbfgs(population(synchronous)).theta, [1, -1, 1], atol=3e-6)


@pytest.mark.parametrize("chain", [SPIN_CHAINS[0], *SPIN_CHAINS[2:]], ids=lambda c: c.name)
def test_one_step__matches_the_reference(chain):
    dual = population(chain)
    current = one_step(dual.mean, covariance(dual), dual.observables.metric(), ridge=0.0)
    reverse = dual.observables.reverse_values(2 * current)
    newton1 = dual.value(2 * current @ dual.mean, reverse)
    tur = np.log1p(2 * current @ dual.mean)
    assert newton1 == pytest.approx(chain.known["newton1"], abs=EXACT)
    assert tur == pytest.approx(chain.known["tur"], abs=EXACT)
    assert max(newton1, tur) <= lbfgs(dual).value_train + EXACT


def test_one_step__ring_matches_the_reference():
    before, after, p = ring(0.5, 0.2).steps()
    g = ((after.argmax(axis=1) - before.argmax(axis=1) + 1) % 3 - 1.0)[:, None]
    dual = Dual(ExplicitObservables.antisymmetric(g), p @ g, p)
    step = 2 * dual.mean / float(p @ g[:, 0] ** 2 - dual.mean[0] ** 2)
    newton1 = dual.value(float(step @ dual.mean), dual.observables.reverse_values(step))
    assert newton1 == pytest.approx(RING_VALUES["newton1"], abs=EXACT)
    assert np.log1p(step @ dual.mean) == pytest.approx(RING_VALUES["tur"], abs=EXACT)


def test_dual__observables_without_antisymmetry_give_the_same_bound():
    """Any g with its reverse: here the two halves of each pair, which span the pair set."""
    before, after, p = SPIN_CHAINS[2].steps()
    i, j = np.triu_indices(3, 1)
    halves = ExplicitObservables(
        np.hstack([after[:, i] * before[:, j], after[:, j] * before[:, i]]),
        np.hstack([before[:, i] * after[:, j], before[:, j] * after[:, i]]),
    )
    bound = lbfgs(Dual(halves, halves.total(p), p)).value_train
    assert bound >= SPIN_CHAINS[2].known["pair"] - EXACT
    assert bound <= SPIN_CHAINS[2].ep + EXACT


def test_dual__gradient_and_hessian_product_match_differences():
    dual = population(SPIN_CHAINS[2])
    rng = np.random.default_rng(3)
    theta, v, step = rng.normal(size=3), rng.normal(size=3), 1e-6

    def value(at):
        return dual.value(at @ dual.mean, dual.observables.reverse_values(at))

    def gradient(at):
        return dual.gradient(dual.observables.reverse_values(at))

    slope = (value(theta + step * v) - value(theta - step * v)) / (2 * step)
    bend = (gradient(theta + step * v) - gradient(theta - step * v)) / (2 * step)
    # Central differences: rounding 1e-16 / step plus curvature times step^2.
    np.testing.assert_allclose(gradient(theta) @ v, slope, atol=1e-8)
    reverse = dual.observables.reverse_values(theta)
    np.testing.assert_allclose(-dual.hessian_product(reverse, v), bend, atol=1e-8)


@pytest.mark.parametrize("start", [0.0, 1.0])
@pytest.mark.parametrize("upper", [np.inf, 1.5])
def test_dual__samples_that_stand_still_may_be_counted(start, upper, monkeypatch, rng):
    """The same step whether zeros are given, counted by the search, or counted by the caller."""
    change = rng.normal(-0.3, 1.0, 400) * (rng.random(400) < 0.2)
    reverse = start * rng.normal(0.0, 1.0, 400) * (change != 0)
    table = AntisymmetricTable(-change[:, None])
    dual = Dual(table, np.array([-change.mean()]))
    along = (0.1, reverse, -float(change.mean()), change)
    counted = dual.search(*along, upper=upper)
    moving = change != 0
    given = (0.1, reverse[moving], along[2], change[moving])
    still = int(np.sum(~moving))
    assert dual.search(*given, upper=upper, still=still) == pytest.approx(counted, rel=1e-12)
    monkeypatch.setattr(objective, "MOVING", 0.0)
    assert dual.search(*along, upper=upper) == pytest.approx(counted, rel=1e-9)
    assert counted > 0.1
    full = dual.log_mean_exp(counted * change)
    assert dual.log_mean_exp(counted * change[moving], still=still) == pytest.approx(full)
    nothing = np.zeros(0)
    assert dual.log_mean_exp(nothing, still=5) == 0.0
    assert dual.search(0.0, nothing, 0.0, nothing, still=5) == 0.0
