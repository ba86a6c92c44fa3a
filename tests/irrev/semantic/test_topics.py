import numpy as np
import pytest

from irrev.errors import FormatError, InputError, IrrevWarning
from irrev.semantic.topics import (
    TopicModel,
    default_n_topics,
    fit_topics,
    load_topics,
    memberships,
    save_topics,
)
from irrev.semantic.udib import Clusters, cluster


def blobs(rng, n_blobs=4, n=50, dimension=8, noise=0.02):
    """Unit vectors around orthogonal directions, and the direction of each."""
    label = np.repeat(np.arange(n_blobs), n)
    x = np.eye(dimension)[label] + noise * rng.normal(size=(n_blobs * n, dimension))
    return x / np.linalg.norm(x, axis=1, keepdims=True), label


def same_partition(a, b):
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


@pytest.mark.parametrize("method", ["kmeans", "udib"])
def test_fit_topics__finds_separate_directions(rng, method):
    x, label = blobs(rng)
    options = {"n_topics": 4} if method == "kmeans" else {}
    model = fit_topics(x, rng=rng, method=method, **options)
    assert same_partition(memberships(x, model).argmax(1), label)


def test_fit_topics__is_the_same_for_the_same_generator(rng):
    x, _ = blobs(rng, noise=0.3)
    first, second = (fit_topics(x, rng=np.random.default_rng(1)) for _ in range(2))
    assert first.model_id == second.model_id
    assert fit_topics(x, rng=np.random.default_rng(1), n_topics=5).model_id != first.model_id


def test_fit_topics__centres_are_the_means_of_their_sentences(rng):
    x, _ = blobs(rng, noise=0.3)
    model = fit_topics(x, rng=rng, n_topics=6)
    label = memberships(x, model).argmax(1)
    means = np.array([x[label == c].mean(0) for c in range(6)])
    assert model.centroids == pytest.approx(means, abs=1e-12)


def test_fit_topics__never_has_more_topics_than_distinct_sentences(rng):
    x = np.repeat(np.eye(3), 5, axis=0)
    assert fit_topics(x, rng=rng, n_topics=10).n_topics == 3


def test_memberships__soft_rows_sum_to_one_and_agree_with_hard_ones(rng):
    x, _ = blobs(rng, noise=0.2)
    model = fit_topics(x, rng=rng, n_topics=4)
    hard, soft = memberships(x, model), memberships(x, model, soft=True)
    assert soft.sum(1) == pytest.approx(1, abs=1e-12)
    assert (soft.argmax(1) == hard.argmax(1)).all()
    assert set(np.unique(hard)) == {0.0, 1.0}


@pytest.mark.parametrize("tau", [0.01, 0.3, 2.0])
def test_udib__moments_give_the_mean_distance_to_all_members(rng, tau):
    """|x - mu|^2 + V = mean squared distance; the cost sums it over members."""
    x, _ = blobs(rng, noise=0.3)
    label = rng.integers(0, 3, len(x))
    clusters = Clusters.of(x, label)
    total = 0.0
    for c in range(3):
        members = x[label == c]
        distance = ((members[:, None] - members) ** 2).sum(-1).mean(1)
        total += distance.sum() - tau * len(members) * np.log(len(members) / len(x))
    assert clusters.cost(tau) == pytest.approx(total, rel=1e-12)


def test_udib__a_merge_changes_the_cost_by_what_it_was_chosen_for(rng):
    x, _ = blobs(rng, noise=0.3)
    label = rng.integers(0, 4, len(x))
    merged = Clusters.of(x, label).merged(tau=5.0)
    assert merged is not None
    best = np.inf
    for c in range(4):
        for d in range(c):
            best = min(best, Clusters.of(x, np.where(label == c, d, label)).cost(5.0))
    assert merged.cost(5.0) == pytest.approx(best, rel=1e-12)


def test_udib__high_temperature_leaves_one_topic(rng):
    x, _ = blobs(rng)
    assert len(cluster(x, x[::50], tau=100.0).size) == 1


def test_udib__warns_when_no_temperature_gives_three_topics(rng):
    x, _ = blobs(rng, n_blobs=2, noise=0)
    with pytest.warns(IrrevWarning, match="at most 2 topics in 100 sentences; use k-means"):
        assert fit_topics(x, rng=rng, method="udib").n_topics == 2


def test_udib__warns_when_no_number_of_topics_holds(rng):
    """Directions without clusters merge one after another within a narrow range."""
    x = rng.normal(size=(200, 40))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    with pytest.warns(IrrevWarning, match="no number of topics that holds"):
        fit_topics(x, rng=rng, method="udib")


def test_topic_model__a_changed_number_is_noticed(rng):
    x, _ = blobs(rng)
    ds = fit_topics(x, rng=rng, encoder="e").to_dataset()
    assert TopicModel.from_dataset(ds).model_id == ds.attrs["topic_model_id"]
    ds["centroid"][0, 0] += 1e-9
    with pytest.raises(InputError, match=r"its numbers were changed; fit it again"):
        TopicModel.from_dataset(ds)


def test_save_topics__a_file_brings_the_same_model_back(rng, tmp_path):
    x, _ = blobs(rng)
    model = fit_topics(x, rng=rng, encoder="e")
    save_topics(model, tmp_path / "topics.npz")
    assert load_topics(tmp_path / "topics.npz").model_id == model.model_id


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"])
def test_load_topics__says_how_to_mend(tmp_path, content):
    (tmp_path / "topics.npz").write_bytes(content)
    with pytest.raises(FormatError, match=r"no topic model .*write one by save_topics"):
        load_topics(tmp_path / "topics.npz")


def test_load_topics__refuses_a_pickle_and_a_stranger(tmp_path):
    np.savez(tmp_path / "a.npz", attrs=np.array([{}], dtype=object))
    np.savez(tmp_path / "b.npz", x=np.ones(3))
    for name in ("a.npz", "b.npz"):
        with pytest.raises(FormatError, match="no topic model"):
            load_topics(tmp_path / name)


def test_default_n_topics__is_the_root_of_the_sentences_within_bounds():
    assert [default_n_topics(n) for n in (1, 9, 100, 400, 10**6)] == [3, 3, 10, 20, 20]


@pytest.mark.parametrize("bad", [np.empty((0, 3)), np.array([[np.nan, 1.0]]), np.ones(3)])
def test_fit_topics__says_how_to_mend(rng, bad):
    with pytest.raises(InputError, match="embed at least one sentence"):
        fit_topics(bad, rng=rng)


def test_fit_topics__udib_takes_no_number_of_topics(rng):
    with pytest.raises(InputError, match="drop n_topics=4"):
        fit_topics(np.eye(5), rng=rng, method="udib", n_topics=4)
