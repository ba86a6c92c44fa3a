from functools import reduce
from operator import add

import numpy as np
import pytest
import xarray as xr

from irrev.ep.spectra import summarise
from irrev.ep.tiles import join_tiles, plan_tiles, summarise_tile
from irrev.ep.whitening import fit_whitening, summarise_lags
from irrev.ep.witness import solve, witness
from irrev.errors import InputError

SEGMENTS = np.array([[0, 1500], [1500, 3000], [3000, 4200]])


@pytest.fixture
def record(rng):
    return rng.standard_normal((4200, 7)).cumsum(axis=0) * 0.1 + rng.standard_normal((4200, 7))


def tiled(read, whitening, n_channels, size):
    """Sum every tile over every segment, reading only the samples of both."""
    return {
        tile: reduce(
            add,
            (
                summarise_tile(read(a, b, tile[0]), read(a, b, tile[1]), whitening, tile)
                for a, b in SEGMENTS[::-1]
            ),
        )
        for tile in plan_tiles(n_channels, size)
    }


@pytest.mark.parametrize("size", [2, 3, 7])
def test_join_tiles__equals_the_sums_in_memory(record, size):
    whitening = fit_whitening(summarise_lags(record, segments=SEGMENTS))
    whole = summarise(record, whitening, segments=SEGMENTS)
    tiles = tiled(lambda a, b, span: record[a:b, slice(*span)], whitening, 7, size)
    joined = join_tiles(tiles, 7)
    scale = np.abs(whole.gram).max()
    np.testing.assert_allclose(joined.gram, whole.gram, atol=1e-12 * scale)
    np.testing.assert_allclose(joined.restored, whole.restored, atol=1e-12 * scale)
    np.testing.assert_allclose(joined.fourth, whole.fourth)
    assert joined.counts.tolist() == whole.counts.tolist()


def test_join_tiles__a_zarr_store_in_tiles_and_segments_gives_the_answer_in_memory(
    record, tmp_path
):
    """Every read is one tile of channels over one segment; each of both passes is a sum."""
    data = xr.Dataset({"signal": (("time", "channel"), record)})
    encoding = {"signal": {"chunks": (500, 2)}}
    data.to_zarr(tmp_path / "x.zarr", zarr_format=3, consolidated=False, encoding=encoding)
    stored = xr.open_zarr(tmp_path / "x.zarr", consolidated=False, chunks=None)["signal"]

    def read(a, b, span):
        return stored.isel(time=slice(a, b), channel=slice(*span)).to_numpy()

    lags = reduce(add, (summarise_lags(read(a, b, (0, 7))) for a, b in SEGMENTS))
    whitening = fit_whitening(lags)
    joined = join_tiles(tiled(read, whitening, 7, 3), 7)
    ds = solve(joined, whitening, fs=1.0, shortest=1200)
    expected = witness(record, fs=1.0, segments=SEGMENTS)
    for name in ("W", "sigma", "W_irr", "log_p", "sigma_N", "W_total"):
        np.testing.assert_allclose(ds[name], expected[name], rtol=1e-7, atol=1e-12)
    assert ds["status"].to_numpy().tolist() == expected["status"].to_numpy().tolist()


def test_join_tiles__says_which_tile_is_missing(record):
    whitening = fit_whitening(summarise_lags(record))
    tile = ((0, 4), (0, 4))
    part = summarise_tile(record[:, :4], record[:, :4], whitening, tile)
    with pytest.raises(InputError, match="no tile holds channels 0 and 4"):
        join_tiles({tile: part}, 7)
