"""Encrypted connections with a real scheduler and worker on loopback."""

import os
import stat

import pytest
from cryptography import x509
from dask.distributed import Client, SpecCluster
from typer.testing import CliRunner

from flows import cli, worker_settings
from flows.certs import make_certificates, passing, security
from flows.compute import Compute
from flows.runners import cluster, local_cluster
from irrev.errors import ConfigError
from tasks.cluster import on_worker


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls") / "certs"
    result = CliRunner().invoke(cli.app, ["certs", str(folder)])
    assert result.exit_code == 0, result.output
    assert "dask scheduler --protocol tls --tls-ca-file" in result.stdout
    return folder


@pytest.fixture(scope="module")
def scheduler(certs):
    """A scheduler and one worker that speak TLS only."""
    made: SpecCluster = local_cluster(Compute(workers=1, device="cpu"), security(certs))
    with made:
        yield made.scheduler_address


def test_local_cluster__workers_start_with_our_allocator_and_with_what_the_user_has_set(
    monkeypatch,
):
    for name in worker_settings.ALLOCATOR:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MALLOC_ARENA_MAX", "3")
    with local_cluster(Compute(workers=1, device="cpu")) as made, Client(made) as client:
        found = client.run(lambda: dict(os.environ))
    for environment in found.values():
        expected = worker_settings.SETTINGS | {"MALLOC_ARENA_MAX": "3"}
        assert {k: environment[k] for k in expected} == expected


def test_certs__only_the_owner_can_read_them_and_the_authority_signs_no_more(certs):
    names = {p.name for p in certs.iterdir()}
    roles = ("scheduler", "worker", "client")
    assert names == {"ca.pem", *(f"{r}.{s}" for r in roles for s in ("pem", "key"))}
    assert stat.S_IMODE(certs.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in certs.iterdir()} == {0o600}
    authority = x509.load_pem_x509_certificate((certs / "ca.pem").read_bytes())
    for role in roles:
        pem = x509.load_pem_x509_certificate((certs / f"{role}.pem").read_bytes())
        pem.verify_directly_issued_by(authority)


def test_certs__an_existing_set_is_not_written_over(certs):
    before = (certs / "ca.pem").read_bytes()
    with pytest.raises(ConfigError, match="holds certificates already"):
        make_certificates(certs)
    assert (certs / "ca.pem").read_bytes() == before


def test_address__work_runs_over_tls(certs, scheduler):
    assert scheduler.startswith("tls://127.0.0.1:")
    compute = Compute(profile="address", address=scheduler, tls=str(certs))
    with cluster(compute) as place:
        assert place == "address x 1"
        assert on_worker(sum, ([1, 2, 3],)) == 6


def test_address__a_stranger_is_refused(tmp_path, scheduler):
    """Certificates of another authority do not open the door, nor does plain TCP."""
    make_certificates(tmp_path / "other")
    compute = Compute(profile="address", address=scheduler, tls=str(tmp_path / "other"))
    with (
        pytest.raises(ConfigError, match=r"no scheduler answers at .* with these certificates"),
        cluster(compute),
    ):
        pass
    with pytest.raises(OSError, match=r"plain|Timed out|TLS|closed|connect"):
        Client(scheduler.replace("tls://", "tcp://"), timeout="2s")


def test_security__says_what_is_missing_or_over(tmp_path, certs):
    with pytest.raises(ConfigError, match=r"compute\.tls: .* has no ca\.pem; make the folder"):
        security(tmp_path)
    make_certificates(tmp_path / "old", days=0)
    with pytest.raises(ConfigError, match=r"ca\.pem expired on 20\d\d-.*make new certificates"):
        security(tmp_path / "old")


def test_passing__nothing_is_left_behind(tmp_path):
    with passing(tmp_path / "jobs") as folder:
        assert (folder / "worker.key").exists()
    assert list((tmp_path / "jobs").iterdir()) == []
