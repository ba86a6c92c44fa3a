"""Where work runs: what the block says, and what it refuses."""

import pytest

from flows.compute import Compute, is_loopback
from flows.config import load
from flows.explain import full_text
from irrev.errors import ConfigError


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        ({"profile": "address"}, r"compute\.address: write the scheduler's"),
        (
            {"profile": "address", "address": "host:8786"},
            r"compute\.address: host:8786 is not of the form tls://host:port",
        ),
        (
            {"profile": "address", "address": "tcp://10.0.0.7:8786"},
            r"compute\.address: tcp://10.0.0.7:8786 is plain TCP to another machine.*insecure",
        ),
        (
            {"profile": "address", "address": "tcp://login1:8786"},
            r"plain TCP to another machine",
        ),
        (
            {"profile": "address", "address": "tls://login1:8786"},
            r"compute\.tls: tls:// needs the folder that `python -m flows certs` made",
        ),
        ({"profile": "kubernetes"}, r"compute\.kubernetes\.image: name the image"),
        (
            {"profile": "kubernetes", "kubernetes": {"image": "irrev:1"}},
            r"compute\.tls: pods are reached over the cluster's network",
        ),
        ({"workers": 2, "min_workers": 3}, r"compute\.min_workers: 3 is more than workers = 2"),
        (
            {"gpu": {"workers": 1, "min_workers": 2}},
            r"compute\.gpu\.min_workers: 2 is more than gpu\.workers = 1",
        ),
        ({"queue": {"waltime": "1 h"}}, r"compute\.queue\.waltime is not a key.*`walltime`"),
        ({"queue": {"walltime": 3600}}, r"compute\.queue\.walltime: 3600 needs a unit"),
        ({"memory": "4"}, r"compute\.memory: '4' needs a unit \(MB, MiB, GB, GiB\)"),
        ({"queue": {"setup": ["a\nb"]}}, r"compute\.queue\.setup\.0: one line was expected"),
        (
            {"queue": {"directives": ["--x\n#SBATCH --y"]}},
            r"compute\.queue\.directives\.0: one line",
        ),
        (
            {"kubernetes": {"namespace": "Two Words"}},
            r"compute\.kubernetes\.namespace: string should match",
        ),
    ],
)
def test_compute__names_the_key_and_the_mend(project, compute, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load(project(compute=compute))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_is_loopback__this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "0.0.0.0", "login1", "127.0.0.1.example.org", "::"])
def test_is_loopback__anything_else(host):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:8786", "tcp://[::1]:8786", "tcp://localhost:1"]
)
def test_compute__plain_tcp_within_this_machine_is_accepted(address):
    assert Compute(profile="address", address=address).address == address


def test_compute__plain_tcp_elsewhere_if_asked_for():
    assert Compute(profile="address", address="tcp://10.0.0.7:1", insecure=True).insecure


def test_place__certificates_lie_beside_the_file(project):
    compute = {"profile": "address", "address": "tls://h:1", "tls": "certs"}
    config = project(compute=compute)
    assert load(config).place().tls == str(config.parent / "certs")
    assert load(config).compute.tls == "certs"  # what is stored with a run has no machine's path


def test_config_full__says_what_every_key_of_compute_means(project):
    text = full_text(load(project()))
    block = text[text.index("compute:") : text.index("sources:")]
    assert all("#" in line for line in block.splitlines()), block
    for key in ("min_workers", "memory", "insecure", "gpu:", "walltime", "namespace"):
        assert key in block


def test_with_profile__says_which_key_the_other_profile_needs(project):
    pipeline = load(project())
    assert pipeline.with_profile("slurm").compute.profile == "slurm"
    with pytest.raises(ConfigError, match=r"^compute\.kubernetes\.image: name the image"):
        pipeline.with_profile("kubernetes")
    with pytest.raises(ConfigError, match=r"^compute\.address: write the scheduler's"):
        pipeline.with_profile("address")
    with pytest.raises(ConfigError, match=r"^--profile: .*'slurm'"):
        pipeline.with_profile("slrum")
