import numpy as np
import pytest
import xarray as xr

from irrev.ep.features import InTime, polynomial
from irrev.ep.increments import measure_increments
from irrev.ep.learn import learn_ep
from irrev.ep.stage import remove_drift
from irrev.ep.steps import Tracks, tracks_from
from irrev.errors import InputError
from irrev.simulate.chains import simulate
from irrev.simulate.driven import MovedTrap, Quench
from irrev.simulate.langevin import euler_maruyama
from irrev.simulate.ou import exact_ou
from irrev.simulate.systems import Ring, bead_chain, gyrator, rotation

CASES = {
    "rotation": (rotation(), 0.01, 400, 500),
    "gyrator": (gyrator(), 0.01, 400, 500),
    "two beads": (bead_chain(2), 0.01, 400, 1000),
    "five beads": (bead_chain(5), 0.01, 400, 1500),
}


@pytest.mark.parametrize("name", CASES)
def test_learn_ep__linear_systems_match_the_value_of_the_fitted_force(name):
    """exact(dt) is the finite-interval value; 4 bootstrap standard deviations."""
    system, dt, n, steps = CASES[name]
    x = simulate(system.chain(dt), n_trajectories=n, n_steps=steps, seed=21)
    est = learn_ep(x, dt=dt, diffusion=system.diffusion, ridge=0.0, null_draws=100)
    exact = system.finite_dt_ep_rate(dt, fitted=True)
    # Fitting noise lowers the held-out current by up to the bias of the training value.
    loss = est.train - est.debiased
    assert est.value == pytest.approx(exact, abs=4 * est.sd + loss)
    assert est.debiased == pytest.approx(exact, abs=4 * est.sd)
    assert est.certified <= est.value + est.sd
    assert est.p == pytest.approx(1 / 101)
    assert est.low < est.value < est.high


def test_learn_ep__second_order_removes_the_bias_of_a_coarse_interval():
    """dt = 0.1: the fitted force gives 6.85 of 8 and its second order 7.7 (exact f: 8.004)."""
    system, dt = rotation(), 0.1
    x = simulate(system.chain(dt), n_trajectories=500, n_steps=400, seed=2)
    est = learn_ep(x, dt=dt, diffusion=system.diffusion, null_draws=20)
    assert est.value == pytest.approx(system.finite_dt_ep_rate(dt, fitted=True), abs=4 * est.sd)
    assert abs(est.second_order - 8) < 0.5 * abs(est.value - 8)
    assert any("dt is coarse" in note for note in est.notes)


def test_learn_ep__ring_with_fourier_functions():
    """Euler at dt = 0.005: relative bias of a current below dt max|F'| = 0.01."""
    ring = Ring(2, 1, 1)
    x = simulate(euler_maruyama(ring.system(), dt=0.005), n_trajectories=300, n_steps=1000, seed=4)
    est = learn_ep(x, dt=0.005, features="fourier", n_features=3, diffusion=1.0, null_draws=20)
    assert est.value == pytest.approx(ring.ep_rate, abs=4 * est.sd + 0.02 * ring.ep_rate)
    assert est.certified <= ring.ep_rate + 4 * est.sd


def test_learn_ep__diffusion_may_depend_on_position():
    """Ring, D = 1 + cos(x)/2, Ito drift v + D': uniform density, f = v/D, EPR = v^2 <1/D>."""
    v, dt, rng = 2.0, 0.005, np.random.default_rng(7)
    x = rng.uniform(0, 2 * np.pi, 300)
    path = [x]
    for _ in range(600):
        noise = np.sqrt(2 * (1 + 0.5 * np.cos(x)) * dt) * rng.standard_normal(300)
        x = x + (v - 0.5 * np.sin(x)) * dt + noise
        path.append(x)
    est = learn_ep(
        np.stack(path, axis=1)[..., None],
        dt=dt,
        features="fourier",
        n_features=3,
        diffusion=lambda x: (1 + 0.5 * np.cos(x))[:, :, None],
        null_draws=20,
    )
    exact = v**2 / np.sqrt(1 - 0.25)
    # Euler's relative bias is below dt max|F'|, and 3 harmonics of 1/D leave 2 % of its variance.
    assert est.value == pytest.approx(exact, abs=4 * est.sd + 0.01 * exact)
    assert est.significant


def test_learn_ep__traps_that_turn_in_one_film_are_found_in_their_own_frames():
    """Each bead in its own trap: the force is linear about each track's mean only."""
    x = simulate(rotation().chain(1 / 24), n_trajectories=60, n_steps=240, seed=3)
    x = x + np.random.default_rng(0).uniform(0, 100, size=(60, 1, 2))
    est = learn_ep(x, dt=1 / 24, common_time=True, centre=True, null_draws=99)
    assert est.significant
    assert set(est.unit_p) == {"track", "time block"}


