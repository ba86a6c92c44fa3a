"""Blocks of an ensemble against the whole of it, and against the exact value."""

from functools import partial
from itertools import starmap

import numpy as np
import pytest

from irrev.ep.learn import learn_ep
from irrev.ep.learn_blocks import learn_blocks
from irrev.ep.steps import tracks_from
from irrev.errors import InputError
from irrev.simulate.chains import simulate
from irrev.simulate.systems import bead_chain, rotation

RUN = {"n_trajectories": 200, "n_steps": 300, "seed": 8, "block_size": 20}


def block(system, b):
    return tracks_from(simulate(system.chain(0.01), only=[b], **RUN), dt=0.01)


@pytest.mark.parametrize("system", [rotation(), bead_chain(3)], ids=["rotation", "beads"])
def test_learn_blocks__matches_the_value_of_the_fitted_force(system):
    est = learn_blocks(
        partial(block, system), 10, diffusion=system.diffusion, ridge=0.0, null_draws=99
    )
    exact = system.finite_dt_ep_rate(0.01, fitted=True)
    assert est.value == pytest.approx(exact, abs=4 * est.sd + est.train - est.debiased)
    assert est.debiased == pytest.approx(exact, abs=4 * est.sd)
    assert est.p == pytest.approx(0.01)
    assert (est.n_trajectories, est.n_steps, est.n_units) == (200, 60_000, 100)


def test_learn_blocks__agrees_with_the_whole_ensemble_in_memory():
    """Same data, other folds: the two held-out values differ by less than their interval."""
    system = rotation()
    est = learn_blocks(partial(block, system), 10, diffusion=1.0, ridge=0.0, null_draws=19)
    x = simulate(system.chain(0.01), **RUN)
    whole = learn_ep(x, dt=0.01, diffusion=1.0, ridge=0.0, null_draws=19)
    assert est.train == pytest.approx(whole.train, rel=1e-9)  # all data, one fit: no folds in it
    assert est.value == pytest.approx(whole.value, abs=est.sd)
    assert est.sd == pytest.approx(whole.sd, rel=0.35)  # 100 units: each sd is off by 7 %


def test_learn_blocks__who_reads_a_block_changes_nothing():
    def backwards(work, args):
        return list(starmap(work, args[::-1]))[::-1]

    load = partial(block, rotation())
    one, two = (
        learn_blocks(load, 10, null_draws=19, draws=100, run=run) for run in (starmap, backwards)
    )
    assert (one.value, one.low, one.p) == (two.value, two.low, two.p)
    assert np.array_equal(one.track_current, two.track_current)


def test_learn_blocks__says_how_to_mend():
    with pytest.raises(InputError, match="4 blocks in 5 folds"):
        learn_blocks(partial(block, rotation()), 4)
