import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irrev.ep.whitening import MAX_ORDER, fit_whitening, summarise_lags
from irrev.errors import InputError
from irrev.simulate.hidden_drive import SharedDrive, simulate_shared_drive


def autoregression(poles, n, rng):
    system = SharedDrive(0.0, poles, (1.0,) * len(poles), (1.0,) * len(poles), 1.0, 0.0)
    return simulate_shared_drive(system, n, rng=rng)


def test_fit_whitening__recovers_a_first_order_filter(rng):
    """Standard error of an AR(1) coefficient: sqrt((1 - a^2) / n)."""
    x = autoregression((0.9, -0.5), 50_000, rng)
    fit = fit_whitening(summarise_lags(x))
    assert fit.order.tolist() == [1, 1]
    for c, a in enumerate((0.9, -0.5)):
        error = 4 * np.sqrt((1 - a**2) / 50_000)
        assert fit.filters[c, 1] == pytest.approx(-a, abs=error)
        assert fit.correlation_time[c] == pytest.approx(-1 / np.log(abs(a)), rel=error / 0.09)


def test_fit_whitening__solves_the_yule_walker_equations(rng):
    """Independent route: the Toeplitz system with numpy, at the order that was chosen."""
    x = np.cumsum(rng.standard_normal((3000, 1)), axis=0) * 0.1 + rng.standard_normal((3000, 1))
    fit = fit_whitening(summarise_lags(x))
    y, p = x[:, 0] - x.mean(), int(fit.order[0])
    r = np.array([y[: y.size - k] @ y[k:] for k in range(p + 1)]) / y.size
    toeplitz = r[np.abs(np.subtract.outer(np.arange(p), np.arange(p)))]
    assert 0 < p <= MAX_ORDER
    np.testing.assert_allclose(-fit.filters[0, 1 : p + 1], np.linalg.solve(toeplitz, r[1:]))


@given(cuts=st.lists(st.integers(20, 480), min_size=1, max_size=4, unique=True))
def test_summarise_lags__chunks_add_to_the_segments_of_the_whole(cuts):
    x = np.random.default_rng(3).standard_normal((500, 3)) + np.array([5.0, -3.0, 1e3])
    bounds = [0, *sorted(cuts), 500]
    ranges = np.stack([bounds[:-1], bounds[1:]], axis=1)
    whole = fit_whitening(summarise_lags(x, segments=ranges))
    parts = [summarise_lags(x[a:b]) for a, b in ranges]
    for order in (parts, parts[::-1]):
        total = order[0]
        for part in order[1:]:
            total = total + part
        merged = fit_whitening(total)
        np.testing.assert_allclose(merged.centre, whole.centre, rtol=1e-12)
        np.testing.assert_allclose(merged.filters, whole.filters, atol=1e-9)
        assert merged.smallest_eigenvalue == pytest.approx(whole.smallest_eigenvalue, rel=1e-9)


def test_fit_whitening__constant_channel_is_marked_despite_rounding():
    x = np.stack([np.full(1000, 0.1), np.arange(1000) % 7.0], axis=1)
    assert fit_whitening(summarise_lags(x)).constant.tolist() == [True, False]


def test_fit_whitening__dependent_channels_show_in_the_smallest_eigenvalue(rng):
    x = rng.standard_normal((4000, 4))
    referenced = x - x.mean(axis=1, keepdims=True)
    assert fit_whitening(summarise_lags(x)).smallest_eigenvalue > 0.8
    assert abs(fit_whitening(summarise_lags(referenced)).smallest_eigenvalue) < 1e-12


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_summarise_lags__names_the_first_missing_value(value, rng):
    x = rng.standard_normal((100, 3))
    x[42, 1] = value
    with pytest.raises(InputError, match="channel 1 is not finite at sample 42"):
        summarise_lags(x)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [([[5, 5]], "empty"), ([[0, 50], [40, 60]], "overlap"), ([[0, 200]], "in 100 samples")],
)
def test_summarise_lags__refuses_bad_segments(ranges, message, rng):
    with pytest.raises(InputError, match=message):
        summarise_lags(rng.standard_normal((100, 2)), segments=ranges)
