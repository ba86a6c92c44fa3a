"""Random numbers that do not depend on who draws them.

Trajectories are numbered and cut into fixed blocks. Block b of a run with seed s draws from

    Generator(Philox(key = [s, b]))                                             (1)

first its start positions, then, step after step, one normal per component and trajectory (all
trajectories of component 0, then of component 1, ...). A chunk of work holds whole blocks, so
chunking, scheduler and number of workers cannot change one bit of the output. The number of
trajectories can: it sets the length of the last block.

Source: J. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC11 (2011).
"""

from dataclasses import dataclass

import numpy as np

from irrev.errors import InputError

BLOCK = 4096  # trajectories a block: the state of a block stays in the second-level cache


@dataclass(frozen=True, slots=True)
class Block:
    """Trajectories [start, stop) of a run."""

    index: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of trajectories."""
        return self.stop - self.start


def blocks(n_trajectories: int, *, size: int = BLOCK) -> list[Block]:
    """Cut trajectories into blocks; only the last one may be shorter.

    Raises
    ------
    InputError
        If there is no trajectory.

    Examples
    --------
    >>> [(b.start, b.stop) for b in blocks(5000)]
    [(0, 4096), (4096, 5000)]
    """
    if n_trajectories < 1 or size < 1:
        raise InputError(f"{n_trajectories} trajectories in blocks of {size}; both must be >= 1.")
    starts = range(0, n_trajectories, size)
    return [Block(i, a, min(a + size, n_trajectories)) for i, a in enumerate(starts)]


def block_rng(seed: int, index: int) -> np.random.Generator:
    """Return the generator of one block, eq. (1).

    Parameters
    ----------
    seed
        Seed of the run, 0 to 2^64 - 1.
    index
        Number of the block, at least 0.

    Examples
    --------
    >>> bool(block_rng(1, 2).random() == block_rng(1, 2).random())
    True
    """
    if not 0 <= seed < 2**64 or index < 0:
        raise InputError(f"seed {seed}, block {index}: need 0 <= seed < 2^64 and block >= 0.")
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64)))
