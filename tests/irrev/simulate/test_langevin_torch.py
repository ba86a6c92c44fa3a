import numpy as np
import pytest

torch = pytest.importorskip("torch")

from irrev.errors import InputError  # noqa: E402
from irrev.simulate.driven import heavy_trap, quartic_drift, trap  # noqa: E402
from irrev.simulate.langevin import baoab, euler_maruyama, kicks  # noqa: E402
from irrev.simulate.langevin_torch import simulate_torch, stream_torch  # noqa: E402
from irrev.simulate.systems import Ring, bead_chain  # noqa: E402

RUN = {"n_trajectories": 100, "n_steps": 40, "seed": 3, "block_size": 32}


@pytest.mark.parametrize(
    "layout", [[[0], [1], [2], [3]], [[0, 1], [2, 3]], [[0, 1, 2], [3]], [[0, 1, 2, 3]]]
)
def test_simulate_torch__is_bit_identical_for_any_chunking(layout):
    chain = euler_maruyama(Ring(2, 1, 1).system(), dt=0.01)
    whole = simulate_torch(chain, **RUN)
    parts = torch.cat([simulate_torch(chain, only=c, **RUN) for c in layout])
    assert torch.equal(parts, whole)


def test_stream_torch__segments_do_not_change_the_numbers():
    chain = kicks(heavy_trap(), dt=0.01)
    whole = simulate_torch(chain, every=2, **RUN)
    for segment in (1, 20):
        for piece in stream_torch(chain, every=2, segment=segment, **RUN):
            rows = whole[piece.block.start : piece.block.stop]
            part = rows[:, piece.time : piece.time + piece.x.shape[0]]
            assert torch.equal(piece.x.permute(2, 0, 1), part)


def test_simulate_torch__trap_has_the_variance_of_the_chain():
    """Stationary variance 1 / (1 - dt / 2), as for the numpy path."""
    n, dt = 40_000, 0.1
    var = 1 / (1 - dt / 2)
    chain = euler_maruyama(trap(start_var=var), dt=dt)
    x = simulate_torch(chain, n_trajectories=n, n_steps=20, seed=5)[:, -1, 0].double()
    assert float(x.var()) == pytest.approx(var, abs=4 * var * np.sqrt(2 / n))


def test_simulate_torch__bead_chain_keeps_its_covariance():
    system = bead_chain(3)
    chain = euler_maruyama(system.system(), dt=0.01)
    x = simulate_torch(chain, n_trajectories=20_000, n_steps=100, seed=5, every=100)
    x = x[:, -1].double().numpy()
    # Euler's variance of mode r is larger by the factor 1 / (1 - r dt / 2), r < 4.
    limit = (4 * np.sqrt(2 / len(x)) + 0.02) * system.cov.max()
    assert np.abs(x.T @ x / len(x) - system.cov).max() < limit


def test_quartic_drift__passes_of_torch_add_up_to_the_written_force(rng):
    x, c = rng.normal(size=(1, 1000)), [8.0, -1.5, 4.0, 0.7]
    want, got = np.empty_like(x), torch.empty(1, 1000, dtype=torch.float64)

    quartic_drift(np)(x, c, want)
    quartic_drift(torch)(torch.as_tensor(x), c, got)

    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12, atol=1e-12)


def test_stream_torch__refuses_a_scheme_without_a_torch_path():
    with pytest.raises(InputError, match="baoab has no torch path; use euler_maruyama or kicks"):
        next(stream_torch(baoab(heavy_trap(), dt=0.1), n_trajectories=1, n_steps=1, seed=0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_simulate_torch__cuda_is_bit_identical_for_any_chunking():
    chain, run = kicks(heavy_trap(), dt=0.01), {**RUN, "device": "cuda"}
    whole = simulate_torch(chain, **run)
    parts = torch.cat([simulate_torch(chain, only=c, **run) for c in ([0, 1], [2], [3])])
    assert torch.equal(parts, whole)
    assert whole.device.type == "cuda"
