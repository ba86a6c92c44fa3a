"""Alignment work from counts with and without it."""

import numpy as np
import pytest

from irrev.alignment.gamma import gamma_ml, gamma_slope, kappa_difference
from irrev.alignment.second_law import goal_entropy
from irrev.errors import InputError
from irrev.simulate.goals import goal_law, peaked_law

TIMES = np.arange(30.0)
START = peaked_law(0.937606, 5)
UNEQUAL = np.array([0.1, 0.5, 0.2, 0.15, 0.05])


def counts(gamma, rng, *, per_turn=200, pi=None):
    law = goal_law(TIMES, start=START, hop_rate=0.1, gamma_eff=gamma, destinations=pi)
    return rng.multinomial(per_turn, law)


def recover(true, rng, *, destinations, pi=None, repeats=16):
    return np.array(
        [
            gamma_ml(
                TIMES,
                counts(0.0, rng, pi=pi),
                counts(true, rng, pi=pi),
                destinations=destinations,
                n_draws=0,
                rng=rng,
            ).gamma_eff
            for _ in range(repeats)
        ]
    )


@pytest.mark.parametrize(("true", "iqr"), [(0.05, 0.0043), (0.2, 0.0163), (0.5, 0.0365)])
@pytest.mark.parametrize(("destinations", "pi"), [("uniform", None), ("free", UNEQUAL)])
def test_gamma_ml__recovers_the_rate(true, iqr, destinations, pi, rng):
    """Interquartile ranges of 60 repeats give the spread; s.e. of a mean of 16."""
    values = recover(true, rng, destinations=destinations, pi=pi)
    spread = max(iqr / 1.349, values.std(ddof=1))
    assert values.mean() == pytest.approx(true, abs=4 * spread / np.sqrt(values.size))


def test_gamma_ml__uniform_destinations_overestimate_for_unequal_classes(rng):
    values = recover(0.5, rng, destinations="uniform", pi=UNEQUAL)
    assert values.mean() > 0.5 + 4 * values.std(ddof=1) / np.sqrt(values.size)


def test_gamma_ml__rejects_a_wrong_form_and_not_the_right_one(rng):
    base, tuned = counts(0.0, rng, pi=UNEQUAL), counts(0.2, rng, pi=UNEQUAL)
    wrong = gamma_ml(TIMES, base, tuned, destinations="uniform", n_draws=120, rng=rng)
    right = gamma_ml(TIMES, base, tuned, n_draws=120, rng=rng)
    assert wrong.model_rejected
    assert not right.model_rejected
    assert right.low < right.gamma_eff < right.high


def test_gamma_ml__says_that_a_base_run_is_missing(rng):
    fit = gamma_ml(TIMES, [], counts(0.2, rng), rng=rng)
    assert np.isnan(fit.gamma_eff)
    assert fit.reason == "no base run under this stress"


def test_gamma_slope__is_positive_when_work_is_done(rng):
    assert gamma_slope(TIMES, counts(0.0, rng), counts(0.5, rng)) > 0
    assert gamma_slope(TIMES, np.zeros((30, 5)), counts(0.5, rng)) != 0


@pytest.mark.parametrize(
    ("hop_rate", "expected"),
    [(0.02, (0.014, 0.148, 0.440, 0.913)), (0.05, (-0.017, 0.085, 0.369, 0.848))],
)
def test_kappa_difference__is_not_gamma_even_without_noise(hop_rate, expected):
    """Values to three digits from exact S(t) over 30 turns."""
    t = np.arange(30.0)
    for gamma, value in zip((0.05, 0.2, 0.5, 1.0), expected, strict=True):
        S = [goal_entropy(t, hop_rate=hop_rate, gamma_eff=g) for g in (0.0, gamma)]
        assert kappa_difference(t, *S) == pytest.approx(value, abs=6e-4)


def test_gamma_ml__wants_equal_shapes(rng):
    with pytest.raises(InputError, match="give three times or more"):
        gamma_ml(TIMES, np.ones((30, 5)), np.ones((29, 5)), rng=rng)
