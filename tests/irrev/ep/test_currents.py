import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irrev.ep.current_bounds import current_bounds
from irrev.ep.currents import (
    Cells,
    evaluate,
    learn_field,
    merge,
    normal_equations,
    one_cell,
    summarise,
)
from irrev.ep.features import InTime, family, gaussians, polynomial
from irrev.ep.path_ep import learn_force
from irrev.ep.steps import Tracks, cut_blocks, select, steps_of, tracks_from
from irrev.ep.underdamped import underdamped_ep
from irrev.errors import InputError
from irrev.simulate.chains import simulate
from irrev.simulate.ou import exact_ou
from irrev.simulate.systems import Oscillators, rotation

DT = 0.01


@pytest.fixture(scope="module")
def paths() -> np.ndarray:
    """Rotation k = 1, w = 2: EPR 8; 1000 units of time."""
    return simulate(rotation().chain(DT), n_trajectories=200, n_steps=500, seed=3)


def total(x, basis, diffusion, piece=1 << 17):
    parts = [summarise(s, basis, diffusion, one_cell()) for s in steps_of(x, piece=piece)]
    return merge(parts)


@pytest.mark.parametrize("piece", [700, 5000, 33_333])
@pytest.mark.parametrize("diffusion", [np.eye(2), "moments"])
def test_summarise__pieces_add_up_to_the_whole(paths, piece, diffusion):
    tracks, basis = tracks_from(paths, dt=DT), polynomial(2, 2)
    whole, cut = total(tracks, basis, diffusion), total(tracks, basis, diffusion, piece)
    assert cut.b == pytest.approx(whole.b, rel=1e-9, abs=1e-8)
    assert cut.products == pytest.approx(whole.products, rel=1e-9)
    assert cut.duration == pytest.approx(whole.duration, rel=1e-12)


def test_summarise__a_varying_diffusion_that_is_constant_gives_the_constant_answer(paths):
    tracks, basis = tracks_from(paths, dt=DT), polynomial(2, 1)
    D = np.array([[1.0, 0.2], [0.2, 2.0]])
    plain = total(tracks, basis, D)
    varying = total(tracks, basis, lambda x: np.broadcast_to(D, (len(x), 2, 2)))
    c = normal_equations(plain.products[0], D, 2).solve(plain.b[0], 1e-3)
    d = normal_equations(varying.products[0], lambda x: x, 2).solve(varying.b[0], 1e-3)
    assert d == pytest.approx(c, rel=1e-8, abs=1e-10)


def test_normal_equations__solution_minimises_the_regularised_loss(rng):
    root, b = rng.normal(size=(4, 4)), rng.normal(size=(4, 2))
    D = np.diag([1.0, 3.0])
    S = root @ root.T
    G = np.kron(S, D)
    ridge = 0.3 * np.trace(G) / 8
    expected = np.linalg.solve(G + ridge * np.eye(8), b.ravel()).reshape(4, 2)
    normal = normal_equations(S, D, 2)
    assert normal.solve(b, 0.3) == pytest.approx(expected, rel=1e-9)
    assert float(normal.quadratic(b)) == pytest.approx(b.ravel() @ G @ b.ravel(), rel=1e-9)


def test_evaluate__training_current_and_form_are_equal_at_the_minimum(paths):
    """At the minimum without ridge J = Q = -L."""
    tracks = tracks_from(paths, dt=DT)
    force = learn_force(tracks, polynomial(2, 1), np.eye(2))
    totals = [evaluate(s, [force], np.eye(2), one_cell()) for s in steps_of(tracks)]
    current = sum(float(t.current.sum()) for t in totals)
    assert current == pytest.approx(sum(float(t.quadratic.sum()) for t in totals), rel=1e-9)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_summarise__reversing_trajectories_flips_the_current_and_keeps_the_products(seed):
    x = np.random.default_rng(seed).normal(size=(4, 30, 2))
    basis = polynomial(2, 2)
    forward = total(tracks_from(x, dt=0.1), basis, np.eye(2))
    backward = total(tracks_from(x[:, ::-1], dt=0.1), basis, np.eye(2))
    assert backward.b == pytest.approx(-forward.b, abs=1e-9)
    assert backward.products == pytest.approx(forward.products, abs=1e-9)


