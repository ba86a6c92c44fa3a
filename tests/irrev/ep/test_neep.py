"""The network competitor: what it finds, that it is held out, that it finds nothing in noise."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from irrev.ep.neep import AntisymmetricNetwork, Training, neep_ep  # noqa: E402
from irrev.errors import InputError  # noqa: E402
from tests.closed_forms import SPIN_CHAINS  # noqa: E402

MIXED = SPIN_CHAINS[2]
SMALL = Training(hidden=(32,), steps=300, batch=512, learning_rate=5e-3)


def test_network__is_antisymmetric_by_construction():
    torch.manual_seed(0)
    network = AntisymmetricNetwork(3, 4, (8, 8))
    x = torch.randn(20, 3, 4)
    np.testing.assert_allclose(
        network(x).detach().numpy(), -network(x.flip(1)).detach().numpy(), atol=1e-6
    )


def test_neep_ep__reaches_the_truth_of_few_states():
    """Eight states: the network can hold the exact log-ratio; the held-out value stays below."""
    path = MIXED.sample(15_000, np.random.default_rng(0))
    est = neep_ep(path, training=SMALL, device="cpu", folds=3)
    error = (est.high - est.low) / 3.92
    assert est.value <= MIXED.ep + 4 * error
    assert est.value >= 0.85 * MIXED.ep
    assert est.certified == pytest.approx(est.value, abs=0.02)
    assert "cpu" in str(est)


def test_neep_ep__finds_nothing_in_noise_and_repeats_itself():
    noise = np.random.default_rng(1).random((3_000, 4)) < 0.2
    first, again = (
        neep_ep(noise, bin_s=0.01, training=Training((16,), steps=30), device="cpu", folds=3)
        for _ in range(2)
    )
    assert first.low <= 0
    assert first.value == again.value


def test_neep_ep__refuses_two_folds():
    with pytest.raises(InputError, match="use 3 folds or more"):
        neep_ep(np.zeros((100, 3)), folds=2)
