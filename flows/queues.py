"""Workers as jobs of Slurm or PBS: one job is one worker; two groups, with and without a GPU.

The scheduler lives in the process that runs the flow. A loop looks at what waits: it asks for
jobs when work piles up, gives idle ones back, and asks again for jobs that ended (their time
limit, a lost node). Connections are encrypted with certificates made for the run.
"""

import asyncio
import logging
import math
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from dask.distributed import Client, Scheduler, SpecCluster
from distributed.core import Status
from distributed.scheduler import WorkerState
from distributed.security import Security

from flows.compute import Compute
from flows.places import data_folder
from flows.worker_settings import ALLOCATOR, THREADS, WATCHING, use_settings
from irrev.errors import ConfigError, MissingExtraError

log = logging.getLogger(__name__)
LOOK_S = 5.0  # between two looks at what waits
IDLE_S = 60.0  # a worker without work is kept this long
AGAIN_S = 60.0  # a job that ended is asked for again at most this often
MEMORY = 4e9  # of a worker, unless the file says otherwise
WORKER_WAIT_S = 120  # a worker that finds no scheduler within this time ends itself
LOCAL_ONLY = "127.0.0.1:0"  # dashboards: this machine only, any port


@dataclass(frozen=True)
class Group:
    """Workers of one kind and how many of them there may be."""

    name: str
    minimum: int
    maximum: int
    resource: str  # that its workers declare
    options: dict[str, Any]  # of dask-jobqueue's job


def groups(compute: Compute, logs: Path) -> list[Group]:
    """Describe the jobs of each group, without starting any."""
    cpu = Group(
        "cpu",
        compute.workers if compute.min_workers is None else compute.min_workers,
        compute.workers,
        "CPU",
        _options(compute, logs, "CPU", memory=compute.memory or MEMORY),
    )
    gpu = compute.gpu
    if not gpu.workers:
        return [cpu]
    options = _options(compute, logs, "GPU", memory=gpu.memory)
    least = gpu.workers if gpu.min_workers is None else gpu.min_workers
    return [cpu, Group("gpu", least, gpu.workers, "GPU", options)]


def _options(compute: Compute, logs: Path, resource: str, *, memory: float) -> dict[str, Any]:
    queue, is_gpu = compute.queue, resource == "GPU"
    walltime = (compute.gpu.walltime if is_gpu else None) or queue.walltime
    directives = list(queue.directives)
    options: dict[str, Any] = {
        "cores": 1,
        "processes": 1,
        "memory": f"{math.ceil(memory / 2**20)}MiB",
        "walltime": _clock(walltime),
        "queue": (compute.gpu.queue if is_gpu else None) or queue.name,
        "account": queue.account,
        "interface": queue.interface,
        # the job script does not quote it: a space in the path, and no worker ever joins
        "python": shlex.quote(queue.python or sys.executable),
        "local_directory": queue.scratch,
        "log_directory": str(logs),
        "job_name": f"irrev-{resource.lower()}",
        "death_timeout": WORKER_WAIT_S,
        "worker_extra_args": [
            *("--resources", f"{resource}=1"),
            *("--no-dashboard", "--dashboard-address", LOCAL_ONLY),
            # leaves in good order before its job is ended
            *("--lifetime", f"{int(_lifetime(walltime))}s"),
        ],
        "job_script_prologue": [
            *(f"export {name}={value}" for name, value in THREADS.items()),
            *(
                f"export {name}=${{{name}:-{value}}}"
                for name, value in (ALLOCATOR | WATCHING).items()
            ),
            "export CUBLAS_WORKSPACE_CONFIG=:4096:8",
            *queue.setup,
        ],
    }
    if is_gpu and compute.profile == "slurm":
        directives.append("--gres=gpu:1")
    if compute.profile == "pbs":
        gpus = ":ngpus=1" if is_gpu else ""
        options["resource_spec"] = f"select=1:ncpus=1{gpus}:mem={math.ceil(memory / 2**20)}mb"
    return options | {"job_extra_directives": directives}


