import numpy as np
import pytest

from irrev.ep.whitening import fit_whitening, summarise_lags
from irrev.ep.witness_welch import effective_freedom, summarise_welch, welch_witness
from irrev.errors import InputError
from irrev.simulate.hidden_drive import SharedDrive, simulate_shared_drive


@pytest.mark.parametrize(
    ("n", "length", "k_eff", "m_eff"), [(4096, 256, 29.418, 89.42), (1024, 64, 29.418, 21.99)]
)
def test_effective_freedom__matches_printed_examples(n, length, k_eff, m_eff):
    free = effective_freedom((n - length) // (length // 2) + 1, length)
    assert free.k_eff == pytest.approx(k_eff, abs=5e-4)
    assert free.m_eff == pytest.approx(m_eff, abs=5e-3)


def test_welch_witness__p_values_are_calibrated(rng):
    """Binomial error of a 5 % rate over the 496 pairs of 32 channels, ten records."""
    null = SharedDrive(0.0, (0.8,) * 32, (1.0,) * 32, (1.0,) * 32, 1.0, 0.0)
    p = np.concatenate(
        [
            welch_witness(simulate_shared_drive(null, 4104, rng=rng), fs=1.0)["p"].to_numpy()[::8]
            for _ in range(10)
        ]
    )
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / p.size))


def test_welch_witness__estimates_the_closed_form(rng):
    """W of coalesced channels is 0.0817; sd about 0.008 at n = 4096, Hann bins smear 2 %."""
    p2 = SharedDrive(0.5, (0.8, 0.8), (1.0, 1.0), (1.0, 1.0), 1.0, 0.8)
    w = [
        float(welch_witness(simulate_shared_drive(p2, 4104, rng=rng), fs=1.0)["W"][0])
        for _ in range(40)
    ]
    assert np.mean(w) == pytest.approx(0.0817, abs=4 * np.std(w) / np.sqrt(40) + 0.02 * 0.0817)


def test_summarise_welch__chunks_add(rng):
    x = rng.standard_normal((2 * 1032, 3))
    fit = fit_whitening(summarise_lags(x))
    total = summarise_welch(x[:1032], fit) + summarise_welch(x[1032:], fit)
    assert total.n_segments == 14
    assert total.gram.shape == (127, 3, 3)


def test_summarise_welch__refuses_odd_and_long_segments(rng):
    x = rng.standard_normal((100, 2))
    fit = fit_whitening(summarise_lags(x))
    with pytest.raises(InputError, match="even number"):
        summarise_welch(x, fit, segment_length=33)
    with pytest.raises(InputError, match="hold no segment of 256"):
        summarise_welch(x, fit)
