"""A real Slurm of one node on loopback, in a folder of its own, for tests."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from flows.server import free_port

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "sinfo")
CONF = """
ClusterName=one
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={d}/munge.sock
SlurmUser=root
SlurmdUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
StateSaveLocation={d}/state
SlurmdSpoolDir={d}/spool
SlurmctldPidFile={d}/slurmctld.pid
SlurmdPidFile={d}/slurmd.pid
SlurmctldLogFile={d}/slurmctld.log
SlurmdLogFile={d}/slurmd.log
NodeName=localhost NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP
PartitionName=other Nodes=localhost MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Say why Slurm cannot be started here; empty if it can."""
    absent = [p for p in PROGRAMS if not shutil.which(p, path=_path())]
    if absent:
        return f"{', '.join(absent)} not installed"
    return "" if os.geteuid() == 0 else "slurmd needs root"


@contextmanager
def slurm(folder: Path) -> Iterator[Path]:
    """Run controller and node; yield the configuration's path, which SLURM_CONF is to name."""
    folder.chmod(0o755)  # munge wants its socket to be reached by all
    for name in ("state", "spool"):
        (folder / name).mkdir()
    conf = folder / "slurm.conf"
    ports = {"controller": free_port(), "daemon": free_port()}
    conf.write_text(CONF.format(d=folder, **ports))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    environment = os.environ | {"PATH": _path(), "SLURM_CONF": str(conf)}
    munge = [f"--key-file={key}", f"--socket={folder}/munge.sock"]
    munge += [f"--{n}-file={folder}/munged.{n}" for n in ("pid", "log", "seed")]
    try:
        for command in (
            ["munged", *munge],
            ["slurmctld", "-f", str(conf), "-c"],
            ["slurmd", "-f", str(conf), "-N", "localhost"],
        ):
            subprocess.run(command, env=environment, check=True, timeout=60)
        _wait_idle(environment)
        yield conf
    finally:
        for name in ("slurmd", "slurmctld", "munged"):
            _end(folder / f"{name}.pid")


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _wait_idle(environment: dict[str, str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        command = ["sinfo", "--noheader", "--format=%T", "--partition=main"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    raise TimeoutError("the node did not come up within 60 s")


def _end(pid_file: Path) -> None:
    if not pid_file.exists():
        return
    try:
        process = psutil.Process(int(pid_file.read_text()))
        process.terminate()
        process.wait(20)
    except psutil.NoSuchProcess:
        pass
