import json

import irrev
from storage import manifest

RUN = {
    "run_id": "r1",
    "flow": "spikes",
    "config": {"seed": 7},
    "code_version": "0.1.0",
    "inputs": {"a": "0" * 64},
    "counts": {"done": 2},
    "quarantined": {"b:wake": "too short"},
    "seed": 7,
    "host_class": "Linux x86_64",
    "started": "2026-03-01T00:00:00+00:00",
    "finished": "2026-03-01T00:00:13+00:00",
}


def test_run_metadata__is_what_the_log_gives_back(repo, table):
    metadata = manifest.run_metadata(**RUN)
    repo.commit({"results/x/y": table}, message="m", metadata=metadata)
    assert repo.log()[0].metadata == metadata
    assert metadata["inputs"] == {"a": "0" * 64}
    assert metadata["packages"]["icechunk"].startswith("1.")


def test_run_metadata__has_one_hash_for_equal_configurations():
    a = manifest.run_metadata(**RUN | {"config": {"a": 1, "b": [0.1]}})
    b = manifest.run_metadata(**RUN | {"config": {"b": [0.1], "a": 1}})
    assert a["config_hash"] == b["config_hash"] != manifest.run_metadata(**RUN)["config_hash"]


def test_run_metadata__stays_small_with_many_inputs():
    inputs = {f"recording-{i}": "0" * 64 for i in range(10_000)}
    metadata = manifest.run_metadata(**RUN | {"inputs": inputs})
    assert metadata["inputs"]["number"] == 10_000
    assert len(json.dumps(metadata)) < 2000


def test_code_version__names_the_commit_of_a_checkout():
    version = manifest.code_version()
    if (manifest.ROOT / ".git").exists():
        assert version.startswith(f"{irrev.__version__}+g")
    else:
        assert version == irrev.__version__


def test_code_version__does_without_git(monkeypatch, tmp_path):
    (tmp_path / ".git").mkdir()  # a damaged checkout
    monkeypatch.setattr(manifest, "ROOT", tmp_path)
    assert manifest.code_version() == irrev.__version__
    monkeypatch.setenv("PATH", "")
    assert manifest.code_version() == irrev.__version__


def test_package_versions__leaves_absent_ones_out():
    assert manifest.package_versions(["numpy", "no-such-package"]).keys() == {"numpy"}
