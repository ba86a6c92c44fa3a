"""A long record from a Zarr store over Dask: tiles of channels x segments, in bounded memory.

    python benchmarks/witness_dask.py [--channels 256] [--samples 1000000] [--workers 2]

Writes a store of driven and independent channels to a temporary folder, measures it piece by piece
on worker processes (`irrev.ep.witness_pieces`), and compares with the answer from the same pieces
in this process's memory. Prints both, the largest memory
of a worker, and the largest difference.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr
from dask.distributed import Client, LocalCluster

from irrev.ep.witness import witness
from irrev.ep.witness_pieces import cut_pieces, witness_pieces
from irrev.readers import open_source
from irrev.readers.in_place import samples_of
from irrev.simulate.hidden_drive import SharedDrive, simulate_shared_drive
from tasks.cluster import crew, use_client

SEGMENT = 65_536


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


def peak_mib() -> float:
    """Return the largest resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


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
        recording = open_source(path, kind="timeseries", in_place=True, sampling_rate=1.0)
        samples = samples_of(recording, path)
        with (
            LocalCluster(options.workers, threads_per_worker=1, dashboard_address=":0") as cluster,
            Client(cluster) as client,
        ):
            use_client(client)
            start = time.perf_counter()
            streamed = witness_pieces(samples, fs=1.0, piece=SEGMENT, crew=crew())
            seconds = time.perf_counter() - start
            memory = max(client.run(peak_mib).values())
        x = samples.read((0, options.samples), (0, options.channels))
        pieces = cut_pieces(np.array([[0, options.samples]]), SEGMENT)
        start = time.perf_counter()
        whole = witness(x, fs=1.0, segments=pieces)
        in_memory = time.perf_counter() - start
    apart = max(
        float(np.abs(streamed[v] - whole[v]).max()) for v in ("W", "sigma", "W_irr", "sigma_N")
    )
    print(f"{options.channels} channels x {options.samples} samples, {len(pieces)} pieces")
    print(
        f"  store, {options.workers} workers: {seconds:.0f} s, {memory:.0f} MiB a worker at most"
    )
    print(f"  in memory: {in_memory:.0f} s, input {x.nbytes / 2**20:.0f} MiB")
    print(f"  largest difference {apart:.1e} nat per sample")
    print(f"  pairs found: {int(streamed['reject'].sum())} and {int(whole['reject'].sum())}")


if __name__ == "__main__":
    main()
