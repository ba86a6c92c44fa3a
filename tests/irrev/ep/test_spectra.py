import numpy as np
import pytest

from irrev.ep.spectra import (
    band_edges,
    fourier_rows,
    hermitian_product,
    n_ordinates,
    summarise,
    transform_length,
)
from irrev.ep.whitening import MAX_ORDER, fit_whitening, summarise_lags
from irrev.errors import InputError


@pytest.fixture
def record(rng):
    return rng.standard_normal((3000, 4)) @ rng.standard_normal((4, 4))


def test_summarise__equals_the_plain_sum_over_ordinates(record):
    """Independent route: convolution, full transform, outer products, phases by formula."""
    fit = fit_whitening(summarise_lags(record))
    sums = summarise(record, fit, n_bands=8)
    y = np.stack(
        [np.convolve(record[:, c] - fit.centre[c], fit.filters[c], mode="valid") for c in range(4)]
    )
    n = y.shape[1]
    transform = np.fft.rfft(y, norm="ortho")
    omega = 2 * np.pi * np.arange(transform.shape[1]) / n
    edges = 1 + np.round(np.linspace(0, n_ordinates(3000), 9)).astype(int)
    gain = fit.filters @ np.exp(-1j * np.outer(np.arange(MAX_ORDER + 1), omega))
    turned = transform * gain.conj() / np.abs(gain)
    assert n == transform_length(3000)
    assert sums.counts.tolist() == np.diff(edges).tolist()
    for m in range(8):
        part = slice(edges[m], edges[m + 1])
        for rows, gram in ((transform, sums.gram), (turned, sums.restored)):
            expected = rows[:, part] @ rows[:, part].conj().T
            np.testing.assert_allclose(gram[m], expected, atol=1e-9 * np.abs(expected).max())


def test_summarise__segments_are_the_sum_of_separate_chunks_in_any_order(record):
    fit = fit_whitening(summarise_lags(record))
    ranges = [(0, 900), (900, 1400), (1400, 3000)]
    whole = summarise(record, fit, n_bands=16, segments=ranges)
    parts = [summarise(record[a:b], fit, n_bands=16) for a, b in ranges]
    for merged in (parts[0] + (parts[1] + parts[2]), (parts[2] + parts[0]) + parts[1]):
        np.testing.assert_allclose(merged.gram, whole.gram, atol=1e-9)
        np.testing.assert_allclose(merged.restored, whole.restored, atol=1e-9)
        np.testing.assert_allclose(merged.fourth, whole.fourth)
        assert merged.counts.tolist() == whole.counts.tolist()
        assert (merged.n_segments, merged.n_samples) == (3, whole.n_samples)


def test_summarise__coarser_bands_are_those_of_a_direct_sum(record):
    fit = fit_whitening(summarise_lags(record))
    fine, coarse = summarise(record, fit, n_bands=64), summarise(record, fit, n_bands=16)
    merged = fine.coarser(16)
    assert merged.counts.tolist() == coarse.counts.tolist()
    np.testing.assert_allclose(merged.gram, coarse.gram, atol=1e-9)


def test_summarise__every_ordinate_between_zero_and_nyquist_is_used(record):
    fit = fit_whitening(summarise_lags(record))
    for n_bands in (4, 7, 64):
        counts = summarise(record, fit, n_bands=n_bands).counts
        assert counts.sum() == n_ordinates(len(record))
        assert np.ptp(counts) <= 1


def test_summarise__single_precision_is_close(record):
    """Relative rounding of a sum of K products: sqrt(K) 6e-8."""
    fit = fit_whitening(summarise_lags(record))
    double = summarise(record, fit, n_bands=8)
    single = summarise(record, fit, n_bands=8, precision="float32")
    scale = np.abs(double.gram).max()
    np.testing.assert_allclose(single.gram, double.gram, atol=4e-6 * scale)


def test_summarise__refuses_more_bands_than_ordinates(record):
    fit = fit_whitening(summarise_lags(record))
    with pytest.raises(InputError, match="too_short"):
        summarise(record[:60], fit, n_bands=64)


def test_fourier_rows__long_records_are_cut_to_a_fast_length_from_the_front(rng):
    x = rng.standard_normal((20_000, 1))
    fit = fit_whitening(summarise_lags(x))
    n = transform_length(20_000)
    rows = fourier_rows(x, np.array([[0, 20_000]]), fit)
    white = np.convolve(x[:, 0] - fit.centre[0], fit.filters[0], mode="valid")
    assert n < 20_000 - MAX_ORDER
    expected = np.fft.rfft(white[white.size - n :], norm="ortho")
    np.testing.assert_allclose(rows[0, 0], expected, atol=1e-8)


def test_band_edges__cover_a_frequency_range():
    edges = band_edges(1000, 4, (0.1, 0.3))
    assert (edges[0], edges[-1]) == (100, 301)


def test_hermitian_product__matches_matrix_product(rng):
    block = rng.standard_normal((3, 5, 7)) + 1j * rng.standard_normal((3, 5, 7))
    flat = block.reshape(3, -1)
    np.testing.assert_allclose(hermitian_product(block), flat @ flat.conj().T)
