"""Forward derivatives of different topics in threads of one process."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from irrev.alignment.fisher import fisher_product  # noqa: E402
from irrev.diffusion.exact import GaussianMixture  # noqa: E402


def test_forward__topics_do_not_disturb_each_other(rng):
    """Fisher products beside derivatives of a denoiser: torch counts the levels of both."""
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    net = net.double().eval()
    n_parameters = sum(p.numel() for p in net.parameters())
    x, vs = torch.as_tensor(rng.standard_normal((40, 6))), rng.standard_normal((60, n_parameters))
    mixture = GaussianMixture([0.5, 0.5], [[2, 0], [-2, 0]], 0.25)
    states = torch.as_tensor(rng.standard_normal((50, 2)))

    def product(i):
        return fisher_product(net, x, vs[i]).product

    def slope(i):
        return mixture.jvp(states, 0.1 + 0.1 * i, None, torch.ones_like(states))[1].numpy()

    alone = [(product(i), slope(i)) for i in range(60)]
    with ThreadPoolExecutor(4) as pool:
        together = [(pool.submit(product, i), pool.submit(slope, i)) for i in range(60)]
        for one, other in zip(alone, together, strict=True):
            for expected, future in zip(one, other, strict=True):
                np.testing.assert_allclose(future.result(), expected, rtol=1e-12, atol=1e-14)
