"""The limit on theta . g: chosen on validation, part of a valid bound, no loss without need."""

import numpy as np
import pytest

import irrev
from irrev.binning import SpikeBins
from irrev.ep import crossfit
from irrev.ep.explicit import AntisymmetricTable, ExplicitObservables
from irrev.ep.limits import LIMITS, limited, rescale, value_at, with_limits
from irrev.ep.objective import Dual

SCALES = np.linspace(0.0, 1.5, 301)


def dual(values):
    table = AntisymmetricTable(np.asarray(values, float)[:, None])
    return Dual(table, table.table.mean(axis=0))


def bursting(rng, n_bursts, n_units=40, n_bins=20_000):
    """Each unit is followed by the next one; in a few bursts nearly all fire together."""
    spikes = rng.random((n_bins, n_units)) < 0.02
    spikes[1:, 1:] |= spikes[:-1, :-1] & (rng.random((n_bins - 1, n_units - 1)) < 0.3)
    for start in rng.choice(n_bins // 50, n_bursts, replace=False) * 50:
        spikes[start : start + 5] |= rng.random((5, n_units)) < 0.8
    return SpikeBins.from_dense(spikes, 0.01)


def test_rescale__is_the_best_of_a_grid_of_scales_and_limits(rng):
    """Eq. (2) by brute force: one sample more than there are reaches the limit."""
    for _ in range(20):
        a = rng.normal(0.4, 1.0, 400) + (rng.random(400) < 0.02) * rng.normal(0, 8, 400)
        validation = with_limits(dual(a))
        found = rescale(validation, float(a.mean()), -a, max_scale=1.5)
        values = []
        for limit in LIMITS:
            cut = np.clip(a, -limit, limit)
            for c in SCALES:
                total = np.exp(-c * cut).sum() + np.exp(c * limit)
                values.append(c * cut.mean() - np.log(total / (a.size + 1)))
            if limit >= np.abs(a).max():
                break
        assert found.value == pytest.approx(max(values), abs=1e-4)
        own = value_at(validation, float(a.mean()), -a, found)
        assert own >= found.value  # the unseen sample is no sample
        assert own == pytest.approx(
            found.scale * np.clip(a, -found.limit, found.limit).mean() - found.log_normaliser
        )


def test_rescale__a_limit_that_nothing_reaches_changes_nothing(rng):
    a = rng.normal(0.02, 0.02, 500)  # all below the first limit
    validation = dual(a)
    free = rescale(validation, float(a.mean()), -a, max_scale=1.5)
    found = rescale(with_limits(validation), float(a.mean()), -a, max_scale=1.5)
    assert (found.scale, found.log_normaliser) == (free.scale, free.log_normaliser)
    assert (free.limit, found.limit) == (np.inf, 0.125)


def test_with_limits__only_antisymmetric_observables_have_one(rng):
    g = rng.normal(size=(50, 2))
    even = Dual(ExplicitObservables(g, g[::-1].copy()), g.mean(axis=0))
    assert not with_limits(even).limited
    a, r = rng.normal(size=(2, 9))
    assert limited(a, r, np.inf)[0] is a
    assert np.abs(limited(a, r, 0.3)).max() == 0.3


@pytest.mark.parametrize("seed", range(3))
def test_maxent_ep__rare_bursts_do_not_undo_what_was_found(seed, monkeypatch):
    """20 bursts in 20,000 bins: single bins carry the reverse average unless they are cut."""
    bins = bursting(np.random.default_rng(seed), 20)
    quiet = irrev.maxent_ep(bursting(np.random.default_rng(seed), 0), null_draws=19)
    found = irrev.maxent_ep(bins, null_draws=19)
    assert np.all(np.isfinite(found.fold_limits))
    monkeypatch.setattr(crossfit, "with_limits", lambda validation: validation)
    free = irrev.maxent_ep(bins, null_draws=19)
    assert np.all(free.fold_limits == np.inf)
    assert found.value > 0.6 * quiet.value
    assert free.value < 0.4 * quiet.value
    assert found.low > 0 > free.low


def test_maxent_ep__a_limit_costs_nothing_beyond_the_interval_without_bursts(monkeypatch, rng):
    bins = bursting(rng, 0)
    found = irrev.maxent_ep(bins, null_draws=19)
    monkeypatch.setattr(crossfit, "with_limits", lambda validation: validation)
    free = irrev.maxent_ep(bins, null_draws=19)
    assert found.high > free.value
    assert found.value > 0.95 * free.value


@pytest.mark.parametrize("back", [0.0, 1e-6])
def test_maxent_ep__a_limit_does_not_hide_that_samples_are_too_few(back, rng):
    """No step back was seen: the value stays far below the truth, and says so."""
    place = np.cumsum(rng.choice([1, 0, -1], 3_000, p=[0.5, 0.5 - back, back])) % 3
    bins = SpikeBins.from_dense(np.eye(3, dtype=bool)[place], 1.0)
    for found in (irrev.maxent_ep(bins, null_draws=19), irrev.stream_ep(bins, null_draws=19)):
        assert found.value < 5.0
        assert found.saturated
        assert "true value may be larger" in str(found)
    assert not irrev.maxent_ep(bursting(rng, 20), null_draws=19).saturated


def test_maxent_ep__a_trajectory_keeps_the_limit(rng):
    """sigma = h - ln Z with |h| within the limit of its fold."""
    est = irrev.maxent_ep(bursting(rng, 20), null_draws=19, trajectory=True)
    spread = est.trajectory.max() - est.trajectory.min()
    assert spread <= 2.0 * est.fold_limits.max() + 1.0
