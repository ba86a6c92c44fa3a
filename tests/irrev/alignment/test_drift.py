"""Drift detectors: their false alarms and delays on simulated streams."""

import numpy as np
import pytest
from scipy.stats import binom

from irrev.alignment.charts import (
    cusum,
    cusum_threshold,
    entropy_drift,
    expected_false_alarms,
    siegmund_run_length,
    slope_alarms,
)
from irrev.alignment.drift import (
    bayes_eprocess,
    drift_test,
    e_bh,
    log_dirichlet_multinomial,
    scan_threshold,
)
from irrev.entropy import miller_madow_entropy
from irrev.errors import InputError

CLEAN = np.array([0.9, 0.04, 0.03, 0.02, 0.01])
SHIFTED = np.array([0.8, 0.08, 0.06, 0.04, 0.02])


def streams(rng, *, baseline, n_streams, clean_bins, shifted_bins=0):
    """A baseline and bins of 20 for each stream; stacked because each has its own baseline."""
    b = rng.multinomial(baseline, CLEAN, size=n_streams)
    parts = [rng.multinomial(20, CLEAN, size=(n_streams, clean_bins))]
    parts.append(rng.multinomial(20, SHIFTED, size=(n_streams, shifted_bins)))
    return b, np.concatenate(parts, axis=1)


def first_alarms(b, counts, **options):
    """Bin of the first alarm of each stream, -1 for none."""
    alarms = np.stack(
        [bayes_eprocess(n, base, **options).alarm for base, n in zip(b, counts, strict=True)]
    )
    return np.where(alarms.any(axis=1), alarms.argmax(axis=1), -1)


def within(observed, n, expected, n_expected):
    """Two binomial shares agree within four standard errors of their difference."""
    spread = np.sqrt(expected * (1 - expected) * (1 / n + 1 / n_expected))
    return abs(observed - expected) <= 4 * spread + 0.5 / n


def test_log_dirichlet_multinomial__sums_to_one_over_sequences():
    """Two classes, three draws: counts (k, 3-k) come in comb(3, k) orders."""
    a = np.array([0.7, 1.9])
    values = log_dirichlet_multinomial([[k, 3 - k] for k in range(4)], a)
    assert np.exp(values) @ [1, 3, 3, 1] == pytest.approx(1.0)


def test_bayes_eprocess__cumulative_false_alarms_are_as_tabulated(rng):
    """1.05 % of streams ever alarm at threshold 20 in 200 bins with baseline 1,000."""
    n = 800
    b, counts = streams(rng, baseline=1000, n_streams=n, clean_bins=200)
    share = np.mean(first_alarms(b, counts, form="cumulative", threshold=20.0) >= 0)
    assert within(share, n, 0.0105, 4000)


def test_bayes_eprocess__cumulative_finds_an_early_change_in_twelve_bins(rng):
    b, counts = streams(rng, baseline=1000, n_streams=400, clean_bins=0, shifted_bins=200)
    alarms = first_alarms(b, counts, form="cumulative", threshold=100.0)
    assert within(np.mean(alarms < 0), 400, 0.002, 4000)
    # the median's rank error: 4 sqrt(n)/2 places to either side
    found = np.sort(alarms[alarms >= 0] + 1)
    middle, reach = found.size // 2, int(2 * np.sqrt(found.size))
    assert found[middle - reach] <= 12 <= found[middle + reach]


def test_bayes_eprocess__small_baselines_miss_changes(rng):
    for size, missed in ((200, 0.47), (100, 0.74)):
        b, counts = streams(rng, baseline=size, n_streams=300, clean_bins=0, shifted_bins=200)
        alarms = first_alarms(b, counts, form="cumulative", threshold=100.0)
        assert within(np.mean(alarms < 0), 300, missed, 1000), size
        assert bayes_eprocess(counts[0], b[0]).underpowered


