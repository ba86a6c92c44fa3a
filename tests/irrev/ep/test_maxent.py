"""The estimate as a user calls it: values, invariances, calibration, refusals."""

import numpy as np
import pytest

from irrev.binning import SpikeBins
from irrev.ep.crossfit import block_sums, cross_fit
from irrev.ep.explicit import AntisymmetricTable, ExplicitObservables
from irrev.ep.limits import limited
from irrev.ep.maxent import maxent_ep
from irrev.ep.objective import Dual
from irrev.ep.observables import DensePairs
from irrev.ep.validation import bootstrap, cut_blocks, noise_fraction, pooled
from irrev.errors import InputError
from irrev.simulate.chains import simulate
from irrev.simulate.ou import exact_ou
from irrev.stats import deal_blocks
from tests.closed_forms import SPIN_CHAINS, spins


def white_spikes(rng, n_steps=6000, n_units=8):
    return rng.random((n_steps, n_units)) < rng.uniform(0.1, 0.3, n_units)


def thresholded_ou(rng, n_steps=6000, n_units=8):
    """Reversible Gaussian process (symmetric drift, equal noise) above a threshold."""
    drift = rng.standard_normal((n_units, n_units))
    rates, axes = np.linalg.eigh(drift @ drift.T / n_units + 0.05 * np.eye(n_units))
    decay = np.exp(-0.2 * rates)
    noise = rng.standard_normal((n_steps, n_units)) * np.sqrt((1 - decay**2) / rates)
    modes = np.empty((n_steps, n_units))
    modes[0] = rng.standard_normal(n_units) / np.sqrt(rates)
    for t in range(1, n_steps):
        modes[t] = decay * modes[t - 1] + noise[t]
    x = modes @ axes.T
    return x / x.std(axis=0) > 0.8


def common_modulation(rng, n_steps=6000, n_units=8, memory=300):
    """Independent spikes under one slow common rate."""
    decay, drive = np.exp(-1 / memory), np.empty(n_steps)
    drive[0] = rng.standard_normal()
    noise = rng.standard_normal(n_steps) * np.sqrt(1 - decay**2)
    for t in range(1, n_steps):
        drive[t] = decay * drive[t - 1] + noise[t]
    gain = 0.8 * rng.standard_normal(n_units)
    return rng.random((n_steps, n_units)) < 1 / (1 + np.exp(2 - drive[:, None] * gain))


def equilibrium_spins(rng, n_steps=6000, n_units=5):
    coupling = rng.standard_normal((n_units, n_units)) * 1.2 / np.sqrt(n_units)
    chain = spins("equilibrium", np.tril(coupling, -1) + np.tril(coupling, -1).T)
    return chain.sample(n_steps, rng)


REVERSIBLE = [white_spikes, thresholded_ou, common_modulation, equilibrium_spins]


@pytest.fixture(scope="module")
def driven():
    """Path of the mixed-coupling spins: truth 0.2002, pair bound 0.17847 nats per step."""
    return SPIN_CHAINS[2].sample(20_000, np.random.default_rng(11))


def test_maxent_ep__finds_the_pair_bound_of_a_driven_chain(driven):
    """Three observables on 20,000 steps: held-out bias 2 d / n_train = 5e-4, the rest is noise."""
    est = maxent_ep(driven)
    bound = SPIN_CHAINS[2].known["pair"]
    error = (est.high - est.low) / 3.92
    assert est.value == pytest.approx(bound, abs=4 * error + 5e-4)
    assert est.certified == pytest.approx(est.value, abs=0.01)
    assert est.low < bound < est.high
    assert est.p == pytest.approx(1 / 201)
    assert est.newton1 <= est.value + 4 * error
    assert est.tur <= est.value
    assert est.value <= SPIN_CHAINS[2].ep + 4 * error
    assert est.notes == ()


def test_maxent_ep__same_seed_same_numbers_other_seed_other_folds(driven):
    first, second, other = maxent_ep(driven), maxent_ep(driven), maxent_ep(driven, seed=1)
    assert first.value == second.value
    assert first.low == second.low
    np.testing.assert_array_equal(first.null_values, second.null_values)
    assert first.value != other.value


