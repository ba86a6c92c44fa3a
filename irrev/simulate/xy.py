"""XY spins driven by asymmetric couplings: one angle redrawn at a time, exact entropy production.

A redraw of spin i takes its angle from the law of a heat bath at inverse temperature 1,

    p(phi_i') ~ exp(sum_j K_ij cos(phi_i' - phi_j)),   K = beta J                  (1)

a von Mises law about the direction of its local field. The stationary law cancels in the mean, so
per redraw (attempt)

    ep = < sum_j K_ij [cos(phi_i' - phi_j) - cos(phi_i - phi_j)] >           nats  (2)

and the mean over phi_i' is known: |h_i| A(|h_i|) with A = I_1 / I_0. Two spins have only their
angle phi_1 - phi_2, whose stationary law is the mixture of two von Mises laws, hence

    ep = (K_12 - K_21) (A(K_12) - A(K_21)) / 4                                     (3)

Chunk c of a run has its own Philox stream of key (seed, c), whatever computes it.

Source: Aguilera, Ito, Kolchinsky, Phys. Rev. Lett. 136, 077101 (2026) for the observables of
angles; the heat bath and (3) are derived here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import i0e, i1e

from irrev.errors import InputError

Array = NDArray[np.float64]
WARM_UP = 100  # sweeps before the first move


@dataclass(frozen=True, slots=True)
class Moves:
    """Moves of single angles."""

    before: Array  # (move, spin) angles, rad
    unit: NDArray[np.int64]  # (move,) the spin that moves
    angle: Array  # (move,) its new angle, rad

    def after(self) -> Array:
        """Return the angles after each move, shape (move, spin)."""
        out = self.before.copy()
        out[np.arange(self.unit.size), self.unit] = self.angle
        return out


def simulate_xy(
    coupling: Array,
    *,
    beta: float,
    n_moves: int,
    seed: int,
    chunk: int = 0,
    every: int = 1,
    warm_up: int = WARM_UP,
) -> Moves:
    """Simulate one chunk of stationary moves.

    Parameters
    ----------
    coupling
        J, shape (spin, spin), row driven by column, zero diagonal.
    beta
        Inverse temperature.
    n_moves
        Moves to keep.
    seed, chunk
        Key of the random stream; the numbers depend on nothing else.
    every
        Redraws from one kept move to the next.
    warm_up
        Sweeps before the first one.

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
    strength = beta * coupling
    unit = rng.integers(0, n, warm_up * n + n_moves * every)
    phi = rng.uniform(-np.pi, np.pi, n)
    spin = np.exp(1j * phi)
    before = np.empty((n_moves, n))
    kept, angle = np.empty(n_moves, np.int64), np.empty(n_moves)
    for t, i in enumerate(unit):
        field = complex(strength[i] @ spin)
        new = rng.vonmises(np.angle(field), abs(field))
        k, rest = divmod(t - warm_up * n, every)
        if k >= 0 and rest == 0:
            before[k], kept[k], angle[k] = phi, i, new
        phi[i] = new
        spin[i] = np.exp(1j * new)
    return Moves(before, kept, angle)


def xy_ep(before: Array, coupling: Array, *, beta: float) -> float:
    """Return eq. (2) over stationary states before a redraw, nats per redraw.

    Parameters
    ----------
    before
        Angles, rad, shape (state, spin).
    coupling, beta
        As in `simulate_xy`.
    """
    spin = np.exp(1j * before)
    field = spin @ (beta * coupling).T
    size = np.abs(field)
    held = (np.conj(spin) * field).real  # sum_j K_ij cos(phi_i - phi_j)
    return float(np.mean(size * i1e(size) / i0e(size) - held))


def two_spin_ep(first: float, second: float) -> float:
    """Return eq. (3) for K_12 = `first` and K_21 = `second`, nats per redraw.

    Examples
    --------
    >>> two_spin_ep(1.0, 1.0)
    0.0
    """
    a, b = (float(i1e(abs(k)) / i0e(abs(k)) * np.sign(k)) for k in (first, second))
    return 0.25 * (first - second) * (a - b)
