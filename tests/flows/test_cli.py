"""The commands as a user types them, in this process and as processes of their own."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from rich.table import Table
from typer.testing import CliRunner

from flows import cli, show
from flows.config import load
from flows.console import out
from irrev import readers
from irrev.errors import IrrevError
from storage.pending import Pending
from storage.repository import Repository
from tests.flows.conftest import write_recording

ROOT = Path(__file__).parents[2]


def invoke(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, [str(w) for w in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def here(monkeypatch, prefect_server):
    """Run commands against the session's API instead of a server of their own."""
    monkeypatch.setattr(cli, "server", nullcontext)


def process(*words: object, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(home), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "flows", *map(str, words)]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.usefixtures("here")
def test_commands__from_plan_to_report(project):
    config = project()
    code, text, _ = invoke("plan", "-c", config)
    assert code == 0
    assert "spikes: 2 to run, 0 up to date" in text
    assert "about" in text
    assert not (config.parent / "results").exists()  # a plan stores nothing

    code, text, _ = invoke("run", "-c", config)
    assert code == 0
    assert "significant (FDR 5 %)" in text
    assert "not significant" in text
    assert "saved" in text
    page = (config.parent / "report" / "index.html").read_text()
    assert "pair/driven, all" in page

    code, text, _ = invoke("run", "-c", config)
    assert code == 0
    assert "0 to run, 2 up to date" in text
    assert "newest" in text

    code, text, _ = invoke("show", "-c", config, "--json")
    rows = json.loads(text)["spikes"]
    assert [r["shard"] for r in rows] == ["pair/driven:all", "pair/still:all"]
    assert {"ep_rate", "ep_rate_low", "ep_rate_high", "p", "q", "significant"} <= set(rows[0])
    assert list(rows[0])[:3] == ["condition", "shard", "source"]
    assert list(rows[0])[3:] == sorted(list(rows[0])[3:])
    assert invoke("show", "pair/still:all", "-c", config)[1].count("pair/") == 1

    code, text, _ = invoke("plan", "-c", config, "--json")
    assert [s["reason"] for s in json.loads(text)[0]["shards"]] == ["", ""]

    (version,) = json.loads(invoke("log", "-c", config, "--json")[1])
    assert version["message"] == "spikes: 2 results, 0 quarantined"
    assert version["version"][:5] in invoke("log", "-c", config)[1]

    project(flows__spikes__ep__folds=4)
    invoke("run", "-c", config)
    code, text, _ = invoke("compare", version["version"][:5], "main", "-c", config, "--json")
    assert code == 0
    changes = {row["shard"]: row["change"] for row in json.loads(text)}
    assert changes["pair/driven:all"] == "changed within the intervals"
    code, text, _ = invoke("show", "--at", version["version"][:5], "-c", config, "--json")
    assert json.loads(text)["spikes"][0]["ep_rate"] == rows[0]["ep_rate"]

    code, text, _ = invoke("status", "-c", config)
    assert code == 0
    assert "quarantine empty" in text


@pytest.mark.usefixtures("here")
def test_run__exits_with_1_and_says_where_to_look_if_something_is_set_aside(project):
    config = project()
    (config.parent / "data" / "broken.npz").write_bytes(b"nothing")
    code, text, _ = invoke("run", "-c", config)
    assert code == 1
    assert "python -m flows status" in text
    code, text, _ = invoke("status", "-c", config)
    assert "quarantine pair/broken:" in text
    assert invoke("run", "-c", config)[0] == 1


def test_mistakes__are_one_line_and_exit_with_2(project, tmp_path):
    bad = project(flows__spikes__ep__fold=5).rename(tmp_path / "bad.yaml")
    config = project()  # nothing has run yet
    for words in (
        ("run", "-c", bad),
        ("plan", "-c", tmp_path / "absent.yaml"),
        ("show", "-c", config),
        ("log", "-c", config),
        ("status", "-c", config),
    ):
        code, out, err = invoke(*words)
        assert (code, out) == (2, ""), words
        assert len(err.strip().splitlines()) == 1, err


@pytest.mark.usefixtures("here")
def test_run__what_can_still_not_be_opened_starts_nothing_and_is_read_once_it_can(
    project, monkeypatch
):
    """A link whose data were not fetched yet, as in a DataLad or git-annex folder."""
    config = project()
    data = config.parent / "data"
    (data / "later.npz").symlink_to("absent")
    assert invoke("run", "-c", config)[0] == 1
    with monkeypatch.context() as patch:
        patch.setattr(cli, "server", lambda: pytest.fail("a server was started"))
        code, text, _ = invoke("run", "-c", config)
    assert (code, "0 to run, 2 up to date, 1 quarantined" in text) == (1, True)
    write_recording(data / "absent.npz", 5)
    (data / "absent.npz").rename(data / "absent")
    assert invoke("run", "-c", config)[0] == 0
    assert len(table(config).shard) == 3


@pytest.mark.usefixtures("here")
def test_status__counts_what_the_checks_found(project):
    config = project()
    path = config.parent / "data" / "still.npz"
    stored = dict(np.load(path))
    stored["times"][:3] = np.nan
    np.savez(path, **stored)
    invoke("run", "-c", config)
    line = "check      spikes: 3 non_finite_times removed in 1 item; pair/still: "
    assert line in invoke("status", "-c", config)[1]


