"""Classes of answers by labels or by a classifier over texts that the store does not hold."""

import json

import numpy as np
import pytest

pytest.importorskip("sklearn")

from irrev.alignment.classifier import fit_classifier, load_classifier, save_classifier
from irrev.alignment.taxonomy import Taxonomy
from irrev.errors import FormatError, InputError
from irrev.readers import open_source
from irrev.semantic.embeddings import HashingEncoder
from storage.repository import Repository, StoreRef
from tasks.alignment import LABELS, classify, measure_stream

TAXONOMY = Taxonomy(classes=("aligned", "refusal"), intended="aligned")
WORDS = {"aligned": "here is the answer", "refusal": "sorry I cannot help"}
FIELDS = {"text": "text", "prompt": "prompt", "label": "label", "model": "model"}


@pytest.fixture
def labelled(tmp_path, rng):
    """Answers whose first words tell the class, and a classifier trained on half of them."""
    names = rng.choice(["aligned", "refusal"], size=300, p=[0.8, 0.2])
    rows = [
        {"text": f"{WORDS[k]} {i % 17}", "prompt": f"q{i}", "label": k, "model": "m"}
        for i, k in enumerate(names)
    ]
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    encoder = HashingEncoder()
    labels = np.array([TAXONOMY.classes.index(k) for k in names])
    model = fit_classifier(
        encoder.encode([r["text"] for r in rows[:150]]),
        labels[:150],
        [r["prompt"] for r in rows[:150]],
        taxonomy=TAXONOMY,
        encoder=encoder.name,
        encoder_sha256=encoder.sha256,
        rng=rng,
    )
    save_classifier(model, tmp_path / "model.npz")
    return path, labels, model


def config(path, **changes):
    reading = {"format": "auto", "fields": FIELDS, "model": "", "variants": {}, "stresses": {}}
    return {
        "taxonomy": {"classes": list(TAXONOMY.classes), "intended": "aligned", "acceptable": []},
        "watch": {"level": 0.95, "fdr": 0.05, "detectors": ["bayes_eprocess"]},
        "correct": True,
        "labels": {},
        "classifier": {"path": str(path.parent / "model.npz"), "encoder": "hashing"},
        "reading": reading,
        "selection": ["m", "unknown", "unknown"],
    } | changes


def stored(path):
    return open_source(path, kind="transcripts", fields=FIELDS)


def test_classify__reads_the_texts_again_and_finds_the_classes(labelled):
    path, labels, model = labelled
    turns = stored(path)
    assert "answer_text" not in turns
    classes, posteriors, confusion, version = classify(turns, config(path), TAXONOMY)
    assert np.mean(classes == labels) == 1.0  # the first words differ in every word
    assert posteriors.shape == (300, 2)
    assert confusion.sum() == 150
    assert version == model.version


def test_classify__labels_need_no_text(labelled):
    path, labels, _ = labelled
    classes, posteriors, _, version = classify(
        stored(path), config(path, classifier=None), TAXONOMY
    )
    np.testing.assert_array_equal(classes, labels)
    assert posteriors is None
    assert version == LABELS


def test_classify__refuses_a_source_that_has_changed(labelled):
    path, _, _ = labelled
    turns = stored(path)
    path.write_text(path.read_text() + "\n")
    with pytest.raises(InputError, match="changed since it was read"):
        classify(turns, config(path), TAXONOMY)


def test_measure_stream__gives_a_row_and_a_series_with_the_confusion_matrix(labelled, tmp_path):
    path, labels, model = labelled
    repo = Repository.open(StoreRef(f"memory:{tmp_path.name}", "main"), create=True)
    version = repo.commit({"inputs/transcripts/c": stored(path)}, message="x", metadata={})
    found = measure_stream(repo.ref, version, "inputs/transcripts/c", config(path), 0)
    row = found["row"]
    share = np.mean(labels == 0)
    # correction by a smoothed matrix of 150 texts: half a count a cell, two cells a row
    assert float(row["p_intended"][0]) == pytest.approx(share, abs=0.02)
    assert str(row["classifier_version"].item()) == model.version
    assert found["series"]["confusion"].shape == (2, 2)


def test_load_classifier__refuses_other_files_and_changed_ones(labelled, tmp_path):
    _, _, model = labelled
    assert load_classifier(tmp_path / "model.npz").version == model.version
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    with pytest.raises(FormatError, match="not a classifier"):
        load_classifier(tmp_path / "bad.npz")
    with np.load(tmp_path / "model.npz") as file:
        arrays = {k: file[k] for k in file.files}
    arrays["bias"] = arrays["bias"] + 1
    np.savez(tmp_path / "changed.npz", **arrays)
    with pytest.raises(FormatError, match="does not match its version"):
        load_classifier(tmp_path / "changed.npz")
