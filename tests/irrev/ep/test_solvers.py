"""Solvers agree at convergence; validation, rescaling and the L1 path do what they promise."""

import numpy as np
import pytest

from irrev.ep.choose import choose_fit
from irrev.ep.explicit import AntisymmetricTable
from irrev.ep.l1 import l1_path, orthant_newton
from irrev.ep.maxent import maxent_ep
from irrev.ep.objective import Dual
from irrev.ep.observables import DensePairs
from irrev.ep.solvers import lbfgs
from irrev.ep.validation import held_out
from irrev.simulate.spins import simulate_spins, spin_couplings, spin_ep


def dual(table):
    return Dual(table, table.total(np.full(table.n_samples, 1.0 / table.n_samples)))


def gaussian(rng, n, mean):
    """Independent unit Gaussians: ep = 2 |mean|^2, theta = 2 mean."""
    return dual(AntisymmetricTable(rng.normal(mean, 1.0, (n, len(mean)))))


def test_lbfgs__gaussian_optimum_is_two_inverse_covariances(rng):
    """theta errs by 2 / sqrt(n) = 0.006 plus the sampling of the reverse average, as large."""
    fit = lbfgs(gaussian(rng, 100_000, [0.3, -0.1, 0.0]))
    assert fit.converged
    np.testing.assert_allclose(fit.theta, [0.6, -0.2, 0.0], atol=4 * 2 * 0.0063)


def test_lbfgs__training_is_too_high_and_held_out_too_low_by_twice_d_over_n():
    """Equilibrium: E train = 2 d / n, E test = -2 d / n; 200 repetitions."""
    d, n, train, test = 20, 2000, [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        fit = lbfgs(gaussian(rng, n, np.zeros(d)))
        train.append(fit.value_train)
        fresh = rng.normal(size=(n, d)) @ fit.theta
        test.append(held_out(fresh, -fresh, 0.0).value)
    noise = 2 * d / n
    # Next order in d / n = 1 % each way, and the standard errors of the means.
    assert np.mean(train) == pytest.approx(noise, abs=4 * np.std(train) / 14 + 0.1 * noise)
    assert np.mean(test) == pytest.approx(-noise, abs=4 * np.std(test) / 14 + 0.1 * noise)


def test_lbfgs__rescaling_leaves_nothing_where_there_is_nothing():
    """Held-out values of rescaled fits at equilibrium: far above the -2 d / n of the plain fit."""
    d, n, test = 50, 1000, []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        fit = lbfgs(gaussian(rng, n, np.zeros(d)), gaussian(rng, n // 2, np.zeros(d)))
        fresh = rng.normal(size=(n, d)) @ fit.theta
        test.append(held_out(fresh, -fresh, 0.0).value)
    assert np.mean(test) > -0.3 * 2 * d / n


def test_orthant_newton__without_penalty_meets_lbfgs(rng):
    problem = gaussian(rng, 5000, [0.3, -0.2, 0.1, 0.0])
    theta = orthant_newton(problem, np.zeros(4), np.full(4, 1e-12))[0]
    # Both stop at a relative gain of 1e-3 or better: half of it in the square of theta.
    np.testing.assert_allclose(theta, lbfgs(problem).theta, atol=0.02)


def test_orthant_newton__satisfies_the_conditions_of_the_optimum(rng):
    """Zero couplings have slopes below the penalty, others equal to it within the tolerance."""
    problem = gaussian(rng, 4000, [0.3, 0.02, 0.0, -0.25, 0.0])
    penalty = np.full(5, 0.08)
    theta, reverse = orthant_newton(problem, np.zeros(5), penalty)[:2]
    assert orthant_newton(problem, np.zeros(5), penalty, max_free=1) is None
    slope = problem.gradient(reverse)
    assert np.all(np.abs(slope[theta == 0]) <= 0.08 + 1e-9)
    np.testing.assert_allclose(slope[theta != 0], 0.08 * np.sign(theta[theta != 0]), atol=0.01)
    assert set(np.flatnonzero(theta)) == {0, 3}


def test_l1_path__finds_the_few_that_matter(rng):
    mean = np.zeros(200)
    mean[[3, 77, 150]] = [0.2, -0.25, 0.3]
    train, validation = gaussian(rng, 1000, mean), gaussian(rng, 500, mean)
    sparse, dense = l1_path(train, validation), lbfgs(train, validation)
    assert {3, 77, 150} <= set(np.flatnonzero(sparse.theta))
    assert np.count_nonzero(sparse.theta) < 60
    assert sparse.validation.max() > dense.validation.max()


@pytest.fixture(scope="module")
def sparse_spins():
    """40 spins, k = 6, beta = 2, one redraw a step, 6,000 steps: d = 780."""
    coupling = spin_couplings(40, np.random.default_rng(0))
    states = simulate_spins(coupling, beta=2.0, n_states=6_001, seed=1, every=1)
    return states, spin_ep(states, coupling, beta=2.0)


def test_choose_fit__auto_is_as_good_as_the_better_solver(sparse_spins):
    states, truth = sparse_spins
    pairs = DensePairs(states[:-1], states[1:])
    order = np.random.default_rng(0).permutation(np.arange(40)).argsort()
    part = np.digitize(order[np.arange(6_000) * 40 // 6_000], [28, 34])
    train, validation, test = (dual(pairs.take(np.flatnonzero(part == k))) for k in range(3))
    values = {}
    for solver in ("auto", "lbfgs", "l1"):
        fit = choose_fit(train, validation, solver)
        a = test.observables.values(fit.theta)
        values[solver] = held_out(a, -a, fit.log_normaliser)
    error = np.std(values["auto"].forward - np.exp(values["auto"].reverse)) / np.sqrt(900)
    best = max(values["lbfgs"].value, values["l1"].value)
    assert values["auto"].value >= best - 2 * error
    assert values["l1"].value > values["lbfgs"].value  # 6 of 39 couplings a spin
    assert values["auto"].value <= truth + 4 * error


def test_maxent_ep__solvers_agree_where_samples_abound(rng):
    """Three observables, 8000 steps: all reach the same optimum within its noise 2 d / n."""
    path = simulate_spins(
        spin_couplings(3, rng, degree=None), beta=1.0, n_states=8000, seed=0, every=1
    )
    values = [maxent_ep(path, solver=s).value for s in ("auto", "lbfgs", "l1")]
    assert np.ptp(values) < 2 * 2 * 3 / 4800 + 0.1 * abs(values[0])
