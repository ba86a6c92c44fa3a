"""Traces and leading eigenpairs of the denoiser's Jacobian, by directional derivatives only.

    tr J = E z . J z,   z = +-1 per coordinate                    (Hutchinson)             (1)
    Var(z . J z) = 2 sum_{i != j} S_ij^2,   S = (J + J^T)/2                                (2)

For an exact model J = dD/dx = Cov(x_0 | x)/sigma^2 is symmetric and positive, so power iteration
finds its largest eigenvalue; that of a trained network is symmetrised first.

Source: Hutchinson, Commun. Stat. Simul. 18, 1059 (1989); J = Cov/sigma^2 is Tweedie's formula of
second order.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from irrev.diffusion.chunks import vjp
from irrev.diffusion.denoiser import Denoiser, column

EXACT_DIMENSION = 128  # up to here d derivatives are cheaper than enough probes
MIN_PROBES, MAX_PROBES, TARGET_ERROR = 4, 64, 0.01


@dataclass(frozen=True)
class Trace:
    """Trace of dD/dx at each state, and the mean over states with its standard error."""

    per_state: Tensor  # (sample,)
    mean: float
    stderr: float  # of the mean: over states and probes
    n_probes: int  # 0 if exact


def exact_trace(denoiser: Denoiser, x: Tensor, sigma: float, cond: Tensor | None = None) -> Tensor:
    """Return tr dD/dx by one derivative a coordinate, shape (sample,), float64."""
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for i in range(x[0].numel()):
        v = torch.zeros_like(x).flatten(1)
        v[:, i] = 1.0
        _, jv = denoiser.jvp(x, sigma, cond, v.reshape(x.shape))
        total += jv.flatten(1)[:, i].double()
    return total


def hutchinson_trace(
    denoiser: Denoiser,
    x: Tensor,
    sigma: float,
    cond: Tensor | None = None,
    *,
    generator: torch.Generator,
    min_probes: int = MIN_PROBES,
    max_probes: int = MAX_PROBES,
    target: float = TARGET_ERROR,
) -> Trace:
    """Estimate the trace with random signs until the mean over states is known to `target`.

    Parameters
    ----------
    x
        States, shape (sample, *dim).
    generator
        Source of the signs, on the CPU.
    min_probes, max_probes, target
        Probes at each state: at least, at most, and the error of the mean by probes, relative,
        that ends the search. The spread of the states, which no probe lowers, is not part of it.
    """
    values: list[Tensor] = []
    while True:
        signs = torch.randint(0, 2, x.shape, generator=generator, dtype=x.dtype) * 2 - 1
        z = signs.to(x.device)
        _, jz = denoiser.jvp(x, sigma, cond, z)
        values.append((z * jz).flatten(1).double().sum(1))
        if len(values) < min_probes:
            continue
        table = torch.stack(values)
        trace = _summary(table)
        by_probes = float((table.var(0) / table.numel()).mean().sqrt()) if len(values) > 1 else 0.0
        if by_probes <= target * abs(trace.mean) or len(values) >= max_probes:
            return trace


def _summary(values: Tensor) -> Trace:
    per_state = values.mean(0)
    n = per_state.numel()
    # The spread of the state means holds both sources of error; one state alone has probes only.
    spread = per_state.std() / n**0.5 if n > 1 else values.std() / len(values) ** 0.5
    return Trace(per_state, float(per_state.mean()), float(spread), len(values))


def denoiser_trace(
    denoiser: Denoiser,
    x: Tensor,
    sigma: float,
    cond: Tensor | None = None,
    *,
    generator: torch.Generator,
) -> Trace:
    """Return tr dD/dx, exactly up to 128 coordinates and by random probes above."""
    if x[0].numel() > EXACT_DIMENSION:
        return hutchinson_trace(denoiser, x, sigma, cond, generator=generator)
    per_state = exact_trace(denoiser, x, sigma, cond)
    spread = float(per_state.std()) / len(x) ** 0.5 if len(x) > 1 else 0.0
    return Trace(per_state, float(per_state.mean()), spread, 0)


def top_eigenpair(
    denoiser: Denoiser,
    x: Tensor,
    sigma: float,
    cond: Tensor | None = None,
    *,
    generator: torch.Generator,
    n_iter: int = 20,
    tolerance: float = 1e-3,
    symmetrise: bool = True,
    start: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalue of dD/dx at each state and its direction.

    Parameters
    ----------
    x
        States, shape (sample, *dim).
    n_iter, tolerance
        Power iterations at most, and the relative change of every eigenvalue that ends them.
    symmetrise
        Use (J + J^T)/2; exact models do not need it.
    start
        Directions to begin with, shape of x, such as those found at a neighbouring noise level;
        default random.

    Returns
    -------
        Eigenvalues, shape (sample,), and unit vectors, shape of x. The state branches locally
        where the eigenvalue exceeds 1.
    """
    random = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    v = _unit(random if start is None else start + 0.1 * random * _rms(start))
    value = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for _ in range(n_iter):
        product = _product(denoiser, x, sigma, cond, v, symmetrise=symmetrise)
        last, value = value, (v * product).flatten(1).sum(1)
        v = _unit(product)
        if torch.all((value - last).abs() <= tolerance * value.abs()):
            break
    return value, v


def _product(
    denoiser: Denoiser,
    x: Tensor,
    sigma: float,
    cond: Tensor | None,
    v: Tensor,
    *,
    symmetrise: bool,
) -> Tensor:
    _, jv = denoiser.jvp(x, sigma, cond, v)
    if not symmetrise:
        return jv
    return 0.5 * (jv + vjp(denoiser, x, sigma, cond, v))


def _rms(v: Tensor) -> Tensor:
    return column(v.flatten(1).square().mean(1).sqrt(), v)


def _unit(v: Tensor) -> Tensor:
    norm = v.flatten(1).norm(dim=1).clamp_min(torch.finfo(v.dtype).tiny)
    return v / column(norm, v)
