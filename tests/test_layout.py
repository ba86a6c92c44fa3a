"""The packages come from this checkout; the wheel holds the library only."""

import importlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["irrev", "storage", "tasks", "flows"])
def test_package__is_ours(name):
    """A stranger's `tasks` must not shadow ours."""
    assert Path(importlib.import_module(name).__file__).is_relative_to(ROOT)


def test_wheel__holds_the_library_only(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"irrev"}
