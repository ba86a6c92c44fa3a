"""Forces, scores and velocities learned from currents of stochastic trajectories.

For dx = F dt + sqrt(2 D) dW with density p, local mean velocity nu = F - div D - D grad ln p and
thermodynamic force f = D^-1 nu, the entropy production rate is EPR = <f . D f>. Every quantity
below minimises a loss that is quadratic in the unknown field and linear in measured currents:

    force      sum <f . D f> dt - 2 sum <f(xm) . dx>                 D^-1 nu; minimum -EP   (1)
    velocity   sum <g . g> dt - 2 sum <g(xm) . dx>                   nu                     (2)
    drift      sum <g . g> dt - 2 sum <g(x_i) . dx>                  F                      (3)
    backward   sum <g . g> dt - 2 sum <g(x_{i+1}) . dx>              2 nu - F               (4)
    score      sum <g . D g> dt + sum <(g(x_{i+1}) - g(x_i)) . dx>   grad ln p (constant D) (5)

(5) is the difference of an Ito and a Stratonovich current: implicit score matching without a
divergence. On functions linear in parameters (1) has the solution c = G^-1 b with
G_kl = sum <phi_k . D phi_l> dt and b_k = sum <phi_k(xm) . dx>; both are sums over steps, so any
cut of the data into pieces gives the same answer. Without knowing D, the second moments of the
currents serve: G_kl = sum <(phi_k . dx)(phi_l . dx)> / 2; they also hold (phi . F)^2 dt^2 / 2, so
EP comes out low by <(f . F)^2> dt / (2 <f . D f>) relative.

Source: Lyu, Ray, Crutchfield, arXiv:2504.19007, for the programme of learning from currents; the
losses in this form were derived here. The force loss is the short-time variational bound of
S. Otsubo et al., Phys. Rev. E 101, 062106 (2020).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse

from irrev.ep.features import Basis
from irrev.ep.steps import Array, Index, Steps, Tracks, add_up, steps_of
from irrev.errors import InputError

METHOD_VERSION = 2

Field = Callable[[Array, Array], Array]  # (step, dim), (step,) -> (step, dim)
Diffusion = Array | Literal["moments"] | Callable[[Array], Array]
Quantity = Literal["velocity", "drift", "backward", "score"]

CUTOFF = 1e-12  # directions below this share of the largest eigenvalue carry no information
WORK = 4_000_000  # numbers held at once while summing


@dataclass(frozen=True, slots=True)
class CurrentSums:
    """Additive sums of a piece of data: `a + b` holds the sums of both pieces."""

    b: Array  # (cell, function, dim) currents of each cell
    duration: Array  # (cell,) observed time
    products: Array  # (fold, ...) sum psi psi^T dt, or the full G of unknown or varying D

    def __add__(self, other: "CurrentSums") -> "CurrentSums":
        return CurrentSums(
            self.b + other.b, self.duration + other.duration, self.products + other.products
        )


@dataclass(frozen=True, slots=True)
class Cells:
    """Where a step's current is booked: cells are resampled, folds are held out."""

    cell: Callable[[Steps], Index]
    n_cells: int
    fold: Callable[[Steps], Index]
    n_folds: int


@dataclass(frozen=True, slots=True)
class Force:
    """f_j(x, t) = sum_m c_mj psi_m(x, t)."""

    basis: Basis
    c: Array  # (function, dim)

    def __call__(self, x: Array, t: Array) -> Array:
        """Evaluate at positions (point, dim) and times (point,), shape (point, dim)."""
        return self.basis(x, t) @ self.c


