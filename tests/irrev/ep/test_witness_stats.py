"""Exact corrections against complex Wishart matrices drawn directly."""

import numpy as np
import pytest
from scipy.special import digamma

from irrev.ep import witness_stats as stat

DRAWS = 20_000


def wishart(spectrum, k, n_draws, rng):
    """Sums of k outer products of complex Gaussian vectors, shape (draw, channel, channel)."""
    n = len(spectrum)
    noise = rng.standard_normal((2, n_draws, n, k)) / np.sqrt(2)
    x = np.linalg.cholesky(spectrum) @ (noise[0] + 1j * noise[1])
    return x @ x.conj().transpose(0, 2, 1)


def random_spectrum(n, rng, *, real=False):
    x = rng.standard_normal((n, n + 2)) + (0 if real else 1j) * rng.standard_normal((n, n + 2))
    return x @ x.conj().T + np.eye(n)


def pair_of(grams):
    """Present draws as pairs of one band: shape (band, channel, channel) -> (1, pair)."""
    first, second = np.array([0]), np.array([1])
    coh2 = np.concatenate([stat.coherence(g[None], first, second) for g in grams], axis=1)
    ratio = np.concatenate([stat.phase_ratio(g[None], first, second) for g in grams], axis=1)
    return coh2, ratio


@pytest.mark.parametrize("k", [8, 16])
def test_witness_estimate__is_unbiased_at_any_coherence(k, rng):
    spectrum = random_spectrum(2, rng)
    power = (spectrum[0, 0] * spectrum[1, 1]).real
    true = -0.5 * np.log1p(-(np.abs(spectrum[0, 1]) ** 2) / power)
    coh2, _ = pair_of(wishart(spectrum, k, DRAWS, rng))
    est = stat.witness_estimate(coh2, np.array([float(k)]), np.ones(1))
    assert est.value.mean() == pytest.approx(true, abs=4 * est.value.std() / np.sqrt(DRAWS))


@pytest.mark.parametrize("k", [8, 16])
def test_irreversibility_estimate__is_unbiased_at_any_spectrum(k, rng):
    spectrum = random_spectrum(2, rng)
    delta = np.linalg.det(spectrum).real
    true = 2 * spectrum[0, 1].imag ** 2 / delta
    _, ratio = pair_of(wishart(spectrum, k, DRAWS, rng))
    est = stat.irreversibility_estimate(ratio, np.array([float(k)]), np.ones(1))
    assert est.value.mean() == pytest.approx(true, abs=4 * est.value.std() / np.sqrt(DRAWS))


@pytest.mark.parametrize("k", [8, 16])
def test_irreversible_witness__is_unbiased_for_a_reversible_pair(k, rng):
    _, ratio = pair_of(wishart(random_spectrum(2, rng, real=True), k, DRAWS, rng))
    value = stat.irreversible_witness(ratio, np.array([float(k)]), np.ones(1))
    assert value.mean() == pytest.approx(0.0, abs=4 * value.std() / np.sqrt(DRAWS))


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize(("n", "k"), [(2, 8), (3, 9), (5, 20)])
def test_set_estimates__are_unbiased_at_any_spectrum(n, k, real, rng):
    spectrum = random_spectrum(n, rng, real=real)
    excess = np.trace(np.linalg.solve(spectrum.T, spectrum)).real - n
    total = np.log(np.diag(spectrum).real).sum() - np.linalg.slogdet(spectrum).logabsdet
    grams = wishart(spectrum, k, 4000, rng)
    counts, share = np.array([float(k)]), np.ones(1)
    sigma = [stat.set_irreversibility(g[None], counts, share)[0].value for g in grams]
    witness = [stat.total_witness(g[None], counts, share)[0].value for g in grams]
    for values, true in ((sigma, excess / 2), (witness, total / 2)):
        error = 4 * np.std(values) / np.sqrt(len(values))
        assert np.mean(values) == pytest.approx(true, abs=error)


@pytest.mark.parametrize(("n", "real"), [(2, False), (4, True), (4, False)])
def test_set_estimates__standard_errors_match_the_scatter(n, real, rng):
    """32 bands of 24 ordinates; the mean error agrees with the scatter of 1,000 draws (2 %) up
    to the second order of the delta method, 1 / K = 4 %, and for sigma_N the null variance of
    N > 2 channels, which is exact in the leading order only: 15 %."""
    m, k, draws = 32, 24, 1000
    spectrum = random_spectrum(n, rng, real=real) + 20 * np.eye(n)
    counts, share = np.full(m, float(k)), np.full(m, 1 / m)
    sigma, total = [], []
    for grams in wishart(spectrum, k, m * draws, rng).reshape(draws, m, n, n):
        sigma.append(stat.set_irreversibility(grams, counts, share)[0])
        total.append(stat.total_witness(grams, counts, share)[0])
    for estimates, tolerance in ((sigma, 0.15), (total, 0.10)):
        scatter = np.std([e.value for e in estimates])
        assert np.mean([e.stderr for e in estimates]) == pytest.approx(scatter, rel=tolerance)


