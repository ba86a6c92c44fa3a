"""The documentation site: complete, without warnings, and what its tutorials show works."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import irrev
from flows.cli import app
from flows.config import load

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_reference__names_every_public_function():
    text = "".join(p.read_text() for p in (ROOT / "docs" / "reference").glob("*.md"))
    homes = irrev._HOMES
    assert [n for n, home in homes.items() if f"::: {home}.{n}\n" not in text] == []


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda p: p.stem)
def test_tutorials__their_pipeline_files_are_valid(page, tmp_path):
    found = [b for b in blocks(page, "yaml") if b.startswith("version:")]
    for number, block in enumerate(found):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block)
        load(path)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_pages__their_commands_exist(page):
    named = set(re.findall(r"python -m flows ([a-z]+)", page.read_text(encoding="utf-8")))
    assert named <= set(typer.main.get_command(app).commands)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["exact", "diffusion"])
def test_tutorials__their_python_runs(name):
    for block in blocks(ROOT / "docs" / "tutorials" / f"{name}.md", "python"):
        exec(compile(block, name, "exec"), {})


def test_site__builds_without_a_warning(tmp_path):
    """Links and anchors inside the site are checked by the strict build."""
    pytest.importorskip("mkdocs", reason="the site needs the extra `docs`")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    html = (tmp_path / "index.html").read_text()
    assert "https://fonts" not in html
