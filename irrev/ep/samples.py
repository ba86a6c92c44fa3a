"""From a recording to samples with the observables asked for.

A sample is the states at t, t + lag, ..., t + window lag inside one unbroken stretch. Sets of one
step are summed over the steps of the window; "delayed" adds the pairs at lags 2 to `window`, so
that the sets "pair" and "pair" + "delayed" nest. Values are of a whole sample: divided by
window x lag they bound the entropy production per step, whatever the process remembers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irrev.binning import SpikeBins
from irrev.ep import kernels
from irrev.ep.composite import Joint, Restricted, Windows
from irrev.ep.explicit import AntisymmetricTable, ExplicitObservables
from irrev.ep.observables import DensePairs, Observables, SpikePairs
from irrev.ep.sets import DenseSteps, ProductSet, SpikeLin, SpikeSteps, set_spec
from irrev.errors import InputError

DENSE_FROM = 0.18  # active fraction above which dense products win over sparse ones (measured)
SETS = ("lin", "pair", "same-time", "triple", "current", "delayed", "angles")
DEGREE = {
    "lin": 1,
    "pair": 2,
    "same-time": 2,
    "triple": 3,
    "current": 2,
    "delayed": 2,
    "given": 1,
    "angles": 0,
}  # of a set in the states
MAX_SIZE = 1e90  # of real states: their third power still is a number
MAX_TRIPLE_UNITS = 128  # a million observables

Index = NDArray[np.int64]
Given = ExplicitObservables | AntisymmetricTable


@dataclass(frozen=True, slots=True)
class Part:
    """One set of observables on all samples."""

    name: str
    lag: int  # of the pairs of "delayed"; 1 otherwise, in units of the step
    observables: Observables


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of a recording and the sets on them."""

    parts: tuple[Part, ...]
    starts: Index  # (n_samples,) first bin of each
    span: int  # steps from the first to the last state
    window: int  # states of a sample, less one
    bin_s: float
    coding: str
    n_units: int
    active: NDArray[np.int64]  # (n_samples,) active units in the first bin; empty: no spikes
    lost: float
    drift: float
    unit: float | NDArray[np.float64] = 1.0  # states, or each given observable, were divided by it

    @property
    def observables(self) -> Observables:
        """All sets as one."""
        return joined(self.parts)

    def take(self, rows: Index) -> "Samples":
        """Return the given samples only."""
        parts = tuple(replace(p, observables=p.observables.take(rows)) for p in self.parts)
        active = self.active[rows] if self.active.size else self.active
        return replace(self, parts=parts, starts=self.starts[rows], active=active)


def joined(parts: Sequence[Part]) -> Observables:
    """Return the sets as one; a single set of pairs keeps its own fast form."""
    if len(parts) == 1 and isinstance(parts[0].observables, SpikePairs | DensePairs):
        return parts[0].observables
    return Joint(tuple(part.observables for part in parts))


def exact(observables: Observables) -> Observables:
    """Return the same observables evaluated in double precision."""
    if isinstance(observables, SpikePairs):
        return replace(observables, single=False)
    if isinstance(observables, Joint):
        return Joint(tuple(exact(part) for part in observables.parts))
    if isinstance(observables, Windows | Restricted):
        return replace(observables, base=exact(observables.base))
    return observables


def sparse(observables: Observables) -> bool:
    """Tell whether a set is one of sparse spikes."""
    if isinstance(observables, Joint):
        return any(sparse(part) for part in observables.parts)
    if isinstance(observables, Windows | Restricted):
        return sparse(observables.base)
    if isinstance(observables, ProductSet):
        return isinstance(observables.steps, SpikeSteps)
    return isinstance(observables, SpikePairs | SpikeLin)


def synchrony(observables: Observables) -> float:
    """Return how far the number of active units varies beyond that of independent units.

    Var(sum_i s_i) / sum_i Var(s_i) over the first states of all samples: 1 for independent units,
    1 + (N - 1) r for N of common correlation r. Sets without pairs of spikes have 1.
    """
    if isinstance(observables, Joint):
        return max(synchrony(part) for part in observables.parts)
    if isinstance(observables, Windows | Restricted):
        return synchrony(observables.base)
    if not isinstance(observables, SpikePairs):
        return 1.0
    counts = np.diff(observables.indptr)[observables.starts]
    spikes = (observables.indptr, observables.indices, observables.starts)
    ends, _ = kernels.unit_counts(*spikes, observables.n_units, lag=observables.lag)
    rate = ends / (2.0 * observables.n_samples)
    independent = float(rate @ (1.0 - rate))
    return float(counts.var()) / independent if independent > 0 else 1.0


