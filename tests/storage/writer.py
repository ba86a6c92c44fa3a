"""Writers in processes of their own: commit tables and say so, line by line.

usage: writer.py URL NAMES NUMBER KIND

One process for each of NAMES (joined by commas), NUMBER commits each; KIND is `commit` or
`pending`. The first line of each process is `open`.
"""

import os
import sys

import numpy as np
import xarray as xr

from storage.pending import Pending
from storage.repository import Repository, StoreRef


def write(url, name, number, kind):
    repo = Repository.open(StoreRef(url), create=True)
    print("open", flush=True)
    for i in range(number):
        ds = xr.Dataset({"v": ("shard", np.full(1000, float(i)))}, attrs={"i": i})
        if kind == "pending":
            Pending(repo).put({f"{name}-{i}": {"data": ds}})
            print(f"{name}-{i}", flush=True)
        else:
            group = f"results/{name}/m{i}"
            print(repo.commit({group: ds}, message=name, metadata={"i": i}), flush=True)


def main(url, names, number, kind):
    """Fork before Icechunk starts its threads: the imports cost more than the commits."""
    *others, last = names.split(",")
    children = []
    for name in others:
        child = os.fork()
        if child == 0:
            write(url, name, int(number), kind)
            os._exit(0)
        children.append(child)
    write(url, last, int(number), kind)
    sys.exit(any(os.waitpid(child, 0)[1] for child in children))


if __name__ == "__main__":
    main(*sys.argv[1:])
