import numpy as np
import pytest

from irrev.ep.linear import sample_langevin
from irrev.ep.witness_parametric import fit_ou, fit_var, scalar_test
from irrev.errors import InputError
from irrev.simulate.hidden_drive import SharedDrive, simulate_shared_drive


def simulate_var1(step, cov, n, rng):
    noise = rng.standard_normal((n + 200, len(cov))) @ np.linalg.cholesky(cov).T
    x = np.zeros_like(noise)
    for t in range(1, len(x)):
        x[t] = step @ x[t - 1] + noise[t]
    return x[200:]


def test_fit_var__rotation_matches_closed_form(rng):
    """sigma = 6/11 at F = [[.5, .3], [-.3, .5]]; d sigma / d F = O(4) times sqrt(0.7 / n)."""
    step = np.array([[0.5, 0.3], [-0.3, 0.5]])
    n = 40_000
    fit = fit_var(simulate_var1(step, np.eye(2), n, rng))
    assert (fit.order, fit.stable) == (1, True)
    assert fit.irreversibility == pytest.approx(6 / 11, abs=4 * 4 * np.sqrt(0.7 / n) + 4 / n)
    np.testing.assert_allclose(fit.coefficients[0], step, atol=4 * np.sqrt(0.7 / n))


def test_fit_var__sees_a_hidden_drive_as_the_pair_does(rng):
    """Order by BIC; the VAR of a hidden-drive pair is infinite, so 10 % below is allowed."""
    p1 = SharedDrive(0.5, (0.3, 0.9), (1.0, 1.0), (1.0, 1.0), 1.0, 0.8)
    x = simulate_shared_drive(p1, 65_536, rng=rng)
    assert fit_var(x).irreversibility == pytest.approx(0.2225, abs=4 * 0.007 + 0.1 * 0.2225)


def test_fit_var__segments_hide_the_jump(rng):
    """A jump of 100 at the join would dominate the residual."""
    step = np.array([[0.5, 0.3], [-0.3, 0.5]])
    x = simulate_var1(step, np.eye(2), 20_000, rng)
    x[10_000] += 100
    ranges = [(0, 10_000), (10_001, 20_000)]
    assert np.linalg.det(fit_var(x, segments=ranges).cov) == pytest.approx(1.0, abs=0.06)


def test_fit_ou__rotation_matches_closed_form(rng):
    """EP rate 0.72 = 2 w^2 / k with w = 0.6; errors of A are sqrt(2 k / T), T = 4,000."""
    drift = np.array([[1.0, -0.6], [0.6, 1.0]])
    step, cov = sample_langevin(drift, np.eye(2), 0.1)
    x = simulate_var1(step, cov, 40_000, rng)
    fit = fit_ou(x, fs=10.0)
    error = np.sqrt(2 / 4000)
    assert fit.status == "ok"
    np.testing.assert_allclose(fit.drift, drift, atol=4 * error)
    assert fit.ep_rate == pytest.approx(0.72, abs=4 * 4 * 0.6 * error)


def test_fit_ou__refuses_a_step_without_a_real_logarithm(rng):
    x = simulate_var1(np.diag([-0.5, 0.5]), np.eye(2), 5000, rng)
    assert fit_ou(x, fs=1.0).status == "logm_not_real"


def test_fit_var__refuses_more_coefficients_than_samples(rng):
    with pytest.raises(InputError, match="do not fix 30 coefficients"):
        fit_var(rng.standard_normal((20, 30)))


@pytest.mark.parametrize(("pole", "rate"), [(0.8, 0.04), (0.3, 0.81)])
def test_scalar_test__is_blind_at_coalescence_and_sighted_away_from_it(pole, rate, rng):
    """Reference rejection rates at n = 4096, lambda = 0.222: 0.108 (a = b) and 0.81 (a = 0.3);
    at lambda = 0.126, a = b: 0.04. Binomial error over 100 draws."""
    coupling = 0.126 if pole == 0.8 else 0.222
    system = SharedDrive(coupling, (pole, pole), (1.0, 1.0), (1.0, 1.0), 1.0, 0.8)
    p = [scalar_test(simulate_shared_drive(system, 4096, rng=rng)[:, 0]).p for _ in range(100)]
    error = 4 * np.sqrt(rate * (1 - rate) / 100)
    assert np.mean(np.array(p) < 0.05) == pytest.approx(rate, abs=error)


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_scalar_test__refuses_a_channel_without_variation(value):
    with pytest.raises(InputError, match="constant or not finite"):
        scalar_test(np.full(100, value))


@pytest.mark.parametrize("route", [fit_var, lambda x: fit_ou(x, fs=1.0)])
def test_fits__refuse_values_that_are_not_finite(route, rng):
    x = rng.standard_normal((500, 2))
    x[7, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        route(x)


def test_scalar_test__refuses_two_channels(rng):
    with pytest.raises(InputError, match="give one channel"):
        scalar_test(rng.standard_normal((100, 2)))
