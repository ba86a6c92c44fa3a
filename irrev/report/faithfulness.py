"""Section of faithfulness: answers, rankings against labels, answers far from their question."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from irrev import plots_faithfulness as plots
from irrev.citations import cite
from irrev.report.page import Picture, Section, TableBlock, picture
from irrev.verdicts import verdict

DETAILED = 4  # sources with figures of their own; all are in the table
WORST = 8  # answers of a source in the table
MEANS = ("sf_smooth", "kept_mass", "ungrounded", "sep_total", "support_cos", "support_lex")

MEANING = (
    "Faithfulness compares the topic mix of an answer with that of its question; semantic entropy "
    "production compares it with that of the context. Neither detects invented answers: an "
    "invented answer that repeats its question scores high. A short question lowers the score "
    "of any answer, so the test deals the sentences of question and answer again; answers of one "
    "sentence can hardly be told apart. Where labels are there, read the ranking within one "
    "question and at like length: over all pairs it mostly follows length and question."
)


def faithfulness(ds: xr.Dataset, extras: Mapping[str, xr.Dataset]) -> Section:
    """Faithfulness and semantic entropy production of answers."""
    done = [i for i, s in enumerate(ds["status"].to_numpy()) if s == "done"]
    pictures: list[Picture] = []
    tables = [_table(ds)]
    for i in done[:DETAILED]:
        row, name = ds.isel(shard=i), _name(ds, i)
        answers = extras.get(str(row["shard"].item()))
        if answers is not None and int(row["n_scored"]):
            pictures.append(_scatter(answers, name, float(ds.attrs.get("fdr", 0.05))))
            tables.append(_worst(answers, name))
        if np.isfinite(row["auroc"].to_numpy()).any():
            pictures.append(_ranked(row, name))
            tables.append(_rankings(row, name))
    return Section(
        title="Faithfulness of answers",
        verdicts=[f"{_name(ds, i)}: {_words(ds, i)}" for i in range(ds.sizes["shard"])],
        statement=MEANING,
        pictures=pictures,
        tables=tables,
        references=cite("faithfulness"),
    )


def _name(ds: xr.Dataset, i: int) -> str:
    return str(ds["source"].to_numpy()[i])


def _words(ds: xr.Dataset, i: int) -> str:
    row = ds.isel(shard=i)
    if str(row["status"].item()) != "done":
        return f"{verdict(ds, i)} ({row['error'].item()})"
    if not int(row["n_scored"]):
        return (
            f"no question, no faithfulness; entropy production {_interval(row, 'sep_total')} nat"
        )
    departed = f"{int(row['n_departed'])} of {int(row['n_scored'])} answers depart from the topics"
    return f"{departed} of their question; mean faithfulness {_interval(row, 'sf_smooth')}"


def _interval(row: xr.Dataset, name: str) -> str:
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    if not np.isfinite(value):
        return "not defined"
    return f"{value:.3f} ({low:.3f} … {high:.3f})"


def _scatter(answers: xr.Dataset, name: str, fdr: float) -> Picture:
    return picture(
        plots.answers_by_support(answers, fdr=fdr),
        alt=f"Faithfulness against lexical support of {answers.sizes['triplet']} answers, {name}.",
        caption=f"{name}: each mark is an answer. Filled: its topics depart from the question's "
        f"at a false-discovery rate of {100 * fdr:g} %.",
    )


def _ranked(row: xr.Dataset, name: str) -> Picture:
    return picture(
        plots.rankings(row),
        alt=f"Ranking of labelled answers by each score, {name}; the values are in the table.",
        caption=f"{name}: probability that a supported answer has the better score, with 95 % "
        "intervals over questions. Dashed: a score that knows nothing.",
    )


def _table(ds: xr.Dataset) -> TableBlock:
    head = ["source", "answers", "scored", "faithfulness", "kept mass", "ungrounded"]
    head += ["entropy production, nat", "support (cosine)", "support (words)", "off question"]
    head += ["notes"]
    rows = []
    for i in range(ds.sizes["shard"]):
        row = ds.isel(shard=i)
        cells = [_name(ds, i)]
        if str(row["status"].item()) == "done":
            cells += [f"{int(row[n]):,}" for n in ("n_triplets", "n_scored")]
            cells += [_interval(row, n) for n in MEANS]
            cells += [f"{int(row['n_departed']):,}", _notes(row)]
        else:
            cells += [""] * 9 + [f"{verdict(ds, i)}: {row['error'].item()}"]
        rows.append(cells)
    return TableBlock("Means over answers (intervals over questions)", head, rows)


def _notes(row: xr.Dataset) -> str:
    n = int(row["n_triplets"])
    notes = [f"{int(row['n_topics'])} topics"]
    if int(row["n_prior_dominated"]):
        notes.append(f"{int(row['n_prior_dominated'])} of {n} questions shorter than topics")
    if int(row["n_short"]):
        notes.append(f"{int(row['n_short'])} of {n} answers have one sentence")
    return "; ".join(notes)


def _worst(answers: xr.Dataset, name: str) -> TableBlock:
    """List the answers least like their question, by id; texts are not in the store."""
    head = ["answer", "model", "p", "excess, nat", "faithfulness", "off question"]
    head += ["support (cosine)", "support (words)", "sentences"]
    p, excess = (answers[n].to_numpy() for n in ("p_perm", "excess"))
    order = [k for k in np.lexsort((-excess, p)) if np.isfinite(p[k])]
    rows = []
    for k in order[:WORST]:
        row = answers.isel(triplet=int(k))
        cells = [
            str(row["triplet"].item()),
            str(row["model"].item()),
            f"{float(row['p_perm']):.3g}",
        ]
        numbers = ("excess", "sf_smooth", "off_question", "support_cos", "support_lex")
        cells += [f"{float(row[n]):.2f}" for n in numbers]
        rows.append([*cells, f"{int(row['n_sentences'].sel(text='answer'))}"])
    return TableBlock(f"{name}: answers least like their question", head, rows)


def _rankings(row: xr.Dataset, name: str) -> TableBlock:
    rows = []
    for i in range(row.sizes["ranking"]):
        one = row.isel(ranking=i)
        value, low, high = (float(one[f"auroc{end}"]) for end in ("", "_low", "_high"))
        if not str(one["ranking_score"].item()):
            continue
        number = f"{value:.2f} ({low:.2f} … {high:.2f})" if np.isfinite(value) else "no pair"
        score = str(one["ranking_score"].item()).replace("_", " ")
        rows.append(
            [score, str(one["ranking_pairing"].item()), number, f"{int(one['ranking_pairs']):,}"]
        )
    head = ["score", "pairs", "supported ranked above (95 %)", "number of pairs"]
    return TableBlock(f"{name}: ranking of labelled answers", head, rows)
