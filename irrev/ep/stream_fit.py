"""One fold's fit as a conversation: it asks for sums over the recording and is told them.

The ascent is that of `irrev.ep.solvers.lbfgs`: quasi-Newton directions in the metric of
independent units, a line search, every iterate rescaled and cut at a limit on validation
(`irrev.ep.limits`), the best kept, stopped after a few iterates without gain. Here it is a
generator, so that the folds of an estimate go on together and one reading of the recording serves
all of them.

A search asks for several steps at once, that of the scale for several limits as well: a question
to workers takes milliseconds, one more step on values that they hold next to nothing.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from math import ceil, exp, inf, log, log2

import numpy as np

from irrev.ep.ascent import MAX_SCALE, MIN_GAIN, Fit
from irrev.ep.limits import LIMITS, Scaled
from irrev.ep.metric import PairMetric
from irrev.ep.objective import SEARCH_TOLERANCE
from irrev.ep.solvers import MAX_ITERATIONS, MEMORY, PATIENCE, TOLERANCE, History, two_loop
from irrev.ep.stream_sums import Array
from irrev.ep.stream_work import HELD, TRAIN, Ask, Cut, Tilt

SUM_BITS = 50  # 4 n 2^bits < 2^53 for n weights of at most 2^bits
FIRST_STEPS = (0.5, 1.0, 2.0)  # a quasi-Newton step is near 1
FIRST_SCALES = (0.25, 0.6, 1.0, MAX_SCALE)
USUAL_LIMITS = 6  # asked for first: up to 4 nats
CURRENT_SCALES = (0.5, 1.0, 2.0, 2.0 * MAX_SCALE)
MOST_POINTS = 24  # of a line search; 4 to 6 are usual
GROWTH = 4.0  # of an open bracket


@dataclass(frozen=True, slots=True)
class Told:
    """Answers of all batches to one question, joined in the order of the recording."""

    cuts: list[Array]  # each (pair, 4, cell of the part)
    tilts: list[Array]  # each (step, 4, cell of the part)
    gradient: Array | None  # (pair,) integers


@dataclass(frozen=True, slots=True)
class FoldData:
    """What one fold knows before it asks."""

    fold: int
    mean: Array  # (pair,) over training
    held_mean: Array  # (pair,) over validation
    n_train: int
    n_held: int
    metric: PairMetric


@dataclass(frozen=True, slots=True)
class FoldEnd:
    """A finished fit, and the one-step direction before and after rescaling."""

    fit: Fit
    current: Array  # (pair,) c of `irrev.ep.tur`
    newton: Array  # (pair,) rescaled on validation


def fit_fold(data: FoldData) -> Generator[Ask, Told, FoldEnd]:
    """Fit one fold: yields questions, is sent the answers, returns the fit."""
    size = data.mean.size
    theta, gradient = np.zeros(size), 2.0 * data.mean
    history: History = []
    train = Line(data.n_train, 0.0, 0.0, inf)
    best, found, value_train = theta, Scaled(0.0, inf, 0.0, 0.0), 0.0
    saturated = False
    curve, since, converged, version = [(0.0, 0.0)], 0, False, 0
    cargo = Ask(data.fold, version)
    for _ in range(MAX_ITERATIONS):
        direction = two_loop(gradient, history, data.metric.inverse)
        start = float(gradient @ direction)
        if converged := start <= TOLERANCE:
            break
        line = replace(train, forward=float(theta @ data.mean), slope=float(direction @ data.mean))
        cargo = replace(cargo, direction=direction.astype(np.float32))
        point, told = yield from search(Search(line, start), cargo, Tilt(TRAIN, FIRST_STEPS))
        value_train = _value_train(data, found, told, value_train)
        theta = theta + point.step * direction
        cargo = Ask(data.fold, version, move=point.step, shift=point.top, bits=_bits(data.n_train))
        version += 1
        scaled, told = yield from rescale(data, cargo)
        cargo = Ask(data.fold, version)
        curve.append((point.value, scaled.value))
        since = 0 if scaled.value > (1.0 + MIN_GAIN) * found.value else since + 1
        separable = point.value > log(data.n_train)
        if scaled.value > found.value:
            best, found, saturated = theta, scaled, separable and scaled.at_top(data.n_held)
            cut = Cut(TRAIN, tuple((s, found.limit) for s in (0.0, found.scale)))
            cargo = replace(cargo, cuts=(cut,))
        if separable or since >= PATIENCE:
            converged = not separable
            break
        assert told.gradient is not None
        total = np.ldexp(point.total, _bits(data.n_train))
        previous, gradient = gradient, data.mean + told.gradient / total
        pair = (point.step * direction, previous - gradient)
        if converged := float(pair[0] @ pair[1]) <= 0.0:
            break  # no curvature along a step is rounding, at the top
        history = [*history[1 - MEMORY :], pair]
    current = data.metric.inverse(data.mean)
    slope = float(current @ data.held_mean)
    cargo = replace(cargo, direction=current.astype(np.float32), held_only=True)
    line = Line(data.n_held, 0.0, slope, 2.0 * MAX_SCALE)
    tilt = Tilt(HELD, CURRENT_SCALES, "change")
    newton, told = yield from search(Search(line, 2.0 * slope), cargo, tilt)
    value_train = _value_train(data, found, told, value_train)
    curves = np.array(curve).T
    fit = Fit(
        theta=found.scale * best,
        scale=found.scale,
        train=curves[0],
        validation=curves[1],
        value_train=value_train,
        log_normaliser=found.log_normaliser,
        limit=found.limit_scaled,
        saturated=saturated or value_train > log(data.n_train),
        converged=converged,
        passes=float(len(curve) - 1),
    )
    return FoldEnd(fit, current, newton.step * current)


def _bits(n: int) -> int:
    return SUM_BITS - ceil(log2(max(n, 2)))


def rescale(data: FoldData, cargo: Ask) -> Generator[Ask, Told, tuple[Scaled, Told]]:
    """Choose scale and limit of an iterate by the rule of `irrev.ep.limits.rescale`.

    Parameters
    ----------
    data
        What the fold knows.
    cargo
        Question that the first one is added to, with the move to the iterate; its answer is
        returned.
    """
    steps = (0.0, *FIRST_SCALES)
    searches: list[tuple[float, Search]] = []
    first: Told | None = None
    ask = cargo
    for limits in (LIMITS[:USUAL_LIMITS], LIMITS[USUAL_LIMITS:]):
        pairs = tuple((s, limit) for limit in limits for s in steps)
        told = yield replace(ask, cuts=(Cut(HELD, pairs),))
        first = told if first is None else first
        ask = Ask(cargo.fold, cargo.version + 1)
        beyond = True
        for limit, sums in zip(limits, np.split(told.cuts[0], len(limits)), strict=True):
            slope = _clipped_mean(sums[0], data.n_held)
            line = Line(data.n_held, 0.0, slope, MAX_SCALE, unseen=limit)
            one = Search(line, slope + (data.n_held * slope - limit) / (data.n_held + 1))
            one.add(steps, _uncounted(sums))
            searches.append((limit, one))
            if not (beyond := bool(sums[0, 0].any())):
                break  # larger limits change nothing
        if not beyond:
            break
    while pairs := tuple((s, limit) for limit, one in searches for s in one.wanted):
        told = yield replace(ask, cuts=(Cut(HELD, pairs),))
        sums = iter(_uncounted(told.cuts[0])[:, None])
        for _, one in searches:
            if wanted := one.wanted:
                one.add(wanted, next(sums))
    best = Scaled(0.0, LIMITS[0], 0.0, 0.0)
    for limit, one in searches:
        point = one.best
        if point.value > best.value:
            total = point.total - exp(point.step * limit)  # without the one unseen
            normaliser = log(total / data.n_held)
            best = Scaled(point.step, limit, point.value, normaliser)
    assert first is not None
    return best, first


def _value_train(data: FoldData, found: Scaled, told: Told, known: float) -> float:
    """Read the training value of the best iterate off an answer, if that was asked."""
    if not told.cuts:
        return known
    still, tilted = told.cuts[0]
    forward = found.scale * _clipped_mean(still, data.n_train)
    return forward - log(float(tilted[1].sum()) / data.n_train)


def _clipped_mean(sums: Array, n: int) -> float:
    """Return the mean of clip(a, -B, B) from the sums at step 0, shape (4, cell)."""
    return -float(sums[2].sum()) / n


def _uncounted(sums: Array) -> Array:
    """Make sums of a cut those of a tilt whose tops are 0."""
    return np.concatenate([np.zeros_like(sums[:, :1]), sums[:, 1:]], axis=1)


# --- line search ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """What a search goes along: f(s) = forward + s slope - ln mean exp(y(s))."""

    n: int  # transitions
    forward: float
    slope: float
    upper: float  # largest step
    unseen: float | None = None  # dy/ds of one sample more (`irrev.ep.limits`, eq. 2)


@dataclass(frozen=True, slots=True)
class Point:
    """f and its derivatives at one step of a line search."""

    step: float
    value: float
    gain: float
    curvature: float
    top: float  # largest exponent
    total: float  # sum of exp(exponent - top)


class Search:
    """Maximises f along a line from sums at the steps that it wants.

    `start` is the slope of f at step 0; the search ends at a slope `SEARCH_TOLERANCE` times that.
    """

    def __init__(self, line: Line, start: float) -> None:
        self.line, self.start = line, start
        self._points: list[Point] = []

    def add(self, steps: Sequence[float], sums: Array) -> None:
        """Take sums at some steps, shape (step, 4, cell)."""
        self._points += [_point(self.line, s, x) for s, x in zip(steps, sums, strict=True)]

    @property
    def best(self) -> Point:
        """The best point so far; step 0 where f falls."""
        line = self.line
        if self.start <= 0:
            return Point(0.0, line.forward, self.start, 0.0, 0.0, float(line.n))
        beyond = [p for p in self._points if p.value > log(line.n)]
        if beyond and line.upper == inf:
            return min(beyond, key=lambda p: p.step)
        still_rising = [p for p in self._points if p.step == line.upper and p.gain > 0]
        return (still_rising or [min(self._points, key=lambda p: abs(p.gain))])[0]

    @property
    def wanted(self) -> tuple[float, ...]:
        """The next step: Newton on the slope inside the bracket; none where it is found."""
        line, points, start = self.line, self._points, self.start
        cap = log(line.n)
        best = min(points, key=lambda p: abs(p.gain))
        if start <= 0 or abs(best.gain) <= SEARCH_TOLERANCE * start or len(points) >= MOST_POINTS:
            return ()
        if line.upper == inf and any(p.value > cap for p in points):
            return ()
        low = max((p.step for p in points if p.gain > 0), default=0.0)
        high = min((p.step for p in points if p.gain <= 0), default=line.upper)
        if low >= line.upper:
            return ()  # f still rises at the largest step
        step = best.step + best.gain / best.curvature if best.curvature > 0 else inf
        ceiling = high if high < inf else GROWTH * low
        if not low < step < ceiling:
            step = 0.5 * (low + high) if high < inf else ceiling
        return (step,)


def search(one: Search, cargo: Ask, tilt: Tilt) -> Generator[Ask, Told, tuple[Point, Told]]:
    """Maximise f along a line; the first question, of the steps of `tilt`, goes with `cargo`.

    Returns
    -------
        The best step, and the first answer.
    """
    first = yield replace(cargo, tilts=(tilt,))
    one.add(tilt.steps, first.tilts[-1])
    while steps := one.wanted:
        told = yield Ask(cargo.fold, cargo.version, tilts=(replace(tilt, steps=steps),))
        one.add(steps, told.tilts[-1])
    return one.best, first


def _point(line: Line, step: float, sums: Array) -> Point:
    top, n = float(sums[0].max()), line.n
    weight = np.exp(sums[0] - top)
    total, first, second = (float((weight * x).sum()) for x in sums[1:])
    if (d := line.unseen) is not None:
        e = exp(step * d - top)
        total, first, second, n = total + e, first + e * d, second + e * d**2, n + 1
    mean = first / total
    value = line.forward + step * line.slope - (top + log(total / n))
    return Point(step, value, line.slope - mean, second / total - mean**2, top, total)
