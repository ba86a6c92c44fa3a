"""The services of compose.yaml as processes on loopback: database, server, store, Dask."""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import boto3

from flows.certs import make_certificates
from flows.server import free_port
from flows.standing import healthy

ROOT = Path(__file__).parents[2]
BUCKET = "irrev"
START_S = 180


@dataclass(frozen=True)
class Stack:
    """Where the services are, and the environment that a client needs."""

    api: str
    scheduler: str
    certs: Path
    environment: dict[str, str]


def postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, if it can be started here."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    usable = found and (os.geteuid() != 0 or shutil.which("runuser"))
    return found[-1].parent if usable else None


@contextmanager
def stack(folder: Path) -> Iterator[Stack]:
    """Run all services until the block ends."""
    with ExitStack() as services:
        database = services.enter_context(_postgres())
        s3 = services.enter_context(_s3(folder))
        api = services.enter_context(_prefect(folder, database))
        certs = folder / "certs"
        make_certificates(certs)
        scheduler = services.enter_context(_dask(folder, certs, _environment(folder, api, s3)))
        yield Stack(api, scheduler, certs, _environment(folder, api, s3))


def _environment(folder: Path, api: str, s3: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "AWS_"))}
    paths = [str(ROOT), *filter(None, [clean.get("PYTHONPATH")])]
    return clean | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str(folder / "client"),
        "XDG_DATA_HOME": str(folder / "share"),
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "word",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_COLOR": "1",
    }


@contextmanager
def process(
    command: list[str], log: Path, environment: dict[str, str], cwd: Path
) -> Iterator[None]:
    """Run a command beside the block; end it, gently first, at the end."""
    with log.open("wb") as stream:
        running = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, cwd=cwd)
    try:
        yield
    finally:
        running.terminate()
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def wait_for(
    condition: Callable[[], bool], what: str, log: Path, seconds: float = START_S
) -> None:
    """Wait for a condition; say what did not come and what its log says."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise TimeoutError(f"no {what} within {seconds:.0f} s\n{tail}")
        time.sleep(0.5)


def answers(url: str) -> bool:
    """Say whether anything but an error comes back."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


@contextmanager
def _postgres() -> Iterator[str]:
    programs = postgres_programs()
    assert programs is not None
    port = free_port()
    with TemporaryDirectory(prefix="postgres-") as name:
        folder = Path(name)
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if as_user:
            shutil.chown(folder, "postgres")
        control = [*as_user, str(programs / "pg_ctl"), "-D", str(folder / "data"), "-w"]
        options = f"-p {port} -h 127.0.0.1 -k {folder}"
        initdb = [*as_user, str(programs / "initdb"), "-D", str(folder / "data"), "-A", "trust"]
        _quiet([*initdb, "-U", "prefect"], folder)
        _quiet([*control, "-o", options, "-l", str(folder / "log"), "start"], folder)
        try:
            create = [str(programs / "createdb"), "-h", "127.0.0.1", "-p", str(port)]
            _quiet([*create, "-U", "prefect", "prefect"], folder)
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/prefect"
        finally:
            _quiet([*control, "-m", "fast", "stop"], folder)


def _quiet(command: list[str], cwd: Path) -> None:
    """Run a command that leaves no process which holds our pipes."""
    subprocess.run(
        command,
        check=True,
        timeout=120,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@contextmanager
def _s3(folder: Path) -> Iterator[str]:
    port, log = free_port(), folder / "s3.log"
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with process(command, log, dict(os.environ), folder):
        wait_for(lambda: answers(url), "S3", log)
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="word",
        )
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield url


@contextmanager
def _prefect(folder: Path, database: str) -> Iterator[str]:
    url, log = f"http://127.0.0.1:{free_port()}/api", folder / "prefect.log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")} | {
        "PREFECT_HOME": str(folder / "server"),
        "PREFECT_API_URL": url,
        "PREFECT_API_DATABASE_CONNECTION_URL": database,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    port = url.removesuffix("/api").rpartition(":")[2]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    with process([*command, "--port", port], log, environment, folder):
        wait_for(lambda: healthy(f"{url}/health"), "Prefect server", log)
        yield url


@contextmanager
def _dask(folder: Path, certs: Path, environment: dict[str, str]) -> Iterator[str]:
    """Start scheduler and worker by the command lines of compose.yaml, with other addresses."""
    port = free_port()
    address = f"tls://127.0.0.1:{port}"
    python = [sys.executable, "-m", "dask"]

    def flags(role: str) -> list[str]:
        files = {"ca-file": "ca.pem", "cert": f"{role}.pem", "key": f"{role}.key"}
        return [f"--tls-{option}={certs / name}" for option, name in files.items()]

    scheduler = [*python, "scheduler", "--protocol=tls", "--host=127.0.0.1", f"--port={port}"]
    scheduler += ["--dashboard-address=127.0.0.1:0", *flags("scheduler")]
    worker = [*python, "worker", address, "--nthreads=1", "--resources=CPU=1"]
    worker += ["--host=127.0.0.1", "--dashboard-address=127.0.0.1:0"]
    worker += [f"--local-directory={folder / 'spill'}", *flags("worker")]
    log = folder / "worker.log"
    with (
        process(scheduler, folder / "scheduler.log", environment, folder),
        process(worker, log, environment, folder),
    ):
        wait_for(lambda: b"Registered to" in log.read_bytes(), "Dask worker", log)
        yield address
