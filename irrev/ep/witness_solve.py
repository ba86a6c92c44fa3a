"""From summed spectra to the table of pairs: rates, errors, tests and warnings.

Warnings are words in `status`, joined by ";":

    constant              a channel of the pair does not vary: all NaN
    undefined             a rate is not finite for another reason: overflow, too few ordinates
    degenerate            proportional channels: W is infinite, p is 0
    bands_too_wide        p < 0.001 and W grows by more than 10 % when the bands are halved
    sigma_not_converged   the same for sigma; no rate is quotable (quasi-periodic signals)
    one_band              one band carries more than half of the statistic: trend, season, mains
    heavy_tails           excess kurtosis above 5 after whitening: prefer surrogates
    shared_strength       both channels grow and fade together; counts are reduced for it
    short_segments        segments below 100 correlation times
    shared_reference      W may be instantaneous mixing; look at sigma and W_irr first

and in `set_status`: "rank" when the channels are linearly dependent or too many for the record,
"scalar ceiling" for a single varying channel or none, whose set has no rates. The thresholds are
heuristics with their reasons below.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.ep import witness_stats as stat
from irrev.ep.spectra import MIN_BANDS, CrossSums
from irrev.ep.whitening import Whitening
from irrev.stats import benjamini_hochberg, benjamini_yekutieli

METHOD_VERSION = 3  # 1: unequal segments scaled with their length; 2: strength taken as steady
LEAST = 4.0  # ordinates that a band counts as at least: below it the errors have no variance
DEGENERATE = 1 - 1e-12  # coherence of proportional channels, up to rounding
DEPENDENT = 1e-5  # smallest correlation eigenvalue of linearly dependent channels (rounded leads)
NOT_CONVERGED = 1.1  # growth from M to 2 M bands that shows structure finer than a band
CONVERGENCE_P = 1e-3  # of the test, before that growth means anything
ONE_BAND = 0.5  # share of the statistic: trend, season, mains
ONE_BAND_FROM = 64  # bands; with 16 a slow drive fills one by itself
UNKNOWN = 0.5  # standard error of the set's correction for shared strength, part of it
HEAVY_TAILS = 5.0  # excess kurtosis; exponential noise (6) doubles the 1 % rate at 1,024 samples
LONG_SEGMENT = 100  # correlation times
PAIR_BLOCK = 4096
FLAGS = (
    "constant",
    "degenerate",
    "bands_too_wide",
    "sigma_not_converged",
    "one_band",
    "undefined",
    "shared_strength",
)


def solve(
    sums: CrossSums,
    whitening: Whitening,
    *,
    fs: float,
    n_bands: int = 64,
    test_bands: int = 16,
    cycles: tuple[float, float] = (0.0, 0.5),
    level: float = 0.95,
    fdr: float = 0.05,
    fdr_method: Literal["bh", "by"] = "bh",
    shortest: int | None = None,
    shared_reference: bool = False,
    keep_coherence: bool = False,
    channels: Sequence[str] | None = None,
) -> xr.Dataset:
    """Turn summed spectra into rates, errors, tests and warnings of all pairs and of the set.

    Parameters
    ----------
    sums
        Sum of `summarise` over all chunks, in `n_bands` or 2 `n_bands` bands.
    whitening
        The filters that were used.
    fs
        Sampling rate, Hz.
    n_bands, test_bands, cycles, level, fdr, fdr_method, shared_reference, keep_coherence, channels
        As in `witness`; `cycles` is its band in cycles per sample.
    shortest
        Samples of the shortest segment; all samples when None.

    Returns
    -------
        As `witness`, without surrogates and fits.
    """
    n = len(whitening.order)
    names = [str(c) for c in range(n)] if channels is None else list(channels)
    first, second = np.triu_indices(n, 1)
    pairs = zip(first, second, strict=True)
    parts = [
        _solve_pairs(
            sums, whitening, first[b : b + PAIR_BLOCK], second[b : b + PAIR_BLOCK],
            n_bands, test_bands, level, keep_coherence,
        )
        for b in range(0, max(first.size, 1), PAIR_BLOCK)
    ]  # fmt: skip
    columns = {key: np.concatenate([p[key] for p in parts], axis=0) for key in parts[0]}
    flags = {key: columns.pop(key).astype(np.bool_) for key in FLAGS}
    memory, tails = whitening.correlation_time, _excess_kurtosis(sums, whitening)
    heavy = tails > HEAVY_TAILS
    length = sums.n_samples if shortest is None else shortest
    short = length < LONG_SEGMENT * memory
    flags |= {
        "heavy_tails": heavy[first] | heavy[second],
        "short_segments": short[first] | short[second],
        "shared_reference": np.full(first.size, shared_reference),
    }
    adjust = benjamini_hochberg if fdr_method == "bh" else benjamini_yekutieli
    columns |= {"q": adjust(columns["p"]), "q_irr": adjust(columns["p_irr"])}
    columns |= {"reject": columns["q"] <= fdr, "reject_irr": columns["q_irr"] <= fdr}
    labels = np.array([f"{names[i]}|{names[j]}" for i, j in pairs], dtype=object)
    merged = sums.coarser(n_bands)
    edges = np.linspace(*cycles, n_bands + 1) * fs
    pair = {key: _pair_array(value) for key, value in columns.items()}
    ds = xr.Dataset(
        {
            **pair,
            "status": ("pair", _status(flags, first.size)),
            **_solve_set(sums, whitening, n_bands, test_bands, level),
            "band_counts": ("band", merged.counts),
            "ar_order": ("channel", whitening.order),
            "correlation_time": ("channel", memory / fs),
            "excess_kurtosis": ("channel", tails),
        },
        coords={
            "pair": ("pair", labels),
            "channel_i": ("pair", first),
            "channel_j": ("pair", second),
            "channel": ("channel", np.array(names, dtype=object)),
            "frequency": ("band", 0.5 * (edges[1:] + edges[:-1])),
        },
    )  # fmt: skip
    ds.attrs = {
        "method": "witness",
        "method_version": METHOD_VERSION,
        "rates": "nats per sample; times fs for nats per second",
        "fs": fs,
        "n_bands": n_bands,
        "test_bands": test_bands,
        "n_samples": sums.n_samples,
        "n_segments": sums.n_segments,
        "level": level,
        "fdr": fdr,
        "fdr_method": fdr_method,
    }
    return ds


def _solve_pairs(
    sums: CrossSums,
    whitening: Whitening,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    n_bands: int,
    test_bands: int,
    level: float,
    keep_coherence: bool,
) -> dict[str, NDArray[np.float64]]:
    """Compute all columns of a block of pairs; keys of FLAGS are boolean."""
    constant = whitening.constant[first] | whitening.constant[second]
    at = {m: _Bands(sums, m, first, second) for m in {len(sums.counts), n_bands, test_bands}}
    main, test, fine = at[n_bands], at[test_bands], at[len(sums.counts)]
    with np.errstate(invalid="ignore", divide="ignore"):
        degenerate = ~constant & (main.coh2 >= DEGENERATE).any(axis=0)
        w = stat.witness_estimate(main.coh2, main.counts, main.share)
        sigma = stat.irreversibility_estimate(main.ratio, main.counts, main.share)
        w_irr = stat.irreversible_witness(main.ratio, main.counts, main.share)
        restored = stat.witness_estimate(main.coh2_restored, main.counts, main.share)
        independent = stat.independence_test(test.coh2, test.plain)  # independent: F = 1
        reversible = stat.reversibility_test(test.ratio, test.counts)
        w_fine = stat.witness_estimate(fine.coh2, fine.counts, fine.share)
        s_fine = stat.irreversibility_estimate(fine.ratio, fine.counts, fine.share)
        weight = -(main.plain[:, None] - 1) * np.log1p(-main.coh2)
    good = ~(constant | degenerate)
    w_value = np.where(degenerate, np.inf, w.value)
    log_p = np.where(degenerate, -np.inf, independent.log_p)
    certain, irreversible = log_p < np.log(CONVERGENCE_P), reversible.log_p < np.log(CONVERGENCE_P)
    z = stat.normal_quantile(level)
    out = {
        "W": w_value,
        "W_se": w.stderr,
        "W_low": w_value - z * w.stderr,
        "W_high": w_value + z * w.stderr,
        "log_p": log_p,
        "p": np.exp(log_p),
        "W_irr": w_irr,
        "W_rev": restored.value - w_irr,
        "sigma": sigma.value,
        "sigma_se": sigma.stderr,
        "sigma_low": sigma.value - z * sigma.stderr,
        "sigma_high": sigma.value + z * sigma.stderr,
        "log_p_irr": reversible.log_p,
        "p_irr": np.exp(reversible.log_p),
        "irr_fraction": w_irr / restored.value,
        "constant": constant,
        "degenerate": degenerate,
        "bands_too_wide": good & certain & (w_fine.value > NOT_CONVERGED * w.value),
        "sigma_not_converged": good & irreversible & (s_fine.value > NOT_CONVERGED * sigma.value),
        "one_band": good & certain & (weight.max(axis=0) > ONE_BAND * weight.sum(axis=0))
        if n_bands >= ONE_BAND_FROM
        else np.zeros_like(good),
    }
    out["shared_strength"] = good & ((main.factor > 1) | (test.factor > 1))
    finite = np.isfinite(w_value) & np.isfinite(sigma.value) & np.isfinite(log_p)
    out["undefined"] = good & ~finite
    if keep_coherence:
        out["coh2"] = main.coh2.T
    for key in out:
        undefined = constant if key in ("W", "log_p", "p") else ~good
        if key not in FLAGS and key != "coh2":
            out[key] = np.where(undefined, np.nan, out[key])
    return out


class _Bands:
    """Coherences and phase ratios of some pairs at one number of bands."""

    def __init__(
        self, sums: CrossSums, n_bands: int, first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> None:
        merged = sums.coarser(n_bands)
        self.share = merged.counts / sums.n_ordinates
        self.coh2 = stat.coherence(merged.gram, first, second)
        self.factor = sums.strength.factor(first, second, self.coh2.mean(axis=0), n_bands)
        self.plain = merged.counts.astype(np.float64)
        floor = np.minimum(self.plain, LEAST)[:, None]
        self.counts = np.maximum(self.plain[:, None] / self.factor, floor)
        self.coh2_restored = stat.coherence(merged.restored, first, second)
        self.ratio = stat.phase_ratio(merged.restored, first, second)


def _solve_set(
    sums: CrossSums, whitening: Whitening, n_bands: int, test_bands: int, level: float
) -> dict[str, tuple[tuple[str, ...], object]]:
    """Rates of the whole set, over the channels that vary."""
    keep = np.flatnonzero(~whitening.constant)
    names = ("W_total", "sigma_N")
    empty = {f"{n}{s}": np.nan for n in names for s in ("", "_se", "_low", "_high")}
    empty |= {"p_total": np.nan, "p_irr_N": np.nan}
    first, second = (keep[k] for k in np.triu_indices(keep.size, 1))
    n_used, factor = _set_bands(sums, first, second, n_bands, keep.size + 2)
    status = "ok"
    if keep.size < 2:
        status, values = "scalar ceiling", empty
    elif n_used < MIN_BANDS or whitening.smallest_eigenvalue < DEPENDENT:
        status, values = "rank", empty
    else:
        merged, z = sums.coarser(n_used), stat.normal_quantile(level)
        counts, share = merged.counts.astype(np.float64), merged.counts / sums.n_ordinates
        block = np.ix_(np.arange(n_used), keep, keep)
        restored, gram = merged.restored[block], merged.gram[block]
        sigma, reversible = stat.set_irreversibility(restored, counts, share)
        total, independent = stat.total_witness(gram, counts, share)
        if factor > 1:
            few = counts / factor
            sigma = _uncertain(stat.set_irreversibility(restored, few, share)[0], sigma)
            total = _uncertain(stat.total_witness(gram, few, share)[0], total)
            wide = sums.coarser(min(test_bands, n_used))  # such changes join narrow bands
            block = np.ix_(np.arange(len(wide.counts)), keep, keep)
            few = wide.counts / _mean_factor(sums, first, second, len(wide.counts))
            share = wide.counts / sums.n_ordinates
            _, reversible = stat.set_irreversibility(wide.restored[block], few, share)
        values = {"p_total": np.exp(independent.log_p), "p_irr_N": np.exp(reversible.log_p)}
        for name, est in zip(names, (total, sigma), strict=True):
            values |= {
                name: est.value,
                f"{name}_se": est.stderr,
                f"{name}_low": est.value - z * est.stderr,
                f"{name}_high": est.value + z * est.stderr,
            }
    out: dict[str, tuple[tuple[str, ...], object]] = {k: ((), float(v)) for k, v in values.items()}
    return out | {
        "set_status": ((), np.array(status, dtype=object)),
        "set_bands": ((), n_used if status == "ok" else 0),
        "set_channels": ((), int(keep.size)),
    }


def _set_bands(
    sums: CrossSums,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    n_bands: int,
    least: int,
) -> tuple[int, float]:
    """Halve the bands until each holds `least` ordinates after F; give their number and F."""
    factor = 1.0
    while n_bands >= MIN_BANDS:
        factor = _mean_factor(sums, first, second, n_bands)
        if sums.coarser(n_bands).counts.min() / factor >= least:
            break
        n_bands = n_bands // 2 if n_bands % 2 == 0 else 0
    return n_bands, factor


def _uncertain(est: stat.Estimate, steady: stat.Estimate) -> stat.Estimate:
    """Add what is not known of F: its effect on the bias grows with the number of channels."""
    return replace(est, stderr=np.hypot(est.stderr, UNKNOWN * np.abs(est.value - steady.value)))


def _mean_factor(
    sums: CrossSums, first: NDArray[np.int64], second: NDArray[np.int64], n_bands: int
) -> float:
    """Return how far shared changes of strength reduce the ordinates, over all pairs."""
    if not first.size:
        return 1.0
    gram = sums.coarser(n_bands).gram
    factors = [
        sums.strength.factor(i, j, stat.coherence(gram, i, j).mean(axis=0), n_bands)
        for i, j in (
            (first[b : b + PAIR_BLOCK], second[b : b + PAIR_BLOCK])
            for b in range(0, first.size, PAIR_BLOCK)
        )
    ]
    return float(np.concatenate(factors).mean())


def _excess_kurtosis(sums: CrossSums, whitening: Whitening) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        value = sums.n_samples * sums.fourth / sums.square**2 - 3.0
    return np.where(whitening.constant, 0.0, value)


def _status(flags: dict[str, NDArray[np.bool_]], n_pairs: int) -> NDArray[np.object_]:
    text = np.full(n_pairs, "ok", dtype=object)
    for name, on in flags.items():
        for k in np.flatnonzero(on):
            text[k] = name if text[k] == "ok" else f"{text[k]};{name}"
    return text


def _pair_array(value: NDArray[np.generic]) -> tuple[tuple[str, ...], NDArray[np.generic]]:
    return (("pair", "band"), value) if value.ndim == 2 else (("pair",), value)
