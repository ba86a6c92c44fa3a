"""Named sets of observables of one step, as tables for moderate numbers of units.

    lin        s_i(1) - s_i(0)                                    N
    pair       s_i(1) s_j(0) - s_i(0) s_j(1),  i < j              N(N-1)/2
    same-time  s_i(1) s_j(1) - s_i(0) s_j(0),  i <= j             N(N+1)/2   (i < j for +-1)
    triple     s_i(1) s_j(0) s_k(0) - s_i(0) s_j(1) s_k(1),  j < k, i not in {j, k}
    current    (s_i(1) - s_i(0)) s_j(0),  i != j                  N(N-1)

All but `current` change sign when the step is read backwards; `current` does so only if at most
one unit changes per step, and its reverse (s_i(0) - s_i(1)) s_j(1) is passed explicitly. `delayed`
observables need windows: with lags tau = 1..L and s_t .. s_{t+L} one sample,

    theta . g = sum_tau sum_{u=0}^{L-tau} s_{t+u+tau}' Theta_tau s_{t+u}            (1)

summed over all anchors u, which makes them antisymmetric under reversal of the window.

Source: Aguilera, Ito, Kolchinsky, Phys. Rev. Lett. 136, 077101 (2026) for `pair` and `current`;
eq. (1) is derived here.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from irrev.ep.explicit import ExplicitObservables
from irrev.errors import InputError

SETS = ("lin", "pair", "same-time", "triple", "current")


def observable_table(
    before: NDArray[np.number], after: NDArray[np.number], names: Sequence[str]
) -> ExplicitObservables:
    """Tabulate the named sets for steps from `before` to `after`.

    Parameters
    ----------
    before, after
        States at the two ends of each step, shape (step, unit).
    names
        Members of `SETS`.

    Returns
    -------
        Forward and reverse values, shape (step, observable), sets in the order given.

    Raises
    ------
    InputError
        If a name is unknown.

    Examples
    --------
    >>> s = np.array([[1.0, -1.0], [1.0, 1.0]])
    >>> observable_table(s[:1], s[1:], ["lin", "pair"]).forward.tolist()
    [[0.0, 2.0, -2.0]]
    """
    unknown = [name for name in names if name not in SETS]
    if unknown or not names:
        raise InputError(f"observables are {tuple(names)}; use some of {', '.join(SETS)}.")
    first, second = np.asarray(before, float), np.asarray(after, float)
    forward = np.hstack([_half(name, first, second) for name in names])
    return ExplicitObservables(forward, np.hstack([_half(name, second, first) for name in names]))


def _half(
    name: str, before: NDArray[np.float64], after: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return one set for steps from `before` to `after`."""
    n = before.shape[1]
    if name == "lin":
        return after - before
    if name == "current":
        i, j = np.nonzero(~np.eye(n, dtype=bool))
        return (after[:, i] - before[:, i]) * before[:, j]
    if name == "triple":
        i, j, k = _triples(n)
        forward = after[:, i] * before[:, j] * before[:, k]
        return forward - before[:, i] * after[:, j] * after[:, k]
    binary = bool(np.all(np.abs(before) == 1) and np.all(np.abs(after) == 1))
    i, j = np.triu_indices(n, 1 if name == "pair" or binary else 0)
    if name == "pair":
        return after[:, i] * before[:, j] - before[:, i] * after[:, j]
    return after[:, i] * after[:, j] - before[:, i] * before[:, j]


def _triples(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return i and j < k, all different."""
    i, j, k = np.meshgrid(np.arange(n), np.arange(n), np.arange(n), indexing="ij")
    use = (j < k) & (i != j) & (i != k)
    return i[use], j[use], k[use]


def delayed_table(states: NDArray[np.number], lags: int) -> ExplicitObservables:
    """Tabulate eq. (1) for every window of `lags` + 1 states.

    Parameters
    ----------
    states
        One unbroken path, shape (time, unit).
    lags
        Longest lag L, in steps.

    Returns
    -------
        One row per window, one column per lag and pair, lag by lag. Its bound is per window:
        divided by `lags` it bounds the entropy production per step of a process with memory.
    """
    s = np.asarray(states, float)
    if not 1 <= lags < s.shape[0]:
        raise InputError(f"{lags} lags of {s.shape[0]} states; use 1 to {s.shape[0] - 1}.")
    i, j = np.triu_indices(s.shape[1], 1)
    n_windows, columns = s.shape[0] - lags, []
    for lag in range(1, lags + 1):
        early, late = s[:-lag], s[lag:]
        g = late[:, i] * early[:, j] - early[:, i] * late[:, j]
        anchors = lags - lag + 1
        columns.append(np.sum([g[u : u + n_windows] for u in range(anchors)], axis=0))
    table = np.hstack(columns)
    return ExplicitObservables(table, -table)


def angle_table(
    before: NDArray[np.floating], after: NDArray[np.floating], unit: int
) -> ExplicitObservables:
    """Tabulate cos(phi_i(1) - phi_j(0)) - cos(phi_i(0) - phi_j(0)), j != i, of moves of one angle.

    Parameters
    ----------
    before, after
        Angles, rad, shape (step, unit), at steps at which only `unit` moves.
    unit
        The unit i.
    """
    others = np.delete(np.asarray(before, float), unit, axis=1)
    ahead = np.cos(after[:, [unit]] - others) - np.cos(before[:, [unit]] - others)
    return ExplicitObservables(ahead, -ahead)
