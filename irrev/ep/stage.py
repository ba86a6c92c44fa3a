"""Motion of the frame of reference: stage drift and track-wise centring.

    drift(n) = mean over tracks present in frames n and n + 1 of x(n + 1) - x(n)           (1)
    x'(n) = x(n) - sum_{m < n} drift(m)

A constant drift v of the stage adds v . D^-1 v to the entropy production rate. The mean needs many
tracks a frame; with few, a track's own increment is left out of the mean that it is corrected by.
After (1) the total current is nearly zero by construction, so only forces that depend on position
still test for equilibrium. Tracks must never be shifted to a common origin: the density of
displacements spreads, and its spreading has a true entropy production.
"""

import numpy as np

from irrev.ep.steps import Array, Index, Tracks, add_up

MANY_TRACKS = 50  # a track's own share of the mean is below 2 %


def remove_drift(tracks: Tracks) -> Tracks:
    """Subtract the cumulated mean increment, eq. (1); frames without tracks count as no drift."""
    where, first, dx = _unit_steps(tracks)
    lowest = int(tracks.frame.min())
    n_frames = int(tracks.frame.max()) - lowest + 1
    index = first - lowest
    counts = add_up(index, n_frames)
    sums = np.stack([add_up(index, n_frames, dx[:, j]) for j in range(tracks.dim)], axis=1)
    if np.median(counts[counts > 0]) >= MANY_TRACKS:
        drift = sums / np.maximum(counts, 1)[:, None]
        path = np.concatenate([np.zeros((1, tracks.dim)), np.cumsum(drift[:-1], axis=0)])
        return Tracks(tracks.x - path[tracks.frame - lowest], tracks.frame, tracks.ends, tracks.dt)
    return _leave_one_out(tracks, where, index, dx, counts, sums)


def centre_tracks(tracks: Tracks) -> Tracks:
    """Subtract each track's mean position."""
    owner = tracks.owner
    lengths = np.diff(tracks.ends, prepend=0)
    mean = np.stack([add_up(owner, tracks.n, tracks.x[:, j]) for j in range(tracks.dim)], axis=1)
    return Tracks(
        tracks.x - (mean / lengths[:, None])[owner], tracks.frame, tracks.ends, tracks.dt
    )


def _unit_steps(tracks: Tracks) -> tuple[Index, Index, Array]:
    inside = (np.diff(tracks.owner) == 0) & (np.diff(tracks.frame) == 1)
    where = np.flatnonzero(inside)
    return where, tracks.frame[where], tracks.x[where + 1] - tracks.x[where]


def _leave_one_out(
    tracks: Tracks, where: Index, index: Index, dx: Array, counts: Array, sums: Array
) -> Tracks:
    """Correct each increment by the mean of the other tracks, then sum up along each track."""
    others = np.maximum(counts[index] - 1, 1)[:, None]
    mean = np.where(counts[index][:, None] > 1, (sums[index] - dx) / others, 0.0)
    push = np.zeros_like(tracks.x)
    push[where + 1] = mean
    shift = np.cumsum(push, axis=0)
    starts = np.concatenate([[0], tracks.ends[:-1]])
    return Tracks(
        tracks.x - (shift - shift[starts][tracks.owner]), tracks.frame, tracks.ends, tracks.dt
    )
