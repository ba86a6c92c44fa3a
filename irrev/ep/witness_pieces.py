"""The witness of a record that is read piece by piece: bounded memory, many workers.

    1. scan      which stretches are complete, and how large the values are
    2. lags      additive lag products of every piece -> one whitening filter a channel
    3. tiles     additive cross-products of two groups of channels over every piece
    4. solve     rates, tests and warnings from the sums, as `irrev.witness`

Segments of the record are cut into pieces of nearly equal length, and no transform crosses the
end of a piece: the answer is that of `irrev.witness` with these pieces as its segments. Sums are
added in the order of the record whoever computes them, so the numbers depend on the length of a
piece only, not on workers.

Limits: a worker holds one piece at a time, 8 bytes x piece x channels in step 2 and about 60 bytes
x piece x 2 x tile in step 3; the asker holds 64 bytes x bands x channels^2. Known
periods, surrogates and the one-way fit need the whole record: use `irrev.witness`.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import starmap
from operator import add
from typing import Literal, Protocol, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from irrev import schema
from irrev.ep import recording as rec
from irrev.ep.spectra import CrossSums, Precision
from irrev.ep.streaming import Alone, Crew
from irrev.ep.tiles import Span, join_tiles, plan_tiles, summarise_tile
from irrev.ep.whitening import (
    LagSums,
    Segments,
    Whitening,
    as_segments,
    fit_whitening,
    summarise_lags,
)
from irrev.ep.witness import CERTIFIES
from irrev.ep.witness_checks import check_options
from irrev.ep.witness_solve import solve
from irrev.errors import InputError

R = TypeVar("R")
PIECE = 65_536  # samples
TILE = 128  # channels
ALONE = Alone()
GROUP = 8  # pieces whose sums a worker adds before it answers
WINDOW = 16  # answers that may wait for the asker


class Samples(Protocol):
    """A record of which any part can be read; it travels to workers, so it pickles small."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of samples and of channels."""
        ...

    def read(self, time: Span, channel: Span) -> NDArray[np.floating]:
        """Return some samples of some channels, shape (time, channel)."""
        ...


def witness_pieces(
    samples: Samples,
    *,
    fs: float,
    piece: int = PIECE,
    segments: ArrayLike | None = None,
    channels: Sequence[str] | None = None,
    band: tuple[float, float] | None = None,
    n_bands: int = 64,
    test_bands: int = 16,
    nan: rec.NanRule = "raise",
    level: float = 0.95,
    fdr: float = 0.05,
    fdr_method: Literal["bh", "by"] = "bh",
    shared_reference: bool = False,
    keep_coherence: bool = False,
    precision: Precision = "float64",
    tile: int = TILE,
    crew: Crew = ALONE,
) -> xr.Dataset:
    """Estimate witness and irreversibility of every pair of channels of a long record.

    Parameters
    ----------
    samples
        The record.
    fs
        Sampling rate, Hz.
    piece
        Samples that are transformed at once; longer than 100 correlation times of the channels.
    segments, channels, band, n_bands, test_bands, level, fdr, fdr_method, shared_reference,
    keep_coherence, precision
        As in `irrev.witness`.
    nan
        "raise"; "split" cuts pieces at missing values; "drop_segment" leaves such pieces out.
    tile
        Channels whose products with as many others are summed at once.
    crew
        Who does the work: this process, or workers elsewhere.

    Returns
    -------
        Kind `witness`, as `irrev.witness(x, segments=pieces)`.

    Raises
    ------
    InputError
        If values are missing under "raise", a channel's scale needs more than double precision,
        or the record is too short.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((20_000, 3))
    >>> ds = witness_pieces(HeldSamples(x), fs=1.0, piece=4096)
    >>> ds.attrs["n_segments"], bool(ds["reject"].any())
    (5, False)
    """
    check_options({
        "level": level, "fdr": fdr, "fdr_method": fdr_method, "nan": nan, "precision": precision,
        "n_bands": n_bands, "test_bands": test_bands, "band": band, "segments": segments,
        "null": "analytic", "harmonics": 1, "seed": 0, "epoch_length": None, "first_join": 0,
    })  # fmt: skip
    n, n_channels = samples.shape
    whole = cut_pieces(as_segments(segments, n), piece)
    found = list(crew.map(partial(_scan, samples, nan), [(span,) for span in whole.tolist()]))
    runs = [r for f in found for r in f[0]]
    if not runs:
        raise InputError('every piece has missing values; fill them or use nan="split".')
    record = rec.Record(
        x=np.empty((0, n_channels)),
        fs=fs,
        channels=tuple(map(str, range(n_channels) if channels is None else channels)),
        segments=np.array(runs, dtype=np.int64),
        shared_reference=shared_reference,
        n_missing=sum(f[1] for f in found),
        n_dropped=sum(not f[0] for f in found),
    )
    plan = rec.plan_bands(record, n_bands, test_bands, band)
    parts = _by_piece(whole, plan.segments)
    groups = [parts[k : k + GROUP] for k in range(0, len(parts), GROUP)]
    whitening = fit_whitening(_total(crew, partial(_lags, samples), groups))
    tiles = {}
    for pair in plan_tiles(n_channels, tile):
        work = partial(_tile, samples, whitening, pair, plan.fine_bands, plan.cycles, precision)
        tiles[pair] = _total(crew, work, groups)
    ds = solve(
        join_tiles(tiles, n_channels),
        whitening,
        fs=fs,
        n_bands=plan.n_bands,
        test_bands=plan.test_bands,
        cycles=plan.cycles,
        level=level,
        fdr=fdr,
        fdr_method=fdr_method,
        shortest=int(np.diff(plan.segments, axis=1).min()),
        shared_reference=shared_reference,
        keep_coherence=keep_coherence,
        channels=record.channels,
    )
    ds.attrs |= {
        "assumption": "csm",
        "null": "analytic",
        "seed": 0,
        "piece": piece,
        "n_dropped": plan.n_dropped,
        "n_missing": record.n_missing,
        "certifies": CERTIFIES["csm"],
    }
    return schema.validate(ds, "witness")


