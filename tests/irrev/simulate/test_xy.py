"""XY spins: the closed form of two, the entropy production of moves, streams."""

import numpy as np
import pytest

from irrev.errors import InputError
from irrev.simulate.xy import simulate_xy, two_spin_ep, xy_ep


def pair(first, second):
    return np.array([[0.0, first], [second, 0.0]])


@pytest.mark.parametrize(("first", "second"), [(1.5, 0.0), (2.0, -1.0), (0.7, 0.7)])
def test_xy_ep__two_spins_match_the_closed_form(first, second):
    """Means over 6,000 nearly independent states, four standard errors."""
    moves = simulate_xy(pair(first, second), beta=1.0, n_moves=6_000, seed=1, every=2)
    parts = [xy_ep(x, pair(first, second), beta=1.0) for x in np.split(moves.before, 20)]
    error = np.std(parts) / np.sqrt(20)
    known = two_spin_ep(first, second)
    assert xy_ep(moves.before, pair(first, second), beta=1.0) == pytest.approx(
        known, abs=4 * error
    )


def test_xy_ep__is_the_mean_of_the_moves_themselves():
    """Rates and drawn moves give the same mean: four errors of the mean over moves."""
    coupling = 1.2 * np.random.default_rng(0).standard_normal((6, 6))
    np.fill_diagonal(coupling, 0.0)
    moves = simulate_xy(coupling, beta=0.8, n_moves=8_000, seed=2)
    rows, i = np.arange(8_000), moves.unit
    new = np.cos(moves.angle[:, None] - moves.before)
    old = np.cos(moves.before[rows, i][:, None] - moves.before)
    gain = 0.8 * np.sum(coupling[i] * (new - old), axis=1)
    error = np.std([p.mean() for p in np.split(gain, 40)]) / np.sqrt(40)
    assert np.mean(gain) == pytest.approx(xy_ep(moves.before, coupling, beta=0.8), abs=4 * error)
    assert xy_ep(moves.before, coupling, beta=0.8) > 0


def test_simulate_xy__numbers_depend_on_seed_and_chunk_only():
    first, again, other = (
        simulate_xy(pair(1.0, 0.0), beta=1.0, n_moves=50, seed=3, chunk=c) for c in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.angle, again.angle)
    assert not np.array_equal(first.angle, other.angle)
    after = first.after()
    assert np.sum(after != first.before) == 50


def test_simulate_xy__refuses_a_spin_that_drives_itself():
    with pytest.raises(InputError, match="zero diagonal"):
        simulate_xy(np.eye(2), beta=1.0, n_moves=5, seed=0)
