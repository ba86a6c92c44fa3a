"""One learned protocol as a row of kind `protocols/response`, with its curves.

A row holds the price on fresh trajectories with intervals, the bound at that error, the price of
the plain guess it started from, and, where the task is solved, the exact price of the learned
values and of the optimum of the same chain. Checks of the simulation itself are part of it: the
first law of every trajectory, the Jarzynski mean, the variance of the response weight.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import xarray as xr
from scipy.stats import binomtest, norm

from irrev import schema
from irrev.control.energetics import Evaluation, evaluate
from irrev.control.protocols import LearnedProtocol, learn_protocol, parametrise
from irrev.control.response import Method
from irrev.control.systems import (
    ControlTask,
    carry_particle,
    erase_bit,
    stiffen_trap,
    translate_trap,
)
from irrev.errors import InputError
from irrev.simulate.langevin import Underdamped

METHOD_VERSION = 2

TASKS: dict[str, Callable[..., ControlTask]] = {
    "translate_trap": translate_trap,
    "carry_particle": carry_particle,
    "stiffen_trap": stiffen_trap,
    "erase_bit": erase_bit,
}
LOW_FRICTION = 1.0  # friction below which tangents have less variance (heavy trap, measured)
NOISY_WEIGHT = 10.0  # Var L above which response gradients are mostly noise
BELOW = 0.01  # work below its bound by more than this share is too coarse a step
DOMINANT = 0.1  # share of the Jarzynski mean that one trajectory may carry
CURVE_NODES = 101  # of the exact protocol that is drawn


def make_task(
    kind: str, options: Mapping[str, float], *, duration: float, n_intervals: int, dt: float
) -> ControlTask:
    """Build a task whose steps are at most `dt` long.

    Parameters
    ----------
    kind
        A key of `TASKS`.
    options
        Of the task's function.
    duration, n_intervals
        Time of the task and values of its protocol.
    dt
        Largest step, time units.

    Raises
    ------
    InputError
        If there is no such task.
    """
    if kind not in TASKS:
        raise InputError(f"{kind} is no task; there are: {', '.join(TASKS)}.")
    substeps = max(1, int(np.ceil(duration / (n_intervals * dt) - 1e-9)))
    return TASKS[kind](
        duration=duration, n_intervals=n_intervals, substeps=substeps, **dict(options)
    )


def price_point(
    *,
    task: Mapping[str, Any],
    duration: float,
    error_weight: float,
    n_intervals: int = 20,
    dt: float = 0.005,
    n_iterations: int = 300,
    n_trajectories: int = 1000,
    rate: float | None = None,
    shape: Literal["steps", "linear", "polynomial"] = "steps",
    n_parameters: int | None = None,
    method: Literal["auto", "response", "pathwise"] = "auto",
    n_evaluation: int = 50_000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, xr.Dataset]:
    """Learn one protocol and price it.

    Parameters
    ----------
    task
        `kind` and the options of its function in `irrev.control.systems`.
    duration, error_weight
        The point: time of the task and price of an error, energy units.
    n_intervals, dt
        Values of the protocol; largest time step.
    n_iterations, n_trajectories, rate, shape, n_parameters, method, n_evaluation, seed
        Of `irrev.learn_protocol` and `irrev.parametrise`. Method "auto": response, but pathwise
        for smooth tasks at low friction.
    level
        Coverage of the intervals.

    Returns
    -------
        `row`, one shard of kind `protocols/response` without its identity, and `curves`.
    """
    options = {k: v for k, v in task.items() if k != "kind" and v is not None}
    kind = str(task["kind"])
    made = make_task(kind, options, duration=duration, n_intervals=n_intervals, dt=dt)
    chosen = choose_method(made) if method == "auto" else method
    learned = learn_protocol(
        made,
        error_weight=error_weight,
        n_iterations=n_iterations,
        n_trajectories=n_trajectories,
        rate=rate,
        parametrisation=parametrise(shape, n_intervals, n_parameters),
        method=chosen,
        seed=seed,
        n_evaluation=n_evaluation,
    )
    guess = evaluate(made, made.guess, n_trajectories=n_evaluation, seed=seed + 1)
    row = _row(made, learned, guess, chosen, level)
    return {"row": row, "curves": schema.validate(_curves(made, learned), "protocols/curves")}


def choose_method(task: ControlTask) -> Method:
    """Choose the gradient: pathwise where the response weight is noisy and the loss is smooth."""
    heavy = isinstance(task.system, Underdamped)
    smooth = task.error is None or not task.error.is_share
    return "pathwise" if heavy and smooth and 1 / task.mobility <= LOW_FRICTION else "response"


def _row(
    task: ControlTask,
    learned: LearnedProtocol,
    guess: Evaluation,
    method: Method,
    level: float,
) -> xr.Dataset:
    price, alpha = learned.evaluation, learned.error_weight
    z = float(norm.ppf(0.5 + level / 2))
    low, high = _error_interval(task, price, level, z)
    scalars = {
        "work": price.work,
        "work_low": price.work - z * price.work_stderr,
        "work_high": price.work + z * price.work_stderr,
        "task_error": price.error,
        "task_error_low": low,
        "task_error_high": high,
        "loss": price.work + alpha * price.error,
        "bound": np.nan if price.bound is None else price.bound,
        "over_bound": np.nan if price.ratio is None else price.ratio,
        "guess_work": guess.work,
        "guess_error": guess.error,
        "heat": price.heat,
        "jarzynski": price.jarzynski,
        "jarzynski_error": price.jarzynski_stderr,
        "jarzynski_expected": float(np.exp(-task.free_energy / task.kT)),
        "first_law": price.first_law,
        "weight_variance": float(learned.gradient.weight_variance.max()),
        "duration": task.duration,
        "error_weight": alpha,
        "dt": task.dt,
        **_exact(task, learned),
    }
    counts = {
        "n_iterations": len(learned.loss_history),
        "n_evaluation": price.n_trajectories,
        "n_intervals": task.n_intervals,
        "n_steps": task.n_intervals * task.substeps,
    }
    texts = {
        "task": task.name,
        "method": method,
        "outcome": _outcome(scalars),
        "notes": _notes(task, price, scalars["weight_variance"]),
    }
    return xr.Dataset(
        {
            **{name: ("shard", np.array([v], np.float64)) for name, v in scalars.items()},
            **{name: ("shard", np.array([v], np.int64)) for name, v in counts.items()},
            **{name: ("shard", np.array([v], object)) for name, v in texts.items()},
        },
        attrs={"level": level},
    )


def _error_interval(
    task: ControlTask, price: Evaluation, level: float, z: float
) -> tuple[float, float]:
    """Interval of the mean error: Wilson's for a share, normal for a distance."""
    if task.error is not None and task.error.is_share:
        n = price.n_trajectories
        ci = binomtest(round(price.error * n), n).proportion_ci(level, method="wilson")
        return float(ci.low), float(ci.high)
    return price.error - z * price.error_stderr, price.error + z * price.error_stderr


