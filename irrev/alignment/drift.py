"""Has behaviour drifted? A test on class counts with a stated false-alarm rate.

Two Dirichlet-multinomial laws of the counts n since a start point are compared:

    log E = log DM(n | a1) - log DM(n | a0),   a0 = b + 1/2,   a1 = 1 + 10 a0 / sum(a0)     (1)

with baseline counts b. It sees classes swap at constant entropy. `form="cumulative"` starts once;
under a KNOWN baseline law the same ratio is a martingale and P(ever E >= 1/alpha) <= alpha
(Ville), but it is slow after a long clean record. `form="scan"` takes the best start of the last
40 bins; no inequality covers it with an estimated baseline, so `scan_threshold` simulates its
threshold from the baseline's posterior.

Source: J. Ville (1939) for the bound; R. Wang, A. Ramdas, J. R. Stat. Soc. B 84, 822 (2022) for
`e_bh`; the choice (1) of laws is ours.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from irrev.errors import InputError

METHOD_VERSION = 1
SCAN_WINDOW = 40  # bins
SCAN_THRESHOLD = 1000.0  # about 1.3 % of streams alarm falsely per 100 clean bins of 20
CUMULATIVE_THRESHOLD = 20.0  # 1 / alpha at alpha = 0.05
MIN_BASELINE = 500  # transcripts; below it most changes are missed
Form = Literal["scan", "cumulative"]
Array = NDArray[np.float64]


def log_dirichlet_multinomial(counts: ArrayLike, a: ArrayLike) -> Array:
    """Return the log probability of a sequence with these counts, classes last."""
    n, a = np.asarray(counts, dtype=np.float64), np.asarray(a, dtype=np.float64)
    A, N = a.sum(axis=-1), n.sum(axis=-1)
    return gammaln(A) - gammaln(A + N) + np.sum(gammaln(a + n) - gammaln(a), axis=-1)


@dataclass(frozen=True, slots=True)
class EProcess:
    """Evidence for drift, bin by bin."""

    log_e: Array  # (..., bin)
    start: NDArray[np.int64]  # (..., bin) bin at which the change is best placed
    threshold: float  # on E
    underpowered: bool  # baseline too small to find moderate changes

    @property
    def alarm(self) -> NDArray[np.bool_]:
        """Return which bins exceed the threshold, shape (..., bin)."""
        return self.log_e >= np.log(self.threshold)


def bayes_eprocess(
    counts: ArrayLike,
    baseline: ArrayLike,
    *,
    form: Form = "scan",
    window: int = SCAN_WINDOW,
    threshold: float | None = None,
) -> EProcess:
    """Weigh drift against none on class counts, eq. (1).

    Parameters
    ----------
    counts
        Class counts, shape (..., bin, class).
    baseline
        Class counts of the clean past, shape (class,); 500 or more, or `underpowered` is set.
    form
        Restart scan over the last bins, or one start at the first bin.
    window
        Starts that the scan looks back to, bins.
    threshold
        On E; 1000 for the scan and 20 for the cumulative form if not given.

    Returns
    -------
        Log e-values, the start that explains each best, and the alarms.

    Raises
    ------
    InputError
        If the numbers of classes differ, a count is negative or NaN, or form or threshold do not
        exist.
    """
    n, b = np.asarray(counts, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if n.ndim < 2 or b.shape != n.shape[-1:]:
        raise InputError(
            f"counts {n.shape} and baseline {b.shape}: give (bin, class) and (class,)."
        )
    for name, value in (("counts", n), ("baseline", b)):
        if not np.all(np.isfinite(value) & (value >= 0)):
            raise InputError(f"{name} run down to {value.min():g}; counts are finite and >= 0.")
    if form not in get_args(Form):
        raise InputError(
            f"{form!r} is no form of the test; use one of {', '.join(get_args(Form))}."
        )
    if threshold is not None and not threshold > 0:
        raise InputError(f"threshold {threshold:g} on the e-value must be above 0, as 1000.")
    a0 = b + 0.5
    a1 = 1.0 + 10.0 * a0 / a0.sum()
    sums = np.concatenate([np.zeros_like(n[..., :1, :]), np.cumsum(n, axis=-2)], axis=-2)
    best = np.full(n.shape[:-1], -np.inf)
    start = np.zeros(n.shape[:-1], dtype=np.int64)
    n_bins = n.shape[-2]
    for back in range(1, min(window, n_bins) + 1) if form == "scan" else [n_bins]:
        if form == "scan":
            inside = slice(back - 1, None)
            since = sums[..., back:, :] - sums[..., :-back, :]
        else:
            inside, since = slice(None), sums[..., 1:, :]
        value = log_dirichlet_multinomial(since, a1) - log_dirichlet_multinomial(since, a0)
        better = value > best[..., inside]
        best[..., inside] = np.where(better, value, best[..., inside])
        if form == "scan":
            first = np.arange(n_bins - back + 1)
            start[..., inside] = np.where(better, first, start[..., inside])
    default = SCAN_THRESHOLD if form == "scan" else CUMULATIVE_THRESHOLD
    return EProcess(best, start, threshold or default, bool(b.sum() < MIN_BASELINE))


def scan_threshold(
    baseline: ArrayLike,
    *,
    bin_size: int,
    n_bins: int = 100,
    level: float = 0.01,
    n_streams: int = 2000,
    window: int = SCAN_WINDOW,
    rng: np.random.Generator,
) -> float:
    """Simulate the threshold at which a share `level` of clean streams alarms within `n_bins`.

    Each stream has its own law, drawn from the baseline posterior Dirichlet(b + 1/2).
    """
    b = np.asarray(baseline, dtype=np.float64)
    laws = rng.dirichlet(b + 0.5, size=n_streams)
    counts = rng.multinomial(bin_size, laws[:, None, :], size=(n_streams, n_bins))
    peak = bayes_eprocess(counts, b, window=window).log_e.max(axis=-1)
    return float(np.exp(np.quantile(peak, 1 - level)))


@dataclass(frozen=True, slots=True)
class DriftTest:
    """Verdict on one stream."""

    drifted: bool
    alarm_bin: int  # first bin that alarms, -1 if none
    change_bin: int  # where the change is best placed at that alarm, -1 if none
    log_e: Array  # (bin,)
    threshold: float
    underpowered: bool


def drift_test(
    counts: ArrayLike,
    baseline: ArrayLike,
    *,
    form: Form = "scan",
    threshold: float | None = None,
) -> DriftTest:
    """Test one stream of class counts for a change of behaviour against its baseline.

    Parameters
    ----------
    counts
        Class counts of the bins since the baseline, shape (bin, class).
    baseline
        Class counts of the clean past, shape (class,).
    form, threshold
        As in `bayes_eprocess`.

    Returns
    -------
        Verdict with the bin of the alarm and of the change.

    Examples
    --------
    >>> drift_test([[18, 2]] * 5 + [[4, 16]] * 5, [900, 100]).change_bin
    5
    """
    process = bayes_eprocess(counts, baseline, form=form, threshold=threshold)
    bins = np.flatnonzero(process.alarm)
    first = int(bins[0]) if bins.size else -1
    change = int(process.start[first]) if bins.size else -1
    return DriftTest(
        bool(bins.size), first, change, process.log_e, process.threshold, process.underpowered
    )


def e_bh(log_e: ArrayLike, *, level: float = 0.05) -> NDArray[np.bool_]:
    """Select streams at a false-discovery rate from their e-values, under any dependence.

    Parameters
    ----------
    log_e
        One log e-value a stream, shape (stream,).
    level
        False-discovery rate.

    Returns
    -------
        Selected streams, shape (stream,): the largest k with E_(k) >= m / (k level).

    Examples
    --------
    >>> e_bh(np.log([100.0, 30.0, 1.0])).tolist()
    [True, True, False]
    """
    log_e = np.asarray(log_e, dtype=np.float64)
    order = np.argsort(-log_e)
    rank = np.arange(1, log_e.size + 1)
    passed = log_e[order] >= np.log(log_e.size / (rank * level))
    out = np.zeros(log_e.size, dtype=np.bool_)
    if passed.any():
        out[order[: rank[passed].max()]] = True
    return out
