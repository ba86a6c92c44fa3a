"""A measuring step with faults on order, and a record of every call; runs on workers too.

Orders lie beside the store: `orders.json` holds shard seed -> fault; each call adds a line to
`calls.log`, so that a test can count what was computed, how often and when.

As a program it runs the flow over the pipeline file given, with these faults.
"""

import hashlib
import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from tasks.entropy_production import measure_maxent as real

RUN_SEED = 3  # of the pipeline files of tests


def seed_of(shard):
    """The seed by which a shard is recognised where it is measured."""
    digest = hashlib.sha256(f"{RUN_SEED}:maxent:{shard}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def order(config, **faults):
    """Order faults: shard -> die | hang | fail | slow."""
    orders = {str(seed_of(shard)): fault for shard, fault in faults.items()}
    (config.parent / "orders.json").write_text(json.dumps(orders))


def calls(config):
    """Number of calls by shard seed."""
    log = config.parent / "calls.log"
    return Counter(log.read_text().split()) if log.exists() else Counter()


def measure(ref, at, group, config, seed):
    folder = Path(ref.url).parent
    with (folder / "calls.log").open("a") as log:
        log.write(f"{seed}\n")
    orders = folder / "orders.json"
    fault = json.loads(orders.read_text()).get(str(seed)) if orders.exists() else None
    if fault == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "hang":
        time.sleep(3600)
    if fault == "fail":
        raise TypeError("on order")
    if fault == "slow":
        time.sleep(1)
    return real(ref, at, group, config, seed)


if __name__ == "__main__":
    from tasks import entropy_production
    from tests.flows import faulty

    entropy_production.measure_maxent = faulty.measure  # by a name that workers can import
    from flows.spikes import spikes

    done = spikes(sys.argv[1])
    print(done.done, done.failed, done.quarantined, flush=True)
