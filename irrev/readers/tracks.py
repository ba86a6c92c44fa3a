"""Trajectories: tables of tracks, ragged ensembles, arrays.

    CSV, TSV, TXT (also .gz)   one row a point; columns frame, particle, x, y, z (trackpy's names)
    NPY                        array (trajectory, time, component)
    NPZ, HDF5                  `position` (point, component), `trajectory_index` (end offsets) and
                               `frame`; or one array (trajectory, time, component); or one
                               two-dimensional array a trajectory

Tables of tracks come from one film: their trajectories share a clock. Arrays and ensembles are
taken as independent runs unless `clock` says otherwise. In memory: `from_trackpy`, `from_pylake`.
A row without a coordinate is skipped and its frame stays empty.
"""

import csv
import gzip
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev import schema
from irrev.errors import FormatError, InputError
from irrev.readers import OnError
from irrev.readers.raw import Findings
from irrev.readers.track_arrays import AXES, RawTracks, read_arrays

VERSION = 1
Clock = Literal["common", "own"]
TABLES = (".csv", ".tsv", ".txt")
NAMES = {
    "frame": ("frame", "frames", "t", "frame_number", "POSITION_T"),
    "particle": ("particle", "track", "track_id", "TRACK_ID", "trajectory", "id"),
}
SHORT = 3  # tracks with fewer points have no two steps


def open_tracks(
    path: Path,
    *,
    on_error: OnError = "quarantine",
    dt: float | None = None,
    frame_rate: float | None = None,
    columns: str | None = None,
    group: str | None = None,
    unit: str = "",
    clock: Clock | None = None,
) -> xr.Dataset:
    """Read trajectories from a file.

    Parameters
    ----------
    path
        CSV, TSV, TXT (plain or .gz), NPY, NPZ or HDF5 file.
    on_error
        `quarantine` mends and lists faults; `stop` raises at the first.
    dt, frame_rate
        Time between frames, s, or frames per second; one of them where the file does not say.
    columns
        Names of the columns of a table without header, separated by spaces or commas; `_` skips
        one.
    group
        Column whose values are conditions.
    unit
        Unit of positions; default from the column names (x_um), else none.
    clock
        "common" if all trajectories were seen at the same time, "own" if not.

    Returns
    -------
        Dataset of kind "trajectories".

    Raises
    ------
    FormatError
        If columns or arrays are missing or nothing usable is left.
    InputError
        If the time between frames is not known.
    MissingExtraError
        If HDF5 needs a library that is not installed.
    """
    findings = Findings(path.name, on_error == "stop")
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix in TABLES:
        table = _read_table(path, findings, columns, group)
        default: Clock = "common"
    elif suffix in (".npy", ".npz", ".h5", ".hdf5"):
        table = read_arrays(path, suffix, findings)
        default = "own"
    else:
        raise findings.error(
            f"{suffix or 'no suffix'} is not a format of trajectories",
            "give CSV, TSV, TXT, NPY, NPZ or HDF5",
        )
    step = _interval(dt, frame_rate, table, path)
    return _dataset(table, step, findings, unit, clock or default)


def from_trackpy(table: Any, *, frame_rate: float, unit: str = "", **columns: str) -> xr.Dataset:
    """Take tracks from a trackpy table (a data frame with particle, frame, x, y).

    Parameters
    ----------
    table
        Anything whose columns are `table[name]`, numeric and equally long.
    frame_rate
        Frames per second.
    unit
        Unit of positions.
    **columns
        Other names, as in `frame="t"`; a name for `x`, `y` or `z` too.

    Examples
    --------
    >>> one = {"particle": [0, 0, 0], "frame": [0, 1, 2], "x": [0.0, 1.0, 2.0], "y": [0.0] * 3}
    >>> from_trackpy(one, frame_rate=10.0).sizes["point"]
    3
    """
    names = {"particle": "particle", "frame": "frame", **{c: c for c in AXES}} | columns
    have = [c for c in AXES if names[c] in table]
    raw = RawTracks(
        np.stack([np.asarray(table[names[c]], dtype=np.float64) for c in have], axis=1),
        np.asarray(table[names["frame"]], dtype=np.float64),
        np.asarray(table[names["particle"]]).astype(str).astype(object),
        np.full(len(table[names["frame"]]), "all", dtype=object),
        list(have),
    )
    return _dataset(raw, 1.0 / frame_rate, Findings("table", False), unit, "common")


