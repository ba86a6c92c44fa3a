"""Steps of trajectories: the pairs of consecutive states that currents are made of.

A record is a ragged set of trajectories on a grid of frames dt apart. A step of lag l joins
points n and n + l of one trajectory when no frame between them is missing:

    dx = x_{n+l} - x_n,   xm = (x_n + x_{n+l}) / 2,   tm = mean of the two times         (1)

Steps are handed out in pieces of bounded size, sorted by trajectory, so that any reduction over
them can be cut anywhere between trajectories.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from irrev.errors import InputError

Array = NDArray[np.float64]
Index = NDArray[np.int64]

PIECE = 1 << 17  # steps held at once


@dataclass(frozen=True, slots=True)
class Tracks:
    """A ragged set of trajectories."""

    x: Array  # (point, dim), trajectory after trajectory
    frame: Index  # (point,) ascending within a trajectory
    ends: Index  # (trajectory,) end offset of each trajectory
    dt: float  # time between frames

    @property
    def dim(self) -> int:
        """Number of components."""
        return self.x.shape[1]

    @property
    def n(self) -> int:
        """Number of trajectories."""
        return len(self.ends)

    @property
    def owner(self) -> Index:
        """Trajectory of each point, (point,)."""
        lengths = np.diff(self.ends, prepend=0)
        return np.repeat(np.arange(self.n), lengths)

    @property
    def n_gaps(self) -> int:
        """Places where a trajectory skips frames."""
        inside = np.diff(self.owner) == 0
        return int(np.sum(inside & (np.diff(self.frame) > 1)))


@dataclass(frozen=True, slots=True)
class Steps:
    """Some steps of one lag."""

    start: Array  # (step, dim)
    stop: Array  # (step, dim)
    time: Array  # (step,) middle of the step
    owner: Index  # (step,) trajectory
    frame: Index  # (step,) first frame
    dt: float  # duration of each step

    @property
    def mid(self) -> Array:
        """Midpoints, (step, dim)."""
        return 0.5 * (self.start + self.stop)

    @property
    def dx(self) -> Array:
        """Increments, (step, dim)."""
        return self.stop - self.start

    @property
    def size(self) -> int:
        """Number of steps."""
        return len(self.time)


def tracks_from(x: ArrayLike | xr.Dataset | Tracks, *, dt: float | None = None) -> Tracks:
    """Bring trajectories into the ragged form.

    Parameters
    ----------
    x
        Shape (trajectory, time, dim) or (time, dim) for a single one, all times present; or a
        Dataset of kind `trajectories`; or Tracks.
    dt
        Time between frames; needed for arrays, otherwise it overrides the record's own.

    Raises
    ------
    InputError
        If x is no array, dt is missing or not positive, a value is not finite, or frames do not
        ascend.

    Examples
    --------
    >>> tracks_from(np.zeros((3, 5, 2)), dt=0.1).ends.tolist()
    [5, 10, 15]
    """
    if isinstance(x, Tracks):
        tracks = x if dt is None else Tracks(x.x, x.frame, x.ends, dt)
    elif isinstance(x, xr.Dataset):
        own = float(x["dt"]) if dt is None else dt
        tracks = Tracks(
            np.ascontiguousarray(x["position"].to_numpy(), dtype=np.float64),
            x["frame"].to_numpy().astype(np.int64),
            x["trajectory_index"].to_numpy().astype(np.int64),
            own,
        )
    else:
        try:
            array = np.asarray(x, dtype=np.float64)
        except (TypeError, ValueError) as exc:
            raise InputError(
                "x is no array of numbers; give shape (trajectory, time, dim), and trajectories "
                "of unequal length as Tracks or a Dataset."
            ) from exc
        tracks = _from_array(array, dt)
    _check(tracks)
    return tracks


def steps_of(tracks: Tracks, *, lag: int = 1, piece: int = PIECE) -> Iterator[Steps]:
    """Yield all steps of one lag, eq. (1), in pieces of at most about `piece` steps.

    Every piece holds whole trajectories, unless one trajectory alone is longer.
    """
    first = _first_points(tracks, lag)
    owner = tracks.owner[first]
    for chosen in _cuts(owner, piece):
        i = first[chosen]
        yield Steps(
            tracks.x[i],
            tracks.x[i + lag],
            np.asarray((tracks.frame[i] + 0.5 * lag) * tracks.dt, dtype=np.float64),
            owner[chosen],
            tracks.frame[i],
            lag * tracks.dt,
        )


def step_count(tracks: Tracks, *, lag: int = 1) -> Index:
    """Count the steps of each trajectory, (trajectory,)."""
    return np.bincount(tracks.owner[_first_points(tracks, lag)], minlength=tracks.n)


def add_up(index: Index, n: int, weights: Array | None = None) -> Array:
    """Sum weights (default 1) by index, (n,)."""
    return np.asarray(np.bincount(index, weights, minlength=n), dtype=np.float64)


def select(tracks: Tracks, chosen: NDArray[np.bool_] | Index) -> Tracks:
    """Keep some trajectories, in the order of the record."""
    keep = np.zeros(tracks.n, dtype=bool)
    keep[chosen] = True
    lengths = np.diff(tracks.ends, prepend=0)
    points = np.repeat(keep, lengths)
    return Tracks(
        tracks.x[points], tracks.frame[points], np.cumsum(lengths[keep], dtype=np.int64), tracks.dt
    )


def cut_blocks(tracks: Tracks, *, n_blocks: int, gap: int) -> Tracks:
    """Cut each trajectory into contiguous blocks with `gap` points left out between two.

    Raises
    ------
    InputError
        If blocks of fewer than four points would remain.
    """
    starts = np.concatenate([[0], tracks.ends[:-1]])
    keep = np.zeros(len(tracks.x), dtype=bool)
    ends, total = [], 0
    for start, end in zip(starts, tracks.ends, strict=True):
        edges = np.linspace(start, end, n_blocks + 1).astype(np.int64)
        for a, b in pairwise(edges):
            stop = b if b == end else b - gap
            if stop - a < 4:
                raise InputError(
                    f"{n_blocks} blocks with gaps of {gap} points do not fit into {end - start} "
                    "points; give a longer record or fewer blocks."
                )
            keep[a:stop] = True
            total += stop - a
            ends.append(total)
    return Tracks(tracks.x[keep], tracks.frame[keep], np.array(ends, np.int64), tracks.dt)


def _from_array(x: Array, dt: float | None) -> Tracks:
    if dt is None:
        raise InputError("an array has no clock; give dt.")
    if x.ndim == 2:
        x = x[None]
    if x.ndim != 3 or x.shape[1] < 2:
        raise InputError(
            f"shape {x.shape}; expected (trajectory, time, dim) with two times or more."
        )
    n, times, dim = x.shape
    frames = np.tile(np.arange(times), n)
    return Tracks(x.reshape(-1, dim), frames, times * np.arange(1, n + 1), dt)


def _check(tracks: Tracks) -> None:
    if not tracks.dt > 0:
        raise InputError(f"dt is {tracks.dt}; it must be positive.")
    bad = ~np.isfinite(tracks.x).all(axis=1)
    if bad.any():
        raise InputError(
            f"{int(bad.sum())} points are not finite, the first is point {int(np.argmax(bad))}; "
            "drop them and keep their frame numbers."
        )
    inside = np.diff(tracks.owner) == 0
    if np.any(inside & (np.diff(tracks.frame) < 1)):
        raise InputError("frames must ascend within each trajectory; sort the record.")


def _first_points(tracks: Tracks, lag: int) -> Index:
    if lag < 1:
        raise InputError(f"lag is {lag}; it must be at least 1.")
    owner, frame = tracks.owner, tracks.frame
    same = owner[lag:] == owner[:-lag]
    return np.flatnonzero(same & (frame[lag:] - frame[:-lag] == lag))


def _cuts(owner: Index, piece: int) -> Iterator[slice]:
    """Slices of at most `piece` steps that end between trajectories where possible."""
    start, n = 0, len(owner)
    while start < n:
        stop = min(start + piece, n)
        if stop < n:
            border = int(np.searchsorted(owner, owner[stop]))
            stop = border if border > start else stop
        yield slice(start, stop)
        start = stop
