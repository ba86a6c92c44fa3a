"""All estimators in one table, in the order that theory gives them."""

import numpy as np
import pytest

from irrev.ep.compare import compare_ep
from irrev.ep.maxent import maxent_ep
from tests.closed_forms import SPIN_CHAINS

MIXED = SPIN_CHAINS[2]


def test_compare_ep__rows_meet_their_population_values():
    path = MIXED.sample(20_000, np.random.default_rng(1))
    rows = {row.name: row for row in compare_ep(path)}
    assert list(rows) == ["maxent", "newton1", "tur", "plugin"]
    est = maxent_ep(path)
    assert rows["maxent"].value == est.value
    assert rows["newton1"].value == est.newton1
    assert rows["tur"].value == est.tur
    known = {"maxent": "pair", "newton1": "newton1", "tur": "tur"}
    for name, row in rows.items():
        truth = MIXED.known[known[name]] if name in known else MIXED.ep
        error = (row.high - row.low) / 3.92
        # One Newton step is rescaled on validation: at least the plain step, at most the optimum.
        slack = MIXED.known["pair"] - MIXED.known["newton1"] if name == "newton1" else 0.0
        assert row.value == pytest.approx(truth, abs=4 * error + slack + 1e-3)
        assert row.low < row.value < row.high
    assert rows["tur"].value < rows["maxent"].value
    assert not rows["plugin"].bound


def test_compare_ep__intervals_of_bounds_hold_zero_in_noise():
    noise = np.random.default_rng(2).random((4_000, 6)) < 0.2
    for row in compare_ep(noise, bin_s=0.01):
        assert row.low <= 0 or not row.bound
    assert [r.name for r in compare_ep(np.tile(noise, 3), bin_s=0.01)] == [
        "maxent",
        "newton1",
        "tur",
    ]


def test_compare_ep__trains_the_network_on_request():
    neep = pytest.importorskip("irrev.ep.neep")
    few = neep.Training(hidden=(8,), steps=5)
    noise = np.random.default_rng(3).random((300, 3)) < 0.3
    rows = compare_ep(
        noise, bin_s=0.01, network=True, training=few, folds=3, n_blocks=10, draws=100
    )
    assert rows[3].name == "network"
