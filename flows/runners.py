"""Profile name -> where work runs. The one place that starts or joins a cluster."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.config
from dask.distributed import Client, LocalCluster, Nanny, Scheduler, SpecCluster
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.config import Compute
from irrev.errors import ConfigError
from tasks.cluster import has_workers, use_client, worker_resource

NVIDIA = Path("/proc/driver/nvidia/gpus")  # one folder a device
_place = ""  # description of the place that is open
MOST_UNDER_WAY = 2048  # threads are made when they are needed: two beside those of the workers
START_TIMEOUT = "60s"  # a scheduler or worker that has not answered by then will not


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """Where model-based steps run: worker resources, the device to use there, and a note."""

    resources: dict[str, float] | None
    device: str
    note: str


def threads(n: int = MOST_UNDER_WAY) -> TaskRunner[Any]:
    """Run Prefect tasks in `n` threads of the flow process; each waits for its own work."""
    return ThreadPoolTaskRunner(max_workers=n)


@contextmanager
def cluster(compute: Compute) -> Iterator[str]:
    """Open the place where work runs and close it afterwards; inside another, use that one.

    Yields
    ------
        A description of it for the run's metadata.

    Raises
    ------
    ConfigError
        If the scheduler of profile `address` cannot be reached.
    """
    global _place  # one process works in one place at a time
    if _place:
        yield _place
        return
    with _open(compute) as _place:
        try:
            yield _place
        finally:
            _place = ""


@contextmanager
def _open(compute: Compute) -> Iterator[str]:
    if compute.profile == "threads":
        use_client(None, slots=compute.workers)
        yield f"threads x {compute.workers}"
        return
    settings = {
        "distributed.scheduler.no-workers-timeout": "60s",  # a wait for a worker always ends
        "distributed.comm.timeouts.connect": START_TIMEOUT,
        "distributed.admin.large-graph-warning-threshold": "1 GB",  # couplings travel with tasks
    }
    with dask.config.set(settings), _client(compute) as client:
        use_client(client)
        try:
            yield f"{compute.profile} x {len(client.scheduler_info(n_workers=-1)['workers'])}"
        finally:
            use_client(None)


@contextmanager
def _client(compute: Compute) -> Iterator[Client]:
    if compute.profile == "address":
        yield from _join(compute.address)
        return
    if gpu_count() and compute.device != "cpu":
        yield from _with_gpus(compute)
        return
    with (
        LocalCluster(
            n_workers=compute.workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as local,
        Client(local) as client,
    ):
        yield client


def _with_gpus(compute: Compute) -> Iterator[Client]:
    """Start CPU workers and one worker a GPU; ordinary work may land on either."""
    options = {"host": "127.0.0.1", "port": 0, "dashboard_address": ":0"}
    with (
        SpecCluster(
            scheduler={"cls": Scheduler, "options": options},
            workers=_workers(compute),
            silence_logs=logging.CRITICAL,  # pyright: ignore[reportArgumentType]
        ) as local,
        Client(local) as client,
    ):
        yield client


def _join(address: str | None) -> Iterator[Client]:
    if not address:
        raise ConfigError(
            "compute.address: the profile `address` needs one; write tcp://host:port."
        )
    try:
        client = Client(address, timeout="20s")
    except OSError:
        raise ConfigError(f"compute.address: no scheduler answers at {address}.") from None
    with client:
        here = ".".join(map(str, sys.version_info[:2]))
        versions: Any = client.run(_python_version)  # a plain dict: the client is synchronous
        other = {worker: v for worker, v in versions.items() if v != here}
        if other:
            raise ConfigError(f"compute.address: Python {here} here, {other} on workers.")
        yield client


def model_place(device: str) -> ModelPlace:
    """Decide where model-based steps run, before any work starts.

    Parameters
    ----------
    device
        `cuda` insists on a GPU, `auto` takes one if there is one, `cpu` never asks.

    Raises
    ------
    ConfigError
        If `cuda` is asked for and no GPU is to be had.
    """
    if device == "cpu":
        return ModelPlace(None, "cpu", "")
    if worker_resource("GPU") > 0:
        return ModelPlace({"GPU": 1.0}, device, "sent to a worker with a GPU")
    if not has_workers() and gpu_count() > 0:
        return ModelPlace(None, device, "GPU of this process")
    if device == "cuda":
        raise ConfigError(
            "compute.device: cuda is asked for but no worker has the resource GPU; start one "
            "with `dask worker --resources GPU=1`, or say auto."
        )
    return ModelPlace(None, "cpu", "auto: no GPU worker, ran on the CPU")


def gpu_count() -> int:
    """Count the GPUs of this machine without starting their library."""
    return len(list(NVIDIA.iterdir())) if NVIDIA.is_dir() else 0


def _workers(compute: Compute) -> dict[str, Any]:
    """Describe CPU workers, and one worker process for each GPU if models may use them."""
    cpu = {"nthreads": 1, "resources": {"CPU": 1.0}}
    specs: dict[str, Any] = {
        f"cpu-{i}": {"cls": Nanny, "options": dict(cpu)} for i in range(compute.workers)
    }
    for i in range(gpu_count() if compute.device != "cpu" else 0):
        env = {"CUDA_VISIBLE_DEVICES": str(i), "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        options = {"nthreads": 1, "resources": {"GPU": 1.0}, "env": env}
        specs[f"gpu-{i}"] = {"cls": Nanny, "options": options}
    return specs


def _python_version() -> str:
    return ".".join(map(str, sys.version_info[:2]))
