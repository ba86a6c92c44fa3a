"""Workers as pods of Kubernetes, through the resources of the Dask operator.

The flow process makes a DaskCluster (scheduler and ordinary workers), a DaskWorkerGroup for
workers with a GPU and a DaskAutoscaler between the limits, waits for the scheduler, and deletes
the cluster at the end; the operator deletes what belongs to it. The flow process runs in the
cluster too (a Prefect worker): it reaches the scheduler by the service's name.
"""

import math
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from dask.distributed import Client
from distributed.security import Security
from httpx import HTTPError

from flows.compute import Compute
from flows.worker_settings import SETTINGS
from irrev.errors import ConfigError, MissingExtraError

API = "kubernetes.dask.org/v1"
MEMORY = 4e9  # of a worker, unless the file says otherwise
TLS = "/etc/irrev-tls"  # where pods find the certificates
USER = 10001  # of the image
LOOK_S = 1.0
# the operator asks the scheduler by HTTP, which it can where connections are encrypted
ROUTES = [
    f"distributed.http.{n}" for n in ("scheduler.api", "scheduler.info", "health", "statics")
]


def manifests(compute: Compute, name: str) -> list[dict[str, Any]]:
    """Return the operator's resources of one run, in the order in which to make them."""
    made = [_cluster(compute, name)]
    if compute.gpu.workers:
        made.append(_gpu_group(compute, name))
    if compute.min_workers is not None:
        spec = {"cluster": name, "minimum": compute.min_workers, "maximum": compute.workers}
        made.append(_resource("DaskAutoscaler", name, compute, spec))
    return made


def _cluster(compute: Compute, name: str) -> dict[str, Any]:
    count = compute.workers if compute.min_workers is None else compute.min_workers
    labels = {"dask.org/cluster-name": name, "dask.org/component": "scheduler"}
    ports = {"tcp-comm": 8786, "http-dashboard": 8787}
    spec = {
        "idleTimeout": 3600,  # the operator removes what a killed flow process left behind
        "worker": _workers(compute, name, "CPU", count, compute.memory or MEMORY),
        "scheduler": {
            "spec": _scheduler_pod(compute),
            "service": {
                "type": "ClusterIP",
                "selector": labels,
                "ports": [
                    {"name": n, "protocol": "TCP", "port": p, "targetPort": n}
                    for n, p in ports.items()
                ],
            },
        },
    }
    return _resource("DaskCluster", name, compute, spec)


def _gpu_group(compute: Compute, name: str) -> dict[str, Any]:
    worker = _workers(compute, name, "GPU", compute.gpu.workers, compute.gpu.memory)
    return _resource(
        "DaskWorkerGroup", f"{name}-gpu", compute, {"cluster": name, "worker": worker}
    )


def _resource(kind: str, name: str, compute: Compute, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": API,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": compute.kubernetes.namespace,
            "labels": {"app.kubernetes.io/part-of": "irrev"},
        },
        "spec": spec,
    }


def _scheduler_pod(compute: Compute) -> dict[str, Any]:
    health = {"httpGet": {"port": "http-dashboard", "path": "/health"}}
    container = {
        "name": "scheduler",
        "args": ["dask", "scheduler", *_flags(compute, "scheduler")],
        "resources": _resources(cpu=1, memory=2e9),
        "ports": [
            {"name": "tcp-comm", "containerPort": 8786, "protocol": "TCP"},
            {"name": "http-dashboard", "containerPort": 8787, "protocol": "TCP"},
        ],
        "readinessProbe": health | {"periodSeconds": 5, "timeoutSeconds": 5},
        "livenessProbe": health | {"initialDelaySeconds": 15, "periodSeconds": 20},
    }
    routes = {"name": "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES", "value": str(ROUTES)}
    return _pod(compute, container, routes)


def _workers(
    compute: Compute, name: str, resource: str, count: int, memory: float
) -> dict[str, Any]:
    # the operator names both variables; the address it would fill in is always tcp
    arguments = ["dask", "worker", "$(DASK_SCHEDULER_ADDRESS)", "--name", "$(DASK_WORKER_NAME)"]
    arguments += ["--nthreads", "1", "--resources", f"{resource}=1", "--no-dashboard"]
    arguments += ["--dashboard-address", ":8788", "--memory-limit", str(int(memory))]
    arguments += ["--death-timeout", "120", *_flags(compute, "worker")]
    gpus = 1 if resource == "GPU" else 0
    container = {
        "name": "worker",
        "args": arguments,
        "resources": _resources(cpu=1, memory=1.1 * memory, gpus=gpus),
        "ports": [{"name": "http-dashboard", "containerPort": 8788, "protocol": "TCP"}],
        "livenessProbe": {
            "httpGet": {"port": "http-dashboard", "path": "/health"},
            "initialDelaySeconds": 60,
            "periodSeconds": 30,
            "timeoutSeconds": 10,
            "failureThreshold": 10,  # a worker in a long computation answers late
        },
    }
    address = {"name": "DASK_SCHEDULER_ADDRESS", "value": _address(compute, name)}
    pod = _pod(compute, container, address)
    if gpus:
        pod["tolerations"] = [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        ]
    return {"replicas": count, "spec": pod}