def test_maxent_ep__is_unchanged_by_names_signs_and_direction(driven):
    """Section of symmetries: order of units, all signs, reading backwards."""
    value = maxent_ep(driven)
    permuted = maxent_ep(driven[:, [2, 0, 1]])
    flipped = maxent_ep(-driven)
    assert permuted.value == pytest.approx(value.value, rel=1e-6)
    assert flipped.value == pytest.approx(value.value, rel=1e-6)
    np.testing.assert_allclose(flipped.theta, value.theta, rtol=1e-5)
    np.testing.assert_allclose(permuted.theta[0, 1], value.theta[2, 0], rtol=1e-5)


def test_maxent_ep__reading_backwards_reverses_the_couplings(driven):
    """Exact for the samples of one fit: the two ends exchange roles."""
    ahead = DensePairs(driven[:-1], driven[1:])
    back = DensePairs(driven[1:], driven[:-1])
    theta = np.array([0.3, -0.2, 0.1])
    np.testing.assert_allclose(ahead.values(theta), back.values(-theta), atol=1e-12)


def test_maxent_ep__sparse_and_dense_input_give_the_same_estimate(rng):
    """float32 couplings move a value near 0.01 by about 1e-6 of it."""
    spikes = white_spikes(rng)
    spikes[1:, 1] |= spikes[:-1, 0] & (rng.random(5999) < 0.5)
    from_array = maxent_ep(spikes, bin_s=0.01)
    from_bins = maxent_ep(SpikeBins.from_dense(spikes, 0.01))
    from_spins = maxent_ep(2.0 * spikes - 1.0, bin_s=0.01)
    assert from_array.value == from_bins.value
    assert from_spins.value == pytest.approx(from_array.value, rel=1e-4)
    assert from_array.rate == pytest.approx(100 * from_array.value)
    assert from_array.per_spike * spikes[:-1].sum() == pytest.approx(
        from_array.value * from_array.n_steps, rel=0.01
    )


def test_maxent_ep__never_joins_two_segments():
    """A jump in rate at a gap is no transition: only within-segment pairs are used."""
    rng = np.random.default_rng(8)
    spikes = rng.random((4000, 3)) < 0.3
    segments = np.array([[0, 2000], [2000, 4000]])
    bins = SpikeBins.from_dense(spikes, 0.01, segments)
    est = maxent_ep(bins, trajectory=True)
    assert 1999 not in est.step


def test_maxent_ep__trajectory_averages_to_the_value(driven):
    est = maxent_ep(driven, trajectory=True)
    assert est.trajectory.size == est.n_steps
    assert np.mean(est.trajectory) == pytest.approx(est.value, abs=1e-12)


def test_maxent_ep__silent_and_constant_units_do_no_harm(rng):
    spikes = white_spikes(rng)
    spikes[:, 0], spikes[:, 1] = False, True
    est = maxent_ep(spikes, bin_s=0.01)
    assert np.all(np.isfinite(est.theta))
    assert est.value <= est.high


def test_maxent_ep__strong_driving_does_not_exceed_the_cap():
    """A deterministic cycle has infinite entropy production: the value is ln n and flagged."""
    states = np.eye(3)[np.arange(3000) % 3] * 2 - 1
    est = maxent_ep(states)
    assert est.value == pytest.approx(np.log(est.fold_steps).mean(), rel=0.01)
    assert est.saturated
    assert "cap" in str(est)


@pytest.mark.parametrize("system", REVERSIBLE)
def test_maxent_ep__finds_nothing_where_time_has_no_direction(system):
    """12 recordings: more than 4 chance rejections at 5 % have probability 2e-4."""
    rejected = 0
    for seed in range(12):
        est = maxent_ep(system(np.random.default_rng([seed, 5]), 3000), bin_s=0.01, seed=seed)
        assert est.low <= 0.0
        rejected += est.p <= 0.05
    assert rejected <= 4


