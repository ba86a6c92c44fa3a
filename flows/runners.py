"""Profile name -> where work runs. The one place that starts or joins a cluster."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask.config
from dask.distributed import Client, LocalCluster
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.config import Compute
from irrev.errors import ConfigError
from tasks.cluster import use_client

_place = ""  # description of the place that is open
START_TIMEOUT = "60s"  # a scheduler or worker that has not answered by then will not


def threads(n: int) -> TaskRunner[Any]:
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


def _python_version() -> str:
    return ".".join(map(str, sys.version_info[:2]))
