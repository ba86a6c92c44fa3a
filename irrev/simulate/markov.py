"""Markov processes on few states with exact entropy production: rings, random rates.

Rates w_ij lead from state i to state j (row to column), dp/dt = p W with W_ii = -sum_j w_ij.

    ep rate = sum_{i != j} p_i w_ij ln(w_ij p_i / (w_ji p_j))       nats per time   (1)
    ep step = sum_ij p_i P_ij ln(p_i P_ij / (p_j P_ji))             nats per step   (2)

with the stationary p. A path sampled every dt has P = exp(W dt), and its (2) per dt is at most
(1). A ring with rates a forward and b backward has (a - b) ln(a / b). Chunk c of a run has its own
Philox stream of key (seed, c), whatever computes it.

Source: J. Schnakenberg, Rev. Mod. Phys. 48, 571 (1976).
"""

from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from irrev.errors import InputError

Array = NDArray[np.float64]


def ring_rates(n_states: int, *, forward: float, backward: float) -> Array:
    """Return the rates of a uniform ring.

    Examples
    --------
    >>> round(ep_rate(ring_rates(3, forward=0.5, backward=0.2)), 10)
    0.2748872196
    """
    eye = np.eye(n_states)
    rates = forward * np.roll(eye, 1, axis=1) + backward * np.roll(eye, -1, axis=1)
    return _with_diagonal(rates)


def random_rates(
    n_states: int, rng: np.random.Generator, *, drive: float = 1.0, density: float = 1.0
) -> Array:
    """Draw a connected rate matrix.

    Parameters
    ----------
    n_states
        Number of states, at least 2.
    rng
        Source of the rates.
    drive
        Width of the antisymmetric part of ln w_ij; 0 gives symmetric rates and no entropy
        production.
    density
        Share of the pairs of states that are linked; a ring through all states always is.
    """
    if n_states < 2 or not 0 <= density <= 1:
        raise InputError(f"{n_states} states, density {density}; use 2 or more, and 0 to 1.")
    log = rng.standard_normal((2, n_states, n_states))
    symmetric = np.triu(log[0], 1)
    odd = drive * np.triu(log[1], 1)
    linked = np.triu(rng.random((n_states, n_states)) < density, 1)
    linked |= np.triu(np.roll(np.eye(n_states, dtype=bool), 1, axis=1), 1)
    linked[0, -1] = True
    upper = np.where(linked, np.exp(symmetric + odd), 0.0)
    lower = np.where(linked, np.exp(symmetric - odd), 0.0).T
    return _with_diagonal(upper + lower)


def _with_diagonal(rates: Array) -> Array:
    out = rates.copy()
    np.fill_diagonal(out, 0.0)
    np.fill_diagonal(out, -out.sum(axis=1))
    return out


def stationary(matrix: Array) -> Array:
    """Return the stationary law of rates (rows sum to 0) or of a step (rows sum to 1).

    Raises
    ------
    InputError
        If the matrix is neither, or the law is not unique.
    """
    n = matrix.shape[0]
    sums = matrix.sum(axis=1)
    scale = max(1.0, float(np.abs(matrix).max(initial=0.0)))
    if matrix.shape != (n, n) or not (
        np.allclose(sums, 0, atol=1e-9 * scale) or np.allclose(sums, 1, atol=1e-9)
    ):
        raise InputError(
            f"matrix of shape {matrix.shape}: rows must sum to 0 (rates) or 1 (step)."
        )
    generator = matrix if np.allclose(sums, 0, atol=1e-9 * scale) else matrix - np.eye(n)
    system = np.vstack([generator.T, scale * np.ones(n)])
    law, _, rank, _ = np.linalg.lstsq(system, np.append(np.zeros(n), scale), rcond=None)
    if rank < n:
        raise InputError("the process falls into parts that never meet; give a connected one.")
    return np.maximum(law, 0.0) / np.maximum(law, 0.0).sum()


def ep_rate(rates: Array) -> float:
    """Return eq. (1), nats per time; infinite if a transition has no reverse."""
    flow = stationary(rates)[:, None] * rates
    np.fill_diagonal(flow, 0.0)
    return _log_ratio(flow)


def ep_step(step: Array) -> float:
    """Return eq. (2), nats per step; infinite if a transition has no reverse."""
    return _log_ratio(stationary(step)[:, None] * step)


def _log_ratio(flow: Array) -> float:
    i, j = np.nonzero(flow)
    with np.errstate(divide="ignore"):
        return float(np.sum(flow[i, j] * np.log(flow[i, j] / flow[j, i])))


def step_matrix(rates: Array, dt: float) -> Array:
    """Return P = exp(W dt), the law of the state dt later."""
    if not dt > 0:
        raise InputError(f"dt is {dt}; it must be positive.")
    return np.asarray(expm(rates * dt), dtype=np.float64)


def simulate_chain(step: Array, *, n_steps: int, seed: int, chunk: int = 0) -> NDArray[np.int64]:
    """Simulate one chunk of a stationary path.

    Parameters
    ----------
    step
        Law of the next state, rows sum to 1, shape (state, state).
    n_steps
        Number of steps.
    seed, chunk
        Key of the random stream; the numbers depend on nothing else.

    Returns
    -------
        States, shape (n_steps + 1,).
    """
    law = stationary(step)
    rng = np.random.Generator(np.random.Philox(key=[seed, chunk]))
    below = np.cumsum(step, axis=1)
    below[:, -1] = 1.0
    out = np.empty(n_steps + 1, np.int64)
    out[0] = min(int(np.searchsorted(np.cumsum(law), rng.random())), law.size - 1)
    uniforms = rng.random(n_steps)
    module = _compiled()
    if module is not None:
        module.walk(below, uniforms, out)
        return out
    for t, u in enumerate(uniforms):
        out[t + 1] = np.searchsorted(below[out[t]], u, side="right")
    return out


@cache
def _compiled() -> ModuleType | None:
    """Import the compiled loop once; None where numba is absent."""
    try:
        from irrev.simulate import markov_numba
    except ImportError:
        return None
    return markov_numba
