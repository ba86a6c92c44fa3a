import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest

from irrev.errors import InputError
from irrev.simulate.chains import simulate, stream, walk
from irrev.simulate.driven import double_well, heavy_double_well, heavy_trap, trap
from irrev.simulate.langevin import baoab, euler_maruyama, kicks
from irrev.simulate.noise import block_rng
from irrev.simulate.systems import Ring, rotation

CHAINS = {
    "exact rotation": rotation().chain(0.05),
    "euler ring": euler_maruyama(Ring(2, 1, 1).system(), dt=0.01),
    "kicks": kicks(heavy_double_well(), dt=0.01),
    "baoab": baoab(heavy_double_well(), dt=0.01),
    "driven trap": euler_maruyama(
        trap(), dt=0.01, controls=np.stack([np.linspace(1, 2, 40), np.linspace(0, 1, 40)], 1)
    ),
}
RUN = {"n_trajectories": 130, "n_steps": 40, "seed": 11, "block_size": 32}


def run_blocks(name: str, only: list[int]) -> np.ndarray:
    return simulate(CHAINS[name], only=only, **RUN)


LAYOUTS = [
    [[0], [1], [2], [3], [4]],
    [[0, 1], [2, 3], [4]],
    [[0, 1, 2, 3], [4]],
    [[0, 1, 2, 3, 4]],
]


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_simulate__is_bit_identical_for_any_chunking(name, layout):
    whole = simulate(CHAINS[name], **RUN)
    assert np.array_equal(np.concatenate([run_blocks(name, c) for c in layout]), whole)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("segment", [1, 7, 40])
def test_stream__segments_do_not_change_the_numbers(name, segment):
    whole = simulate(CHAINS[name], **RUN)
    seen = np.full_like(whole, np.nan)
    for piece in stream(CHAINS[name], segment=segment, **RUN):
        rows = slice(piece.block.start, piece.block.stop)
        seen[rows, piece.time : piece.time + piece.x.shape[1]] = piece.x
    assert np.array_equal(seen, whole)


def test_simulate__is_bit_identical_on_threads_and_processes():
    whole = simulate(CHAINS["euler ring"], **RUN)
    work = partial(run_blocks, "euler ring")
    with ThreadPoolExecutor(3) as pool:
        threads = np.concatenate(list(pool.map(work, LAYOUTS[1])))
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        processes = np.concatenate(list(pool.map(work, LAYOUTS[2])))
    assert np.array_equal(threads, whole)
    assert np.array_equal(processes, whole)


@pytest.mark.parametrize("name", [n for n in CHAINS if "rotation" not in n])
def test_simulate__numba_and_numpy_see_the_same_noise(name):
    chain = CHAINS[name]
    plain = type(chain)(**{**chain.__dict__, "use_numba": False})
    # Same operations in the same order; a compiled sine may differ in the last bit.
    assert simulate(plain, **RUN) == pytest.approx(simulate(chain, **RUN), rel=1e-11, abs=1e-11)


def test_sine__is_numpy_s_to_rounding(rng):
    from irrev.simulate.langevin_numba import sine

    x = np.concatenate([rng.uniform(-4, 4, 10_000), rng.uniform(-1e4, 1e4, 10_000), [0.0, np.pi]])
    assert np.all(np.abs(sine(x) - np.sin(x)) <= 2e-15 + 3e-16 * np.abs(x))
    assert np.isnan(sine(np.nan))


@pytest.mark.parametrize("name", CHAINS)
def test_walk__yields_the_states_of_simulate(name):
    chain = CHAINS[name]
    x = simulate(chain, **RUN)
    rng = block_rng(RUN["seed"], 1)
    start = chain.draw_start(rng, 32)
    after = np.stack([s.after.T for s in walk(chain, start, rng, RUN["n_steps"])], axis=1)
    assert after == pytest.approx(x[32:64, 1:], rel=1e-11, abs=1e-11)


