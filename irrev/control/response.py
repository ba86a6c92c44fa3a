"""Gradients of mean work and task error with respect to a protocol, from sampled trajectories.

    d<O>/dc = <dO/dc> + <O L>,   L = sum_j dF/dc(x_j) sqrt(m dt / 2T) z_j                     (1)

over the steps j on which the control value c holds, with m the mobility (1/friction when
underdamped; the mass cancels). L has mean zero, so no derivative of O is needed: indicators
are fine. For the work and the error of interval k, with w_s the work of the switch s:

    g_k = <A_k - b_k L_k>,   A_k = dU/dc(x_in) - dU/dc(x_out) + (W_k + alpha e) L_k           (2)

W_k is the work of the switches after interval k ("causal": earlier ones cannot depend on c_k) or
of all ("naive"). The coefficient b_k is 0, the mean <W_k + alpha e>, or Cov(A_k, L_k)/<L_k^2>
(regression). The pathwise estimator carries dx/dc along the same noise instead; it has no use for
an indicator unless that is smoothed.

Var L grows as 1/friction: for a trap's centre tau k^2 / (2 g T). Below g of about 0.1 (unit k, T)
use the pathwise gradient, or a direct search over few parameters (`bounds.best_bit_flip`).

Memory is (interval x trajectory) for the weights, never (step x trajectory). Sums over blocks are
all that is kept: they merge in the order of the blocks, so chunking changes nothing.

Sources: J. Lyu, K. Ray, J. Crutchfield, arXiv:2510.03900 for (1); the causal form with regression
on L and the tangent equations derived here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from irrev.control.checks import require_choice
from irrev.control.systems import ControlTask
from irrev.control.targets import Target
from irrev.errors import ConvergenceError, InputError
from irrev.simulate.chains import Array, Step, walk
from irrev.simulate.langevin import Underdamped
from irrev.simulate.noise import BLOCK, Block, block_rng, blocks

Method = Literal["response", "naive", "pathwise"]
Control = Literal["regression", "mean", "none"]


@dataclass(frozen=True, slots=True)
class ResponseSums:
    """Sums over trajectories; per control value where the shape is (interval, free control)."""

    n: int
    a: Array
    a2: Array
    al: Array
    l1: Array
    l2: Array
    reward: Array  # W_k + alpha e
    work: float
    work2: float
    law: Array  # what the task's target keeps of the end positions

    def __add__(self, other: "ResponseSums") -> "ResponseSums":
        """Merge two sets of trajectories."""
        pairs = [(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)]
        return ResponseSums(*(a + b for a, b in pairs))


@dataclass(frozen=True, slots=True)
class Gradient:
    """Gradient of <W> + alpha <e> with its uncertainty, and the two means."""

    value: Array  # (interval, free control)
    stderr: Array
    variance: Array  # of one trajectory's contribution
    weight_variance: Array  # Var L
    coefficients: Array  # b_k of eq. (2)
    work: float
    work_stderr: float
    error: float
    law: Array  # of the end positions, for `Target.about`


def protocol_gradient(
    task: ControlTask,
    values: Array,
    *,
    n_trajectories: int = 1000,
    seed: int = 0,
    error_weight: float = 0.0,
    method: Method = "response",
    control: Control = "regression",
    coefficients: Array | None = None,
    block_size: int = BLOCK,
    first_block: int = 0,
) -> Gradient:
    """Estimate the gradient of mean work + weight * error at a protocol, eq. (2).

    Parameters
    ----------
    task
        From `irrev.control.systems`.
    values
        Control values, shape (interval, free control).
    n_trajectories
        At least 2; use 200 or more with the regression, whose bias is O(1/n).
    seed, block_size, first_block
        Block b draws from the generator of (seed, first_block + b).
    error_weight
        alpha, energy units. An error that is a function of the law of the ends enters by its
        derivative at the law that the task's target holds: `irrev.control.targets`.
    method
        "response" (causal), "naive" (all work), or "pathwise" (tangents; no weights).
    control
        What is subtracted: the regression on L, the mean reward, or nothing.
    coefficients
        b_k from an earlier sample instead: then the estimate has no bias at all.

    Returns
    -------
        Gradient with standard errors, energy over the control's unit.

    Raises
    ------
    InputError
        If an option has no meaning.
    ConvergenceError
        If a trajectory is not finite: the step is too large for these values.
    """
    require_choice("method", method, Method)
    require_choice("control", control, Control)
    total = merge(
        response_sums(task, values, block, seed, error_weight, method, first_block)
        for block in blocks(n_trajectories, size=block_size)
    )
    return gradient_from_sums(
        total,
        target=task.error,
        control="none" if method == "pathwise" else control,
        coefficients=coefficients,
    )


def merge(parts: Iterable[ResponseSums]) -> ResponseSums:
    """Add the sums of blocks in their order."""
    first, *rest = parts
    for part in rest:
        first = first + part
    return first


def gradient_from_sums(
    sums: ResponseSums,
    *,
    target: Target | None = None,
    control: Control = "regression",
    coefficients: Array | None = None,
) -> Gradient:
    """Turn merged sums into a gradient with standard errors."""
    if sums.n < 2:
        raise InputError(f"{sums.n} trajectories; an error bar needs at least 2.")
    n = sums.n
    a, weight = sums.a / n, sums.l1 / n
    var_a = np.maximum(sums.a2 / n - a**2, 0.0)
    var_l = np.maximum(sums.l2 / n - weight**2, 0.0)
    cov = sums.al / n - a * weight
    if coefficients is None:
        coefficients = _coefficients(sums, control, cov)
    variance = np.maximum(var_a - 2 * coefficients * cov + coefficients**2 * var_l, 0.0)
    spread = max(sums.work2 / n - (sums.work / n) ** 2, 0.0)
    return Gradient(
        a - coefficients * weight,
        np.sqrt(variance / n),
        variance,
        var_l,
        coefficients,
        sums.work / n,
        float(np.sqrt(spread / n)),
        0.0 if target is None else target.value(sums.law),
        sums.law,
    )


def _coefficients(sums: ResponseSums, control: Control, cov: Array) -> Array:
    if control == "regression":
        second = sums.l2 / sums.n
        return np.divide(cov, second, out=np.zeros_like(cov), where=second > 0)
    if control == "mean":
        return sums.reward / sums.n
    return np.zeros_like(cov)


def response_sums(
    task: ControlTask,
    values: Array,
    block: Block,
    seed: int,
    error_weight: float = 0.0,
    method: Method = "response",
    first_block: int = 0,
) -> ResponseSums:
    """Run one block and return its sums; the unit of work of a distributed run."""
    with np.errstate(over="ignore", invalid="ignore"):  # told below, once
        return _block_sums(task, values, block, seed, error_weight, method, first_block)


def _block_sums(
    task: ControlTask,
    values: Array,
    block: Block,
    seed: int,
    error_weight: float,
    method: Method,
    first_block: int,
) -> ResponseSums:
    rng = block_rng(seed, first_block + block.index)
    chain = task.chain(values)
    state = chain.draw_start(rng, block.size)
    record = _Record(task, np.asarray(values, float), block.size, tangents=method == "pathwise")
    record.switch(0, state[0])
    for step in walk(chain, state, rng, task.n_intervals * task.substeps):
        k, within = divmod(step.index, task.substeps)
        record.move(k, step)
        state = step.after
        if within == task.substeps - 1:
            record.switch(k + 1, state[0])
    if not np.all(np.isfinite(state)):
        raise ConvergenceError(
            f"{task.name}: a trajectory left the finite numbers; take more substeps or a smaller "
            "learning rate.",
            best=values,
        )
    return record.sums(state[0], error_weight, method)


class _Record:
    """What eq. (2) needs of one block, kept while it runs."""

    def __init__(self, task: ControlTask, values: Array, n: int, *, tangents: bool) -> None:
        self.task, self.tangents = task, tangents
        self.free = list(task.free)
        self.table = task.table(values)
        shape = (task.n_intervals, len(self.free), n)
        self.explicit, self.weight = np.zeros(shape), np.zeros(shape)
        self.done = np.zeros((task.n_intervals, 1, n))  # work up to the switch into k
        self.work = np.zeros(n)
        self.shift = np.zeros(shape if tangents else 0)  # dx/dc
        self.speed = np.zeros(shape if tangents else 0)  # dv/dc
        self.push = np.zeros(shape if tangents else 0)  # sum of dW/dx dx/dc

    def switch(self, s: int, x: Array) -> None:
        """Change the controls from interval s - 1 to s."""
        if s == self.task.n_intervals and self.task.end is None:
            return  # the last controls stay: no work
        energy, before, after = self.task.energy, self.table[s], self.table[s + 1]
        self.work += energy.value(x, after) - energy.value(x, before)
        if s < self.task.n_intervals:
            self.explicit[s] += energy.by_control(x, after)[self.free]
            self.done[s, 0] = self.work
        if s > 0:
            self.explicit[s - 1] -= energy.by_control(x, before)[self.free]
            if self.tangents:
                pull = energy.slope(x, after) - energy.slope(x, before)
                self.push[:s] += pull * self.shift[:s]

    def move(self, k: int, step: Step) -> None:
        """Follow one step on interval k."""
        x, c = step.before[0], self.table[k + 1]
        gain = self.task.energy.force_by_control(x, c)[self.free]
        if self.tangents:
            self._carry(k, x, c, gain)
        else:
            self.weight[k] += gain * step.noise[0] * self.task.weight_scale

    def _carry(self, k: int, x: Array, c: Array, gain: Array) -> None:
        """Tangents of the Euler or kick step."""
        dt, system = self.task.dt, self.task.system
        bend = self.task.energy.curvature(x, c)
        shift = self.shift[: k + 1]
        if isinstance(system, Underdamped):
            speed = self.speed[: k + 1]
            speed *= 1 - system.friction * dt / system.mass
            speed -= dt / system.mass * bend * shift
            speed[k] += dt / system.mass * gain
            shift += dt * speed
        else:
            shift *= 1 - self.task.mobility * dt * bend
            shift[k] += self.task.mobility * dt * gain

    def sums(self, x: Array, error_weight: float, method: Method) -> ResponseSums:
        """Close the block."""
        rule = self.task.error
        error = np.zeros_like(x) if rule is None else rule(x)
        if method == "pathwise":
            a = self.explicit + self.push
            if rule is not None:
                a += error_weight * rule.slope(x) * self.shift
            reward = np.zeros_like(a)
        else:
            ahead = self.work - self.done if method == "response" else self.work
            reward = np.broadcast_to(ahead + error_weight * error, self.weight.shape)
            a = self.explicit + reward * self.weight
        return ResponseSums(
            x.size,
            a.sum(-1),
            (a * a).sum(-1),
            (a * self.weight).sum(-1),
            self.weight.sum(-1),
            (self.weight**2).sum(-1),
            reward.sum(-1),
            float(self.work.sum()),
            float((self.work**2).sum()),
            np.zeros(0) if rule is None else rule.summary(x),
        )