def test_learn_ep__one_trap_filmed_with_many_beads_survives_in_own_frames():
    x = simulate(rotation().chain(1 / 24), n_trajectories=60, n_steps=240, seed=3)
    est = learn_ep(x, dt=1 / 24, common_time=True, null_draws=99)
    assert est.significant
    assert est.unit_p["own frame"] < 0.05


def test_learn_ep__moments_share_the_bias_of_second_moments():
    """EPR low by <(f.F)^2> dt / (2 <f.Df>): rotation 7.606 at dt = 0.01 instead of 7.92."""
    x = simulate(rotation().chain(0.01), n_trajectories=400, n_steps=1000, seed=5)
    est = learn_ep(x, dt=0.01, diffusion="moments", null_draws=20)
    assert est.value == pytest.approx(7.606, abs=4 * est.sd)
    assert any("second moments" in note for note in est.notes)


def test_learn_ep__one_long_record_is_cut_into_blocks():
    x = simulate(rotation().chain(0.01), n_trajectories=1, n_steps=60_000, seed=6)[0]
    est = learn_ep(x, dt=0.01, diffusion=1.0, null_draws=100)
    assert est.unit == "block"
    assert est.value == pytest.approx(7.88, abs=4 * est.sd)
    assert est.significant


def test_learn_ep__equilibrium_is_rejected_at_the_stated_rate():
    """Sign flips: p is uniform at equilibrium. 60 runs at 10 %: binomial 4 sd."""
    system = bead_chain(3, hot=1.0, cold=1.0)
    p = []
    for seed in range(60):
        x = simulate(system.chain(0.05), n_trajectories=30, n_steps=60, seed=100 + seed)
        p.append(learn_ep(x, dt=0.05, null_draws=99, draws=100, seed=seed).p)
    assert np.mean(np.array(p) <= 0.1) <= 0.1 + 4 * np.sqrt(0.1 * 0.9 / 60)
    assert 0.5 - 4 * 0.29 / np.sqrt(60) < np.mean(p) < 0.5 + 4 * 0.29 / np.sqrt(60)


def test_learn_ep__intervals_cover():
    """95 % intervals of the held-out current with the exact finite-interval value; 50 runs."""
    system, hits = rotation(), 0
    exact = system.finite_dt_ep_rate(0.02, fitted=True)
    for seed in range(50):
        x = simulate(system.chain(0.02), n_trajectories=60, n_steps=200, seed=300 + seed)
        est = learn_ep(x, dt=0.02, diffusion=1.0, null_draws=10, draws=300, ridge=0.0)
        hits += est.low <= exact <= est.high
    assert hits >= 50 * (0.95 - 4 * np.sqrt(0.95 * 0.05 / 50))


def test_learn_ep__same_seed_same_result():
    x = simulate(rotation().chain(0.01), n_trajectories=20, n_steps=100, seed=1)
    a, b = (learn_ep(x, dt=0.01, seed=3, null_draws=20) for _ in range(2))
    assert (a.value, a.low, a.p) == (b.value, b.low, b.p)


def test_learn_ep__translation_changes_nothing():
    x = simulate(rotation().chain(0.01), n_trajectories=20, n_steps=100, seed=1)
    a = learn_ep(x, dt=0.01, null_draws=20)
    b = learn_ep(x + np.array([100.0, -50.0]), dt=0.01, null_draws=20)
    assert b.value == pytest.approx(a.value, rel=1e-8)


@pytest.mark.parametrize("ratio", [0.1, 0.5])
def test_learn_ep__localisation_noise_is_seen_and_corrected(ratio):
    """s^2/(D dt): naive D gives 8/(1 + ratio), corrected D 7.6 at both levels."""
    dt = 0.01
    x = simulate(rotation().chain(dt), n_trajectories=300, n_steps=1000, seed=8)
    noise = np.random.default_rng(0).normal(size=x.shape) * np.sqrt(ratio * dt)
    est = learn_ep(x + noise, dt=dt, null_draws=20)
    assert est.diffusion_rule == "noise"
    # The rotation itself adds (w^2 - k^2) dt^2 to neighbouring increments: 0.03 here.
    assert est.increments.noise_ratio == pytest.approx(ratio - 0.03, rel=0.1)
    # Position variance grows by ratio dt, the corrected D is off by -1.5 k dt: 3 % together.
    assert est.value == pytest.approx(7.88, abs=4 * est.sd + 0.03 * 7.88)
    naive = learn_ep(x + noise, dt=dt, null_draws=20, diffusion=est.increments.diffusion("naive"))
    assert naive.value == pytest.approx(7.88 / (1 + ratio), abs=4 * naive.sd)
    assert naive.value < est.value


