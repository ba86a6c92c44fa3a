"""Whether workers run the same code and packages as the process that hands out the work.

Others would give other numbers. What differs is found when a run starts, or when a worker joins.
"""

import logging
import sys
from collections.abc import Mapping

from dask.distributed import Worker, WorkerPlugin

import irrev
from storage.manifest import package_versions, source_digest

# packages that decide numbers, or how they are stored and sent
DECISIVE = (
    "numpy",
    "scipy",
    "xarray",
    "zarr",
    "icechunk",
    "numba",
    "scikit-learn",
    "torch",
    "POT",
    "transformers",
    "polars",
    "dask",
    "distributed",
    "cloudpickle",
)
log = logging.getLogger(__name__)


def fingerprint() -> dict[str, str]:
    """Say what decides the numbers of this process: its code, Python and packages."""
    python = ".".join(map(str, sys.version_info[:2]))
    found = {"irrev": f"{irrev.__version__} ({source_digest()[:10]})", "python": python}
    # a build for another device (+cpu, +cu126) is the same release
    return found | {n: v.partition("+")[0] for n, v in package_versions(DECISIVE).items()}


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """List what a worker lacks or has in another version; what only it has does no harm."""
    return [
        f"{name} {there.get(name, 'missing')} instead of {value}"
        for name, value in here.items()
        if there.get(name) != value
    ]


class SameCode(WorkerPlugin):
    """Turn away a worker that joins with other code than the process that hands out the work."""

    def __init__(self, expected: Mapping[str, str]) -> None:
        self.expected = dict(expected)

    def setup(self, worker: Worker) -> None:
        """Close a worker that differs before it gets any work; its log says why."""
        if found := differences(self.expected, fingerprint()):
            reason = f"this worker has {', '.join(found)}"
            log.error("%s; install the same versions and start it again", reason)
            worker.loop.add_callback(worker.close, reason=reason)
