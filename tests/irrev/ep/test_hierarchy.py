"""Nested levels on samples: orders, memory, areas, distances."""

import numpy as np
import pytest

from irrev.ep.hierarchy import (
    Level,
    area_levels,
    distance_levels,
    hierarchy_ep,
    memory_levels,
)
from irrev.errors import InputError
from tests.closed_forms import SPIN_CHAINS

MIXED = SPIN_CHAINS[2]


def interleaved(n_steps, seed=1):
    """Even and odd times are independent copies: lag 1 alone 0, lag 2 alone the single chain."""
    rng = np.random.default_rng(seed)
    path = np.empty((2 * n_steps, 3))
    path[::2], path[1::2] = (MIXED.sample(n_steps, rng)[:n_steps] for _ in range(2))
    return path


def test_hierarchy_ep__levels_reach_their_population_bounds():
    """30,000 steps of the mixed chain: order 1 nothing, order 2 most, order 3 little."""
    est = hierarchy_ep(MIXED.sample(30_000, np.random.default_rng(3)))
    known = [0.0, MIXED.known["pair+lin"], MIXED.known["pair+lin+triple"]]
    error = (est.high - est.low) / 3.92
    assert np.all(np.abs(est.value - known) <= 4 * error + 2e-3)
    np.testing.assert_allclose(np.cumsum(est.added), est.value)
    assert est.added_low[1] > 0
    # The difference of two levels with common noise is known better than either.
    assert est.added_high[2] - est.added_low[2] < est.high[2] - est.low[2]
    assert list(est.n_observables) == [3, 6, 9]
    assert "lin+pair" in str(est)


def test_hierarchy_ep__memory_shows_at_the_lag_where_it_acts():
    """Interleaved chains: nothing at lag 1, most of two copies in a window of two steps."""
    est = hierarchy_ep(interleaved(15_000), levels=memory_levels(2), window=2)
    error = (est.high - est.low) / 3.92
    assert abs(est.value[0]) <= 4 * error[0] + 1e-3
    # A window of three states holds one pair of one copy: half of its value a step.
    assert est.value[1] == pytest.approx(MIXED.known["pair"] / 2, abs=4 * error[1] + 2e-3)
    assert est.added_low[1] > 0


def test_hierarchy_ep__areas_and_distances_split_the_pairs():
    """Two independent copies side by side: all of the value lies within areas."""
    rng = np.random.default_rng(5)
    path = np.hstack([MIXED.sample(12_000, rng), MIXED.sample(12_000, rng)])
    est = hierarchy_ep(path, levels=area_levels(["a"] * 3 + ["b"] * 3))
    error = (est.high - est.low) / 3.92
    assert est.value[0] == pytest.approx(2 * MIXED.known["pair"], abs=4 * error[0] + 2e-3)
    # Nine idle couplings on 7,200 training steps lose 2 d / n = 2.5e-3.
    spread = (est.added_high[1] - est.added_low[1]) / 3.92
    assert abs(est.added[1]) <= 4 * spread + 2.5e-3
    assert list(est.n_observables) == [6, 15]
    place = np.array([0.0, 1, 2, 10, 11, 12])
    levels = distance_levels(np.abs(place[:, None] - place), [1.0, 5.0])
    near = hierarchy_ep(path, levels=levels)
    assert list(near.n_observables) == [4, 6, 15]
    # Same pairs, another start: a fit stops once three iterates gain less than 1 % each.
    assert near.value[1] == pytest.approx(est.value[0], rel=0.03)


def test_hierarchy_ep__refuses_levels_that_do_not_nest():
    path = MIXED.sample(500, np.random.default_rng(0))
    with pytest.raises(InputError, match="pair does not hold lin; nest"):
        hierarchy_ep(path, levels=(Level("lin", ("lin",)), Level("pair", ("pair",))))
    with pytest.raises(InputError, match="holds no observable"):
        hierarchy_ep(path, levels=(Level("none", ("pair",), np.zeros((3, 3), bool)),))