def _exact(task: ControlTask, learned: LearnedProtocol) -> dict[str, float]:
    """Prices without sampling noise, NaN where the task is not solved."""
    names = ("exact_work", "exact_error", "best_work", "best_error", "over_best")
    if task.solved is None:
        return dict.fromkeys(names, np.nan)
    mine = task.solved.price(learned.values[:, 0])
    best = task.solved.price(task.solved.best(learned.error_weight))
    alpha = learned.error_weight
    # of a loss near zero or below (a trap that softens gives work) the difference says more
    values = (mine.work, mine.error, best.work, best.error, mine.loss(alpha) - best.loss(alpha))
    return dict(zip(names, values, strict=True))


def _outcome(row: Mapping[str, float]) -> str:
    """Say how far the price is from what is known to be possible."""
    if np.isfinite(row["over_best"]):
        least = row["best_work"] + row["error_weight"] * row["best_error"]
        share = row["over_best"] / abs(least) if least else np.inf
        return f"{share:.2%} over the optimum of its chain"
    if np.isfinite(row["over_bound"]):
        return f"{row['over_bound']:.2f} times the bound"
    return "no bound is known"


def _notes(task: ControlTask, price: Evaluation, weight_variance: float) -> str:
    notes = []
    if price.bound is not None and price.work + 3 * price.work_stderr < _less(price.bound):
        notes.append("work below its bound: the time step is too coarse, lower dt")
    if weight_variance > NOISY_WEIGHT:
        notes.append(f"variance {weight_variance:.3g} of the response weight: use pathwise")
    expected = float(np.exp(-task.free_energy / task.kT))
    off = abs(price.jarzynski - expected) - 5 * price.jarzynski_stderr
    # a bit's mean rests on trajectories too rare to be seen, which no error bar tells
    trusted = task.solved is not None and price.jarzynski_share < DOMINANT
    if trusted and off > BELOW * expected:
        notes.append(f"Jarzynski mean {price.jarzynski:.4g}, expected {expected:.4g}: lower dt")
    return "; ".join(notes)


def _less(bound: float) -> float:
    return bound - BELOW * abs(bound)


def _curves(task: ControlTask, learned: LearnedProtocol) -> xr.Dataset:
    """Protocol with its ends, exact curve where there is one, and learning curve."""
    free = list(task.free)
    edges = np.linspace(0.0, task.duration, task.n_intervals + 1)
    time = np.linspace(0.0, task.duration, CURVE_NODES)
    curve = np.full((CURVE_NODES, len(free)), np.nan)
    best = np.full(learned.values.shape, np.nan)
    if task.solved is not None:
        found = task.solved.curve(time, learned.error_weight)
        best[:, 0] = task.solved.best(learned.error_weight)
        if found is not None:
            curve[:, 0] = found
    nothing = [np.nan] * len(free)
    end = nothing if task.end is None else [task.end[j] for j in free]
    return xr.Dataset(
        {
            "control": ("control", np.array(task.names, dtype=object)),
            "start_value": ("control", np.array([task.start[j] for j in free], np.float64)),
            "end_value": ("control", np.array(end, np.float64)),
            "edge": ("edge", edges),
            "value": (("interval", "control"), learned.values),
            "best_value": (("interval", "control"), best),
            "curve_time": ("node", time),
            "curve_value": (("node", "control"), curve),
            "work_history": ("iteration", learned.work_history),
            "error_history": ("iteration", learned.error_history),
            "loss_history": ("iteration", learned.loss_history),
        }
    )