def build_samples(
    bins: SpikeBins | ArrayLike | Given,
    *,
    bin_s: float | None = None,
    observables: Sequence[str] = ("pair",),
    lag: int = 1,
    window: int = 1,
) -> Samples:
    """Turn an input into samples.

    Parameters
    ----------
    bins
        Binned spikes, states at equal steps of shape (time, unit) with 0/1 meaning spikes, or
        values of the user's observables, one row a sample.
    bin_s
        Length of a step, s; read from `bins` where it knows, otherwise 1 if not given.
    observables
        Members of `SETS`; ignored for the user's own.
    lag
        Steps between neighbouring states of a sample.
    window
        Steps of a sample, in units of `lag`.

    Raises
    ------
    InputError
        If a set is unknown or does not fit the data, or there are too few steps or units.
    """
    if bin_s is not None and not (isinstance(bin_s, Real) and 0 < bin_s < inf):
        raise InputError(f"bin_s is {bin_s!r}; pass the length of a step, s, above 0.")
    width = 1.0 if bin_s is None else float(bin_s)
    if isinstance(bins, ExplicitObservables | AntisymmetricTable):
        if (lag, window) != (1, 1):
            raise InputError("your own observables are samples already; leave lag and window out.")
        return _given(bins, width)
    names = _check_sets(observables, lag, window)
    if isinstance(bins, SpikeBins):
        if not bins.indices.size:
            raise no_spikes(bins.n_bins)
        return _spikes(bins, names, lag, window)
    if hasattr(bins, "rows"):
        raise InputError("the recording lies in files; use irrev.stream_ep.")
    states = np.asarray(bins)
    if states.ndim != 2:
        raise InputError(f"states have shape {states.shape}; pass (time, unit).")
    if states.dtype.kind not in "biuf":
        raise InputError(f"states are of type {states.dtype}; convert them to numbers.")
    if not np.all(np.isfinite(states)):
        raise InputError("states hold values that are not finite; cut them out of the recording.")
    if "angles" not in names and np.all((states == 0) | (states == 1)):
        return _spikes(SpikeBins.from_dense(states, width), names, lag, window)
    _check_units(states.shape[1], names)
    starts = np.arange(max(states.shape[0] - lag * window, 0))
    coding = "+-1" if np.all(np.abs(states) == 1) else "real"
    coding, unit = "angle" if "angles" in names else coding, 1.0
    if (
        coding == "real" and states.dtype.kind == "f" and states.size
    ):  # sets of several degrees share ridges: near 1
        size = float(np.mean(np.abs(states - states.mean(axis=0))))
        if size and not 1 / MAX_SIZE < size < MAX_SIZE:
            raise InputError(f"states vary by {size:.3g}; give them in a unit nearer to that.")
        unit = float(_power(size))
        states = states if unit == 1.0 else states / unit
    record = DenseSteps(states, starts, lag)
    return Samples(
        parts=_parts(names, record, window, binary=coding == "+-1"),
        starts=starts,
        span=lag * window,
        window=window,
        bin_s=width,
        coding=coding,
        n_units=states.shape[1],
        active=np.zeros(0, np.int64),
        lost=0.0,
        drift=0.0,
        unit=unit,
    )


def no_spikes(n_bins: int) -> InputError:
    """Say that a recording holds no spike."""
    return InputError(
        f"no unit spikes in these {n_bins:,} bins; check that spikes and intervals count time "
        "from the same moment."
    )


def _check_sets(observables: Sequence[str], lag: int, window: int) -> tuple[str, ...]:
    if not isinstance(observables, str | Iterable):
        raise InputError(f"observables is {observables!r}; name sets, e.g. ['pair'].")
    names = (observables,) if isinstance(observables, str) else tuple(observables)
    unknown = [name for name in names if name not in SETS]
    if unknown or not names or len(set(names)) != len(names):
        raise InputError(f"observables are {names}; use some of {', '.join(SETS)}, each once.")
    whole = all(isinstance(steps, int | np.integer) for steps in (lag, window))
    if not whole or lag < 1 or window < 1 or (lag > 1 and window > 1):
        raise InputError(
            f"lag is {lag}, window {window}; use whole numbers from 1, only one of them above 1."
        )
    if "delayed" in names and window < 2:
        raise InputError('"delayed" pairs need several lags: set window to 2 or more.')
    if "angles" in names and len(names) > 1:
        raise InputError(f'observables are {names}; "angles" stands alone: states are in rad.')
    return names


def _check_units(n_units: int, names: Sequence[str]) -> None:
    least = 3 if "triple" in names else 2
    if n_units < least:
        raise InputError(
            f"{n_units} units; one unit alone has no time-asymmetric pair, use {least} or more."
        )
    if "triple" in names and n_units > MAX_TRIPLE_UNITS:
        raise InputError(
            f'"triple" of {n_units} units has {n_units * (n_units - 1) * (n_units - 2) // 2:,} '
            f"observables; take at most {MAX_TRIPLE_UNITS} units."
        )


