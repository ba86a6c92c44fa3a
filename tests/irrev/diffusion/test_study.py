"""Runs cut into batches: any cut gives the same result, and misfits are refused."""

import functools
import operator

import numpy as np
import pytest

from irrev.diffusion.entropy_sums import EntropySums
from irrev.diffusion.study import open_study, study_sums
from irrev.errors import InputError
from irrev.simulate.mixtures import hierarchy_mixture
from tests.irrev.diffusion.test_records import DATA, MODEL, OPTIONS, samples

SETTINGS = {k: v for k, v in OPTIONS.items() if k not in ("schedules", "trace_states")}
FOUR = hierarchy_mixture()
FOUR_CLASSES = {
    "kind": "mixture", "weights": FOUR.weights.tolist(), "means": FOUR.means.tolist(), "cov": 0.25,
}  # fmt: skip


def make(ds=None, piece=DATA, **change):
    return open_study(ds, piece=piece, **SETTINGS | change)


def test_study_sums__parts_in_order_are_the_whole_bit_by_bit():
    """In one go, in three parts, and through storage."""
    study = make(samples(100), batch=20)
    whole = study_sums(study, range(5))
    parts = [study_sums(study, r) for r in (range(0, 1), range(1, 2), range(2, 5))]
    stored = [EntropySums.from_dataset(p.to_dataset()) for p in parts]
    assert len(study.batches) == 5
    # Another association of the same sum: rounding only.
    joined = functools.reduce(operator.add, stored)
    np.testing.assert_allclose(joined.sums, whole.sums, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(joined.losses, whole.losses, rtol=1e-12)
    for one, two in zip(parts, stored, strict=True):
        assert np.array_equal(one.sums, two.sums)
        assert np.array_equal(one.losses, two.losses)


def test_open_study__prompts_have_batches_of_their_own():
    """Two prompts of 30 paths in batches of 20: four batches, (prompt + null) x levels x paths."""
    generate = {"states": "generate", "guidance": 2.0}
    study = make(None, generate, against="unconditional", n_paths=30, batch=20, partitions={})
    assert [(b.start, b.stop) for b in study.batches] == [(0, 20), (20, 30), (30, 50), (50, 60)]
    sums = study_sums(study, range(4))
    assert sums.n_rows == 2 * 32 * 60
    np.testing.assert_allclose(sums.sums[0, 0, :, 0], [30, 30])
    assert [q.name for q in study.questions] == ["0", "1"]


def test_open_study__asks_of_the_named_classes_only():
    study = make(
        None, {"states": "generate", "guidance": 1.0}, model=FOUR_CLASSES, classes=[3, 0],
        n_paths=10, partitions={},
    )  # fmt: skip
    assert study.conditions == [0, 3]
    assert study.questions[0].sets == ((0,), (3,))
    assert study_sums(study, range(1)).n_rows == 3 * 32 * 10


def test_open_study__nested_sets_are_one_question_a_node():
    tree = {"side": {"right": {"up": [0], "down": [1]}, "left": [2, 3]}}
    study = make(
        None, {"states": "generate", "guidance": 1.0}, model=FOUR_CLASSES, partitions=tree
    )
    assert [q.name for q in study.questions] == ["class", "side", "right"]
    assert len(study.labels) == 300


def test_open_study__empirical_model_may_learn_from_rows_of_its_own():
    study = make(samples(40), model={"kind": "empirical"}, reference=samples(200))
    assert len(study.labels) == 40
    assert len(study.denoiser.denoiser.means) == 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": [0, 7]}, r"classes \[0, 7\] of a model of 2; name indices 0..1"),
        ({"partitions": {"q": {"a": [0], "b": [5]}}}, r"partitions name the classes \[5\]"),
        ({"classes": [1], "partitions": {}}, "say `against: unconditional`"),
        (
            {"model": {**MODEL, "means": [[0.0] * 4] * 70, "weights": [1.0] * 70}},
            "the model has 70 classes; name those",
        ),
    ],
)
def test_open_study__says_what_does_not_fit(change, message):
    with pytest.raises(InputError, match=message):
        make(samples(20), **change)


def test_open_study__data_need_samples():
    with pytest.raises(InputError, match="no samples; name a source"):
        make(None)
