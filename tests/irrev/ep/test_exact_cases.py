"""Every solver reaches every exact value: single normaliser, per unit, linear Gaussian, labels.

Expectations are exact sums over states or quadratures, so the only error is that of the optimum:
1e-8 nats.
"""

import numpy as np
import pytest
from scipy.linalg import expm, solve_continuous_lyapunov

from irrev.ep.choose import SOLVERS
from irrev.ep.composite import Joint
from irrev.ep.explicit import ExplicitObservables
from irrev.ep.multipartite import flip_table
from irrev.ep.objective import Dual
from irrev.ep.sets import DenseSteps, ProductSet, set_spec
from irrev.ep.solvers import lbfgs
from irrev.simulate.ou import linear_ep_rate
from tests.closed_forms import SPIN_CHAINS, ring

EXACT = 1e-8


def sets(before, after, names, *, binary=True):
    record = np.stack([before, after], axis=1).reshape(-1, before.shape[1])
    steps = DenseSteps(record, 2 * np.arange(before.shape[0]))
    specs = [set_spec(name, before.shape[1], binary=binary) for name in names]
    return Joint(tuple(ProductSet(steps, spec) for spec in specs))


def problem(before, after, p, names, **options):
    observables = sets(before, after, names, **options)
    return Dual(observables, observables.total(p), p)


@pytest.fixture(params=SOLVERS)
def solve(request):
    return SOLVERS[request.param]


def known(names):
    """Chains with a reference value of the sets."""
    cases = [(chain, name) for name in names for chain in SPIN_CHAINS if name in chain.known]
    return pytest.mark.parametrize(("chain", "name"), cases, ids=lambda x: getattr(x, "name", x))


@known(["pair", "pair+lin", "pair+lin+triple"])
def test_solvers__single_normaliser_matches_the_reference(solve, chain, name):
    fit = solve(problem(*chain.steps(), name.split("+")), None)
    assert fit.value_train == pytest.approx(chain.known[name], abs=EXACT)
    assert fit.converged


@known(["multipartite", "multipartite+lin"])
def test_solvers__per_unit_form_matches_the_reference(solve, chain, name):
    lin = name.endswith("lin")
    before, after, p = chain.steps()
    total = 0.0
    for unit in range(before.shape[1]):
        flips = before[:, unit] != after[:, unit]
        table = flip_table(before[flips].astype(np.int8), unit, lin=lin, dtype=np.float64)
        table = table if lin else table.select(np.delete(np.arange(before.shape[1]), unit))
        weight = p[flips] / p[flips].sum()
        fit = solve(Dual(table, table.total(weight), weight), None)
        total += p[flips].sum() * fit.value_train
    assert total == pytest.approx(chain.known[name], abs=EXACT)


def test_solvers__ring_is_exact_with_its_current(solve):
    """a = .5, b = .2: (a - b) ln(a / b) at theta = ln(a / b)."""
    chain = ring(0.5, 0.2)
    before, after, p = chain.steps()
    i, j = before.argmax(axis=1), after.argmax(axis=1)
    g = ((j - i + 1) % 3 - 1.0)[:, None]
    fit = solve(Dual(ExplicitObservables.antisymmetric(g), p @ g, p), None)
    assert fit.value_train == pytest.approx(0.2748872196, abs=EXACT)
    assert fit.theta[0] == pytest.approx(np.log(2.5), abs=3e-6)


def quadrature(move, cov, nodes):
    """Both ends of a stationary linear Gaussian step with product Gauss-Hermite weights."""
    n = move.shape[0]
    node, weight = np.polynomial.hermite_e.hermegauss(nodes)
    z = np.stack(np.meshgrid(*[node] * (2 * n), indexing="ij"), axis=-1).reshape(-1, 2 * n)
    p = np.prod(np.stack(np.meshgrid(*[weight] * (2 * n), indexing="ij"), -1), -1).ravel()
    before = z[:, :n] @ np.linalg.cholesky(cov).T
    noise = np.linalg.cholesky(cov - move @ cov @ move.T)
    return before, before @ move.T + z[:, n:] @ noise.T, p / p.sum()


def test_current__is_nested_between_pair_and_truth():
    mixed, synchronous = SPIN_CHAINS[2], SPIN_CHAINS[1]
    current = lbfgs(problem(*mixed.steps(), ["current"])).value_train
    assert mixed.known["pair"] - EXACT <= current <= mixed.ep + EXACT
    # More than one spin changes: the reverse is computed, so the bound stays valid.
    value = lbfgs(problem(*synchronous.steps(), ["current"])).value_train
    assert 0 < value <= synchronous.ep + EXACT


@pytest.mark.parametrize(("lag", "ep"), [(0.1, 0.1800648043), (0.7, 0.5433574667)])
def test_solvers__rotor_attains_the_entropy_production_of_a_lag(solve, lag, ep):
    """dx = [[-1, w], [-w, -1]] x dt + sqrt(2) dW, w = 1: 4 sin^2(w t) / (e^{2t} - 1) per lag t."""
    move = expm(lag * np.array([[-1.0, 1.0], [-1.0, -1.0]]))
    fit = solve(problem(*quadrature(move, np.eye(2), 16), ["pair"], binary=False), None)
    # 16 nodes a dimension leave 1e-9 of the reverse average at lag 0.7.
    assert fit.value_train == pytest.approx(ep, abs=EXACT)


