"""Held-out sums over blocks of several estimates at once: units, labels, levels, pairs of areas.

Each item is an observable set on its own samples; all items share the blocks and the folds, so
that sums and differences of items can be resampled together. On the test samples of fold k with
theta fixed, item m has

    f_mk = sum a / n - ln(sum e^r / n),   a = theta . g,  r = theta . g~          (1)

and every draw of block counts gives all f_mk from the same sums over blocks.

Source: derived here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import log

import numpy as np
from numpy.typing import NDArray

from irrev.ep.ascent import Fit
from irrev.ep.crossfit import both_values
from irrev.ep.limits import limited, with_limits
from irrev.ep.objective import Dual, guarded
from irrev.ep.observables import Observables
from irrev.stats import circular_block_counts, empirical_p

Array = NDArray[np.float64]
Fitter = Callable[[Dual, Dual, int], Fit]  # training, validation, fold -> fit

SERIES = ("n", "forward", "square", "reverse", "shift")


@dataclass(frozen=True, slots=True)
class BlockwiseSums:
    """Held-out sums of items over blocks; `+` joins disjoint sets of items."""

    item: NDArray[np.int64]  # (item,)
    n: Array  # (item, block) test samples
    forward: Array  # (item, block) sum of theta . g
    square: Array  # (item, block) sum of (theta . g)^2
    reverse: Array  # (item, block) sum of exp(theta . g~ - shift)
    shift: Array  # (item, block) of the exponent, equal within a fold
    certified: Array  # (item,) pooled over folds, nats a sample
    train: Array  # (item,) value on the training parts, nats a sample
    gram: Array  # (item, block, block) products of scaled sums of the odd part
    theta: tuple[Array, ...]  # (item,) mean over folds
    fold_of_block: NDArray[np.int64]  # (block,)

    def __add__(self, other: "BlockwiseSums") -> "BlockwiseSums":
        return join([self, other])

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return int(self.fold_of_block.max()) + 1

    def fold_terms(self, k: int, counts: Array) -> Array:
        """Return n f (eq. 1) of fold k for each row of block counts, shape (draw, item)."""
        inside = self.fold_of_block == k
        n, a, e = (counts @ x[:, inside].T for x in (self.n, self.forward, self.reverse))
        shift = self.shift[:, inside][:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            f = a / n - shift - np.log(e / n)
            f = np.minimum(f, np.log(np.maximum(n, 1.0)))
        return np.where((n > 0) & (e > 0), n * f, 0.0)

    def values(self) -> Array:
        """Return sum over folds of n f of each item, shape (item,)."""
        size = np.bincount(self.fold_of_block, minlength=self.n_folds)
        return np.sum(
            [self.fold_terms(k, np.ones((1, size[k])))[0] for k in range(self.n_folds)], axis=0
        )

    def draw(self, draws: int, rng: np.random.Generator) -> Array:
        """Resample blocks within folds: deviations of `values`, shape (draw, item)."""
        out = np.zeros((draws, self.item.size))
        for k in range(self.n_folds):
            size = int(np.sum(self.fold_of_block == k))
            counts = circular_block_counts(size, draws, rng)
            here = self.fold_terms(k, np.ones((1, size)))
            # Resampling n blocks underestimates their variance by (n - 1) / n.
            out += np.sqrt(size / max(size - 1, 1)) * (self.fold_terms(k, counts) - here)
        return out

    def variances(self) -> Array:
        """Return the variance of theta . g of each item."""
        n = np.maximum(self.n.sum(axis=1), 1.0)
        return self.square.sum(axis=1) / n - (self.forward.sum(axis=1) / n) ** 2

    def noise_fractions(self, optimism: Array) -> Array:
        """Return the share of theta that is sampling noise (`irrev.ep.validation`, eq. 3)."""
        variance = self.variances()
        safe = np.where(variance > 0, variance, 1.0)
        return np.where(variance > 0, np.clip(optimism / safe, 0.0, 1.0), 0.0)


def join(parts: Sequence[BlockwiseSums]) -> BlockwiseSums:
    """Put items that share folds into one object."""
    names = ("item", *SERIES, "certified", "train", "gram")
    return BlockwiseSums(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names},
        theta=tuple(theta for part in parts for theta in part.theta),
        fold_of_block=parts[0].fold_of_block,
    )


def merge_folds(parts: Sequence[BlockwiseSums]) -> BlockwiseSums:
    """Put parts of the same items together, each with some of the folds, in order of the folds."""
    first = parts[0]
    added = {
        name: np.sum([getattr(part, name) for part in parts], axis=0)
        for name in ("forward", "square", "reverse", "shift", "certified", "train")
    }
    theta = tuple(np.sum(folds, axis=0) for folds in zip(*(p.theta for p in parts), strict=True))
    return replace(first, **added, theta=theta)


def fit_blockwise(
    observables: Observables,
    block: NDArray[np.int64],
    fold_of_block: NDArray[np.int64],
    fit: Fitter,
    *,
    item: int = 0,
    only: Sequence[int] | None = None,
) -> BlockwiseSums:
    """Cross-fit one item.

    Parameters
    ----------
    observables
        Observables on the samples of this item.
    block
        Block of each sample, ascending, shape (n_samples,).
    fold_of_block
        Fold of each block, the same for all items.
    fit
        Fits training samples, chooses on validation samples.
    item
        Name of the item: a number.
    only
        Folds to fit, ascending; default all. `merge_folds` puts parts together, bit for bit.
    """
    fold, n_blocks = fold_of_block[block], fold_of_block.size
    n_folds = int(fold_of_block.max()) + 1
    chosen = range(n_folds) if only is None else only
    totals, gram = _sums(observables, block, fold_of_block, chosen)
    out = {name: np.zeros(n_blocks) for name in SERIES}
    out["n"] += np.bincount(block, minlength=n_blocks)
    theta, certified, train = np.zeros(observables.n_observables), 0.0, 0.0
    for k in chosen:
        held = (k + 1) % n_folds
        groups = [fold == k, fold == held, (fold != k) & (fold != held)]
        rows = [np.flatnonzero(group) for group in groups]
        if min(r.size for r in rows) < 2:
            continue
        inside = fold_of_block == k
        rest, other = totals[k]
        training = Dual(observables.take(rows[2]), rest / rows[2].size)
        validation = with_limits(Dual(observables.take(rows[1]), other / rows[1].size))
        fitted = fit(training, guarded(validation), k)
        a, r = limited(*both_values(observables.take(rows[0]), fitted.theta), fitted.limit)
        shift = float(r.max())
        for name, series in (("forward", a), ("square", a**2), ("reverse", np.exp(r - shift))):
            out[name] += np.bincount(block[rows[0]], series, n_blocks)
        out["shift"][inside] = shift
        own = log(float(np.mean(np.exp(r - shift)))) + shift
        excess = float(np.exp(min(own - fitted.log_normaliser, 700.0)))
        value = float(a.mean()) - fitted.log_normaliser - excess + 1.0
        certified += a.size * float(np.clip(value, -log(a.size), log(a.size))) / block.size
        train += a.size * fitted.value_train / block.size
        theta += fitted.theta / n_folds
    return BlockwiseSums(
        item=np.array([item]),
        **{name: x[None] for name, x in out.items()},
        certified=np.array([certified]),
        train=np.array([train]),
        gram=gram[None],
        theta=(theta,),
        fold_of_block=fold_of_block,
    )


def _sums(
    observables: Observables,
    block: NDArray[np.int64],
    fold_of_block: NDArray[np.int64],
    folds: Sequence[int],
) -> tuple[dict[int, tuple[Array, Array]], Array]:
    """Return sums over training and validation blocks of some folds, and the gram of all blocks.

    The gram is that of the odd part of block sums, in units of the observables' sizes. In memory
    is one number for each block and observable, two if some observables are not odd.
    """
    n_blocks, n_folds = fold_of_block.size, int(fold_of_block.max()) + 1
    forward = np.zeros((n_blocks, observables.n_observables))
    odd = forward if observables.odd else np.zeros_like(forward)
    size = observables.metric().size
    edges = np.searchsorted(block, np.arange(n_blocks + 1))
    for b in np.flatnonzero(np.diff(edges)):
        part = observables.take(np.arange(edges[b], edges[b + 1]))
        ones = np.ones(part.n_samples)
        forward[b] = part.total(ones)
        if not observables.odd:
            odd[b] = 0.5 * (forward[b] - part.reverse_total(ones))
    totals = {}
    for k in folds:
        held = fold_of_block == (k + 1) % n_folds
        totals[k] = (_total(forward, ~held & (fold_of_block != k)), _total(forward, held))
    odd /= size
    return totals, odd @ odd.T


def _total(sums: Array, inside: NDArray[np.bool_]) -> Array:
    """Add the sums of some blocks, without a copy of them: with many observables it is large."""
    out = np.zeros(sums.shape[1])
    for b in np.flatnonzero(inside):
        out += sums[b]
    return out


def interval(
    value: Array | float, deviations: Array, widen: Array | float, level: float
) -> tuple[Array, Array]:
    """Return the ends of the interval of values from their resampled deviations.

    Resampling an item of few samples raises -ln <e^r> by as much as sampling it did, so the mean
    deviation is the bias of the value and is taken off; the interval is extended to the value.

    Parameters
    ----------
    value
        Values, shape (item,), or one.
    deviations
        Resampled minus value, shape (draw, item) or (draw,).
    widen
        Factor on the spread.
    level
        Of the interval.
    """
    bias = deviations.mean(axis=0)
    tails = np.quantile(deviations - bias, [(1 + level) / 2, (1 - level) / 2], axis=0)
    low, high = value - bias - widen * tails
    return np.minimum(low, value), np.maximum(high, value)


def reversal_p(gram: Array, draws: int, rng: np.random.Generator) -> tuple[float, float, Array]:
    """Compare the cross-block quadratic value with random directions of the blocks.

    Parameters
    ----------
    gram
        Products of the scaled odd block sums, shape (block, block).
    draws
        Random directions.
    rng
        Source of the signs.

    Returns
    -------
        p-value, sum of the off-diagonal products, the same under random signs.
    """
    cross = gram - np.diag(np.diag(gram))
    signs = rng.integers(0, 2, (draws, gram.shape[0])) * 2.0 - 1.0
    null = np.einsum("db,bc,dc->d", signs, cross, signs, optimize=True)
    return empirical_p(float(cross.sum()), null), float(cross.sum()), null
