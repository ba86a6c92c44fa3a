"""A long record from a Zarr store over Dask: tiles of channels x segments, in bounded memory.

    python benchmarks/witness_dask.py [--channels 256] [--samples 1000000] [--workers 2]

Writes a store of driven and independent channels to a temporary folder, sums the lag products of
every segment and then every tile over every segment on worker processes, solves, and compares
with the answer from the same segments in this process's memory. Prints both, the largest memory
of a worker, and the largest difference.
"""

import argparse
import operator
import resource
import tempfile
import time
from functools import reduce
from pathlib import Path

import numpy as np
import xarray as xr
from dask.distributed import Client, LocalCluster, as_completed

from irrev.ep.spectra import CrossSums
from irrev.ep.tiles import Span, join_tiles, plan_tiles, summarise_tile
from irrev.ep.whitening import LagSums, Whitening, fit_whitening, summarise_lags
from irrev.ep.witness import solve, witness
from irrev.simulate.hidden_drive import SharedDrive, simulate_shared_drive

SEGMENT = 65_536
Range = tuple[int, int]


def write(path: Path, channels: int, samples: int) -> None:
    """Half of the channels share a drive; written segment by segment in single precision."""
    rng = np.random.default_rng(0)
    poles = tuple(float(p) for p in rng.uniform(0.2, 0.9, channels))
    loadings = tuple(float(c < channels // 2) for c in range(channels))
    system = SharedDrive(0.1, poles, loadings, (1.0,) * channels, 1.0, 0.8)
    for start in range(0, samples, SEGMENT):
        n = min(SEGMENT, samples - start)
        x = simulate_shared_drive(system, n, rng=rng).astype(np.float32)
        part = xr.Dataset({"signal": (("time", "channel"), x)})
        if start == 0:
            encoding = {"signal": {"chunks": (SEGMENT, 16)}}
            part.to_zarr(path, zarr_format=3, consolidated=False, encoding=encoding)
        else:
            part.to_zarr(path, zarr_format=3, consolidated=False, append_dim="time")


def read(path: str, span: Range, channels: Span) -> np.ndarray:
    """Read some channels of one segment."""
    store = xr.open_zarr(path, consolidated=False, chunks=None)["signal"]
    return store.isel(time=slice(*span), channel=slice(*channels)).to_numpy()


def lag_task(path: str, span: Range, channels: int) -> LagSums:
    """Sum the lag products of one segment."""
    return summarise_lags(read(path, span, (0, channels)))


def tile_task(path: str, span: Range, whitening: Whitening, tile: tuple[Span, Span]) -> CrossSums:
    """Sum one tile over one segment."""
    return summarise_tile(read(path, span, tile[0]), read(path, span, tile[1]), whitening, tile)


def peak_mib() -> float:
    """Return the largest resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def on_dask(client: Client, path: str, spans: list[Range], channels: int) -> xr.Dataset:
    """Two passes; every result is added when it arrives and then forgotten."""
    futures = [client.submit(lag_task, path, s, channels, pure=False) for s in spans]
    lags = reduce(operator.add, (f.result() for f in as_completed(futures)))
    whitening = fit_whitening(lags)
    tiles: dict[tuple[Span, Span], CrossSums] = {}
    for tile in plan_tiles(channels):
        todo = [client.submit(tile_task, path, s, whitening, tile, pure=False) for s in spans]
        tiles[tile] = reduce(operator.add, (f.result() for f in as_completed(todo)))
    shortest = min(b - a for a, b in spans)
    return solve(join_tiles(tiles, channels), whitening, fs=1.0, shortest=shortest)


def main() -> None:
    """Write, compute twice, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record.zarr"
        write(path, options.channels, options.samples)
        starts = range(0, options.samples, SEGMENT)
        spans = [(s, min(s + SEGMENT, options.samples)) for s in starts]
        spans = [s for s in spans if s[1] - s[0] >= SEGMENT // 2]
        with (
            LocalCluster(options.workers, threads_per_worker=1, dashboard_address=":0") as cluster,
            Client(cluster) as client,
        ):
            start = time.perf_counter()
            streamed = on_dask(client, str(path), spans, options.channels)
            seconds = time.perf_counter() - start
            memory = max(client.run(peak_mib).values())
        x = read(str(path), (0, options.samples), (0, options.channels))
        start = time.perf_counter()
        whole = witness(x, fs=1.0, segments=spans)
        in_memory = time.perf_counter() - start
    apart = max(
        float(np.abs(streamed[v] - whole[v]).max()) for v in ("W", "sigma", "W_irr", "sigma_N")
    )
    print(f"{options.channels} channels x {options.samples} samples, {len(spans)} segments")
    print(
        f"  store, {options.workers} workers: {seconds:.0f} s, {memory:.0f} MiB a worker at most"
    )
    print(f"  in memory: {in_memory:.0f} s, input {x.nbytes / 2**20:.0f} MiB")
    print(f"  largest difference {apart:.1e} nat per sample")
    print(f"  pairs found: {int(streamed['reject'].sum())} and {int(whole['reject'].sum())}")


if __name__ == "__main__":
    main()
