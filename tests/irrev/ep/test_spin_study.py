"""Spin models against temperature: what the estimates of one system say beside each other."""

import numpy as np
import xarray as xr

from irrev.ep.spin_study import SpinData, fit_batch, simulate_study, study_result
from irrev.simulate.spins import spin_couplings, spin_ep_by_unit


def measured(n_spins: int, n_states: int, units: np.ndarray, **model) -> xr.Dataset:
    coupling = spin_couplings(n_spins, np.random.default_rng(0), **model)
    couplings = {
        "coupling": (("spin", "spin_from"), coupling),
        "field": ("spin", np.zeros(n_spins)),
    }
    system = xr.Dataset(couplings)
    sizes = {"n_states": n_states, "n_chains": 20, "warm_up": 50}
    data = simulate_study(system, beta=1.2, **sizes, seed=0)
    batch = fit_batch(data, units, folds=5, n_blocks=50, seed=0)
    statistics = {"level": 0.95, "draws": 200, "null_draws": 19, "seed": 1}
    row, _ = study_result([batch], system, data, units, beta=1.2, **statistics)
    return row.isel(shard=0).assign(
        by_unit=("spin", spin_ep_by_unit(data.states, coupling, beta=1.2))
    )


def test_study_result__many_weak_couplings_are_not_worse_than_one_newton_step():
    """The sparse path alone stays below the step, beyond its interval, on this system."""
    row = measured(60, 1500, np.arange(60), degree=None, mean=1.0, spread=0.5)
    assert row["ep_newton1"] <= row["ep_per_attempt_high"]
    assert 0 < row["ep_per_attempt"] < row["ep_true"]


def test_study_result__some_units_stand_for_all():
    """The exact value of every second unit is that of the whole within four errors."""
    row = measured(60, 1500, np.arange(0, 60, 2))
    assert int(row["n_units"]) == 30
    by_unit = row["by_unit"].values
    assert float(row["ep_true_whole"]) == by_unit.mean()
    error = by_unit.std() / np.sqrt(30)
    assert abs(float(row["ep_true"]) - by_unit.mean()) < 4 * error
    assert row["ep_per_attempt_low"] < row["ep_true"]


def test_fit_batch__frozen_spins_leave_a_covariance_that_can_be_inverted():
    """At low temperature most spins never differ between the flips of another."""
    rng = np.random.default_rng(0)
    states = np.ones((3001, 30), np.int8)
    states[:, :2] = rng.choice([-1, 1], (3001, 2))
    flips = rng.random(states.shape) < 0.4
    batch = fit_batch(SpinData(states, flips), np.arange(3), folds=5, n_blocks=50, seed=0)
    assert batch.sizes["unit"] == 3
    assert np.isfinite(batch["theta"]).all()
