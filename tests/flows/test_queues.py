"""Jobs of Slurm and PBS: the scripts they are, and the work they do."""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from dask.distributed import KilledWorker

from flows import queues
from flows.compute import Compute
from flows.config import load
from flows.queues import job_scripts
from flows.runners import cluster, model_place
from irrev.errors import ConfigError
from storage.repository import Repository
from tasks.cluster import on_worker
from tests.flows.slurm import missing, slurm

pytest.importorskip("dask_jobqueue")

QUEUE = {
    "name": "main",
    "account": "lab",
    "walltime": "2 h",
    "interface": "lo",
    "directives": ["--exclusive"],
    "setup": ["module load cuda"],
    "scratch": "/scratch/me",
}


def compute_of(tmp_path: Path, profile: str, **changes) -> Compute:
    queue = {**QUEUE, "logs": str(tmp_path / "logs"), **changes.pop("queue", {})}
    gpu = {"workers": 1, "memory": "32 GB", "walltime": "30 min", "queue": "gpu"}
    gpu |= changes.pop("gpu", {})
    base = {"profile": profile, "workers": 3, "min_workers": 1, "memory": "8 GiB"}
    return Compute.model_validate({**base, "queue": queue, "gpu": gpu, **changes})


def test_slurm__each_group_asks_for_its_memory_time_and_gpu(tmp_path):
    scripts = job_scripts(compute_of(tmp_path, "slurm"))
    cpu, gpu = scripts["cpu"].splitlines(), scripts["gpu"].splitlines()
    for line in ("-p main", "-A lab", "--mem=8G", "-t 02:00:00", "--cpus-per-task=1"):
        assert f"#SBATCH {line}" in cpu
    assert "#SBATCH --exclusive" in cpu
    assert "#SBATCH --gres=gpu:1" not in cpu
    for line in ("-p gpu", "--mem=30G", "-t 00:30:00", "--gres=gpu:1"):
        assert f"#SBATCH {line}" in gpu
    assert cpu.index("module load cuda") < len(cpu) - 1
    for script, resource in ((cpu, "CPU=1"), (gpu, "GPU=1")):
        assert f"--resources {resource}" in script[-1]
        assert "--memory-limit" in script[-1]
        assert "export MALLOC_ARENA_MAX=${MALLOC_ARENA_MAX:-1}" in script
        profile = "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"
        assert f"export {profile}=${{{profile}:-False}}" in script
        assert "--dashboard-address 127.0.0.1:0" in script[-1]  # no page for the network
    # a worker leaves in good order a minute before its job is ended
    assert "--lifetime 7140s" in cpu[-1]


def test_pbs__each_group_asks_for_its_memory_time_and_gpu(tmp_path):
    scripts = job_scripts(compute_of(tmp_path, "pbs", queue={"directives": ["-m n"]}))
    cpu, gpu = scripts["cpu"].splitlines(), scripts["gpu"].splitlines()
    assert "#PBS -l select=1:ncpus=1:mem=8192mb" in cpu
    assert "#PBS -l walltime=02:00:00" in cpu
    assert "#PBS -q main" in cpu
    assert "#PBS -A lab" in cpu
    assert "#PBS -m n" in cpu
    assert "#PBS -l select=1:ncpus=1:ngpus=1:mem=30518mb" in gpu
    assert "#PBS -l walltime=00:30:00" in gpu
    assert "#PBS -q gpu" in gpu


@pytest.mark.parametrize("profile", ["slurm", "pbs"])
def test_job_scripts__the_shell_can_read_them(tmp_path, profile):
    python = "/opt/my env/bin/python"
    compute = compute_of(tmp_path, profile, queue={"python": python})
    for script in job_scripts(compute).values():
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        assert "'/opt/my env/bin/python' -m distributed.cli.dask_worker tls://" in script


def test_queue__a_refused_job_is_one_line(tmp_path, monkeypatch):
    """No program of that name, or one that says no."""
    compute = compute_of(tmp_path, "slurm", gpu={"workers": 0})
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    refused = pytest.raises(ConfigError, match=r"compute\.profile: slurm refused a job: .*sbatch")
    with refused, cluster(compute):
        pass
    program(tmp_path, "sbatch", "echo 'sbatch: error: invalid partition' >&2; exit 1")
    refused = pytest.raises(ConfigError, match=r"slurm refused a job: .*invalid partition")
    with refused, cluster(compute):
        pass
    assert list((tmp_path / "logs").iterdir()) == []  # certificates are gone


def program(tmp_path: Path, name: str, body: str) -> None:
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def test_pbs__the_script_as_submitted_brings_a_worker_that_works(tmp_path, monkeypatch):
    """A `qsub` that runs what it is given: all but the queue itself is real, TLS included."""
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    program(
        tmp_path,
        "qsub",
        f'cp "$1" {jobs}/$$.sh; setsid bash {jobs}/$$.sh >{jobs}/$$.log 2>&1 & '
        f"echo $! > {jobs}/$!.pid; echo $!.server",
    )
    program(tmp_path, "qdel", f"kill -- -$1; touch {jobs}/$1.deleted")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    queue = {"setup": [], "scratch": str(tmp_path), "directives": []}
    compute = compute_of(tmp_path, "pbs", workers=1, queue=queue, gpu={"workers": 0})
    with cluster(compute) as place:
        assert place == "pbs x 1"
        assert on_worker(os.getpid, timeout_s=60) != os.getpid()
        (script,) = jobs.glob("*.sh")
        assert "tls://127.0.0.1:" in script.read_text()
    (pid,) = jobs.glob("*.pid")
    assert pid.with_suffix(".deleted").exists()  # the job was given back