DRIFT = np.array([[-1, 0.8, 0], [-0.5, -1.2, 0.3], [0.2, -0.6, -0.9]])
NOISE = np.diag([1.0, 0.5, 2.0])


class Gaussian:
    """theta . g = z' M z of Gaussian z = (before, after): exact f, gradient, Hessian."""

    def __init__(self, names, lag):
        cov = solve_continuous_lyapunov(DRIFT, -2 * NOISE)
        move = expm(DRIFT * lag)
        self.forward = np.block([[cov, cov @ move.T], [move @ cov, cov]])
        swap = np.roll(np.arange(6), 3)
        self.reverse = self.forward[np.ix_(swap, swap)]
        self.exact = 0.5 * np.trace(np.linalg.solve(self.reverse, self.forward)) - 3
        self.forms = []
        for name in names:
            spec = set_spec(name, 3)
            for i, j in zip(spec.i, spec.j, strict=True):
                form = np.zeros((6, 6))
                if name == "pair":
                    form[3 + i, j], form[i, 3 + j] = 1.0, -1.0
                else:
                    form[3 + i, 3 + j], form[i, j] = 1.0, -1.0
                self.forms.append((form + form.T) / 2)
        self.forms = np.array(self.forms)

    def bound(self):
        """Newton with halving on f = tr(M C) + ln det(1 - 2 M R) / 2."""
        theta = np.zeros(len(self.forms))
        mean = np.einsum("kij,ji->k", self.forms, self.forward)

        def value(at):
            m = np.tensordot(at, self.forms, 1)
            sign, log = np.linalg.slogdet(np.eye(6) - 2 * m @ self.reverse)
            roots = np.linalg.eigvals(np.eye(6) - 2 * m @ self.reverse).real
            return at @ mean + 0.5 * log if sign > 0 and roots.min() > 0 else -np.inf

        for _ in range(60):
            m = np.tensordot(theta, self.forms, 1)
            tilted = np.linalg.inv(np.linalg.inv(self.reverse) - 2 * m)
            grad = mean - np.einsum("kij,ji->k", self.forms, tilted)
            hess = 2 * np.einsum("kab,bc,lcd,da->kl", self.forms, tilted, self.forms, tilted)
            step, scale = np.linalg.solve(hess, grad), 1.0
            while value(theta + scale * step) < value(theta) - 1e-15 and scale > 1e-9:
                scale /= 2
            theta = theta + scale * step
        return value(theta)


def test_gaussian__pair_and_same_time_are_exact_for_a_linear_system():
    """Section of linear systems: rate, finite lag, `pair` + `same-time` = truth, `pair` less."""
    assert linear_ep_rate(DRIFT, NOISE) == pytest.approx(1.0919476398, abs=EXACT)
    both, pair = Gaussian(["pair", "same-time"], 0.5), Gaussian(["pair"], 0.5)
    assert both.exact / 0.5 == pytest.approx(0.5622634071, abs=EXACT)
    assert both.bound() == pytest.approx(both.exact, abs=EXACT)
    assert pair.bound() / 0.5 == pytest.approx(0.5533764611, abs=EXACT)


def test_solvers__gaussian_observables_give_twice_the_squared_mean(solve):
    """g ~ N(mu, K), reverse N(-mu, K): 2 mu' K^-1 mu at theta = 2 K^-1 mu."""
    mean, cov = np.array([0.3, -0.2]), np.array([[1.0, 0.3], [0.3, 0.5]])
    node, weight = np.polynomial.hermite_e.hermegauss(40)
    z = np.stack(np.meshgrid(node, node, indexing="ij"), axis=-1).reshape(-1, 2)
    p = np.outer(weight, weight).ravel() / weight.sum() ** 2
    g = mean + z @ np.linalg.cholesky(cov).T
    fit = solve(Dual(ExplicitObservables.antisymmetric(g), mean, p), None)
    known = 2 * mean @ np.linalg.solve(cov, mean)
    assert fit.value_train == pytest.approx(known, abs=EXACT)
    np.testing.assert_allclose(fit.theta, 2 * np.linalg.solve(cov, mean), atol=3e-6)
    assert fit.theta.shape == (2,)


def test_solvers__labels_with_their_products_equal_the_weighted_sum(solve):
    """Adding labels and their products with g = one problem a label: sum p(l) ep(l)."""
    parts = [SPIN_CHAINS[0].steps(), SPIN_CHAINS[2].steps()]
    share, columns, weights, total = (0.4, 0.6), [], [], 0.0
    for k, (before, after, p) in enumerate(parts):
        one = problem(before, after, p, ["pair"])
        total += share[k] * solve(one, None).value_train
        g = one.observables.columns(np.arange(p.size))
        wide = np.zeros((p.size, 7))  # products with each label, and the indicator of one
        wide[:, 3 * k : 3 * k + 3], wide[:, 6] = g, float(k)
        columns.append(wide)
        weights.append(share[k] * p)
    wide, p = np.vstack(columns), np.concatenate(weights)
    even = wide.copy()
    even[:, :6] *= -1  # the label itself is unchanged by reversal
    joint = solve(Dual(ExplicitObservables(wide, even), p @ wide, p), None).value_train
    assert joint == pytest.approx(total, abs=EXACT)
    assert total == pytest.approx(0.4 * 0.1466146970 + 0.6 * 0.1784747977, abs=EXACT)