def test_bayes_eprocess__scan_finds_a_late_change_that_the_cumulative_form_misses(rng):
    n = 300
    b, counts = streams(rng, baseline=1000, n_streams=n, clean_bins=100, shifted_bins=100)
    slow = first_alarms(b, counts, form="cumulative", threshold=100.0)
    assert within(np.mean(slow < 0), n, 0.73, 1000)
    scan = first_alarms(b, counts)
    assert within(np.mean((scan >= 0) & (scan < 100)), n, 0.0125, 4000)
    late = scan[(scan < 0) | (scan >= 100)]
    delay = np.where(late < 0, 10_000, late - 99)
    assert within(np.mean(delay <= 25), delay.size, 0.80, 4000)
    assert within(np.mean(delay <= 40), delay.size, 0.94, 4000)


def test_bayes_eprocess__known_baseline_obeys_ville(rng):
    """E = DM(n|a) / prod p0^n is a martingale: at most alpha of the streams ever reach 1/alpha."""
    n, alpha = 2000, 0.05
    sums = np.cumsum(rng.multinomial(20, CLEAN, size=(n, 200)), axis=1)
    for a, ever in ((np.ones(5), 0.0005), (1 + 10 * CLEAN, 0.010)):
        log_e = log_dirichlet_multinomial(sums, a) - sums @ np.log(CLEAN)
        share = np.mean(log_e.max(axis=1) >= -np.log(alpha))
        assert share <= binom.ppf(0.9999, n, alpha) / n
        assert within(share, n, ever, 4000)


def test_scan_threshold__holds_its_level(rng):
    b = rng.multinomial(1000, CLEAN)
    threshold = scan_threshold(b, bin_size=20, level=0.05, n_streams=600, n_bins=60, rng=rng)
    fresh = rng.multinomial(20, rng.dirichlet(b + 0.5, size=600)[:, None], size=(600, 60))
    share = bayes_eprocess(fresh, b, threshold=threshold).alarm.any(axis=1).mean()
    assert within(share, 600, 0.05, 600)


def test_drift_test__sees_classes_swap_at_constant_entropy(rng):
    swapped = CLEAN[[1, 0, 2, 3, 4]]
    counts = np.vstack([rng.multinomial(20, CLEAN, 20), rng.multinomial(20, swapped, 20)])
    verdict = drift_test(counts, rng.multinomial(1000, CLEAN))
    assert verdict.drifted
    assert verdict.change_bin in (19, 20)
    assert verdict.alarm_bin <= 22