class HeldSamples:
    """A record in memory, for tests and for comparing."""

    def __init__(self, x: NDArray[np.floating]) -> None:
        self._x = x

    @property
    def shape(self) -> tuple[int, int]:
        """Number of samples and of channels."""
        return self._x.shape[0], self._x.shape[1]

    def read(self, time: Span, channel: Span) -> NDArray[np.floating]:
        """Return some samples of some channels."""
        return self._x[slice(*time), slice(*channel)]


def cut_pieces(segments: Segments, piece: int) -> Segments:
    """Cut segments into pieces of nearly equal length, about `piece` samples; none is lost.

    Examples
    --------
    >>> cut_pieces(np.array([[0, 10], [10, 13]]), 4).tolist()
    [[0, 5], [5, 10], [10, 13]]
    """
    if piece < 1:
        raise InputError(f"piece is {piece}; give the number of samples to read at once.")
    out = []
    for start, stop in segments.tolist():
        count = max(1, round((stop - start) / piece))
        edges = np.round(np.linspace(start, stop, count + 1)).astype(np.int64)
        out.append(np.stack([edges[:-1], edges[1:]], axis=1))
    return np.concatenate(out)


# --- what a worker does -------------------------------------------------------------------------


def _scan(samples: Samples, nan: rec.NanRule, span: Span) -> tuple[list[tuple[int, int]], int]:
    """Find the complete stretches of a piece, and count the samples with missing values."""
    start, stop = span
    x = samples.read((start, stop), (0, samples.shape[1]))
    good = np.isfinite(x)
    whole: NDArray[np.bool_] = np.asarray(good.all(axis=1))
    if whole.all():
        _check_scale(x)
        return [(start, stop)], 0
    missing = int(np.sum(~whole))
    if nan == "raise":
        t, c = np.argwhere(~good)[0]
        raise InputError(
            f"channel {c} has {x[t, c]} at sample {start + t}; fill it, or use "
            'nan="split" or nan="drop_segment".'
        )
    if nan == "drop_segment":
        return [], missing
    _check_scale(x[whole])
    return [(start + a, start + b) for a, b in rec.runs_of(whole)], missing


def _check_scale(x: NDArray[np.floating]) -> None:
    """Refuse values whose fourth powers, summed, would leave the range of single precision."""
    peak = float(np.abs(x).max(initial=0.0))
    if peak > rec.LARGE:
        raise InputError(f"values reach {peak:.3g}; scale the channels to below {rec.LARGE:g}.")


Part = tuple[Span, list[list[int]]]  # a piece, and its stretches counted from its start


def _by_piece(pieces: Segments, runs: Segments) -> list[Part]:
    """Group the stretches in use by the piece that holds them."""
    owner = np.searchsorted(pieces[:, 0], runs[:, 0], side="right") - 1
    return [
        ((int(pieces[k, 0]), int(pieces[k, 1])), (runs[owner == k] - pieces[k, 0]).tolist())
        for k in np.unique(owner)
    ]


def _total(crew: Crew, work: Callable[[list[Part]], R], groups: list[list[Part]]) -> R:
    """Add the answers of all groups in their order, some at a time."""
    windows = (groups[k : k + WINDOW] for k in range(0, len(groups), WINDOW))
    answers = (answer for window in windows for answer in crew.map(work, [(g,) for g in window]))
    return reduce(add, answers)


def _lags(samples: Samples, parts: list[Part]) -> LagSums:
    whole = (0, samples.shape[1])
    return reduce(
        add, (summarise_lags(samples.read(span, whole), segments=runs) for span, runs in parts)
    )


def _tile(
    samples: Samples,
    whitening: Whitening,
    pair: tuple[Span, Span],
    n_bands: int,
    cycles: tuple[float, float],
    precision: Precision,
    parts: list[Part],
) -> CrossSums:
    def one(span: Span, runs: list[list[int]]) -> CrossSums:
        rows = samples.read(span, pair[0])
        columns = rows if pair[0] == pair[1] else samples.read(span, pair[1])
        return summarise_tile(
            rows, columns, whitening, pair,
            n_bands=n_bands, segments=runs, cycles=cycles, precision=precision,
        )  # fmt: skip

    return reduce(add, starmap(one, parts))
