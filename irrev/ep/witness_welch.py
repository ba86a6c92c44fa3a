"""Witness from overlapping Hann segments: the streaming alternative to full-record bands.

    G(d) = sum over S segments of Y_s(d) Y_s(d)^dagger,   Hann window of length L, half overlap

Overlapping tapered segments are not independent, and neither are neighbouring bins. With
rho(j, d) = sum_t w_t w_{t + j L/2} exp(-2 pi i d t / L) / sum w^2,

    K_eff = S / sum_j (1 - |j|/S) |rho(j, 0)|^2
    R_d   = sum_j (1 - |j|/S) |rho(j, d)|^2 / sum_j (1 - |j|/S) |rho(j, 0)|^2
    M_eff = M / [1 + 2 sum_{d=1}^{4} (1 - d/M) R_d^2]                                         (1)
    p     = Q(M_eff, (K_eff - 1) M_eff mean l),      l = -log(1 - coh^2)                      (2)

R_d enters squared because l is quadratic in the cross-spectrum; with R_d itself the test loses
half of its level. Power is that of about 64 bands, below the default of 16.

Limits: the law is approximate, checked at 5 %. Derived here; overlap factors after Welch, IEEE
Trans. Audio Electroacoust. 15, 70 (1967).
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from irrev.ep import witness_stats as stat
from irrev.ep.spectra import filtered
from irrev.ep.whitening import (
    MAX_ORDER,
    Whitening,
    as_record,
    centred_rows,
    fit_whitening,
    summarise_lags,
)
from irrev.errors import InputError

NEIGHBOURS = 4  # bins over which a Hann segment correlates
MIN_SEGMENTS = 4


@dataclass(frozen=True, slots=True)
class WelchSums:
    """Sums over segments, additive over chunks that do not share segments."""

    gram: NDArray[np.complex128]  # (bin, channel, channel)
    n_segments: int

    def __add__(self, other: "WelchSums") -> "WelchSums":
        return WelchSums(self.gram + other.gram, self.n_segments + other.n_segments)


@dataclass(frozen=True, slots=True)
class Freedom:
    """Effective numbers of (1)."""

    k_eff: float
    m_eff: float


def effective_freedom(n_segments: int, segment_length: int) -> Freedom:
    """Return K_eff and M_eff of (1).

    Parameters
    ----------
    n_segments
        S, consecutive with half overlap.
    segment_length
        L, even.

    Returns
    -------
        Effective ordinates per bin and effective number of the L/2 - 1 bins.

    Examples
    --------
    >>> free = effective_freedom(31, 256)
    >>> round(free.k_eff, 3), round(free.m_eff, 2)
    (29.418, 89.42)
    """
    w, half, s = hann(segment_length), segment_length // 2, n_segments
    n_bins = half - 1
    reach = min(2, s)  # segments further apart share no sample
    offsets = range(-reach + 1, reach)
    weight = np.array([1 - abs(j) / s for j in offsets])
    power = np.array(
        [[_overlap(w, abs(j) * half, d) for d in range(NEIGHBOURS + 1)] for j in offsets]
    )
    summed = weight @ power
    d = np.arange(1, NEIGHBOURS + 1)
    ratio = summed[1:] / summed[0]
    m_eff = n_bins / (1 + 2 * np.sum(np.maximum(1 - d / n_bins, 0) * ratio**2))
    return Freedom(float(s / summed[0]), float(m_eff))


def summarise_welch(
    chunk: ArrayLike, whitening: Whitening, *, segment_length: int = 256
) -> WelchSums:
    """Sum the cross-products of Hann segments of a whitened chunk.

    Parameters
    ----------
    chunk
        Record or part of it, shape (time, channel).
    whitening
        Filters of the whole record.
    segment_length
        L, even; 8 samples of the chunk are lost to the filters.

    Returns
    -------
        Sums over bins 1 to L/2 - 1.

    Raises
    ------
    InputError
        If L is odd or below 4, or the chunk holds no segment.
    """
    x = as_record(chunk)
    if segment_length % 2 or segment_length < 4:
        raise InputError(f"segment_length={segment_length}; use an even number of at least 4.")
    n, half = len(x) - MAX_ORDER, segment_length // 2
    n_segments = (n - segment_length) // half + 1
    if n_segments < 1:
        raise InputError(
            f"too_short: {len(x)} samples hold no segment of {segment_length} after whitening; "
            "use shorter segments."
        )
    window = hann(segment_length)
    rows = np.empty((x.shape[1], n_segments, half - 1), dtype=np.complex128)
    for c in range(x.shape[1]):
        y = centred_rows(x[:, c : c + 1], whitening.centre[c : c + 1])[0]
        white = filtered(y, whitening.filters[c])
        parts = np.lib.stride_tricks.sliding_window_view(white, segment_length)[::half]
        rows[c] = np.asarray(fft.rfft(parts[:n_segments] * window))[:, 1:half]
    by_bin = np.ascontiguousarray(rows.transpose(2, 0, 1))
    return WelchSums(by_bin @ by_bin.conj().transpose(0, 2, 1), n_segments)


def welch_witness(
    x: ArrayLike, *, fs: float, segment_length: int = 256, channels: list[str] | None = None
) -> xr.Dataset:
    """Estimate W of every pair from overlapping Hann segments, and test it by (2).

    Parameters
    ----------
    x
        Record, shape (time, channel).
    fs
        Sampling rate, Hz.
    segment_length
        L, even.
    channels
        Names; "0", "1", ... when None.

    Returns
    -------
        `W` (nats per sample), `p`, `log_p` over `pair`; attributes `k_eff`, `m_eff`.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((4096, 2))
    >>> float(welch_witness(x, fs=1.0)["p"][0]) > 0.01
    True
    """
    record = as_record(x)
    whitening = fit_whitening(summarise_lags(record))
    sums = summarise_welch(record, whitening, segment_length=segment_length)
    if sums.n_segments < MIN_SEGMENTS:
        raise InputError(
            f"too_short: {sums.n_segments} segments of {segment_length}; use shorter segments."
        )
    free = effective_freedom(sums.n_segments, segment_length)
    first, second = np.triu_indices(record.shape[1], 1)
    l_mean = -np.log1p(-stat.coherence(sums.gram, first, second)).mean(axis=0)
    log_p = stat.log_gamma_sf(free.m_eff, (free.k_eff - 1) * free.m_eff * l_mean)
    names = [str(c) for c in range(record.shape[1])] if channels is None else channels
    labels = [f"{names[i]}|{names[j]}" for i, j in zip(first, second, strict=True)]
    return xr.Dataset(
        {
            "W": ("pair", 0.5 * (l_mean - 1 / (free.k_eff - 1))),
            "log_p": ("pair", log_p),
            "p": ("pair", np.exp(log_p)),
        },
        coords={"pair": np.array(labels, dtype=object)},
        attrs={"fs": fs, "k_eff": free.k_eff, "m_eff": free.m_eff, "n_segments": sums.n_segments},
    )


def hann(length: int) -> NDArray[np.float64]:
    """Return the periodic Hann window."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def _overlap(window: NDArray[np.float64], shift: int, bins: int) -> float:
    """|rho|^2 of segments `shift` samples and `bins` bins apart."""
    n = window.size - shift
    turn = np.exp(-2j * np.pi * bins * np.arange(n) / window.size)
    return float(np.abs(np.sum(window[:n] * window[shift:] * turn)) ** 2 / np.sum(window**2) ** 2)
