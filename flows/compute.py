"""The block `compute` of pipeline.yaml: where work runs, with which workers, how connected."""

import re
from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from flows.model import BlockError, Model
from flows.quantities import Bytes, Seconds

Profile = Literal["threads", "local", "address", "slurm", "pbs", "kubernetes"]
QUEUES = ("slurm", "pbs")
ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"  # a name in Kubernetes


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _one_line(text: str) -> str:
    if "\n" in text or "\r" in text:
        raise ValueError("one line was expected; write a list with one entry a line")
    return text


Line = Annotated[str, AfterValidator(_one_line)]


class Gpu(Model):
    """Workers with one GPU each, beside the ordinary ones (slurm, pbs, kubernetes)."""

    workers: int = Field(default=0, ge=0, description="most workers with a GPU")
    min_workers: int | None = Field(
        default=None, ge=0, description="fewest kept while a run lasts; null: all of them"
    )
    memory: Bytes = Field(default=16e9, gt=0, description="memory of one worker")
    walltime: Seconds | None = Field(default=None, gt=0, description="null: that of the queue")
    queue: Line | None = Field(default=None, description="null: that of the queue")


class Queue(Model):
    """Jobs of the profiles slurm and pbs; each job is one worker."""

    name: Line | None = Field(default=None, description="partition or queue; null: the site's")
    account: Line | None = Field(default=None, description="account that is charged")
    walltime: Seconds = Field(default=3600.0, gt=0, description="time limit of one job")
    interface: Line | None = Field(
        default=None, description="network between nodes, such as ib0; null: the host's"
    )
    directives: list[Line] = Field(default=[], description="further lines of the job's head")
    setup: list[Line] = Field(default=[], description="shell lines before the worker starts")
    python: Line | None = Field(default=None, description="Python of the nodes; null: this one")
    scratch: Line | None = Field(default=None, description="node-local folder for spilled data")
    logs: Line | None = Field(default=None, description="folder of the jobs' output")


class Kubernetes(Model):
    """Pods of the profile kubernetes, started by the Dask operator."""

    image: str | None = Field(default=None, description="image built from the Dockerfile")
    namespace: str = Field(default="irrev", pattern=LABEL, description="where pods run")
    credentials: str | None = Field(
        default=None, pattern=LABEL, description="Secret put into the workers' environment"
    )
    certificates: str | None = Field(
        default=None, pattern=LABEL, description="Secret that holds the files of compute.tls"
    )
    service_account: str | None = Field(
        default=None, pattern=LABEL, description="account of the pods"
    )
    node_selector: dict[str, str] = Field(default={}, description="labels that nodes must have")


class Compute(Model):
    """Where work runs."""

    profile: Profile = Field(
        default="local",
        description="threads, local processes, a scheduler's address, or jobs of a cluster",
    )
    workers: int = Field(default=2, ge=1, description="most worker processes or threads")
    min_workers: int | None = Field(
        default=None,
        ge=0,
        description="fewest kept while a run lasts (slurm, pbs, kubernetes); null: all of them",
    )
    memory: Bytes | None = Field(
        default=None, gt=0, description="memory of one worker; null: a share, or 4 GB in a job"
    )
    address: str | None = Field(default=None, description="scheduler of the profile `address`")
    tls: str | None = Field(
        default=None, description="folder made by `python -m flows certs`; null: none"
    )
    insecure: bool = Field(
        default=False, description="allow plain TCP to other machines: anyone may run code there"
    )
    timeout: Seconds = Field(default=21600.0, gt=0, description="longest wait for one shard")
    wait: Seconds = Field(
        default=3600.0, gt=0, description="longest wait for a first worker of a cluster"
    )
    device: Literal["auto", "cuda", "cpu"] = Field(
        default="auto", description="device of the model-based steps only"
    )
    gpu: Gpu = Gpu()
    queue: Queue = Queue()
    kubernetes: Kubernetes = Kubernetes()

    @model_validator(mode="after")
    def _check(self) -> "Compute":
        for name, group in (("", self), ("gpu.", self.gpu)):
            if group.min_workers is not None and group.min_workers > group.workers:
                raise BlockError(
                    f"{name}min_workers",
                    f"{group.min_workers} is more than {name}workers = {group.workers}; lower "
                    "one or raise the other",
                )
        if self.profile == "address":
            _check_address(self)
        if self.profile == "kubernetes":
            _check_kubernetes(self)
        return self


def _check_address(compute: Compute) -> None:
    if not compute.address:
        raise BlockError("address", "write the scheduler's tls://host:port or tcp://host:port")
    form = ADDRESS.fullmatch(compute.address)
    if not form:
        raise BlockError("address", f"{compute.address} is not of the form tls://host:port")
    scheme, host = form[1], form[2].strip("[]")
    if scheme == "tls" and not compute.tls:
        raise BlockError("tls", "tls:// needs the folder that `python -m flows certs` made")
    if scheme == "tcp" and not (is_loopback(host) or compute.insecure):
        raise BlockError(
            "address",
            f"{compute.address} is plain TCP to another machine, where anyone who "
            "reaches the port can run code; use tls:// (python -m flows certs), or say "
            "insecure: true",
        )


def _check_kubernetes(compute: Compute) -> None:
    if not compute.kubernetes.image:
        raise BlockError("kubernetes.image", "name the image that was built from the Dockerfile")
    if not (compute.insecure or (compute.tls and compute.kubernetes.certificates)):
        raise BlockError(
            "tls",
            "pods are reached over the cluster's network; name the folder that "
            "`python -m flows certs` made and kubernetes.certificates, or say insecure: true",
        )
