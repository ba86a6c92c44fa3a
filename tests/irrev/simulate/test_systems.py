import numpy as np
import pytest
from scipy import stats
from scipy.integrate import dblquad, quad

from irrev.errors import InputError
from irrev.simulate.chains import simulate
from irrev.simulate.driven import BreathingTrap, MovedTrap, Quench
from irrev.simulate.langevin import euler_maruyama
from irrev.simulate.noise import block_rng
from irrev.simulate.ou import linear_ep_rate
from irrev.simulate.systems import LinearSystem, Oscillators, Ring, bead_chain, gyrator, rotation


@pytest.mark.parametrize(("rate", "omega", "diffusion"), [(1, 2, 1), (0.5, 3, 7), (4, -1, 0.2)])
def test_rotation__ep_is_two_omega_squared_over_rate(rate, omega, diffusion):
    system = rotation(rate=rate, omega=omega, diffusion=diffusion)
    assert system.ep_rate == pytest.approx(2 * omega**2 / rate, rel=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "u", "w", "hot", "cold"), [(1.5, 1.5, -0.5, -0.5, 1, 0.1), (2, 1, 0.3, -0.7, 3, 2)]
)
def test_gyrator__matches_the_planar_formula(a, b, u, w, hot, cold):
    system = gyrator(a=a, b=b, u=u, w=w, diffusion=(hot, cold))
    expected = (u * cold - w * hot) ** 2 / (hot * cold * (a + b))
    assert system.ep_rate == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("hot", "cold", "k", "g"), [(10, 1, 1, 1), (3, 2, 2, 0.5)])
def test_bead_chain__matches_the_formulas_for_two_and_five_beads(hot, cold, k, g):
    two = k * (hot - cold) ** 2 / (4 * g * hot * cold)
    top = k * (hot - cold) ** 2 * (111 * hot**2 + 430 * hot * cold + 111 * cold**2)
    five = top / (495 * hot * cold * (3 * hot + cold) * (hot + 3 * cold) * g)
    setting = {"hot": hot, "cold": cold, "stiffness": k, "friction": g}
    assert bead_chain(2, **setting).ep_rate == pytest.approx(two, rel=1e-10)
    assert bead_chain(5, **setting).ep_rate == pytest.approx(five, rel=1e-10)


@pytest.mark.parametrize(
    ("n", "ep"),
    [(2, 2.025), (3, 1.15714), (5, 0.62982), (10, 0.30846), (20, 0.16054), (50, 0.06917)],
)
def test_bead_chain__matches_published_lengths(n, ep):
    assert bead_chain(n).ep_rate == pytest.approx(ep, abs=5.1e-6)


def test_bead_chain__one_temperature_is_equilibrium():
    assert bead_chain(7, hot=2.0, cold=2.0).ep_rate == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize(("k", "c", "g", "kT"), [(1, 1, 1, (2, 1)), (2, 0.5, 3, (1, 4))])
def test_oscillators__ep_is_heat_over_temperatures(k, c, g, kT):
    """Independent route: heat into bath i is g (<v_i^2> - T_i) with the exact covariance."""
    system = Oscillators(k, c, g, kT)
    chain = system.chain(0.1)
    cov = chain.start.root @ chain.start.root.T
    heat = g * (np.diag(cov)[2:] - np.array(kT))
    assert system.ep_rate == pytest.approx(float(np.sum(heat / np.array(kT))), rel=1e-9)


@pytest.mark.parametrize(
    ("ring", "ep"),
    [((1, 0, 1), 1.0), ((1, 1, 1), 0.77472), ((2, 1, 1), 3.60359), ((3, 2, 0.5), 13.772)],
)
def test_ring__matches_published_values(ring, ep):
    assert Ring(*ring).ep_rate == pytest.approx(ep, abs=5.1e-5)


def test_ring__velocity_is_the_double_integral():
    F, V, T = 2.0, 1.0, 0.8
    inner, _ = dblquad(
        lambda s, x: np.exp((V * np.cos(x + s) - V * np.cos(x) - F * s) / T),
        0, 2 * np.pi, 0, 2 * np.pi, epsabs=1e-11,
    )  # fmt: skip
    expected = 2 * np.pi * T * (1 - np.exp(-2 * np.pi * F / T)) / inner
    assert Ring(F, V, T).velocity == pytest.approx(expected, rel=1e-9)


def test_ring__mean_square_force_is_the_ep():
    ring = Ring(3, 2, 0.5)
    x, p = ring.density()
    total = np.sum(p * ring.force(x) ** 2 * ring.kT) * (2 * np.pi / len(x))
    assert total == pytest.approx(ring.ep_rate, rel=1e-9)


