"""Trajectories stored as arrays: NPY, NPZ and HDF5; see `irrev.readers.tracks` for the layouts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irrev.errors import MissingExtraError
from irrev.readers.arrays import read_npy, read_npz
from irrev.readers.raw import Findings

AXES = ("x", "y", "z")
DEPTH = 4  # groups inside groups that are looked into


@dataclass(slots=True)
class RawTracks:
    """Points as a file has them."""

    position: NDArray[np.float64]  # (point, component)
    frame: NDArray[np.float64]  # (point,)
    particle: NDArray[np.object_]  # (point,) text
    group: NDArray[np.object_]  # (point,) text
    names: list[str]  # (component,)
    dt: float | None = None  # s, where the file says so


def read_arrays(path: Path, suffix: str, findings: Findings) -> RawTracks:
    """Read trajectories from an NPY, NPZ or HDF5 file.

    Raises
    ------
    FormatError
        If the file is damaged, reaches out of itself, or holds no trajectories.
    """
    if suffix in (".h5", ".hdf5"):
        found = _load_hdf5(path)
    elif suffix == ".npy":
        cube = read_npy(path)
        found = {"x": np.atleast_2d(cube)[None] if cube.ndim == 2 else cube}
    else:
        found = read_npz(path)
    arrays = {name: a for name, a in found.items() if a.dtype.kind in "fiub"}
    dt = float(arrays.pop("dt").item()) if np.size(arrays.get("dt", [0, 0])) == 1 else None
    if "position" in arrays and "trajectory_index" in arrays:
        return _ragged(arrays, findings, dt)
    cubes = [a for a in arrays.values() if a.ndim == 3]
    if len(cubes) == 1:
        return _cube(cubes[0], dt)
    flat = {name: a for name, a in arrays.items() if a.ndim == 2}
    if flat and not cubes:
        return _listed(flat, findings, dt)
    raise findings.error(
        f"arrays {[(n, a.shape) for n, a in arrays.items()]} are no trajectories",
        "store (trajectory, time, component), or position with trajectory_index",
    )


def _load_hdf5(path: Path) -> dict[str, NDArray[Any]]:
    """Read every numeric data set; names of those in groups are paths."""
    try:
        from irrev.readers import hdf5
    except ImportError:
        raise MissingExtraError("HDF5 files need h5py: pip install 'irrev[spikes]'.") from None
    with hdf5.open_hdf5(path) as file:
        out: dict[str, NDArray[Any]] = {}
        names = [(name, 1) for name in hdf5.members(file)]
        while names:
            name, depth = names.pop(0)
            if (group := hdf5.subgroup(file, name)) is not None:
                inner = hdf5.members(group) if depth < DEPTH else []
                names += [(f"{name}/{member}", depth + 1) for member in inner]
            elif (values := hdf5.numbers(file, name)) is not None:
                out[name] = values
        if "dt" in list(file.attrs):
            out["dt"] = np.asarray(file.attrs["dt"])
    return out


def _ragged(arrays: dict[str, NDArray[Any]], findings: Findings, dt: float | None) -> RawTracks:
    position = np.asarray(arrays["position"], dtype=np.float64)
    position = position[:, None] if position.ndim == 1 else position
    ends = np.asarray(arrays["trajectory_index"]).astype(np.int64).ravel()
    lengths = np.diff(ends, prepend=0)
    if not len(ends) or (lengths < 0).any() or ends[-1] != len(position):
        raise findings.error(
            f"trajectory_index ends at {ends[-1] if len(ends) else 0} of {len(position)} points",
            "store ascending end offsets",
        )
    count = np.concatenate([np.arange(n) for n in lengths])
    frame = np.asarray(arrays.get("frame", count), dtype=np.float64).ravel()
    owner = np.repeat(np.arange(len(ends)), lengths).astype(str).astype(object)
    return _points(position, frame, owner, dt)


def _cube(x: NDArray[Any], dt: float | None) -> RawTracks:
    n, times, dim = x.shape
    owner = np.repeat(np.arange(n), times).astype(str).astype(object)
    frame = np.tile(np.arange(times, dtype=np.float64), n)
    return _points(np.asarray(x, dtype=np.float64).reshape(-1, dim), frame, owner, dt)


def _listed(arrays: dict[str, NDArray[Any]], findings: Findings, dt: float | None) -> RawTracks:
    widths = {a.shape[1] for a in arrays.values()}
    if len(widths) > 1:
        raise findings.error(f"trajectories have {sorted(widths)} components", "store one number")
    lengths = [len(a) for a in arrays.values()]
    owner = np.repeat(np.array(list(arrays), dtype=object), lengths)
    frame = np.concatenate([np.arange(n, dtype=np.float64) for n in lengths])
    return _points(np.concatenate(list(arrays.values())).astype(np.float64), frame, owner, dt)


def _points(
    x: NDArray[np.float64], frame: NDArray[np.float64], owner: NDArray[Any], dt: float | None
) -> RawTracks:
    names = [AXES[j] if x.shape[1] <= 3 else f"x{j}" for j in range(x.shape[1])]
    return RawTracks(x, frame, owner, np.full(len(x), "all", dtype=object), names, dt)
