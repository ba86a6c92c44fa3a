"""A multichannel record made ready for spectra: source, gaps, trends, epochs, bands.

Epochs that were joined end to end must be told (`segments`, or `epoch_length` and `first_join`):
a spectrum across a join mixes what was never adjacent. `find_joins` looks for joins at equal
distances; it finds only those that leave a jump.

Segments too short to hold one ordinate in each band are left out and counted, if together they
are a small part of the record; otherwise the number of bands is halved.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

from irrev.ep.spectra import MIN_BANDS, MIN_ORDINATES, band_edges, transform_length
from irrev.ep.whitening import MAX_ORDER, Segments, as_record, as_segments
from irrev.ep.witness_checks import is_number
from irrev.errors import InputError, IrrevWarning

NanRule = Literal["raise", "drop_segment", "split"]
NEGLIGIBLE = 0.05  # part of the record that may be lost to segments without enough ordinates
MIN_FINE = 4  # ordinates per band of the convergence check: the least with a finite variance
JOIN_SAMPLES = 1 << 16  # of the record that `find_joins` looks at
MIN_EPOCHS = 10
SHORTEST_EPOCH = 16  # samples; shorter periods are signals, not epochs
JOIN_JUMP = 2.0  # median jump at a join over the median step
LARGE = 1e12  # squares of larger values, summed, overflow in single precision
JOIN_CHANCE = 1e-3  # expected number of such finds in a record without joins


@dataclass(frozen=True, slots=True)
class Record:
    """A record and what is known of it."""

    x: NDArray[np.floating]  # (time, channel)
    fs: float  # Hz
    channels: tuple[str, ...]
    segments: Segments  # (segment, 2) half-open
    shared_reference: bool
    n_missing: int = 0  # samples with a missing value in some channel
    n_dropped: int = 0  # segments left out for missing values


@dataclass(frozen=True, slots=True)
class Plan:
    """Segments and bands that will be used."""

    segments: Segments
    n_bands: int  # of the estimates
    test_bands: int  # of the tests
    fine_bands: int  # twice `n_bands` where possible: the convergence check
    cycles: tuple[float, float]  # frequency range, cycles per sample
    n_dropped: int  # segments left out


def take(
    x: ArrayLike | xr.Dataset,
    fs: float | None,
    channels: Sequence[str] | None,
    segments: ArrayLike | None,
    epoch_length: int | None,
    first_join: int,
    shared_reference: bool | None,
) -> Record:
    """Collect a record from an array or from a Dataset of kind `timeseries`.

    Raises
    ------
    InputError
        If the sampling rate is missing or not positive, or names and channels differ in number.
    """
    if isinstance(x, xr.Dataset):
        if "signal" not in x:
            raise InputError(
                "the record's samples are in their file; use `witness_pieces`, or read it anew "
                "without in_place."
            )
        own = float(x["sampling_rate"])
        if fs is not None and fs != own:
            raise InputError(f"fs={fs!r}, but the Dataset has {own:g} Hz; leave fs out.")
        fs = own
        channels = [str(c) for c in x["channel"].to_numpy()] if channels is None else channels
        if segments is None and epoch_length is None and x.sizes.get("segment", 0):
            segments = np.stack([x["segment_start"], x["segment_stop"]], axis=1)
        if shared_reference is None and "shared_reference" in x:
            shared_reference = bool(x["shared_reference"])
        x = x["signal"].transpose("time", "channel").to_numpy()
    record = as_record(x)
    if not is_number(fs) or not fs > 0:  # pyright: ignore[reportOptionalOperand]
        raise InputError(f"fs={fs!r}; give the sampling rate in Hz, e.g. fs=128.0.")
    if not record.shape[1]:
        raise InputError(f"the record of shape {record.shape} has no channel; give at least one.")
    names = tuple(map(str, range(record.shape[1]) if channels is None else channels))
    if len(names) != record.shape[1]:
        raise InputError(f"{len(names)} names for {record.shape[1]} channels; give one each.")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"channel name {twice[0]!r} occurs twice; give every channel its own.")
    if segments is None and epoch_length is not None:
        segments = equal_epochs(len(record), epoch_length, first_join=first_join)
    ranges = as_segments(segments, len(record))
    record = _within_range(record)
    return Record(record, float(fs or 0), names, ranges, bool(shared_reference))


def equal_epochs(n: int, epoch_length: int, *, first_join: int = 0) -> Segments:
    """Return the epochs of a record of `n` samples, the first one `first_join` long.

    Examples
    --------
    >>> equal_epochs(10, 4, first_join=1).tolist()
    [[0, 1], [1, 5], [5, 9], [9, 10]]
    """
    joins = np.arange(first_join, n, epoch_length)
    bounds = np.unique(np.concatenate([[0], joins, [n]]))
    return np.stack([bounds[:-1], bounds[1:]], axis=1).astype(np.int64)


def find_joins(x: NDArray[np.floating]) -> tuple[int, int] | None:
    """Look for joins at equal distances: epoch length and first join, or None.

    Parameters
    ----------
    x
        Record, shape (time, channel).

    Returns
    -------
        (epoch_length, first_join) if the steps into samples first_join + k epoch_length are more
        than twice the usual, by their median and beyond chance, and the steps beside them are not
        (those of a heart beat are); only joins that jump are found.

    Examples
    --------
    >>> noise = np.random.default_rng(0).standard_normal((4000, 4)) * 0.1
    >>> steps = np.repeat(np.random.default_rng(1).standard_normal((41, 4)), 100, axis=0)
    >>> find_joins(noise + steps[30:4030])
    (100, 70)
    """
    part = np.asarray(x[:JOIN_SAMPLES], dtype=np.float64)
    jump = np.abs(np.diff(part, axis=0)).mean(axis=1)
    n = jump.size
    if n < 2 * SHORTEST_EPOCH * MIN_EPOCHS or not np.isfinite(jump).all():
        return None
    large = jump > JOIN_JUMP * np.median(jump)
    chance = large.mean()
    centred = large - chance
    spectrum = np.abs(np.fft.rfft(centred, 2 * n)) ** 2
    recurrence = np.fft.irfft(spectrum)[: n // MIN_EPOCHS]
    for length in np.sort(np.argsort(recurrence[SHORTEST_EPOCH:])[-50:]) + SHORTEST_EPOCH:
        rows = n // length
        hits = large[: rows * length].reshape(rows, length).sum(axis=0)
        k = int(np.argmax(hits))
        # Bonferroni over the residues of all lengths up to n / MIN_EPOCHS.
        tries = (n / MIN_EPOCHS) ** 2 / 2
        beside = max(hits[k - 1], hits[(k + 1) % length])
        if (
            2 * hits[k] > rows > 2 * beside
            and binom.sf(hits[k] - 1, rows, chance) * tries < JOIN_CHANCE
        ):
            return int(length), k + 1
    return None


def prepare(
    data: Record,
    nan: NanRule,
    detrend: bool,
    periods: Sequence[float],
    harmonics: int,
) -> Record:
    """Deal with missing values, then remove trends and known periods.

    Raises
    ------
    InputError
        If values are missing under "raise", or no segment is left.
    """
    if nan != "raise":
        data = _without_missing(data, nan)
    if len(data.segments) == 1:
        _warn_of_joins(data.x)
    if not detrend and not periods:
        return data
    x = np.array(data.x, dtype=np.float64)
    if periods:
        rows = np.concatenate([np.arange(a, b) for a, b in data.segments])
        x[rows] = remove_periods(x[rows], rows / data.fs, periods, harmonics=harmonics)
    if detrend:
        for start, stop in data.segments:
            design = np.stack([np.ones(stop - start), np.linspace(-1, 1, stop - start)], axis=1)
            x[start:stop] -= design @ np.linalg.lstsq(design, x[start:stop], rcond=None)[0]
    return replace(data, x=x)


def remove_periods(
    x: NDArray[np.floating],
    time: NDArray[np.floating],
    periods: Sequence[float],
    *,
    harmonics: int = 4,
) -> NDArray[np.float64]:
    """Subtract mean and harmonics of known periods, fitted by least squares.

    Parameters
    ----------
    x
        Record, shape (time, channel), without missing values.
    time
        Times of the samples, same unit as `periods`, shape (time,).
    periods
        E.g. (365.25,) days or (1 / 50,) seconds.
    harmonics
        Sines and cosines of each period.

    Returns
    -------
        Residual, shape of `x`.

    Examples
    --------
    >>> t = np.arange(100.0)
    >>> wave = np.stack([np.sin(t / 3), np.cos(t / 3)], axis=1)
    >>> bool(np.abs(remove_periods(wave, t, (6 * np.pi,), harmonics=1)).max() < 1e-12)
    True
    """
    angles = [2 * np.pi * k * time / period for period in periods for k in range(1, harmonics + 1)]
    waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    design = np.stack([np.ones(len(time)), *waves], axis=1)
    return x - design @ np.linalg.lstsq(design, x, rcond=None)[0]


def plan_bands(
    data: Record, n_bands: int, test_bands: int, band: tuple[float, float] | None
) -> Plan:
    """Choose bands that every segment can fill, and the segments that can fill them.

    Raises
    ------
    InputError
        `too_short`, with the length that would do; or a band outside zero to Nyquist.
    """
    cycles = (0.0, 0.5) if band is None else (band[0] / data.fs, band[1] / data.fs)
    if not 0 <= cycles[0] < cycles[1] <= 0.5:
        raise InputError(f"band={band} Hz must lie between 0 and fs/2 = {data.fs / 2} Hz.")
    if n_bands < MIN_BANDS or n_bands % min(test_bands, n_bands):
        raise InputError(
            f"n_bands={n_bands}, test_bands={test_bands}; use at least {MIN_BANDS} bands and "
            "a divisor of n_bands for the test."
        )
    lengths = np.diff(data.segments, axis=1)[:, 0]
    held = _ordinates(lengths, cycles)
    m = n_bands
    while m >= MIN_BANDS:
        usable = held >= m
        few = lengths[~usable].sum() <= NEGLIGIBLE * lengths.sum()
        if few and held[usable].sum() // m >= MIN_ORDINATES:
            break
        m //= 2
    else:
        span = 2 * (cycles[1] - cycles[0])
        need = int(np.ceil(2 * (MIN_ORDINATES * MIN_BANDS + 1) / span)) + MAX_ORDER
        raise InputError(
            f"too_short: {lengths.sum()} samples in {len(lengths)} segments do not give "
            f"{MIN_BANDS} bands of {MIN_ORDINATES} ordinates; about {need} samples in one "
            "segment are needed."
        )
    fine = held[usable].min() >= 2 * m and held[usable].sum() // (2 * m) >= MIN_FINE
    dropped = data.n_dropped + int(np.sum(~usable))
    test = min(test_bands, m)
    test = test if m % test == 0 else m
    return Plan(data.segments[usable], m, test, 2 * m if fine else m, cycles, dropped)


def runs_of(good: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the half-open ranges in which a mask is true.

    Examples
    --------
    >>> runs_of(np.array([True, True, False, True]))
    [(0, 2), (3, 4)]
    """
    edge = np.diff(np.concatenate([[0], good.astype(np.int8), [0]]))
    starts, stops = np.flatnonzero(edge == 1), np.flatnonzero(edge == -1)
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def _within_range(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Divide channels of extreme scale by a power of two: fourth powers must not overflow."""
    if not len(x):
        return x
    peak = np.maximum(np.fmax.reduce(x, axis=0), -np.fmin.reduce(x, axis=0)).astype(np.float64)
    extreme = np.isfinite(peak) & (peak > 0) & ((peak > LARGE) | (peak < 1 / LARGE))
    if not extreme.any():
        return x
    return np.ldexp(x.astype(np.float64), np.where(extreme, -np.frexp(peak)[1], 0))


def _warn_of_joins(x: NDArray[np.floating]) -> None:
    joins = find_joins(x)
    if joins is not None:
        warnings.warn(
            f"the record jumps every {joins[0]} samples, first at {joins[1]}, like epochs joined "
            f"end to end; pass epoch_length={joins[0]}, first_join={joins[1]} if it is.",
            IrrevWarning,
            stacklevel=4,
        )


def _ordinates(lengths: NDArray[np.int64], cycles: tuple[float, float]) -> NDArray[np.int64]:
    unique, inverse = np.unique(lengths, return_inverse=True)
    held = [
        max(0, int(np.diff(band_edges(transform_length(int(n)), 1, cycles))[0]))
        if n > MAX_ORDER + 2
        else 0
        for n in unique
    ]
    return np.array(held, dtype=np.int64)[inverse]


def _without_missing(data: Record, nan: NanRule) -> Record:
    whole: NDArray[np.bool_] = np.asarray(np.isfinite(data.x).all(axis=1))
    kept: list[tuple[int, int]] = []
    for start, stop in data.segments:
        good = whole[start:stop]
        if good.all():
            kept.append((int(start), int(stop)))
        elif nan == "split":
            kept += [(int(start + a), int(start + b)) for a, b in runs_of(good)]
    if not kept:
        raise InputError('every segment has missing values; fill them or use nan="split".')
    inside = np.concatenate([whole[a:b] for a, b in data.segments])
    lost = len(data.segments) - len(kept) if nan == "drop_segment" else 0
    ranges = np.array(kept, dtype=np.int64)
    return replace(data, segments=ranges, n_missing=int(np.sum(~inside)), n_dropped=lost)
