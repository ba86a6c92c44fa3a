"""A Prefect server of our own on loopback, for as long as a run needs it.

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
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from irrev.errors import IrrevError

START_S = 90.0  # a new home on a busy machine takes 15 to 30 s
PR_SET_PDEATHSIG = 1  # linux/prctl.h
DRAIN_S = 3.0  # task states reach the database a little after the flow ends


def home() -> Path:
    """Return Prefect's home for our runs: PREFECT_HOME, or a folder below the user's data."""
    if given := os.environ.get("PREFECT_HOME"):
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "irrev" / "prefect"


@contextmanager
def server() -> Iterator[str]:
    """Serve the API while the block runs; enter before the first `import prefect`.

    Uses the server at PREFECT_API_URL if that is set.

    Yields
    ------
        The address of the API.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        yield url
        return
    folder = home()
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    os.environ.update({"PREFECT_HOME": str(folder), "PREFECT_API_URL": url})
    command = [sys.executable, "-m", "prefect", "server", "start"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    log = folder / "server.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
    try:
        _wait_healthy(f"{url}/health", process, log)
        yield url
        time.sleep(DRAIN_S)
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def healthy(url: str) -> bool:
    """Say whether an API answers at `url`."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _wait_healthy(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not healthy(url):
        if process.poll() is not None:
            raise IrrevError(f"the local Prefect server ended at once; the reason is in {log}.")
        if time.monotonic() > deadline:
            raise IrrevError(f"no local Prefect server within {START_S:.0f} s; see {log}.")
        time.sleep(0.1)


def _end_with_parent() -> None:
    """Ask the kernel to end this process when the run that started it is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
