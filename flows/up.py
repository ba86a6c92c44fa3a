"""Local server, UI and workers that stand until `down`: a run then starts at once.

All of it listens on the loopback interface only; the workers take work only from whoever holds
the certificates in the user's data folder.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from flows import standing
from flows.compute import Compute
from flows.places import data_folder
from flows.server import START_S, Child, start_process, start_server
from flows.standing import Dask, Process, Server, Standing
from irrev.errors import IrrevError
from storage.manifest import source_digest

UI_PORT = 4200  # Prefect's own; another one if it is taken
STOP_S = 15.0


def up(compute: Compute) -> Standing:
    """Start what does not stand yet; workers that run older code are replaced."""
    with _alone():
        server = standing.find_server() or _new_server()
        standing.write(Standing(server, standing.read().dask))
        dask = standing.find_dask()
        if dask is not None and (dask.code, dask.workers) != (source_digest(), compute.workers):
            _end(dask.process)
            dask = None
        now = Standing(server, dask or _new_dask(compute))
        standing.write(now)
        return now


def down() -> list[str]:
    """End what `up` started; return what that was. A stale record ends nothing."""
    with _alone():
        known = standing.read()
        ended = [
            name
            for name, part in (("workers", known.dask), ("server", known.server))
            if part is not None and _end(part.process)
        ]
        standing.state_file().unlink(missing_ok=True)
        shutil.rmtree(standing.certificates(), ignore_errors=True)
        return ended


@contextmanager
def _alone() -> Iterator[None]:
    """Let one `up` or `down` work at a time."""
    data_folder().mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(data_folder() / "up.lock", timeout=2 * START_S):
            yield
    except Timeout:
        raise IrrevError("another `up` or `down` is at work; try again when it is done.") from None


def _new_server() -> Server:
    child, url = start_server(with_parent=False, port=UI_PORT)
    return Server(_process(child), url)


def _new_dask(compute: Compute) -> Dask:
    from flows.certs import make_certificates  # only here: `run` and `down` need no cryptography

    shutil.rmtree(standing.certificates(), ignore_errors=True)
    make_certificates(standing.certificates())
    ready = data_folder() / "up-dask.json"
    ready.unlink(missing_ok=True)
    log = data_folder() / "workers.log"
    command = [sys.executable, "-m", "flows.workers"]
    command += [compute.model_dump_json(), str(ready)]
    root = str(Path(__file__).parents[1])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in (root, *paths) if p)}
    child = start_process(command, log, environment, with_parent=False)
    _wait(ready.exists, child, log)
    state = json.loads(ready.read_text(encoding="utf-8"))
    ready.unlink()
    return Dask(process=_process(child), **state)


def _process(child: Child) -> Process:
    return Process(child.pid, psutil.Process(child.pid).create_time())


def _wait(done: Callable[[], bool], child: Child, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not done():
        if child.poll() is not None:
            raise IrrevError(f"the local workers ended at once; the reason is in {log}.")
        if time.monotonic() > deadline:
            _end(_process(child))
            raise IrrevError(f"no local workers within {START_S:.0f} s; see {log}.")
        time.sleep(0.1)


def _end(process: Process) -> bool:
    """End a process and all its children, gently first; say whether it lived."""
    handle = process.handle()
    if handle is None:
        return False
    family = [handle, *handle.children(recursive=True)]
    handle.terminate()
    _, left = psutil.wait_procs(family, timeout=STOP_S)
    for one in left:
        one.kill()
    psutil.wait_procs(left, timeout=STOP_S)
    return True
