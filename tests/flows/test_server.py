"""The Prefect server of a run: its own, whoever else starts one at the same moment."""

import socket
from threading import Thread

import pytest

from flows import server
from flows.standing import healthy


@pytest.fixture
def stranger():
    """A port on which somebody answers who speaks no HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            while True:
                try:
                    guest, _ = listener.accept()
                except OSError:
                    return
                with guest:
                    guest.sendall(b"\x93\x01 not HTTP\n")

        Thread(target=greet, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_healthy__a_stranger_is_no_server(stranger):
    assert not healthy(f"http://127.0.0.1:{stranger}/api/health")


@pytest.mark.server
def test_start_server__takes_another_port_if_one_was_taken_meanwhile(
    stranger, tmp_path, monkeypatch
):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    found, real = [stranger], server.free_port
    monkeypatch.setattr(server, "free_port", lambda port=0: found.pop() if found else real(port))
    process, url = server.start_server(with_parent=True)
    try:
        assert str(stranger) not in url
        assert healthy(f"{url}/health")
    finally:
        process.terminate()
        process.wait(20)
