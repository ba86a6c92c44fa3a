"""Largest Fisher eigenvalue by Lanczos."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from irrev.alignment.fisher import (  # noqa: E402
    FisherSum,
    fisher_product,
    lambda_max,
    lambda_max_of,
    lanczos_top,
)
from irrev.errors import InputError  # noqa: E402


class Logits(torch.nn.Module):
    """The logits themselves are the parameters."""

    def __init__(self, p):
        super().__init__()
        self.theta = torch.nn.Parameter(torch.log(torch.tensor(p, dtype=torch.float64)))

    def forward(self, x):
        return self.theta.expand(len(x), -1)


def mlp():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5))
    return net.double().eval()


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ((0.5, 0.5), 0.5),
        ((0.2,) * 5, 0.2),
        ((0.9, 0.04, 0.03, 0.02, 0.01), 0.117967),
        ((0.6, 0.2, 0.1, 0.06, 0.04), 0.334851),
    ],
)
def test_lambda_max__of_logits_is_that_of_the_multinomial_covariance(p, expected, rng):
    top = lambda_max(Logits(p).eval(), [torch.zeros(3, 1)], rng=rng)
    assert top.lambda_max == pytest.approx(expected, abs=5e-7)
    assert top.lambda_max <= 0.5 + 1e-12


def test_lambda_max__of_a_flat_linear_softmax_is_the_input_second_moment(rng):
    """At W = 0: lambda = eigmax(E x x^T) / K."""
    K, x = 4, torch.as_tensor(rng.standard_normal((50, 6)))
    net = torch.nn.Linear(6, K, bias=False).double().eval()
    torch.nn.init.zeros_(net.weight)
    moment = np.linalg.eigvalsh(x.numpy().T @ x.numpy() / 50)[-1]
    top = lambda_max(net, [x], rng=rng)
    assert top.lambda_max == pytest.approx(moment / K, rel=1e-9)


def full_fisher(net, x):
    """Dense matrix from the Jacobian, by another route than the products."""
    parameters = dict(net.named_parameters())
    J = torch.func.jacrev(lambda q: torch.func.functional_call(net, q, (x,)))(parameters)
    flat = torch.cat([J[k].reshape(len(x), -1, parameters[k].numel()) for k in parameters], dim=2)
    p = torch.softmax(net(x), dim=-1)
    H = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return (torch.einsum("bki,bkl,blj->ij", flat, H, flat) / len(x)).detach().numpy()


def test_lambda_max__agrees_with_the_full_matrix(rng):
    net, x = mlp(), torch.as_tensor(rng.standard_normal((40, 6)))
    F = full_fisher(net, x)
    top = lambda_max(net, [x[:15], x[15:]], n_probes=200, rng=rng)
    exact = np.linalg.eigvalsh(F)[-1]
    assert top.n_parameters == 101
    assert top.converged
    # a Ritz value errs by at most residual^2 / gap, here far below the residual
    assert top.lambda_max == pytest.approx(exact, rel=1e-6)
    assert top.trace == pytest.approx(np.trace(F), abs=4 * top.trace_se)


@pytest.mark.parametrize("n_steps", [5, 10, 15, 20])
def test_lanczos_top__converges_as_fast_as_the_chebyshev_bound(n_steps, rng):
    """Kaniel-Saad: error <= (l1 - ln) (tan angle / T_{m-1}(1 + 2 (l1 - l2) / (l2 - ln)))^2."""
    net, x = mlp(), torch.as_tensor(rng.standard_normal((40, 6)))
    F = full_fisher(net, x)
    values, vectors = np.linalg.eigh(F)
    start = np.random.default_rng(1).standard_normal(101)
    cosine = abs(start @ vectors[:, -1]) / np.linalg.norm(start)
    growth = np.cosh((n_steps - 1) * np.arccosh(1 + 2 * (values[-1] - values[-2]) / values[-2]))
    bound = values[-1] * (np.sqrt(1 / cosine**2 - 1) / growth) ** 2
    value = lanczos_top(lambda v: F @ v, 101, n_steps, 0.0, np.random.default_rng(1))[0]
    assert -1e-13 <= values[-1] - value <= bound + 1e-13


def test_lanczos_top__thirty_steps_reach_rounding(rng):
    net, x = mlp(), torch.as_tensor(rng.standard_normal((40, 6)))
    F = full_fisher(net, x)
    value = lanczos_top(lambda v: F @ v, 101, 30, 0.0, rng)[0]
    assert value == pytest.approx(np.linalg.eigvalsh(F)[-1], rel=1e-12)


def test_lambda_max__rescaling_a_layer_changes_it_and_not_the_function(rng):
    """The weight W = 10 W' leaves the logits as they are; lambda is that of the new network."""
    net, x = mlp(), torch.as_tensor(rng.standard_normal((40, 6)))

    class Rescaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(net[0].weight.detach() / 10)

        def forward(self, z):
            hidden = torch.tanh(z @ (10 * self.w).T + net[0].bias.detach())
            return hidden @ net[2].weight.detach().T + net[2].bias.detach()

    top = lambda_max(net, [x], rng=rng)
    assert torch.allclose(Rescaled()(x), net(x))
    assert top.rescaled["0.weight"] > 5 * top.lambda_max
    alone = lambda_max(Rescaled().eval(), [x], rng=rng).lambda_max  # this tensor's block only
    assert alone <= top.rescaled["0.weight"] * (1 + 1e-6)


