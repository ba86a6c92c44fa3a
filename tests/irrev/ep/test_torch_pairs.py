"""Products on a torch device give the numbers of the host within float32 rounding."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from irrev.binning import SpikeBins  # noqa: E402
from irrev.ep.maxent import maxent_ep  # noqa: E402
from irrev.ep.samples import build_samples  # noqa: E402
from irrev.ep.torch_pairs import on_device, torch_pairs  # noqa: E402
from irrev.errors import InputError  # noqa: E402

absent = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is seen")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, absent])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["sparse", "spins", "real"])
def test_torch_pairs__agree_with_the_host(kind, device, rng):
    """float32 products of 40 x 40 terms near 1: 6e-8 x 1600 x 4 at worst."""
    states = rng.random((3_000, 40)) < 0.1
    given = {
        "sparse": SpikeBins.from_dense(states, 0.01),
        "spins": 2 * states.astype(np.int8) - 1,
        "real": rng.normal(size=(3_000, 40)),
    }[kind]
    host = build_samples(given).observables
    there = torch_pairs(host, device)
    assert there.before.dtype == (torch.float32 if kind == "real" else torch.int8)
    rows = rng.permutation(host.n_samples)[:1_000]
    theta, w = rng.uniform(-1, 1, host.n_observables), rng.random(1_000) / 1_000
    host, there = host.take(rows), there.take(rows)
    np.testing.assert_allclose(there.values(theta), host.values(theta), atol=4e-4)
    np.testing.assert_allclose(there.total(w), host.total(w), atol=4e-6)
    np.testing.assert_array_equal(
        there.select(np.arange(5)).table, host.select(np.arange(5)).table
    )


@pytest.mark.parametrize("device", DEVICES)
def test_torch_pairs__windows_run_there_too(device, rng):
    samples = build_samples(
        rng.random((500, 6)) < 0.2, observables=("lin", "pair", "delayed"), window=2
    )
    host, there = samples.observables, on_device(samples.observables, device)
    theta = rng.normal(size=host.n_observables)
    np.testing.assert_allclose(there.values(theta), host.values(theta), atol=1e-4)


def test_maxent_ep__says_that_no_gpu_is_there(rng):
    if torch.cuda.is_available():
        pytest.skip("a GPU is there")
    spikes = rng.random((3_000, 4)) < 0.2
    with pytest.raises(InputError, match="no GPU is seen"):
        maxent_ep(spikes, device="cuda")
    assert maxent_ep(spikes, device="auto").value == maxent_ep(spikes).value


@absent
@pytest.mark.gpu
def test_maxent_ep__gives_the_same_estimate_on_a_gpu(rng):
    spins = rng.choice([-1.0, 1.0], (5_000, 8)).cumsum(axis=0) % 3 - 1
    here, there = maxent_ep(spins), maxent_ep(spins, device="cuda")
    assert there.value == pytest.approx(here.value, abs=1e-3 * (here.high - here.low) + 1e-5)
