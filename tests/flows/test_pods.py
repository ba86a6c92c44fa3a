"""Resources for the Dask operator: valid by its own schema, and a run through a small API."""

import copy
import json
import os
import subprocess
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from flows.certs import make_certificates
from flows.compute import Compute
from flows.pods import ROUTES, TLS, manifests
from flows.runners import cluster
from irrev.errors import ConfigError
from tasks.cluster import on_worker

FULL = {
    "profile": "kubernetes",
    "workers": 40,
    "min_workers": 2,
    "memory": "8 GiB",
    "tls": "certs",
    "gpu": {"workers": 3, "memory": "32 GiB"},
    "kubernetes": {
        "image": "registry.example.org/irrev:0.1",
        "credentials": "s3",
        "certificates": "dask-tls",
        "service_account": "irrev",
        "node_selector": {"pool": "batch"},
    },
}
PLAIN = {"profile": "kubernetes", "insecure": True, "kubernetes": {"image": "irrev:0.1"}}


def schemas() -> dict[str, dict]:
    """Return the operator's own schema of each kind, from its package."""
    operator = pytest.importorskip("dask_kubernetes.operator")
    folder = Path(operator.__file__).parent / "deployment/helm/dask-kubernetes-operator/crds"
    found = {}
    for path in folder.glob("*.yaml"):
        crd = yaml.safe_load(path.read_text())
        (version,) = crd["spec"]["versions"]
        found[crd["spec"]["names"]["kind"]] = version["schema"]["openAPIV3Schema"]
    return found


def check(manifest: dict, schema: dict) -> None:
    """Validate as the API server does, and refuse keys that it would drop in silence."""
    from jsonschema import Draft202012Validator

    found = Draft202012Validator(closed(schema)).iter_errors(manifest)
    assert [f"{e.json_path}: {e.message}" for e in found] == []


def closed(schema: dict) -> dict:
    """Forbid unknown keys wherever a schema lists the known ones."""
    schema = copy.deepcopy(schema)
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if "properties" in node and isinstance(node["properties"], dict):
                known = node["properties"]
                if not node.get("x-kubernetes-preserve-unknown-fields"):
                    node.setdefault("additionalProperties", False)
                stack.extend(known.values())
            if node.get("x-kubernetes-int-or-string"):
                node.pop("type", None)
            stack.extend(node[k] for k in ("items", "additionalProperties") if k in node)
    return schema


@pytest.mark.parametrize("block", [FULL, PLAIN])
def test_manifests__are_valid_by_the_operators_schema(block):
    made = manifests(Compute.model_validate(block), "irrev-1a2b3c4d")
    known = schemas()
    for manifest in made:
        check(manifest, with_metadata(known[manifest["kind"]]))
    kinds = [m["kind"] for m in made]
    full = ["DaskCluster", "DaskWorkerGroup", "DaskAutoscaler"]
    assert kinds == (full if block is FULL else ["DaskCluster"])


def with_metadata(schema: dict) -> dict:
    """Metadata is an open object in a custom resource's schema; the server checks it itself."""
    schema = copy.deepcopy(schema)
    schema["properties"] |= {
        "metadata": {"type": "object", "additionalProperties": True},
        "apiVersion": {"const": "kubernetes.dask.org/v1"},
        "kind": {"type": "string"},
    }
    return schema


def test_check__finds_a_misspelt_key():
    """The check itself can fail."""
    (made,) = manifests(Compute.model_validate(PLAIN), "irrev-1")
    made["spec"]["worker"]["spec"]["containers"][0]["imagePullPolcy"] = "Always"
    with pytest.raises(AssertionError, match="imagePullPolcy"):
        check(made, with_metadata(schemas()["DaskCluster"]))


