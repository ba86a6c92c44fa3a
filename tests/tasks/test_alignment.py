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
    reading["labels"] = {}
    return {
        "keep_vectors": True,
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


@pytest.fixture
def store(tmp_path):
    return Repository.open(StoreRef(f"memory:{tmp_path.name}", "main"), create=True)


@pytest.fixture
def asked(monkeypatch):
    """Texts that the encoder was asked for."""
    texts = []
    encode = HashingEncoder.encode
    monkeypatch.setattr(
        HashingEncoder, "encode", lambda self, t: texts.extend(t) or encode(self, t)
    )
    return texts


def every(turns):
    return np.ones(turns.sizes["answer"], dtype=bool)


def test_classify__reads_the_texts_again_and_finds_the_classes(labelled, store):
    path, labels, model = labelled
    turns = stored(path)
    assert "answer_text" not in turns
    found = classify(store.ref, turns, every(turns), config(path), TAXONOMY)
    assert np.mean(found.classes == labels) == 1.0  # the first words differ in every word
    assert found.posteriors.shape == (300, 2)
    assert found.confusion.sum() == 150
    assert found.version == model.version


def test_classify__encodes_only_what_is_asked_for_each_text_once(labelled, store, asked):
    path, labels, _ = labelled
    turns = stored(path)
    some = np.arange(300) % 3 == 0
    found = classify(store.ref, turns, some, config(path), TAXONOMY)
    np.testing.assert_array_equal(found.classes[some], labels[some])
    assert (found.classes[~some] == -1).all()
    assert np.isnan(found.posteriors[~some]).all()
    texts = {f"{WORDS[TAXONOMY.classes[k]]} {i % 17}" for i, k in enumerate(labels) if some[i]}
    assert sorted(asked) == sorted(texts)


def test_classify__labels_need_no_text(labelled, store):
    path, labels, _ = labelled
    turns = stored(path)
    found = classify(store.ref, turns, every(turns), config(path, classifier=None), TAXONOMY)
    np.testing.assert_array_equal(found.classes, labels)
    assert found.posteriors is None
    assert found.version == LABELS


def test_classify__refuses_a_source_that_has_changed(labelled, store):
    path, _, _ = labelled
    turns = stored(path)
    path.write_text(path.read_text() + "\n")
    with pytest.raises(InputError, match="changed since it was read"):
        classify(store.ref, turns, every(turns), config(path), TAXONOMY)


def test_measure_stream__gives_a_row_and_a_series_with_the_confusion_matrix(labelled, store):
    path, labels, model = labelled
    version = store.commit({"inputs/transcripts/c": stored(path)}, message="x", metadata={})
    args = (version, "inputs/transcripts/c", "", config(path), "", 0, "cpu")
    found = measure_stream(store.ref, *args)
    row, series = found["row"], found["series"]
    share = np.mean(labels == 0)
    # correction by a smoothed matrix of 150 texts: half a count a cell, two cells a row
    assert float(row["p_intended"][0]) == pytest.approx(share, abs=0.02)
    assert str(row["classifier_version"].item()) == model.version
    assert series["confusion"].shape == (2, 2)
    assert not series["unidentified"].any()
    assert series.attrs["corrected"] == 1
    plain = measure_stream(store.ref, *args[:3], config(path, correct=False), *args[4:])
    assert plain["series"].attrs["corrected"] == 0
    assert float(plain["row"]["p_intended"][0]) == pytest.approx(share)


def test_measure_stream__a_text_is_embedded_once_whatever_file_it_is_in(labelled, store, asked):
    """The vectors that one file leaves in the store serve another one; only its own are added."""
    path, _, _ = labelled
    other = path.with_name("other.jsonl")
    new = {"text": "something new", "prompt": "q", "label": "aligned", "model": "m"}
    other.write_text(path.read_text() + json.dumps(new) + "\n")
    writes = {"inputs/transcripts/c": stored(path), "inputs/transcripts/d": stored(other)}
    version = store.commit(writes, message="x", metadata={})
    first = measure_stream(
        store.ref, version, "inputs/transcripts/c", "", config(path), "", 0, "cpu"
    )
    place = "results/transcripts/embeddings/c/m"
    store.commit({place: first["embeddings"]}, message="y", metadata={})
    asked.clear()
    second = measure_stream(
        store.ref, version, "inputs/transcripts/d", "", config(path), "", 0, "cpu"
    )
    assert asked == ["something new"]
    assert second["embeddings"].sizes["text"] == 1


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
