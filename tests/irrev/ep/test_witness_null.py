import pytest

from irrev.ep.witness import witness
from irrev.ep.witness_null import (
    detection_threshold,
    noncentrality,
    required_samples,
    witness_power,
)
from irrev.errors import InputError
from irrev.simulate.hidden_drive import SharedDrive, simulate_shared_drive

NULL = SharedDrive(0.0, (0.8, 0.8), (1.0, 1.0), (1.0, 1.0), 1.0, 0.8)
DRIVEN = SharedDrive(0.3, (0.8, 0.8), (1.0, 1.0), (1.0, 1.0), 1.0, 0.8)


@pytest.mark.parametrize(
    ("n_bands", "expected"),
    [
        (8, (11.159, 19.268, 28.452)),
        (16, (15.023, 25.186, 36.372)),
        (32, (20.472, 33.491, 47.448)),
        (64, (28.173, 45.191, 63.007)),
    ],
)
def test_noncentrality__matches_the_printed_table(n_bands, expected):
    for power, value in zip((0.5, 0.8, 0.95), expected, strict=True):
        assert noncentrality(power, n_bands=n_bands) == pytest.approx(value, abs=5e-4)


def test_required_samples__inverts_the_power():
    n = required_samples(0.002, power=0.9)
    assert witness_power(0.002, n) == pytest.approx(0.9, abs=1e-3)
    assert witness_power(0.0, 1000) == pytest.approx(0.05, abs=1e-9)


def test_detection_threshold__falls_with_the_fourth_root_of_the_length():
    ratio = detection_threshold(1000, 17.6) / detection_threshold(16_000, 17.6)
    assert ratio == pytest.approx(2.0, rel=1e-12)


@pytest.mark.parametrize(("W", "power"), [(0.0, 0.8), (0.1, 0.01), (0.1, 1.0)])
def test_required_samples__refuses_the_impossible(W, power):
    with pytest.raises(InputError, match="use W > 0"):
        required_samples(W, power=power)


@pytest.mark.parametrize("kind", ["shift", "phase"])
def test_surrogate_p__agrees_with_the_exact_law_for_gaussian_data(kind, rng):
    """Over ten nulls with 199 draws: both are uniform, and close to each other, the standard
    error of a surrogate p being sqrt(p (1 - p) / 199) <= 0.036, and twice that for the shifts,
    whose draws from one record are few in effect."""
    for _ in range(10):
        x = simulate_shared_drive(NULL, 8192, rng=rng)
        ds = witness(x, fs=1.0, null=kind, draws=199, seed=3)
        assert float(ds["p_surrogate"][0]) == pytest.approx(float(ds["p"][0]), abs=8 * 0.036)


@pytest.mark.parametrize("kind", ["shift", "phase"])
def test_surrogate_p__finds_the_drive_at_its_smallest_value(kind, rng):
    x = simulate_shared_drive(DRIVEN, 8192, rng=rng)
    ds = witness(x, fs=1.0, null=kind, draws=99)
    assert float(ds["p_surrogate"][0]) == 0.01
    assert "surrogate_disagrees" not in ds["status"].to_numpy()[0]


def test_surrogate_p__is_the_same_for_the_same_seed(rng):
    x = simulate_shared_drive(NULL, 2048, rng=rng)
    a, b = (witness(x, fs=1.0, null="phase", draws=99, seed=5)["p_surrogate"] for _ in range(2))
    assert float(a[0]) == float(b[0])


def test_surrogate_p__shifts_refuse_segments_and_short_records(rng):
    x = simulate_shared_drive(NULL, 2000, rng=rng)
    with pytest.raises(InputError, match='use null="phase"'):
        witness(x, fs=1.0, epoch_length=1000, null="shift")
    with pytest.raises(InputError, match="shifts must exceed"):
        witness(x[:300], fs=1.0, null="shift")


def test_surrogate_p__phases_work_in_segments(rng):
    x = simulate_shared_drive(DRIVEN, 8000, rng=rng)
    ds = witness(x, fs=1.0, segments=[(0, 3000), (3000, 8000)], null="phase", draws=99)
    assert float(ds["p_surrogate"][0]) == 0.01
