"""Parametric routes to irreversibility: VAR(p), multivariate Ornstein-Uhlenbeck, one channel.

    x_t = F_1 x_{t-1} + ... + F_p x_{t-p} + e_t,  cov(e) = Q:   sigma_N of the fitted spectrum (1)
    F = Gamma(1) Gamma(0)^-1,  A = -log(F) fs,  A Sigma + Sigma A^T = 2 D:
        ep_rate = tr(A^T D^-1 A Sigma) - tr A                                  nats/time      (2)

(1) holds for hidden variables too, as a bound through the observed channels; (2) supposes that
the observed channels are the whole, linear and Markov. (2) is refused where F has no real
logarithm or D is not positive definite: then no such process is sampled.

`scalar_test` is the blind baseline: one channel against a first-order autoregression, by the
Ljung-Box statistic of its residuals. A hidden drive of the channel's own time scale escapes it.

Limits: least squares, so positively biased by about N^2 p / n nats per sample; Gaussian rates.
Sources: Lütkepohl, New introduction to multiple time series analysis (2005); Ljung and Box,
Biometrika 65, 297 (1978).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import logm
from scipy.special import gammaincc

from irrev.ep.linear import frequency_grid, irreversibility_rate, langevin_ep_rate, var_spectrum
from irrev.ep.whitening import as_record, as_segments
from irrev.errors import InputError

MAX_ORDER = 8
IMAGINARY = 1e-8  # of the logarithm, relative: rounding of a real one
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class VarFit:
    """Vector autoregression and its irreversibility rate."""

    irreversibility: float  # sigma_N, nats per sample
    order: int
    coefficients: Array  # (lag, channel, channel)
    cov: Array  # (channel, channel)
    stable: bool  # False: irreversibility is NaN


@dataclass(frozen=True, slots=True)
class OuFit:
    """Multivariate Ornstein-Uhlenbeck process and its entropy production rate."""

    ep_rate: float  # nats per unit time; NaN unless status is "ok"
    drift: Array  # A, 1/time
    diffusion: Array  # D
    status: Literal["ok", "logm_not_real", "diffusion_not_positive", "unstable"]


@dataclass(frozen=True, slots=True)
class ScalarTest:
    """One channel against a first-order autoregression."""

    statistic: float
    p: float
    coefficient: float


def fit_var(
    x: ArrayLike, *, order: int | None = None, segments: ArrayLike | None = None
) -> VarFit:
    """Fit a vector autoregression by least squares and integrate its irreversibility.

    Parameters
    ----------
    x
        Record, shape (time, channel).
    order
        p; chosen from 1 to 8 by BIC when None.
    segments
        Half-open sample ranges, shape (segment, 2); no lag reaches across them.

    Returns
    -------
        The fit; `irreversibility` is NaN if it is not stable.

    Raises
    ------
    InputError
        If a value is not finite or there are fewer equations than coefficients.

    Examples
    --------
    >>> fit_var(np.random.default_rng(0).standard_normal((5000, 2))).order
    1
    """
    record = _finite(x)
    ranges = as_segments(segments, len(record))
    centred = record - np.concatenate([record[a:b] for a, b in ranges]).mean(axis=0)
    n = record.shape[1]
    fits = []
    for p in range(1, MAX_ORDER + 1) if order is None else (order,):
        target, past = _lagged(centred, ranges, p)
        if len(target) <= n * p:
            raise InputError(
                f"{len(target)} samples after {p} lags do not fix {n * p} coefficients per "
                "channel; use a longer record or a lower order."
            )
        solution = np.linalg.lstsq(past, target, rcond=None)[0]
        residual = target - past @ solution
        cov = residual.T @ residual / len(target)
        score = len(target) * np.linalg.slogdet(cov).logabsdet + p * n**2 * np.log(len(target))
        fits.append((score, p, solution.T.reshape(n, p, n).transpose(1, 0, 2), cov))
    _, p, coefficients, cov = min(fits, key=lambda fit: fit[0])
    companion = np.eye(n * p, k=-n)
    companion[:n] = coefficients.transpose(1, 0, 2).reshape(n, n * p)
    stable = bool(np.abs(np.linalg.eigvals(companion)).max() < 1)
    rate = np.nan
    if stable:
        rate = irreversibility_rate(var_spectrum(coefficients, cov, frequency_grid()))
    return VarFit(rate, p, coefficients, cov, stable)


def fit_ou(x: ArrayLike, *, fs: float, segments: ArrayLike | None = None) -> OuFit:
    """Fit a multivariate Ornstein-Uhlenbeck process through the lag-one covariance.

    Parameters
    ----------
    x
        Record of all variables of the process, shape (time, channel).
    fs
        Sampling rate, 1/time.
    segments
        Half-open sample ranges, shape (segment, 2).

    Returns
    -------
        The fit, with a status that says why no rate is given, if none is.
    """
    record = _finite(x)
    ranges = as_segments(segments, len(record))
    centred = record - np.concatenate([record[a:b] for a, b in ranges]).mean(axis=0)
    target, past = _lagged(centred, ranges, 1)
    sigma = 0.5 * (past.T @ past + target.T @ target) / len(past)
    step = np.linalg.solve(past.T @ past, past.T @ target).T
    values = np.linalg.eigvals(step)
    nothing = np.full_like(sigma, np.nan)
    if np.any((np.abs(values.imag) < IMAGINARY) & (values.real <= 0)):
        return OuFit(np.nan, nothing, nothing, "logm_not_real")
    logarithm = np.asarray(logm(step), dtype=np.complex128)
    if np.abs(logarithm.imag).max() > IMAGINARY * np.abs(logarithm).max():
        return OuFit(np.nan, nothing, nothing, "logm_not_real")
    drift = -logarithm.real * fs
    diffusion = 0.5 * (drift @ sigma + sigma @ drift.T)
    if np.linalg.eigvals(drift).real.min() <= 0:
        return OuFit(np.nan, drift, diffusion, "unstable")
    if np.linalg.eigvalsh(diffusion).min() <= 0:
        return OuFit(np.nan, drift, diffusion, "diffusion_not_positive")
    return OuFit(langevin_ep_rate(drift, diffusion), drift, diffusion, "ok")


def scalar_test(x: ArrayLike, *, lags: int = 20) -> ScalarTest:
    """Test one channel against a first-order autoregression.

    Parameters
    ----------
    x
        Record of one channel, shape (time,).
    lags
        Autocorrelations of the residual in the Ljung-Box statistic.

    Returns
    -------
        p-value from the chi-square law with `lags` - 1 degrees of freedom.

    Examples
    --------
    >>> scalar_test(np.random.default_rng(0).standard_normal(2000)).p > 0.01
    True
    """
    y = np.asarray(x, dtype=np.float64)
    if y.ndim != 1 or y.size <= lags + 2:
        raise InputError(f"shape {y.shape}; give one channel of more than {lags + 2} samples.")
    y = y - y.mean()
    if not np.isfinite(y).all() or not y @ y > 0:
        raise InputError("the channel is constant or not finite; nothing can be tested.")
    coefficient = float(y[1:] @ y[:-1] / (y @ y))
    residual = y[1:] - coefficient * y[:-1]
    residual -= residual.mean()
    n, power = residual.size, residual @ residual
    k = np.arange(1, lags + 1)
    rho = np.array([residual[lag:] @ residual[:-lag] for lag in k]) / power
    statistic = float(n * (n + 2) * np.sum(rho**2 / (n - k)))
    return ScalarTest(statistic, float(gammaincc((lags - 1) / 2, statistic / 2)), coefficient)


def _finite(x: ArrayLike) -> Array:
    record = as_record(x).astype(np.float64)
    if not np.isfinite(record).all():
        raise InputError("the record has values that are not finite; fill or cut them.")
    return record


def _lagged(centred: Array, ranges: NDArray[np.int64], p: int) -> tuple[Array, Array]:
    """Targets x_t and their pasts (x_{t-1}, ..., x_{t-p}), inside segments only."""
    usable = [(a, b) for a, b in ranges if b - a > p]
    target = np.concatenate([centred[a + p : b] for a, b in usable])
    past = [
        np.concatenate([centred[a + p - k : b - k] for a, b in usable]) for k in range(1, p + 1)
    ]
    return target, np.concatenate(past, axis=1)