def _clock(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"


def _lifetime(walltime: float) -> float:
    return max(walltime - 60.0, 0.9 * walltime)


def job_class(profile: str) -> Any:
    """Return dask-jobqueue's job of a profile.

    Raises
    ------
    MissingExtraError
        If dask-jobqueue is not installed.
    """
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        module = import_module("dask_jobqueue")
        signal.signal(signal.SIGINT, interrupt)  # its import makes Ctrl-C a silent exit
    except ImportError:
        raise MissingExtraError(
            f"profile {profile} needs dask-jobqueue; install the extra `hpc`: "
            "pip install -e '.[run,hpc]'."
        ) from None
    kind: Any = {"slurm": module.SLURMCluster, "pbs": module.PBSCluster}[profile].job_cls

    class Job(kind):
        """A job that knows when the queue refused it; else its cluster cannot close."""

        async def start(self) -> None:
            try:
                await super().start()
            except BaseException:
                self.status = Status.failed
                raise

    return Job


def job_scripts(compute: Compute, address: str = "tls://HOST:PORT") -> dict[str, str]:
    """Return the script of each group's jobs, as it would be handed to the queue."""
    made = job_class(compute.profile)
    return {
        g.name: made(address, name=f"{g.name}-0", **g.options).job_script()
        for g in groups(compute, logs_folder(compute))
    }


def logs_folder(compute: Compute) -> Path:
    """Return where the jobs' output goes; nodes must see it, as home folders of clusters are."""
    return Path(compute.queue.logs).expanduser() if compute.queue.logs else data_folder() / "jobs"


@contextmanager
def queue_client(compute: Compute, tls: Security | None) -> Iterator[Client]:
    """Start a scheduler here, ask the queue for workers, and give all back at the end.

    Raises
    ------
    ConfigError
        If the queue refuses a job.
    """
    logs = logs_folder(compute)
    kind = job_class(compute.profile)
    options: dict[str, Any] = {
        "dashboard_address": LOCAL_ONLY,
        "port": 0,
        "protocol": "tls://" if tls else "tcp://",
        "security": tls,
        "interface": compute.queue.interface,
    }
    shared = {"protocol": options["protocol"], "security": tls}
    use_settings()
    cluster = SpecCluster(
        scheduler={"cls": Scheduler, "options": options},
        security=tls,
        silence_logs=logging.CRITICAL,  # pyright: ignore[reportArgumentType]
    )
    with cluster:
        parts = groups(compute, logs)
        keeper = _Keeper(cluster, kind, parts, shared)
        with Client(cluster, security=tls) as client:
            try:
                cluster.sync(keeper.start)
            except (
                RuntimeError,
                OSError,
                ValueError,
            ) as error:  # sbatch or qsub said no, or is absent
                raise ConfigError(
                    f"compute.profile: {compute.profile} refused a job: {_last_line(error)}"
                ) from None
            try:
                yield client
            finally:
                cluster.sync(keeper.stop)


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


class _Keeper:
    """Keeps as many jobs as work needs, within the groups' limits."""

    def __init__(
        self, cluster: SpecCluster, kind: Any, parts: list[Group], shared: dict[str, Any]
    ) -> None:
        self.cluster, self.kind, self.parts, self.shared = cluster, kind, parts, shared
        self.scheduler: Scheduler = cluster.scheduler  # pyright: ignore[reportAttributeAccessIssue]
        self.made = {g.name: 0 for g in parts}
        self.busy_at: dict[str, float] = {}  # worker -> when it last had work
        self.corrected = 0.0
        self.loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ask for the first jobs and begin to look."""
        for group in self.parts:
            self._ask(group, group.minimum)
        await self._correct()
        self.loop = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """End the looks; the cluster then gives its jobs back."""
        if self.loop is not None:
            self.loop.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            now = asyncio.get_running_loop().time()
            changed = [self._adjust(group, now) for group in self.parts]
            if any(changed) or now - self.corrected > AGAIN_S:
                self.corrected = now
                try:
                    await self._correct()
                except (
                    RuntimeError,
                    OSError,
                    ValueError,
                ) as error:  # away for a moment: again later
                    log.warning("the queue refused a job: %s", _last_line(error))

    async def _correct(self) -> None:
        """Submit the jobs that are wanted and missing; forget those that were refused."""
        try:
            await self.cluster._correct_state()  # pyright: ignore[reportPrivateUsage]
        finally:
            for name, job in list(self.cluster.workers.items()):
                if job.status == Status.failed:
                    del self.cluster.workers[name]

    def _adjust(self, group: Group, now: float) -> bool:
        """Ask for jobs or name those to give back; say whether anything changed."""
        mine = self._names(group)
        wanted = min(max(self._waiting(group), group.minimum), group.maximum)
        if wanted > len(mine):
            self._ask(group, wanted - len(mine))
            return True
        present = {w.name: w for w in self.scheduler.workers.values()}
        idle = [n for n in mine if self._idle(n, present.get(n), now)]
        spare = idle[: len(mine) - wanted]
        for name in spare:
            del self.cluster.worker_spec[name]
        return bool(spare)

    def _ask(self, group: Group, count: int) -> None:
        for _ in range(count):
            name = f"{group.name}-{self.made[group.name]}"
            self.made[group.name] += 1
            options = {**group.options, **self.shared}
            self.cluster.worker_spec[name] = {"cls": self.kind, "options": options}

    def _names(self, group: Group) -> list[str]:
        return [n for n in self.cluster.worker_spec if n.startswith(f"{group.name}-")]

    def _waiting(self, group: Group) -> int:
        """Count what is computed or waits for this group's workers."""
        has_gpu = any(g.resource == "GPU" for g in self.parts)
        count = 0
        for task in self.scheduler.tasks.values():
            if task.state in ("processing", "queued", "no-worker"):
                gpu = has_gpu and "GPU" in (task.resource_restrictions or {})
                count += gpu == (group.resource == "GPU")
        return count

    def _idle(self, name: str, state: WorkerState | None, now: float) -> bool:
        """Say whether a worker, or a job that waits in the queue, was of no use for a while."""
        if state is not None and (state.processing or state.has_what):
            self.busy_at[name] = now
        return now - self.busy_at.setdefault(name, now) > IDLE_S