def test_ring__start_follows_the_stationary_density():
    ring = Ring(2, 1, 1)
    nodes, p = ring.density()
    x = ring.system().start(block_rng(0, 0), 20_000)[0]
    cdf = np.cumsum(p) / p.sum()
    assert stats.kstest(x, lambda v: np.interp(v, nodes, cdf)).pvalue > 1e-3


def test_ring__simulated_velocity_is_the_exact_one():
    ring = Ring(2, 1, 1)
    n, duration = 4096, 10.0
    x = simulate(euler_maruyama(ring.system(), dt=0.005), n_trajectories=n, n_steps=2000, seed=1,
                 every=2000)[:, :, 0]  # fmt: skip
    speed = (x[:, 1] - x[:, 0]) / duration
    # Euler's relative bias of the mean drift is at most dt max|F'| / 2.
    bias = 0.5 * 0.005 * ring.velocity
    assert speed.mean() == pytest.approx(ring.velocity, abs=4 * speed.std() / np.sqrt(n) + bias)


def test_breathing_trap__matches_published_values():
    system = BreathingTrap()
    assert float(system.ep_rate(1.0)) == pytest.approx(0.06005, abs=5.1e-6)
    assert system.ep(1.0) == pytest.approx(0.040326, abs=5.1e-7)


def test_breathing_trap__variance_solves_its_equation_and_force_gives_the_ep():
    t = np.linspace(0, 2, 201)
    system = BreathingTrap()
    numeric = np.gradient(system.variance(t), t, edge_order=2)
    # Central differences err by (0.01^2/6) |S'''| < 2e-4.
    assert system.variance_rate(t)[1:-1] == pytest.approx(numeric[1:-1], abs=2e-4)
    slope = system.force(np.ones_like(t), t)
    assert slope**2 * system.variance(t) == pytest.approx(system.ep_rate(t), rel=1e-9, abs=1e-12)


def test_breathing_trap__exact_chain_has_the_exact_variance():
    n = 40_000
    system = BreathingTrap()
    x = simulate(system.chain(0.1, 10), n_trajectories=n, n_steps=10, seed=1)[:, -1, 0]
    var = float(system.variance(1.0))
    assert x.var() == pytest.approx(var, abs=4 * var * np.sqrt(2 / n))


@pytest.mark.parametrize(("duration", "ep"), [(1, 0.16809), (2, 0.76151), (5, 3.51345)])
def test_moved_trap__matches_published_values_and_its_own_integral(duration, ep):
    system = MovedTrap()
    assert system.ep(duration) == pytest.approx(ep, abs=5.1e-6)
    integral, _ = quad(lambda t: float(system.force(t)) ** 2, 0, duration, epsabs=1e-12)
    assert system.ep(duration) == pytest.approx(integral, rel=1e-9)


def test_moved_trap__exact_chain_lags_behind():
    """Mean position v t - (v/r)(1 - e^{-rt}), variance that of equilibrium."""
    n = 40_000
    x = simulate(MovedTrap(speed=2.0).chain(0.1, 20), n_trajectories=n, n_steps=20, seed=4)[
        :, -1, 0
    ]
    assert x.mean() == pytest.approx(4 - 2 * (1 - np.exp(-2)), abs=4 / np.sqrt(n))
    assert x.var() == pytest.approx(1.0, abs=4 * np.sqrt(2 / n))


@pytest.mark.parametrize(("duration", "ep"), [(0.5, 0.62687), (2, 0.80612)])
def test_quench__matches_published_values(duration, ep):
    assert Quench().ep(duration) == pytest.approx(ep, abs=5.1e-6)


def test_quench__starts_wide():
    x = simulate(Quench().chain(0.1), n_trajectories=40_000, n_steps=1, seed=4)[:, 0, 0]
    assert x.var() == pytest.approx(4.0, abs=16 * np.sqrt(2 / 40_000))


def test_linear_system__stepped_and_exact_forms_describe_one_process():
    system = bead_chain(3)
    x = simulate(euler_maruyama(system.system(), dt=0.01), n_trajectories=20_000, n_steps=100,
                 seed=9, every=100)[:, -1]  # fmt: skip
    cov = x.T @ x / len(x)
    scale = np.sqrt(np.outer(np.diag(system.cov), np.diag(system.cov)))
    # Euler's variance of mode r is larger by the factor 1 / (1 - r dt / 2), r < 4.
    assert np.abs(cov - system.cov).max() < (4 * np.sqrt(2 / len(x)) + 0.02) * scale.max()


def test_linear_system__refuses_correlated_noise_in_a_stepped_scheme():
    with pytest.raises(InputError, match="off-diagonal"):
        LinearSystem("x", -np.eye(2), np.array([[1.0, 0.5], [0.5, 1.0]])).system()


def test_linear_ep_rate__rejects_shapes_that_do_not_fit():
    with pytest.raises(InputError, match="must be square and alike"):
        linear_ep_rate(np.eye(2), np.eye(3))
