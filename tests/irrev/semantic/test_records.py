import numpy as np
import pytest

import irrev
from irrev.semantic.embeddings import HashingEncoder
from irrev.semantic.records import answer_table, faithfulness_row

TEXT = "The harbour of the town was dug in the year 1830. "
QUICK = {"draws": 20, "permutations": 39}


@pytest.fixture
def scored():
    answers = ["The harbour was dug in the year 1830.", "Nobody knows anything about whales."] * 6
    n = len(answers)
    group = [str(i // 2) for i in range(n)]
    ds = irrev.faithfulness(
        ["When was the harbour of the town dug?"] * n,
        [TEXT] * n,
        answers,
        encoder=HashingEncoder(),
        **QUICK,
    )
    return ds, group, ["right", "wrong"] * 6


def row_of(scored, **options):
    ds, group, label = scored
    rng = np.random.default_rng(0)
    return faithfulness_row(ds, group=group, label=label, rng=rng, draws=200, **options)


def test_faithfulness_row__means_lie_within_their_intervals(scored):
    row = row_of(scored)
    for name in ("sf_smooth", "sep_total", "support_lex"):
        mean = scored[0][name].to_numpy().mean()
        assert float(row[name][0]) == pytest.approx(mean, abs=1e-12)
        # Every question has the same two answers: resampling questions changes nothing.
        assert float(row[f"{name}_low"][0]) == pytest.approx(mean, abs=1e-12)
        assert float(row[f"{name}_high"][0]) == pytest.approx(mean, abs=1e-12)


def test_faithfulness_row__ranks_only_where_labels_of_support_are_named(scored):
    assert row_of(scored).sizes["ranking"] == 0
    row = row_of(scored, supported=["right"])
    ranked = zip(row["ranking_score"].values[0], row["ranking_pairing"].values[0], strict=True)
    value = dict(zip(ranked, row["auroc"].values[0], strict=True))
    assert value["support_lex", "all pairs"] == 1
    assert value["support_lex", "same question"] == 1
    pairs = row["ranking_pairs"].values[0]
    assert pairs[:3].tolist() == [36, 0, 6]  # seven against five words: never of like length


def test_faithfulness_row__answers_of_other_labels_take_no_part(scored):
    ds, group, label = scored
    refused = (ds, group, [*label[:10], "refusal", "refusal"])
    row = row_of(refused, supported=["right"], unsupported=["wrong"])
    assert row["ranking_pairs"].values[0][0] == 25
    assert row_of(refused, supported=["right"])["ranking_pairs"].values[0][0] == 35


def test_answer_table__carries_hashes_and_no_text(scored):
    ds, group, label = scored
    names = {n: ("triplet", np.array(["x"] * 12, dtype=object)) for n in (
        "model", "question_hash", "context_hash", "answer_hash"
    )}  # fmt: skip
    triplets = ds[[]].assign(names).assign(
        group=("triplet", np.array(group, dtype=object)),
        label=("triplet", np.array(label, dtype=object)),
        line=("triplet", np.arange(12)),
    )  # fmt: skip
    table = answer_table(ds, triplets)
    assert irrev.schema.validate(table, "semantic/faithfulness") is not None
    assert "harbour" not in str(table.to_dict())
