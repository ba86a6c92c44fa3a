"""Entropy production of particles with inertia, from positions and velocities.

For dx = v dt, m dv = (F - g v) dt + sqrt(2 g T) dW the irreversible part of the velocity change is
nu = -(g/m) v - D grad_v ln p with D = g T / m^2, and EPR = <nu . D^-1 nu>. Its force f = D^-1 nu
minimises

    L = sum <f . D f> dt + sum [ 2 (g/m) <f(z_m) . v_m> dt - <(f(z_{i+1}) - f(z_i)) . dv> ]   (1)

whose minimum is -EP. Only g/m and D are needed, not the forces.

Limits: velocities must be measured; velocities from differences of positions are biased and need
corrections that are not here.

Source: the loss was derived here; that g/m and D suffice is also in arXiv:2405.12305.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from irrev.ep.currents import Normal, normal_equations
from irrev.ep.features import Basis, polynomial
from irrev.ep.steps import Array, Steps, Tracks, steps_of, tracks_from
from irrev.errors import InputError


@dataclass(frozen=True, slots=True)
class UnderdampedEp:
    """Entropy production rate of a linear-in-parameters force, nats per time."""

    value: float  # held-out current
    certified: float  # held-out 2 J - Q
    train: float  # on the fitted data, biased upwards
    debiased: float  # train minus its block-form bias
    c: Array  # (function, dim) coefficients fitted to all trajectories
    basis: Basis


def underdamped_ep(
    x: ArrayLike | Tracks,
    *,
    dt: float | None = None,
    damping: float | ArrayLike,
    diffusion: ArrayLike,
    basis: Basis | None = None,
    folds: int = 5,
) -> UnderdampedEp:
    """Estimate the entropy production rate from positions and velocities, eq. (1).

    Parameters
    ----------
    x, dt
        Trajectories of states (x, v), shape (trajectory, time, 2 dim).
    damping
        g/m of each component, 1/time.
    diffusion
        D of the velocities, shape (dim, dim) or (dim,), velocity^2/time.
    basis
        Functions of the whole state; default all linear ones.
    folds
        Parts held out in turn; trajectory i is in fold i mod folds.

    Raises
    ------
    InputError
        If a state has an odd number of components or there are fewer trajectories than folds.
    """
    tracks = tracks_from(x, dt=dt)
    dim = tracks.dim // 2
    D = np.asarray(diffusion, dtype=np.float64)
    D = np.diag(D) if D.ndim == 1 else D
    if tracks.dim % 2 or D.shape != (dim, dim):
        raise InputError(f"states of {tracks.dim} components and D {D.shape}: need (x, v) and D.")
    if tracks.n < folds:
        raise InputError(f"{tracks.n} trajectories for {folds} folds; give more trajectories.")
    rate = np.broadcast_to(np.asarray(damping, dtype=np.float64), (dim,))
    chosen = polynomial(tracks.dim, 1) if basis is None else basis
    b, products, time = _sums(tracks, chosen, rate, folds)
    current, quadratic = 0.0, 0.0
    fold = np.arange(tracks.n) % folds
    for k in range(folds):
        fit = normal_equations(products.sum(axis=0) - products[k], D, dim)
        c = fit.solve(b[fold != k].sum(axis=0))
        current += float(np.sum(c * b[fold == k].sum(axis=0)))
        quadratic += float(normal_equations(products[k], D, dim).quadratic(c))
    full = normal_equations(products.sum(axis=0), D, dim)
    span = float(time.sum())
    c = full.solve(b.sum(axis=0))
    train = float(np.sum(c * b.sum(axis=0))) / span
    return UnderdampedEp(
        value=current / span,
        certified=(2 * current - quadratic) / span,
        train=train,
        debiased=train - _bias(full, b, time),
        c=c,
        basis=chosen,
    )


def _sums(tracks: Tracks, basis: Basis, rate: Array, folds: int) -> tuple[Array, Array, Array]:
    """Currents of each trajectory, products of each fold, time of each trajectory."""
    dim = tracks.dim // 2
    b = np.zeros((tracks.n, basis.size, dim))
    products = np.zeros((folds, basis.size, basis.size))
    time = np.zeros(tracks.n)
    for steps in steps_of(tracks):
        psi = basis(steps.mid, steps.time)
        terms = _current(steps, psi, basis, rate, dim)
        for i in np.unique(steps.owner):
            rows = steps.owner == i
            b[i] += terms[rows].sum(axis=0)
            products[i % folds] += psi[rows].T @ psi[rows] * steps.dt
            time[i] += rows.sum() * steps.dt
    return b, products, time


def _current(steps: Steps, psi: Array, basis: Basis, rate: Array, dim: int) -> Array:
    change = basis(steps.stop, steps.time) - basis(steps.start, steps.time)
    damped = -psi[:, :, None] * (steps.mid[:, dim:] * rate)[:, None, :] * steps.dt
    return damped + 0.5 * change[:, :, None] * steps.dx[:, dim:][:, None, :]


def _bias(full: Normal, b: Array, time: Array) -> float:
    residual = b - (time / time.sum())[:, None, None] * b.sum(axis=0)
    trace = float(np.sum(full.solve(residual) * residual))
    return trace * len(b) / (len(b) - 1) / float(time.sum())