def test_measure_increments__blur_is_not_taken_for_noise():
    """Full-frame blur makes neighbours positive; the summed D is right, the naive one is not."""
    fine = simulate(rotation(omega=0.0).chain(0.001), n_trajectories=100, n_steps=5000, seed=9)
    blurred = fine[:, :-1].reshape(100, 500, 10, 2).mean(axis=2)
    found = measure_increments(tracks_from(blurred, dt=0.01))
    assert found.rule == "memory"
    assert found.diffusion("naive")[0, 0] < 0.75
    assert found.diffusion()[0, 0] == pytest.approx(1.0, abs=0.05)


def test_measure_increments__ornstein_uhlenbeck_with_noise():
    """D = 0.7, s^2 = 0.002, dt = 0.01: corrected 0.687 and s^2 = 0.0021."""
    x = simulate(exact_ou([[-1.0]], [[0.7]], dt=0.01), n_trajectories=500, n_steps=1000, seed=1)
    x = x + np.random.default_rng(1).normal(size=x.shape) * np.sqrt(0.002)
    found = measure_increments(tracks_from(x, dt=0.01))
    assert found.diffusion("naive")[0, 0] == pytest.approx(0.895, abs=0.01)
    assert found.diffusion("noise")[0, 0] == pytest.approx(0.687, abs=0.015)
    assert found.noise_var == pytest.approx(0.0021, abs=2e-4)


def test_measure_increments__smooth_paths_are_called_inertial():
    t = np.linspace(0, 10, 200)
    x = np.sin(t + np.arange(30)[:, None])[..., None]
    found = measure_increments(tracks_from(x, dt=0.05))
    assert found.spread_ratio > 1.9
    assert any("inertia" in w for w in found.warnings())


