"""What the README shows works."""

import re
from pathlib import Path

import typer

from flows.cli import app
from flows.config import load

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """Return the last block of a language."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)[-1]


def test_readme__its_pipeline_file_is_valid(tmp_path):
    (tmp_path / "pipeline.yaml").write_text(block("yaml"))
    assert load(tmp_path / "pipeline.yaml").flows.spikes.bin == 0.01


def test_readme__its_example_of_the_library_runs(capsys):
    exec(compile(block("python"), "README.md", "exec"), {})
    assert "EP bound" in capsys.readouterr().out


def test_readme__its_commands_exist():
    named = set(re.findall(r"python -m flows ([a-z]+)", TEXT))
    assert named
    assert named <= set(typer.main.get_command(app).commands)


def test_readme__its_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
