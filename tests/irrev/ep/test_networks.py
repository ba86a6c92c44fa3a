import numpy as np
import pytest

torch = pytest.importorskip("torch")

from irrev.ep.networks import (  # noqa: E402
    ForceNetwork,
    Training,
    choose_device,
    network_ep,
    train_force,
)
from irrev.ep.steps import tracks_from  # noqa: E402
from irrev.errors import InputError  # noqa: E402
from irrev.simulate.chains import simulate  # noqa: E402
from irrev.simulate.driven import MovedTrap  # noqa: E402
from irrev.simulate.langevin import euler_maruyama  # noqa: E402
from irrev.simulate.systems import Ring, bead_chain, rotation  # noqa: E402

SMALL = {"hidden": (24,), "steps": 400, "batch": 1024, "learning_rate": 1e-2, "null_draws": 99}


@pytest.fixture(scope="module")
def paths():
    return simulate(rotation().chain(0.01), n_trajectories=100, n_steps=400, seed=1)


def test_network_ep__learns_a_rotation(paths):
    """EPR 7.92 at dt = 0.01; a network within 8 %."""
    est = network_ep(paths, dt=0.01, diffusion=1.0, **SMALL)
    assert est.value == pytest.approx(7.92, abs=4 * est.sd + 0.08 * 7.92)
    assert est.certified <= est.value + 2 * est.sd
    assert est.significant


def test_network_ep__equilibrium_shows_nothing():
    x = simulate(rotation(omega=0.0).chain(0.02), n_trajectories=100, n_steps=200, seed=2)
    est = network_ep(x, dt=0.02, diffusion=1.0, **SMALL)
    assert abs(est.value) < 4 * est.sd
    assert est.certified < 4 * est.sd


def test_network_ep__same_seed_same_result(paths):
    a, b = (network_ep(paths, dt=0.01, diffusion=1.0, **{**SMALL, "steps": 20}) for _ in "ab")
    assert a.value == b.value


def test_train_force__leaves_the_global_generator_alone(paths):
    state = torch.random.get_rng_state()
    tracks = tracks_from(paths[:20], dt=0.01)
    train_force(tracks, tracks, np.eye(2), Training(steps=2, batch=16), seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_force_network__an_angle_is_periodic():
    x = np.random.default_rng(0).normal(size=(50, 1))
    network = ForceNetwork(x, 1.0, Training(angles=(0,)))
    a = torch.tensor([[0.3]])
    t = torch.zeros(1)
    assert network(a + 2 * np.pi, t).detach().numpy() == pytest.approx(
        network(a, t).detach().numpy(), abs=1e-5
    )


@pytest.mark.parametrize("time", ["input", "bumps"])
def test_network_ep__time_enters_for_a_moving_trap(time):
    """Total EP over one unit of time 0.168; a network within 8 % and its error."""
    x = simulate(MovedTrap(speed=3.0).chain(0.02, 50), n_trajectories=1000, n_steps=50, seed=3)
    est = network_ep(x, dt=0.02, diffusion=1.0, time=time, **SMALL)
    exact = MovedTrap(speed=3.0).ep(1.0)
    assert est.value == pytest.approx(exact, abs=4 * est.sd + 0.08 * exact)


def test_choose_device__refuses_an_absent_gpu():
    if torch.cuda.is_available():
        assert choose_device("auto") == "cuda"
    else:
        with pytest.raises(InputError, match="no GPU is seen"):
            choose_device("cuda")


def test_network_ep__tracks_of_one_film_are_judged_in_their_own_frame():
    """Free particles carried by a common flow that depends on position: no EP of their own."""
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.normal(size=(80, 100, 1)) * np.sqrt(2 / 24), axis=1)
    home = rng.uniform(-10, 10, size=(80, 1, 1))
    x = x + home + 0.2 * home * np.arange(100)[:, None] / 24
    est = network_ep(x, dt=1 / 24, diffusion=1.0, common_time=True, **SMALL)
    assert set(est.unit_p) == {"track", "time block", "own frame"}
    assert est.p == max(est.unit_p.values())


@pytest.mark.slow
def test_network_ep__ring_within_eight_percent():
    """F = 3, V0 = 2, T = 0.5: EPR 13.77."""
    ring = Ring(3, 2, 0.5)
    x = simulate(euler_maruyama(ring.system(), dt=0.005), n_trajectories=300, n_steps=1000, seed=1)
    est = network_ep(x, dt=0.005, diffusion=0.5, angles=(0,), steps=1200)
    assert est.value == pytest.approx(ring.ep_rate, rel=0.08)


@pytest.mark.slow
def test_network_ep__five_beads_within_eight_percent():
    """EPR 0.630 from a total time of 6000, plus 4 standard deviations of the test part."""
    system = bead_chain(5)
    x = simulate(system.chain(0.01), n_trajectories=200, n_steps=3000, seed=1)
    est = network_ep(x, dt=0.01, diffusion=system.diffusion, steps=1500)
    assert est.value == pytest.approx(system.ep_rate, abs=0.08 * system.ep_rate + 4 * est.sd)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_network_ep__learns_a_rotation_on_cuda(paths):
    est = network_ep(paths, dt=0.01, diffusion=1.0, device="cuda", **SMALL)
    assert est.value == pytest.approx(7.92, abs=4 * est.sd + 0.08 * 7.92)
