"""Additive cross-spectral sums of a multichannel record, whitened channel by channel.

    G_m = sum_{f in band m} X(f) X(f)^dagger,    K_m = number of ordinates in band m       (1)

X = n^(-1/2) sum_t y_t e^(-i omega t) is the unitary Fourier transform of each channel after its
own autoregressive prediction-error filter (Yule-Walker, order 0 to 8 by BIC): every ordinate has
the variance of the spectrum whatever the length n of its segment, so that the K_m ordinates of
unequal segments count alike. Coherence is unchanged by such filters in the population;
whitening removes the leakage and the unevenness inside a band that would bias it. Phases are
not unchanged, so a second set of sums uses

    X_i(f) conj(A_i(f)) / |A_i(f)|,    A_i = transfer function of the filter of channel i  (2)

which undoes the filter's phase and keeps its gain.

The band sums (`summarise`), like the lag products behind the filters, are additive over segments,
so chunks of a long record or epochs may be summed in any order. No transform crosses the end of a
segment.

Limits: stationary, uniformly and simultaneously sampled channels; segments much longer than the
correlation time. Derived here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft
from scipy.linalg import get_blas_funcs

from irrev.ep.strength import BLOCKS, Strength, mean_squares, sum_strength
from irrev.ep.whitening import (
    CHANNEL_BLOCK,
    MAX_ORDER,
    Segments,
    Whitening,
    as_record,
    as_segments,
    centred_rows,
    one_blas_thread,
    require_finite,
)
from irrev.errors import InputError

MIN_ORDINATES = 8  # per band; below it the band's own bias correction is no longer small
MIN_BANDS = 4
SMOOTH_FROM = 16_384  # shorter transforms are fast at any length
LARGEST_PRIME = 13  # beyond it a transform costs up to ten times more
BATCH = 1 << 21  # samples of one batch of equal segments, over all channels
Precision = Literal["float64", "float32"]


@dataclass(frozen=True, slots=True)
class CrossSums:
    """Band sums (1) of whitened channels, with and without restored phases (2); additive."""

    gram: NDArray[np.complex128]  # (band, channel, channel)
    restored: NDArray[np.complex128]  # (band, channel, channel)
    counts: NDArray[np.int64]  # (band,) ordinates
    n_ordinates: int  # between zero and Nyquist, inside and outside the chosen bands
    n_samples: int  # after whitening
    n_segments: int
    square: NDArray[np.float64]  # (channel,) sum of squares of the whitened channel
    fourth: NDArray[np.float64]  # (channel,) sum of fourth powers
    strength: Strength  # changes of power

    def __add__(self, other: "CrossSums") -> "CrossSums":
        if self.gram.shape != other.gram.shape:
            raise InputError(
                f"sums of shapes {self.gram.shape} and {other.gram.shape} do not add; "
                "use the same bands and channels for every chunk."
            )
        return CrossSums(
            *(getattr(self, name) + getattr(other, name) for name in CrossSums.__slots__)
        )

    def coarser(self, n_bands: int) -> "CrossSums":
        """Return the sums over `n_bands` wider bands; a divisor of the present number."""
        factor = len(self.counts) // n_bands
        if factor * n_bands != len(self.counts):
            raise InputError(
                f"{len(self.counts)} bands do not merge into {n_bands}; use a divisor."
            )
        shape = (n_bands, factor, *self.gram.shape[1:])
        return replace(
            self,
            gram=self.gram.reshape(shape).sum(axis=1),
            restored=self.restored.reshape(shape).sum(axis=1),
            counts=self.counts.reshape(n_bands, factor).sum(axis=1),
        )


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of whitened channels in equal segments."""

    square: NDArray[np.float64]  # (channel,) sum
    fourth: NDArray[np.float64]  # (channel,) sum
    blocks: NDArray[np.float64]  # (channel, segment, block) mean squares

    @classmethod
    def none(cls, n_channels: int, n_segments: int, n: int) -> "Moments":
        """Return room for segments of `n` whitened samples."""
        blocks = np.zeros((n_channels, n_segments, n // BLOCKS[0]))
        return cls(np.zeros(n_channels), np.zeros(n_channels), blocks)


def summarise(
    chunk: ArrayLike,
    whitening: Whitening,
    *,
    n_bands: int = 128,
    segments: ArrayLike | None = None,
    cycles: tuple[float, float] = (0.0, 0.5),
    precision: Precision = "float64",
) -> CrossSums:
    """Whiten, transform and sum the cross-products of all channels in each band.

    Parameters
    ----------
    chunk
        Record or part of it, shape (time, channel).
    whitening
        Filters of the whole record; the same for every chunk.
    n_bands
        Contiguous bands of nearly equal numbers of ordinates.
    segments
        Half-open sample ranges, shape (segment, 2); the whole chunk when None.
    cycles
        Frequency range that the bands divide, cycles per sample.
    precision
        "float32" halves time and memory of transforms and products; sums stay float64.

    Returns
    -------
        Sums over all segments, to be added to those of other chunks.

    Raises
    ------
    InputError
        If a value is not finite or a segment has fewer ordinates than bands.
    """
    x = as_record(chunk)
    ranges = as_segments(segments, len(x))
    require_finite(x, ranges, whitening.centre)
    with one_blas_thread():
        parts = (
            _sum_batch(x, batch, whitening, n_bands, cycles, precision)
            for batch in batches(ranges, x.shape[1])
        )
        return reduce(add, parts)


def fourier_rows(
    x: NDArray[np.floating],
    segments: Segments,
    whitening: Whitening,
    *,
    precision: Precision = "float64",
    moments: "Moments | None" = None,
) -> NDArray[np.complexfloating]:
    """Transform equal whitened segments, unitary: ordinates 0 to Nyquist, (channel, segment, f).

    `moments` receives the squares and fourth powers of every whitened channel.
    """
    n_channels, (start, stop) = x.shape[1], segments[0]
    n = transform_length(int(stop - start))
    drop = int(stop - start) - n
    real = np.dtype(precision)
    rows = np.empty((n_channels, len(segments), n // 2 + 1), np.result_type(real, np.complex64))
    for s, (start, stop) in enumerate(segments):
        for first in range(0, n_channels, CHANNEL_BLOCK):
            part = slice(first, min(first + CHANNEL_BLOCK, n_channels))
            block = centred_rows(x[start:stop, part], whitening.centre[part])
            for c, y in enumerate(block, first):
                white = filtered(y, whitening.filters[c])[drop - MAX_ORDER :]
                if moments is not None:
                    power = white * white
                    moments.square[c] += power.sum()
                    moments.fourth[c] += power @ power
                    moments.blocks[c, s] = mean_squares(white)
                rows[c, s] = fft.rfft(white.astype(real, copy=False), norm="ortho")
    return rows


def transform_length(n: int) -> int:
    """Return the whitened length of a segment of `n` samples, shortened to a fast transform.

    Examples
    --------
    >>> transform_length(1000), transform_length(200_000)
    (992, 199927)
    """
    length = n - MAX_ORDER
    while length >= SMOOTH_FROM and not _is_smooth(length):
        length -= 1
    return length


def n_ordinates(n: int) -> int:
    """Return the ordinates strictly between zero and Nyquist of a segment of `n` samples.

    Examples
    --------
    >>> n_ordinates(1032), n_ordinates(1033)
    (511, 512)
    """
    return (transform_length(n) + 1) // 2 - 1


def band_edges(n: int, n_bands: int, cycles: tuple[float, float]) -> NDArray[np.int64]:
    """Return the first ordinate of each band of a transform of length `n`, and the last's end."""
    last = (n + 1) // 2 - 1
    low = max(1, int(np.ceil(cycles[0] * n - 1e-9)))
    high = min(last, int(np.floor(cycles[1] * n + 1e-9)))
    return low + np.round(np.linspace(0, high - low + 1, n_bands + 1)).astype(np.int64)


def phase_factors(
    filters: NDArray[np.float64], omega: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Return conj(A) / |A| of every filter, shape (channel, frequency)."""
    table = filters @ np.exp(-1j * np.multiply.outer(np.arange(filters.shape[1]), omega))
    return np.asarray(table.conj() / np.abs(table), dtype=np.complex128)


def batches(ranges: Segments, n_channels: int) -> Iterator[Segments]:
    """Group segments of equal length, a bounded number of samples at a time."""
    lengths = ranges[:, 1] - ranges[:, 0]
    for length in np.unique(lengths):
        equal = ranges[lengths == length]
        size = max(1, BATCH // (int(length) * n_channels))
        yield from (equal[first : first + size] for first in range(0, len(equal), size))


def _sum_batch(
    x: NDArray[np.floating],
    segments: Segments,
    whitening: Whitening,
    n_bands: int,
    cycles: tuple[float, float],
    precision: Precision,
) -> CrossSums:
    n_channels, length = x.shape[1], int(segments[0, 1] - segments[0, 0])
    n = transform_length(length)
    edges = band_edges(n, n_bands, cycles)
    if edges[-1] - edges[0] < n_bands:
        raise InputError(
            f"too_short: a segment of {length} samples has {edges[-1] - edges[0]} ordinates "
            f"for {n_bands} bands; use fewer bands or longer segments."
        )
    moments = Moments.none(n_channels, len(segments), n)
    rows = fourier_rows(x, segments, whitening, precision=precision, moments=moments)
    gram = np.zeros((n_bands, n_channels, n_channels), dtype=np.complex128)
    restored = np.zeros_like(gram)
    for m in range(n_bands):
        block = np.ascontiguousarray(rows[:, :, edges[m] : edges[m + 1]])
        gram[m] = hermitian_product(block)
        omega = 2 * np.pi / n * np.arange(edges[m], edges[m + 1])
        block *= phase_factors(whitening.filters, omega)[:, None, :].astype(block.dtype)
        restored[m] = hermitian_product(block)
    counts = np.diff(edges) * len(segments)
    n_all = ((n + 1) // 2 - 1) * len(segments)
    return CrossSums(
        gram,
        restored,
        counts,
        n_all,
        n * len(segments),
        len(segments),
        moments.square,
        moments.fourth,
        sum_strength(moments.blocks, moments.blocks),
    )


def hermitian_product(block: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
    """Return X X^dagger of a contiguous (channel, ...) block by one rank-k update."""
    flat = block.reshape(len(block), -1)
    (herk,) = get_blas_funcs(("herk",), (flat,))
    lower = herk(1.0, flat.T, trans=2).T  # rows and columns swapped: conj(upper) = lower of X X^†
    strict = np.tril(lower, -1)
    return lower + strict.conj().T


def filtered(y: NDArray[np.float64], coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Apply the prediction-error filter; the first MAX_ORDER samples are lost."""
    out = y[MAX_ORDER:].copy()
    (axpy,) = get_blas_funcs(("axpy",), (out,))
    for k in range(1, MAX_ORDER + 1):
        if coefficients[k]:
            axpy(y[MAX_ORDER - k : y.size - k], out, a=coefficients[k])
    return out


def _is_smooth(n: int) -> bool:
    for prime in (2, 3, 5, 7, 11, LARGEST_PRIME):
        while n % prime == 0:
            n //= prime
    return n == 1
