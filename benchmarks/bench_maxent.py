"""MaxEnt estimate of spike trains against the floor of one dense float32 pass.

The floor is one value and one gradient of the pair observables by two dense float32 products,
4 T N^2 flop, timed in the same run on the same data. Times are CPU times of one thread, so that
other work on the machine does not count.
"""

import time
import tracemalloc

import numpy as np
import pytest

from irrev.binning import SpikeBins
from irrev.ep.crossfit import block_sums, cross_fit
from irrev.ep.maxent import maxent_ep
from irrev.ep.observables import SpikePairs
from irrev.ep.validation import bootstrap, cut_blocks, reversal_test
from irrev.simulate.spikes import simulate_spikes
from irrev.stats import deal_blocks

SIZES = [(60, 20_000), (300, 100_000)]


@pytest.fixture(scope="module", params=SIZES, ids=lambda s: f"{s[0]} units x {s[1]} bins")
def trains(request):
    n_units, n_bins = request.param
    return simulate_spikes(n_units, n_bins, np.random.default_rng(0))


def dense_pass(states, theta):
    """Value and gradient by dense float32 products."""
    coded = 2 * states.astype(np.float32) - 1
    before, after = coded[:-1], coded[1:]
    start = time.process_time()
    a = np.einsum("ti,ti->t", after @ theta, before)
    w = np.exp(-a + a.min())
    gradient = after.T @ (before * (w / w.sum())[:, None])
    return time.process_time() - start, gradient


def fastest(function, rounds=3):
    times = []
    for _ in range(rounds):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def test_maxent_against_the_dense_floor(trains):
    """Print fit, interval and null in units of the dense pass, and peak memory."""
    bins = SpikeBins.from_dense(trains.states, 0.01)
    n_bins, n_units = trains.states.shape
    theta = np.zeros((n_units, n_units), np.float32)
    floor = min(dense_pass(trains.states, theta)[0] for _ in range(3))
    pairs = SpikePairs(bins.indptr, bins.indices, np.arange(n_bins - 1), n_units, single=True)
    kept, block = cut_blocks(pairs.starts, 50)
    pairs = pairs.take(kept)
    folds = deal_blocks(50, 5, np.random.default_rng(0))
    sums = block_sums(pairs, block, 50)
    fits = cross_fit(pairs, block, sums, folds)
    five = fastest(lambda: cross_fit(pairs, block, block_sums(pairs, block, 50), folds))

    def interval_and_null():
        rng = np.random.default_rng(1)
        tests = [f.test for f in fits]
        bootstrap(tests, [block[f.rows] for f in fits], rng, bin_s=0.01, draws=1000)
        reversal_test(sums.odd, np.bincount(block), pairs.metric().size, rng, draws=200)

    extra = fastest(interval_and_null)
    whole = fastest(lambda: maxent_ep(bins), rounds=2)
    tracemalloc.start()
    est = maxent_ep(bins)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    copies = 3 * n_bins * n_units * 4
    print(
        f"\n{n_units} units x {n_bins} bins, {trains.states.mean():.3f} active, "
        f"truth {trains.ep:.3f} nat/step, {est}\n"
        f"dense pass {floor:.3f} s; in units of it: one fit {five / 5 / floor:.2f}, "
        f"5-fold fit {five / floor:.2f}, interval and null {extra / floor:.2f} "
        f"({extra / five:.2f} of the 5-fold fit), whole estimate {whole / floor:.2f}\n"
        f"peak memory {peak / 1e6:.0f} MB, {peak / copies:.2f} of three dense copies"
    )


def test_maxent_speed(benchmark, trains):
    bins = SpikeBins.from_dense(trains.states, 0.01)
    benchmark.pedantic(maxent_ep, (bins,), rounds=2)
