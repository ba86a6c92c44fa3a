"""The triplets flow on a few labelled answers, with the encoder that needs no model."""

import json

import pytest
import yaml

from flows.config import load
from irrev import schema
from irrev.semantic.embeddings import HashingEncoder
from storage.repository import Repository

pytestmark = pytest.mark.usefixtures("prefect_server")
CONTEXT = (
    "The harbour of the town was dug in the year 1830. The first ships came three years later. "
    "Most of them carried grain and timber to the north. The harbour was widened in 1901."
)


@pytest.fixture
def config(tmp_path):
    records = [
        {
            "id": f"q{i}",
            "question": f"When was the harbour of town {i} dug, and what did the ships carry?",
            "context": CONTEXT,
            "right_answer": f"The harbour of town {i} was dug in 1830. The ships carried grain.",
            "hallucinated_answer": "Whales are large mammals. Nobody has counted them all so far.",
        }
        for i in range(5)
    ]
    lines = [json.dumps(r) for r in records] + ['{"id": "no answer"}']
    (tmp_path / "answers.jsonl").write_text("\n".join(lines))
    path = tmp_path / "pipeline.yaml"
    source = {"kind": "triplets", "uri": "answers.jsonl", "supported": ["right"]}
    path.write_text(
        yaml.safe_dump(
            {
                "version": 1,
                "project": "test",
                "seed": 3,
                "store": {"url": "./results"},
                "compute": {"profile": "threads", "workers": 2},
                "sources": {"harbour": source},
                "flows": {
                    "triplets": {
                        "sources": ["harbour"],
                        "faithfulness": {"encoder": "hashing", "topics": {"n_topics": 4}},
                        "interval": {"draws": 100},
                        "null": {"draws": 99},
                    }
                },
            }
        )
    )
    return path


def test_triplets__scores_stores_and_reports_without_any_text(config, monkeypatch):
    from flows.page import write_page
    from flows.triplets import triplets

    asked = []
    encode = HashingEncoder.encode
    monkeypatch.setattr(
        HashingEncoder, "encode", lambda self, t: asked.extend(t) or encode(self, t)
    )
    summary = triplets(str(config))
    assert (summary.done, summary.failed, summary.quarantined) == (1, 0, 0)
    assert len(asked) == len(set(asked)) > 0
    pipeline = load(config)
    repo = Repository.open(pipeline.store_ref())
    ds = repo.read("results/triplets/faithfulness").load()
    ds = schema.validate(ds, "triplets/faithfulness")
    assert ds["n_triplets"].to_numpy().tolist() == [10]
    inputs = repo.read("inputs/triplets/harbour").load()
    assert inputs["bad_line"].to_numpy().tolist() == [6]
    answers = repo.read("results/triplets/answers/harbour/all").load()
    schema.validate(answers, "semantic/faithfulness")
    topics = repo.read("models/topics/harbour").load()
    schema.validate(topics, "semantic/topics")
    assert answers.attrs["topic_model_id"] == topics.attrs["topic_model_id"]
    assert "harbour was widened" not in str([inputs.to_dict(), answers.to_dict()])

    asked.clear()
    assert triplets(str(config)).done == 0
    text = config.read_text().replace("n_topics: 4", "n_topics: 5")
    config.write_text(text)
    assert triplets(str(config)).done == 1
    assert asked == []  # every sentence was embedded by the first run

    html = write_page(load(config), repo).read_text(encoding="utf-8")
    assert "Neither detects invented answers" in html
    assert "q0:hallucinated" in html
    assert "Whales" not in html


def test_triplets__files_that_come_later_are_scored_under_the_topics_of_their_source(
    config, monkeypatch
):
    from flows.triplets import triplets

    first = config.parent / "answers.jsonl"
    text = config.read_text().replace("uri: answers.jsonl", "uri: '*.jsonl'")
    config.write_text(text)
    assert triplets(str(config)).done == 1
    repo = Repository.open(load(config).store_ref())
    before = repo.read("models/topics/harbour").attrs["topic_model_id"]
    asked = []
    encode = HashingEncoder.encode
    monkeypatch.setattr(
        HashingEncoder, "encode", lambda self, t: asked.extend(t) or encode(self, t)
    )
    changed = first.read_text().replace("Whales are large", "Herrings are small")
    (config.parent / "later.jsonl").write_text(changed)
    summary = triplets(str(config))
    assert (summary.done, summary.up_to_date) == (1, 1)
    assert asked == ["Herrings are small mammals."]  # the other sentences are in the store
    ids = repo.read("results/triplets/faithfulness")["topic_model_id"].values.tolist()
    assert ids == [before, before]
    vectors = repo.read("results/triplets/embeddings/harbour/later/all")
    assert vectors.sizes["text"] == 1

    data = yaml.safe_load(text)
    data["flows"]["triplets"]["faithfulness"]["topics"]["edition"] = 2
    config.write_text(yaml.safe_dump(data))
    assert triplets(str(config)).done == 2
    after = repo.read("models/topics/harbour").attrs["topic_model_id"]
    assert after != before


def test_triplets__a_changed_topic_file_is_a_reason_to_run(config):
    import numpy as np

    from flows.plan import plan_flow
    from flows.specs import SPECS
    from flows.triplets import triplets
    from irrev.semantic.topics import fit_topics, save_topics

    def save(seed):
        vectors = HashingEncoder().encode([f"word {i} and more" for i in range(20)])
        model = fit_topics(
            vectors, rng=np.random.default_rng(seed), n_topics=3, encoder=HashingEncoder().name
        )
        save_topics(model, config.parent / "topics.npz")
        return model.model_id

    config.write_text(config.read_text().replace("n_topics: 4", "model: topics.npz"))
    model_id = save(0)
    assert triplets(str(config)).done == 1
    repo = Repository.open(load(config).store_ref())
    assert repo.read("results/triplets/faithfulness")["topic_model_id"].item() == model_id
    assert not plan_flow(load(config), SPECS["triplets"], repo).todo
    assert save(1) != model_id
    (planned,) = plan_flow(load(config), SPECS["triplets"], repo).todo
    assert "files" in planned.reason
