"""Largest eigenvalue of the Fisher matrix of a softmax network, without forming the matrix.

    F v = (1/B) sum_b J_b^T H_b J_b v,   H_b = diag(p_b) - p_b p_b^T                (1)

J_b is the Jacobian of the logits of sample b and p_b the network's own law (the true Fisher, not
the empirical one of labels, which `kind="empirical"` gives under that name). One product is a
forward derivative of the logits, a product with H_b and a backward derivative. Lanczos with full
re-orthogonalisation finds the top; its Ritz value is a lower bound, and an eigenvalue lies within
`residual * lambda_max` of it.

Products are sums over samples (`FisherSum` adds), so chunks may be computed anywhere and added:
`lambda_max_of` takes them from wherever they come.

Limit: lambda_max is no property of the function that the network computes. Writing one weight
matrix as W = c W' multiplies its rows and columns of F by c; `rescaled_lambda` shows by how much
that moves the value. The bound of `gamma_crit` inherits this.

Source: N. Schraudolph, Neural Comput. 14, 1723 (2002) for (1); C. Lanczos (1950).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from irrev.alignment.second_law import gamma_crit
from irrev.derivatives import FORWARD
from irrev.errors import InputError, MissingExtraError

try:
    import torch
    from torch.func import functional_call, jvp, vjp
except ImportError as error:
    raise MissingExtraError("lambda_max needs torch; pip install 'irrev[torch]'.") from error

if TYPE_CHECKING:
    from torch import Tensor, nn

METHOD_VERSION = 1
FisherKind = Literal["model", "empirical"]
Product = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Products = Callable[[NDArray[np.float64]], Iterable["FisherSum"]]
RELATIVE_RESIDUAL = 1e-6


@dataclass(frozen=True, slots=True)
class FisherSum:
    """Sum over samples of J^T H J v; add the sums of chunks, then divide."""

    product: NDArray[np.float64]  # (parameter,)
    n_samples: int

    def __add__(self, other: "FisherSum") -> "FisherSum":
        return FisherSum(self.product + other.product, self.n_samples + other.n_samples)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Return F v of the samples added so far."""
        return self.product / self.n_samples


@dataclass(frozen=True, slots=True)
class TopEigenvalue:
    """Largest Fisher eigenvalue of one network on one set of inputs."""

    lambda_max: float  # 1 / parameter^2
    residual: float  # |F v - lambda v| / lambda
    trace: float  # Hutchinson estimate
    trace_se: float
    n_parameters: int
    n_samples: int
    n_steps: int
    converged: bool
    kind: FisherKind
    gamma_crit: float  # quoted from the paper; depends on the parametrisation
    rescaled: dict[str, float]  # parameter tensor -> lambda_max with that tensor rescaled


def fisher_product(
    model: "nn.Module",
    x: "Tensor",
    v: NDArray[np.float64],
    *,
    labels: "Tensor | None" = None,
) -> FisherSum:
    """Sum J^T H J v over the samples of one batch, eq. (1).

    Parameters
    ----------
    model
        Network from inputs to logits, (sample, class); in evaluation mode.
    x
        Inputs, samples first.
    v
        Direction, shape (parameter,), in the order of `model.named_parameters()`.
    labels
        Class of each sample: gives the empirical Fisher instead.

    Returns
    -------
        The sum and the number of samples.
    """
    with FORWARD:  # a functional call also swaps the model's own parameters while it lasts
        parameters = {k: p.detach() for k, p in model.named_parameters()}

        def logits_of(values: Mapping[str, "Tensor"]) -> "Tensor":
            return functional_call(model, dict(values), (x,)).flatten(0, -2)

        logits, tangent = jvp(logits_of, (parameters,), (_unflatten(v, parameters),))[:2]
        p = torch.softmax(logits, dim=-1)
        if labels is None:
            u = p * (tangent - (p * tangent).sum(-1, keepdim=True))
        else:
            gradient = torch.nn.functional.one_hot(labels.reshape(-1), p.shape[-1]) - p
            u = gradient * (gradient * tangent).sum(-1, keepdim=True)
        (back,) = vjp(logits_of, parameters)[1](u)
    flat = np.concatenate([back[k].detach().cpu().double().numpy().ravel() for k in parameters])
    return FisherSum(flat, logits.shape[0])


def lambda_max(
    model: "nn.Module",
    batches: "Iterable[Tensor]",
    *,
    labels: "Iterable[Tensor] | None" = None,
    n_steps: int = 30,
    tolerance: float = RELATIVE_RESIDUAL,
    n_probes: int = 8,
    rescale: float = 10.0,
    rng: np.random.Generator,
) -> TopEigenvalue:
    """Find the largest eigenvalue of a network's Fisher matrix.

    Parameters
    ----------
    model
        Network from inputs to logits; dropout and batch statistics must be off (`eval()`).
    batches
        Input batches, samples first; together they are the sample that F averages over.
    labels
        Labels of each batch: gives the empirical Fisher, and says so in the result.
    n_steps
        Largest number of Lanczos steps.
    tolerance
        Relative residual at which to stop.
    n_probes
        Random signs for the trace; 0 skips it.
    rescale
        Factor c of the sensitivity line: each weight matrix in turn is written W = c W';
        1 skips it.
    rng
        Start vector and probes.

    Returns
    -------
        Eigenvalue with its residual, trace, the bound quoted by the paper, and the sensitivity.

    Raises
    ------
    InputError
        If the network is in training mode or there is no batch.
    """
    xs = list(batches)
    if model.training or not xs:
        raise InputError("lambda_max needs a model in eval() mode and at least one batch.")
    ys = list(labels) if labels is not None else [None] * len(xs)
    return lambda_max_of(
        lambda v: (fisher_product(model, x, v, labels=y) for x, y in zip(xs, ys, strict=True)),
        {k: p.numel() for k, p in model.named_parameters()},
        kind="model" if labels is None else "empirical",
        n_steps=n_steps,
        tolerance=tolerance,
        n_probes=n_probes,
        rescale=rescale,
        rng=rng,
    )


