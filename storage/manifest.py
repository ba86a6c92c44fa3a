"""What makes a version repeatable: inputs' hashes, parameters, code, packages, seed, machine."""

import hashlib
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import irrev
from storage.lookup import canonical_json
from storage.versions import JSON

ROOT = Path(__file__).parents[1]
PACKAGES = ("numpy", "scipy", "xarray", "zarr", "icechunk", "torch")
LISTED = 200  # longer lists are given by number and hash: the store holds every item anyway
GIT_TIMEOUT_S = 10.0
CODE = ("irrev", "storage", "tasks", "flows")  # packages whose source decides what is computed


def code_version() -> str:
    """Give the package's version and, in a checkout, the commit: `0.1.0+g1a2b3c4-dirty`."""
    if not (ROOT / ".git").exists():
        return irrev.__version__
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):  # no git, or a checkout of somebody else
        return irrev.__version__
    return f"{irrev.__version__}+g{done.stdout.strip()}"


@cache
def source_digest() -> str:
    """Hash the source files as they were when this process first asked (about 20 ms).

    Two processes with the same digest run the same code, committed or not.
    """
    digest = hashlib.sha256()
    for package in CODE:
        for path in sorted((ROOT / package).rglob("*.py")):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(ROOT).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def package_versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Give the installed version of each package; absent ones are left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def run_metadata(
    *,
    run_id: str,
    flow: str,
    config: JSON,
    code_version: str,
    inputs: Mapping[str, str],
    counts: Mapping[str, int],
    quarantined: Mapping[str, str],
    seed: int,
    host_class: str,
    started: str,
    finished: str,
    packages: Mapping[str, str] | None = None,
) -> dict[str, JSON]:
    """Compose the metadata of a run's commit.

    Parameters
    ----------
    run_id, flow
        Which run of what.
    config
        The configuration, without secrets.
    code_version
        As `code_version()` gives it.
    inputs
        Item -> SHA-256.
    counts
        Number of results by outcome.
    quarantined
        Item or shard -> reason.
    seed
        The run's seed.
    host_class
        Kind of machine and of place where the work ran.
    started, finished
        ISO times, UTC.
    packages
        Package -> version; those of this process by default.
    """
    return {
        "run_id": run_id,
        "flow": flow,
        "config": config,
        "config_hash": _digest(config),
        "code_version": code_version,
        "inputs": _bounded(inputs),
        "counts": dict(counts),
        "quarantined": _bounded(quarantined),
        "seed": seed,
        "host_class": host_class,
        "started": started,
        "finished": finished,
        "packages": dict(package_versions() if packages is None else packages),
    }


def _digest(value: JSON) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _bounded(table: Mapping[str, str]) -> dict[str, JSON]:
    """Give a table, or its length and hash when it is long."""
    if len(table) <= LISTED:
        return dict(table)
    return {"number": len(table), "sha256": _digest(table)}
