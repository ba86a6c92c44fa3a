"""Prediction-error filter of every channel from additive lag products.

    x_t = phi_1 x_{t-1} + ... + phi_p x_{t-p} + e_t,     p = 0 ... 8 by BIC               (1)

Yule-Walker with the biased autocovariance, solved by Levinson's recursion. The lag products are
sums over segments about a common mean, so the filters of a long record or of joined epochs come
from chunks in any order, and no product crosses the end of a segment.

Limits: a filter of order 8 whitens smooth spectra; lines stay lines.
Source: Brockwell and Davis, Time series: theory and methods, section 8.2 (1991).
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irrev.errors import InputError

MAX_ORDER = 8  # of the whitening filters; as many leading samples are dropped, whatever the order
CONSTANT = 1e-12  # sd relative to the mean below which a channel carries no signal
CHANNEL_BLOCK = 8  # one cache line of float64: the transposing copy reads each line once
TIME_BLOCK = 4096  # samples of a block that stays in cache
Segments = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LagSums:
    """Lag products of every channel about `centre`, additive over segments."""

    centre: NDArray[np.float64]  # (channel,) reference that is subtracted before all sums
    sums: NDArray[np.float64]  # (channel,) sum of y = x - centre
    inner: NDArray[np.float64]  # (channel, lag) sum of y_t + y_{t+k} over the products
    products: NDArray[np.float64]  # (channel, lag) sum of y_t y_{t+k}
    counts: NDArray[np.int64]  # (lag,) number of products
    cross: NDArray[np.float64]  # (channel, channel) zero-lag products

    def __add__(self, other: "LagSums") -> "LagSums":
        other = other.moved(self.centre)
        return replace(
            self,
            sums=self.sums + other.sums,
            inner=self.inner + other.inner,
            products=self.products + other.products,
            counts=self.counts + other.counts,
            cross=self.cross + other.cross,
        )

    def moved(self, centre: NDArray[np.float64]) -> "LagSums":
        """Return the same sums about another centre."""
        d = self.centre - centre
        n = self.counts
        return LagSums(
            centre=centre,
            sums=self.sums + n[0] * d,
            inner=self.inner + 2 * n * d[:, None],
            products=self.products + d[:, None] * self.inner + n * d[:, None] ** 2,
            counts=n,
            cross=self.cross
            + np.outer(d, self.sums)
            + np.outer(self.sums, d)
            + n[0] * np.outer(d, d),
        )


@dataclass(frozen=True, slots=True)
class Whitening:
    """Prediction-error filter of every channel, and what the lag products say of the set."""

    centre: NDArray[np.float64]  # (channel,) mean
    filters: NDArray[np.float64]  # (channel, MAX_ORDER + 1), first entry 1
    order: NDArray[np.int64]  # (channel,)
    correlation_time: NDArray[np.float64]  # (channel,) samples, of the slowest pole
    constant: NDArray[np.bool_]  # (channel,)
    smallest_eigenvalue: float  # of the zero-lag correlation matrix of the channels that vary

    def part(self, start: int, stop: int) -> "Whitening":
        """Return the filters of a range of channels."""
        span = slice(start, stop)
        return Whitening(
            self.centre[span],
            self.filters[span],
            self.order[span],
            self.correlation_time[span],
            self.constant[span],
            self.smallest_eigenvalue,
        )


def summarise_lags(chunk: ArrayLike, *, segments: ArrayLike | None = None) -> LagSums:
    """Sum the lag products that fix the whitening filters.

    Parameters
    ----------
    chunk
        Record or part of it, shape (time, channel).
    segments
        Half-open sample ranges, shape (segment, 2); the whole chunk when None.

    Returns
    -------
        Sums over all segments, to be added to those of other chunks.

    Raises
    ------
    InputError
        If a value is not finite or a range leaves the chunk.
    """
    x = as_record(chunk)
    ranges = as_segments(segments, len(x))
    n_channels = x.shape[1]
    centre = np.asarray(x[ranges[0, 0] : ranges[0, 1]].mean(axis=0, dtype=np.float64))
    require_finite(x, ranges, centre)
    products = np.zeros((n_channels, MAX_ORDER + 1))
    inner = np.zeros_like(products)
    counts = np.zeros(MAX_ORDER + 1, dtype=np.int64)
    cross = np.zeros((n_channels, n_channels))
    for start, stop in ranges:
        n = int(stop - start)
        counts += np.maximum(n - np.arange(MAX_ORDER + 1), 0)
        for first in range(0, n_channels, CHANNEL_BLOCK):
            part = slice(first, min(first + CHANNEL_BLOCK, n_channels))
            for c, y in enumerate(centred_rows(x[start:stop, part], centre[part]), first):
                _add_lag_products(y, products[c], inner[c])
        with one_blas_thread():
            for t in range(start, stop, TIME_BLOCK):
                y = x[t : min(t + TIME_BLOCK, stop)] - centre
                cross += y.T @ y
    return LagSums(centre, inner[:, 0] / 2, inner, products, counts, cross)


def fit_whitening(lags: LagSums) -> Whitening:
    """Fit each channel's prediction-error filter, order by BIC.

    Parameters
    ----------
    lags
        Sums over the whole record.

    Returns
    -------
        Filters about the common mean of each channel.
    """
    n = int(lags.counts[0])
    mean = lags.centre + lags.sums / n
    centred = lags.moved(mean)
    variance = centred.products[:, 0] / n
    floor = CONSTANT * np.maximum(np.abs(mean), np.finfo(np.float64).tiny)
    constant = np.sqrt(np.maximum(variance, 0.0)) <= floor
    n_channels = len(mean)
    filters = np.zeros((n_channels, MAX_ORDER + 1))
    filters[:, 0] = 1.0
    order = np.zeros(n_channels, dtype=np.int64)
    memory = np.zeros(n_channels)
    for c in np.flatnonzero(~constant):
        filters[c] = _levinson_bic(centred.products[c] / n, n)
        order[c] = np.max(np.flatnonzero(filters[c]))
        memory[c] = _correlation_time(filters[c])
    keep = np.flatnonzero(~constant)
    scale = np.sqrt(np.diag(centred.cross)[keep])
    smallest = 1.0
    if keep.size > 1:
        correlation = centred.cross[np.ix_(keep, keep)] / np.outer(scale, scale)
        smallest = float(np.linalg.eigvalsh(correlation)[0])
    return Whitening(mean, filters, order, memory, constant, smallest)


def as_record(x: ArrayLike) -> NDArray[np.floating]:
    """Check that `x` is (time, channel) and numeric; integers become float64.

    Raises
    ------
    InputError
        If it is not 2-D or not real.
    """
    try:
        record = np.asarray(x)
    except ValueError as error:  # lists of unequal lengths
        raise InputError(
            f"the record is no array (time, channel): {error}; "
            "channels must have equal lengths and sampling rates."
        ) from error
    if record.ndim != 2:
        raise InputError(
            f"the record has shape {record.shape}, expected (time, channel); "
            "channels must have equal lengths and sampling rates."
        )
    if record.dtype.kind not in "fiub":
        raise InputError(f"the record has type {record.dtype}; give real numbers.")
    return record if record.dtype.kind == "f" else record.astype(np.float64)


def as_segments(segments: ArrayLike | None, n: int) -> Segments:
    """Check half-open sample ranges of a record of `n` samples.

    Raises
    ------
    InputError
        If a range is empty, overlaps the next or leaves the record.
    """
    if segments is None:
        return np.array([[0, n]], dtype=np.int64)
    ranges = np.asarray(segments, dtype=np.int64).reshape(-1, 2)
    if not len(ranges):
        raise InputError("segments is empty; give at least one range or None.")
    flat = ranges.ravel()
    if np.any(ranges[:, 0] >= ranges[:, 1]) or np.any(np.diff(flat) < 0):
        raise InputError("segments overlap, are empty or unsorted; give ascending (start, stop).")
    if flat[0] < 0 or flat[-1] > n:
        raise InputError(f"segments reach from {flat[0]} to {flat[-1]} in {n} samples; cut them.")
    return ranges


def one_blas_thread() -> AbstractContextManager[object]:
    """Keep BLAS to one thread: on blocks of this size more of them only wait for each other.

    Without threadpoolctl (extra `fast`) the caller's OPENBLAS_NUM_THREADS decides.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    return threadpool_limits(limits=1, user_api="blas")


