"""Scored triplets -> one row of a result table, and the table of answers that goes with it.

The row holds means over answers with intervals over questions (answers to one question are not
independent), the number of answers whose topic mix departs from their question's at the run's
false-discovery rate, and, where the source has labels, how each score ranks supported above other
answers: over all pairs, pairs of like length, and pairs on one question. A ranking over all pairs
alone says little: read it beside the others and beside the length of the answer.
"""

from collections.abc import Collection, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.semantic.ranking import Ranking, rank_labels
from irrev.stats import benjamini_hochberg

METHOD_VERSION = 3
MEANS = ("sf_smooth", "sep_total", "kept_mass", "ungrounded", "support_cos", "support_lex")
RANKED = {  # name -> variable, and -1 where smaller values should mean better support
    "sf_smooth": ("sf_smooth", 1),
    "less sep_total": ("sep_total", -1),
    "support_cos": ("support_cos", 1),
    "support_lex": ("support_lex", 1),
}
PAIRINGS = ("all pairs", "like length", "same question")

Array = NDArray[np.float64]


def faithfulness_row(
    scores: xr.Dataset,
    *,
    group: Sequence[str],
    label: Sequence[str],
    supported: Collection[str] = (),
    unsupported: Collection[str] = (),
    level: float = 0.95,
    draws: int = 1000,
    fdr: float = 0.05,
    rng: np.random.Generator,
) -> xr.Dataset:
    """Summarise scored triplets in one row of kind `triplets/faithfulness`.

    Parameters
    ----------
    scores
        What `irrev.faithfulness` returns.
    group
        Question of each triplet.
    label
        Label of each triplet in the source, empty if there is none.
    supported
        Labels that stand for a supported answer; without them nothing is ranked.
    unsupported
        Labels of the other answers; all other labels if not given. Name them where there are
        refusals, which are neither.
    level, draws
        Of the bootstrap over questions.
    fdr
        False-discovery rate over the answers of the row.
    rng
        Source of the bootstrap.

    Returns
    -------
        One shard, without the columns that identify it.
    """
    question, inverse = np.unique(np.array(list(group), dtype=str), return_inverse=True)
    n = len(question)
    weight = rng.multinomial(n, np.full(n, 1.0 / n), size=draws).astype(np.float64)
    columns: dict[str, object] = {}
    for name in MEANS:
        mean, low, high = _mean(scores[name].to_numpy(), inverse, weight, level)
        for end, value in (("", mean), ("_low", low), ("_high", high)):
            columns[f"{name}{end}"] = ("shard", np.array([value]))
    q = benjamini_hochberg(scores["p_perm"].to_numpy())
    counts = {
        "n_triplets": scores.sizes["triplet"],
        "n_scored": int(np.isfinite(scores["sf_smooth"].to_numpy()).sum()),
        "n_questions": n,
        "n_departed": int(np.sum(q <= fdr)),
        "n_prior_dominated": int(scores["prior_dominated"].sum()),
        "n_short": int(scores["short_answer"].sum()),
        "n_topics": int(scores.attrs["n_topics"]),
    }
    columns |= {name: ("shard", np.array([value])) for name, value in counts.items()}
    for name in ("topic_model_id", "encoder"):
        columns[name] = ("shard", np.array([scores.attrs[name]], dtype=object))
    return xr.Dataset(columns | _rankings(scores, label, supported, unsupported, group, rng))


def answer_table(scores: xr.Dataset, triplets: xr.Dataset) -> xr.Dataset:
    """Return the scores with model, label, group and hashes of each answer, without texts."""
    names = ("model", "label", "group", "line", "question_hash", "context_hash", "answer_hash")
    return scores.assign({n: ("triplet", triplets[n].to_numpy()) for n in names})


def _mean(
    value: Array, group: NDArray[np.integer], weight: Array, level: float
) -> tuple[float, float, float]:
    """Mean over answers with a bootstrap interval over questions; NaN where nothing is known."""
    known = np.isfinite(value)
    if not known.any():
        return np.nan, np.nan, np.nan
    total = np.bincount(group[known], value[known], minlength=weight.shape[1])
    number = np.bincount(group[known], minlength=weight.shape[1])
    size = weight @ number
    means = np.divide(weight @ total, size, out=np.full(len(weight), np.nan), where=size > 0)
    low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(value[known].mean()), float(low), float(high)


def _rankings(
    scores: xr.Dataset,
    label: Sequence[str],
    supported: Collection[str],
    unsupported: Collection[str],
    group: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, object]:
    """Rank labelled answers; unlabelled ones take no part."""
    text = np.array(list(label), dtype=str)
    good = np.isin(text, list(supported))
    bad = np.isin(text, list(unsupported)) if unsupported else (text != "") & ~good
    labelled = (good | bad) & bool(supported)
    good = good[labelled]
    words = scores["n_words"].sel(text="answer").to_numpy()[labelled]
    question = np.array(list(group), dtype=str)[labelled]
    names: list[tuple[str, str]] = []
    found: list[Ranking] = []
    for name in (*RANKED, "fewer words"):
        score = -words.astype(np.float64)
        if name in RANKED:
            variable, sign = RANKED[name]
            score = sign * scores[variable].to_numpy()[labelled]
        for pairing in PAIRINGS if labelled.any() else ():
            names.append((name, pairing))
            found.append(
                rank_labels(
                    score,
                    good,
                    list(question),
                    n_words=words if pairing == "like length" else None,
                    same_question=pairing == "same question",
                    rng=rng,
                )
            )
    columns: dict[str, object] = {
        f"auroc{end}": (("shard", "ranking"), np.array([[getattr(r, of) for r in found]], float))
        for end, of in (("", "auroc"), ("_low", "low"), ("_high", "high"))
    }
    pairs = np.array([[r.n_pairs for r in found]], dtype=np.int64)
    columns["ranking_pairs"] = (("shard", "ranking"), pairs)
    for k, of in enumerate(("ranking_score", "ranking_pairing")):
        column = np.array([[n[k] for n in names]], dtype=object).reshape(1, len(names))
        columns[of] = (("shard", "ranking"), column)
    return columns
