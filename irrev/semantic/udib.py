"""Clustering by the uniform deterministic information bottleneck.

    cost(labels; tau) = sum_c [ 2 n_c V_c - tau n_c ln(n_c / n) ]                          (1)

n_c is the size of cluster c, V_c the mean squared distance of its members to their mean. A
sentence's share of (1) is its mean squared distance to the members of its cluster less
tau ln(n_c / n). Batch updates assign every sentence to the cluster of least share until nothing
moves; then the pair whose merging lowers (1) most is merged, while it falls. Merging c and d adds

    2 n_c n_d / (n_c + n_d) |mu_c - mu_d|^2 - tau [h(n_c + n_d) - h(n_c) - h(n_d)]     (2)

with h(m) = m ln(m / n) (both derived here), so a pass costs O(n K d) and a merge O(K^2 d).

The temperature tau is swept; the number of topics that holds over the widest range of ln tau, from
3 up, is taken, at the middle of its range. The number of starting clusters does not count as long
as there is another: low temperatures leave it as it is. The paper takes the sharpest kink of the
clusters' entropy instead; the rule is ours. Sentences of real sets need show no range at all: the
clusters then merge one after another within a factor of three in tau, and a warning says so.

Source: Halperin, arXiv:2509.03533.
"""

import warnings
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from irrev.errors import IrrevWarning

TEMPERATURES = np.geomspace(1e-2, 1e2, 30)  # the paper's demonstration
MIN_TOPICS = 3
MAX_UPDATES = 100  # batch updates may cycle; the best labels seen are kept


@dataclass(frozen=True, slots=True)
class Clusters:
    """Sizes, means and spreads of clusters."""

    size: NDArray[np.float64]  # (topic,)
    mean: NDArray[np.float64]  # (topic, dimension)
    spread: NDArray[np.float64]  # (topic,), V_c

    @classmethod
    def of(cls, x: NDArray[np.float64], label: NDArray[np.int64]) -> "Clusters":
        """Summarise the clusters that have members; their order is that of the labels."""
        _, label = np.unique(label, return_inverse=True)
        size = np.bincount(label).astype(np.float64)
        mean = np.zeros((len(size), x.shape[1]))
        np.add.at(mean, label, x)
        mean /= size[:, None]
        square = np.bincount(label, weights=((x - mean[label]) ** 2).sum(1))
        return cls(size, mean, square / size)

    def offset(self, tau: float) -> NDArray[np.float64]:
        """V_c - tau ln(n_c / n): what a sentence's cost adds to its squared distance."""
        return self.spread - tau * np.log(self.size / self.size.sum())

    def cost(self, tau: float) -> float:
        """Total cost, eq. (1)."""
        share = np.log(self.size / self.size.sum())
        return float(np.sum(2 * self.size * self.spread - tau * self.size * share))

    def merged(self, tau: float) -> "Clusters | None":
        """Merge the pair that lowers the cost most; None if no merging lowers it."""
        if len(self.size) == 1:
            return None
        # Change of the cost, eq. (2), for every pair.
        n, both = self.size.sum(), self.size[:, None] + self.size
        square = ((self.mean[:, None] - self.mean) ** 2).sum(-1)
        entropy = self.size * np.log(self.size / n)
        within = 2 * np.outer(self.size, self.size) / both * square
        change = within - tau * (both * np.log(both / n) - entropy[:, None] - entropy)
        np.fill_diagonal(change, np.inf)
        c, d = np.unravel_index(change.argmin(), change.shape)
        if change[c, d] >= 0:
            return None
        size, mean, spread = self.size.copy(), self.mean.copy(), self.spread.copy()
        size[c] = both[c, d]
        mean[c] = (self.size[[c, d]] @ self.mean[[c, d]]) / size[c]
        inside = self.size[[c, d]] @ self.spread[[c, d]]
        spread[c] = (inside + self.size[c] * self.size[d] / size[c] * square[c, d]) / size[c]
        keep = np.arange(len(size)) != d
        return Clusters(size[keep], mean[keep], spread[keep])


def cluster(x: NDArray[np.float64], start: NDArray[np.float64], tau: float) -> Clusters:
    """Cluster vectors at one temperature.

    Parameters
    ----------
    x
        Vectors, shape (sentence, dimension).
    start
        Starting centres, shape (topic, dimension).
    tau
        Temperature, squared distance.

    Returns
    -------
        The clusters, at most as many as centres.
    """
    label = _distances(x, start).argmin(1)
    best = clusters = Clusters.of(x, label)
    for _ in range(MAX_UPDATES):
        nearest = (_distances(x, clusters.mean) + clusters.offset(tau)).argmin(1)
        updated = Clusters.of(x, nearest)
        if np.array_equal(nearest, label) and len(updated.size) == len(clusters.size):
            break
        label, clusters = nearest, updated
        best = min(best, clusters, key=lambda c: c.cost(tau))
    while (fewer := best.merged(tau)) is not None:
        best = fewer
    return best


def sweep_temperature(
    x: NDArray[np.float64], start: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cluster over the temperatures and return centres and offsets of the stablest solution.

    Parameters
    ----------
    x
        Vectors, shape (sentence, dimension).
    start
        Starting centres, at most 15 in the paper, shape (topic, dimension).

    Returns
    -------
        Centres, shape (topic, dimension), and offsets, shape (topic,).

    Warns
    -----
    IrrevWarning
        If no temperature gives three topics, or no number of topics holds at two neighbouring
        temperatures.
    """
    solutions = [cluster(x, start, float(tau)) for tau in TEMPERATURES]
    sizes = [len(s.size) for s in solutions]
    runs = [[i for i, _ in run] for _, run in groupby(enumerate(sizes), key=lambda pair: pair[1])]
    usable = [run for run in runs if sizes[run[0]] >= MIN_TOPICS]
    merged = [run for run in usable if sizes[run[0]] < len(start)]
    widest = max(merged or usable or [runs[0]], key=len)
    topics = sizes[widest[0]]
    if topics < MIN_TOPICS:
        problem = f"at most {topics} topics"
    elif len(widest) == 1:
        problem = "no number of topics that holds over a range of temperatures"
    else:
        problem = ""
    if problem:
        warnings.warn(
            f"UDIB finds {problem} in {len(x)} sentences; use k-means.",
            IrrevWarning,
            stacklevel=3,
        )
    middle = widest[len(widest) // 2]
    return solutions[middle].mean, solutions[middle].offset(float(TEMPERATURES[middle]))


def _distances(x: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances up to the term |x|^2, which no argmin over centres sees."""
    return (centres**2).sum(1) - 2 * x @ centres.T
