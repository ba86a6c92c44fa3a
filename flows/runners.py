"""Profile name -> where work runs. The one place that starts or joins a cluster."""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.config
from dask.distributed import Client, Nanny, Scheduler, SpecCluster
from dask.distributed import TimeoutError as DaskTimeoutError
from distributed.security import Security
from distributed.system import MEMORY_LIMIT
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.agreement import SameCode, differences, fingerprint
from flows.certs import passing, security
from flows.compute import QUEUES, Compute
from flows.pods import kubernetes_client
from flows.queues import logs_folder, queue_client
from flows.standing import certificates, find_dask
from flows.worker_settings import use_settings
from irrev.errors import ConfigError
from storage.manifest import source_digest
from tasks.cluster import has_workers, use_client, worker_resource

log = logging.getLogger(__name__)
NVIDIA = Path("/proc/driver/nvidia/gpus")  # one folder a device
_place = ""  # description of the place that is open
_gpus_to_come = 0  # workers with a GPU that its cluster starts when they are asked for
MOST_UNDER_WAY = 2048  # threads are made when they are needed: two beside those of the workers
START_TIMEOUT = "60s"  # a scheduler or worker that has not answered by then will not
LOCAL_WAIT_S = 60.0
LOOPBACK = "127.0.0.1"
CLUSTERS = (*QUEUES, "kubernetes")  # profiles whose workers come and go


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
        If the scheduler or its workers cannot be reached, or run other code than this process.
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
    global _gpus_to_come
    if compute.profile == "threads":
        use_client(None, slots=compute.workers)
        yield f"threads x {compute.workers}"
        return
    settings = {
        # a wait for a worker always ends
        "distributed.scheduler.no-workers-timeout": f"{_wait(compute):.0f}s",
        "distributed.comm.timeouts.connect": START_TIMEOUT,
        "distributed.admin.large-graph-warning-threshold": "1 GB",  # couplings travel with tasks
    }
    with dask.config.set(settings), _client(compute) as client, _same_code(client, compute):
        _gpus_to_come = compute.gpu.workers if compute.profile in CLUSTERS else 0
        coming = _most(compute) if compute.profile in CLUSTERS else 0
        present = len(client.scheduler_info(n_workers=-1)["workers"])
        use_client(client, slots=max(coming, 1))
        try:
            yield f"{compute.profile} x {coming or present}"
        finally:
            use_client(None)
            _gpus_to_come = 0


def _wait(compute: Compute) -> float:
    return compute.wait if compute.profile in CLUSTERS else LOCAL_WAIT_S


def _most(compute: Compute) -> int:
    """Return how many workers a cluster will have at most."""
    return compute.workers + compute.gpu.workers


@contextmanager
def _client(compute: Compute) -> Iterator[Client]:
    """Join or start a scheduler; encrypted where other machines are involved."""
    with _tls(compute) as tls:
        if compute.profile == "address":
            yield from _join(str(compute.address), tls)
        elif compute.profile in QUEUES:
            with queue_client(compute, tls) as client:
                yield client
        elif compute.profile == "kubernetes":
            with kubernetes_client(compute, tls) as client:
                yield client
        else:
            yield from _local(compute)


@contextmanager
def _tls(compute: Compute) -> Iterator[Security | None]:
    """Use the folder of certificates; for jobs make some that end with the run."""
    if compute.tls:
        yield security(Path(compute.tls))
    elif compute.profile in QUEUES and not compute.insecure:
        with passing(logs_folder(compute)) as folder:
            yield security(folder)
    else:
        yield None


def _local(compute: Compute) -> Iterator[Client]:
    """Use the workers that `up` started, or start some for this run."""
    dask = find_dask()
    if dask is not None and dask.code == source_digest():
        tls = security(certificates())
        with Client(dask.address, security=tls, timeout="20s", direct_to_workers=True) as client:
            yield client
        return
    if dask is not None:
        log.warning("the workers of `up` run older code: not used; `up` again replaces them")
    # results and questions go past the scheduler: all workers are on this machine
    with (
        local_cluster(compute) as cluster,
        Client(cluster, direct_to_workers=True) as client,
    ):
        yield client


