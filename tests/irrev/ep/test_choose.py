"""The rule of `auto`, the combination of fits, the guard of small validation parts."""

import numpy as np
import pytest

from irrev.binning import SpikeBins
from irrev.ep.choose import SOLVERS, auto_solvers, choose_fit, combine
from irrev.ep.explicit import AntisymmetricTable
from irrev.ep.limits import limited
from irrev.ep.multipartite import multipartite_ep
from irrev.ep.objective import Dual, guarded
from irrev.ep.samples import build_samples, synchrony
from tests.closed_forms import SPIN_CHAINS


def dual(observables):
    n = observables.n_samples
    return Dual(observables, observables.total(np.full(n, 1.0 / n)))


def gaussian(rng, n, mean):
    return dual(AntisymmetricTable(rng.normal(mean, 1.0, (n, len(mean)))))


def test_auto_solvers__follow_the_documented_rule(rng):
    """n >= 100 d, or sparse spikes: the plain fit alone; else the L1 path as well."""
    states = rng.choice([-1.0, 1.0], (1_001, 5))  # d = 10, n = 100 d
    assert auto_solvers(dual(build_samples(states).observables)) == ("lbfgs",)
    assert auto_solvers(dual(build_samples(states[:-1]).observables)) == ("lbfgs", "l1")
    spikes = SpikeBins.from_dense(rng.random((500, 5)) < 0.05, 0.01)
    assert auto_solvers(dual(build_samples(spikes).observables)) == ("lbfgs",)
    for name in ("lin", "current", "triple"):
        alone = build_samples(spikes, observables=(name,)).observables
        assert auto_solvers(dual(alone)) == ("lbfgs",)
    windows = build_samples(spikes, observables=("lin", "pair", "delayed"), window=2)
    assert auto_solvers(dual(windows.observables)) == ("lbfgs",)
    many = AntisymmetricTable(np.zeros((2, 10_001), np.float32))
    assert auto_solvers(Dual(many, np.zeros(10_001))) == ("lbfgs",)


def test_auto_solvers__synchronous_spikes_have_two_metrics(rng):
    """Half of the units fire in common bins: their number varies more than 3 times as much."""
    common = rng.random((500, 1)) < 0.1
    spikes = SpikeBins.from_dense(
        (rng.random((500, 20)) < 0.05) | (common & (rng.random((500, 20)) < 0.5)), 0.01
    )
    observables = build_samples(spikes).observables
    counts = spikes.to_dense()[:-1]
    ratio = counts.sum(axis=1).var() / counts.var(axis=0).sum()
    assert synchrony(observables) == pytest.approx(ratio, rel=0.05)
    assert ratio > 3.0
    assert auto_solvers(dual(observables)) == ("lbfgs", "sizes")
    fit = choose_fit(dual(observables), dual(observables))
    for name in ("lbfgs", "sizes"):
        one = SOLVERS[name](dual(observables), dual(observables))
        assert fit.validation.max() >= one.validation.max() - 1e-9


def test_combine__is_at_least_as_good_on_validation_as_each_fit(rng):
    mean = np.zeros(60)
    mean[:6] = 0.25
    mean[6:] = 0.03
    train, validation = gaussian(rng, 400, mean), gaussian(rng, 300, mean)
    fits = [SOLVERS[name](train, validation) for name in ("lbfgs", "l1")]
    both = combine(train, validation, fits)
    assert both.validation[-1] >= max(f.validation.max() for f in fits) - 1e-9
    reverse = validation.observables.reverse_values(both.theta)
    ahead, back = limited(-reverse, reverse, both.limit)
    value = validation.value(float(ahead.mean()), back)
    assert both.validation[-1] == pytest.approx(value, abs=1e-6)
    assert both.log_normaliser == pytest.approx(validation.log_mean_exp(reverse), abs=1e-6)
    assert choose_fit(train, validation).validation[-1] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers__rescaling_leaves_nothing_where_there_is_nothing(solver):
    """Equilibrium, d / n = 5 %: the plain optimum would lose 2 d / n = 0.1 on new samples."""
    lost = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        zero = np.zeros(50)
        fit = SOLVERS[solver](gaussian(rng, 1_000, zero), gaussian(rng, 500, zero))
        lost.append(float(fit.theta @ fit.theta) / 2)  # population value is -|theta|^2 / 2
    assert np.mean(lost) < 0.03


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers__stop_with_a_flag_where_no_maximum_exists(solver, rng):
    """All samples point one way: the training value passes ln n, the held-out scale is bounded."""
    train = dual(AntisymmetricTable(np.abs(rng.normal(2.0, 0.5, (200, 3)))))
    validation = dual(AntisymmetricTable(np.abs(rng.normal(2.0, 0.5, (100, 3)))))
    fit = SOLVERS[solver](train, validation)
    assert np.all(np.isfinite(fit.theta))
    free = SOLVERS[solver](train, None)
    assert free.saturated
    assert not free.converged


def test_guarded__value_slope_and_limit(rng):
    """Equation (4): derivative by differences; |a| stays near ln(n) / 2 on separable samples."""
    held = guarded(gaussian(rng, 80, [0.4, -0.1]))
    theta, v, step = np.array([0.3, 0.2]), np.array([0.7, -0.4]), 1e-6

    def value(at):
        return held.value(float(at @ held.mean), held.observables.reverse_values(at))

    slope = (value(theta + step * v) - value(theta - step * v)) / (2 * step)
    reverse = held.observables.reverse_values(theta)
    assert held.gradient(reverse) @ v == pytest.approx(slope, abs=1e-8)
    lone = guarded(dual(AntisymmetricTable(np.ones((100, 1)))))
    minus = lone.observables.reverse_values(np.ones(1))
    scale = lone.search(0.0, np.zeros(100), 1.0, minus, upper=100.0)
    # f(c) = c - ln((100 e^-c + e^c / 2) / 100.5) rises to ln(201) and stays there.
    assert lone.value(scale, scale * minus) <= np.log(100.5 / 0.5) + 1e-9
    even = guarded(
        dual(build_samples(rng.normal(size=(50, 3)), observables=("current",)).observables)
    )
    assert even.mirrored == 0.0


def test_lbfgs__ends_where_single_precision_sees_no_more_curvature():
    """Flips of three spins in float32: the last step of this draw changes no gradient."""
    path = SPIN_CHAINS[2].sample(6_000, np.random.default_rng([28, 9])).astype(int)
    est = multipartite_ep(path, draws=20, null_draws=19, seed=28)
    assert est.low <= est.value <= est.high