def summarise(steps: Steps, basis: Basis, diffusion: Diffusion, cells: Cells) -> CurrentSums:
    """Sum currents and products over some steps, eq. (1).

    Parameters
    ----------
    steps
        From `irrev.ep.steps.steps_of`, lag 1.
    basis
        Functions of position and time.
    diffusion
        Matrix (dim, dim); a function of positions (step, dim) that returns (step, dim, dim); or
        "moments" for second moments of the currents.
    cells
        Booking of the steps.

    Returns
    -------
        Sums that add up over pieces of data.
    """
    m, d = basis.size, steps.start.shape[1]
    constant = isinstance(diffusion, np.ndarray)
    shape = (m, m) if constant else (m * d, m * d)
    total = CurrentSums(
        np.zeros((cells.n_cells, m, d)),
        np.zeros(cells.n_cells),
        np.zeros((cells.n_folds, *shape)),
    )
    for part in _parts(steps, max(1, WORK // (m * d))):
        total = total + _sum_part(part, basis, diffusion, cells)
    return total


def merge(sums: Sequence[CurrentSums]) -> CurrentSums:
    """Add the sums of pieces in the order given: a fixed order is reproducible to the bit."""
    if not sums:
        raise InputError("there is nothing to merge; give the sums of one piece at least.")
    total = sums[0]
    for one in sums[1:]:
        total = total + one
    return total


@dataclass(frozen=True)
class Normal:
    """Normal equations in their eigenbasis, ready for any ridge."""

    values: Array  # eigenvalues of G, shaped like the parameters it multiplies
    left: Array  # eigenvectors on the function side
    right: Array  # eigenvectors on the component side, (1, 1) for a full G
    shape: tuple[int, int]  # (function, dim)

    def solve(self, b: Array, ridge: float = 0.0) -> Array:
        """Return c = (G + ridge tr(G)/K)^-1 b, shape (..., function, dim)."""
        y = self._into(b)
        scale = self.values + ridge * float(self.values.mean())
        keep = scale > CUTOFF * float(self.values.max())
        y = np.where(keep, y / np.where(keep, scale, 1.0), 0.0)
        return self._back(y)

    def quadratic(self, c: Array) -> Array:
        """Return c . G c, shape (...)."""
        return np.sum(self._into(c) ** 2 * self.values, axis=(-2, -1))

    def _into(self, b: Array) -> Array:
        if len(self.right) == 1 and self.shape[1] > 1:
            flat = b.reshape(*b.shape[:-2], 1, -1)
            return np.swapaxes(flat @ self.left, -2, -1)
        return self.left.T @ b @ self.right

    def _back(self, y: Array) -> Array:
        if len(self.right) == 1 and self.shape[1] > 1:
            return (np.swapaxes(y, -2, -1) @ self.left.T).reshape(*y.shape[:-2], *self.shape)
        return self.left @ y @ self.right.T


def normal_equations(products: Array, diffusion: Diffusion, n_components: int) -> Normal:
    """Decompose G once for all ridges.

    Parameters
    ----------
    products
        One fold's, or a sum of folds', `CurrentSums.products`.
    diffusion
        As given to `summarise`.
    n_components
        Components of a state.
    """
    values, left = np.linalg.eigh(0.5 * (products + products.T))
    values = np.maximum(values, 0.0)
    if isinstance(diffusion, np.ndarray):
        spread, right = np.linalg.eigh(diffusion)
        return Normal(np.outer(values, spread), left, right, (len(products), n_components))
    shape = (len(products) // n_components, n_components)
    return Normal(values[:, None], left, np.ones((1, 1)), shape)


@dataclass(frozen=True, slots=True)
class Totals:
    """Current, quadratic form and time of each cell."""

    current: Array  # (cell,) J = sum f(xm) . dx, nats
    quadratic: Array  # (cell,) Q = sum f . D f dt, nats
    duration: Array  # (cell,)

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.current + other.current,
            self.quadratic + other.quadratic,
            self.duration + other.duration,
        )

    @property
    def bound(self) -> Array:
        """2 J - Q of each cell: its mean is a lower bound when f knows nothing of the data."""
        return 2 * self.current - self.quadratic


def evaluate(steps: Steps, forces: Sequence[Field], diffusion: Diffusion, cells: Cells) -> Totals:
    """Measure the current of given forces; the force of a step's fold is used.

    Parameters
    ----------
    steps
        Steps of any lag.
    forces
        One force a fold.
    diffusion, cells
        As in `summarise`.
    """
    total = Totals(np.zeros(cells.n_cells), np.zeros(cells.n_cells), np.zeros(cells.n_cells))
    for part in _parts(steps, WORK // max(8, 4 * steps.start.shape[1])):
        fold, cell = cells.fold(part), cells.cell(part)
        current, quadratic = np.zeros(part.size), np.zeros(part.size)
        for k, force in enumerate(forces):
            rows = fold == k
            f, dx, mid = force(part.mid[rows], part.time[rows]), part.dx[rows], part.mid[rows]
            current[rows] = np.einsum("nj,nj->n", f, dx)
            quadratic[rows] = _quadratic(f, dx, mid, diffusion, part.dt)
        total = total + Totals(
            add_up(cell, cells.n_cells, current),
            add_up(cell, cells.n_cells, quadratic),
            add_up(cell, cells.n_cells) * part.dt,
        )
    return total


def learn_field(
    tracks: Tracks,
    basis: Basis,
    quantity: Quantity,
    *,
    diffusion: Array | None = None,
    ridge: float = 0.0,
    lag: int = 1,
) -> Force:
    """Learn a velocity, drift, backward drift or score from all steps, eqs. (2-5).

    Parameters
    ----------
    tracks
        Trajectories.
    basis
        Functions; constants are useless for the score.
    quantity
        What to learn.
    diffusion
        Matrix D, needed for the score only.
    ridge
        Added to the normal equations, relative to their mean eigenvalue.
    lag
        Frames a step. The drift is off by O(dt); twice that of lag 1 minus that of lag 2 is off
        by O(dt^2).

    Raises
    ------
    InputError
        If the score is asked for without D.
    """
    if quantity == "score" and diffusion is None:
        raise InputError("the score needs the diffusion matrix; give `diffusion`.")
    m, d = basis.size, tracks.dim
    products, rhs = np.zeros((m, m)), np.zeros((m, d))
    for steps in steps_of(tracks, lag=lag):
        for part in _parts(steps, max(1, WORK // (m * d))):
            psi, pull = _field_terms(part, basis, quantity)
            products += psi.T @ psi * part.dt
            rhs += pull.T @ part.dx
    if quantity == "score":
        rhs = -0.5 * rhs @ np.linalg.inv(np.asarray(diffusion))
    return Force(basis, normal_equations(products, np.eye(d), d).solve(rhs, ridge))


def one_cell() -> Cells:
    """Book everything in one cell and one fold."""

    def zero(steps: Steps) -> Index:
        return np.zeros(steps.size, dtype=np.int64)

    return Cells(zero, 1, zero, 1)


def _field_terms(part: Steps, basis: Basis, quantity: Quantity) -> tuple[Array, Array]:
    """Where the quadratic term is taken, and what multiplies the increment."""
    if quantity == "drift":
        psi = basis(part.start, part.time)
        return psi, psi
    if quantity == "backward":
        psi = basis(part.stop, part.time)
        return psi, psi
    psi = basis(part.mid, part.time)
    if quantity == "velocity":
        return psi, psi
    return psi, basis(part.stop, part.time) - basis(part.start, part.time)


def _sum_part(part: Steps, basis: Basis, diffusion: Diffusion, cells: Cells) -> CurrentSums:
    psi, dx = basis(part.mid, part.time), part.dx
    cell, fold = cells.cell(part), cells.fold(part)
    terms = (psi[:, :, None] * dx[:, None, :]).reshape(part.size, -1)
    rows = sparse.csr_matrix(
        (np.ones(part.size), (cell, np.arange(part.size))), shape=(cells.n_cells, part.size)
    )
    b = (rows @ terms).reshape(cells.n_cells, psi.shape[1], dx.shape[1])
    duration = add_up(cell, cells.n_cells) * part.dt
    products = [
        _products(psi[fold == k], terms[fold == k], part.mid[fold == k], diffusion, part.dt)
        for k in range(cells.n_folds)
    ]
    return CurrentSums(b, duration, np.stack(products))


def _products(psi: Array, terms: Array, mid: Array, diffusion: Diffusion, dt: float) -> Array:
    if isinstance(diffusion, str):
        return 0.5 * terms.T @ terms
    if isinstance(diffusion, np.ndarray):
        return psi.T @ psi * dt
    local = diffusion(mid)
    full = np.einsum("nm,nl,nij->milj", psi, psi, local, optimize=True) * dt
    size = psi.shape[1] * local.shape[1]
    return full.reshape(size, size)


def _quadratic(f: Array, dx: Array, mid: Array, diffusion: Diffusion, dt: float) -> Array:
    if isinstance(diffusion, str):
        return 0.5 * np.einsum("nj,nj->n", f, dx) ** 2
    if isinstance(diffusion, np.ndarray):
        return np.einsum("ni,ij,nj->n", f, diffusion, f, optimize=True) * dt
    return np.einsum("ni,nij,nj->n", f, diffusion(mid), f, optimize=True) * dt


def _parts(steps: Steps, n: int) -> Iterable[Steps]:
    for a in range(0, steps.size, n):
        s = slice(a, a + n)
        yield Steps(
            steps.start[s], steps.stop[s], steps.time[s], steps.owner[s], steps.frame[s], steps.dt
        )