@pytest.mark.parametrize(
    ("quantity", "matrix"),
    [
        ("drift", [[-1, 2], [-2, -1]]),
        ("backward", [[1, 2], [-2, 1]]),
        ("velocity", [[0, 2], [-2, 0]]),
        ("score", [[-1, 0], [0, -1]]),
    ],
)
def test_learn_field__finds_the_fields_of_a_rotation(paths, quantity, matrix):
    """F = A x, backward 2 nu - F, nu = rotation, score -x, all linear with unit variance.

    Sampling error of a slope: sqrt(2 D / T); bias of O(dt) below (k^2 + w^2) dt.
    """
    basis = polynomial(2, 1)
    field = learn_field(tracks_from(paths, dt=DT), basis, quantity, diffusion=np.eye(2))
    limit = 4 * np.sqrt(2 / 1000) + 5 * DT
    found = field.c[1:].T
    assert found == pytest.approx(np.array(matrix, float), abs=limit)


def test_learn_field__two_lags_make_the_drift_second_order():
    """Ornstein-Uhlenbeck k = 1, dt = 0.1: one lag -0.9516, two lags -0.9969."""
    x = simulate(exact_ou([[-1.0]], [[1.0]], dt=0.1), n_trajectories=2000, n_steps=500, seed=4)
    tracks, basis = tracks_from(x, dt=0.1), polynomial(1, 1)
    one, two = (learn_field(tracks, basis, "drift", lag=lag).c[1, 0] for lag in (1, 2))
    error = np.sqrt(2 / (2000 * 50))
    assert one == pytest.approx(-0.9516, abs=4 * error)
    assert 2 * one - two == pytest.approx(-0.9969, abs=4 * 3 * error)


def test_learn_field__score_needs_the_diffusion(paths):
    with pytest.raises(InputError, match="needs the diffusion matrix"):
        learn_field(tracks_from(paths, dt=DT), polynomial(2, 1), "score")


@pytest.mark.parametrize(
    ("scale", "neep", "simple"), [(1.0, 7.919, 7.606), (2.0, -2.985, -1.257), (0.5, 5.901, 5.861)]
)
def test_current_bounds__reproduces_the_expectations_at_a_finite_interval(scale, neep, simple):
    """Exact expectations at dt = 0.01 for the exact force times a scale.

    Standard errors for T = 2000: J has sqrt(2 * 8 / T) = 0.09 and its square fluctuates alike;
    at scale 2 the quadratic part doubles its share: 0.4.
    """
    M = rotation().force
    x = simulate(rotation().chain(DT), n_trajectories=400, n_steps=500, seed=5)
    found = current_bounds(x, lambda y, t: scale * y @ M.T, dt=DT)
    error = 4 * (0.09 + 0.15 * max(scale - 1, 0) + 0.15 * (scale == 2))
    assert found.tur == pytest.approx(7.618, abs=4 * 0.1)
    assert found.neep == pytest.approx(neep, abs=error)
    assert found.simple == pytest.approx(simple, abs=error)
    assert found.scale * scale == pytest.approx(0.96, abs=0.05)


def test_current_bounds__a_wrong_current_bounds_less():
    """d = (y, 0) carries half of the entropy production: TUR 3.809."""
    x = simulate(rotation().chain(DT), n_trajectories=400, n_steps=500, seed=6)
    found = current_bounds(x, lambda y, t: np.stack([y[:, 1], 0 * y[:, 0]], 1), dt=DT)
    assert found.tur == pytest.approx(3.809, abs=4 * 0.09)