def test_set_estimates__agree_with_the_pair_for_two_channels(rng):
    counts, share = np.full(6, 20.0), np.full(6, 1 / 6)
    grams = wishart(random_spectrum(2, rng), 20, 6, rng)
    first, second = np.array([0]), np.array([1])
    coh2 = stat.coherence(grams, first, second)
    ratio = stat.phase_ratio(grams, first, second)
    sigma, reversible = stat.set_irreversibility(grams, counts, share)
    total, independent = stat.total_witness(grams, counts, share)
    pair_sigma = stat.irreversibility_estimate(ratio, counts, share)
    assert sigma.value == pytest.approx(pair_sigma.value[0])
    pair_w = stat.witness_estimate(coh2, counts, share)
    assert total.value == pytest.approx(pair_w.value[0])
    assert total.stderr == pytest.approx(pair_w.stderr[0])
    assert reversible.log_p == pytest.approx(stat.reversibility_test(ratio, counts).log_p[0])
    assert independent.log_p < 0


@pytest.mark.parametrize("n", [2, 5])
def test_set_tests__are_calibrated_under_their_nulls(n, rng):
    """Binomial error of a 5 % rate over 2,000 draws is 0.5 %; the matched Gamma law of a sum of
    16 nearly Gaussian terms adds less."""
    m, k, draws = 16, 24, 2000
    counts, share = np.full(m, float(k)), np.full(m, 1 / m)
    real = random_spectrum(n, rng, real=True)
    diagonal = np.diag(np.diag(real))
    for spectrum, test in ((real, stat.set_irreversibility), (diagonal, stat.total_witness)):
        grams = wishart(spectrum, k, m * draws, rng).reshape(draws, m, n, n)
        p = np.array([np.exp(test(g, counts, share)[1].log_p) for g in grams])
        assert np.mean(p < 0.05) == pytest.approx(0.05, abs=4 * 0.0049)


@pytest.mark.parametrize(
    ("k", "w", "sigma", "w_irr"),
    [
        (8, 0.07142857142857142, 0.16666666666666666, 0.03698657457380983),
        (16, 0.03333333333333333, 0.07142857142857142, 0.01694429046478585),
        (64, 0.007936507936507936, 0.016129032258064516, 0.003984000511934482),
    ],
)
def test_corrections__match_the_printed_null_biases(k, w, sigma, w_irr):
    counts, share, zero = np.array([float(k)]), np.ones(1), np.zeros((1, 1))
    assert -stat.witness_estimate(zero, counts, share).value[0] == pytest.approx(w, rel=1e-12)
    # Plug-in 2 R has null mean 1 / (K - 2); the estimate rescales it by (K - 2) / K.
    bias = -stat.irreversibility_estimate(zero, counts, share).value[0] * k / (k - 2)
    assert bias == pytest.approx(sigma, rel=1e-12)
    assert -stat.irreversible_witness(zero, counts, share)[0] == pytest.approx(w_irr, rel=1e-10)
    assert digamma(k - 0.5) - digamma(k - 1.0) == pytest.approx(2 * w_irr, rel=1e-10)


LOG_SF = [  # shape, x, log Q(shape, x) by mpmath 1.3.0 at 15 digits
    (0.5, 0.1, -0.4235463234759657),
    (0.5, 5.0, -6.459612454150122),
    (0.5, 120.0, -122.97023494475295),
    (0.5, 800.0, -803.9152948331938),
    (0.5, 5000.0, -5004.831061513645),
    (0.5, 1000000.0, -1000007.4801207219),
    (7.3, 0.1, -4.9455994855074515e-12),
    (7.3, 5.0, -0.2256236457091408),
    (7.3, 120.0, -96.93324461695218),
    (7.3, 800.0, -765.02694244243),
    (7.3, 5000.0, -4953.488314875168),
    (7.3, 1000000.0, -999920.1101697078),
    (16.0, 0.1, 0.0),
    (16.0, 5.0, -6.901062303394826e-05),
    (16.0, 120.0, -75.95469488935127),
    (16.0, 800.0, -727.6111917374457),
    (16.0, 5000.0, -4900.138369606951),
    (16.0, 1000000.0, -999820.6665980143),
    (89.42, 0.1, 0.0),
    (89.42, 5.0, 0.0),
    (89.42, 120.0, -6.474510177681357),
    (89.42, 800.0, -519.8777331342261),
    (89.42, 5000.0, -4557.939991361691),
    (89.42, 1000000.0, -999089.4805199541),
]


@pytest.mark.parametrize(("shape", "x", "exact"), LOG_SF)
def test_log_gamma_sf__matches_arbitrary_precision(shape, x, exact):
    assert stat.log_gamma_sf(shape, np.array([x]))[0] == pytest.approx(exact, rel=1e-10, abs=1e-15)


def test_log_gamma_sf__keeps_the_ends():
    assert stat.log_gamma_sf(3.0, np.array([0.0, np.inf])).tolist() == [0.0, -np.inf]
    assert np.isnan(stat.log_gamma_sf(3.0, np.array([np.nan]))[0])
