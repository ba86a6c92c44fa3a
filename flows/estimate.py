"""What a plan would cost: formulas of the methods, scaled by what earlier runs have taken."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flows.compute import QUEUES, Compute
from flows.plan import Plan
from flows.shards import Shard
from flows.specs import SPECS, FlowSpec
from storage.repository import Repository

SCALE_RANGE = (0.1, 30.0)  # a machine is not faster or slower than ours by more than this
RUNS = 5  # earlier runs whose memory and bytes are compared with their estimates
NVIDIA = Path("/proc/driver/nvidia/gpus")  # one folder a device
BASE_BYTES = 2.5e8  # a worker with its libraries (measured)
TOTALS = ("core_seconds", "gpu_seconds", "read_bytes", "written_bytes", "peak_bytes")


@dataclass(frozen=True, slots=True)
class Estimate:
    """Cost of all shards of a plan that would run."""

    shards: float  # of items that were not looked into, as many as of the others
    core_seconds: float
    gpu_seconds: float
    seconds: float  # with the workers of the profile
    longest_s: float  # of one shard
    read_bytes: float
    written_bytes: float
    peak_bytes: float  # largest memory of one worker
    workers: int
    from_runs: int  # finished shards whose timings scale the estimate; 0: formula alone

    def __str__(self) -> str:
        return f"about {duration(self.seconds)}, {size(self.peak_bytes)} a worker"

    def totals(self) -> dict[str, float]:
        """Return what is compared with what a run has taken."""
        return {name: getattr(self, name) for name in TOTALS}


def estimate_plan(plan: Plan, repo: Repository | None, compute: Compute) -> Estimate:
    """Estimate the cost of a plan.

    Parameters
    ----------
    plan
        Plan of one flow; items that were not looked into count like the mean of the others.
    repo
        Store with the timings of earlier runs, if there is one.
    compute
        Profile, workers and device.
    """
    spec = SPECS[plan.flow]
    gpus = _gpus(compute)
    raw, longest = formula(plan, gpus=gpus)
    speed, n_runs = _speed(plan, repo)
    ratios = _ratios(repo, spec)
    unseen = _unseen(plan)
    core, gpu = (raw[name] * speed * unseen for name in ("core_seconds", "gpu_seconds"))
    return Estimate(
        shards=len(plan.todo) * unseen,
        core_seconds=core,
        gpu_seconds=gpu,
        seconds=max((core - gpu) / compute.workers, gpu / max(gpus, 1), longest * speed),
        longest_s=longest * speed,
        read_bytes=raw["read_bytes"] * ratios["read_bytes"] * unseen,
        written_bytes=raw["written_bytes"] * ratios["written_bytes"] * unseen,
        peak_bytes=raw["peak_bytes"] * ratios["peak_bytes"],
        workers=compute.workers,
        from_runs=n_runs,
    )


def formula(plan: Plan, *, gpus: int = 0) -> tuple[dict[str, float], float]:
    """Return the totals by the method's formula, and the seconds of the longest shard."""
    spec = SPECS[plan.flow]
    totals: dict[str, float] = dict.fromkeys(TOTALS, 0.0)
    longest = 0.0
    for planned in plan.todo:
        cost = spec.cost(planned.shard.input.size, planned.shard.config)
        totals["core_seconds"] += cost.seconds
        totals["gpu_seconds"] += cost.gpu_seconds if gpus else 0.0
        totals["read_bytes"] += cost.read_bytes
        totals["written_bytes"] += cost.written_bytes
        totals["peak_bytes"] = max(totals["peak_bytes"], cost.peak_bytes + BASE_BYTES)
        longest = max(longest, cost.seconds)
    return totals, longest


def _unseen(plan: Plan) -> float:
    """Return how many times more shards there may be than were looked at."""
    seen = len({p.shard.item for p in plan.todo})
    return (seen + len(plan.unread)) / seen if seen else 1.0


def _gpus(compute: Compute) -> int:
    """Count the GPUs of a profile; of this machine where work stays here."""
    if compute.device == "cpu":
        return 0
    if compute.profile not in ("threads", "local"):
        return compute.gpu.workers
    return len(list(NVIDIA.iterdir())) if NVIDIA.is_dir() else 0


def misfits(estimate: Estimate, compute: Compute) -> list[str]:
    """Say where the profile gives a worker less than a shard is expected to need."""
    found = []
    if compute.memory is not None and estimate.peak_bytes > compute.memory:
        found.append(
            f"a worker needs {size(estimate.peak_bytes)} and has {size(compute.memory)}: "
            "raise compute.memory"
        )
    walltime = compute.queue.walltime
    if compute.profile in QUEUES and estimate.longest_s > walltime:
        found.append(
            f"one shard takes {duration(estimate.longest_s)} and a job {duration(walltime)}: "
            "raise compute.queue.walltime"
        )
    if estimate.longest_s > compute.timeout:
        found.append(
            f"one shard takes {duration(estimate.longest_s)}, which is over the limit of "
            f"{duration(compute.timeout)}: raise compute.timeout"
        )
    return found


def _speed(plan: Plan, repo: Repository | None) -> tuple[float, int]:
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


def _ratios(repo: Repository | None, spec: FlowSpec) -> dict[str, float]:
    """Return the median of actual over estimated bytes and memory of the latest runs."""
    costs = costs_of(repo, spec.name)[:RUNS] if repo is not None else []
    out = {}
    for name in TOTALS:
        known = [
            cost["actual"][name] / cost["formula"][name] for cost in costs if cost["formula"][name]
        ]
        out[name] = float(np.clip(np.median(known), *SCALE_RANGE)) if known else 1.0
    return out


def costs_of(repo: Repository, flow: str) -> list[dict[str, Any]]:
    """List what the runs of a flow were expected to take and what they took, newest first."""
    return [
        cost
        for version in repo.log()
        if version.metadata.get("flow") == flow and (cost := version.metadata.get("cost"))
    ]


def describe(cost: Mapping[str, Any]) -> str:
    """Say what a run took and, in brackets, what was expected."""
    was, expected = cost["actual"], cost["estimate"]

    def pair(name: str, write: Any) -> str:
        return f"{write(was[name])} ({write(expected[name])})"

    parts = [f"{pair('core_seconds', duration)} of a core"]
    if was["gpu_seconds"]:
        parts.append(f"{pair('gpu_seconds', duration)} of a GPU")
    parts += [
        f"{pair('peak_bytes', size)} a worker",
        f"read {pair('read_bytes', size)}",
        f"written {pair('written_bytes', size)}",
    ]
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Write a time with the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def size(n_bytes: float) -> str:
    """Write a number of bytes with the unit that suits it."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{max(n_bytes / 1e6, 1):.0f} MB"
