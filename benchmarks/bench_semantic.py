"""Closed forms, bridges and resampling of faithfulness; the embedding step beside the bare model.

The floor of the embedding is the same model over the same batches, tokens at hand: no splitting,
hashing, tokenising or copying. `test_embed_keeps_up_with_the_model` prints both rates of one run.
"""

import time

import numpy as np
import pytest

from irrev.entropy import kl_divergence
from irrev.errors import MissingExtraError
from irrev.semantic.bridge import bridge_divergence, solve_bridge, topic_kernel
from irrev.semantic.embeddings import embed, minilm
from irrev.semantic.entropy_production import independent_ep, system_entropy_change
from irrev.semantic.faithfulness import (
    exact_divergence,
    restricted_divergence,
    smooth_divergence,
    smoothed,
)
from irrev.semantic.uncertainty import faithfulness_spread

N_TOPICS = 23
TEXT = """
the company reported net revenue of millions for its second quarter as demand in several markets
fell while costs of goods rose because energy and transport became dearer again
"""
WORDS = TEXT.split()


def counts(n_triplets):
    return np.random.default_rng(0).poisson(2, (3, n_triplets, N_TOPICS))


@pytest.mark.parametrize("n_triplets", [1_000, 100_000])
def test_closed_forms_speed(benchmark, n_triplets):
    question, context, answer = counts(n_triplets)

    def run():
        exact_divergence(question, answer)
        restricted_divergence(question, answer)
        smooth_divergence(question, answer)
        p_c, p_a = smoothed(context), smoothed(answer)
        independent_ep(p_c, p_a)
        kl_divergence(p_a, p_c)
        system_entropy_change(p_c, p_a)

    benchmark(run)


@pytest.mark.parametrize("n_triplets", [100, 10_000])
def test_bridge_speed(benchmark, n_triplets):
    p_q, p_c, p_a = (smoothed(n) for n in counts(n_triplets))
    kernel = topic_kernel(np.random.default_rng(1).normal(size=(N_TOPICS, 8)))

    def run():
        to_answer, to_question = (solve_bridge(p_c, p, kernel) for p in (p_a, p_q))
        bridge_divergence(p_c, p_a, to_answer, to_question)

    benchmark.pedantic(run, rounds=3)


@pytest.mark.parametrize("n_sentences", [10, 1_000])
def test_spread_speed(benchmark, n_sentences):
    rng = np.random.default_rng(0)
    question, answer = (np.eye(N_TOPICS)[rng.integers(0, N_TOPICS, n)] for n in (10, n_sentences))
    benchmark.pedantic(
        lambda: faithfulness_spread(question, answer, rng=np.random.default_rng(1)), rounds=5
    )


def test_embed_keeps_up_with_the_model(benchmark):
    import torch

    torch.set_num_threads(1)
    try:
        encoder = minilm()
    except MissingExtraError:
        pytest.skip("the extra `encoder` is not installed")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, rng.integers(8, 31))) for _ in range(300)]
    tokens = encoder.tokenize(texts)
    batches = [[tokens[i] for i in rows] for rows in encoder.batches(tokens)]
    encoder.encode(texts[:20])  # first call sets up buffers
    bare, step = [], []
    for _ in range(4):  # interleaved, so that other work on the machine hits both
        start = time.process_time()
        for batch in batches:
            encoder.forward(batch)
        bare.append(time.process_time() - start)
        start = time.process_time()
        embed(texts, encoder)
        step.append(time.process_time() - start)
    rates = [len(texts) / min(s) for s in (bare, step)]
    print(f"\ntexts per core-second: bare model {rates[0]:.0f}, step {rates[1]:.0f}, ", end="")
    print(f"ratio {rates[1] / rates[0]:.2f}; 19 words a text on average")
    benchmark.pedantic(lambda: embed(texts[:50], encoder), rounds=1)
