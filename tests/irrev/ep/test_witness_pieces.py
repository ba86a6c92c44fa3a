"""A record that is read piece by piece gives the numbers of a record in memory."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irrev.ep.streaming import Alone
from irrev.ep.witness import witness
from irrev.ep.witness_pieces import HeldSamples, cut_pieces, witness_pieces
from irrev.errors import InputError
from irrev.simulate.hidden_drive import SharedDrive, simulate_shared_drive

DRIVE = SharedDrive(0.5, (0.3, 0.9, 0.5, 0.7), (1.0, 1.0, 0.0, 1.0), (1.0,) * 4, 1.0, 0.8)
NAMES = ("W", "W_se", "sigma", "sigma_se", "W_irr", "p", "p_irr", "W_total", "sigma_N", "q")


@pytest.fixture(scope="module")
def record():
    return simulate_shared_drive(DRIVE, 40_000, rng=np.random.default_rng(5))


class Threads(Alone):
    """Several threads, which finish in any order."""

    def __init__(self, pool):
        super().__init__(4)
        object.__setattr__(self, "pool", pool)

    def map(self, work, args):
        return self.pool.map(work, *zip(*args, strict=True))


def assert_same(ds, other, rtol=0.0):
    for name in NAMES:
        np.testing.assert_allclose(ds[name], other[name], rtol=rtol, atol=rtol, err_msg=name)
    assert list(ds["status"].to_numpy()) == list(other["status"].to_numpy())


@settings(max_examples=10)
@given(
    piece=st.integers(3000, 50_000),
    tile=st.integers(1, 5),
    cuts=st.lists(st.integers(5000, 35_000), max_size=2, unique=True),
)
def test_witness_pieces__equals_the_answer_in_memory(record, piece, tile, cuts):
    """Same segments, same numbers up to the rounding of sums in another order."""
    edges = [0, *sorted(cuts), len(record)]
    segments = np.stack([edges[:-1], edges[1:]], axis=1)
    segments = segments[np.diff(segments, axis=1)[:, 0] > 2000]
    pieces = cut_pieces(segments, piece)
    streamed = witness_pieces(
        HeldSamples(record), fs=100.0, piece=piece, segments=segments, tile=tile
    )
    assert_same(streamed, witness(record, fs=100.0, segments=pieces), rtol=1e-9)


def test_witness_pieces__workers_change_no_bit(record):
    """Answers are added in the order of the record, whoever gives them first."""
    alone = witness_pieces(HeldSamples(record), fs=1.0, piece=4096, tile=2)
    with ThreadPoolExecutor(4) as pool:
        many = witness_pieces(HeldSamples(record), fs=1.0, piece=4096, tile=2, crew=Threads(pool))
    assert_same(many, alone)


def test_witness_pieces__never_reads_more_than_a_piece(record):
    seen = []

    class Watched(HeldSamples):
        def read(self, time, channel):
            seen.append((time[1] - time[0], channel[1] - channel[0]))
            return super().read(time, channel)

    witness_pieces(Watched(record), fs=1.0, piece=5000, tile=2)
    assert max(n for n, _ in seen) == 5000
    assert {c for _, c in seen} == {4, 2}  # all channels for lags, tiles for products


def test_witness_pieces__missing_values_cut_drop_or_refuse(record):
    x = record.copy()
    x[12_345:12_349, 1] = np.nan
    samples = HeldSamples(x)
    with pytest.raises(InputError, match=r'channel 1 has nan at sample 12345; .*nan="split"'):
        witness_pieces(samples, fs=1.0, piece=5000)
    cut = witness_pieces(samples, fs=1.0, piece=5000, nan="split")
    assert cut.attrs["n_missing"] == 4
    assert cut.attrs["n_segments"] == 9
    pieces = [*cut_pieces(np.array([[0, 40_000]]), 5000).tolist()]
    pieces[2:3] = [[10_000, 12_345], [12_349, 15_000]]
    assert_same(cut, witness(record, fs=1.0, segments=pieces), rtol=1e-9)
    left = witness_pieces(samples, fs=1.0, piece=5000, nan="drop_segment")
    assert (left.attrs["n_dropped"], left.attrs["n_segments"]) == (1, 7)


def test_witness_pieces__a_constant_and_a_duplicate_channel_do_not_spoil_the_others(record):
    more = np.column_stack([record, np.full(len(record), 0.1), 3.0 * record[:, 0]])
    ds = witness_pieces(HeldSamples(more), fs=1.0, piece=8000, tile=4).set_index(pair="pair")
    clean = witness_pieces(HeldSamples(record), fs=1.0, piece=8000)
    status = dict(zip(ds["pair"].to_numpy(), ds["status"].to_numpy(), strict=True))
    assert status["0|4"] == "constant"
    assert status["0|5"].startswith("degenerate")
    np.testing.assert_allclose(ds["W"].sel(pair=clean["pair"]), clean["W"], rtol=1e-12)


def test_witness_pieces__refuses_values_whose_powers_overflow(record):
    with pytest.raises(InputError, match=r"values reach .*scale the channels"):
        witness_pieces(HeldSamples(record * 1e13), fs=1.0, piece=8000)


def test_held_samples__travel(record):
    twin = pickle.loads(pickle.dumps(HeldSamples(record)))
    np.testing.assert_array_equal(twin.read((5, 7), (1, 3)), record[5:7, 1:3])
