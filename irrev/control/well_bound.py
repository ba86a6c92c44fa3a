"""Least work of putting a bit into a well, wherever in the well it then is.

    W >= min over p1 of F[p1] - F_eq + W2^2(p0, p1) / (m t),    P1(wrong well) = e            (1)

for U = E (x^2 - 1)^2 at both ends, p0 its equilibrium, F[p] = <U>_p + T <ln p>_p, full control of
the energy in between. In one dimension W2^2 = int (Q0 - Q1)^2 du, so (1) is a minimum over the
quantile function Q1: cells of given probability and free positive widths, on each side of x = 0.

The bound for an end in local equilibrium, `irrev.control.bounds.erasure_bound`, is higher: by 9 %
at t = 1, 3 % at t = 2 and below 1 % from t = 5 on (E = 4, m = T = 1, e = 0).

Limits: cells make the value too large by less than 0.001 kT at the default number; U is not
convex, so nothing proves that the minimum found from even widths is the global one.

Source: K. Proesmans, J. Ehrich, J. Bechhoefer, Phys. Rev. Lett. 125, 100602 (2020) for the bound;
this discretisation derived here.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import minimize

from irrev.control.bounds import erasure_quantile
from irrev.control.checks import require_positive
from irrev.errors import ConvergenceError, InputError

Array = NDArray[np.float64]
N_CELLS = 300


def well_bound(
    error: float,
    duration: float,
    *,
    barrier: float = 4.0,
    mobility: float = 1.0,
    kT: float = 1.0,
    n_cells: int = N_CELLS,
) -> float:
    """Return the least mean work of erasure at a probability of the wrong well, eq. (1).

    Parameters
    ----------
    error
        Final probability of the wrong well, in [0, 1/2].
    duration
        Time of the erasure.
    barrier
        E of U = E (x^2 - 1)^2 at both ends, energy units.
    n_cells
        Cells on each side of x = 0.

    Raises
    ------
    ConvergenceError
        If the minimisation stops early; `best` holds the work so far.

    Examples
    --------
    >>> round(well_bound(0.0, 2.0), 2)
    1.39
    """
    if not 0 <= error <= 0.5 or not duration > 0:
        raise InputError(
            f"error {error}, duration {duration}; need an error in [0, 1/2] and a positive time."
        )
    require_positive(barrier=barrier, mobility=mobility, kT=kT, n_cells=n_cells)
    height, time = barrier / kT, duration * mobility * kT
    edges = np.sin(0.5 * np.pi * np.linspace(0, 1, n_cells + 1))  # finer towards the tail
    work = np.log(2 * quad(lambda x: np.exp(-height * (x**2 - 1) ** 2), 0, 6, points=[1])[0])
    work += _side(error + (1 - error) * edges, 1, height, time)
    if error > 0:
        work += _side(error * (1 - edges), -1, height, time)
    return float(kT * work)


def _side(levels: Array, sign: int, height: float, time: float) -> float:
    """Least of eq. (1) for the probability on one side of x = 0, kT; levels count outwards."""
    mass = np.abs(np.diff(levels))
    start = erasure_quantile(0.5 * (levels[1:] + levels[:-1]), barrier=height)

    def cost(log_width: Array) -> tuple[float, Array]:
        width = np.exp(log_width)
        x = sign * (np.cumsum(width) - 0.5 * width)
        well = x * x - 1
        value = mass @ (height * well**2 + np.log(mass) - log_width + (x - start) ** 2 / time)
        pull = sign * mass * (4 * height * x * well + 2 * (x - start) / time)
        outer = np.cumsum(pull[::-1])[::-1] - 0.5 * pull
        return float(value), width * outer - mass

    even = np.full(len(mass), np.log(2.0 / len(mass)))
    limits = {"maxiter": 5000, "maxfun": 20_000, "ftol": 1e-12, "gtol": 1e-8}
    found = minimize(cost, even, jac=True, method="L-BFGS-B", options=limits)
    if not found.success:
        raise ConvergenceError(f"well bound: {found.message}", best=float(found.fun))
    return float(found.fun)
