"""The schemes of `irrev.simulate.langevin` on a torch device, keyed by (seed, block) as well.

Noise comes from torch's generator of the device, so numbers differ from the numpy path and
between kinds of device; on one kind they are bit-identical for any chunking. float32 halves memory
and more than doubles speed; sum in float64 over many trajectories. Start states are drawn by
numpy from the block's Philox key.

Equations and limits: `irrev.simulate.langevin`, eqs. (3-5).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from irrev.errors import InputError
from irrev.simulate.langevin import Force, SteppedChain
from irrev.simulate.noise import Block, block_rng, blocks

TORCH_BLOCK = 65_536  # trajectories a block: fewer leave the launch of each operation dominant
NOISE_STEPS = 16  # steps whose normals are drawn at once


@dataclass(frozen=True, slots=True)
class TorchPiece:
    """Consecutive recorded times of one block."""

    block: Block
    time: int
    x: Tensor  # (time, dim, trajectory)


def stream_torch(
    chain: SteppedChain,
    *,
    n_trajectories: int,
    n_steps: int,
    seed: int,
    every: int = 1,
    segment: int = 256,
    block_size: int = TORCH_BLOCK,
    only: Iterable[int] | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Iterator[TorchPiece]:
    """Yield trajectories piece by piece on a device; arguments as `irrev.simulate.chains.stream`.

    Parameters
    ----------
    chain
        From `euler_maruyama` or `kicks`; its numba setting is ignored.
    segment
        Steps a piece, rounded up to a multiple of `every` and of 16; it does not change numbers.
    device, dtype
        Where and how precisely to compute.

    Raises
    ------
    InputError
        If the chain uses another scheme or its controls are too short.
    """
    if chain.scheme not in MOVES:
        raise InputError(f"scheme {chain.scheme} has no torch path; use {' or '.join(MOVES)}.")
    if chain.n_steps is not None and n_steps > chain.n_steps:
        raise InputError(f"{n_steps} steps but controls for {chain.n_steps}; give more controls.")
    unit = int(np.lcm(every, NOISE_STEPS))
    segment = -(-segment // unit) * unit
    every_block = blocks(n_trajectories, size=block_size)
    for block in every_block if only is None else [every_block[i] for i in only]:
        rng = block_rng(seed, block.index)
        x = torch.as_tensor(chain.draw_start(rng, block.size), dtype=dtype, device=device)
        generator = torch.Generator(device=device)
        generator.manual_seed(int(rng.integers(2**63)))
        for step in range(0, n_steps, segment):
            n = min(segment, n_steps - step)
            first = int(step == 0)
            out = torch.empty(
                (first + n // every, *x.shape), dtype=dtype, device=torch.device(device)
            )
            if first:
                out[0] = x
            x = _advance(chain, x, generator, step, n, out[first:], every)
            yield TorchPiece(block, step // every + 1 - first, out)


def simulate_torch(
    chain: SteppedChain,
    *,
    n_trajectories: int,
    n_steps: int,
    seed: int,
    every: int = 1,
    block_size: int = TORCH_BLOCK,
    only: Iterable[int] | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return trajectories on the device, shape (trajectory, n_steps // every + 1, dim)."""
    pieces = stream_torch(
        chain,
        n_trajectories=n_trajectories,
        n_steps=n_steps,
        seed=seed,
        every=every,
        segment=n_steps,
        block_size=block_size,
        only=only,
        device=device,
        dtype=dtype,
    )
    return torch.cat([piece.x.permute(2, 0, 1) for piece in pieces])


def _advance(
    chain: SteppedChain,
    x: Tensor,
    generator: torch.Generator,
    step: int,
    n_steps: int,
    out: Tensor,
    every: int,
) -> Tensor:
    move = MOVES[chain.scheme]
    force = chain.force(torch)
    rows = torch.as_tensor(chain.coefficients, dtype=x.dtype, device=x.device)[:, :, None]
    n_noise = rows.shape[1]
    noise = torch.empty((NOISE_STEPS, n_noise, x.shape[1]), dtype=x.dtype, device=x.device)
    scratch = torch.empty_like(noise[0])
    table = chain.controls.tolist()
    x = x.clone()
    for t in range(n_steps):
        if t % NOISE_STEPS == 0:
            noise.normal_(generator=generator).mul_(rows[NOISE_ROW[chain.scheme]])
        move(
            force,
            x,
            noise[t % NOISE_STEPS],
            table[min(step + t, len(table) - 1)],
            rows,
            chain.dt,
            scratch,
        )
        if (t + 1) % every == 0:
            out[(t + 1) // every - 1] = x
    return x


def _euler(
    force: Force, x: Tensor, noise: Tensor, c: list[float], rows: Tensor, dt: float, push: Tensor
) -> None:
    force(x, c, push)
    x.add_(push, alpha=dt).add_(noise)


def _kicks(
    force: Force, x: Tensor, noise: Tensor, c: list[float], rows: Tensor, dt: float, push: Tensor
) -> None:
    d = noise.shape[0]
    force(x[:d], c, push)
    v = x[d:]
    v.mul_(rows[0]).addcmul_(rows[2].expand_as(push), push).add_(noise)
    x[:d].add_(v, alpha=dt)


MOVES = {"euler_maruyama": _euler, "kicks": _kicks}
NOISE_ROW = {"euler_maruyama": 0, "kicks": 1}
