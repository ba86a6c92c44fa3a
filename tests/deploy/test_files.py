"""The files of a deployment, checked by real tools: no engine and no cluster is at hand."""

import copy
import fnmatch
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows.config import load
from flows.deploy import complete_pod
from flows.worker_settings import SETTINGS

ROOT = Path(__file__).parents[2]
VERSION = "1.31"  # of Kubernetes
YAML_RULES = """{extends: default, rules: {line-length: {max: 160}, document-start: disable,
braces: disable, brackets: disable, comments: {min-spaces-from-content: 1}}}"""
MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))


def tool(name: str) -> str:
    """Return the path of a tool of the test extra, beside this Python or on the PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, text=True, cwd=ROOT)


def test_dockerfile__hadolint_finds_nothing_and_would_find_something():
    done = run(tool("hadolint"), "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")
    bad = run(tool("hadolint"), "-", text="FROM python\nRUN cd /x && pip install numpy\n")
    assert "DL3006" in bad.stdout


def test_dockerfile__user_is_not_root_and_versions_are_pinned():
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER 10001:10001$", text, re.M)
    assert text.rindex("USER ") > text.rindex("COPY ")
    assert re.search(r"^ARG BASE=python:\d+\.\d+\.\d+-\w+", text, re.M)
    assert "-c constraints.txt" in text
    assert "HEALTHCHECK" in text


def test_dockerfile__sets_what_workers_start_with():
    text = (ROOT / "Dockerfile").read_text()
    assert all(f"{name}={value}" in text for name, value in SETTINGS.items())


def test_dockerfile__copies_only_what_the_context_has():
    """.dockerignore lets nothing else in: no data, no results, no history."""
    words = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line]
    allowed = [w[1:] for w in words if w.startswith("!")]
    assert "*" in words
    copied = []
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied += line.split()[1:-1]
    assert copied
    for name in copied:
        assert any(fnmatch.fnmatch(name, a) or name.startswith(f"{a}/") for a in allowed), name
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("path", [ROOT / "compose.yaml", ROOT / "prefect.yaml", *MANIFESTS])
def test_yaml__is_clean(path):
    done = run(tool("yamllint"), "--strict", "-d", YAML_RULES, str(path))
    assert done.stdout == ""


def test_compose__is_valid_and_a_misspelt_key_would_not_be():
    spec = pytest.importorskip("compose_spec")
    compose = resolved(yaml.safe_load((ROOT / "compose.yaml").read_text()))
    found = spec.PyCompose.from_json(json.dumps(compose))
    assert set(found.service_names()) == set(compose["services"])
    compose["services"]["worker"]["comand"] = "x"
    with pytest.raises(ValueError, match="comand"):
        spec.PyCompose.from_json(json.dumps(compose))


def resolved(value):
    """Fill variables in as an engine does: the default, or what the environment would hold."""
    if isinstance(value, dict):
        return {k: resolved(v) for k, v in value.items()}
    if isinstance(value, list):
        return [resolved(v) for v in value]
    if isinstance(value, str):
        return re.sub(r"(?<!\$)\$\{\w+:[-?]([^}]*)\}", lambda m: m[1] or "x", value)
    return value


def services() -> dict[str, dict]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


def test_compose__ports_are_on_loopback_and_secrets_come_from_outside():
    for name, service in services().items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|AUTH|KEY", key):
                assert re.search(r"\$\{\w+:\?", value), (name, key)


def test_compose__our_services_run_without_privileges_and_say_how_they_are():
    ours = {n: s for n, s in services().items() if "irrev" in s["image"]}
    assert set(ours) == {"certs", "prefect", "scheduler", "worker", "gpu-worker", "flows"}
    for name, service in ours.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"], name
        if name != "certs":
            assert service["environment"]["HEALTH_URL"].endswith("/health"), name
    for name, service in services().items():
        for other, how in service.get("depends_on", {}).items():
            target = services()[other]
            healthy = how["condition"] == "service_healthy"
            assert not healthy or "healthcheck" in target or other in ours, (name, other)


@pytest.mark.parametrize(
    "name", ["deploy/compose/pipeline.yaml", "deploy/kubernetes/pipeline.yaml"]
)
def test_pipelines__of_the_deployments_are_valid(name):
    assert load(ROOT / name).compute.tls is not None


def kustomized() -> list[dict]:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    done = run("kubectl", "kustomize", "deploy/kubernetes")
    assert (done.returncode, done.stderr) == (0, "")
    return list(yaml.safe_load_all(done.stdout))


def test_kustomize__every_object_is_valid_and_in_the_namespace():
    validate = pytest.importorskip("kubernetes_validate")
    found = kustomized()
    for one in found:
        validate.validate(one, VERSION, strict=True)
        assert one["kind"] == "Namespace" or one["metadata"]["namespace"] == "irrev"
    kinds = [one["kind"] for one in found]
    assert kinds.count("Deployment") == 2
    assert kinds.count("NetworkPolicy") == 3
    worse = copy.deepcopy(next(o for o in found if o["kind"] == "Deployment"))
    worse["spec"]["template"]["spec"]["containers"][0]["imagePullPolcy"] = "Always"
    with pytest.raises(validate.ValidationError):
        validate.validate(worse, VERSION, strict=True)


def test_kustomize__pods_meet_the_restricted_standard():
    """The namespace enforces it: a pod that does not would never start."""
    pods = [
        (one["metadata"]["name"], one["spec"]["template"]["spec"])
        for one in kustomized()
        if one["kind"] in ("Deployment", "StatefulSet")
    ]
    pods.append(("a run", run_pod()))
    for name, pod in pods:
        context = pod["securityContext"]
        assert context["runAsNonRoot"], name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, name


def job_template() -> dict:
    """Return Prefect's own template of a run's job, completed by ours."""
    import prefect

    folder = Path(prefect.__file__).parent / "server" / "api" / "collections_data" / "views"
    known = json.loads((folder / "aggregate-worker-metadata.json").read_text())
    template = known["prefect-kubernetes"]["kubernetes"]["default_base_job_configuration"]
    complete_pod(template)
    return template["job_configuration"]["job_manifest"]


def run_pod() -> dict:
    return job_template()["spec"]["template"]["spec"]


def test_run_of_a_pool__its_job_is_valid():
    validate = pytest.importorskip("kubernetes_validate")
    text = yaml.safe_dump(job_template())
    values = {"command": ["x"], "env": [], "labels": {}, "finished_job_ttl": 1}
    for name, value in values.items():
        text = text.replace(f"'{{{{ {name} }}}}'", str(value))
    for name in ("limit", "request"):
        text = text.replace(f"'{{{{ memory_{name} }}}}'", "1Gi")
        text = text.replace(f"'{{{{ cpu_{name} }}}}'", "1")
    text = re.sub(r"'\{\{ (\w+) \}\}(-?)'", r"x\2", text).replace(
        "imagePullPolicy: x", "imagePullPolicy: Always"
    )
    validate.validate(yaml.safe_load(text), VERSION, strict=True)


def test_prefect_yaml__flows_exist_and_each_pool_has_a_nightly_and_a_weekly():
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    for one in deployments:
        path, flow = one["entrypoint"].split(":")
        assert re.search(rf"^def {flow}\(", (ROOT / path).read_text(), re.M), one["entrypoint"]
    for pool in ("local", "docker", "kubernetes"):
        mine = [d for d in deployments if d["work_pool"]["name"] == pool]
        names = {d["entrypoint"].rpartition(":")[2]: d["name"] for d in mine}
        assert names["monitor"].startswith("nightly")
        assert names["reprocess"].startswith("weekly")