@pytest.fixture(scope="module")
def one_node():
    if reason := missing():
        pytest.skip(f"no Slurm here: {reason}")
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, slurm(Path(folder)) as conf:
        yield conf


@pytest.fixture
def on_slurm(one_node, tmp_path, monkeypatch):
    """Return a maker of the block `compute` for the node, where jobs of both groups fit."""
    monkeypatch.setenv("SLURM_CONF", str(one_node))

    def make(**changes) -> dict:
        queue = {"name": "main", "interface": "lo", "logs": str(tmp_path / "logs")}
        base = {"profile": "slurm", "workers": 1, "memory": "1 GB", "queue": queue}
        return {**base, "wait": "2 min", **changes}

    return make


def queued(conf: Path) -> list[str]:
    done = subprocess.run(
        ["squeue", "--noheader", "--format=%j %P"],
        env=os.environ | {"SLURM_CONF": str(conf)},
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(done.stdout.split("\n")[:-1])


def wait_until(condition, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.2)
    return False


@pytest.mark.slow
def test_slurm__a_flow_runs_on_the_node_and_gives_it_back(
    on_slurm, one_node, project, prefect_server
):
    """The same numbers as on threads of this process."""
    from flows.spikes import spikes

    tables = []
    for changes in ({"store__url": "./here"}, {"store__url": "./there", "compute": on_slurm()}):
        config = project(**changes)
        assert spikes(str(config)).done == 2
        repo = Repository.open(load(config).store_ref())
        tables.append(repo.read("results/spikes/maxent")["ep_rate"].to_numpy())
    assert tables[0].tolist() == tables[1].tolist()
    assert wait_until(lambda: queued(one_node) == [])


@pytest.mark.slow
def test_slurm__groups_grow_with_the_work_and_shrink_without(on_slurm, one_node, monkeypatch):
    """No job at rest; one for ordinary work; one of the other group for what asks for a GPU."""
    monkeypatch.setattr(queues, "IDLE_S", 3.0)
    monkeypatch.setattr(queues, "LOOK_S", 0.5)
    options = queues._options
    monkeypatch.setattr(queues, "_options", lambda *a, **k: no_gres(options(*a, **k)))
    gpu = {"workers": 1, "min_workers": 0, "memory": "1 GB", "queue": "other"}
    compute = Compute.model_validate(on_slurm(min_workers=0, gpu=gpu))
    with cluster(compute) as place:
        assert place == "slurm x 2"
        assert queued(one_node) == []
        assert on_worker(sum, ([1, 2],), timeout_s=100) == 3
        assert queued(one_node) == ["irrev-cpu main"]
        chosen = model_place("cuda")  # promised, though none has come yet
        assert on_worker(sum, ([1, 2],), resources=chosen.resources, timeout_s=100) == 3
        assert "irrev-gpu other" in queued(one_node)
        assert wait_until(lambda: queued(one_node) == [])


def no_gres(options: dict) -> dict:
    """Let the second group fit on a node without a GPU."""
    return {**options, "job_extra_directives": []}


@pytest.mark.slow
def test_slurm__a_job_that_is_lost_is_asked_for_again(on_slurm, one_node, monkeypatch):
    monkeypatch.setattr(queues, "LOOK_S", 0.5)
    monkeypatch.setattr(queues, "AGAIN_S", 5.0)
    with cluster(Compute.model_validate(on_slurm())):
        first = on_worker(os.getpid, timeout_s=100)
        subprocess.run(["scancel", "--name=irrev-cpu"], check=True)
        assert wait_until(lambda: queued(one_node) == [])
        assert on_worker(os.getpid, timeout_s=100) != first


@pytest.mark.slow
def test_slurm__a_worker_with_other_code_is_turned_away(on_slurm, tmp_path, monkeypatch):
    """Its log says what differs; a run ends with one line, a shard fails, no number is made."""
    monkeypatch.setattr(queues, "LOOK_S", 0.5)
    monkeypatch.setattr(queues, "AGAIN_S", 5.0)
    other = tmp_path / "python"
    other.write_text(
        f'#!/bin/bash\nPYTHONPATH={tmp_path}:$PYTHONPATH exec {sys.executable} "$@"\n'
    )
    other.chmod(0o755)
    # a start-up module that makes this Python claim another numpy
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.metadata as m\n"
        "real = m.version\n"
        "m.version = lambda name: '1.0' if name == 'numpy' else real(name)\n"
    )
    block = on_slurm()
    block["queue"]["python"] = str(other)
    refused = pytest.raises(ConfigError, match=r"worker tls://.* has numpy 1\.0 instead of")
    with refused, cluster(Compute.model_validate(block)):
        pass
    block["min_workers"] = 0
    with cluster(Compute.model_validate(block)), pytest.raises(KilledWorker):
        on_worker(sum, ([1],))
    logs = "".join(p.read_text() for p in (tmp_path / "logs").glob("*.err"))
    assert re.search(r"this worker has numpy 1\.0 instead of", logs)
