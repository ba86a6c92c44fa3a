"""The cross-spectral witness of a hidden drive, for every pair of channels of a record.

    W     = -(1/4 pi) int log(1 - coh^2) d omega           nats per sample          (1)
    sigma =  (1/pi) int (Im S_12)^2 / Delta d omega        nats per sample          (2)

W > 0 says that two channels are dependent; if each channel is its own linear filter of own noise
plus drive, with no direct link, they share a hidden drive, and the filters cancel from W.
sigma > 0 says that the pair distinguishes past from future. `W_irr` and `W_rev` split W into the
part that a time-reversible pair could not have and the rest. `sigma_N` and `W_total` are the same
for the whole set. What each number certifies is written into the result's attributes.

One channel of a linear Gaussian process never shows an arrow of time: for one channel the pair
table is empty and the rates of the set are NaN.

Limits: stationary and simultaneously sampled channels; second-order, so for non-Gaussian data the
numbers indicate but do not bound. A delay or a causal filter on one channel changes sigma and
W_irr, not W; instantaneous mixing (shared reference) raises W and leaves sigma at zero.

Source: Bi and Calhoun, arXiv:2604.03775; the normalisation of W as a rate in nats, its estimators
and their laws were derived here.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from irrev import schema
from irrev.ep import recording as rec
from irrev.ep import witness_null, witness_oneway
from irrev.ep.spectra import Precision, summarise
from irrev.ep.whitening import fit_whitening, one_blas_thread, summarise_lags
from irrev.ep.witness_checks import check_options, check_periods
from irrev.ep.witness_solve import METHOD_VERSION, solve
from irrev.errors import InputError

__all__ = ["METHOD_VERSION", "solve", "witness"]
Assumption = Literal["csm", "one_way_ou"]
Null = Literal["analytic", "shift", "phase"]


def witness(
    x: ArrayLike | xr.Dataset,
    *,
    fs: float | None = None,
    band: tuple[float, float] | None = None,
    n_bands: int = 64,
    test_bands: int = 16,
    segments: ArrayLike | None = None,
    epoch_length: int | None = None,
    first_join: int = 0,
    nan: rec.NanRule = "raise",
    detrend: bool = False,
    periods: Sequence[float] = (),
    harmonics: int = 4,
    level: float = 0.95,
    fdr: float = 0.05,
    fdr_method: Literal["bh", "by"] = "bh",
    null: Null = "analytic",
    draws: int = 999,
    assumption: Assumption = "csm",
    shared_reference: bool | None = None,
    keep_coherence: bool = False,
    precision: Precision = "float64",
    channels: Sequence[str] | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Estimate witness and irreversibility of every pair of channels, and of the whole set.

    Parameters
    ----------
    x
        Record, shape (time, channel), uniformly and simultaneously sampled; or a Dataset of kind
        `timeseries`, which brings `fs`, `channels`, `segments` and `shared_reference`.
    fs
        Sampling rate, Hz; needed for an array.
    band
        Frequency range in Hz; rates are then the contribution of this range. All when None.
    n_bands
        Bands M of the estimates; halved until each holds 8 ordinates.
    test_bands
        Bands of the p-values, a divisor of `n_bands`; fewer bands have more power.
    segments, epoch_length, first_join
        Half-open sample ranges of joined epochs, shape (segment, 2), or epochs of equal length
        whose first join lies before sample `first_join`. Nothing is computed across a join.
    nan
        "raise"; "drop_segment" drops segments with missing values; "split" cuts segments there.
    detrend
        Remove a linear trend of every segment and channel.
    periods, harmonics
        Known periods in seconds, removed with their harmonics by regression.
    level
        Confidence level of the intervals.
    fdr, fdr_method
        False-discovery rate, by Benjamini-Hochberg or Benjamini-Yekutieli.
    null
        "analytic"; "shift" (circular shifts of one channel) or "phase" (random phases) add
        `p_surrogate`, for non-Gaussian data. q-values use the analytic p in every case.
    draws
        Surrogates of each pair.
    assumption
        "csm" gives no entropy production. "one_way_ou" adds, for pairs whose witness is
        significant, the fitted one-way coupled Ornstein-Uhlenbeck process and the bound it
        implies: use it only if the drive is known not to feel the channels.
    shared_reference
        Channels of one body or one reference electrode; marks every pair.
    keep_coherence
        Add `coh2`, the coherence of every pair and band.
    precision
        "float32" for transforms and products; relative error of W below 1e-4.
    channels
        Names; "0", "1", ... when None.
    seed
        Of the surrogates and of the starts of the fit.

    Returns
    -------
        Kind `witness`: dims `pair`, `channel`, `band`; rates in nats per sample. `W_low` may be
        negative: estimates are never clipped.

    Raises
    ------
    InputError
        If the record is not (time, channel), has missing values, or is too short; if an option
        is out of range, or `fs` contradicts the Dataset.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((4096, 3))
    >>> ds = witness(x, fs=100.0)
    >>> ds.sizes["pair"], bool(ds["reject"].any())
    (3, False)
    """
    if assumption not in CERTIFIES:
        raise InputError(f"assumption={assumption!r}; use one of {', '.join(CERTIFIES)}.")
    check_options({
        "level": level, "fdr": fdr, "fdr_method": fdr_method, "null": null, "nan": nan,
        "precision": precision, "n_bands": n_bands, "test_bands": test_bands, "draws": draws,
        "harmonics": harmonics, "seed": seed, "band": band, "segments": segments,
        "epoch_length": epoch_length, "first_join": first_join,
    })  # fmt: skip
    data = rec.take(x, fs, channels, segments, epoch_length, first_join, shared_reference)
    check_periods(periods, data.fs)
    data = rec.prepare(data, nan, detrend, periods, harmonics)
    plan = rec.plan_bands(data, n_bands, test_bands, band)
    with one_blas_thread():
        whitening = fit_whitening(summarise_lags(data.x, segments=plan.segments))
        sums = summarise(
            data.x,
            whitening,
            n_bands=plan.fine_bands,
            segments=plan.segments,
            cycles=plan.cycles,
            precision=precision,
        )
        ds = solve(
            sums,
            whitening,
            fs=data.fs,
            n_bands=plan.n_bands,
            test_bands=plan.test_bands,
            cycles=plan.cycles,
            level=level,
            fdr=fdr,
            fdr_method=fdr_method,
            shortest=int(np.diff(plan.segments, axis=1).min()),
            shared_reference=data.shared_reference,
            keep_coherence=keep_coherence,
            channels=data.channels,
        )
    rng = np.random.default_rng(seed)
    if null != "analytic":
        p = witness_null.surrogate_p(data.x, whitening, plan, ds, kind=null, draws=draws, rng=rng)
        ds = _with_surrogates(ds, p)
    if assumption == "one_way_ou":
        ds = ds.assign(witness_oneway.fit_pairs(data.x, ds, plan.segments, fs=data.fs, rng=rng))
    ds.attrs |= {
        "assumption": assumption,
        "null": null,
        "seed": seed,
        "n_dropped": plan.n_dropped,
        "n_missing": data.n_missing,
        "certifies": CERTIFIES[assumption],
    }
    return schema.validate(ds, "witness")