def test_walk__euler_step_is_drift_plus_the_noise_it_reports():
    chain = euler_maruyama(trap(mobility=0.5, kT=2.0), dt=0.02, controls=[3.0, 1.0])
    rng = block_rng(0, 0)
    for step in walk(chain, chain.draw_start(rng, 8), rng, 3):
        drift = -0.5 * 3.0 * (step.before - 1.0)
        expected = step.before + drift * 0.02 + np.sqrt(2 * 1.0 * 0.02) * step.noise
        assert step.after == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("name", CHAINS)
def test_chain__survives_pickling(name):
    copy = pickle.loads(pickle.dumps(CHAINS[name]))
    assert np.array_equal(simulate(copy, **RUN), simulate(CHAINS[name], **RUN))


@pytest.mark.parametrize("every", [3, 40])
def test_simulate__thins_without_changing_states(every):
    whole = simulate(CHAINS["kicks"], **RUN)
    assert np.array_equal(simulate(CHAINS["kicks"], every=every, **RUN), whole[:, ::every])


def test_euler_maruyama__trap_has_the_variance_of_the_chain():
    """x' = (1 - k dt) x + noise: stationary variance D / (k (1 - k dt / 2))."""
    n, dt = 40_000, 0.1
    var = 1.0 / (1 - dt / 2)
    system = trap(start_var=var)
    x = simulate(euler_maruyama(system, dt=dt), n_trajectories=n, n_steps=20, seed=5)[:, -1, 0]
    assert x.var() == pytest.approx(var, abs=4 * var * np.sqrt(2 / n))


def test_baoab__positions_of_a_trap_are_thermal_at_a_coarse_step():
    """BAOAB samples positions of a harmonic trap without error in the variance."""
    n = 40_000
    chain = baoab(heavy_trap(stiffness=2.0, friction=0.7, kT=1.5), dt=0.4)
    x = simulate(chain, n_trajectories=n, n_steps=60, seed=6, every=60)[:, -1, 0]
    assert x.var() == pytest.approx(0.75, abs=4 * 0.75 * np.sqrt(2 / n))


def test_kicks__velocity_variance_is_that_of_the_chain():
    """Free particle: v' = (1 - g dt/m) v + noise, variance kT/m / (1 - g dt / 2m)."""
    n, dt = 40_000, 0.05
    chain = kicks(heavy_trap(stiffness=1e-9, friction=2.0, mass=0.5, kT=1.5), dt=dt)
    v = simulate(chain, n_trajectories=n, n_steps=80, seed=7, every=80)[:, -1, 1]
    var = 3.0 / (1 - 2.0 * dt / (2 * 0.5))
    assert v.var() == pytest.approx(var, abs=4 * var * np.sqrt(2 / n))


def test_double_well__start_is_the_equilibrium_of_the_tilted_well():
    n = 100_000
    grid = np.linspace(-3, 3, 200_001)
    weight = np.exp(-(grid**4 - 3 * grid**2 - 0.4 * grid))
    right = weight[grid > 0].sum() / weight.sum()
    x = double_well(quartic=1.0, quadratic=3.0, tilt=0.4).start(block_rng(1, 0), n)[0]
    assert np.mean(x > 0) == pytest.approx(right, abs=4 * np.sqrt(right * (1 - right) / n))
    second = (weight * grid**2).sum() / weight.sum()
    fourth = (weight * grid**4).sum() / weight.sum()
    assert np.mean(x**2) == pytest.approx(second, abs=4 * np.sqrt((fourth - second**2) / n))


def test_simulate__says_how_to_mend_short_controls():
    with pytest.raises(InputError, match=r"41 steps but controls for 40; give more controls"):
        simulate(CHAINS["driven trap"], **{**RUN, "n_steps": 41})


def test_euler_maruyama__names_the_shape_of_wrong_controls():
    with pytest.raises(InputError, match=r"controls have shape \(1, 3\); trap needs"):
        euler_maruyama(trap(), dt=0.1, controls=[1.0, 2.0, 3.0])
