"""Server and workers that stand until `down`, as a user types it."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from flows import server, standing
from flows.server import free_port
from flows.standing import Dask, Process, Server, Standing
from flows.up import down

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    return tmp_path / "share" / "irrev"


def record(process: Process) -> None:
    dask = Dask(process, "tls://127.0.0.1:1", "http://127.0.0.1:2/status", 2, "code")
    standing.write(Standing(Server(process, "http://127.0.0.1:3/api"), dask))


@pytest.fixture
def bystander():
    """A process that has nothing to do with us."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_down__a_stale_id_that_now_belongs_to_another_ends_nothing(data, bystander):
    born = psutil.Process(bystander.pid).create_time()
    record(Process(bystander.pid, born - 100))  # as after a restart of the machine
    assert standing.find_dask() is None
    assert standing.find_server() is None
    assert down() == []
    assert bystander.poll() is None
    assert not standing.state_file().exists()


def test_down__ends_what_is_on_record_and_a_second_time_nothing(data, bystander):
    record(Process(bystander.pid, psutil.Process(bystander.pid).create_time()))
    assert standing.find_dask() is not None
    assert down() == ["workers"]  # one process stood for both
    assert bystander.poll() is not None
    assert down() == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"server": {"pid": 1}}', "\xff"])
def test_read__a_broken_record_is_no_record(data, text):
    standing.state_file().parent.mkdir(parents=True)
    standing.state_file().write_text(text, encoding="latin-1")
    assert standing.read() == Standing(None, None)


def test_write__comes_back_and_is_for_the_user_only(data):
    record(Process(os.getpid(), 1.5))
    assert standing.read().dask.process == Process(os.getpid(), 1.5)
    assert standing.state_file().stat().st_mode & 0o777 == 0o600


def test_find_server__a_process_that_does_not_answer_is_not_found(data):
    me = Process(os.getpid(), psutil.Process().create_time())
    standing.write(Standing(Server(me, f"http://127.0.0.1:{free_port()}/api"), None))
    assert standing.find_server() is None


def test_free_port__another_one_if_the_wanted_is_taken():
    port = free_port()
    assert free_port(port) == port
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert free_port(taken.getsockname()[1]) != taken.getsockname()[1]


def test_start_server__first_starts_in_a_new_home_wait_for_one_another(data, monkeypatch):
    """Two servers that make their tables at once break each other; later ones need not wait."""
    events = []

    def start(folder, port, *, with_parent):
        events.append("begins")
        time.sleep(0.2)
        events.append("answers")

    monkeypatch.setattr(server, "_start", start)
    for expected in (["begins", "answers", "begins"], ["begins"] * 3):
        events.clear()
        with ThreadPoolExecutor(3) as pool:
            for _ in range(3):
                pool.submit(server.start_server, with_parent=True)
        assert events[:3] == expected
        assert len(events) == 6


def test_start_server__a_first_start_that_failed_is_no_first_start(data, monkeypatch):
    monkeypatch.setattr(server, "_start", lambda *a, **k: pytest.fail("broken"))
    with pytest.raises(pytest.fail.Exception):
        server.start_server(with_parent=True)
    assert not list(server.home().glob("tables-*"))


@pytest.mark.slow
@pytest.mark.server
def test_run__the_very_first_runs_may_start_at_once(project, data):
    config = project()
    configs = [config.rename(config.with_name("one.yaml")), project(store__url="./second")]
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda c: flows("run", "-c", c, share=data.parent), configs))
    assert [(r.returncode, r.stderr) for r in runs] == [(0, "")] * 2


def flows(*words: object, share: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment |= {"XDG_DATA_HOME": str(share), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "flows", *map(str, words)]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
@pytest.mark.server
def test_up__runs_use_its_server_and_workers_until_down(project, data):
    """Also: all listens on loopback, a second `up` changes nothing, a killed part is replaced."""
    share = data.parent
    config = project(compute={"profile": "local", "workers": 2})
    try:
        up = flows("up", "-c", config, share=share)
        assert up.returncode == 0, up.stderr
        now = standing.read()
        assert now.server.url in up.stdout.replace("\n", "/api\n", 1)
        assert hosts(now) == {"127.0.0.1"}

        before = workers_of(now)
        run = flows("run", "-c", config, share=share)
        assert (run.returncode, run.stderr) == (0, ""), run.stderr
        assert "significant" in run.stdout
        assert workers_of(standing.read()) == before
        assert task_states(now.server.url) == {"COMPLETED"}
        assert flow_runs(now.server.url) == 1
        status = flows("status", "-c", config, share=share).stdout
        assert f"up         UI {now.server.url.removesuffix('/api')}\n" in status

        assert flows("up", "-c", config, share=share).returncode == 0
        assert standing.read() == now

        psutil.Process(now.dask.process.pid).kill()
        alone = flows("run", "-c", project(seed=4), share=share)  # without them it goes on
        assert alone.returncode == 0, alone.stderr
        assert flows("up", "-c", config, share=share).returncode == 0
        assert standing.read().server == now.server
        assert standing.read().dask.process != now.dask.process
    finally:
        ended = flows("down", share=share)
    assert ended.stdout == "ended   workers and server\n"
    assert not psutil.pid_exists(now.server.process.pid)
    assert all(not psutil.pid_exists(pid) for pid in before)
    assert "nothing of `up` is running" in flows("down", share=share).stdout


def workers_of(now: Standing) -> set[int]:
    return {p.pid for p in psutil.Process(now.dask.process.pid).children(recursive=True)}


def hosts(now: Standing) -> set[str]:
    """Return the addresses on which any of the processes listens."""
    found = set()
    for part in (now.server, now.dask):
        process = psutil.Process(part.process.pid)
        for one in (process, *process.children(recursive=True)):
            found |= {c.laddr.ip for c in one.net_connections() if c.status == "LISTEN"}
    return found


def query(url: str, path: str) -> list[dict]:
    body = json.dumps({"limit": 200}).encode()
    request = urllib.request.Request(
        f"{url}/{path}/filter", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def task_states(url: str, seconds: float = 20.0) -> set[str]:
    """Return the states of all tasks once none is under way: they are written a little later."""
    deadline = time.monotonic() + seconds
    while True:
        states = {run["state_type"] for run in query(url, "task_runs")}
        if states == {"COMPLETED"} or time.monotonic() > deadline:
            return states
        time.sleep(0.5)


def flow_runs(url: str) -> int:
    return len(query(url, "flow_runs"))
