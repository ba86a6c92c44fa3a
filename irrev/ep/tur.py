"""One-step bounds: the uncertainty relation and one Newton step from zero.

With K the covariance of antisymmetric observables g and c = K^-1 <g> (without antisymmetry, K
of the reversed samples and c = K^-1 (<g> - <g~>) / 2),

    ep >= ln(1 + 2 <g>' K^-1 <g>)           multidimensional uncertainty relation  (1)
    theta = 2 c,  ep >= f(theta)             one Newton step                        (2)

Both overfit like any training value: (1) is evaluated on held-out samples for the current
J = c . g as ln(1 + 2 <J>^2 / Var J), and (2) as f of held-out samples. K gets a relative ridge.
Above `irrev.ep.composite.MAX_EXACT` observables K is not formed; K of independent units takes its
place, so that (1) and (2) stay valid bounds but are weaker than the full forms.

Source: Aguilera, Ito, Kolchinsky, Phys. Rev. Lett. 136, 077101 (2026); T. Van Vu, Y. Hasegawa,
Phys. Rev. E 100, 032130 (2019) for the fluctuation-theorem uncertainty relation.
"""

from math import log1p

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from irrev.ep.observables import CHUNK, Metric, Observables

RIDGE = 1e-6  # relative to the mean variance


def second_moment(observables: Observables) -> NDArray[np.float64]:
    """Return sum_t g~_t g~_t' of few observables, shape (n_observables, n_observables)."""
    d = observables.n_observables
    out = np.zeros((d, d))
    for k in range(0, observables.n_samples, CHUNK):
        g = observables.reverse_columns(np.arange(k, min(k + CHUNK, observables.n_samples)))
        out += g.T @ g
    return out


def one_step(
    mean: NDArray[np.float64],
    cov: NDArray[np.float64] | None,
    metric: Metric,
    *,
    ridge: float = RIDGE,
) -> NDArray[np.float64]:
    """Return c = K^-1 <g> of antisymmetric observables.

    Parameters
    ----------
    mean
        <g>, or (<g> - <g~>) / 2 if g is not antisymmetric, shape (n_observables,).
    cov
        K of the reversed samples, shape (n_observables, n_observables), or None to use `metric`
        in its place.
    metric
        Covariance of independent units.
    ridge
        Added to the diagonal of K, relative to its mean.

    Returns
    -------
        Shape (n_observables,).
    """
    if cov is None:
        return metric.inverse(mean)
    added = ridge * max(float(np.trace(cov)) / mean.size, np.finfo(float).tiny)
    return cho_solve(cho_factor(cov + added * np.eye(mean.size)), mean)


def tur_bound(current: NDArray[np.float64]) -> float:
    """Return the uncertainty-relation bound of one current, nats per step.

    Parameters
    ----------
    current
        Antisymmetric observable of each sample, shape (step,), of a sign fixed beforehand.

    Returns
    -------
        ln(1 + 2 mean^2 / variance), negative if the mean has the wrong sign, so that noise
        averages out over folds.

    Examples
    --------
    >>> round(tur_bound(np.array([1.0, 1.0, -1.0, 1.0])), 3)
    0.511
    """
    mean, variance = float(np.mean(current)), float(np.var(current))
    if variance == 0.0:
        return 0.0
    return float(np.sign(mean)) * log1p(2.0 * mean**2 / variance)
