"""Blocks, held-out values, intervals and the null."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irrev.ep.validation import bootstrap, cut_blocks, held_out, noise_fraction, reversal_test
from irrev.errors import InputError


@given(st.integers(60, 400), st.integers(2, 12), st.integers(1, 3))
def test_cut_blocks__blocks_share_no_state(n, n_blocks, lag):
    starts = np.arange(n)
    kept, block = cut_blocks(starts, n_blocks, lag=lag)
    assert set(block) == set(range(n_blocks))
    for b in range(n_blocks - 1):
        assert kept[block == b].max() + lag < kept[block == b + 1].min() + 1


def test_cut_blocks__cut_at_gaps_of_the_recording_and_lose_nothing_there():
    starts = np.concatenate([np.arange(0, 99), np.arange(103, 203), np.arange(204, 305)])
    kept, block = cut_blocks(starts, 3)
    assert kept.size == starts.size
    assert starts[block == 0].max() == 98
    assert starts[block == 2].min() == 204


def test_cut_blocks__says_how_to_mend_a_short_recording():
    with pytest.raises(InputError, match=r"30 transitions for 50 blocks; use a longer recording"):
        cut_blocks(np.arange(30), 50)


def gaussian_sample(rng, mean, n):
    """One Gaussian observable N(mean, 1): ep = 2 mean^2, theta = 2 mean."""
    return 2 * mean * rng.normal(mean, 1.0, n)


def test_held_out__certified_value_does_not_exceed_the_truth_on_few_samples(rng):
    """Truth 2 nats, 200 samples: the ordinary value is biased up, the certified one is not.

    ln Z of the true theta is 0. Standard errors of the means over 4000 draws are measured.
    """
    ordinary, certified = [], []
    for _ in range(4000):
        a = gaussian_sample(rng, 1.0, 200)
        result = held_out(a, -a, 0.0)
        ordinary.append(result.value)
        certified.append(result.certified)
    error = np.std(certified) / np.sqrt(4000)
    assert np.mean(certified) == pytest.approx(2.0, abs=4 * error)
    assert np.mean(ordinary) > 2.0 + 4 * np.std(ordinary) / np.sqrt(4000)


def test_held_out__certified_value_with_a_wrong_normaliser_is_lower(rng):
    """-c - e^{-c} + 1 <= 0: any c gives a valid bound."""
    a = gaussian_sample(rng, 0.5, 200_000)
    right, wrong = (held_out(a, -a, c).certified for c in (0.0, 0.3))
    assert wrong == pytest.approx(right - (0.3 + np.exp(-0.3) - 1), abs=0.05)
    assert wrong < right


def test_held_out__value_is_clipped_at_the_cap_and_flagged():
    a = np.full(50, 100.0)
    result = held_out(a, -a, 0.0)
    assert result.value == pytest.approx(np.log(50))
    assert result.saturated
    overfitted = held_out(-a, a, 0.0)
    assert overfitted.certified == pytest.approx(-np.log(50))


def test_held_out__effective_sample_size_counts_equal_weights():
    result = held_out(np.zeros(80), np.zeros(80), 0.0)
    assert result.ess == pytest.approx(80)
    assert result.value == 0.0


def test_bootstrap__matches_the_delta_method(rng):
    """Influence (a - mean a) - (w - 1) of independent samples; 2000 draws err by 1.6 %."""
    n = 20_000
    a = gaussian_sample(rng, 0.3, n)
    fold = held_out(a, -a, 0.0)
    draws = bootstrap([fold], [np.zeros(n, int)], rng, bin_s=0.1, draws=2000)
    w = np.exp(-a - fold.log_normaliser)
    expected = np.std(a - w) / np.sqrt(n)
    # Some 400 sub-blocks of 50: their variance errs by sqrt(2 / 400) = 7 %, its root by half.
    assert np.std(draws) == pytest.approx(expected, rel=4 * (0.035 + 0.016))


def test_noise_fraction__is_one_without_signal_and_zero_without_optimism(rng):
    a = rng.normal(0.0, 0.1, 1000)
    fold = held_out(a, -a, 0.0)
    assert noise_fraction(np.array([fold.value + 1]), [fold], np.array([1000])) == 1.0
    assert noise_fraction(np.array([fold.value]), [fold], np.array([1000])) == 0.0


def test_reversal_test__is_the_cross_block_quadratic_value():
    """Equal sums z in all blocks of n steps: 2 (z / n)^2 / sd^2."""
    sums = np.full((10, 1), 3.0)
    result = reversal_test(
        sums, np.full(10, 6), np.array([2.0]), np.random.default_rng(0), draws=99
    )
    assert result.statistic == pytest.approx(2 * (3 / 6) ** 2 / 4)
    # Two of the 1024 readings tie with the observed one: 0.2 of 99 draws on average, not 5.
    assert result.p <= 5 / 100


def test_reversal_test__p_values_are_uniform_for_independent_blocks():
    """Symmetric sums: the p-value is exact, so 1000 of them lie within Kolmogorov's band."""
    rng = np.random.default_rng(5)
    p = []
    for _ in range(1000):
        sums = rng.standard_t(3, (20, 15)) * rng.lognormal(size=(20, 1))
        p.append(reversal_test(sums, np.full(20, 100), np.ones(15), rng, draws=99).p)
    grid = np.arange(1, 101) / 100
    distance = np.abs(np.searchsorted(np.sort(p), grid + 1e-9) / 1000 - grid).max()
    assert distance < 1.95 / np.sqrt(1000)  # one in a thousand