def from_pylake(tracks: Iterable[Any], *, unit: str = "um") -> xr.Dataset:
    """Take tracks from a pylake group of kymograph tracks: line positions against time.

    Parameters
    ----------
    tracks
        Tracks with `time_idx` (scan lines), `position` and `seconds`.
    unit
        Unit of positions.

    Raises
    ------
    InputError
        If no track has two points.
    """
    kept = [t for t in tracks if len(t.time_idx) > 1]
    if not kept:
        raise InputError("no track has two points; give the group of refined tracks.")
    first = kept[0]
    lines = np.asarray(first.time_idx, dtype=np.float64)
    seconds = np.asarray(first.seconds, dtype=np.float64)
    dt = float((seconds[-1] - seconds[0]) / (lines[-1] - lines[0]))
    ids = [np.full(len(t.time_idx), str(i), dtype=object) for i, t in enumerate(kept)]
    raw = RawTracks(
        np.concatenate([np.asarray(t.position, dtype=np.float64) for t in kept])[:, None],
        np.concatenate([np.asarray(t.time_idx, dtype=np.float64) for t in kept]),
        np.concatenate(ids),
        np.full(sum(map(len, ids)), "all", dtype=object),
        ["x"],
    )
    return _dataset(raw, dt, Findings("kymograph", False), unit, "common")


def split_groups(ds: xr.Dataset, **options: Any) -> dict[str, Any]:
    """Split trajectories by their group: condition -> names of its groups."""
    names = sorted(set(map(str, ds["group"].to_numpy())))
    return {name: [name] for name in names} if len(names) > 1 else {"all": names}


def _interval(dt: float | None, frame_rate: float | None, table: RawTracks, path: Path) -> float:
    if dt is not None and frame_rate is not None:
        raise InputError("dt and frame_rate are both given; give one.")
    step = 1.0 / frame_rate if frame_rate else dt if dt is not None else table.dt
    if step is None or not step > 0:
        raise InputError(f"{path.name} does not say how far frames are apart; give dt in s.")
    return float(step)


# --- tables -----------------------------------------------------------------------------------


