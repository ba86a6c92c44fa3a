"""A long recording chunk by chunk: whatever the cut, the same numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irrev.binning import SpikeBins
from irrev.ep import crossfit, stream_work, streaming
from irrev.ep.chunks import MappedBins, cut_cells, save_bins
from irrev.ep.maxent import maxent_ep
from irrev.ep.streaming import Alone, stream_ep
from irrev.ep.validation import cut_blocks
from irrev.errors import InputError
from irrev.simulate.spikes import simulate_spikes

OPTIONS = {"draws": 100, "null_draws": 99, "seed": 5}
NUMBERS = ("value", "low", "high", "certified", "train", "newton1", "tur", "p", "statistic", "ess")


@pytest.fixture(scope="module")
def bins() -> SpikeBins:
    """Ten units, 9,000 bins with a gap; irreversible."""
    states = simulate_spikes(10, 9000, np.random.default_rng(3), strength=0.6).states
    return SpikeBins.from_dense(states, 0.05, [(0, 3100), (3100, 9000)])


@pytest.fixture(scope="module")
def whole(bins):
    return stream_ep(bins, chunk=10**9, **OPTIONS)


class Shuffled(Alone):
    """Does pieces in another order than it gives them back."""

    def map(self, work, args):
        order = np.random.default_rng(len(args)).permutation(len(args))
        found = {int(i): work(*args[i]) for i in order}
        return iter([found[i] for i in range(len(args))])

    def each(self, work, args):
        return [work(*a) for a in args[::-1]][::-1]


class Forgetful(Alone):
    """Loses what one of its workers remembers, again and again."""

    calls = 0

    def each(self, work, args):
        Forgetful.calls += 1
        if work is stream_work.answer and Forgetful.calls % 7 == 0:
            stream_work.forget(args[Forgetful.calls % len(args)][0].key)
        return [work(*a) for a in args]


def same(a, b, rtol=0.0):
    for name in (*NUMBERS, "theta", "fold_values", "fold_limits", "null_values", "curve_train"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=rtol, err_msg=name)


@settings(max_examples=12, deadline=None)
@given(chunk=st.integers(1, 9000), workers=st.integers(1, 6), shuffled=st.booleans())
def test_stream_ep__no_number_depends_on_chunks_workers_or_order(
    bins, whole, chunk, workers, shuffled
):
    """The claim is 1e-6; sums over integers and in a fixed order make it exact."""
    crew = Shuffled(workers) if shuffled else Alone(workers)
    same(stream_ep(bins, chunk=chunk, crew=crew, **OPTIONS), whole)


@pytest.mark.parametrize(("kept", "message"), [(0, 1), (3000, 200)])
def test_stream_ep__no_number_depends_on_what_is_kept_or_sent_at_once(
    bins, whole, monkeypatch, kept, message
):
    monkeypatch.setattr(stream_work, "KEEP_BYTES", kept)
    monkeypatch.setattr(streaming, "MESSAGE_BYTES", message)
    same(stream_ep(bins, chunk=700, crew=Alone(2), **OPTIONS), whole)
    assert not stream_work._read, "chunks are dropped with the estimate"


@pytest.fixture(scope="module")
def bursting() -> SpikeBins:
    """A hundred units, every second of which leads the next; thrice half of all fire."""
    rng = np.random.default_rng(0)
    states = rng.random((6000, 100)) < 0.02
    states[1:, 1::2] |= states[:-1, ::2] & (rng.random((5999, 50)) < 0.3)
    for start in np.sort(rng.choice(5980, 3, replace=False)):
        states[start : start + 6] |= rng.random((6, 100)) < 0.5
    return SpikeBins.from_dense(states, 0.01)


@pytest.mark.parametrize("recording", ["bins", "bursting"])
def test_stream_ep__agrees_with_the_recording_in_memory(recording, request):
    """The value within a hundredth of the interval: line searches end at other points.

    The ends of the interval come of other pieces of the bootstrap.
    """
    bins = request.getfixturevalue(recording)
    est = maxent_ep(bins, solver="lbfgs", **OPTIONS)
    streamed = stream_ep(bins, **OPTIONS)
    width = est.high - est.low
    for name in ("value", "certified", "fold_values"):
        np.testing.assert_allclose(getattr(streamed, name), getattr(est, name), atol=0.01 * width)
    np.testing.assert_allclose(streamed.fold_limits, est.fold_limits, rtol=0.01)
    assert streamed.train == pytest.approx(est.train, rel=0.001)
    assert streamed.ess == pytest.approx(est.ess, rel=0.01)
    assert streamed.low == pytest.approx(est.low, abs=0.25 * width)
    assert streamed.high == pytest.approx(est.high, abs=0.25 * width)
    assert streamed.p == est.p
    assert streamed.statistic == pytest.approx(est.statistic, rel=1e-5)
    assert streamed.n_steps == est.n_steps
    np.testing.assert_allclose(streamed.theta, est.theta, atol=0.01 * np.abs(est.theta).max())


def test_stream_ep__a_limit_keeps_bursts_from_carrying_the_average(bursting, monkeypatch):
    """One burst that training has not seen took the value below -1 nat a step."""
    whole = stream_ep(bursting, **OPTIONS)
    assert whole.low > 0.3
    assert whole.ess > 50
    same(stream_ep(bursting, chunk=300, crew=Shuffled(3), **OPTIONS), whole)
    monkeypatch.setattr(crossfit, "with_limits", lambda validation: validation)
    assert maxent_ep(bursting, solver="lbfgs", **OPTIONS).value < -1.0


def test_stream_ep__workers_that_forget_are_told_again(bins, whole):
    """Couplings are told in single precision, hence the tolerance."""
    Forgetful.calls = 0
    est = stream_ep(bins, chunk=500, crew=Forgetful(3), **OPTIONS)
    assert Forgetful.calls > 20
    same(est, whole, rtol=1e-6)
    assert not [key for key in stream_work._kept if key[0]]  # nothing is left behind


def test_stream_ep__mapped_files_give_the_numbers_of_memory(bins, whole, tmp_path):
    mapped = save_bins(bins, tmp_path / "bins")
    same(stream_ep(mapped, chunk=700, crew=Alone(2), **OPTIONS), whole)


def test_save_bins__parts_join_to_the_recording(tmp_path):
    rng = np.random.default_rng(0)
    states = rng.random((300, 5)) < 0.3
    parts = [SpikeBins.from_dense(states[a:b], 0.01) for a, b in [(0, 90), (90, 200), (200, 300)]]
    mapped = save_bins(parts, tmp_path / "joined")
    assert mapped.segments.tolist() == [[0, 300]]
    indptr, indices = mapped.rows(50, 250)
    dense = SpikeBins(indptr, indices, 5, 0.01, np.array([[0, 200]]), 0, 0.0).to_dense()
    np.testing.assert_array_equal(dense, states[50:250])
    other = SpikeBins.from_dense(states[:50, :4], 0.01)
    with pytest.raises(InputError, match="a part has 4 units"):
        save_bins([*parts, other], tmp_path / "mixed")


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 400), min_size=1, max_size=6),
    n_blocks=st.integers(2, 12),
    cell=st.integers(1, 100),
)
def test_cut_cells__cuts_as_the_recording_in_memory_is_cut(lengths, n_blocks, cell):
    last = np.cumsum(lengths)
    segments = np.column_stack([last - lengths, last])
    starts = np.concatenate([np.arange(a, max(b - 1, a)) for a, b in segments])
    if starts.size < 4 * n_blocks:
        return
    kept, block = cut_blocks(starts, n_blocks)
    cells = cut_cells(segments, n_blocks, cell=cell)
    pairs = list(zip(cells.start, cells.stop, strict=True))
    np.testing.assert_array_equal(np.concatenate([np.arange(*p) for p in pairs]), starts[kept])
    np.testing.assert_array_equal(np.repeat(cells.block, cells.size), block)
    assert cells.size.max() <= cell


def test_stream_ep__trajectory_averages_to_the_value_and_normalises(bins, whole):
    est = stream_ep(bins, chunk=400, trajectory=True, **OPTIONS)
    assert est.step.size == est.trajectory.size == est.n_steps
    assert est.trajectory.mean() == pytest.approx(est.value, abs=1e-12)
    assert np.all(np.diff(est.step) > 0)


def test_save_bins__a_folder_written_anew_is_read_anew(tmp_path):
    """Mapped arrays of the first recording stayed in use."""
    rng = np.random.default_rng(0)
    for shape in ((3000, 4), (2000, 6)):
        now = SpikeBins.from_dense(rng.random(shape) < 0.1, 0.01)
        mapped = save_bins(now, tmp_path)
        assert (mapped.n_units, stream_ep(mapped).value) == (shape[1], stream_ep(now).value)
    with pytest.raises(InputError, match=r"holds no bins\.json; write the recording"):
        stream_ep(MappedBins(str(tmp_path / "none")))


def test_stream_ep__says_what_is_wrong():
    one = SpikeBins.from_dense(np.ones((500, 1), bool), 0.01)
    with pytest.raises(InputError, match="1 units"):
        stream_ep(one)
    with pytest.raises(InputError, match="no unit spikes in these 500 bins"):
        stream_ep(SpikeBins.from_dense(np.zeros((500, 3), bool), 0.01))
    short = SpikeBins.from_dense(np.ones((100, 3), bool), 0.01)
    with pytest.raises(InputError, match="99 transitions for 50 blocks"):
        stream_ep(short)
    with pytest.raises(InputError, match="2 folds"):
        stream_ep(short, folds=2)
    with pytest.raises(InputError, match="crew is 3; leave it out"):
        stream_ep(one, crew=3)
    with pytest.raises(InputError, match="chunk is 0; use 1"):
        stream_ep(short, chunk=0)
    with pytest.raises(InputError, match=r"recording is a ndarray; pass SpikeBins"):
        stream_ep(np.ones((100, 3), bool))
    with pytest.raises(InputError, match="draws is 0"):
        stream_ep(short, draws=0)
