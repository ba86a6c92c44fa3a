"""All numbers of question-context-answer triplets: faithfulness, grounding, entropy production.

From texts: split -> embed -> topics -> counts; from counts directly. Every variant is computed,
none is chosen by its value; `sf_smooth` with `p_perm` is the one to quote, next to `support_lex`
and `support_cos`, which need no topics:

    support_cos = mean over answer sentences of the largest cosine to a context sentence   (1)
    ungrounded  = share of the answer on topics that the context lacks                     (2)

Without centres of topics (counts only) the kernel is flat, eps = inf: `sf_geo` equals `sf_smooth`
and the entropy production is that of independent topics.

Each triplet draws from a stream of its own, made of the seed and its id: results do not depend on
which other triplets are in the batch.

Source: Halperin, arXiv:2512.05156; the support numbers are ours.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev import schema
from irrev.entropy import entropy, kl_divergence
from irrev.errors import InputError
from irrev.semantic.bridge import bridge_divergence, kernel_scale, solve_bridge, topic_kernel
from irrev.semantic.embeddings import Embeddings, Encoder, embed
from irrev.semantic.entropy_production import bridge_ep, independent_ep, system_entropy_change
from irrev.semantic.faithfulness import (
    ALPHA,
    Counts,
    check_counts,
    exact_divergence,
    frequencies,
    restricted_divergence,
    smooth_divergence,
    smoothed,
    to_faithfulness,
)
from irrev.semantic.sentences import SPLITTER, count_words, lexical_support, split_sentences
from irrev.semantic.topics import TopicModel, fit_topics, memberships
from irrev.semantic.uncertainty import Spread, faithfulness_spread

METHOD_VERSION = 1
TEXTS = ("question", "context", "answer")
FINE_PRINT = (
    "SF compares topic mixes: it does not depend on the context, does not detect invented "
    "answers, and is comparable only at equal topic model, K and alpha."
)

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Options:
    """Checked parameters of a scoring."""

    alpha: float
    eps: float | None
    draws: int
    permutations: int
    seed: int

    def __post_init__(self) -> None:
        if not self.alpha > 0 or self.draws < 1 or self.permutations < 1:
            raise InputError(
                f"alpha={self.alpha}, draws={self.draws}, permutations={self.permutations}; "
                "all must be above 0."
            )


def faithfulness_from_counts(
    question: Counts,
    context: Counts,
    answer: Counts,
    *,
    centroids: NDArray[np.floating] | None = None,
    alpha: float = ALPHA,
    eps: float | None = None,
    draws: int = 1000,
    permutations: int = 999,
    seed: int = 0,
    ids: Sequence[str] | None = None,
) -> xr.Dataset:
    """Score triplets given as sentences per topic.

    Parameters
    ----------
    question, context, answer
        Whole numbers of sentences, shape (triplet, topic) or (topic,).
    centroids
        Centres of the topics for the geometry-aware numbers, shape (topic, dimension).
    alpha
        Smoothing, sentences added to each topic, above 0.
    eps
        Squared length of the topic kernel; the mean squared distance of centres if not given.
    draws, permutations
        Posterior and bootstrap draws, reshuffles of the test; at least 1 each.
    seed
        Of the draws.
    ids
        Name of each triplet; 0, 1, ... if not given.

    Returns
    -------
        Dataset of kind `semantic/faithfulness` over `triplet`: divergences in nats, faithfulness
        in [0, 1]; NaN with a `reason` where a text is empty.

    Raises
    ------
    InputError
        If shapes differ or counts are negative or not whole, or alpha is not above 0.

    Examples
    --------
    >>> ds = faithfulness_from_counts([5, 5], [5, 5], [9, 1], draws=10, permutations=19)
    >>> float(ds["sf_exact"][0].round(6))
    0.73096
    """
    counts = check_counts(question, context, answer)
    for name, n in zip(TEXTS, counts, strict=True):
        if (n != np.rint(n)).any():
            raise InputError(
                f"{name} has {n[n != np.rint(n)][0]} sentences on a topic; give whole numbers, or "
                "texts with assignment='soft'."
            )
    identity = np.eye(counts[0].shape[1])
    sentences = [
        [np.repeat(identity, row.astype(np.int64), axis=0) for row in n]
        for n in (counts[0], counts[2])
    ]
    options = _Options(alpha, eps, draws, permutations, seed)
    return schema.validate(
        _score(counts, sentences, centroids, options, ids), "semantic/faithfulness"
    )


def faithfulness(
    question: str | Sequence[str],
    context: str | Sequence[str],
    answer: str | Sequence[str],
    *,
    encoder: Encoder,
    topics: TopicModel | None = None,
    known: Embeddings | None = None,
    method: Literal["kmeans", "udib"] = "kmeans",
    n_topics: int | None = None,
    assignment: Literal["hard", "soft"] = "hard",
    alpha: float = ALPHA,
    eps: float | None = None,
    draws: int = 1000,
    permutations: int = 999,
    seed: int = 0,
    ids: Sequence[str] | None = None,
) -> xr.Dataset:
    """Score triplets given as texts.

    Parameters
    ----------
    question, context, answer
        Texts, one triplet or equally many of each.
    encoder
        What turns sentences into vectors.
    topics
        Topic model of the corpus; fitted on all sentences of this call if not given, and then
        comparable within this call only.
    known
        Vectors that need not be computed again.
    method, n_topics
        Of the fit, if there is one.
    assignment
        `hard` or `soft` topics of a sentence.
    alpha, eps, draws, permutations, seed, ids
        As for `faithfulness_from_counts`.

    Returns
    -------
        Dataset of kind `semantic/faithfulness` with the support numbers and word counts.

    Raises
    ------
    InputError
        If there are not equally many texts, no sentence at all, or the topic model belongs to
        another encoder.

    Examples
    --------
    >>> from irrev.semantic.embeddings import HashingEncoder
    >>> ds = faithfulness(
    ...     "How did the sales of the firm develop?",
    ...     "The sales of the firm rose by a tenth. The costs of the firm fell a little.",
    ...     "The sales of the firm rose by a tenth.",
    ...     encoder=HashingEncoder(),
    ... )
    >>> float(ds["support_lex"][0])
    1.0
    """
    texts = [[t] if isinstance(t, str) else list(t) for t in (question, context, answer)]
    if len({len(t) for t in texts}) != 1:
        raise InputError(
            f"{', '.join(str(len(t)) for t in texts)} questions, contexts and answers; "
            "give equally many."
        )
    if topics is not None and topics.encoder != encoder.name:
        raise InputError(
            f"the topic model was fitted on {topics.encoder}, the encoder is {encoder.name}; "
            "fit the topics again."
        )
    sentences = [[split_sentences(t) for t in column] for column in texts]
    flat = [s for column in sentences for text in column for s in text]
    vectors = embed(flat, encoder, known=known)
    if topics is None:
        rng = np.random.default_rng(seed)
        found = vectors.lookup(flat)
        topics = fit_topics(found, rng=rng, method=method, n_topics=n_topics, encoder=encoder.name)
    looked = [[vectors.lookup(text) for text in column] for column in sentences]
    members = [
        [memberships(v, topics, soft=assignment == "soft") for v in column] for column in looked
    ]
    counts = [np.array([m.sum(0) for m in column]) for column in members]
    options = _Options(alpha, eps, draws, permutations, seed)
    ds = _score(counts, [members[0], members[2]], topics.centroids, options, ids)
    ds["support_cos"] = ("triplet", _cosine_support(looked[1], looked[2]))
    ds["support_lex"] = ("triplet", lexical_support(texts[1], texts[2]))
    ds["n_words"] = (("triplet", "text"), np.stack([count_words(t) for t in texts], axis=1))
    ds.attrs |= {
        "encoder": encoder.name,
        "encoder_sha256": encoder.sha256,
        "topic_model_id": topics.model_id,
        "topic_method": topics.method,
        "assignment": assignment,
        "splitter": SPLITTER,
    }
    return schema.validate(ds, "semantic/faithfulness")


def sentences_of(
    question: Sequence[str], context: Sequence[str], answer: Sequence[str]
) -> list[str]:
    """Return all sentences of triplets: what a topic model of their corpus is fitted on."""
    return [
        s for column in (question, context, answer) for t in column for s in split_sentences(t)
    ]


def _score(
    counts: list[Array],
    sentences: list[list[Array]],
    centroids: NDArray[np.floating] | None,
    options: _Options,
    ids: Sequence[str] | None,
) -> xr.Dataset:
    """Compute all numbers; `sentences` are the memberships of questions and of answers."""
    n_triplets, n_topics = counts[0].shape
    names = [str(i) for i in (range(n_triplets) if ids is None else ids)]
    if len(names) != n_triplets:
        raise InputError(f"{len(names)} ids for {n_triplets} triplets; give one each.")
    geometry = np.zeros((n_topics, 1)) if centroids is None else np.asarray(centroids, np.float64)
    own_scale = np.inf if centroids is None else kernel_scale(geometry)
    scale = own_scale if options.eps is None else options.eps
    n_sentences = np.rint(np.stack([n.sum(1) for n in counts], axis=1)).astype(np.int64)
    values = _closed_forms(counts, options.alpha)
    values |= _geometric(counts, geometry, scale, options.alpha)
    values |= _spreads(sentences, names, options)
    flags = {
        "prior_dominated": n_sentences[:, 0] < n_topics,
        "short_answer": n_sentences[:, 2] == 1,
        "uninformative": np.full(n_triplets, n_topics == 1),
    }
    missing = [
        ", ".join(t for t, n in zip(TEXTS, row, strict=True) if not n) for row in n_sentences
    ]
    reason = np.array([f"no sentence in {m}" if m else "" for m in missing], dtype=object)
    return xr.Dataset(
        {
            **{name: ("triplet", value) for name, value in (values | flags).items()},
            "reason": ("triplet", reason),
            "n_sentences": (("triplet", "text"), n_sentences),
            "counts": (("triplet", "text", "topic"), np.stack(counts, axis=1)),
        },
        {
            "triplet": ("triplet", np.array(names, dtype=object)),
            "text": ("text", np.array(TEXTS, dtype=object)),
        },
        {
            "method": "faithfulness",
            "method_version": METHOD_VERSION,
            "alpha": options.alpha,
            "eps": float(scale),
            "n_topics": n_topics,
            "draws": options.draws,
            "permutations": options.permutations,
            "seed": options.seed,
            "fine_print": FINE_PRINT,
        },
    )


def _closed_forms(counts: list[Array], alpha: float) -> dict[str, Array]:
    """Compute everything that needs neither geometry nor draws."""
    question, context, answer = counts
    restricted = restricted_divergence(question, answer)
    p_q, p_c, p_a = (smoothed(n, alpha) for n in (question, context, answer))
    values = {
        "d_exact": exact_divergence(question, answer),
        "d_restricted": restricted.divergence,
        "d_smooth": smooth_divergence(question, answer, alpha=alpha),
    }
    values |= {d.replace("d_", "sf_"): to_faithfulness(v) for d, v in values.items()}
    raw_context, raw_answer = frequencies(context), frequencies(answer)
    off_context = np.where(raw_context > 0, 0.0, raw_answer).sum(1)  # eq. (2)
    return values | {
        "kept_mass": restricted.kept_mass,
        "off_question": 1.0 - restricted.kept_mass,
        "ungrounded": np.where(np.isnan(raw_context[:, 0]), np.nan, off_context),
        "kl_answer_context": kl_divergence(p_a, p_c),
        "entropy_question": entropy(p_q),
        "entropy_context": entropy(p_c),
        "entropy_answer": entropy(p_a),
        "sep_system": system_entropy_change(p_c, p_a),
        "sep_independent": independent_ep(p_c, p_a),
        "sep_published": restricted.divergence,
    }


def _geometric(
    counts: list[Array], centroids: Array, eps: float, alpha: float
) -> dict[str, Array]:
    p_q, p_c, p_a = (smoothed(n, alpha) for n in counts)
    log_kernel = topic_kernel(centroids, eps=eps)
    to_answer, to_question = (solve_bridge(p_c, p, log_kernel) for p in (p_a, p_q))
    divergence = bridge_divergence(p_c, p_a, to_answer, to_question)
    total = bridge_ep(p_c, p_a, to_answer)
    return {
        "d_geo": divergence,
        "sf_geo": to_faithfulness(divergence),
        "sep_total": total,
        "sep_medium": total - system_entropy_change(p_c, p_a),
    }


def _spreads(
    sentences: list[list[Array]], names: list[str], options: _Options
) -> dict[str, Array]:
    nothing = Spread(*[np.nan] * 7)
    spreads = []
    for name, question, answer in zip(names, *sentences, strict=True):
        key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
        spread = nothing
        if len(question) and len(answer):
            spread = faithfulness_spread(
                question,
                answer,
                rng=np.random.default_rng([options.seed, key]),
                alpha=options.alpha,
                draws=options.draws,
                permutations=options.permutations,
            )
        spreads.append(spread)
    stored = {
        "sf_post_low": "post_low",
        "sf_post_median": "post_median",
        "sf_post_high": "post_high",
        "sf_boot_low": "boot_low",
        "sf_boot_high": "boot_high",
        "p_perm": "p_perm",
        "excess": "excess",
    }
    return {to: np.array([getattr(s, name) for s in spreads]) for to, name in stored.items()}


def _cosine_support(
    contexts: list[NDArray[np.float32]], answers: list[NDArray[np.float32]]
) -> Array:
    """Return (1) for each triplet; NaN where a text is empty."""
    pairs = zip(contexts, answers, strict=True)
    values = [(a @ c.T).max(1).mean() if len(c) and len(a) else np.nan for c, a in pairs]
    return np.array(values, dtype=np.float64)
