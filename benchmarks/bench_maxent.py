"""MaxEnt estimate of spike trains against the same estimate with dense float32 products.

The competitor is our own L-BFGS, folds, interval and null with the two products of an iteration as
float32 matrix products on states held as float32, in chunks that fit the cache. Both run on the
same data in the same process; CPU time is reported beside wall time. The floor is one dense value
and gradient, 4 T N^2 flop.
"""

import time
import tracemalloc
from dataclasses import dataclass, replace

import numpy as np
import pytest

from irrev.binning import SpikeBins
from irrev.ep.explicit import Antisymmetric
from irrev.ep.maxent import estimate, maxent_ep
from irrev.ep.metric import pair_matrix, pair_vector
from irrev.ep.observables import SpikePairs
from irrev.ep.samples import Part, build_samples
from irrev.simulate.spikes import simulate_spikes

SIZES = [(60, 20_000), (300, 100_000)]
CHUNK = 4096
OPTIONS = {
    "folds": 5,
    "n_blocks": 50,
    "solver": "lbfgs",
    "level": 0.95,
    "draws": 1000,
    "null_draws": 200,
    "seed": 0,
    "trajectory": False,
    "device": "cpu",
}


@dataclass(frozen=True)
class Dense32(Antisymmetric):
    """`pair` of states held as float32."""

    host: SpikePairs  # for the metric
    before: np.ndarray
    after: np.ndarray

    @property
    def n_samples(self):
        return self.before.shape[0]

    @property
    def n_observables(self):
        return self.host.n_observables

    def take(self, rows):
        return Dense32(self.host.take(rows), self.before[rows], self.after[rows])

    def values(self, theta):
        matrix = pair_matrix(theta, self.host.n_units).astype(np.float32)
        out = np.empty(self.n_samples)
        for k in range(0, self.n_samples, CHUNK):
            part = slice(k, k + CHUNK)
            out[part] = np.einsum("ti,ti->t", self.after[part] @ matrix, self.before[part])
        return out

    def total(self, weights):
        out = np.zeros((self.host.n_units,) * 2, np.float32)
        w = weights.astype(np.float32)[:, None]
        for k in range(0, self.n_samples, CHUNK):
            part = slice(k, k + CHUNK)
            out += self.after[part].T @ (w[part] * self.before[part])
        return pair_vector(out - out.T)

    def metric(self):
        return self.host.metric()


def dense_samples(bins):
    """Samples of the sparse estimate with dense products."""
    samples = build_samples(bins)
    host = samples.parts[0].observables
    states = 2 * bins.to_dense().astype(np.float32) - 1
    dense = Dense32(host, states[host.starts], states[host.starts + 1])
    return replace(samples, parts=(Part("pair", 1, dense),))


def timed(function):
    """Result, wall and CPU time, s."""
    wall, cpu = time.perf_counter(), time.process_time()
    out = function()
    return out, time.perf_counter() - wall, time.process_time() - cpu


def peak_of(function):
    """Peak of memory allocated in a call, bytes."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]} units x {s[1]} bins")
def test_maxent_against_the_same_estimate_with_dense_products(size):
    trains = simulate_spikes(*size, np.random.default_rng(0))
    bins = SpikeBins.from_dense(trains.states, 0.01)
    maxent_ep(trains.states[:1000], n_blocks=20)  # compiled loops are loaded once
    sparse, wall, cpu = timed(lambda: estimate(build_samples(bins), **OPTIONS))
    other, dense_wall, dense_cpu = timed(lambda: estimate(dense_samples(bins), **OPTIONS))
    auto, auto_wall, auto_cpu = timed(lambda: maxent_ep(bins))
    pairs = dense_samples(bins).parts[0].observables
    theta, w = np.zeros(pairs.n_observables), np.full(pairs.n_samples, 1 / pairs.n_samples)
    one = min(timed(lambda: (pairs.values(theta), pairs.total(w)))[2] for _ in range(3))
    print(
        f"\n{size[0]} units x {size[1]} bins, {trains.states.mean():.3f} active, "
        f"truth {trains.ep:.3f} nat/step\n"
        f"sparse {sparse}\ndense  {other}\nauto   {auto}\n"
        f"sparse {cpu:.2f} s CPU ({wall:.2f} s), dense {dense_cpu:.2f} s CPU "
        f"({dense_wall:.2f} s): {dense_cpu / cpu:.2f} times; auto {auto_cpu:.2f} s CPU "
        f"({auto_wall:.2f} s), {dense_cpu / auto_cpu:.2f} times\n"
        f"one dense pass {one:.3f} s CPU: sparse {cpu / one:.1f}, dense {dense_cpu / one:.1f} "
        f"passes of time, {sparse.passes:.1f} counted"
    )
    memory = (
        peak_of(lambda: maxent_ep(bins)),
        peak_of(lambda: estimate(dense_samples(bins), **OPTIONS)),
    )
    print(
        f"peak memory {memory[0] / 1e6:.0f} MB against {memory[1] / 1e6:.0f} MB: "
        f"{memory[0] / memory[1]:.3f}"
    )
    assert auto.value >= other.value - (other.high - other.low) / 2
    assert memory[0] <= memory[1] / 3


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]} units x {s[1]} bins")
def test_maxent_speed(benchmark, size):
    bins = SpikeBins.from_dense(simulate_spikes(*size, np.random.default_rng(0)).states, 0.01)
    benchmark.pedantic(maxent_ep, (bins,), rounds=2)
