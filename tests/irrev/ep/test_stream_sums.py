"""Sums over runs of transitions, against the same written out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from irrev.ep.stream_sums import cut_sums

LIMITS = (0.125, 0.25, 1.0, 2.5)
values = st.lists(st.floats(-4.0, 4.0) | st.sampled_from([0.25, -0.25, -2.5]), max_size=12)


@given(st.lists(st.tuples(values, st.integers(0, 3)), min_size=1, max_size=5), st.randoms())
def test_cut_sums__are_those_of_clipped_values(runs, random):
    """Sums of at most 15 terms below e^3.75, added in another order: 1e-12."""
    pairs = [(s, b) for s in (0.0, 0.6, 1.5) for b in LIMITS]
    pairs = random.sample(pairs, random.randint(1, len(pairs)))
    busy = np.array([len(a) for a, _ in runs])
    quiet = np.array([n for _, n in runs])
    found = cut_sums(np.array([x for a, _ in runs for x in a]), busy, quiet, pairs)
    for (s, b), sums in zip(pairs, found, strict=True):
        for (a, n), (beyond, total, first, second) in zip(runs, sums.T, strict=True):
            d = -np.clip(np.array([*a, *[0.0] * n]), -b, b)
            e = np.exp(s * d)
            assert beyond == np.sum(np.abs(a) > b)
            np.testing.assert_allclose(
                [total, first, second], [e.sum(), (e * d).sum(), (e * d**2).sum()], atol=1e-12
            )
