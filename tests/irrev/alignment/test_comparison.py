"""Base and tuned series side by side: R and alignment work of known dynamics."""

import numpy as np
import pytest

from irrev.alignment.comparison import compare_variants
from irrev.alignment.ethical_entropy import ethical_entropy
from irrev.alignment.taxonomy import Taxonomy
from irrev.entropy import entropy
from irrev.simulate.goals import goal_law, peaked_law

N, TURNS = 300, 30
START = peaked_law(0.937606, 5)
LAST = Taxonomy(intended="harmful")  # the intended class need not be the first


def series(gamma, rng, *, n_turns=TURNS, per_turn=N, taxonomy=LAST):
    """Transcripts of a model whose goals hop at total rate 0.1 and are reset at rate gamma."""
    law = goal_law(np.arange(n_turns), start=START, hop_rate=0.1, gamma_eff=gamma)[:, ::-1]
    classes = np.concatenate([rng.choice(5, size=per_turn, p=p) for p in law])
    bins = np.repeat(np.arange(n_turns), per_turn)
    return ethical_entropy(classes, bins, taxonomy=taxonomy, n_draws=0, rng=rng), law


def test_compare_variants__finds_reduction_and_rate_of_known_dynamics(rng):
    base, law_base = series(0.0, rng)
    tuned, law_tuned = series(0.5, rng)
    row = compare_variants(base, tuned, taxonomy=LAST, by="turn", n_draws=20, rng=rng).squeeze()
    truth = 1 - entropy(law_tuned).mean() / entropy(law_base).mean()
    assert float(row["reduction_low"]) < truth < float(row["reduction_high"])
    # interquartile range .0365 at 200 a turn, here 300: four standard deviations
    spread = 0.0365 / 1.349 * np.sqrt(200 / N)
    assert float(row["gamma_eff"]) == pytest.approx(0.5, abs=4 * spread)
    assert float(row["gamma_eff_low"]) < float(row["gamma_eff"]) < float(row["gamma_eff_high"])
    assert float(row["hop_rate"]) == pytest.approx(0.1, abs=0.02)  # a fifth, as at 200 a turn
    assert float(row["slope"]) > 0
    assert not bool(row["model_rejected"])
    assert (row["rate_unit"].item(), row["reason"].item()) == ("turn-1", "")
    assert int(row["n_matched"]) == TURNS


def test_compare_variants__rates_are_per_second_where_bins_are(rng):
    base, tuned = series(0.0, rng)[0], series(0.5, rng)[0]
    options = {"taxonomy": LAST, "n_draws": 2}
    per_turn = compare_variants(base, tuned, by="turn", rng=rng, **options)
    per_second = compare_variants(base, tuned, by="duration", size=60.0, rng=rng, **options)
    ratio = float(per_turn["gamma_eff"][0]) / float(per_second["gamma_eff"][0])
    assert ratio == pytest.approx(60, rel=1e-3)
    assert per_second["rate_unit"].item() == "s-1"


def test_compare_variants__says_why_there_is_no_value(rng):
    tuned = series(0.5, rng, n_turns=2)[0]
    alone = compare_variants(None, tuned, rng=rng)
    assert np.isnan(alone["reduction"].item())
    assert alone["reason"].item() == "no base run under this stress"
    two = compare_variants(series(0.0, rng)[0], tuned, n_draws=20, rng=rng)
    assert np.isfinite(two["reduction"].item())
    assert np.isnan(two["gamma_eff"].item())
    assert two["reason"].item() == "2 full bins in common; rates need 3"
    few = series(0.0, rng, per_turn=5)[0]
    assert compare_variants(few, tuned, rng=rng)["reason"].item() == "no full bin in common"


def test_compare_variants__uses_the_shares_behind_the_labels(rng):
    """Labels with a fifth of errors: uncorrected they hide most of the reduction."""
    C = 0.75 * np.eye(5) + 0.05
    found = {}
    for name, gamma in (("base", 0.0), ("tuned", 0.5)):
        law = goal_law(np.arange(8), start=START, hop_rate=0.1, gamma_eff=gamma)
        classes = np.concatenate([rng.choice(5, size=2000, p=p @ C) for p in law])
        for confusion in (None, (10_000 * C).astype(int)):
            found[name, confusion is None] = ethical_entropy(
                classes, np.repeat(np.arange(8), 2000), confusion=confusion, n_draws=0, rng=rng
            )
    raw, corrected = (
        compare_variants(found["base", k], found["tuned", k], n_draws=20, rng=rng)["reduction"]
        for k in (True, False)
    )
    laws = [goal_law(np.arange(8), start=START, hop_rate=0.1, gamma_eff=g) for g in (0.0, 0.5)]
    truth = 1 - entropy(laws[1]).mean() / entropy(laws[0]).mean()
    assert abs(corrected.item() - truth) < abs(raw.item() - truth) / 3
