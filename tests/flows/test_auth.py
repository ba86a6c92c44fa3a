"""A password on the Prefect server: strangers are turned away, runs get in."""

import os
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from flows.server import server


def status(url: str) -> int:
    """Return the status of a request without a password."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.server
@pytest.mark.slow
def test_server__a_password_keeps_strangers_out_and_lets_runs_in(tmp_path, monkeypatch):
    for name in [n for n in os.environ if n.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "user:word")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "user:word")
    ask = [sys.executable, "-m", "prefect", "work-pool", "ls"]
    with server() as url:
        assert status(f"{url}/admin/version") == 401
        assert subprocess.run(ask, capture_output=True, check=False, timeout=120).returncode == 0
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", "user:other")
        assert subprocess.run(ask, capture_output=True, check=False, timeout=120).returncode != 0
