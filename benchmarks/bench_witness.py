"""Cost of the witness of all pairs, with the transforms alone and other programs in the same run.

Run with BLAS on one thread: OPENBLAS_NUM_THREADS=1 pytest benchmarks/bench_witness.py
Compare ratios inside one run. `scipy.signal.coherence` of all pairs is timed on a part of the
pairs and scaled; mne-connectivity is timed if it is installed.
"""

import time
import tracemalloc

import numpy as np
import pytest
from scipy import fft, signal

from irrev.ep.spectra import summarise, transform_length
from irrev.ep.whitening import fit_whitening, one_blas_thread, summarise_lags
from irrev.ep.witness import witness

SIZES = [(16, 8_000), (64, 200_000)]


def record(channels, n):
    return np.random.default_rng(0).standard_normal((n, channels))


def cpu(function, *args, repeats=3, **options):
    """Best CPU time of a few calls: noise of a shared machine only adds."""
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        function(*args, **options)
        best = min(best, time.process_time() - start)
    return best


def transforms(x):
    """The floor: one real transform of every channel, contiguous, at the same fast length."""
    n = transform_length(x.shape[1])
    for row in x:
        fft.rfft(row[:n])


def bare_cross_spectra(x, whitening):
    """Transforms of the centred channels and one Hermitian product a band: no whitening."""
    from irrev.ep.spectra import band_edges, hermitian_product

    n = transform_length(x.shape[1])
    edges = band_edges(n, 64, (0.0, 0.5))
    rows = np.empty((len(x), n // 2 + 1), dtype=np.complex128)
    with one_blas_thread():
        for c, row in enumerate(x):
            rows[c] = fft.rfft(row[:n])
        for m in range(64):
            hermitian_product(np.ascontiguousarray(rows[:, edges[m] : edges[m + 1]]))


@pytest.mark.parametrize(("channels", "n"), SIZES)
def test_witness_speed(benchmark, channels, n):
    benchmark.pedantic(witness, (record(channels, n),), {"fs": 1.0}, rounds=3)


@pytest.mark.parametrize(("channels", "n"), SIZES)
def test_transform_speed(benchmark, channels, n):
    benchmark.pedantic(transforms, (np.ascontiguousarray(record(channels, n).T),), rounds=3)


def test_witness_ratios(capsys):
    """Print CPU seconds, ratios to the transforms, and the memory above the input."""
    channels, n = SIZES[-1]
    x = record(channels, n)
    rows = np.ascontiguousarray(x.T)
    floor = cpu(transforms, rows)
    bare = cpu(bare_cross_spectra, rows, None)
    del rows
    whole = cpu(witness, x, fs=1.0)
    fast = cpu(witness, x, fs=1.0, precision="float32")
    tracemalloc.start()
    witness(x, fs=1.0)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    few = 24
    start = time.process_time()
    for j in range(few):
        signal.coherence(x[:, 0], x[:, j + 1], nperseg=256)
    pairwise = (time.process_time() - start) / few * channels * (channels - 1) / 2
    start = time.process_time()
    for j in range(few):
        signal.csd(x[:, 0], x[:, j + 1], nperseg=256)
    csd = (time.process_time() - start) / few * channels * (channels - 1) / 2
    lines = {
        "transforms alone": floor,
        "bare cross-spectra": bare,
        "whole result": whole,
        "whole result, float32": fast,
        "scipy.signal.csd, all pairs (scaled)": csd,
        "scipy.signal.coherence, all pairs (scaled)": pairwise,
        **mne_connectivity(x),
    }
    with capsys.disabled():
        print(f"\n{channels} channels x {n} samples, {channels * (channels - 1) // 2} pairs")
        for name, seconds in lines.items():
            print(f"  {name:<44}{seconds:9.2f} CPU-s {seconds / floor:9.1f} x transforms")
        print(f"  memory above the input {peak:.0f} MiB")


def mne_connectivity(x):
    """Coherence of all pairs in epochs of 256, where mne-connectivity is installed."""
    try:
        from mne_connectivity import spectral_connectivity_epochs
    except ImportError:
        return {}
    epochs = x[: len(x) // 256 * 256].reshape(-1, 256, x.shape[1]).transpose(0, 2, 1)
    seconds = cpu(
        spectral_connectivity_epochs,
        epochs,
        method="coh",
        mode="fourier",
        sfreq=1.0,
        verbose="ERROR",
        repeats=1,
    )
    return {"mne-connectivity, coh, epochs of 256": seconds}


@pytest.mark.parametrize("n_chunks", [4])
def test_streaming_equals_memory(benchmark, n_chunks):
    """256 channels in chunks: the sums of the chunks are those of the segments in memory."""
    x = record(256, 16_384 * n_chunks)
    ranges = np.arange(n_chunks + 1) * 16_384
    segments = np.stack([ranges[:-1], ranges[1:]], axis=1)
    whitening = fit_whitening(summarise_lags(x, segments=segments))

    def stream():
        parts = (summarise(x[a:b], whitening) for a, b in segments)
        total = next(parts)
        for part in parts:
            total = total + part
        return total

    streamed = benchmark.pedantic(stream, rounds=1)
    whole = summarise(x, whitening, segments=segments)
    scale = np.abs(whole.gram).max()
    assert np.abs(streamed.gram - whole.gram).max() < 1e-12 * scale