def test_underdamped_ep__two_oscillators_between_baths():
    """EPR 1/12; a current scatters by sqrt(2 EPR / T) at least; O(dt) bias 3 %."""
    system = Oscillators()
    x = simulate(system.chain(DT), n_trajectories=60, n_steps=5000, seed=1)
    found = underdamped_ep(x, dt=DT, damping=1.0, diffusion=[2.0, 1.0])
    spread = np.sqrt(2 / 12 / 3000)
    assert found.debiased == pytest.approx(1 / 12, abs=4 * spread + 0.03 / 12)
    assert found.certified <= found.value + 4 * spread


def test_underdamped_ep__one_bath_is_equilibrium():
    system = Oscillators(kT=(1.0, 1.0))
    x = simulate(system.chain(DT), n_trajectories=60, n_steps=2000, seed=2)
    found = underdamped_ep(x, dt=DT, damping=1.0, diffusion=[1.0, 1.0])
    # Linear forces in 4 variables for 2 components: bias K / (2 T) times 4 as the limit.
    assert abs(found.debiased) < 4 * 8 / 1200
    assert found.certified < 4 * 8 / 1200


def test_steps_of__gaps_and_borders_make_no_step():
    x = np.arange(8.0)[:, None]
    tracks = Tracks(x, np.array([0, 1, 3, 4, 5, 0, 1, 2]), np.array([5, 8]), 0.5)
    steps = next(steps_of(tracks))
    assert steps.start[:, 0].tolist() == [0, 2, 3, 5, 6]
    assert steps.time.tolist() == [0.25, 1.75, 2.25, 0.25, 0.75]
    twice = next(steps_of(tracks, lag=2))
    assert twice.start[:, 0].tolist() == [2, 5]
    assert twice.dt == 1.0


def test_cut_blocks__leaves_the_gap_out():
    tracks = cut_blocks(tracks_from(np.arange(20.0)[:, None], dt=1.0), n_blocks=2, gap=3)
    assert tracks.ends.tolist() == [7, 17]
    assert tracks.x[6, 0] == 6
    assert tracks.x[7, 0] == 10
    assert select(tracks, np.array([1])).x[0, 0] == 10


@pytest.mark.parametrize(
    ("x", "dt", "words"),
    [
        (np.zeros((3, 4, 2)), None, "give dt"),
        (np.zeros((3, 4, 2)), -1.0, "must be positive"),
        (np.full((3, 4, 2), np.nan), 1.0, "12 points are not finite"),
        (np.zeros(5), 1.0, r"expected \(trajectory, time, dim\)"),
    ],
)
def test_tracks_from__says_what_is_wrong(x, dt, words):
    with pytest.raises(InputError, match=words):
        tracks_from(x, dt=dt)


def test_family__unknown_name_lists_the_known(rng):
    with pytest.raises(InputError, match="choose one of linear"):
        family("spline", np.zeros((5, 2)), rng=rng)


def test_gaussians__centres_lie_among_the_points(rng):
    x = rng.normal(size=(500, 2)) * [1.0, 20.0]
    basis = gaussians(x, n=6, rng=rng)
    values = basis(x, np.zeros(500))
    assert values.shape == (500, 7)
    assert np.all(values[:, 1:].max(axis=0) > 0.5)


def test_in_time__multiplies_by_powers_of_time():
    basis = InTime(polynomial(1, 1), 2, span=2.0)
    assert basis(np.array([[3.0]]), np.array([4.0])).tolist() == [[1, 3, 2, 6, 4, 12]]


def test_evaluate__uses_the_force_of_the_fold():
    tracks = tracks_from(np.cumsum(np.ones((2, 5, 1)), axis=1), dt=1.0)
    cells = Cells(lambda s: s.owner, 2, lambda s: s.owner, 2)
    forces = [lambda x, t: np.ones_like(x), lambda x, t: 3 * np.ones_like(x)]
    totals = evaluate(next(steps_of(tracks)), forces, np.eye(1), cells)
    assert totals.current.tolist() == [4, 12]
    assert totals.quadratic.tolist() == [4, 36]
