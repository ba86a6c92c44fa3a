"""What `deploy` refuses before it talks to a server; the rest is in tests/deploy/test_stack.py."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows import cli
from flows.server import free_port
from flows.specs import SPECS

ROOT = Path(cli.__file__).parents[1]


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No server of `up`, none named."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("IRREV_IMAGE", raising=False)


def refusal(*words: object) -> str:
    result = CliRunner().invoke(cli.app, ["deploy", *map(str, words)])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    return line


@pytest.mark.usefixtures("nowhere")
def test_deploy__without_a_server_says_how_to_get_one(project, monkeypatch):
    config = project()
    assert "python -m flows up, or set PREFECT_API_URL" in refusal("-c", config).replace("`", "")
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free_port()}/api")
    assert "no server answers at http://127.0.0.1:" in refusal("-c", config)


@pytest.mark.usefixtures("nowhere")
def test_deploy__names_the_pools_and_asks_for_the_image(project):
    config = project()
    said = refusal("-c", config, "--pool", "lokal")
    assert "nothing to deploy to lokal; its pools: docker, kubernetes, local" in said
    assert "set IRREV_IMAGE" in refusal("-c", config, "--pool", "docker")


@pytest.mark.usefixtures("nowhere")
def test_deploy__finds_a_mistake_now_and_not_every_night(project):
    assert "is not a key" in refusal("-c", project(flows__spikes__ep__fold=5))


@pytest.mark.parametrize("pool", ["local", "docker", "kubernetes"])
def test_prefect_file__schedules_every_flow_whose_sources_grow(pool):
    """Protocols are the exception: they optimise systems that the file itself defines."""
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    there = {d["entrypoint"] for d in deployments if d["work_pool"]["name"] == pool}
    assert there >= {f"flows/{name}.py:{name}" for name in SPECS if name != "protocols"}
    assert all(d["schedules"] for d in deployments)
