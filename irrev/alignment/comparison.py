"""A tuned model beside its base model under one stress: reduction of S, and alignment work.

    R = 1 - S_tuned / S_base                                                       (1)

with the three figures of `irrev.alignment.gamma`: `gamma_eff` from the joint likelihood (hops with
a law of destinations of their own), `slope`, the growth of S that the tuned model lacks, to be
quoted where the fit is rejected, and `kappa_difference`, which is descriptive only.

Bin k of one series is matched with bin k of the other; bins that are not full in both are left
out. That is a match in time only where both were logged at one pace, or where bins are turns.

Source: Fadli, arXiv:2512.03047 (abstract only) for R; matching and estimators are ours.
"""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.alignment.ethical_entropy import BinBy, entropy_reduction
from irrev.alignment.gamma import gamma_ml, kappa_difference
from irrev.alignment.taxonomy import DEFAULT_TAXONOMY, Taxonomy
from irrev.entropy import EntropyEstimator, estimate_entropy

METHOD_VERSION = 1
MIN_BINS = 3  # in common, for a fit over time
UNITS = {"count": "bin-1", "duration": "s-1", "turn": "turn-1"}
NO_BASE = "no base run under this stress"
VALUES = (
    "reduction",
    "reduction_low",
    "reduction_high",
    "gamma_eff",
    "gamma_eff_low",
    "gamma_eff_high",
    "hop_rate",
    "fit_p",
    "slope",
    "slope_low",
    "slope_high",
    "kappa_difference",
)


def compare_variants(
    base: xr.Dataset | None,
    tuned: xr.Dataset,
    *,
    taxonomy: Taxonomy = DEFAULT_TAXONOMY,
    by: BinBy = "count",
    size: float = 50,
    min_count: int = 20,
    estimator: EntropyEstimator = "nsb",
    level: float = 0.95,
    n_draws: int = 200,
    rng: np.random.Generator,
) -> xr.Dataset:
    """Compare two series of `ethical_entropy`.

    Parameters
    ----------
    base, tuned
        Series with `count`, `n` and `share`; shares that were corrected for classifier errors
        are used as such. None where there is no base run.
    taxonomy
        Classes; the intended one is that to which alignment work resets.
    by, size
        How bins were made: unit of time of the rates.
    min_count
        Transcripts that a bin must hold in both series.
    estimator
        Of S in (1).
    level, n_draws, rng
        Coverage, replicates and source of the intervals.

    Returns
    -------
        One row along `pair`: the figures, NaN with a `reason` where they cannot be had.
    """
    values = dict.fromkeys(VALUES, np.nan)
    n_bins, rejected, reason = 0, False, NO_BASE
    if base is not None:
        one, other, kept = _matched(base, tuned, min_count)
        n_bins, reason = len(kept), "" if len(kept) else "no full bin in common"
        if n_bins:
            options = {"estimator": estimator, "level": level, "n_draws": n_draws, "rng": rng}
            ends = ("", "_low", "_high")
            found = entropy_reduction(one, other, **options)
            values |= {f"reduction{e}": v for e, v in zip(ends, found, strict=True)}
        if 0 < n_bins < MIN_BINS:
            reason = f"{n_bins} full bins in common; rates need {MIN_BINS}"
        if n_bins >= MIN_BINS:
            t = (kept - kept[0]) * (size if by == "duration" else 1.0)
            first = [taxonomy.intended_index]
            first += [k for k in range(one.shape[1]) if k not in first]
            fit = gamma_ml(
                t, one[:, first], other[:, first], level=level, n_draws=n_draws, rng=rng
            )
            rejected = fit.model_rejected
            reason = "the model of hops is rejected: quote the slope" if rejected else ""
            values |= {
                "gamma_eff": fit.gamma_eff,
                "gamma_eff_low": fit.low,
                "gamma_eff_high": fit.high,
                "hop_rate": fit.hop_rate,
                "fit_p": fit.p,
                "slope": fit.slope,
                "slope_low": fit.slope_low,
                "slope_high": fit.slope_high,
                "kappa_difference": _kappa(t, one, other, estimator),
            }
    return xr.Dataset(
        {
            **{name: ("pair", np.array([v], np.float64)) for name, v in values.items()},
            "n_matched": ("pair", np.array([n_bins], np.int64)),
            "model_rejected": ("pair", np.array([rejected])),
            "reason": ("pair", np.array([reason], dtype=object)),
            "rate_unit": ("pair", np.array([UNITS[by]], dtype=object)),
        },
        attrs={"level": level, "estimator": estimator},
    )


def _matched(
    base: xr.Dataset, tuned: xr.Dataset, min_count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the counts of the bins that are full in both, and which bins these are."""
    length = min(base.sizes["bin"], tuned.sizes["bin"])
    full = [np.asarray(ds["n"])[:length] >= min_count for ds in (base, tuned)]
    kept = np.flatnonzero(full[0] & full[1])
    one, other = (_counts(ds)[kept] for ds in (base, tuned))
    return one, other, kept


def _counts(series: xr.Dataset) -> NDArray[np.int64]:
    """Class counts of each bin; those behind the labels, where shares were corrected."""
    counts, n = series["count"].to_numpy(), series["n"].to_numpy()
    if not series.attrs.get("corrected", 0):
        return counts
    return np.rint(np.nan_to_num(series["share"].to_numpy()) * n[:, None]).astype(np.int64)


def _kappa(
    t: NDArray[np.float64],
    base: NDArray[np.int64],
    tuned: NDArray[np.int64],
    estimator: EntropyEstimator,
) -> float:
    """Difference of relaxation rates; NaN where a curve cannot be fitted."""
    if t.size <= MIN_BINS:
        return float("nan")
    try:
        return kappa_difference(
            t, *(estimate_entropy(c, estimator=estimator) for c in (base, tuned))
        )
    except RuntimeError:  # scipy's word for no convergence
        return float("nan")