def lambda_max_of(
    products: Products,
    sizes: Mapping[str, int],
    *,
    kind: FisherKind = "model",
    n_steps: int = 30,
    tolerance: float = RELATIVE_RESIDUAL,
    n_probes: int = 8,
    rescale: float = 10.0,
    rng: np.random.Generator,
) -> TopEigenvalue:
    """Find the largest Fisher eigenvalue from sums over chunks, wherever they are computed.

    Parameters
    ----------
    products
        v -> the `FisherSum` of every chunk, e.g. gathered from a cluster; called once a step.
    sizes
        Numbers in each parameter tensor, in the order of the vector.
    kind
        What the chunks summed; recorded.
    n_steps, tolerance, n_probes, rescale, rng
        As in `lambda_max`.
    """
    n_parameters = sum(sizes.values())
    n_samples = 0

    def product(v: NDArray[np.float64]) -> NDArray[np.float64]:
        nonlocal n_samples
        total = sum(products(v), FisherSum(np.zeros(n_parameters), 0))
        n_samples = total.n_samples
        return total.mean

    value, residual, steps = lanczos_top(product, n_parameters, n_steps, tolerance, rng)
    trace, trace_se = hutchinson_trace(product, n_parameters, n_probes, rng)
    return TopEigenvalue(
        lambda_max=value,
        residual=residual,
        trace=trace,
        trace_se=trace_se,
        n_parameters=n_parameters,
        n_samples=n_samples,
        n_steps=steps,
        converged=residual < tolerance,
        kind=kind,
        gamma_crit=gamma_crit(max(value, 0.0), n_parameters),
        rescaled=rescaled_lambda(product, sizes, rescale, n_steps, tolerance, rng),
    )


def lanczos_top(
    product: Product,
    n_parameters: int,
    n_steps: int,
    tolerance: float,
    rng: np.random.Generator,
) -> tuple[float, float, int]:
    """Run Lanczos with full re-orthogonalisation; return (Ritz value, relative residual, steps).

    `product` maps a vector to F v; it may gather `FisherSum`s from a cluster.
    """
    q = rng.standard_normal(n_parameters)
    basis = [q / np.linalg.norm(q)]
    diagonal: list[float] = []
    off: list[float] = []
    value, residual = 0.0, np.inf
    for step in range(1, min(n_steps, n_parameters) + 1):
        w = product(basis[-1])
        diagonal.append(float(w @ basis[-1]))
        span = np.array(basis)
        for _ in range(2):  # twice is enough (Parlett)
            w = w - span.T @ (span @ w)
        beta = float(np.linalg.norm(w))
        T = np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1)
        values, vectors = np.linalg.eigh(T)
        value = float(values[-1])
        residual = beta * abs(float(vectors[-1, -1])) / value if value > 0 else 0.0
        if residual < tolerance or beta <= 1e-14 * max(value, 1e-300):
            return value, residual, step
        off.append(beta)
        basis.append(w / beta)
    return value, residual, len(diagonal)


def hutchinson_trace(
    product: Product, n_parameters: int, n_probes: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Estimate the trace with random signs; NaN without probes, NaN error with one."""
    if n_probes == 0:
        return float("nan"), float("nan")
    probes = rng.choice([-1.0, 1.0], size=(n_probes, n_parameters))
    values = np.array([z @ product(z) for z in probes])
    error = values.std(ddof=1) / np.sqrt(n_probes) if n_probes > 1 else np.nan
    return float(values.mean()), float(error)


def rescaled_lambda(
    product: Product,
    sizes: Mapping[str, int],
    factor: float,
    n_steps: int,
    tolerance: float,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Find lambda_max with each weight tensor in turn written W = factor * W'.

    The function is the same; the gradient with respect to W' is `factor` times larger, so F
    becomes D F D with D the diagonal of factors.
    """
    if factor == 1:
        return {}
    out = {}
    ends = np.cumsum(list(sizes.values()))
    for (name, size), end in zip(sizes.items(), ends, strict=True):
        if name.endswith("bias"):
            continue
        scale = np.ones(int(ends[-1]))
        scale[end - size : end] = factor
        rescaled = lambda v, d=scale: d * product(d * v)  # noqa: E731
        out[name] = lanczos_top(rescaled, scale.size, n_steps, tolerance, rng)[0]
    return out


def _unflatten(v: NDArray[np.float64], like: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    pieces, start = {}, 0
    for name, p in like.items():
        piece = torch.as_tensor(v[start : start + p.numel()], dtype=p.dtype, device=p.device)
        pieces[name] = piece.reshape(p.shape)
        start += p.numel()
    return pieces