CERTIFIES = {
    "csm": (
        "W above zero: the two channels are dependent. A shared hidden drive, if they have no "
        "direct link, no feedback on the drive, no common reference or line noise. No entropy "
        "production by itself. sigma or W_irr above zero: the pair is not time-reversible, if "
        "the channels are sampled simultaneously through equal filters. sigma of zero does not "
        "mean equilibrium."
    ),
    "one_way_ou": (
        "Under the stated assumption, a hidden Ornstein-Uhlenbeck drive that acts on the channels "
        "and does not feel them: epr_bound is a lower bound on the entropy production rate of "
        "drive and channels at the fitted rates, epr_fit its fitted value. If the drive feels the "
        "channels, neither holds; W alone certifies dependence only."
    ),
}


def _with_surrogates(ds: xr.Dataset, p: NDArray[np.float64]) -> xr.Dataset:
    """Add surrogate p-values and flag those that contradict the analytic ones."""
    analytic = np.maximum(ds["p"].to_numpy(), np.nanmin(p, initial=1.0))  # draws set a floor
    with np.errstate(invalid="ignore"):
        apart = np.maximum(p / analytic, analytic / p) > 3
        disagrees = apart & (np.minimum(p, analytic) < 0.05)
    status = ds["status"].to_numpy().copy()
    for k in np.flatnonzero(disagrees):
        status[k] = (
            "surrogate_disagrees" if status[k] == "ok" else status[k] + ";surrogate_disagrees"
        )
    return ds.assign(p_surrogate=("pair", p), status=("pair", status))
