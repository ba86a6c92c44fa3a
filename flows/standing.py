"""What `up` left running on this machine: a Prefect server and Dask workers, found by a file.

A process counts only if its id and its moment of birth are those on record: an id that was given
to another process after a crash or a restart of the machine is stale, and ignored.
"""

import http.client
import json
import os
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from flows.places import data_folder

BORN_S = 1.0  # the clock that dates a process has this resolution at worst


@dataclass(frozen=True, slots=True)
class Process:
    """A process that outlives the command that started it."""

    pid: int
    born: float  # seconds since the epoch

    def handle(self) -> psutil.Process | None:
        """Return the process if it is still the same one."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.born) < BORN_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


@dataclass(frozen=True, slots=True)
class Server:
    """A Prefect server on loopback."""

    process: Process
    url: str  # of the API


@dataclass(frozen=True, slots=True)
class Dask:
    """A Dask scheduler with workers on loopback."""

    process: Process
    address: str
    dashboard: str
    workers: int
    code: str  # digest of the source it runs


@dataclass(frozen=True, slots=True)
class Standing:
    """What is on record; each part may be gone."""

    server: Server | None
    dask: Dask | None


def state_file() -> Path:
    """Return where it is written down."""
    return data_folder() / "up.json"


def certificates() -> Path:
    """Return the folder of the certificates between a run and the workers of `up`."""
    return data_folder() / "up-tls"


def read() -> Standing:
    """Return what is on record, whether it lives or not; nothing if the file cannot be read."""
    try:
        data = json.loads(state_file().read_text(encoding="utf-8"))
        return Standing(_part(Server, data.get("server")), _part(Dask, data.get("dask")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Standing(None, None)


def _part(kind: Any, data: dict[str, Any] | None) -> Any:
    return kind(**{**data, "process": Process(**data["process"])}) if data else None


def write(standing: Standing) -> None:
    """Put it on record, whole or not at all, for the user only."""
    path = state_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(asdict(standing)), encoding="utf-8")
    part.chmod(0o600)
    part.replace(path)


def find_server() -> Server | None:
    """Return the server that `up` started, if it lives and answers."""
    server = read().server
    if server and server.process.handle() and healthy(f"{server.url}/health"):
        return server
    return None


def find_dask() -> Dask | None:
    """Return the workers that `up` started, if they live."""
    dask = read().dask
    return dask if dask and dask.process.handle() else None


def healthy(url: str) -> bool:
    """Say whether an API answers at `url`."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (OSError, http.client.HTTPException):  # nobody, or somebody else
        return False
