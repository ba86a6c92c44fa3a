"""S(t), its companions and their intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irrev.alignment.ethical_entropy import assign_bins, entropy_reduction, ethical_entropy
from irrev.alignment.taxonomy import DEFAULT_TAXONOMY, Taxonomy, map_labels
from irrev.entropy import entropy
from irrev.errors import InputError

LAW = np.array([0.9, 0.04, 0.03, 0.02, 0.01])
COUNTS = np.array([12, 3, 2, 2, 1])


def one_bin(rng, **options):
    classes = np.repeat(np.arange(5), COUNTS)
    return ethical_entropy(classes, np.zeros(20, dtype=int), rng=rng, **options).isel(bin=0)


def test_ethical_entropy__posterior_interval_matches_monte_carlo(rng):
    """Quantiles of 4e5 draws are 0.857 and 1.472; ours of n draws err by their own s.e."""
    n = 20_000
    ds = one_bin(rng, n_draws=n)
    # s.e. of a 2.5 % quantile: sqrt(q (1 - q) / n) / density, normal with sd 0.158
    error = np.sqrt(0.025 * 0.975 / n) * 0.158 / 0.0584
    assert float(ds["entropy"]) == pytest.approx(1.202395, abs=5e-7)
    assert float(ds["entropy_low"]) == pytest.approx(0.857, abs=4 * error + 0.001)
    assert float(ds["entropy_high"]) == pytest.approx(1.472, abs=4 * error + 0.001)


def test_ethical_entropy__cannot_see_which_class_so_companions_do(rng):
    """A model that always deceives has the lowest S, no intended share, and is far from p_ref."""
    classes = np.full(200, DEFAULT_TAXONOMY.classes.index("deception"))
    ds = ethical_entropy(
        classes, np.zeros(200, dtype=int), reference=1000 * LAW, estimator="plugin", rng=rng
    ).isel(bin=0)
    assert float(ds["entropy"]) == 0
    assert float(ds["p_intended"]) == 0
    assert float(ds["d_align"]) > np.log(1 / 0.03)


def test_ethical_entropy__bins_below_the_minimum_have_no_value(rng):
    ds = ethical_entropy([0] * 19 + [1] * 20, [0] * 19 + [1] * 20, rng=rng)
    assert np.isnan(ds["entropy"][0])
    assert np.isfinite(ds["entropy"][1])
    assert ds["n"].values.tolist() == [19, 20]


@pytest.mark.parametrize("estimator", ["dirichlet", "nsb", "miller_madow", "plugin"])
def test_ethical_entropy__relabelling_classes_leaves_s(estimator, rng):
    order = np.array([3, 0, 4, 1, 2])
    classes = np.repeat(np.arange(5), COUNTS)
    bins = np.zeros(20, dtype=int)
    one = ethical_entropy(classes, bins, estimator=estimator, rng=rng)["entropy"]
    other = ethical_entropy(order[classes], bins, estimator=estimator, rng=rng)["entropy"]
    assert float(one[0]) == pytest.approx(float(other[0]), abs=1e-9)


def test_ethical_entropy__bin_size_alone_moves_the_plugin_and_not_at_equal_sizes(rng):
    """From 50 to 20 a bin the plug-in falls by about (K-1)/2 (1/20 - 1/50) = 0.06."""
    draws = rng.choice(5, size=(400, 100), p=[0.6, 0.2, 0.1, 0.06, 0.04])
    bins = {n: np.repeat(np.arange(400), n) for n in (20, 50)}

    def mean(n, rows):
        ds = ethical_entropy(rows.ravel(), bins[n], estimator="plugin", n_draws=0, rng=rng)[
            "entropy"
        ]
        return ds.values.mean(), ds.values.std() / 20

    (short, e1), (full, e2) = mean(20, draws[:, :20]), mean(50, draws[:, :50])
    assert short - full == pytest.approx(-0.065, abs=4 * np.hypot(e1, e2) + 0.01)
    (again, e3) = mean(20, draws[:, 50:70])
    assert short - again == pytest.approx(0, abs=4 * np.hypot(e1, e3))


def test_ethical_entropy__correction_covers_the_truth(rng):
    """Labels with 20 % errors: the corrected interval covers S, the raw one does not."""
    C = 0.75 * np.eye(5) + 0.05
    cover = 0
    for _ in range(30):
        true = rng.choice(5, size=400, p=LAW)
        seen = np.array([rng.choice(5, p=C[k]) for k in true])
        table = np.stack([rng.multinomial(200, row) for row in C])
        ds = ethical_entropy(
            seen,
            np.zeros(400, dtype=int),
            confusion=table,
            estimator="plugin",
            n_draws=200,
            rng=rng,
        ).isel(bin=0)
        cover += float(ds["entropy_low"]) <= float(entropy(LAW)) <= float(ds["entropy_high"])
        raw = ethical_entropy(seen, np.zeros(400, dtype=int), estimator="plugin", rng=rng)
        assert float(raw["entropy_low"][0]) > float(entropy(LAW))
    # percentile intervals next to the corner of the simplex: 95 % nominal, at least 80 % here
    assert cover >= 24


def test_ethical_entropy__splits_doubt_of_the_classifier_from_spread_of_behaviour(rng):
    P = np.repeat(np.eye(5)[[0, 1]], 20, axis=0)  # sure of either class
    ds = ethical_entropy(P.argmax(axis=1), np.zeros(40, dtype=int), posteriors=P, rng=rng)
    assert float(ds["doubt"][0]) == 0
    assert float(ds["spread"][0]) == pytest.approx(np.log(2))


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=200), st.integers(1, 30))
def test_assign_bins__fixed_count_fills_all_bins_but_the_last(times, size):
    filled = np.bincount(assign_bins(times, size=size))
    assert (filled[:-1] == size).all()
    assert 1 <= filled[-1] <= size


def test_assign_bins__no_time_means_no_bin():
    assert assign_bins([np.nan, 5.0, 65.0], by="duration", size=60).tolist() == [-1, 0, 1]


def test_entropy_reduction__of_a_tuned_model(rng):
    """Large counts: R tends to 1 - S_tuned / S_base."""
    base, tuned = rng.multinomial(5000, [0.2] * 5, 4), rng.multinomial(5000, LAW, 4)
    value, low, high = entropy_reduction(base, tuned, rng=rng)
    expected = 1 - float(entropy(LAW)) / np.log(5)
    # delta method: sd of ln p is below 1.6 for both laws, four bins of 5,000
    assert value == pytest.approx(expected, abs=4 * 1.6 / np.sqrt(20_000))
    assert low < value < high


def test_map_labels__free_text_goes_to_the_unmapped_without_its_words():
    found = map_labels(["1_full", "secret words"], {"1_full": "aligned"})
    assert found.index.tolist() == [0, -1]
    assert found.unmapped == {1: "label of 12 characters is not in the label map"}


def test_taxonomy__names_a_wrong_class():
    with pytest.raises(InputError, match="evil is not among the classes"):
        Taxonomy(intended="evil")


def test_ethical_entropy__refuses_classes_outside_the_taxonomy(rng):
    with pytest.raises(InputError, match="classes below 5"):
        ethical_entropy([5], [0], rng=rng)


@pytest.mark.parametrize(
    ("classes", "bins", "name"),
    [
        ([0.0, np.nan], [0, 0], "classes"),
        (["aligned"], [0], "classes"),
        ([0, 1], [0, 0.5], "bins"),
    ],
)
def test_ethical_entropy__refuses_what_is_no_whole_number(classes, bins, name, rng):
    with pytest.raises(InputError, match=f"{name} must be whole numbers"):
        ethical_entropy(classes, bins, rng=rng)
