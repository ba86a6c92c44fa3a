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
    schema.validate(repo.read("results/triplets/topics/harbour/all").load(), "semantic/topics")
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