def test_state_lines__an_empty_quarantine_does_not_hide_records_set_aside():
    row = {"flow": "chats", "check": "bad records", "action": "set aside", "count": 3}
    row |= {"items": 1, "item": "chats/a", "detail": "line 4: no text"}
    state = {"store": "s", "branch": "main", "version": "V", "written_at": "", "results": {}}
    state |= {"running": [], "costs": {}, "unpublished": 0, "checks": [row], "quarantine": []}
    assert show.state_lines(state)[-2:] == [
        "check      chats: 3 bad records set aside in 1 item; chats/a: line 4: no text",
        "quarantine empty; the records set aside are above",
    ]


@pytest.mark.usefixtures("here")
def test_mistakes__unknown_version_or_result(project):
    config = project()
    invoke("run", "-c", config)
    code, _, err = invoke("show", "--at", "nosuch", "-c", config)
    assert code == 2
    assert "nosuch" in err
    code, _, err = invoke("show", "pair/stil:all", "-c", config)
    assert code == 2
    assert "did you mean 'pair/still:all'?" in err
    assert "there are: spikes, pair/driven:all" in invoke("show", "qqq", "-c", config)[2]


def test_plan__goes_on_where_a_disk_fails(project, monkeypatch):
    """What is no fault of a file's content is left to the run, which keeps it beside results."""
    real = readers.open_source

    def failing(uri, **options):
        if Path(uri).stem == "still":
            raise OSError(errno.EIO, "Input/output error")
        return real(uri, **options)

    monkeypatch.setattr(readers, "open_source", failing)
    code, text, _ = invoke("plan", "-c", project())
    assert code == 0
    assert "1 items to read, 1 to run" in text


def test_run__finds_an_unwritable_page_before_the_work(project):
    config = project(report__path="/proc/irrev/index.html")
    code, _, err = invoke("run", "-c", config)
    assert code == 2
    assert err.startswith("report.path: nothing can be written to /proc/irrev/index.html")
    assert not (config.parent / "results").exists()


def test_config__checks_and_fills_in(project):
    config = project()
    assert "is valid" in invoke("config", config)[1]
    text = invoke("config", config, "--full")[1]
    assert "# bin width" in text


def test_friendly__says_what_stands_in_the_way_of_a_locked_folder_or_a_full_disk(capsys):
    @cli.friendly
    def write(code: int) -> None:
        raise OSError(code, os.strerror(code), "/some/file")

    for code, mend in ((errno.EACCES, "change its permissions"), (errno.ENOSPC, "free some")):
        with pytest.raises(cli.typer.Exit) as caught:
            write(code)
        assert caught.value.exit_code == 2
        said = capsys.readouterr().err
        assert said.startswith(f"/some/file: {os.strerror(code)}; {mend}")
    with pytest.raises(OSError, match="Is a directory"):
        write(errno.EISDIR)


def test_console__prints_names_as_they_are(capsys):
    table = Table("shard")
    table.add_row("rat:x:y [red]")
    with out.capture() as printed:
        out.print(table)
        out.print("rat:x:y [red]")
    assert printed.get().count("rat:x:y [red]") == 2


def test_friendly__lets_a_bug_show_its_trace():
    @cli.friendly
    def bug() -> None:
        raise RuntimeError("a bug")

    @cli.friendly
    def mistake() -> None:
        raise IrrevError("a mistake")

    with pytest.raises(RuntimeError):
        bug()
    with pytest.raises(cli.typer.Exit) as caught:
        mistake()
    assert caught.value.exit_code == 2


@pytest.mark.server
def test_run__as_a_process_prints_no_noise_and_gives_the_numbers_of_threads(project, tmp_path):
    """Dask processes and a server of its own change neither output nor numbers."""
    config = project(compute__profile="local")
    done = process("run", "-c", config, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "significant (FDR 5 %)" in done.stdout
    local = table(config)
    project(store__url="./again")
    done = process("run", "-c", config, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    for name in ("ep_rate", "ep_rate_low", "p", "fold_value", "null_value"):
        np.testing.assert_array_equal(local[name], table(config)[name], err_msg=name)


@pytest.mark.server
def test_run__killed_in_mid_run_is_taken_over_bit_for_bit(project, tmp_path):
    """After kill -9 a rerun computes what is missing; values equal an uninterrupted run's."""
    config = project(compute__workers=1)
    for k in range(5):
        write_recording(config.parent / "data" / f"more{k}.npz", 10 + k, seconds=4000)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "flows", "run", "-c", str(config)]
    victim = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    kept = _wait_for_results(config, victim, least=9)  # 7 inputs and at least 2 results
    os.killpg(victim.pid, signal.SIGSTOP)  # or it may end while it is looked at
    assert f"process {victim.pid} on" in invoke("status", "-c", config)[1]
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    _, text, _ = invoke("status", "-c", config)
    assert "running" not in text
    assert "pieces wait to be published by the next run" in text
    assert Repository.open(load(config).store_ref()).log() == []
    done = process("run", "-c", config, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    resumed = table(config)
    taken_over = int(re.search(r"taken over +(\d+)/7", done.stdout)[1])
    assert taken_over >= kept - 7
    project(store__url="./whole")
    assert process("run", "-c", config, home=tmp_path / "home").returncode == 0
    xr.testing.assert_equal(resumed.drop_vars(["seconds"]), table(config).drop_vars(["seconds"]))


def _wait_for_results(config: Path, run: "subprocess.Popen[bytes]", *, least: int) -> int:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert run.poll() is None, "the run ended before it could be killed"
        try:
            kept = len(Pending(Repository.open(load(config).store_ref())).keys())
        except IrrevError:
            kept = 0
        if kept >= least:
            return kept
        time.sleep(0.2)
    raise AssertionError("no results in the scratch within four minutes")


def table(config: Path) -> xr.Dataset:
    return Repository.open(load(config).store_ref()).read("results/spikes/maxent").load()
