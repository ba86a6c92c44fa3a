"""The process of `up` that holds a Dask scheduler and its workers until it is ended.

    python -m flows.workers COMPUTE READY

COMPUTE is the block `compute` as JSON; READY is the file that says where the scheduler is.
"""

import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from threading import Event

from dask.distributed import Client

from flows.agreement import fingerprint
from flows.certs import security
from flows.compute import Compute
from flows.runners import local_cluster
from flows.standing import certificates
from storage.manifest import source_digest

# what a first shard would import; torch is left out: not every run needs it
READY_MODULES = ("tasks.ingest", "tasks.entropy_production", "tasks.witness", "tasks.alignment")


def main(compute: str, ready: str) -> None:
    """Serve until SIGTERM."""
    ended = Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    tls = security(certificates())
    cluster = local_cluster(Compute.model_validate_json(compute), tls)
    with cluster, Client(cluster, security=tls) as client:
        client.run(fingerprint)  # workers note their code before they load it
        client.run(warm_up)
        state = {
            "address": cluster.scheduler_address,
            "dashboard": cluster.dashboard_link,
            "workers": len(cluster.workers),
            "code": source_digest(),
        }
        part = Path(f"{ready}.{os.getpid()}")
        part.write_text(json.dumps(state), encoding="utf-8")
        part.replace(ready)
        ended.wait()


def warm_up() -> None:
    """Import what most work needs."""
    for name in READY_MODULES:
        import_module(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
