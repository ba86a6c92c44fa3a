"""Entropy production of a one-way coupled pair: a fit, and a bound from the witness.

    dh = -kappa h dt + sqrt(2) dW_0,    dx_i = (-gamma_i x_i + g_i h) dt + sqrt(2 D_i) dW_i   (1)
    ep_rate = sum_i g_i^2 / [D_i (kappa + gamma_i)]                        nats/time          (2)
    ep_rate >= 2 sqrt(8 kappa^3 W / [(kappa + gamma_1)(kappa + gamma_2)])                     (3)

(2) is exact. (3) follows from it by the inequality of arithmetic and geometric means and
W <= r_1 r_2 / (8 kappa^3), r_i = g_i^2 / D_i; it needs the three rates but no loadings or noise
scales, and takes the lower confidence limit of W. The rates come from the Whittle likelihood

    sum_m K_m [log det S(omega_m) + tr S(omega_m)^-1 I_m]                                     (4)

of the exactly sampled spectrum S, I_m being means of the periodogram matrix over log-spaced
bands, maximised by Fisher scoring from several starts. The Fisher information gives the error
of (2). A white drive fixes only the product of the loadings; weak coupling fixes nothing: the
result is `identifiable` only if the information matrix has condition number below 1e4 in the
units of the fit (time 1/kappa, D_i = 1), the relative error of (2) is below one half and the
witness test rejects. Otherwise all fields are NaN.

Limits: nothing here holds if the drive feels the channels. (3) and the fit were derived here;
the system is that of Bi and Calhoun, arXiv:2604.03775.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.ep.whitening import Segments

N_BANDS = 400
N_STARTS = 6
MAX_ITERATIONS = 80
STEP_TOLERANCE = 1e-7  # of the parameters, which are logarithms
DIFFERENCE = 1e-5  # half step of the central differences, on logarithms
MAX_CONDITION = 1e4
MAX_RELATIVE_ERROR = 0.5
RATE_RANGE = (1e-6, 20.0)  # per sample: slower than any record, faster than the sampling
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OneWayFit:
    """Fit of (1) to a pair; rates per unit time."""

    ep_rate: float  # nats/time
    stderr: float
    kappa: float
    gamma: tuple[float, float]
    condition: float  # of the information matrix
    converged: bool

    @property
    def identifiable(self) -> bool:
        """Whether the record fixes the entropy production; the witness test is asked apart."""
        known = self.condition <= MAX_CONDITION
        return bool(self.converged and known and self.stderr <= MAX_RELATIVE_ERROR * self.ep_rate)


def ep_bound(W_rate: float, kappa: float, gamma: tuple[float, float]) -> float:
    """Return (3), nats/time; zero for W_rate <= 0.

    Examples
    --------
    >>> round(ep_bound(0.0056615530541, 1.0, (1.0, 2.0)), 10)
    0.1737669405
    """
    scale = 8 * kappa**3 / ((kappa + gamma[0]) * (kappa + gamma[1]))
    return float(2 * np.sqrt(scale * max(W_rate, 0.0)))


def fit_one_way(
    x: NDArray[np.floating],
    *,
    fs: float,
    rng: np.random.Generator,
    segments: Segments | None = None,
) -> OneWayFit:
    """Fit the one-way coupled process to two channels.

    Parameters
    ----------
    x
        Record, shape (time, 2).
    fs
        Sampling rate, 1/time.
    rng
        Of the starting points.
    segments
        Half-open sample ranges; the whole record when None.

    Returns
    -------
        Best of `N_STARTS` fits; look at `identifiable` before quoting it.
    """
    ranges = np.array([[0, len(x)]]) if segments is None else segments
    omega, counts, periodogram = _log_bands(x, ranges)
    sign = np.sign(np.sum(counts[:40] * periodogram[:40, 0, 1].real)) or 1.0
    best: tuple[float, Array, Array, bool] | None = None
    for start in _starts(sign, rng):
        fit = _score(start, omega, counts, periodogram)
        if best is None or fit[0] < best[0]:
            best = fit
    assert best is not None
    _, theta, information, converged = best
    return _summary(theta, information, converged, fs)


def fit_pairs(
    x: NDArray[np.floating],
    ds: xr.Dataset,
    segments: Segments,
    *,
    fs: float,
    rng: np.random.Generator,
) -> dict[str, tuple[str, Array]]:
    """Fit every pair whose witness is significant; columns of NaN where nothing may be quoted.

    Parameters
    ----------
    x
        Record, shape (time, channel).
    ds
        Result with `reject`, `W_low`, `channel_i`, `channel_j`.
    segments
        Half-open sample ranges used.
    fs
        Sampling rate, 1/time.
    rng
        One child per pair.

    Returns
    -------
        Columns over `pair`, rates per second.
    """
    n_pairs = ds.sizes["pair"]
    names = ("epr_bound", "epr_fit", "epr_fit_se", "kappa", "gamma_i", "gamma_j", "fit_condition")
    out = {name: np.full(n_pairs, np.nan) for name in names}
    identifiable = np.zeros(n_pairs, dtype=bool)
    pairs = np.stack([ds["channel_i"], ds["channel_j"]], axis=1)
    for k, child in enumerate(rng.spawn(n_pairs)):
        if not ds["reject"].to_numpy()[k] or not np.isfinite(ds["W_low"].to_numpy()[k]):
            continue
        fit = fit_one_way(x[:, pairs[k]], fs=fs, rng=child, segments=segments)
        out["fit_condition"][k] = fit.condition
        identifiable[k] = fit.identifiable
        if not fit.identifiable:
            continue
        bound = ep_bound(float(ds["W_low"][k]) * fs, fit.kappa, fit.gamma)
        values = (bound, fit.ep_rate, fit.stderr, fit.kappa, *fit.gamma)
        for name, value in zip(names, values, strict=False):
            out[name][k] = value
    return {
        **{name: ("pair", value) for name, value in out.items()},
        "identifiable": ("pair", identifiable),
    }


def one_way_spectrum(theta: Array, omega: Array) -> NDArray[np.complex128]:
    """Return the spectrum of the sampled pair, time in samples, shape (frequency, 2, 2).

    `theta` = (log kappa, log gamma_1, log gamma_2, log D_1, log D_2, g_1, g_2), drive D = 1.
    """
    kappa, *rest = np.exp(theta[:5])
    gamma, diffusion, g = np.array(rest[:2]), np.array(rest[2:]), theta[5:]
    step = np.diag(np.exp(-np.array([kappa, *gamma])))
    gap = gamma - kappa
    safe = np.where(np.abs(gap) < 1e-9, 1.0, gap)
    ratio = np.where(np.abs(gap) < 1e-9, 1 - gap / 2, -np.expm1(-gap) / safe)
    step[1:, 0] = g * np.exp(-kappa) * ratio
    cov = np.zeros((3, 3))
    cov[0, 0] = 1 / kappa
    cov[0, 1:] = cov[1:, 0] = g / kappa / (kappa + gamma)
    mixed = np.outer(g, cov[0, 1:])
    cov[1:, 1:] = (mixed + mixed.T + 2 * np.diag(diffusion)) / np.add.outer(gamma, gamma)
    noise = cov - step @ cov @ step.T
    z = np.exp(-1j * omega)
    filters = 1 / (1 - np.multiply.outer(z, np.diag(step)))
    response = np.zeros((omega.size, 2, 3), dtype=np.complex128)
    for i in (1, 2):
        response[:, i - 1, 0] = filters[:, i] * step[i, 0] * z * filters[:, 0]
        response[:, i - 1, i] = filters[:, i]
    return np.asarray(response @ noise @ response.conj().transpose(0, 2, 1))


def _log_bands(
    x: NDArray[np.floating], segments: Segments
) -> tuple[Array, Array, NDArray[np.complex128]]:
    """Means of the periodogram matrix over log-spaced bands, channels scaled to unit sd."""
    omegas, products = [], []
    rows = np.concatenate([x[a:b] for a, b in segments]).astype(np.float64)
    mean, sd = rows.mean(axis=0), rows.std(axis=0)
    for start, stop in segments:
        n = int(stop - start)
        transform = np.fft.rfft(((x[start:stop] - mean) / sd).T)[:, 1 : (n + 1) // 2]
        omegas.append(2 * np.pi * np.arange(1, (n + 1) // 2) / n)
        products.append(np.einsum("if,jf->fij", transform, transform.conj()) / n)
    omega, product = np.concatenate(omegas), np.concatenate(products)
    edges = np.geomspace(omega.min(), np.pi, N_BANDS + 1)
    index = np.clip(np.searchsorted(edges, omega, side="right") - 1, 0, N_BANDS - 1)
    counts = np.bincount(index, minlength=N_BANDS).astype(np.float64)
    keep = counts > 0
    centre = np.bincount(index, omega, minlength=N_BANDS)[keep] / counts[keep]
    mean_product = np.zeros((N_BANDS, 2, 2), dtype=np.complex128)
    np.add.at(mean_product, index, product)
    return centre, counts[keep], mean_product[keep] / counts[keep, None, None]


def _starts(sign: float, rng: np.random.Generator) -> list[Array]:
    """Rates spread over four decades; noise and loading each give half the unit variance."""
    starts = []
    for _ in range(N_STARTS):
        kappa, *gamma = np.exp(rng.uniform(np.log(2e-3), np.log(1.0), 3))
        gamma = np.array(gamma)
        g = np.sqrt(0.5 * kappa * gamma * (kappa + gamma)) * np.array([1.0, sign])
        starts.append(np.concatenate([np.log([kappa, *gamma, *(0.5 * gamma)]), g]))
    return starts


def _score(
    theta: Array, omega: Array, counts: Array, data: NDArray[np.complex128]
) -> tuple[float, Array, Array, bool]:
    """Minimise (4) by damped Fisher scoring: loss, parameters, information, converged."""
    low, high = np.log(RATE_RANGE[0]), np.log(RATE_RANGE[1])
    loss, gradient, information = _whittle(theta, omega, counts, data)
    damping = 1e-3
    for _ in range(MAX_ITERATIONS):
        scale = np.diag(np.diag(information) + 1e-12 * information.max())
        move = -np.linalg.solve(information + damping * scale, gradient)
        trial = theta + np.clip(move, -2.0, 2.0)
        trial[:3] = np.clip(trial[:3], low, high)
        new = _whittle(trial, omega, counts, data)
        if new[0] < loss:
            done = loss - new[0] < 1e-9 * max(1.0, counts.sum()) * STEP_TOLERANCE
            theta, (loss, gradient, information) = trial, new
            damping = max(damping / 10, 1e-12)
            if done or np.abs(move).max() < STEP_TOLERANCE:
                return loss, theta, information, True
        else:
            damping *= 10
            if damping > 1e10:  # no descent left: a minimum up to rounding
                return loss, theta, information, True
    return loss, theta, information, False


def _whittle(
    theta: Array, omega: Array, counts: Array, data: NDArray[np.complex128]
) -> tuple[float, Array, Array]:
    spectrum = one_way_spectrum(theta, omega)
    inverse = np.linalg.inv(spectrum)
    explained = inverse @ data
    loss = np.sum(counts * (np.linalg.slogdet(spectrum).logabsdet + _trace(explained)))
    slopes = np.empty((theta.size, *spectrum.shape), dtype=np.complex128)
    for a in range(theta.size):
        up, down = theta.copy(), theta.copy()
        up[a] += DIFFERENCE
        down[a] -= DIFFERENCE
        change = one_way_spectrum(up, omega) - one_way_spectrum(down, omega)
        slopes[a] = inverse @ change / (2 * DIFFERENCE)
    gradient = np.sum(counts * (_trace(slopes) - _trace(slopes @ explained)), axis=1)
    weighted = slopes * counts[:, None, None]
    information = np.einsum("amij,bmji->ab", weighted, slopes).real
    return float(loss), gradient, information


def _trace(matrices: NDArray[np.complex128]) -> Array:
    return np.trace(matrices, axis1=-2, axis2=-1).real


def _summary(theta: Array, information: Array, converged: bool, fs: float) -> OneWayFit:
    kappa, g1, g2, d1, d2 = np.exp(theta[:5])
    gamma, diffusion, g = np.array([g1, g2]), np.array([d1, d2]), theta[5:]
    parts = g**2 / (diffusion * (kappa + gamma))
    gradient = np.concatenate(
        [
            [-np.sum(parts * kappa / (kappa + gamma))],
            -parts * gamma / (kappa + gamma),
            -parts,
            2 * g / (diffusion * (kappa + gamma)),
        ]
    )
    # Units of the fit: time 1/kappa and D_i = 1, so that the condition number has no units.
    unit = np.concatenate([np.ones(5), kappa * np.sqrt(diffusion)])
    condition = float(np.linalg.cond(information * np.outer(unit, unit)))
    usable = np.isfinite(condition) and condition < 1e14
    variance = gradient @ np.linalg.solve(information, gradient) if usable else np.inf
    return OneWayFit(
        ep_rate=float(parts.sum() * fs),
        stderr=float(np.sqrt(max(variance, 0.0)) * fs),
        kappa=float(kappa * fs),
        gamma=(float(g1 * fs), float(g2 * fs)),
        condition=condition,
        converged=converged,
    )
