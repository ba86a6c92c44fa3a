"""A Prefect server of our own on loopback: for one run, or left standing by `up`.

Prefect's temporary API is killed at exit while it still writes; of 200 short tasks it recorded
12 to 37. This one is drained first. No Prefect import here: the address must be known before.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from flows.places import data_folder
from flows.standing import find_server, healthy
from irrev.errors import IrrevError

LOOPBACK = "127.0.0.1"
PORTS = 5  # tried; another process may take one before the server listens
START_S = 300.0  # a new home on a busy machine takes 15 to 30 s, on a crowded one over 90
PR_SET_PDEATHSIG = 1  # linux/prctl.h
DRAIN_S = 3.0  # task states reach the database a little after the flow ends
Child = subprocess.Popen[bytes]


def home() -> Path:
    """Return Prefect's home for our runs: PREFECT_HOME, or a folder below the user's data."""
    given = os.environ.get("PREFECT_HOME")
    return Path(given) if given else data_folder() / "prefect"


@contextmanager
def server() -> Iterator[str]:
    """Serve the API while the block runs; enter before the first `import prefect`.

    Uses the server at PREFECT_API_URL if that is set, or the one that `up` left running.

    Yields
    ------
        The address of the API.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        yield url
        return
    process = None
    if standing := find_server():
        url = standing.url
    else:
        process, url = start_server(with_parent=True)
    os.environ.update({"PREFECT_HOME": str(home()), "PREFECT_API_URL": url})
    try:
        yield url
        if process:
            time.sleep(DRAIN_S)
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        if process:
            _end(process)


def start_server(*, with_parent: bool, port: int = 0) -> tuple[Child, str]:
    """Start a server and wait until it answers; it may end with this process.

    Parameters
    ----------
    with_parent
        End it with this process.
    port
        Wanted on loopback; another one if it is taken, also in the seconds until the server
        listens: others start servers too.

    Returns
    -------
        The process and the address of its API.
    """
    folder = home()
    folder.mkdir(parents=True, exist_ok=True)
    with _first_start(folder):
        return _start(folder, port, with_parent=with_parent)


@contextmanager
def _first_start(folder: Path) -> Iterator[None]:
    """Let one server at a time make its tables in a new home: two of them break each other.

    Later starts find the tables of their Prefect version and do not wait for one another.
    """
    made = folder / f"tables-{version('prefect')}"
    lock = FileLock(folder / "start.lock", timeout=2 * START_S)
    try:
        if not made.exists():
            lock.acquire()
        if made.exists():  # perhaps meanwhile
            lock.release()
        yield
        made.touch()
    except Timeout:
        raise IrrevError(f"another first start keeps {lock.lock_file}; try again.") from None
    finally:
        lock.release()


def _start(folder: Path, port: int, *, with_parent: bool) -> tuple[Child, str]:
    log = folder / "server.log"
    for _ in range(PORTS):
        port = free_port(port)
        url = f"http://{LOOPBACK}:{port}/api"
        command = [sys.executable, "-m", "prefect", "server", "start"]
        command += ["--host", LOOPBACK, "--port", str(port)]
        environment = os.environ | {"PREFECT_HOME": str(folder), "PREFECT_API_URL": url}
        process = start_process(command, log, environment, with_parent=with_parent)
        try:
            if _answers(process, port, log):
                return process, url
        except BaseException:
            _end(process)
            raise
    raise IrrevError(f"{PORTS} ports were taken while the Prefect server started; see {log}.")


def start_process(
    command: list[str], log: Path, environment: dict[str, str], *, with_parent: bool
) -> Child:
    """Start a process in a session of its own that writes to `log`."""
    ends = with_parent and sys.platform == "linux"
    with log.open("ab") as stream:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=environment,
            start_new_session=True,
            preexec_fn=_end_with_parent if ends else None,
        )


def _end(process: Child) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()


def _answers(process: Child, port: int, log: Path) -> bool:
    """Wait until the server answers; False if its port was taken by another process meanwhile."""
    deadline = time.monotonic() + START_S
    while not (_listens(process, port) and healthy(f"http://{LOOPBACK}:{port}/api/health")):
        if process.poll() is not None:
            if free_port(port) != port:
                return False
            raise IrrevError(f"the local Prefect server ended at once; the reason is in {log}.")
        if time.monotonic() > deadline:
            raise IrrevError(f"no local Prefect server within {START_S:.0f} s; see {log}.")
        time.sleep(0.1)
    return True


def _listens(process: Child, port: int) -> bool:
    """Say whether it is this server that listens there, not a stranger's."""
    try:
        parent = psutil.Process(process.pid)
        family = [parent, *parent.children(recursive=True)]
        return any(
            c.laddr and c.laddr.port == port and c.status == psutil.CONN_LISTEN
            for p in family
            for c in p.net_connections("tcp")
        )
    except psutil.Error:
        return False


def _end_with_parent() -> None:
    """Ask the kernel to end this process when the run that started it is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port(wanted: int = 0) -> int:
    """Return `wanted` if nobody listens there on loopback, or else any free port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, wanted))
        except OSError:
            probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