@pytest.mark.parametrize("block", [FULL, PLAIN])
def test_manifests__pods_are_valid_for_kubernetes_and_have_no_privileges(block):
    validate = pytest.importorskip("kubernetes_validate")
    for spec in pods(manifests(Compute.model_validate(block), "irrev-1")):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
        validate.validate(pod, "1.31", strict=True)
        assert spec["securityContext"]["runAsNonRoot"]
        assert not spec["automountServiceAccountToken"]
        for container in spec["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert container["resources"]["limits"]["memory"].endswith("Mi")


def pods(made: list[dict]) -> list[dict]:
    cluster_spec = made[0]["spec"]
    found = [cluster_spec["scheduler"]["spec"], cluster_spec["worker"]["spec"]]
    return found + [m["spec"]["worker"]["spec"] for m in made if m["kind"] == "DaskWorkerGroup"]


def test_manifests__limits_memory_gpu_and_certificates_reach_the_pods():
    cluster_, group, scaler = manifests(Compute.model_validate(FULL), "irrev-1")
    assert scaler["spec"] == {"cluster": "irrev-1", "minimum": 2, "maximum": 40}
    assert cluster_["spec"]["worker"]["replicas"] == 2
    assert group["spec"]["worker"]["replicas"] == 3
    _, cpu, gpu = (spec["containers"][0] for spec in pods([cluster_, group]))
    assert "nvidia.com/gpu" not in cpu["resources"]["limits"]
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "GPU=1" in gpu["args"]
    assert str(8 * 2**30) in cpu["args"]
    for container in (cpu, gpu):
        values = {e["name"]: e["value"] for e in container["env"]}
        assert values["DASK_SCHEDULER_ADDRESS"] == "tls://irrev-1-scheduler.irrev.svc:8786"
        assert values["OMP_NUM_THREADS"] == "1"
        assert values["MALLOC_ARENA_MAX"] == "1"
        assert container["envFrom"] == [{"secretRef": {"name": "s3"}}]
        assert f"{TLS}/worker.key" in container["args"]
    without = manifests(Compute.model_validate(PLAIN), "irrev-1")[0]
    assert "--tls-key" not in str(without)


class Api(BaseHTTPRequestHandler):
    """The few answers of an API server that a run asks for; the operator's part is `on_create`."""

    objects: dict[str, dict]
    on_create = staticmethod(lambda manifest: None)

    def do_GET(self):
        if self.path.rstrip("/") == "/version":
            self._answer({"major": "1", "minor": "31", "gitVersion": "v1.31.0"})
        elif self.path == "/apis/kubernetes.dask.org/v1":
            names = {"daskclusters": "DaskCluster", "daskautoscalers": "DaskAutoscaler"}
            found = [
                {"name": n, "singularName": k.lower(), "namespaced": True, "kind": k}
                for n, k in names.items()
            ]
            self._answer({"kind": "APIResourceList", "resources": found})
        elif self.path in self.objects:
            self._answer(self.objects[self.path])
        else:
            self._answer({"kind": "Status", "message": f"no {self.path}"}, 404)

    def do_POST(self):
        manifest = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.objects[f"{self.path}/{manifest['metadata']['name']}"] = manifest
        self.on_create(manifest)
        self._answer(manifest, 201)

    def do_DELETE(self):
        gone = self.objects.pop(self.path, None)
        self._answer(gone or {"kind": "Status"}, 200 if gone else 404)

    def _answer(self, body: dict, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def api(tmp_path, monkeypatch):
    """Serve the API on loopback and let the client find it by KUBECONFIG."""
    kr8s = pytest.importorskip("kr8s")
    handler = type("Handler", (Api,), {"objects": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [
            {"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        ],
        "users": [{"name": "me", "user": {}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr(kr8s.Api, "_instances", {})  # it remembers the one of another test
    yield handler
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_kubernetes__a_run_makes_a_cluster_works_on_it_and_deletes_it(api, tmp_path, monkeypatch):
    """The containers' own command lines run here as processes, over TLS."""
    make_certificates(tmp_path / "certs")
    processes = []

    def operator(manifest):
        if manifest["kind"] == "DaskCluster":
            spec = manifest["spec"]
            processes.append(start(spec["scheduler"]["spec"], tmp_path, port="8786"))
            processes.append(start(spec["worker"]["spec"], tmp_path))
            manifest["status"] = {"phase": "Running"}

    monkeypatch.setattr("flows.pods._address", lambda *_: "tls://127.0.0.1:8786")
    api.on_create = staticmethod(operator)
    block = FULL | {"workers": 1, "min_workers": 1, "gpu": {}, "tls": str(tmp_path / "certs")}
    block |= {"memory": "1 GB", "wait": "90 s"}
    try:
        with cluster(Compute.model_validate(block)) as place:
            assert place == "kubernetes x 1"
            assert sorted(m["kind"] for m in api.objects.values()) == [
                "DaskAutoscaler",
                "DaskCluster",
            ]
            assert on_worker(sum, ([1, 2, 3],), timeout_s=60) == 6
            assert asked_by_operator() == 0  # nothing waits
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert api.objects == {}


def start(pod: dict, tmp_path: Path, port: str = "") -> subprocess.Popen:
    """Run a container's arguments with its environment; files of its volume lie elsewhere."""
    (container,) = pod["containers"]
    variables = {e["name"]: e["value"] for e in container["env"]}
    variables |= {"DASK_WORKER_NAME": "w", "PATH": str(Path(sys.executable).parent)}
    words = [w.replace(TLS, str(tmp_path / "certs")) for w in container["args"]]
    words = [variables.get(w[2:-1], w) if w.startswith("$(") else w for w in words]
    if port:
        words += ["--host", "127.0.0.1", "--port", port, "--dashboard-address", "127.0.0.1:8787"]
    else:
        words = [w.replace(":8788", "127.0.0.1:0") for w in words] + ["--host", "127.0.0.1"]
    with (tmp_path / f"{container['name']}.log").open("wb") as log:
        return subprocess.Popen(words, env=os.environ | variables, stdout=log, stderr=log)


def asked_by_operator() -> int:
    """Ask as the operator's autoscaler does; works only with the routes in the manifest."""
    assert "distributed.http.scheduler.api" in ROUTES
    with urllib.request.urlopen("http://127.0.0.1:8787/api/v1/adaptive_target") as answer:
        return json.load(answer)["workers"]


def test_kubernetes__a_cluster_that_never_comes_is_one_line_and_is_deleted(api):
    block = Compute.model_validate(PLAIN | {"wait": "1 s"})
    late = pytest.raises(ConfigError, match=r"is in phase none, no scheduler after 1 s")
    with late as caught, cluster(block):
        pass
    assert "\n" not in str(caught.value)
    assert api.objects == {}