def local_cluster(compute: Compute, tls: Security | None = None) -> SpecCluster:
    """Start CPU workers and one worker a GPU on this machine; ordinary work may land on either.

    Everything listens on the loopback interface only.
    """
    use_settings()
    options: dict[str, Any] = {"host": LOOPBACK, "port": 0, "dashboard_address": f"{LOOPBACK}:0"}
    return SpecCluster(
        scheduler={
            "cls": Scheduler,
            "options": options | {"security": tls, "protocol": "tls" if tls else "tcp"},
        },
        workers=_workers(compute, tls),
        security=tls,
        silence_logs=logging.CRITICAL,  # pyright: ignore[reportArgumentType]
    )


def _join(address: str, tls: Security | None) -> Iterator[Client]:
    try:
        client = Client(address, security=tls, timeout="20s")
    except OSError:
        raise ConfigError(
            f"compute.address: no scheduler answers at {address}"
            + (" with these certificates." if tls else ".")
        ) from None
    with client:
        yield client


@contextmanager
def _same_code(client: Client, compute: Compute) -> Iterator[None]:
    """Wait for a worker, compare all with this process, and watch those that join later."""
    if compute.profile in CLUSTERS and compute.min_workers != 0:
        try:
            client.wait_for_workers(1, timeout=_wait(compute))
        except DaskTimeoutError:
            hint = f"; their output is in {logs_folder(compute)}"
            raise ConfigError(
                f"compute.wait: no worker within {_wait(compute):.0f} s; look at the jobs"
                f"{hint if compute.profile in QUEUES else ''}, or raise compute.wait."
            ) from None
    here = fingerprint()
    _compare(client, here)
    name = f"irrev-{secrets.token_hex(4)}"  # runs that share a scheduler watch for themselves
    client.register_plugin(SameCode(here), name=name)
    try:
        yield
    finally:
        if client.status == "running":  # a scheduler that is gone watches nothing
            with suppress(OSError, DaskTimeoutError):
                client.unregister_worker_plugin(name)


def _compare(client: Client, here: dict[str, str]) -> None:
    try:
        there: Any = client.run(fingerprint)  # a plain dict: the client is synchronous
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"compute: the workers cannot run this code: {error}; install the same checkout."
        ) from None
    for worker, found in there.items():
        if differs := differences(here, found):
            raise ConfigError(
                f"compute: worker {worker} has {', '.join(differs)}; install the same versions "
                "there and restart it, or the numbers would not be the same."
            )


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
    if worker_resource("GPU") > 0 or _gpus_to_come:
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


def _workers(compute: Compute, tls: Security | None = None) -> dict[str, Any]:
    """Describe CPU workers, and one worker process for each GPU if models may use them."""
    gpus = gpu_count() if compute.device != "cpu" else 0
    common: dict[str, Any] = {
        "nthreads": 1,
        "host": LOOPBACK,
        "protocol": "tls" if tls else "tcp",
        "security": tls,
        "dashboard": False,
        "silence_logs": logging.CRITICAL,  # or about 50 lines on stderr a cluster
        "memory_limit": int(compute.memory or MEMORY_LIMIT / (compute.workers + gpus)),
    }
    specs: dict[str, Any] = {
        f"cpu-{i}": {"cls": Nanny, "options": common | {"resources": {"CPU": 1.0}}}
        for i in range(compute.workers)
    }
    for i in range(gpus):
        env = {"CUDA_VISIBLE_DEVICES": str(i), "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        options = common | {"resources": {"GPU": 1.0}, "env": env}
        specs[f"gpu-{i}"] = {"cls": Nanny, "options": options}
    return specs
