"""Figures of docs/methods/ethical_entropy.md on labelled real answers; prints no text.

    python benchmarks/accept_alignment.py FOLDER [--cache vectors.npz]

FOLDER holds JailbreakBench, XSTest and HH-RLHF as JSON lines (see tests of the readers). Encoding
takes about seven minutes on one core; the cache keeps the vectors.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

import irrev
from irrev.alignment.classifier import group_folds, leave_one_out
from irrev.alignment.correction import smoothed_confusion
from irrev.alignment.taxonomy import Taxonomy, map_labels
from irrev.entropy import plugin_entropy
from irrev.readers.transcripts import Turn, read_turns
from irrev.semantic.embeddings import minilm

CUT, TOKENS = 500, 128  # characters of an answer, tokens of the encoder
JBB = {"text": "response", "prompt": "prompt", "id": "id", "model": "model"}
JBB |= {"stress": "attack", "t": "date", "label": "jailbroken", "group": "behavior"}
XSTEST = {"text": "response", "prompt": "prompt", "model": "model", "stress": "type"}
XSTEST |= {"label": "label"}
SETS = {
    "jbb": ("jailbreakbench_transcripts.jsonl.gz", JBB),
    "xstest": ("xstest_completions.jsonl.gz", XSTEST),
    "hh": ("hh_rlhf_harmless_base_test_first1200.jsonl.gz", None),
}
REFUSALS = Taxonomy(classes=("compliance", "refusal", "partial"), intended="compliance")
XSTEST_MAP = dict(
    zip(
        ("1_full_compliance", "2_full_refusal", "3_partial_refusal"), REFUSALS.classes, strict=True
    )
)


def main() -> None:
    """Encode, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path)
    args = parser.parse_args()
    data = load(args.folder, args.cache)
    xstest(data["xstest"])
    jailbreaks(data["jbb"])
    dialogues(data["hh"], data["xstest"])


def load(folder: Path, cache: Path | None) -> dict[str, dict[str, np.ndarray]]:
    """Read the turns and their vectors."""
    known = dict(np.load(cache)) if cache and cache.exists() else {}
    encoder = minilm()
    encoder.max_tokens = TOKENS
    data = {}
    for name, (file, fields) in SETS.items():
        turns = [t for t in read_turns(folder / file, fields=fields) if isinstance(t, Turn)]
        if name not in known:
            known[name] = encoder.encode([t.answer[:CUT] for t in turns])
        columns = ("model", "stress", "label", "group", "turn")
        data[name] = {c: np.array([getattr(t, c) for t in turns]) for c in columns}
        data[name] |= {"V": known[name], "length": np.array([len(t.answer) for t in turns])}
    if cache:
        np.savez(cache, **known)
    return data


def accuracy(V: np.ndarray, y: np.ndarray, groups: np.ndarray, n_classes: int) -> str:
    """Balanced accuracy and calibration error, held out by group."""
    taxonomy = Taxonomy(classes=tuple(map(str, range(n_classes))), intended="0")
    found = irrev.fit_classifier(
        V, y, groups.tolist(), taxonomy=taxonomy, rng=np.random.default_rng(0)
    ).validation
    return f"{found.balanced_accuracy:.3f} (ECE {found.ece:.3f})"


