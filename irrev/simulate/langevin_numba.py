"""Compiled loops of the schemes in `irrev.simulate.langevin`; numba must be there.

Normals are drawn through the block's own generator, in the order of the numpy path, so both paths
see the same noise bit for bit. No fast-math: sums keep their order.

A force that takes `xp.sin` gets a sine that processors compute several at a time:

    sin x = P(q),  q = 1/4 - |u - round(u)|,  u = x/(2 pi) - 1/4,  |q| <= 1/4                  (1)

with P odd of degree 15, a Chebyshev fit; absolute error below 2e-15 + 3e-16 |x|, about what
the rounding of x does to it. The system's own sine costs four times as much as a normal.
"""

from types import ModuleType
from typing import Any

import numba
import numpy as np

from irrev.simulate.chains import Array
from irrev.simulate.langevin import ForceFactory

TILE = 8  # states of one component that fill a cache line


TURN = 0.15915494309189535  # 1 / (2 pi)
SINE: tuple[float, ...] = (
    6.283185307179592, -41.34170224039933, 81.60524927598021, -76.70585973080432,
    42.058691800271845, -15.094547669627913, 3.817827520364843, -0.6945341596186556,
)  # fmt: skip


@numba.vectorize
def sine(x: float) -> float:
    """Return sin x, eq. (1)."""
    u = x * TURN - 0.25
    q = 0.25 - np.abs(u - np.floor(u + 0.5))
    s = q * q
    low = SINE[0] + s * (SINE[1] + s * (SINE[2] + s * SINE[3]))
    high = SINE[4] + s * (SINE[5] + s * (SINE[6] + s * SINE[7]))
    return q * (low + s * s * s * s * high)


def _functions() -> ModuleType:
    """Return numpy with the sine above, as a module, for numba looks names up in modules only."""
    module = ModuleType("functions")
    module.__dict__.update(np.__dict__)
    module.__dict__["sin"] = sine
    return module


FUNCTIONS = _functions()


def compile_force(factory: ForceFactory) -> Any:
    """Compile a force for use inside the loops."""
    return numba.njit(factory(FUNCTIONS))


def _kept(function: Any) -> Any:
    """Compile and keep the machine code on disk where a folder for it can be written."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no writable place: compile in memory
        return numba.njit(nogil=True)(function)


@numba.njit
def _draw(rng: np.random.Generator, z: Array) -> None:
    for j in range(z.shape[0]):
        for i in range(z.shape[1]):
            z[j, i] = rng.standard_normal()


@numba.njit
def _record(x: Array, tile: Array, out: Array, t: int, last: bool) -> None:
    """Keep state number t; write whole tiles, so that each cache line of `out` is met once."""
    slot = t % TILE
    tile[slot] = x
    if slot < TILE - 1 and not last:
        return
    first = t - slot
    for i in range(x.shape[1]):
        for s in range(slot + 1):
            for j in range(x.shape[0]):
                out[i, first + s, j] = tile[s, j, i]


@numba.njit(nogil=True)
def _euler(
    force: Any,
    rng: np.random.Generator,
    x: Array,
    controls: Array,
    k: Array,
    dt: float,
    step: int,
    n_steps: int,
    out: Array,
    every: int,
) -> None:
    z, f = np.empty(x.shape), np.empty(x.shape)
    tile = np.empty((TILE, x.shape[0], x.shape[1]))
    for t in range(n_steps):
        _draw(rng, z)
        force(x, controls[min(step + t, controls.shape[0] - 1)], f)
        for j in range(x.shape[0]):
            for i in range(x.shape[1]):
                x[j, i] = f[j, i] * dt + k[0, j] * z[j, i] + x[j, i]
        if (t + 1) % every == 0:
            r = (t + 1) // every - 1
            _record(x, tile, out, r, r == out.shape[1] - 1)


@numba.njit(nogil=True)
def _kicks(
    force: Any,
    rng: np.random.Generator,
    x: Array,
    controls: Array,
    k: Array,
    dt: float,
    step: int,
    n_steps: int,
    out: Array,
    every: int,
) -> None:
    d = x.shape[0] // 2
    z, f = np.empty((d, x.shape[1])), np.empty((d, x.shape[1]))
    tile = np.empty((TILE, x.shape[0], x.shape[1]))
    for t in range(n_steps):
        _draw(rng, z)
        force(x[:d], controls[min(step + t, controls.shape[0] - 1)], f)
        for j in range(d):
            for i in range(x.shape[1]):
                v = k[0, j] * x[d + j, i] + k[2, j] * f[j, i] + k[1, j] * z[j, i]
                x[d + j, i] = v
                x[j, i] = x[j, i] + v * dt
        if (t + 1) % every == 0:
            r = (t + 1) // every - 1
            _record(x, tile, out, r, r == out.shape[1] - 1)


@numba.njit(nogil=True)
def _baoab(
    force: Any,
    rng: np.random.Generator,
    x: Array,
    controls: Array,
    k: Array,
    dt: float,
    step: int,
    n_steps: int,
    out: Array,
    every: int,
) -> None:
    d = x.shape[0] // 2
    half = 0.5 * dt
    z, f = np.empty((d, x.shape[1])), np.empty((d, x.shape[1]))
    tile = np.empty((TILE, x.shape[0], x.shape[1]))
    for t in range(n_steps):
        c = controls[min(step + t, controls.shape[0] - 1)]
        _draw(rng, z)
        force(x[:d], c, f)
        for j in range(d):
            for i in range(x.shape[1]):
                v = x[d + j, i] + k[2, j] * f[j, i]
                q = x[j, i] + half * v
                v = k[0, j] * v + k[1, j] * z[j, i]
                x[j, i] = q + half * v
                x[d + j, i] = v
        force(x[:d], c, f)
        for j in range(d):
            for i in range(x.shape[1]):
                x[d + j, i] += k[2, j] * f[j, i]
        if (t + 1) % every == 0:
            r = (t + 1) // every - 1
            _record(x, tile, out, r, r == out.shape[1] - 1)


@_kept
def affine(
    rng: np.random.Generator,
    x: Array,
    moves: Array,
    shifts: Array,
    roots: Array,
    step: int,
    n_steps: int,
    out: Array,
    every: int,
) -> None:
    """Apply x' = P x + q + L z; tables of one row hold for every step."""
    d, n = x.shape
    z, y = np.empty((d, n)), np.empty((d, n))
    tile = np.empty((TILE, x.shape[0], x.shape[1]))
    for t in range(n_steps):
        s = step + t
        P = moves[min(s, moves.shape[0] - 1)]
        q = shifts[min(s, shifts.shape[0] - 1)]
        L = roots[min(s, roots.shape[0] - 1)]
        _draw(rng, z)
        for j in range(d):
            for i in range(n):
                y[j, i] = q[j]
            for k in range(d):
                for i in range(n):
                    y[j, i] += P[j, k] * x[k, i] + L[j, k] * z[k, i]
        for j in range(d):
            for i in range(n):
                x[j, i] = y[j, i]
        if (t + 1) % every == 0:
            r = (t + 1) // every - 1
            _record(x, tile, out, r, r == out.shape[1] - 1)


RUNS = {"euler_maruyama": _euler, "kicks": _kicks, "baoab": _baoab}
