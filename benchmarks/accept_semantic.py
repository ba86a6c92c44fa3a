"""Do faithfulness, grounding or entropy production rank labelled answers? HaluEval, FinanceBench.

Run from the repository: python benchmarks/accept_semantic.py DATA_FOLDER [--first N]. DATA_FOLDER
holds halueval_qa.jsonl.gz and financebench_qca_first100.jsonl.gz. Prints AUROC with 95 % intervals
over questions: all pairs, pairs of like length, pairs on one question, both. Prints no text.
"""

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np

from irrev.semantic.embeddings import Embeddings, embed, minilm
from irrev.semantic.ranking import rank_labels
from irrev.semantic.scoring import faithfulness
from irrev.semantic.sentences import split_sentences
from irrev.semantic.topics import fit_topics

SCORES = {  # name -> sign: larger means better supported
    "sf_smooth": 1,
    "sf_restricted": 1,
    "kept_mass": 1,
    "sf_geo": 1,
    "p_perm": 1,
    "kl_answer_context": -1,
    "sep_independent": -1,
    "sep_total": -1,
    "ungrounded": -1,
    "support_cos": 1,
    "support_lex": 1,
}


def rows_of(path: Path) -> list[dict]:
    with gzip.open(path, "rt") as stream:
        return [json.loads(line) for line in stream]


def halueval(folder: Path, first: int) -> list[dict]:
    return [
        {
            "id": f"{row['id']}-{kind}",
            "group": row["id"],
            "question": row["question"],
            "context": row["context"],
            "answer": row[f"{kind}_answer"],
            "supported": kind == "right",
            "model": "",
        }
        for row in rows_of(folder / "halueval_qa.jsonl.gz")[:first]
        for kind in ("right", "hallucinated")
    ]


def financebench(folder: Path, first: int) -> list[dict]:
    return [
        {
            "id": f"{row['id']}-{answer['model']}-{answer['mode']}",
            "group": row["id"],
            "question": row["question"],
            "context": row["context"],
            "answer": answer["answer"],
            "supported": answer["label"] == "Correct Answer",
            "model": answer["model"],
        }
        for row in rows_of(folder / "financebench_qca_first100.jsonl.gz")[:first]
        for answer in row["answers"]
        if answer["label"] in ("Correct Answer", "Incorrect Answer")
    ]


def evaluate(name: str, rows: list[dict], encoder, cache: Path | None) -> None:
    texts = {k: [r[k] for r in rows] for k in ("question", "context", "answer")}
    sentences = [s for column in texts.values() for text in column for s in split_sentences(text)]
    known = None
    if cache is not None and (file := cache / f"{name}.npz").exists():
        stored = np.load(file)
        known = Embeddings(
            stored["text"].astype(object), stored["vector"], encoder.name, encoder.sha256
        )
    start = time.perf_counter()
    known = embed(sentences, encoder, known=known)
    seconds = time.perf_counter() - start
    if cache is not None:
        np.savez(cache / f"{name}.npz", text=known.text_hash.astype(str), vector=known.vectors)
    topics = fit_topics(
        known.lookup(sentences), rng=np.random.default_rng(0), n_topics=20, encoder=encoder.name
    )
    ids = [r["id"] for r in rows]
    ds = faithfulness(
        *texts.values(), encoder=encoder, topics=topics, known=known, ids=ids,
        draws=200, permutations=999,
    )  # fmt: skip
    label = np.array([r["supported"] for r in rows])
    group = [r["group"] for r in rows]
    words = ds["n_words"].sel(text="answer").to_numpy()
    scores = {k: sign * ds[k].to_numpy() for k, sign in SCORES.items()}
    scores["fewer words"] = -words.astype(float)
    scores["fewer sentences"] = -ds["n_sentences"].sel(text="answer").to_numpy().astype(float)
    print(
        f"\n{name}: {label.sum()} supported, {(~label).sum()} not, {len(known.vectors)} distinct"
    )
    print(f"sentences, {len(sentences)} in all, embedded in {seconds:.0f} s; K=20")
    print(f"words: {words[label].mean():.1f} supported, {words[~label].mean():.1f} not")
    table = {"all pairs": {}, "like length": {"n_words": words}}
    table |= {"same question": {"same_question": True}}
    table |= {"both": {"n_words": words, "same_question": True}}
    for title, how in table.items():
        for key, score in scores.items():
            r = rank_labels(score, label, group, rng=np.random.default_rng(1), **how)
            value = f"{r.auroc:.2f} [{r.low:.2f}, {r.high:.2f}]"
            print(f"{title:14s} {key:18s} {value} {r.n_pairs} pairs")
    for model in sorted({r["model"] for r in rows} - {""}):
        of = np.array([r["model"] == model for r in rows])
        for key in ("sf_smooth", "support_lex", "fewer sentences"):
            named = [g for g, yes in zip(group, of, strict=True) if yes]
            r = rank_labels(scores[key][of], label[of], named, rng=np.random.default_rng(1))
            print(f"{model:22s} {key:18s} {r.auroc:.2f} [{r.low:.2f}, {r.high:.2f}] {r.n_pairs}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=10**6, help="questions to use")
    parser.add_argument("--cache", type=Path, help="folder that keeps vectors between calls")
    options = parser.parse_args()
    encoder = minilm()
    evaluate("halueval", halueval(options.folder, options.first), encoder, options.cache)
    evaluate("financebench", financebench(options.folder, options.first), encoder, options.cache)


if __name__ == "__main__":
    main()
