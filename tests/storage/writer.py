"""A writer in a process of its own: commits tables and says so, line by line.

usage: writer.py URL NAME NUMBER [pending]
"""

import sys

import numpy as np
import xarray as xr

from storage.pending import Pending
from storage.repository import Repository, StoreRef


def main(url, name, number, kind="commit"):
    repo = Repository.open(StoreRef(url), create=True)
    print("open", flush=True)
    for i in range(int(number)):
        ds = xr.Dataset({"v": ("shard", np.full(1000, float(i)))}, attrs={"i": i})
        if kind == "pending":
            Pending(repo).put({f"{name}-{i}": {"data": ds}})
            print(f"{name}-{i}", flush=True)
        else:
            print(
                repo.commit({f"results/{name}/m{i}": ds}, message=name, metadata={"i": i}),
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
