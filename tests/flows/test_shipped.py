"""What a new user sees: the shipped pipeline file, run as it is, and its page."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.irrev.report.test_build import CHROMIUM, look

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.server
def test_shipped_file__runs_without_noise_and_its_page_is_readable(tmp_path):
    folder = tmp_path / "a folder"
    shutil.copytree(ROOT / "examples" / "data", folder / "examples" / "data")
    shutil.copy(ROOT / "pipeline.yaml", folder)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "flows", "run"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "not significant" in done.stdout
    again = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert again.stdout.count("plan ") == again.stdout.count(" 0 to run") >= 4
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: the page was not looked at")
    page = (folder / "report" / "index.html").read_text()
    for width in (1280, 400):
        seen = look(page, width, tmp_path / str(width))
        assert int(seen["pictures"]) >= 20
        assert int(seen["empty"]) == 0
        assert int(seen["scroll"]) <= width
        assert float(seen["smallest"]) >= 8.0
        assert int(seen["clipped"]) == 0