@pytest.mark.slow
@pytest.mark.parametrize("system", REVERSIBLE)
def test_maxent_ep__null_p_values_are_uniform(system):
    """200 recordings: the rate of p <= x errs by sqrt(x (1 - x) / 200).

    The p-value of the reversal test is uniform while blocks of 120 steps are independent. The
    thresholded process remembers up to 100 steps: antisymmetric observables of a reversible
    process are anticorrelated in time, so neighbouring blocks lower the statistic and the p-value
    can only be too large. The reported p is 1 where the value is not positive: larger again.
    """
    p, reported = [], []
    for seed in range(200):
        est = maxent_ep(system(np.random.default_rng([seed, 7])), bin_s=0.01, draws=50, seed=seed)
        p.append(np.mean(np.append(est.null_values, np.inf) >= est.statistic))
        reported.append(est.p)
    for level in (0.05, 0.1, 0.2, 0.5):
        error = np.sqrt(level * (1 - level) / 200)
        rate = np.mean(np.array(p) <= level)
        assert rate <= level + 4 * error
        assert rate >= level - 4 * error or system is thresholded_ou
        assert np.mean(np.array(reported) <= level) <= level + 4 * error


def coverage(chain, n_recordings, n_steps):
    """Share of 95 % intervals that hold the population value of the fitted couplings."""
    before, after, p = chain.steps()
    pairs = DensePairs(before, after)
    population = Dual(pairs, pairs.total(p), p)
    hits = 0
    for seed in range(n_recordings):
        rng = np.random.default_rng([seed, 3])
        path = chain.sample(n_steps, rng)
        samples = DensePairs(path[:-1], path[1:])
        kept, block = cut_blocks(np.arange(n_steps), 50)
        samples = samples.take(kept)
        fits = cross_fit(samples, block, block_sums(samples, block, 50), deal_blocks(50, 5, rng))
        tests = [f.test for f in fits]
        n = np.array([t.n_steps for t in tests])
        truth = []
        for f in fits:
            reverse = pairs.reverse_values(f.fit.theta)
            ahead, back = limited(-reverse, reverse, f.fit.limit)
            truth.append(population.value(population.average(ahead), back))
        train = np.array([f.fit.value_train for f in fits])
        widening = np.sqrt(1 + noise_fraction(train, tests, n))
        draws = bootstrap(tests, [block[f.rows] for f in fits], rng, bin_s=0.01, draws=300)
        value = pooled(np.array([t.value for t in tests]), n)
        low, high = value + widening * np.quantile(draws, [0.025, 0.975])
        hits += low <= pooled(np.array(truth), n) <= high
    return hits / n_recordings


@pytest.mark.slow
@pytest.mark.parametrize("asymmetry", [0.0, 0.3, 1.0])
def test_maxent_ep__intervals_cover(asymmetry):
    """100 recordings at 95 %: binomial error 2.2 %; more than 95 % at equilibrium is expected."""
    coupling = np.random.default_rng(0).standard_normal((6, 6)) / np.sqrt(6)
    mixed = (coupling + coupling.T) / 2 + asymmetry * (coupling - coupling.T) / 2
    np.fill_diagonal(mixed, 0.0)
    assert coverage(spins("random", mixed), 100, 6000) >= 0.95 - 4 * 0.022


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folds": 2}, "2 folds of 50 blocks; use 3 folds or more"),
        ({"level": 95.0}, "level is 95.0; use a number between 0 and 1"),
        ({"observables": ("pears",)}, "pears"),
        ({"solver": "magic"}, "solver is 'magic'; use one of auto"),
        ({"bin_s": 0.0}, "bin_s is 0.0"),
        ({"lag": 2.5}, "lag is 2.5, window 1; use whole numbers from 1"),
        ({"device": "gpu"}, "device is 'gpu'; use one of auto, cuda, cpu"),
    ],
)
def test_maxent_ep__refuses_bad_options(driven, arguments, message):
    with pytest.raises(InputError, match=message):
        maxent_ep(driven, **arguments)


@pytest.fixture(scope="module")
def rotor():
    """A rotating linear system, many turns."""
    move, x = np.array([[0.8, 0.3], [-0.3, 0.8]]), np.zeros((6000, 2))
    noise = np.random.default_rng(5).standard_normal(x.shape)
    for t in range(1, x.shape[0]):
        x[t] = move @ x[t - 1] + 0.5 * noise[t]
    return x