def _pod(
    compute: Compute, container: dict[str, Any], *variables: dict[str, str]
) -> dict[str, Any]:
    """Complete a pod around its container: image, secrets, certificates, no privileges."""
    block = compute.kubernetes
    environment = [*({"name": k, "value": v} for k, v in SETTINGS.items()), *variables]
    container = container | {
        "image": block.image,
        "env": environment,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod: dict[str, Any] = {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "automountServiceAccountToken": False,  # workers have no business with the cluster
    }
    if block.credentials:
        container["envFrom"] = [{"secretRef": {"name": block.credentials}}]
    if compute.tls:
        container["volumeMounts"] = [{"name": "tls", "mountPath": TLS, "readOnly": True}]
        secret = {"secretName": block.certificates, "defaultMode": 0o440}
        pod["volumes"] = [{"name": "tls", "secret": secret}]
    if block.service_account:
        pod["serviceAccountName"] = block.service_account
    if block.node_selector:
        pod["nodeSelector"] = dict(block.node_selector)
    return pod | {"containers": [container]}


def _address(compute: Compute, name: str) -> str:
    scheme = "tls" if compute.tls else "tcp"
    return f"{scheme}://{name}-scheduler.{compute.kubernetes.namespace}.svc:8786"


def _flags(compute: Compute, role: str) -> list[str]:
    if not compute.tls:
        return []
    flags = ["--protocol", "tls", "--tls-ca-file", f"{TLS}/ca.pem"]
    return [*flags, "--tls-cert", f"{TLS}/{role}.pem", "--tls-key", f"{TLS}/{role}.key"]


def _resources(*, cpu: int, memory: float, gpus: int = 0) -> dict[str, dict[str, str]]:
    amounts = {"cpu": str(cpu), "memory": f"{math.ceil(memory / 2**20)}Mi"}
    if gpus:
        amounts["nvidia.com/gpu"] = str(gpus)
    return {"requests": amounts, "limits": dict(amounts)}


@contextmanager
def kubernetes_client(compute: Compute, tls: Security | None) -> Iterator[Client]:
    """Make a Dask cluster of pods, join it, and delete it at the end.

    Raises
    ------
    ConfigError
        If the operator does not bring a scheduler up within `compute.wait`.
    MissingExtraError
        If dask-kubernetes is not installed.
    """
    kr8s = _api()
    name = f"irrev-{secrets.token_hex(4)}"
    made: list[Any] = []
    try:
        try:
            for manifest in manifests(compute, name):
                kind = kr8s.objects.new_class(manifest["kind"], API, namespaced=True)
                resource = kind(manifest)
                resource.create()
                made.append(resource)
            address = _scheduler_address(made[0], compute, name)
            client = Client(address, security=tls, timeout=f"{compute.wait:.0f}s")
        except (OSError, ValueError, HTTPError, kr8s.ServerError, kr8s.APITimeoutError) as error:
            raise ConfigError(
                f"compute.kubernetes: no scheduler in the cluster: {_brief(error)}; is the Dask "
                "operator installed, may this account make DaskClusters, and does this process "
                "run in the cluster?"
            ) from None
        with client:
            yield client
    finally:
        for resource in reversed(made):
            with suppress(kr8s.NotFoundError):
                resource.delete()


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _api() -> Any:
    try:
        return import_module("kr8s")
    except ImportError:
        raise MissingExtraError(
            "profile kubernetes needs kr8s; install the extra `kubernetes`: "
            "pip install -e '.[run,kubernetes]'."
        ) from None


def _scheduler_address(cluster: Any, compute: Compute, name: str) -> str:
    """Wait until the operator says that the scheduler runs; return its service's address."""
    deadline = time.monotonic() + compute.wait
    while True:
        cluster.refresh()
        phase = cluster.raw.get("status", {}).get("phase", "none")
        if phase == "Running":
            return _address(compute, name)
        if phase == "Error" or time.monotonic() > deadline:
            raise ConfigError(
                f"compute.kubernetes: cluster {name} is in phase {phase}, no scheduler after "
                f"{compute.wait:.0f} s at most; look at `kubectl -n "
                f"{compute.kubernetes.namespace} describe daskcluster {name}`."
            )
        time.sleep(LOOK_S)
