"""Nonequilibrium spins with exact entropy production: random couplings, one redraw at a time.

A redraw of spin i gives s_i = +1 with probability (1 + tanh beta (J s + h)_i) / 2; row i of J is
what drives spin i. The stationary entropy production per redraw (attempt) is

    ep = (1/N) sum_i < p(flip i | s) (-2 beta s_i (J s + h)_i) >            nats    (1)

averaged over states: the rates are known, so no flip needs to be drawn, and symmetric couplings
give 0. Times N it is per sweep.

Chunk c of a run has its own Philox stream of key (seed, c), whatever computes it.

Source: Aguilera, Ito, Kolchinsky, Phys. Rev. Lett. 136, 077101 (2026) for the model; (1) is
Glauber's local detailed balance.
"""

from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

from irrev.errors import InputError

BATCH = 1 << 20  # redraws whose numbers are held at a time: 8 MiB an array
MIN_WARM_UP = 100  # sweeps before the first state of a chunk


def spin_couplings(
    n_spins: int,
    rng: np.random.Generator,
    *,
    degree: int | None = 6,
    mean: float = 0.0,
    spread: float = 1.0,
) -> NDArray[np.float64]:
    """Draw asymmetric random couplings, row driven by column, zero diagonal.

    Parameters
    ----------
    n_spins
        Number of spins.
    rng
        Source of the couplings.
    degree
        Mean number of spins that drive a spin, J_ij ~ N(mean / degree, spread^2 / degree);
        None for all, with N in the place of `degree`.
    mean, spread
        Mean and width of the summed couplings of a spin.

    Returns
    -------
        Shape (spin, spin).
    """
    inputs = float(n_spins if degree is None else degree)
    coupling = mean / inputs + spread * rng.standard_normal((n_spins, n_spins)) / np.sqrt(inputs)
    if degree is not None:
        coupling *= rng.random((n_spins, n_spins)) < degree / max(n_spins - 1, 1)
    np.fill_diagonal(coupling, 0.0)
    return coupling