def test_drift_test__splitting_bins_does_not_move_the_cumulative_evidence(rng):
    counts, b = rng.multinomial(20, SHIFTED, 30), rng.multinomial(1000, CLEAN)
    halves = np.repeat(counts // 2, 2, axis=0)
    halves[1::2] += counts % 2
    whole = bayes_eprocess(counts, b, form="cumulative").log_e[-1]
    parts = bayes_eprocess(halves, b, form="cumulative").log_e[-1]
    assert parts == pytest.approx(whole, abs=1e-9)


@pytest.mark.parametrize(("h", "simulated"), [(4.0, 339.0), (5.0, 959.0)])
def test_cusum__run_length_matches_siegmund_and_simulation(h, simulated, rng):
    """Run lengths are near exponential: their mean over n streams has s.e. mean / sqrt(n)."""
    expected = siegmund_run_length(h)
    assert expected == pytest.approx({4.0: 338, 5.0: 938}[h], abs=0.5)
    n_streams, n_bins = 300, int(8 * expected)
    sums = cusum(rng.standard_normal((n_streams, n_bins)), threshold=h).up
    crossed = (sums > h).any(axis=1)
    waits = np.where(crossed, (sums > h).argmax(axis=1) + 1, n_bins)
    mean = waits.sum() / crossed.sum()
    assert mean == pytest.approx(simulated, rel=4 / np.sqrt(n_streams))


def test_cusum_threshold__gives_the_run_length_asked_for(rng):
    """Skewed z of bins of 20; fresh streams, both sides."""
    S = miller_madow_entropy(rng.multinomial(20, CLEAN, size=20_000))
    z = (S - S.mean()) / S.std()
    h = cusum_threshold(z, run_length=200, n_streams=300, rng=rng)
    sums = cusum(rng.choice(z, size=(300, 1600)), threshold=h)
    waits = np.where(sums.alarm.any(axis=1), sums.alarm.argmax(axis=1) + 1, 1600)
    mean = waits.sum() / sums.alarm.any(axis=1).sum()
    assert mean == pytest.approx(200, rel=4 * np.sqrt(2 / 300))


def test_cusum_threshold__allows_for_a_baseline_that_is_an_estimate(rng):
    """Fresh streams, each with its own law from the posterior of 500 baseline transcripts."""
    b = rng.multinomial(500, CLEAN)

    def entropies(n_laws, n_draws):
        laws = rng.dirichlet(b + 0.5, size=n_laws)[:, None]
        return miller_madow_entropy(rng.multinomial(50, laws, size=(n_laws, n_draws)))

    pool = entropies(300, 100)
    centre, spread = pool.mean(), pool.std(axis=1).mean()
    h = cusum_threshold((pool - centre) / spread, run_length=200, n_streams=300, rng=rng)
    naive = cusum_threshold((pool.ravel() - centre) / spread, run_length=200, rng=rng)
    sums = cusum((entropies(300, 600) - centre) / spread, threshold=h)
    crossed = sums.alarm.any(axis=1)
    waits = np.where(crossed, sums.alarm.argmax(axis=1) + 1, 600)
    # the laws differ, so waits spread more than exponential ones: twice the variance at most
    assert waits.sum() / crossed.sum() == pytest.approx(200, rel=4 * np.sqrt(4 / 300))
    assert h > naive


def test_cusum__empty_bins_change_nothing():
    z = np.array([1.0, np.nan, 2.0])
    sums = cusum(z, threshold=4.0)
    assert sums.up.tolist() == [0.5, 0.5, 2.0]
    assert sums.down.tolist() == [0.0, 0.0, 0.0]


def test_entropy_drift__interval_covers(rng):
    """Nominal 95 % at 50 transcripts a bin, 40 bins, no drift: binomial error of 600 series."""
    S = miller_madow_entropy(rng.multinomial(50, CLEAN, size=(600, 40)))
    fits = [entropy_drift(row) for row in S]
    cover = np.mean([f.low <= 0 <= f.high for f in fits])
    assert abs(cover - 0.957) <= 4 * np.sqrt(0.957 * 0.043 / 600)


def test_slope_alarms__steep_growth_alarms_and_flat_does_not(rng):
    flat = miller_madow_entropy(rng.multinomial(50, CLEAN, size=100))
    assert not slope_alarms(flat).any()
    steep = flat + 0.02 * np.arange(100)
    assert slope_alarms(steep)[41:].all()
    assert not slope_alarms(steep)[:40].any()  # two full windows are needed


def test_e_bh__matches_the_definition():
    assert e_bh(np.log([61.0, 29.0, 1.0])).tolist() == [True, False, False]
    assert not e_bh(np.log([19.0, 19.0])).any()


def test_expected_false_alarms__adds_over_streams():
    assert expected_false_alarms(n_streams=50, bins_per_day=24, run_length=1000) == 1.2


def test_bayes_eprocess__names_the_shapes():
    with pytest.raises(InputError, match=r"give \(bin, class\) and \(class,\)"):
        bayes_eprocess(np.ones((3, 4)), np.ones(5))


@pytest.mark.parametrize(
    ("counts", "settings", "message"),
    [
        ([[18, np.nan]], {}, "counts run down to nan"),
        ([[18, -2]], {}, "counts run down to -2"),
        ([[18, 2]], {"form": "scans"}, "'scans' is no form of the test; use one of scan"),
        ([[18, 2]], {"threshold": 0.0}, "threshold 0 on the e-value must be above 0"),
    ],
)
def test_drift_test__refuses_what_would_read_as_no_drift(counts, settings, message):
    with pytest.raises(InputError, match=message):
        drift_test(counts, [900, 100], **settings)
