"""Schedules of prefect.yaml -> a Prefect server, with the work pools they need."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from flows.server import home
from flows.standing import find_server, healthy
from irrev.errors import ConfigError, IrrevError

ROOT = Path(__file__).parents[1]
POOLS = {"local": "process", "docker": "docker", "kubernetes": "kubernetes"}  # name -> kind
LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Deployed:
    """One deployment as it was made."""

    name: str  # flow/deployment
    schedule: str
    config: str


def deploy(pool: str, config: str, flows: Collection[str]) -> list[Deployed]:
    """Make the deployments of these flows in a pool, and the pool; present ones are updated.

    Raises
    ------
    ConfigError
        If no such pool is in prefect.yaml, no server is there, or an image is not named.
    """
    text = (ROOT / "prefect.yaml").read_text(encoding="utf-8")
    whole = yaml.safe_load(text)
    chosen = [d for d in whole["deployments"] if d["work_pool"]["name"] == pool]
    chosen = [d for d in chosen if _flow(d) in flows]
    if not chosen:
        known = sorted({d["work_pool"]["name"] for d in whole["deployments"]})
        raise ConfigError(
            f"--pool: prefect.yaml has nothing to deploy to {pool}; its pools: {', '.join(known)}."
        )
    if "$IRREV_IMAGE" in str(chosen) and not os.environ.get("IRREV_IMAGE"):
        raise ConfigError(f"--pool: {pool} runs an image; set IRREV_IMAGE to its name.")
    url = _server()
    os.environ |= {"PREFECT_API_URL": url, "PREFECT_HOME": str(home())}
    asyncio.run(_make_pool(pool, POOLS.get(pool, "process")))
    for one in chosen:
        one["parameters"] = {**one.get("parameters", {}), "config": config}
    _hand_over({"name": whole["name"], "deployments": chosen})
    return [_deployed(one) for one in chosen]


def _server() -> str:
    if url := os.environ.get("PREFECT_API_URL"):
        if not healthy(f"{url}/health"):
            raise ConfigError(f"PREFECT_API_URL: no server answers at {url}.")
        return url
    standing = find_server()
    if standing is None:
        raise ConfigError(
            "no Prefect server: start one by `python -m flows up`, or set PREFECT_API_URL."
        )
    return standing.url


async def _make_pool(name: str, kind: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.utilities import (
        get_default_base_job_template_for_infrastructure_type as template_of,
    )

    async with get_client() as client:
        try:
            await client.read_work_pool(name)
        except ObjectNotFound:
            template = await template_of(kind) or {}
            if kind == "kubernetes":
                complete_pod(template)
            await client.create_work_pool(
                WorkPoolCreate(name=name, type=kind, base_job_template=template)
            )


def complete_pod(template: dict[str, Any]) -> None:
    """Give the pods of runs their secrets, configuration and limits of privilege."""
    ours = yaml.safe_load((ROOT / "deploy/kubernetes/run.yaml").read_text(encoding="utf-8"))
    job = template["job_configuration"]["job_manifest"]["spec"]
    pod = job["template"]["spec"]
    for key in ("completions", "parallelism"):  # of the job: in a pod they mean nothing
        if key in pod:
            job[key] = pod.pop(key)
    pod.update(ours["pod"])
    pod["containers"][0].update(ours["container"])


def _hand_over(content: dict[str, Any]) -> None:
    """Let Prefect's own command read the file: all its keys work as its manual says."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "prefect.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
        command += ["--prefect-file", str(path)]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise IrrevError("prefect deploy failed: " + " ".join(lines[-3:]))


def _deployed(one: dict[str, Any]) -> Deployed:
    schedule = ", ".join(f"{s['cron']} {s.get('timezone', 'UTC')}" for s in one["schedules"])
    return Deployed(f"{_flow(one)}/{one['name']}", schedule, one["parameters"]["config"])


def _flow(one: dict[str, Any]) -> str:
    return one["entrypoint"].rpartition(":")[2]
