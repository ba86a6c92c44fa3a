"""The whole stack as a team runs it, but as processes: nobody types `run`."""

import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.deploy.stack import ROOT, Stack, postgres_programs, process, stack, wait_for
from tests.flows.conftest import write_recording


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    if postgres_programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with stack(tmp_path_factory.mktemp("stack")) as services:
        yield services


@pytest.fixture
def lab(tmp_path, running) -> Path:
    """A pipeline file in a folder that has nothing to do with the checkout."""
    folder = tmp_path / "lab"
    (folder / "data").mkdir(parents=True)
    write_recording(folder / "data" / "driven.npz", 1)
    write_recording(folder / "data" / "still.npz", 2, driven=False)
    config = {
        "version": 1,
        "project": "stack",
        "seed": 3,
        "store": {"url": "s3://irrev/results"},
        "compute": {
            "profile": "address",
            "address": running.scheduler,
            "tls": str(running.certs),
            "workers": 1,
        },
        "sources": {"pair": {"kind": "spikes", "uri": "data/*.npz"}},
        "flows": {
            "spikes": {
                "sources": ["pair"],
                "bin": "10 ms",
                "interval": {"draws": 200},
                "null": {"draws": 99},
            }
        },
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(config))
    return folder


def query(running: Stack, path: str, body: dict | None = None) -> list[dict]:
    request = urllib.request.Request(
        f"{running.api}/{path}",
        json.dumps({"limit": 200, **(body or {})}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def command(running: Stack, cwd: Path, *words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=cwd,
        env=running.environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.server
def test_stack__a_worker_picks_a_scheduled_run_up_and_its_result_is_in_the_bucket(
    running, lab, tmp_path
):
    # schedules, handed over from a strange folder; a second time they are brought up to date
    for _ in range(2):
        text = command(running, tmp_path, "flows", "deploy", "-c", lab / "pipeline.yaml")
    assert text.count(str(lab / "pipeline.yaml")) == 2  # spikes and reprocess: all it has
    assert {d["name"] for d in query(running, "deployments/filter")} == {"nightly", "weekly"}

    # the server makes the runs of each schedule
    def scheduled() -> set[str]:
        runs = query(running, "flow_runs/filter")
        return {r["deployment_id"] for r in runs if r["state_type"] == "SCHEDULED"}

    wait_for(lambda: len(scheduled()) == 2, "scheduled runs", tmp_path / "none", 90)

    # one is due in a moment; a worker started in a third folder takes it
    command(
        running,
        tmp_path,
        "prefect",
        "deployment",
        "run",
        "spikes/nightly",
        "--start-in",
        "2 seconds",
    )
    elsewhere, log = tmp_path / "elsewhere", tmp_path / "worker.log"
    elsewhere.mkdir()
    words = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "local"]
    with process(words, log, running.environment, elsewhere):
        wait_for(lambda: bool(ended(running)), "end of the run", log, 240)
    (run,) = ended(running)
    assert run["state_type"] == "COMPLETED", log.read_text()[-3000:]

    # its result is a version in the bucket, read by the command line as by anybody else
    shown = command(running, ROOT, "flows", "show", "-c", lab / "pipeline.yaml", "--json")
    rows = {r["shard"]: r for r in json.loads(shown)["spikes"]}
    assert set(rows) == {"pair/driven:all", "pair/still:all"}
    assert rows["pair/driven:all"]["significant"]
    assert not rows["pair/still:all"]["significant"]
    (version,) = json.loads(
        command(running, ROOT, "flows", "log", "-c", lab / "pipeline.yaml", "--json")
    )
    assert version["message"] == "spikes: 2 results, 0 quarantined"
    assert "2 results from 2 inputs" in (lab / "report" / "index.html").read_text()

    # the page of the run, as a browser draws it
    page = browser(f"{running.api.removesuffix('/api')}/runs/flow-run/{run['id']}", tmp_path)
    assert run["name"] in page
    assert "Completed" in page


def ended(running: Stack) -> list[dict]:
    runs = query(running, "flow_runs/filter")
    return [r for r in runs if r["state_type"] not in ("SCHEDULED", "PENDING", "RUNNING")]


def browser(url: str, folder: Path) -> str:
    """Return a page's text after its scripts have run; leave a picture of it beside."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium: all but the page was checked")
    base = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,900"]
    base += ["--virtual-time-budget=30000", f"--user-data-dir={folder / 'profile'}"]
    subprocess.run(
        [*base, f"--screenshot={folder / 'page.png'}", url], capture_output=True, timeout=180
    )
    done = subprocess.run([*base, "--dump-dom", url], capture_output=True, text=True, timeout=180)
    return done.stdout