def test_fisher_product__chunks_add_to_the_whole(rng):
    net, x = mlp(), torch.as_tensor(rng.standard_normal((40, 6)))
    v = rng.standard_normal(101)
    whole = fisher_product(net, x, v)
    parts = [fisher_product(net, piece, v) for piece in (x[:7], x[7:20], x[20:])]
    total = sum(parts, FisherSum(np.zeros(101), 0))
    assert total.n_samples == 40
    np.testing.assert_allclose(total.mean, whole.mean, rtol=1e-11, atol=1e-14)


def test_fisher_product__empirical_fisher_is_the_second_moment_of_gradients(rng):
    net, x = mlp(), torch.as_tensor(rng.standard_normal((8, 6)))
    labels, v = torch.as_tensor(rng.integers(0, 5, 8)), rng.standard_normal(101)
    rows = []
    for one, label in zip(x, labels, strict=True):
        net.zero_grad()
        torch.nn.functional.cross_entropy(net(one[None]), label[None]).backward()
        rows.append(torch.cat([p.grad.ravel() for p in net.parameters()]).numpy())
    G = np.array(rows)
    np.testing.assert_allclose(
        fisher_product(net, x, v, labels=labels).mean, G.T @ (G @ v) / 8, rtol=1e-9, atol=1e-12
    )


def test_lambda_max__wants_a_model_in_eval_mode(rng):
    with pytest.raises(InputError, match=r"eval\(\) mode"):
        lambda_max(mlp().train(), [torch.zeros(2, 6).double()], rng=rng)


def product_of(state, x, v):
    """Sum of one chunk, on a worker: the network travels as its weights."""
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5))
    net = net.double().eval()
    net.load_state_dict(state)
    return fisher_product(net, x, v)


def test_lambda_max__is_the_same_whether_chunks_are_batches_or_dask_tasks(rng):
    """A task a chunk and one sum a Lanczos step; two workers in this process."""
    from distributed import Client, LocalCluster

    net, x = mlp(), torch.as_tensor(rng.standard_normal((40, 6)))
    chunks = (x[:9], x[9:25], x[25:])
    alone = lambda_max(net, chunks, n_probes=0, rescale=1, rng=np.random.default_rng(2))
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        held = client.scatter(list(chunks))
        state = client.scatter(net.state_dict(), broadcast=True)

        def products(v):
            return client.gather(
                [client.submit(product_of, state, c, v, pure=False) for c in held]
            )

        sizes = {k: p.numel() for k, p in net.named_parameters()}
        spread = lambda_max_of(
            products, sizes, n_probes=0, rescale=1, rng=np.random.default_rng(2)
        )
    assert spread.n_samples == 40
    assert spread.lambda_max == pytest.approx(alone.lambda_max, rel=1e-12)


def test_fisher_product__threads_do_not_disturb_each_other(rng):
    """Forward derivatives of torch share one count of levels over all threads."""
    net, x = mlp(), torch.as_tensor(rng.standard_normal((40, 6)))
    vs = rng.standard_normal((60, 101))
    alone = [fisher_product(net, x, v).product for v in vs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda v: fisher_product(net, x, v).product, vs))
    np.testing.assert_allclose(together, alone, rtol=1e-12, atol=1e-14)
