"""Goal-entropy dynamics and the audit of the printed numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irrev.alignment.second_law import (
    audit_abstract,
    compare_runs,
    gamma_crit,
    gamma_for,
    goal_entropy,
)
from irrev.entropy import entropy
from irrev.errors import InputError
from irrev.simulate.goals import steady_law

TABLE = {  # G = 5, r = 0.05, S(0) = 0.32 at t = 0, 1, 5, 20, infinity
    0.0: (0.32, 0.846526, 1.493411, 1.609361, 1.609438),
    0.1: (0.32, 0.812425, 1.362108, 1.474566, 1.475076),
    0.5: (0.32, 0.692076, 0.938015, 0.949594, 0.949594),
    1.0: (0.32, 0.573277, 0.660903, 0.661477, 0.661477),
    2.0: (0.32, 0.412767, 0.423184, 0.423186, 0.423186),
}


@pytest.mark.parametrize("gamma", TABLE)
def test_goal_entropy__matches_the_table(gamma):
    S = goal_entropy([0, 1, 5, 20, np.inf], hop_rate=0.05, gamma_eff=gamma)
    np.testing.assert_allclose(S, TABLE[gamma], atol=5.1e-7)  # printed to six digits


def test_gamma_for__an_80_percent_cut_needs_58_6_hop_rates():
    assert gamma_for(0.2 * np.log(5)) == pytest.approx(58.6385, abs=5e-5)


@given(st.floats(0.01, 1.6), st.floats(0.01, 10))
def test_gamma_for__reaches_the_target_exactly(target, rate):
    gamma = gamma_for(target, hop_rate=rate)
    steady = entropy(steady_law(5 * rate, gamma, n_goals=5))
    assert float(steady) == pytest.approx(target, abs=1e-9)


def test_gamma_for__is_zero_above_the_ceiling_and_refuses_zero_entropy():
    assert gamma_for(np.log(5) + 1e-9) == 0.0
    with pytest.raises(InputError, match="must be positive"):
        gamma_for(0.0)


def test_audit_abstract__recomputes_what_the_print_implies():
    audit = audit_abstract()
    assert audit.gamma_crit == pytest.approx(13.601506, abs=5e-7)
    assert audit.gamma_consistent
    assert audit.least_maximum == pytest.approx(2.3457, abs=5e-5)
    assert audit.least_goals == 11
    assert audit.welch_t == pytest.approx(6.998, abs=5e-4)
    assert audit.welch_p == pytest.approx(1.15e-6, rel=5e-3)
    assert audit.pooled_p == pytest.approx(2.5e-8, rel=2e-2)
    assert audit.rank_p == pytest.approx(1.45e-11, rel=4e-3)
    assert not audit.p_reproduced


def test_audit_abstract__least_maximum_is_reached_by_a_two_valued_sample():
    """A sample with all values at 0 or M has the largest spread for its mean."""
    n, M = 20, 3.0
    values = np.array([M] * 11 + [0.0] * 9)
    mean, sd = values.mean(), values.std(ddof=1)
    assert mean + sd**2 * (n - 1) / (n * mean) == pytest.approx(M)


def test_compare_runs__does_not_reach_the_printed_figures():
    run = compare_runs(gamma_eff=20.4, n_goals=16, seed=3)
    assert run.base.mean < 1.69 - 4 * run.base.sd / np.sqrt(run.base.n)
    assert run.regularised.mean > 0.2
    assert run.welch_p > 4.19e-17


def test_gamma_crit__refuses_a_negative_eigenvalue():
    with pytest.raises(InputError, match="not negative"):
        gamma_crit(-1.0, 10)
