"""What a plan would cost: formulas of the methods, scaled by the timings of earlier runs."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from flows.plan import Plan
from flows.shards import Shard
from flows.specs import SPECS
from storage.repository import Repository

SCALE_RANGE = (0.1, 30.0)  # a machine is not faster or slower than ours by more than this


@dataclass(frozen=True, slots=True)
class Estimate:
    """Cost of all shards of a plan that would run."""

    core_seconds: float
    seconds: float  # with the workers of the configuration
    read_bytes: float
    peak_bytes: float  # largest memory of one worker
    from_runs: int  # finished shards whose timings scale the estimate; 0: formula alone

    def __str__(self) -> str:
        return f"about {_duration(self.seconds)}, {_size(self.peak_bytes)} a worker"


def estimate_plan(plan: Plan, repo: Repository | None, *, workers: int) -> Estimate:
    """Estimate the cost of a plan.

    Parameters
    ----------
    plan
        Plan of one flow; items that were not read yet are not counted.
    repo
        Store with the timings of earlier runs, if there is one.
    workers
        Worker processes.
    """
    spec = SPECS[plan.flow]
    costs = [spec.cost(p.shard.input.size, p.shard.config) for p in plan.todo]
    scale, n_runs = _scale(plan, repo)
    total = scale * sum(c.seconds for c in costs)
    longest = scale * max((c.seconds for c in costs), default=0.0)
    return Estimate(
        core_seconds=total,
        seconds=max(total / workers, longest),
        read_bytes=sum(c.read_bytes for c in costs),
        peak_bytes=max((c.peak_bytes for c in costs), default=0.0),
        from_runs=n_runs,
    )


def _scale(plan: Plan, repo: Repository | None) -> tuple[float, int]:
    """Return the median of actual over estimated time of the stored shards."""
    spec = SPECS[plan.flow]
    if repo is None or not repo.has(spec.group):
        return 1.0, 0
    ds: Any = repo.read(spec.group)[["shard", "seconds", "status"]].load()
    done = ds["status"].to_numpy() == "done"
    names, seconds = ds["shard"].to_numpy()[done], ds["seconds"].to_numpy()[done]
    actual = dict(zip(map(str, names), map(float, seconds), strict=True))
    shards: list[Shard] = [p.shard for p in plan.shards if p.shard.id in actual]
    ratios = [actual[s.id] / spec.cost(s.input.size, s.config).seconds for s in shards]
    if not ratios:
        return 1.0, 0
    return float(np.clip(np.median(ratios), *SCALE_RANGE)), len(ratios)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{max(n_bytes / 1e6, 1):.0f} MB"