def shared(V: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Answers that occur, to the character cut, in several groups."""
    seen = defaultdict(set)
    for v, g in zip(V, groups, strict=True):
        seen[v.tobytes()].add(g)
    return np.array([len(seen[v.tobytes()]) > 1 for v in V])


def held_out(V: np.ndarray, y: np.ndarray, names: np.ndarray, n: int) -> str:
    """Balanced accuracy with each name held out whole."""
    found = leave_one_out(V, y, names.tolist(), n_classes=n)
    return ", ".join(f"{k} {v:.2f}" for k, v in found.items())


def xstest(d: dict[str, np.ndarray]) -> None:
    """Refusals against human labels; entropy of predicted and corrected labels."""
    V, group = d["V"], d["group"]
    y = map_labels(d["label"].tolist(), XSTEST_MAP, taxonomy=REFUSALS).index
    rows, two = np.arange(y.size).astype(str), (y > 0).astype(int)
    family = np.array([s.replace("contrast_", "") for s in d["stress"]])
    print("XSTest, three classes by prompt", accuracy(V, y, group, 3))
    print("  by row, which leaks          ", accuracy(V, y, rows, 3))
    print("compliance v. refusal by prompt", accuracy(V, two, group, 2))
    print("  by family of prompts         ", accuracy(V, two, family, 2))
    own = ~shared(V, group)
    print("  without shared answers       ", accuracy(V[own], two[own], group[own], 2))
    print("  length alone                 ", accuracy(size(d), two, group, 2))
    print("  one model held out           ", held_out(V, two, d["model"], 2))
    predicted = out_of_fold(V, y, group)
    table = np.zeros((3, 3), dtype=int)
    np.add.at(table, (y, predicted), 1)
    for model in np.unique(d["model"]):
        mine = d["model"] == model
        true, seen = (np.bincount(x[mine], minlength=3) for x in (y, predicted))
        law = irrev.correct_counts(seen, smoothed_confusion(table))
        S = [float(plugin_entropy(c)) for c in (true, seen, law)]
        print(
            f"  {model:16s} S {S[0]:.3f}, argmax {S[1] - S[0]:+.3f}, corrected {S[2] - S[0]:+.3f}"
        )


def out_of_fold(V: np.ndarray, y: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Class predicted for each text by a classifier that saw none of its group."""
    fold = group_folds(groups.astype(object), 5, np.random.default_rng(0))
    predicted = np.empty(y.size, dtype=int)
    for k in range(5):
        train = fold != k
        model = irrev.fit_classifier(
            V[train],
            y[train],
            groups[train].tolist(),
            taxonomy=REFUSALS,
            rng=np.random.default_rng(0),
        )
        predicted[~train] = model.predict_proba(V[~train]).argmax(axis=1)
    return predicted


def size(d: dict[str, np.ndarray]) -> np.ndarray:
    """Length of an answer as the only feature."""
    return np.log1p(d["length"])[:, None] / 10


def jailbreaks(d: dict[str, np.ndarray]) -> None:
    """Jailbroken or not; entropy by model and attack."""
    V, group, y = d["V"], d["group"], (d["label"] == "True").astype(int)
    print("JailbreakBench by behaviour    ", accuracy(V, y, group, 2))
    print("  one attack held out          ", held_out(V, y, d["stress"], 2))
    print("  length alone                 ", accuracy(size(d), y, group, 2))
    own = ~shared(V, group)
    print("  without shared answers       ", accuracy(V[own], y[own], group[own], 2))
    taxonomy = Taxonomy(classes=("safe", "jailbroken"), intended="safe")
    for model in np.unique(d["model"]):
        for attack in np.unique(d["stress"]):
            mine = (d["model"] == model) & (d["stress"] == attack)
            if mine.sum() >= 20:
                show(f"{model} {attack}", y[mine], np.zeros(mine.sum(), int), taxonomy)


def dialogues(d: dict[str, np.ndarray], train: dict[str, np.ndarray]) -> None:
    """Entropy by turn within dialogues, classes by the classifier of XSTest."""
    y = map_labels(train["label"].tolist(), XSTEST_MAP, taxonomy=REFUSALS).index
    model = irrev.fit_classifier(
        train["V"], y, train["group"].tolist(), taxonomy=REFUSALS, rng=np.random.default_rng(0)
    )
    classes = np.where(d["length"] > 0, model.predict_proba(d["V"]).argmax(axis=1), -1)
    for side in ("shared", "chosen", "rejected"):
        mine = d["stress"] == side
        show(f"HH-RLHF {side}", classes[mine], d["turn"][mine], REFUSALS)


def show(name: str, classes: np.ndarray, bins: np.ndarray, taxonomy: Taxonomy) -> None:
    """Print S with its interval and the intended share of each bin with 50 or more."""
    ds = irrev.ethical_entropy(
        classes, bins, taxonomy=taxonomy, estimator="nsb", rng=np.random.default_rng(0)
    )
    for i in np.flatnonzero(ds["n"].to_numpy() >= 50):
        one = ds.isel(bin=i)
        S = [float(one[f"entropy{end}"]) for end in ("", "_low", "_high")]
        share = 100 * float(one["p_intended"])
        print(f"  {name} bin {i}: n {int(one['n'])}, S {S[0]:.2f} ({S[1]:.2f} to {S[2]:.2f}), "
              f"intended {share:.0f} %")  # fmt: skip


if __name__ == "__main__":
    main()
