import numpy as np
import pytest

import irrev
from irrev.errors import InputError
from irrev.semantic.embeddings import HashingEncoder, embed
from irrev.semantic.faithfulness import smooth_divergence
from irrev.semantic.sentences import split_sentences
from irrev.semantic.topics import fit_topics

QUICK = {"draws": 20, "permutations": 19}
CONTEXT = (
    "The harbour of the town was dug in the year 1830. The first ships came three years later. "
    "Most of them carried grain and timber to the north. The harbour was widened in 1901."
)
QUESTIONS = ["When was the harbour of the town dug?", "What did most of the ships carry north?"]
ANSWERS = ["The harbour of the town was dug in 1830.", "Whales are large mammals of the open sea."]


def score(question=QUESTIONS, answer=ANSWERS, **options):
    context = [CONTEXT] * len(question)
    return irrev.faithfulness(
        question, context, answer, encoder=HashingEncoder(), **(QUICK | options)
    )


def test_faithfulness_from_counts__gives_all_numbers_of_the_released_triplets(released):
    ds = irrev.faithfulness_from_counts(
        released.question, released.context, released.answer, **QUICK
    )
    assert ds["sf_restricted"].to_numpy()[released.group == "A"].mean() == pytest.approx(
        0.9056, abs=5e-5
    )
    assert ds["prior_dominated"].all()
    assert (ds["sf_exact"] == 0).all()
    assert ds["sf_geo"].to_numpy() == pytest.approx(ds["sf_smooth"].to_numpy(), abs=1e-9)
    total = ds["sep_system"] + ds["sep_medium"]
    assert total.to_numpy() == pytest.approx(ds["sep_total"].to_numpy(), abs=1e-12)
    assert ds["sep_total"].to_numpy() == pytest.approx(ds["sep_independent"].to_numpy(), abs=1e-9)
    assert (ds["off_question"] + ds["kept_mass"]).to_numpy() == pytest.approx(1, abs=1e-12)
    assert "does not detect invented answers" in ds.attrs["fine_print"]


def test_faithfulness_from_counts__company_changes_no_number(released):
    texts = (released.question, released.context, released.answer)
    ids = [f"t{i}" for i in range(10)]
    whole = irrev.faithfulness_from_counts(*texts, ids=ids, **QUICK)
    part = irrev.faithfulness_from_counts(*(t[4:6] for t in texts), ids=ids[4:6], **QUICK)
    for name in ("p_perm", "excess", "sf_post_low", "sf_boot_high", "d_geo", "sep_total"):
        assert part[name].to_numpy() == pytest.approx(whole[name].to_numpy()[4:6], abs=1e-9)


def test_faithfulness_from_counts__empty_texts_have_a_reason_and_no_number():
    q, c, a = [[1, 2], [0, 0], [1, 1]], [[1, 1], [1, 1], [0, 0]], [[2, 2], [1, 1], [1, 3]]
    ds = irrev.faithfulness_from_counts(q, c, a, **QUICK)
    assert ds["reason"].values.tolist() == [
        "",
        "no sentence in question",
        "no sentence in context",
    ]
    assert np.isnan(ds["sf_smooth"].values).tolist() == [False, True, False]
    assert np.isnan(ds["p_perm"].values).tolist() == [False, True, False]
    assert np.isnan(ds["sep_independent"].values).tolist() == [False, False, True]
    assert np.isnan(ds["ungrounded"].values).tolist() == [False, False, True]


def test_faithfulness_from_counts__flags_what_cannot_tell_much():
    ds = irrev.faithfulness_from_counts([[3], [3]], [[1], [1]], [[1], [4]], **QUICK)
    assert ds["uninformative"].all()
    assert ds["short_answer"].values.tolist() == [True, False]
    assert ds["sf_smooth"].values.tolist() == [1.0, 1.0]


def test_faithfulness__off_topic_answers_score_lower_and_are_not_supported():
    ds = score(seed=3)
    assert ds["support_lex"].values[0] == 1
    assert ds["support_lex"].values[1] == 0
    assert ds["support_cos"].values[0] > ds["support_cos"].values[1]
    assert ds["n_words"].sel(text="answer").values.tolist() == [9, 8]


def test_faithfulness__a_stored_topic_model_makes_calls_comparable():
    encoder = HashingEncoder()
    flat = [s for t in [CONTEXT, *QUESTIONS, *ANSWERS] for s in split_sentences(t)]
    vectors = embed(flat, encoder)
    topics = fit_topics(
        vectors.lookup(flat), rng=np.random.default_rng(0), n_topics=4, encoder=encoder.name
    )
    whole = score(topics=topics, ids=["a", "b"])
    alone = score(QUESTIONS[1:], ANSWERS[1:], topics=topics, known=vectors, ids=["b"])
    for name in ("sf_smooth", "sf_geo", "sep_total", "p_perm", "support_cos"):
        assert alone[name].values[0] == pytest.approx(whole[name].values[1], abs=1e-9)
    assert alone.attrs["topic_model_id"] == topics.model_id
    assert alone.attrs["encoder_sha256"] == encoder.sha256


def test_faithfulness__soft_topics_are_resampled_by_sentence():
    ds = score(assignment="soft")
    counts = ds["counts"].to_numpy()
    assert counts.sum(2) == pytest.approx(ds["n_sentences"].to_numpy(), abs=1e-9)
    assert (counts != np.rint(counts)).any()
    assert ds["d_smooth"].to_numpy() == pytest.approx(
        smooth_divergence(counts[:, 0], counts[:, 2]), abs=1e-12
    )
    assert ((ds["p_perm"] > 0) & (ds["p_perm"] <= 1)).all()


def test_faithfulness__one_triplet_may_be_given_as_plain_texts():
    ds = irrev.faithfulness(QUESTIONS[0], CONTEXT, ANSWERS[0], encoder=HashingEncoder(), **QUICK)
    assert ds.sizes["triplet"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0}, r"alpha=0, draws=20"),
        ({"ids": ["a"]}, r"1 ids for 2 triplets"),
        ({"eps": -1.0}, r"eps=-1\.0 must be above 0"),
    ],
)
def test_faithfulness__says_how_to_mend(options, message):
    with pytest.raises(InputError, match=message):
        score(**options)


def test_faithfulness__refuses_topics_of_another_encoder():
    topics = fit_topics(np.eye(4), rng=np.random.default_rng(0), encoder="other")
    with pytest.raises(InputError, match="fitted on other, the encoder is hashing-64"):
        score(topics=topics)


def test_faithfulness_from_counts__refuses_parts_of_sentences():
    with pytest.raises(InputError, match=r"question has 0\.5 sentences.*whole numbers"):
        irrev.faithfulness_from_counts([0.5, 1], [1, 1], [1, 1])
