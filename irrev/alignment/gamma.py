"""Alignment work gamma_eff from the drift of class counts with and without it.

Base runs hop between classes, tuned runs are also reset to the intended class 0:

    p(t) = s + (p(0) - s) exp(-(R + gamma) t),   s = (R pi + gamma e_0) / (R + gamma)   (1)

`gamma_ml` fits (1) to base (gamma = 0) and tuned counts jointly by multinomial likelihood, with
shared R, pi and p(0). With pi free (`destinations="free"`, the default above two classes) it is
unbiased for unequal classes; with pi and the rest of p(0) uniform the likelihood sees the intended
class only and is 3-20 % too high there. `gamma_slope`, the entropy growth that the tuned variant
lacks, needs no model: quote it when the fit is rejected. `kappa_difference` compares relaxation
rates of S(t); it is descriptive only, not gamma_eff: S is quadratic in p near uniform.

Limits: needs a base run under the same stress. The deviance test uses a parametric bootstrap,
because the chi-square law rejects a true model too often at 50 transcripts a turn.

Source: the quantity is named in Fadli, arXiv:2512.03047, without a formula; all derived here.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import curve_fit, minimize
from scipy.special import softmax, xlogy

from irrev.entropy import miller_madow_entropy
from irrev.errors import InputError
from irrev.stats import empirical_p

METHOD_VERSION = 1
REJECT_BELOW = 0.01  # p of the goodness of fit
LOG_RATE_RANGE = 12.0  # rates stay within exp(-+12) of 1 / duration
Destinations = Literal["free", "uniform"]
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GammaFit:
    """Joint fit of eq. (1) to base and tuned counts."""

    gamma_eff: float  # 1 / unit of time; NaN without a base run
    low: float  # bootstrap over transcripts
    high: float
    hop_rate: float  # total rate R, 1 / unit of time
    destinations: Array  # (class,)
    start: Array  # (class,)
    deviance: float  # against the saturated multinomial
    p: float  # of the deviance, by parametric bootstrap
    model_rejected: bool  # then quote the slope
    slope: float  # entropy growth removed, nats / unit of time
    slope_low: float
    slope_high: float
    reason: str  # why there is no value, empty if there is


@dataclass(frozen=True, slots=True)
class _Model:
    """Parameters of eq. (1) as fitted: logs of rates, logits of laws."""

    theta: Array
    n_classes: int
    free: bool

    def parts(self) -> tuple[float, float, Array, Array]:
        """Return R, gamma, pi, p(0)."""
        K = self.n_classes
        R, gamma = np.exp(self.theta[:2])
        if not self.free:  # the classes besides the intended one share equally
            start = softmax(np.append(0.0, np.full(K - 1, self.theta[2])))
            return R, gamma, np.full(K, 1.0 / K), start
        start = softmax(np.append(0.0, self.theta[2 : K + 1]))
        return R, gamma, softmax(np.append(0.0, self.theta[K + 1 :])), start


def gamma_ml(
    times: ArrayLike,
    base: ArrayLike,
    tuned: ArrayLike,
    *,
    destinations: Destinations = "free",
    level: float = 0.95,
    n_draws: int = 200,
    rng: np.random.Generator,
) -> GammaFit:
    """Estimate gamma_eff from class counts of a base and a tuned variant over time.

    Parameters
    ----------
    times
        Time of each bin, shape (time,), from 0 on; its unit sets the unit of the rates.
    base, tuned
        Class counts under the same stress, shape (time, class), intended class first. An empty
        `base` means there is none.
    destinations
        Fit the law of hop destinations, or hold it uniform.
    level
        Coverage of the intervals.
    n_draws
        Bootstrap samples for the intervals, and as many for the goodness of fit.
    rng
        Source of the bootstrap.

    Returns
    -------
        Estimate; NaN with a reason if there is no base run.

    Raises
    ------
    InputError
        If shapes differ or there are fewer than three times.
    """
    t = np.asarray(times, dtype=np.float64)
    tuned = np.asarray(tuned, dtype=np.float64)
    base = np.asarray(base, dtype=np.float64)
    if base.size == 0:
        return _no_base(tuned.shape[-1])
    if t.ndim != 1 or t.size < 3 or base.shape != tuned.shape or base.shape[0] != t.size:
        raise InputError(
            f"times {t.shape}, base {base.shape}, tuned {tuned.shape}: give three times or more "
            "and two count tables of shape (time, class)."
        )
    free = destinations == "free"
    fitted = _fit(t, base, tuned, free)
    deviance = _deviance(fitted, t, base, tuned)
    R, gamma, pi, start = fitted.parts()
    slope = gamma_slope(t, base, tuned)

    # intervals: transcripts resampled within each bin
    draws = [
        _fit(t, _redraw(base, rng), _redraw(tuned, rng), free, fitted) for _ in range(n_draws)
    ]
    gammas = np.array([d.parts()[1] for d in draws])
    slopes = [gamma_slope(t, _redraw(base, rng), _redraw(tuned, rng)) for _ in range(n_draws)]
    # goodness of fit: the same fit to data of the fitted model
    null = []
    for _ in range(n_draws):
        b, u = (
            _from_law(law, c, rng) for law, c in zip(_laws(fitted, t), (base, tuned), strict=True)
        )
        null.append(_deviance(_fit(t, b, u, free, fitted), t, b, u))
    p = empirical_p(deviance, np.array(null)) if n_draws else float("nan")
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(gammas, tails) if n_draws else (np.nan, np.nan)
    slope_low, slope_high = np.quantile(slopes, tails) if n_draws else (np.nan, np.nan)
    return GammaFit(
        gamma_eff=gamma,
        low=float(low),
        high=float(high),
        hop_rate=R,
        destinations=pi,
        start=start,
        deviance=deviance,
        p=p,
        model_rejected=bool(p < REJECT_BELOW),
        slope=slope,
        slope_low=float(slope_low),
        slope_high=float(slope_high),
        reason="",
    )


def gamma_slope(times: ArrayLike, base: ArrayLike, tuned: ArrayLike) -> float:
    """Return dS/dt(base) - dS/dt(tuned), nats per unit time, by lines through Miller-Madow S."""
    t = np.asarray(times, dtype=np.float64)
    rates = []
    for counts in (base, tuned):
        S = miller_madow_entropy(counts)
        seen = np.isfinite(S)
        if seen.sum() < 2:
            return float("nan")
        rates.append(np.polyfit(t[seen], S[seen], 1)[0])
    return float(rates[0] - rates[1])


def kappa_difference(times: ArrayLike, base: ArrayLike, tuned: ArrayLike) -> float:
    """Return kappa_tuned - kappa_base of S = S_inf + (S_0 - S_inf) exp(-kappa t).

    Takes entropies, shape (time,). Descriptive only: not gamma_eff.
    """
    t = np.asarray(times, dtype=np.float64)
    kappas = []
    for S in (np.asarray(base, dtype=np.float64), np.asarray(tuned, dtype=np.float64)):
        guess = (S[-1], S[0], 3.0 / t[-1])
        bounds = ([-np.inf, -np.inf, 0.0], np.inf)
        fit = curve_fit(_relaxation, t, S, p0=guess, bounds=bounds, max_nfev=20_000)[0]
        kappas.append(fit[2])
    return float(kappas[1] - kappas[0])


def _relaxation(t: Array, limit: float, start: float, kappa: float) -> Array:
    return limit + (start - limit) * np.exp(-kappa * t)


def _no_base(n_classes: int) -> GammaFit:
    nan, law = float("nan"), np.full(n_classes, np.nan)
    why = "no base run under this stress"
    return GammaFit(nan, nan, nan, nan, law, law, nan, nan, False, nan, nan, nan, why)


# --- likelihood ---------------------------------------------------------------------------------


def _laws(model: _Model, t: Array) -> tuple[Array, Array]:
    """Law over classes of base and tuned runs, each (time, class)."""
    R, gamma, pi, start = model.parts()
    return _law(t, R, 0.0, pi, start), _law(t, R, gamma, pi, start)


def _law(t: Array, R: float, gamma: float, pi: Array, start: Array) -> Array:
    k = R + gamma
    steady = R * pi / k
    steady[0] += gamma / k
    return steady + (start - steady) * np.exp(-k * t)[:, None]


def _fit(t: Array, base: Array, tuned: Array, free: bool, near: _Model | None = None) -> _Model:
    K = base.shape[1]
    if near is None:
        duration = max(float(t[-1]), 1e-12)
        first = np.log((base[0] + tuned[0] + 0.5) / (base[0, 0] + tuned[0, 0] + 0.5))[1:]
        last = np.log((base[-1] + 0.5) / (base[-1, 0] + 0.5))[1:]
        rates = np.log([1.0 / duration, 1.0 / duration])
        theta = np.concatenate([rates, first, last] if free else [rates, [first.mean()]])
    else:
        theta = near.theta
    scale = -np.log(max(float(t[-1]), 1e-12))
    edge = [(scale - LOG_RATE_RANGE, scale + LOG_RATE_RANGE)] * 2
    bounds = edge + [(-20.0, 20.0)] * (theta.size - 2)
    theta = np.clip(theta, *np.array(bounds).T)
    found = minimize(
        _loss, theta, args=(t, base, tuned, K, free), jac=True, method="L-BFGS-B", bounds=bounds
    )
    return _Model(found.x, K, free)


def _loss(
    theta: Array, t: Array, base: Array, tuned: Array, K: int, free: bool
) -> tuple[float, Array]:
    """Negative log-likelihood per transcript and its gradient."""
    model = _Model(theta, K, free)
    R, gamma, pi, start = model.parts()
    n = base.sum() + tuned.sum()
    value, d_R, d_gamma = 0.0, 0.0, 0.0
    d_pi, d_start = np.zeros(K), np.zeros(K)
    unit = np.eye(K)[0]
    for counts, g in ((base, 0.0), (tuned, gamma)):
        k = R + g
        steady = (R * pi + g * unit) / k
        decay = np.exp(-k * t)[:, None]
        p = np.maximum(steady + (start - steady) * decay, 1e-300)
        value -= float(np.sum(xlogy(counts, p)))
        slope = -counts / p
        d_steady = np.sum(slope * (1 - decay), axis=0)
        d_start += np.sum(slope * decay, axis=0)
        d_k = float(np.sum(slope * (start - steady) * (-t[:, None] * decay)))
        d_R += d_k + float(d_steady @ (pi - steady)) / k
        d_pi += d_steady * R / k
        if g > 0:
            d_gamma += d_k + float(d_steady @ (unit - steady)) / k
    along_start = (start * (d_start - start @ d_start))[1:]
    rates = np.array([d_R * R, d_gamma * gamma])
    if free:
        parts = [rates, along_start, (pi * (d_pi - pi @ d_pi))[1:]]
    else:
        parts = [rates, [along_start.sum()]]
    return value / n, np.concatenate(parts) / n


def _deviance(model: _Model, t: Array, base: Array, tuned: Array) -> float:
    total = 0.0
    for law, counts in zip(_laws(model, t), (base, tuned), strict=True):
        n = np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
        total += 2 * float(np.sum(xlogy(counts, counts / n) - xlogy(counts, law)))
    return total


def _redraw(counts: Array, rng: np.random.Generator) -> Array:
    n = counts.sum(axis=1, keepdims=True)
    return _from_law(counts / np.maximum(n, 1.0), counts, rng)


def _from_law(law: Array, counts: Array, rng: np.random.Generator) -> Array:
    n = counts.sum(axis=1).astype(np.int64)
    p = np.where(n[:, None] > 0, law, 1.0 / law.shape[1])
    return rng.multinomial(n, p / p.sum(axis=1, keepdims=True)).astype(np.float64)
