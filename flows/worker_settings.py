"""Variables of the environment in which every worker process starts.

One BLAS thread a worker: as many work side by side as there are cores. The allocator of glibc
reads the others as a process begins. Dask starts workers with a trim threshold of 64 KiB, which
also switches off the growth of the threshold above which an array gets pages of its own: every
array above 128 KiB is then mapped, zeroed page by page and given back, which took most of the time
of work in short steps. These are the values that glibc grows to by itself (arrays above 32 MiB go
back to the system at once, the rest when 64 MiB are free at the end), in one arena: with one a
thread, memory freed in the middle of it stays with the worker.
"""

import dask.config

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
}
SETTINGS = THREADS | ALLOCATOR


def use_settings() -> None:
    """Let workers of this process start with them; the user's own values come first."""
    dask.config.update_defaults({"distributed": {"nanny": {"pre-spawn-environ": SETTINGS}}})