def _read_table(
    path: Path, findings: Findings, columns: str | None, group: str | None
) -> RawTracks:
    opener = gzip.open if path.name.endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as stream:
            head = stream.readline()
            delimiter = "\t" if "\t" in head else "," if "," in head else " "
            rows = list(csv.reader(stream, delimiter=delimiter, skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise findings.error(f"cannot be read as a table ({error})", "export it again") from None
    first = next(csv.reader([head], delimiter=delimiter, skipinitialspace=True), [])
    names = [c.strip() for c in first]
    if columns is not None:
        names = columns.replace(",", " ").split()
        rows.insert(0, first)
    rows = [r for r in rows if r]
    if not rows:
        raise findings.error("there are no rows", "export it again")
    ragged = [i for i, r in enumerate(rows) if len(r) < len(names)]
    if ragged:
        findings.fault(
            "short_rows", len(ragged), "removed",
            f"{len(ragged)} rows have fewer than {len(names)} columns, the first is row "
            f"{ragged[0] + 2}", "export the table again",
        )  # fmt: skip
        rows = [r for r in rows if len(r) >= len(names)]
    if not rows:
        raise findings.error("there are no whole rows", "export it again")
    return _columns(rows, names, findings, group)


def _columns(
    rows: list[list[str]], names: list[str], findings: Findings, group: str | None
) -> RawTracks:
    cells = list(zip(*rows, strict=False)) or [()] * len(names)
    found = {key: _find(names, options) for key, options in NAMES.items()}
    axes = [(c, i) for c in AXES for i, n in enumerate(names) if _is_axis(n, c)]
    for key, place in found.items():
        if place is None:
            raise findings.error(f"there is no column {key} among {', '.join(names)}",
                                 "set `columns`")  # fmt: skip
    if not axes:
        raise findings.error(f"there is no column x among {', '.join(names)}", "set `columns`")
    if group is not None and group not in names:
        raise findings.error(f"there is no column {group} to group by", f"there are {names}")
    frame, particle = found["frame"], found["particle"]
    assert frame is not None
    assert particle is not None
    labels = np.array(cells[names.index(group)], dtype=object) if group else None
    return RawTracks(
        np.stack([_numbers(cells[i], findings, names[i]) for _, i in axes], axis=1),
        _numbers(cells[frame], findings, names[frame]),
        np.array(cells[particle], dtype=object),
        np.full(len(rows), "all", dtype=object) if labels is None else labels,
        [names[i] for _, i in axes],
    )


def _find(names: Sequence[str], options: Sequence[str]) -> int | None:
    return next((names.index(o) for o in options if o in names), None)


def _is_axis(name: str, axis: str) -> bool:
    low = name.lower()
    return low == axis or low.startswith(f"{axis}_") or low == f"position_{axis}"


def _numbers(cells: Sequence[str], findings: Findings, name: str) -> NDArray[np.float64]:
    try:
        return np.array([float(c) if c.strip() else np.nan for c in cells])
    except ValueError as error:
        raise findings.error(f"column {name} holds no number ({error})", "correct it") from None


# --- checks and assembly ------------------------------------------------------------------------


def _dataset(
    table: RawTracks, dt: float, findings: Findings, unit: str, clock: Clock
) -> xr.Dataset:
    keep = np.isfinite(table.position).all(axis=1) & np.isfinite(table.frame)
    if not keep.all():
        findings.fault(
            "missing_points", int((~keep).sum()), "removed",
            f"{int((~keep).sum())} of {len(keep)} points have no coordinate or frame",
            "fill them or set on_error: quarantine",
        )  # fmt: skip
    key = np.array([f"{g}\0{p}" for g, p in zip(table.group, table.particle, strict=True)])
    _, number = np.unique(key, return_inverse=True)
    order = np.lexsort((np.where(keep, table.frame, 0.0), number))
    order = order[keep[order]]
    order = _drop_repeats(table, number, order, findings)
    order = _drop_short(number, order, findings)
    if not len(order):
        raise findings.error("no trajectory has three points", "choose a file with tracks")
    owner, frame = number[order], table.frame[order]
    if np.any(frame != np.round(frame)):
        raise findings.error(
            f"frames are no whole numbers (first {frame[frame != np.round(frame)][0]:g})",
            "divide times by the time between frames",
        )
    last = np.flatnonzero(np.diff(owner, append=-1))
    first = np.concatenate([[0], last[:-1] + 1])
    gaps = int(np.sum((np.diff(owner) == 0) & (np.diff(frame) > 1)))
    if gaps:
        findings.note("gaps", gaps, f"{gaps} places where a track skips frames; no step is made")
    names = table.particle[order][first]
    ds = xr.Dataset(
        {
            "position": (("point", "component"), table.position[order]),
            "frame": ("point", frame.astype(np.int64)),
            "trajectory_index": ("trajectory", last + 1),
            "group": ("trajectory", np.array(list(map(str, table.group[order][first])), object)),
            "dt": ((), dt),
            "check_count": ("check", np.array([r[1] for r in findings.rows], dtype=np.int64)),
            "check_action": ("check", np.array([r[2] for r in findings.rows], dtype=object)),
            "check_detail": ("check", np.array([r[3] for r in findings.rows], dtype=object)),
        },
        coords={
            "trajectory": ("trajectory", np.array(list(map(str, names)), dtype=object)),
            "component": ("component", np.array(table.names, dtype=object)),
            "check": ("check", np.array([r[0] for r in findings.rows], dtype=object)),
        },
        attrs={"reader": "tracks", "reader_version": VERSION, "clock": clock},
    )
    ds = schema.validate(ds, "trajectories")
    ds["position"].attrs["units"] = unit or _unit_of(table.names)
    return ds


def _unit_of(names: Sequence[str]) -> str:
    parts = [n.split("_", 1)[1] for n in names if "_" in n]
    return parts[0] if len(parts) == len(names) and len(set(parts)) == 1 else ""


def _drop_repeats(
    table: RawTracks, number: NDArray[np.int64], order: NDArray[np.int64], findings: Findings
) -> NDArray[np.int64]:
    twice = np.zeros(len(order), dtype=bool)
    same = np.diff(number[order]) == 0
    twice[1:] = same & (np.diff(table.frame[order]) == 0)
    if twice.any():
        findings.fault(
            "repeated_frames", int(twice.sum()), "removed",
            f"{int(twice.sum())} points share track and frame with another",
            "give every track its own id, or group by the column that separates them",
        )  # fmt: skip
    return order[~twice]


def _drop_short(
    number: NDArray[np.int64], order: NDArray[np.int64], findings: Findings
) -> NDArray[np.int64]:
    lengths = np.bincount(number[order], minlength=int(number.max()) + 1)
    short = int(np.sum((lengths > 0) & (lengths < SHORT)))
    if short:
        findings.note(
            "short_tracks", short, f"{short} tracks of fewer than {SHORT} points left out"
        )
    return order[lengths[number[order]] >= SHORT]


def select_group(ds: xr.Dataset, groups: Iterable[str] | None) -> xr.Dataset:
    """Keep the trajectories of some groups; None keeps all.

    Raises
    ------
    FormatError
        If no trajectory is left.
    """
    if groups is None:
        return ds
    keep = np.isin(ds["group"].to_numpy().astype(str), list(groups))
    if not keep.any():
        raise FormatError(f"no trajectory is in groups {list(groups)}; look at `group`.")
    lengths = np.diff(ds["trajectory_index"].to_numpy(), prepend=0)
    out = ds.isel(trajectory=keep, point=np.repeat(keep, lengths))
    ends = list(itertools.accumulate(int(n) for n in lengths[keep]))
    return out.assign(trajectory_index=("trajectory", np.array(ends, dtype=np.int64)))