def centred_rows(part: NDArray[np.floating], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the channels as contiguous rows, `centre` subtracted."""
    rows = np.array(part.T, dtype=np.float64, order="C")
    rows -= centre[:, None]
    return rows


def require_finite(x: NDArray[np.floating], ranges: Segments, centre: NDArray[np.float64]) -> None:
    """Refuse missing values, naming the first, and another number of channels."""
    if centre.size != x.shape[1]:
        raise InputError(f"{x.shape[1]} channels, but {centre.size} filters; use the same set.")
    for start, stop in ranges:
        part = x[start:stop]
        if np.isfinite(part.sum(axis=0, dtype=np.float64)).all():
            continue
        bad = np.argwhere(~np.isfinite(part))
        if bad.size:
            t, c = bad[0]
            raise InputError(
                f"channel {c} is not finite at sample {start + t} ({part[t, c]}); fill it, or "
                'pass segments and nan="drop_segment".'
            )


def _add_lag_products(
    y: NDArray[np.float64], products: NDArray[np.float64], inner: NDArray[np.float64]
) -> None:
    n, total = y.size, y.sum()
    for k in range(min(MAX_ORDER + 1, n)):
        products[k] += y[: n - k] @ y[k:]
        inner[k] += 2 * total - y[n - k :].sum() - y[:k].sum()


def _levinson_bic(covariance: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return the prediction-error filter of the order that minimises BIC."""
    best, filters = np.inf, np.zeros(MAX_ORDER + 1)
    current, error = np.zeros(MAX_ORDER + 1), covariance[0]
    current[0] = 1.0
    for p in range(MAX_ORDER + 1):
        if p:
            reflection = -(current[:p] @ covariance[p:0:-1]) / error
            current[: p + 1] = current[: p + 1] + reflection * current[: p + 1][::-1]
            error *= 1 - reflection**2
        if error <= np.finfo(np.float64).eps * covariance[0]:
            return filters  # the next order would predict exactly: nothing left to whiten
        score = n * np.log(error) + p * np.log(n)
        if score < best:
            best, filters = score, current.copy()
    return filters


def _correlation_time(coefficients: NDArray[np.float64]) -> float:
    poles = np.abs(np.roots(np.trim_zeros(coefficients, "b")))
    if not poles.size or poles.max() <= 0:
        return 0.0
    return float(-1 / np.log(min(poles.max(), 1 - 1e-12)))
