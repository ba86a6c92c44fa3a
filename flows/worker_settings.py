"""What every worker process starts with: variables of its environment, and Dask's watching.

One BLAS thread a worker: as many work side by side as there are cores. The allocator of glibc
reads the others as a process begins. Dask starts workers with a trim threshold of 64 KiB, which
also switches off the growth of the threshold above which an array gets pages of its own: every
array above 128 KiB is then mapped, zeroed page by page and given back, which took most of the time
of work in short steps. These are the values that glibc grows to by itself (arrays above 32 MiB go
back to the system at once, the rest when 64 MiB are free at the end), in one arena: with one a
thread, memory freed in the middle of it stays with the worker.

Dask watches itself: 100 times a second it writes down what a worker does, 50 times whether its
loop is late, 10 times how much memory it has. Where every core has a worker, that is taken from
the work: 2.7 % of a core for each worker and 3.2 % for the process with the scheduler and two
nannies, measured without any work; 0.4 and 1.0 % with the values below.
"""

import os

import dask.config

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
}
WATCHING = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "500ms",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "2s",
    "DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL": "500ms",
}
SETTINGS = THREADS | ALLOCATOR | WATCHING


def use_settings() -> None:
    """Let workers of this process start with them; the user's own values come first."""
    watching = {name: value for name, value in WATCHING.items() if name not in os.environ}
    dask.config.update_defaults(dask.config.collect_env(watching))  # a scheduler of this process
    dask.config.update_defaults({"distributed": {"nanny": {"pre-spawn-environ": SETTINGS}}})