def _given(table: Given, width: float) -> Samples:
    if isinstance(table, AntisymmetricTable):
        g = _numbers(table.table)
        unit = _power(np.abs(g).mean(axis=0, dtype=np.float64))
        table = AntisymmetricTable(g / unit.astype(g.dtype))
    else:
        g, back = _numbers(table.forward), _numbers(table.reverse)
        unit = _power((np.abs(g).mean(axis=0) + np.abs(back).mean(axis=0)) / 2)
        table = ExplicitObservables(g / unit, back / unit)
    n = table.n_samples
    return Samples(
        parts=(Part("given", 1, table),),
        starts=np.arange(n),
        span=1,
        window=1,
        bin_s=width,
        coding="given",
        n_units=0,
        active=np.zeros(0, np.int64),
        lost=0.0,
        drift=0.0,
        unit=unit,
    )


def _power(size: ArrayLike) -> NDArray[np.float64]:
    """Return a power of two near each size: dividing by it rounds nothing; 1 for 0."""
    return np.exp2(np.where(np.asarray(size) > 0, np.frexp(size)[1], 0))


def _numbers(table: ArrayLike) -> NDArray[np.floating]:
    """Return a table of observables in its floating type, whole numbers in double precision."""
    g = np.asarray(table)
    if g.ndim != 2 or g.dtype.kind not in "biuf" or not g.shape[1]:
        raise InputError(
            f"observables have shape {g.shape} and type {g.dtype}; pass numbers of shape "
            "(sample, observable)."
        )
    if not np.all(np.isfinite(g)):
        raise InputError("observables hold values that are not finite; leave out these samples.")
    return g if g.dtype in (np.float32, np.float64) else g.astype(np.float64)


def _spikes(bins: SpikeBins, names: tuple[str, ...], lag: int, window: int) -> Samples:
    if "angles" in names:
        raise InputError('"angles" needs states in rad; these are spikes.')
    _check_units(bins.n_units, names)
    span = lag * window
    starts = np.concatenate([np.arange(a, max(b - span, a)) for a, b in bins.segments])
    active = np.diff(bins.indptr)[starts]
    if int(active.sum()) > DENSE_FROM * bins.n_units * starts.size:
        record = DenseSteps(2 * bins.to_dense().astype(np.int8) - 1, starts, lag)
    else:
        record = SpikeSteps(bins.indptr, bins.indices, starts, bins.n_units, lag)
    return Samples(
        parts=_parts(names, record, window, binary=True),
        starts=starts,
        span=span,
        window=window,
        bin_s=bins.bin_s,
        coding="+-1",
        n_units=bins.n_units,
        active=active,
        lost=bins.lost,
        drift=_drift(active),
    )


def _parts(
    names: tuple[str, ...], record: DenseSteps | SpikeSteps, window: int, *, binary: bool
) -> tuple[Part, ...]:
    """Build each set; with a window, on its single steps and summed."""
    out = []
    for name in names:
        for tau in range(2, window + 1) if name == "delayed" else (1,):
            count = window - tau + 1
            if window == 1:
                out.append(Part(name, 1, _one_step(name, record, binary=binary)))
                continue
            held = np.zeros(int(record.starts.max(initial=-1)) + window + 1, bool)
            for u in range(count):
                held[record.starts + u] = True
            place = np.cumsum(held) - 1
            steps = replace(record, starts=np.flatnonzero(held), lag=tau)
            base = _one_step("pair" if name == "delayed" else name, steps, binary=binary)
            out.append(Part(name, tau, Windows(base, place[record.starts], count)))
    return tuple(out)


def _one_step(name: str, record: DenseSteps | SpikeSteps, *, binary: bool) -> Observables:
    """Return one set on single steps, in its cheapest form."""
    if isinstance(record, SpikeSteps) and name == "pair":
        return SpikePairs(
            record.indptr, record.indices, record.starts, record.n_units, True, record.lag
        )
    if isinstance(record, SpikeSteps) and name == "lin":
        return SpikeLin(record)
    if isinstance(record, DenseSteps) and name == "pair":
        states, starts = record.states, record.starts
        if starts.size and starts[-1] - starts[0] == starts.size - 1:  # views, no copy
            first = states[starts[0] : starts[-1] + 1]
            return DensePairs(first, states[starts[0] + record.lag :][: starts.size])
        return DensePairs(states[starts], states[starts + record.lag])
    return ProductSet(record, set_spec(name, record.n_units, binary=binary))


def _drift(counts: NDArray[np.integer]) -> float:
    """Return (rate in the last third - rate in the first third) / mean rate."""
    third, mean = counts.size // 3, float(counts.mean()) if counts.size else 0.0
    if mean == 0.0 or third == 0:
        return 0.0
    return float(counts[-third:].mean() - counts[:third].mean()) / mean