@pytest.mark.parametrize("scale", [1e-60, 1e-6, 1e12])
def test_maxent_ep__no_number_depends_on_the_unit_of_a_signal(rotor, scale):
    """Microvolts written in volts came out as zero: one ridge for sets of several degrees."""
    sets = ("lin", "pair", "same-time")
    one, other = (maxent_ep(x, observables=sets) for x in (rotor, scale * rotor))
    assert one.low > 0.5
    for name in ("value", "low", "high", "p", "tur", "newton1", "certified"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-6)
    np.testing.assert_allclose(other.theta * scale**2, one.theta, rtol=1e-6)
    np.testing.assert_allclose(other.share, one.share, rtol=1e-6)
    np.testing.assert_allclose(
        other.coefficients["lin"] * scale, one.coefficients["lin"], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("size", [1e-12, 1e6])
def test_maxent_ep__no_number_depends_on_the_units_of_given_observables(rng, size):
    step = rng.choice([1.0, -1.0, 0.0], p=[0.5, 0.2, 0.3], size=6000)
    noise = rng.standard_normal(6000)
    tables = [np.stack([step, noise * k], axis=1) for k in (1.0, size)]
    for make in (ExplicitObservables.antisymmetric, AntisymmetricTable):
        one, other = (maxent_ep(make(g)) for g in tables)
        assert one.low <= 0.3 * np.log(2.5) <= one.high
        for name in ("value", "low", "p", "tur"):
            assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-6)
        given = one.coefficients["given"] / [1.0, size]
        np.testing.assert_allclose(other.coefficients["given"], given, rtol=1e-4)


def test_maxent_ep__refuses_bad_observables():
    good = np.random.default_rng(0).standard_normal((500, 2))
    bad = np.where(good > 2, np.nan, good)
    for table in (AntisymmetricTable(bad), ExplicitObservables(good, bad)):
        with pytest.raises(InputError, match="observables hold values that are not finite"):
            maxent_ep(table)
    with pytest.raises(InputError, match=r"observables have shape \(500, 0\)"):
        maxent_ep(AntisymmetricTable(good[:, :0]))
    whole = np.sign(good).astype(int)
    assert maxent_ep(AntisymmetricTable(whole)).value == pytest.approx(
        maxent_ep(AntisymmetricTable(whole.astype(float))).value
    )


def test_maxent_ep__refuses_bins_without_a_spike():
    """A table of intervals with another clock than the spikes; it came out as zero."""
    silent = SpikeBins.from_dense(np.zeros((1000, 3)), 0.01)
    with pytest.raises(InputError, match="no unit spikes in these 1,000 bins; check that"):
        maxent_ep(silent)


def test_maxent_ep__refuses_bad_states():
    with pytest.raises(InputError, match="not finite; cut them out"):
        maxent_ep(np.full((500, 3), np.nan))
    with pytest.raises(InputError, match="1 units; one unit alone"):
        maxent_ep(np.zeros((500, 1)))
    with pytest.raises(InputError, match="of type object; convert them to numbers"):
        maxent_ep(np.zeros((500, 3), object))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("state", [False, True])
def test_maxent_ep__finds_nothing_where_nothing_changes(state):
    est = maxent_ep(np.full((600, 3), state), draws=10, null_draws=19)
    assert (est.value, est.low, est.high, est.p) == (0.0, 0.0, 0.0, 1.0)


def test_maxent_ep_result__reads_in_one_line_and_one_table(driven):
    est = maxent_ep(driven)
    assert "\n" not in str(est)
    assert str(est).startswith("EP bound 0.1")
    assert est._repr_html_().startswith("<table><tr><th>EP bound")


def test_maxent_ep__linear_gaussian_system_attains_its_pair_value():
    """Three linear Langevin variables at lag 0.5: the `pair` bound is 0.5533764611 per unit time.

    It lies below the exact 0.5622634071 of the sampled process, since same-time products are
    left out. The interval's width gives the sampling error.
    """
    drift = np.array([[-1, 0.8, 0], [-0.5, -1.2, 0.3], [0.2, -0.6, -0.9]])
    chain = exact_ou(drift, np.diag([1.0, 0.5, 2.0]), dt=0.5)
    (path,) = simulate(chain, n_trajectories=1, n_steps=100_000, seed=5)
    est = maxent_ep(path, bin_s=0.5)
    stderr = (est.rate_high - est.rate_low) / (2 * 1.96)
    assert est.rate == pytest.approx(0.5533764611, abs=4 * stderr)
    assert stderr < 0.02
    assert est.p < 0.05
