"""Running Markov chains: many trajectories, block by block, stored or step by step.

A chain is one state law and one step law; `irrev.simulate.langevin` and `irrev.simulate.ou` make
them. `simulate` returns trajectories, `stream` yields them in pieces of bounded memory, `walk`
yields single steps with the normals that made them and stores nothing. All three see the same
numbers for the same (seed, block): `irrev.simulate.noise`.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from irrev.errors import InputError
from irrev.simulate.noise import BLOCK, Block, block_rng, blocks

Array = NDArray[np.float64]
Start = Callable[[np.random.Generator, int], Array]

SEGMENT = 256  # steps held at once by `stream`: 8 MiB a component for a full block, which malloc
# keeps for the next one instead of mapping fresh pages (1024 steps: 12 % slower)


class Chain(Protocol):
    """A Markov chain in discrete time; states have shape (dim, trajectory)."""

    @property
    def dim(self) -> int:
        """Components of a state."""
        ...

    @property
    def n_noise(self) -> int:
        """Normals a step and trajectory."""
        ...

    @property
    def dt(self) -> float:
        """Time of a step."""
        ...

    @property
    def n_steps(self) -> int | None:
        """Steps that the chain is defined for; None: any number."""
        ...

    def draw_start(self, rng: np.random.Generator, n: int) -> Array:
        """Draw start states, shape (dim, n)."""
        ...

    def advance(
        self, x: Array, rng: np.random.Generator, step: int, n_steps: int, out: Array, every: int
    ) -> None:
        """Move `x` by `n_steps` from step `step`; write every `every`-th state to `out`."""
        ...

    def move(self, x: Array, z: Array, step: int) -> Array:
        """Return the states after one step with normals `z`, shape (n_noise, trajectory)."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive recorded times of one block."""

    block: Block
    time: int  # index of the first recorded time
    x: Array  # (trajectory, time, dim)


def stream(
    chain: Chain,
    *,
    n_trajectories: int,
    n_steps: int,
    seed: int,
    every: int = 1,
    segment: int = SEGMENT,
    block_size: int = BLOCK,
    only: Iterable[int] | None = None,
) -> Iterator[Piece]:
    """Yield trajectories piece by piece; memory is one block times one segment.

    Parameters
    ----------
    chain
        From `euler_maruyama`, `kicks`, `baoab` or `irrev.simulate.ou`.
    n_trajectories, n_steps
        Size of the whole run. The first piece of a block starts with the start state.
    seed
        Seed of the run.
    every
        Record every so many steps.
    segment
        Steps a piece, rounded up to a multiple of `every`; it does not change the numbers.
    block_size
        Trajectories a block; it is part of the seed.
    only
        Blocks to run (default: all): one chunk of a larger run.

    Raises
    ------
    InputError
        If the chain's controls are shorter than `n_steps` or a number is not positive.
    """
    _check_run(chain, n_steps, every, segment)
    segment = -(-segment // every) * every
    every_block = blocks(n_trajectories, size=block_size)
    for block in every_block if only is None else [every_block[i] for i in only]:
        rng = block_rng(seed, block.index)
        x = chain.draw_start(rng, block.size)
        for step in range(0, n_steps, segment):
            n = min(segment, n_steps - step)
            first = int(step == 0)
            out = np.empty((block.size, first + n // every, chain.dim))
            if first:
                out[:, 0] = x.T
            chain.advance(x, rng, step, n, out[:, first:], every)
            yield Piece(block, step // every + 1 - first, out)


def simulate(
    chain: Chain,
    *,
    n_trajectories: int,
    n_steps: int,
    seed: int,
    every: int = 1,
    block_size: int = BLOCK,
    only: Iterable[int] | None = None,
) -> Array:
    """Return trajectories, shape (trajectory, n_steps // every + 1, dim); arguments as `stream`.

    Examples
    --------
    >>> from irrev.simulate.systems import rotation
    >>> chain = rotation(rate=1.0, omega=2.0).chain(dt=0.01)
    >>> simulate(chain, n_trajectories=3, n_steps=10, seed=0).shape
    (3, 11, 2)
    """
    chosen = list(range(-(-n_trajectories // block_size))) if only is None else list(only)
    pieces = stream(
        chain,
        n_trajectories=n_trajectories,
        n_steps=n_steps,
        seed=seed,
        every=every,
        segment=max(n_steps, 1),
        block_size=block_size,
        only=chosen,
    )
    parts = [piece.x for piece in pieces]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass(slots=True)
class Step:
    """One step of a block: what work, heat and response weights are made of."""

    index: int
    before: Array  # (dim, n)
    noise: Array  # (noise component, n) standard normals; reused by the next step
    after: Array  # (dim, n)


def walk(chain: Chain, x: Array, rng: np.random.Generator, n_steps: int) -> Iterator[Step]:
    """Yield every step of one block with the noise that made it; nothing is stored.

    Parameters
    ----------
    chain
        Any chain; its controls are those of steps 0 to n_steps - 1.
    x
        States before the first step, shape (dim, n); not changed.
    rng
        `block_rng(seed, block)` after the start states were drawn gives `simulate`'s numbers.
    n_steps
        Number of steps.
    """
    noise = np.empty((chain.n_noise, x.shape[1]))
    for j in range(n_steps):
        rng.standard_normal(out=noise)
        after = chain.move(x, noise, j)
        yield Step(j, x, noise, after)
        x = after


def _check_run(chain: Chain, n_steps: int, every: int, segment: int) -> None:
    if min(n_steps, every, segment) < 1:
        raise InputError(f"n_steps {n_steps}, every {every}, segment {segment}: all must be >= 1.")
    if chain.n_steps is not None and n_steps > chain.n_steps:
        raise InputError(f"{n_steps} steps but controls for {chain.n_steps}; give more controls.")


@functools.lru_cache(maxsize=1)
def numba_module() -> ModuleType | None:
    """Return numba, or None where it is not installed."""
    try:
        import numba
    except ImportError:
        return None
    return numba
