"""Work, heat and error of every trajectory under a protocol.

    W = sum over switches of U(x, c_new) - U(x, c_old)                                       (1)
    Q = sum over steps of H(after, c) - H(before, c)          (into the system)              (2)

with H = U, plus m v^2 / 2 when underdamped. W + Q = H_end - H_start holds for each trajectory to
rounding. The Jarzynski mean <e^{-W/T}> = e^{-dF/T} is exact in continuous time; on the Euler chain
it is off by O(dt) (trap moved 0 -> 1 in t = 1: 1.0004 at dt = 0.005).

Source: K. Sekimoto, Stochastic Energetics (2010); C. Jarzynski, Phys. Rev. Lett. 78, 2690 (1997).
"""

from dataclasses import dataclass

import numpy as np

from irrev.control.systems import ControlTask
from irrev.errors import ConvergenceError
from irrev.simulate.chains import Array, walk
from irrev.simulate.langevin import Underdamped
from irrev.simulate.noise import BLOCK, Block, block_rng, blocks


@dataclass(frozen=True, slots=True)
class Energetics:
    """Energies of each trajectory, shape (trajectory,)."""

    work: Array
    heat: Array  # into the system
    change: Array  # of the system's energy
    end: Array  # final position


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Means over fresh trajectories with standard errors."""

    work: float
    work_stderr: float
    error: float
    error_stderr: float
    heat: float  # mean, given to the bath
    first_law: float  # largest |W + Q - dE| of a trajectory
    jarzynski: float  # <e^{-W/T}>
    jarzynski_stderr: float
    jarzynski_share: float  # of it that one trajectory carries: near 1 it means nothing
    bound: float | None  # least mean work for these ends
    n_trajectories: int

    @property
    def ratio(self) -> float | None:
        """Work over its bound; None without a bound."""
        return None if self.bound is None else self.work / self.bound


def energetics(
    task: ControlTask, values: Array, *, n_trajectories: int, seed: int, block_size: int = BLOCK
) -> Energetics:
    """Run a protocol and return every trajectory's energies.

    Parameters
    ----------
    task
        From `irrev.control.systems`.
    values
        Control values, shape (interval, free control).
    n_trajectories, seed, block_size
        Block b draws from the generator of (seed, b).

    Raises
    ------
    ConvergenceError
        If a trajectory is not finite: the step is too large for these values.
    """
    cut = blocks(n_trajectories, size=block_size)
    with np.errstate(over="ignore", invalid="ignore"):  # told by the error, once
        parts = [_run_block(task, values, block, seed) for block in cut]
    rows = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Energetics(*rows)


def evaluate(task: ControlTask, values: Array, *, n_trajectories: int, seed: int) -> Evaluation:
    """Return means and standard errors of a protocol; arguments as `energetics`."""
    run = energetics(task, values, n_trajectories=n_trajectories, seed=seed)
    boltzmann = np.exp(-run.work / task.kT)
    target = task.error
    error, spread = 0.0, np.zeros_like(run.end)
    if target is not None:
        law = target.summary(run.end)
        error, spread = target.value(law), target.about(law)(run.end)
    return Evaluation(
        float(run.work.mean()),
        _stderr(run.work),
        error,
        _stderr(spread),
        -float(run.heat.mean()),
        float(np.abs(run.work + run.heat - run.change).max()),
        float(boltzmann.mean()),
        _stderr(boltzmann),
        float(boltzmann.max() / boltzmann.sum()),
        None if task.bound is None else task.bound(run.end),
        n_trajectories,
    )


def _stderr(x: Array) -> float:
    return float(x.std(ddof=1) / np.sqrt(x.size)) if x.size > 1 else float("inf")


def _run_block(
    task: ControlTask, values: Array, block: Block, seed: int
) -> tuple[Array, Array, Array, Array]:
    rng = block_rng(seed, block.index)
    table = task.table(values)
    chain = task.chain(values)
    state = chain.draw_start(rng, block.size)
    begin = _energy(task, state, table[0])
    work, heat = np.zeros(block.size), np.zeros(block.size)
    for step in walk(chain, state, rng, task.n_intervals * task.substeps):
        k, within = divmod(step.index, task.substeps)
        if within == 0:
            work += _jump(task, state, table[k], table[k + 1])
        state = step.after
        heat += _energy(task, state, table[k + 1]) - _energy(task, step.before, table[k + 1])
    work += _jump(task, state, table[-2], table[-1])
    if not np.all(np.isfinite(state)):
        raise ConvergenceError(
            f"{task.name}: a trajectory left the finite numbers; take more substeps.", best=values
        )
    return work, heat, _energy(task, state, table[-1]) - begin, state[0]


def _jump(task: ControlTask, state: Array, before: Array, after: Array) -> Array:
    return task.energy.value(state[0], after) - task.energy.value(state[0], before)


def _energy(task: ControlTask, state: Array, c: Array) -> Array:
    potential = task.energy.value(state[0], c)
    if isinstance(task.system, Underdamped):
        return potential + 0.5 * task.system.mass * state[1] ** 2
    return potential
