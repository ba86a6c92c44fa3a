"""Cross-spectral sums of a tile of the channel matrix, for records that exceed one memory.

A worker that holds the channels I and J over some segments sums G_m[I, J]; tiles of the upper
triangle over all segments, in any order, give the matrix of the whole record:

    G_m = sum over segments of X X^dagger,    G_m[J, I] = G_m[I, J]^dagger                  (1)

The answer is that of `irrev.ep.spectra.summarise` on the same segments, up to rounding.

Limits: a tile and its transpose are not both needed; the channels of one tile are contiguous.
"""

from collections.abc import Mapping
from functools import reduce
from itertools import combinations_with_replacement
from operator import add

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irrev.ep.spectra import (
    CrossSums,
    Moments,
    Precision,
    band_edges,
    batches,
    fourier_rows,
    phase_factors,
    summarise,
    transform_length,
)
from irrev.ep.strength import Strength, sum_strength
from irrev.ep.whitening import Segments, Whitening, as_record, as_segments, one_blas_thread
from irrev.errors import InputError

Span = tuple[int, int]  # half-open range of channels


def plan_tiles(n_channels: int, size: int = 128) -> list[tuple[Span, Span]]:
    """Return the tiles of the upper triangle, rows and columns as channel ranges.

    Examples
    --------
    >>> plan_tiles(5, 3)
    [((0, 3), (0, 3)), ((0, 3), (3, 5)), ((3, 5), (3, 5))]
    """
    starts = range(0, n_channels, size)
    spans = [(s, min(s + size, n_channels)) for s in starts]
    return list(combinations_with_replacement(spans, 2))


def summarise_tile(
    rows: ArrayLike,
    columns: ArrayLike,
    whitening: Whitening,
    tile: tuple[Span, Span],
    *,
    n_bands: int = 128,
    segments: ArrayLike | None = None,
    cycles: tuple[float, float] = (0.0, 0.5),
    precision: Precision = "float64",
) -> CrossSums:
    """Sum the products of two groups of channels; the diagonal tile is `summarise`.

    Parameters
    ----------
    rows, columns
        The chunk's samples of the channels of the tile, shape (time, channel).
    whitening
        Filters of the whole record, all channels.
    tile
        Channel ranges of rows and columns, one of `plan_tiles`.
    n_bands, segments, cycles, precision
        As `summarise`.

    Returns
    -------
        Sums with rectangular matrices, additive over chunks of the same tile.
    """
    x, y = as_record(rows), as_record(columns)
    first, second = (whitening.part(*span) for span in tile)
    if tile[0] == tile[1]:
        return summarise(
            x, first, n_bands=n_bands, segments=segments, cycles=cycles, precision=precision
        )
    if len(x) != len(y):
        raise InputError(f"rows have {len(x)} samples, columns {len(y)}; use the same chunk.")
    ranges = as_segments(segments, len(x))
    gram = np.zeros((n_bands, x.shape[1], y.shape[1]), dtype=np.complex128)
    restored = np.zeros_like(gram)
    counts = np.zeros(n_bands, dtype=np.int64)
    n_ordinates = n_samples = 0
    strength: list[Strength] = []
    with one_blas_thread():
        for batch in batches(ranges, x.shape[1] + y.shape[1]):
            n = transform_length(int(batch[0, 1] - batch[0, 0]))
            edges = band_edges(n, n_bands, cycles)
            strength.append(
                _add_products((x, y), (first, second), batch, edges, n, precision, gram, restored)
            )
            counts += np.diff(edges) * len(batch)
            n_ordinates += ((n + 1) // 2 - 1) * len(batch)
            n_samples += n * len(batch)
    moments = np.zeros(0)  # of channels: the diagonal tiles have them
    return CrossSums(
        gram,
        restored,
        counts,
        n_ordinates,
        n_samples,
        len(ranges),
        moments,
        moments,
        reduce(add, strength),
    )


def join_tiles(tiles: Mapping[tuple[Span, Span], CrossSums], n_channels: int) -> CrossSums:
    """Put the tiles of the upper triangle together.

    Parameters
    ----------
    tiles
        Tile -> sums over all chunks.
    n_channels
        Channels of the record.

    Returns
    -------
        Sums of all pairs, as from `summarise`.

    Raises
    ------
    InputError
        If tiles are missing or were not summed over the same segments.
    """
    any_sums = next(iter(tiles.values()))
    shape = (len(any_sums.counts), n_channels, n_channels)
    gram, restored = np.zeros(shape, np.complex128), np.zeros(shape, np.complex128)
    square, fourth = np.zeros(n_channels), np.zeros(n_channels)
    n_lengths = any_sums.strength.n_blocks.size
    total, product = np.zeros((n_lengths, n_channels)), np.zeros((n_lengths, *shape[1:]))
    seen = np.zeros((n_channels, n_channels), dtype=bool)
    for ((a, b), (c, d)), sums in tiles.items():
        if sums.n_samples != any_sums.n_samples or (sums.counts != any_sums.counts).any():
            raise InputError("tiles were summed over different segments; sum all chunks first.")
        for whole, part in ((gram, sums.gram), (restored, sums.restored)):
            whole[:, c:d, a:b] = part.conj().transpose(0, 2, 1)
            whole[:, a:b, c:d] = part
        product[:, c:d, a:b] = sums.strength.product.transpose(0, 2, 1)
        product[:, a:b, c:d] = sums.strength.product
        seen[a:b, c:d] = seen[c:d, a:b] = True
        if (a, b) == (c, d):
            square[a:b], fourth[a:b] = sums.square, sums.fourth
            total[:, a:b] = sums.strength.total
    if not seen.all():
        i, j = np.argwhere(~seen)[0]
        raise InputError(f"no tile holds channels {i} and {j}; sum every tile of plan_tiles.")
    return CrossSums(
        gram,
        restored,
        any_sums.counts,
        any_sums.n_ordinates,
        any_sums.n_samples,
        any_sums.n_segments,
        square,
        fourth,
        Strength(any_sums.strength.n_blocks, total, product),
    )


def _add_products(
    records: tuple[NDArray[np.floating], NDArray[np.floating]],
    filters: tuple[Whitening, Whitening],
    batch: Segments,
    edges: NDArray[np.int64],
    n: int,
    precision: Precision,
    gram: NDArray[np.complex128],
    restored: NDArray[np.complex128],
) -> Strength:
    moments = [Moments.none(x.shape[1], len(batch), n) for x in records]
    rows = [
        fourier_rows(x, batch, w, precision=precision, moments=m)
        for x, w, m in zip(records, filters, moments, strict=True)
    ]
    for m in range(len(edges) - 1):
        omega = 2 * np.pi / n * np.arange(edges[m], edges[m + 1])
        blocks = [r[:, :, edges[m] : edges[m + 1]].copy() for r in rows]
        gram[m] += _product(*blocks)
        for block, w in zip(blocks, filters, strict=True):
            block *= phase_factors(w.filters, omega)[:, None, :].astype(block.dtype)
        restored[m] += _product(*blocks)
    return sum_strength(*(m.blocks for m in moments))


def _product(
    a: NDArray[np.complexfloating], b: NDArray[np.complexfloating]
) -> NDArray[np.complexfloating]:
    return a.reshape(len(a), -1) @ b.reshape(len(b), -1).conj().T
