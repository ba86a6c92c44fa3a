"""One fold's fit as a conversation: it asks for sums over the recording and is told them.

The ascent is that of `irrev.ep.solvers.lbfgs`: quasi-Newton directions in the metric of
independent units, a line search, every iterate rescaled on validation, the best kept, stopped
after a few iterates without gain. Here it is a generator, so that the folds of an estimate go on
together and one reading of the recording serves all of them.

A line search asks for several steps at once: a question to workers takes milliseconds, one more
step on values that they hold next to nothing.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from math import ceil, inf, log, log2

import numpy as np
from numpy.typing import NDArray

from irrev.ep.ascent import MAX_SCALE, MIN_GAIN, Fit
from irrev.ep.metric import PairMetric
from irrev.ep.objective import SEARCH_TOLERANCE
from irrev.ep.solvers import MAX_ITERATIONS, MEMORY, PATIENCE, TOLERANCE, History, two_loop
from irrev.ep.stream_work import HELD, TRAIN, Along, Ask, Tilt

Array = NDArray[np.float64]
SUM_BITS = 50  # 4 n 2^bits < 2^53 for n weights of at most 2^bits
FIRST_STEPS = (0.5, 1.0, 2.0)  # a quasi-Newton step is near 1
FIRST_SCALES = (0.25, 0.6, 1.0, MAX_SCALE)
MOST_POINTS = 24  # of a line search; 4 to 6 are usual
GROWTH = 4.0  # of an open bracket


@dataclass(frozen=True, slots=True)
class Told:
    """Answers of all batches to one question, joined in the order of the recording."""

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


@dataclass(frozen=True, slots=True)
class Point:
    """f and its derivatives at one step of a line search."""

    step: float
    value: float
    gain: float
    curvature: float
    top: float  # largest exponent
    total: float  # sum of exp(exponent - top)


def fit_fold(data: FoldData) -> Generator[Ask, Told, FoldEnd]:
    """Fit one fold: yields questions, is sent the answers, returns the fit."""
    size = data.mean.size
    theta, gradient = np.zeros(size), 2.0 * data.mean
    history: History = []
    train = Line(data.n_train, TRAIN, "line", 0.0, 0.0, inf, FIRST_STEPS)
    best, value_train = (theta, 0.0, 0.0, 0.0), 0.0  # theta, scale, value, log-normaliser
    curve, since, converged, version = [(0.0, 0.0)], 0, False, 0
    cargo = Ask(data.fold, version)
    asked_train = False
    for _ in range(MAX_ITERATIONS):
        direction = two_loop(gradient, history, data.metric.inverse)
        start = float(gradient @ direction)
        if converged := start <= TOLERANCE:
            break
        slope = float(direction @ data.mean)
        line = replace(train, forward=float(theta @ data.mean), slope=slope)
        cargo = replace(cargo, direction=direction.astype(np.float32))
        point, told = yield from search(line, cargo, start)
        if asked_train:
            value_train, asked_train = _value_train(data, best, told), False
        theta = theta + point.step * direction
        held = float(theta @ data.held_mean)
        cargo = Ask(data.fold, version, move=point.step, shift=point.top, bits=_bits(data.n_train))
        scale = Line(data.n_held, HELD, "scale", 0.0, held, MAX_SCALE, FIRST_SCALES)
        scaled, told = yield from search(scale, cargo, 2.0 * held)
        version += 1
        cargo = Ask(data.fold, version)
        curve.append((point.value, scaled.value))
        since = 0 if scaled.value > (1.0 + MIN_GAIN) * best[2] else since + 1
        if scaled.value > best[2]:
            best = (theta, scaled.step, scaled.value, scaled.step * held - scaled.value)
            cargo = replace(cargo, before=(Tilt(TRAIN, (scaled.step,), "scale"),))
            asked_train = True
        separable = point.value > log(data.n_train)
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
    line = Line(data.n_held, HELD, "change", 0.0, slope, 2.0 * MAX_SCALE, (0.5, 1.0, 2.0, 3.0))
    newton, told = yield from search(line, cargo, 2.0 * slope)
    if asked_train:
        value_train = _value_train(data, best, told)
    curves = np.array(curve).T
    fit = Fit(
        theta=best[1] * best[0],
        scale=best[1],
        train=curves[0],
        validation=curves[1],
        value_train=value_train,
        log_normaliser=best[3],
        limit=inf,
        saturated=value_train > log(data.n_train),
        converged=converged,
        passes=float(len(curve) - 1),
    )
    return FoldEnd(fit, current, newton.step * current)


def _bits(n: int) -> int:
    return SUM_BITS - ceil(log2(max(n, 2)))


def _value_train(data: FoldData, best: tuple[Array, float, float, float], told: Told) -> float:
    """Read the training value of the best iterate off an answer."""
    forward = best[1] * float(best[0] @ data.mean)
    return forward - (log_total(told.tilts[0][0]) - log(data.n_train))


# --- line search ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """What a line search goes along: f(s) = forward + s slope - ln mean exp(y(s))."""

    n: int  # transitions
    part: int
    along: Along
    forward: float
    slope: float
    upper: float  # largest step
    steps: tuple[float, ...]  # tried first


def search(line: Line, cargo: Ask, start: float) -> Generator[Ask, Told, tuple[Point, Told]]:
    """Maximise f along a line; `cargo` goes with the first question.

    Parameters
    ----------
    line
        Where to search.
    cargo
        Question that the first one adds its steps to; its answer is returned.
    start
        Slope of f at step 0; the search ends at a slope `SEARCH_TOLERANCE` times that.

    Returns
    -------
        The best step (0 where f falls), and the first answer.
    """
    points: list[Point] = []
    steps, first, ask = line.steps, None, cargo
    while steps:
        told = yield replace(ask, tilts=(Tilt(line.part, steps, line.along),))
        points += [_point(line, s, x) for s, x in zip(steps, told.tilts[-1], strict=True)]
        if first is None:
            first, ask = told, Ask(cargo.fold, cargo.version + (cargo.move is not None))
        steps = _next_steps(line, points, start)
    assert first is not None
    if start <= 0:
        return Point(0.0, line.forward, start, 0.0, 0.0, float(line.n)), first
    beyond = [p for p in points if p.value > log(line.n)]
    if beyond and line.upper == inf:
        return min(beyond, key=lambda p: p.step), first
    still_rising = [p for p in points if p.step == line.upper and p.gain > 0]
    return (still_rising or [min(points, key=lambda p: abs(p.gain))])[0], first


def _point(line: Line, step: float, sums: Array) -> Point:
    top = float(sums[0].max())
    weight = np.exp(sums[0] - top)
    total, first, second = (float((weight * x).sum()) for x in sums[1:])
    mean = first / total
    value = line.forward + step * line.slope - (top + log(total / line.n))
    return Point(step, value, line.slope - mean, second / total - mean**2, top, total)


def log_total(sums: Array) -> float:
    """Return the logarithm of a sum of exponentials given cell by cell, shape (4, cell)."""
    top = float(sums[0].max())
    return top + log(float((np.exp(sums[0] - top) * sums[1]).sum()))


def _next_steps(line: Line, points: list[Point], start: float) -> tuple[float, ...]:
    """Choose the next step: Newton on the slope inside the bracket; none where it is found."""
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