def simulate_spins(
    coupling: NDArray[np.float64],
    *,
    beta: float,
    n_states: int,
    seed: int,
    chunk: int = 0,
    every: int | None = None,
    field: NDArray[np.float64] | None = None,
    warm_up: int = MIN_WARM_UP,
) -> NDArray[np.int8]:
    """Simulate one chunk of stationary states.

    Parameters
    ----------
    coupling
        Shape (spin, spin), row driven by column, zero diagonal.
    beta
        Inverse temperature.
    n_states
        States to keep.
    seed, chunk
        Key of the random stream; the numbers depend on nothing else.
    every
        Redraws between kept states; default N, one sweep. 1 keeps the path redraw by redraw.
    field
        Field h of each spin.
    warm_up
        Sweeps before the first kept state.

    Returns
    -------
        States -1 or +1, shape (n_states, spin).

    Raises
    ------
    InputError
        If the coupling is not square or a spin drives itself.
    """
    n = coupling.shape[0]
    if coupling.shape != (n, n) or np.any(np.diag(coupling)):
        raise InputError(
            f"coupling has shape {coupling.shape}; pass a square one with zero diagonal."
        )
    rng = np.random.Generator(np.random.Philox(key=[seed, chunk]))
    spins = (2 * rng.integers(0, 2, n) - 1).astype(np.int8)
    h = np.zeros(n) if field is None else np.asarray(field, dtype=np.float64)
    local = beta * (coupling @ spins + h)
    drives = csc_array(beta * coupling)
    step = n if every is None else every
    out = np.empty((n_states, n), np.int8)
    for _ in range(warm_up):
        _redraw(spins, local, drives, rng, n, n, out[:0])
    per_batch = max(BATCH // step, 1)
    for k in range(0, n_states, per_batch):
        part = out[k : k + per_batch]
        _redraw(spins, local, drives, rng, part.shape[0] * step, step, part)
    return out


def _redraw(
    spins: NDArray[np.int8],
    local: NDArray[np.float64],
    drives: csc_array,
    rng: np.random.Generator,
    n_redraws: int,
    every: int,
    out: NDArray[np.int8],
) -> None:
    """Draw sites and uniforms, advance by `n_redraws`, keep every `every`-th state."""
    sites, uniforms = rng.integers(0, spins.size, n_redraws), rng.random(n_redraws)
    strengths = np.asarray(drives.data, dtype=np.float64)
    indptr, targets = drives.indptr.astype(np.int64), drives.indices.astype(np.int64)
    _glauber(spins, local, indptr, targets, strengths, sites, uniforms, every, out)


@cache
def _compiled() -> ModuleType | None:
    """Import the compiled loop once; None where numba is absent."""
    try:
        from irrev.simulate import spins_numba
    except ImportError:
        return None
    return spins_numba


def _glauber(
    spins: NDArray[np.int8],
    field: NDArray[np.float64],
    indptr: NDArray[np.int64],
    targets: NDArray[np.int64],
    strengths: NDArray[np.float64],
    sites: NDArray[np.int64],
    uniforms: NDArray[np.float64],
    every: int,
    out: NDArray[np.int8],
) -> None:
    """Redraw the sites in order (`spins_numba.glauber` in plain Python)."""
    module = _compiled()
    if module is not None:
        args = (spins, field, indptr, targets, strengths, sites, uniforms, every, out)
        module.glauber(*args)
        return
    kept = 0
    for k, (i, u) in enumerate(zip(sites, uniforms, strict=True)):
        up = u * (1.0 + np.exp(-2.0 * field[i])) < 1.0
        if up != (spins[i] > 0):
            change = 2.0 if up else -2.0
            spins[i] = -spins[i]
            part = slice(indptr[i], indptr[i + 1])
            field[targets[part]] += change * strengths[part]
        if (k + 1) % every == 0 and kept < out.shape[0]:
            out[kept] = spins
            kept += 1


def flip_probability(
    states: NDArray[np.int8],
    coupling: NDArray[np.float64],
    *,
    beta: float,
    field: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the probability that a redraw of each spin flips it, shape (state, spin)."""
    return 1.0 / (1.0 + np.exp(2.0 * _aligned(states, coupling, beta, field)))


def virtual_flips(
    states: NDArray[np.int8],
    coupling: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    beta: float,
    field: NDArray[np.float64] | None = None,
) -> NDArray[np.bool_]:
    """Redraw every spin of every state once, separately, and tell which flipped.

    One stored state so yields N attempts.
    """
    flips = np.empty(states.shape, bool)
    rows = max(BATCH // states.shape[1], 1)
    for k in range(0, states.shape[0], rows):
        part = states[k : k + rows]
        chance = flip_probability(part, coupling, beta=beta, field=field)
        flips[k : k + rows] = rng.random(part.shape) < chance
    return flips


def spin_ep(
    states: NDArray[np.int8],
    coupling: NDArray[np.float64],
    *,
    beta: float,
    field: NDArray[np.float64] | None = None,
) -> float:
    """Return eq. (1) over the given states, nats per redraw."""
    return float(np.mean(spin_ep_by_unit(states, coupling, beta=beta, field=field)))


def spin_ep_by_unit(
    states: NDArray[np.int8],
    coupling: NDArray[np.float64],
    *,
    beta: float,
    field: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the terms of eq. (1), nats per redraw of each spin, shape (spin,)."""
    total = np.zeros(states.shape[1])
    rows = max(BATCH // states.shape[1], 1)
    for k in range(0, states.shape[0], rows):
        aligned = _aligned(states[k : k + rows], coupling, beta, field)
        total += np.sum(-2.0 * aligned / (1.0 + np.exp(2.0 * aligned)), axis=0)
    return total / states.shape[0]


def _aligned(
    states: NDArray[np.int8],
    coupling: NDArray[np.float64],
    beta: float,
    field: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Return beta s_i (J s + h)_i, shape (state, spin)."""
    s = states.astype(np.float64)
    local = s @ coupling.T + (0.0 if field is None else field)
    return beta * s * local