def film(seed: int, drift: float, n: int = 120, frames: int = 150) -> xr.Dataset:
    """Free particles on a moving stage, tracks of unequal length: true entropy production 0."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.normal(size=(n, frames, 2)) * np.sqrt(2 * 0.4 / 24), axis=1)
    x += rng.uniform(0, 30, size=(n, 1, 2)) + drift * np.arange(frames)[:, None] / 24
    start, stop = rng.integers(0, 40, n), frames - rng.integers(0, 40, n)
    parts = [x[i, a:b] for i, (a, b) in enumerate(zip(start, stop, strict=True))]
    frame = np.concatenate([np.arange(a, b) for a, b in zip(start, stop, strict=True)])
    return xr.Dataset(
        {
            "position": (("point", "component"), np.concatenate(parts)),
            "frame": ("point", frame),
            "trajectory_index": ("trajectory", np.cumsum([len(p) for p in parts])),
            "dt": ((), 1 / 24),
        },
        attrs={"clock": "common"},
    )


def test_learn_ep__stage_drift_reads_as_entropy_production_until_removed():
    """A constant drift v gives v.v/D = 2 * 0.57^2 / 0.4 (both components)."""
    ds = film(1, 0.57)
    raw = learn_ep(ds, remove_stage_drift=False, null_draws=100)
    assert raw.value == pytest.approx(2 * 0.57**2 / 0.4, abs=4 * raw.sd)
    assert raw.significant
    clean = learn_ep(ds, remove_stage_drift=True, centre=True, null_draws=100)
    assert not clean.significant
    assert abs(clean.value) < 0.02


@pytest.mark.parametrize("n", [8, 120])
def test_remove_drift__takes_the_drift_out(n):
    tracks = tracks_from(film(2, 3.0, n=n))
    still = remove_drift(tracks)
    steps = np.diff(still.x, axis=0)[np.diff(tracks.owner) == 0]
    # Mean of about 100 n increments of variance 2 D / 24; leave-one-out doubles it at most.
    assert np.abs(steps.mean(axis=0)).max() < 8 * np.sqrt(0.8 / 24 / len(steps))
    assert np.array_equal(still.frame, tracks.frame)


def test_learn_ep__a_shared_flow_does_not_count_as_entropy_production_of_the_tracks():
    """A shear flow through the field of view carries all particles: p is that of the own frame."""
    ds = film(3, 0.0)
    x = ds["position"].to_numpy().copy()
    lengths = np.diff(ds["trajectory_index"].to_numpy(), prepend=0)
    home = np.repeat([p[0, 1] for p in np.split(x, np.cumsum(lengths)[:-1])], lengths)
    x[:, 0] += 0.05 * (home - 15) * ds["frame"].to_numpy() / 24
    est = learn_ep(ds.assign(position=(("point", "component"), x)), remove_stage_drift=True)
    assert est.unit_p["track"] < 0.05
    assert set(est.unit_p) == {"track", "time block", "own frame"}
    assert est.p == max(est.unit_p.values())


@pytest.mark.parametrize("duration", [0.5, 2.0])
def test_learn_ep__quench_is_found_with_functions_of_time(duration):
    """Variance 4 relaxing to 1: 0.62687 nats in t = 0.5, 0.80612 in t = 2; f is linear in x."""
    dt, n_steps = 0.01, round(duration / 0.01)
    x = simulate(Quench(4.0).chain(dt), n_trajectories=4000, n_steps=n_steps, seed=6)
    basis = InTime(polynomial(1, 1), 4, duration)
    est = learn_ep(x, dt=dt, features=basis, diffusion=1.0, ridge=0.0, null_draws=20)
    exact = Quench(4.0).ep(duration) / duration
    # O(dt) of midpoints where the variance falls at twice the relaxation rate, and the fit's bias.
    bias = 2 * dt * exact + (est.train - est.debiased)
    assert est.value == pytest.approx(exact, abs=4 * est.sd + bias)


def test_learn_ep__moving_trap_is_found_with_functions_of_time():
    """Total EP over 2 units of time 0.7615, here as a rate; exact chain, constants in t."""
    system, dt, n = MovedTrap(), 0.02, 4000
    x = simulate(system.chain(dt, 100), n_trajectories=n, n_steps=100, seed=3)
    basis = InTime(polynomial(1, 1, powers=[[0]]), 3)
    est = learn_ep(x, dt=dt, features=basis, diffusion=1.0, null_draws=50)
    assert est.value * 2 == pytest.approx(0.76151, abs=4 * est.sd * 2 + 0.02 * 0.76)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"folds": 2}, "need at least 3"),
        ({"diffusion": "guess"}, "give a matrix"),
        ({"diffusion": -1.0}, "no positive matrix"),
        ({"folds": 30}, "30 folds were asked for"),
    ],
)
def test_learn_ep__says_how_to_mend_bad_arguments(change, words):
    x = simulate(rotation().chain(0.01), n_trajectories=20, n_steps=50, seed=1)
    with pytest.raises(InputError, match=words):
        learn_ep(x, dt=0.01, **change)


def test_learn_ep__prints_itself_in_one_line():
    x = simulate(rotation().chain(0.01), n_trajectories=20, n_steps=50, seed=1)
    est = learn_ep(x, dt=0.01, null_draws=20)
    assert str(est).startswith("EP rate ")
    assert "\n" not in str(est)
    assert "<th>certified</th>" in est._repr_html_()


def test_learn_ep__accepts_ragged_tracks():
    x = simulate(rotation().chain(0.01), n_trajectories=30, n_steps=200, seed=1)
    lengths = np.arange(30) * 5 + 40
    parts = [x[i, :n] for i, n in enumerate(lengths)]
    frame = np.concatenate([np.arange(n) for n in lengths])
    est = learn_ep(Tracks(np.concatenate(parts), frame, np.cumsum(lengths), 0.01), null_draws=20)
    assert est.n_steps == int((lengths - 1).sum())
    assert est.duration == pytest.approx(0.01 * est.n_steps)


def test_learn_ep__a_strong_rotation_is_not_taken_for_memory():
    """w = 5: increments correlate by 0.1; D summed over lags would give 22 of 49."""
    system, dt = rotation(omega=5.0), 0.01
    x = simulate(system.chain(dt), n_trajectories=100, n_steps=1000, seed=3)
    est = learn_ep(x, dt=dt, null_draws=20)
    assert est.diffusion_rule == "drift"
    np.testing.assert_allclose(est.increments.diffusion(), system.diffusion, atol=0.03)
    assert est.value == pytest.approx(system.finite_dt_ep_rate(dt, fitted=True), abs=4 * est.sd)


def test_measure_increments__a_smoothed_walk_in_a_trap_keeps_its_memory(rng):
    x = simulate(rotation(omega=0.0).chain(0.01), n_trajectories=100, n_steps=1000, seed=3)
    seen = measure_increments(tracks_from(0.5 * (x[:, 1:] + x[:, :-1]), dt=0.01))
    assert seen.rule == "memory"
    np.testing.assert_allclose(seen.diffusion(), np.eye(2), atol=0.06)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.zeros((20, 50, 2)), {}, "nothing moves"),
        (1e160 * np.arange(2000.0).reshape(20, 50, 2) ** 2, {}, "another unit"),
        ([np.zeros((5, 2)), np.zeros((4, 2))], {}, "unequal length"),
        (np.zeros((20, 50, 2)), {"level": 1.5}, "level"),
        (np.zeros((20, 50, 2)), {"draws": 0}, "draws"),
        (np.zeros((20, 50, 2)), {"null_draws": 0}, "null_draws"),
    ],
)
def test_learn_ep__refuses_what_cannot_be_measured(x, options, message):
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(InputError, match=message):
        learn_ep(x, dt=0.1, **options)
