"""Concave objective whose maximum is the entropy-production bound of a set of observables.

    f(theta) = theta . <g> - ln <exp(theta . g~)>,   ep_bound = max f            (1)
    grad f = <g> - sum_t w_t g~_t,   w_t ~ exp(theta . g~_t)                     (2)
    -(hess f) v = sum_t w_t (u_t - <u>_w) g~_t,   u_t = v . g~_t                 (3)

g~ are the observables of the reversed samples; all logarithms are natural, f is in nats per
sample. f(0) = 0 and any theta gives a valid bound, so an unfinished fit is still valid. A finite
sample of n reversed steps never supports more than ln n nats: above that, f has no maximum.

Few samples that choose a scale may contradict no coupling at all and would let it grow without
end. A guard averages as if half a sample had been read backwards (antisymmetric g only),

    <e^r>  ->  (sum_t e^{r_t} + 0.5 <e^{-r}>) / (n + 0.5)                        (4)

which holds |theta . g| near ln(n) / 2.

Source: Aguilera, Ito, Kolchinsky, Phys. Rev. Lett. 136, 077101 (2026).
"""

from dataclasses import dataclass, replace
from math import exp, inf, log

import numpy as np
from numpy.typing import NDArray

from irrev.ep.observables import Observables

PSEUDOCOUNT = 0.5  # as in the counting estimate
MOVING = 0.7  # share of samples that move, below which the others are counted only
SEARCH_STEPS = 40  # Newton or bisection steps of a line search; 3 to 6 are usual
GROWTH = 5.0  # largest factor between two steps of an open search
SEARCH_TOLERANCE = 1e-3  # slope left by a line search, relative to the slope at its start


@dataclass(frozen=True, slots=True)
class Dual:
    """f of one set of samples; `probability` weighs them, uniform if absent."""

    observables: Observables
    mean: NDArray[np.float64]  # <g>, shape (n_observables,)
    probability: NDArray[np.float64] | None = None  # (n_samples,), sums to 1
    mirrored: float = 0.0  # samples read backwards, eq. (4)
    limited: bool = False  # whether a fit chooses a limit on theta . g here (`irrev.ep.limits`)

    @property
    def cap(self) -> float:
        """Largest value that the samples support, nats."""
        return inf if self.probability is not None else log(self.observables.n_samples)

    def value(self, forward: float, reverse: NDArray[np.float64]) -> float:
        """Return f from theta . <g> and theta . g~ of each sample."""
        return forward - self.log_mean_exp(reverse)

    def log_mean_exp(self, reverse: NDArray[np.float64], *, still: int = 0) -> float:
        """Return ln <exp(reverse)>, the log-normaliser; `still` samples more have 0."""
        return self._tilt(self._whole(reverse), still=still)[1]

    def average(self, series: NDArray[np.float64]) -> float:
        """Return the mean of a series over the samples."""
        return float(series.mean() if self.probability is None else self.probability @ series)

    def weights(self, reverse: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return w_t of eq. (2), summing to 1; under a guard, less those of mirrored samples."""
        w = self._tilt(self._whole(reverse))[0]
        return w[: reverse.size] - w[reverse.size :] if self.mirrored else w

    def _whole(self, series: NDArray[np.float64]) -> NDArray[np.float64]:
        """Append what the mirrored samples of eq. (4) have."""
        return np.concatenate([series, -series]) if self.mirrored else series

    def _tilt(
        self,
        reverse: NDArray[np.float64],
        out: NDArray[np.float64] | None = None,
        *,
        still: int = 0,
    ) -> tuple[NDArray[np.float64], float]:
        """Return weights (in `out`) and ln <e^r> of all samples, mirrored ones included."""
        top = float(reverse.max(initial=0.0 if still else -inf))
        w = np.subtract(reverse, top, out=out)
        np.exp(w, out=w)
        share = 1.0
        if self.mirrored:
            n = w.size // 2
            w[n:] *= self.mirrored / n
            share = n + self.mirrored
        elif self.probability is None:
            share = w.size + still
        else:
            w *= self.probability
        total = float(w.sum()) + (still * exp(-top) if still else 0.0)
        w /= total
        return w, top + log(total / share)

    def gradient(self, reverse: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return grad f (eq. 2) at the theta that gave `reverse`."""
        return self.mean - self.observables.reverse_total(self.weights(reverse))

    def hessian_product(
        self, reverse: NDArray[np.float64], direction: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return -(hess f) v (eq. 3): one value product and one gradient product."""
        w = self.weights(reverse)
        u = self.observables.reverse_values(direction)
        return self.observables.reverse_total(w * (u - w @ u))

    def search(
        self,
        forward: float,
        reverse: NDArray[np.float64],
        slope: float,
        change: NDArray[np.float64],
        *,
        upper: float = inf,
        still: int = 0,
    ) -> float:
        """Maximise f along a direction without touching the data.

        Parameters
        ----------
        forward, reverse
            theta . <g>, and theta . g~ of each sample, where the search starts.
        slope, change
            direction . <g>, and direction . g~ of each sample.
        upper
            Largest step.
        still
            Samples more whose values are 0 at the start and along the direction; where many of
            those given are, they are counted instead.

        Returns
        -------
            The step in [0, upper] that maximises f, by Newton on its slope inside a bracket;
            the first step beyond the cap ln n if f has no maximum.
        """
        if not self.mirrored and self.probability is None:
            moving = np.flatnonzero((reverse != 0) | (change != 0))
            if moving.size < MOVING * change.size:
                still += change.size - moving.size
                reverse, change = reverse[moving], change[moving]
        reverse, change = self._whole(reverse), self._whole(change)
        # all steps write into the same arrays: new ones cost as much as what is done with them
        moved, square = np.empty_like(change), np.empty_like(change)

        def probe(step: float) -> tuple[float, float, float]:
            np.multiply(change, step, out=moved)
            np.add(reverse, moved, out=moved)
            w, log_mean = self._tilt(moved, out=moved, still=still)
            mean = float(w @ change)
            value = forward + step * slope - log_mean
            np.subtract(change, mean, out=square)
            np.square(square, out=square)
            rest = (1.0 - float(w.sum())) * mean**2 if still else 0.0
            return value, slope - mean, float(w @ square) + rest

        _, start, curvature = probe(0.0)
        if start <= 0:
            return 0.0
        if upper < inf and probe(upper)[1] >= 0:
            return upper
        low, high, gain, step = 0.0, upper, start, 0.0
        for _ in range(SEARCH_STEPS):
            newton = step + gain / curvature if curvature > 0 else inf
            ceiling = high if high < inf else max(GROWTH * step, newton if step == 0 else 0.0)
            step = newton if low < newton < ceiling else _fallback(low, high, ceiling)
            value, gain, curvature = probe(step)
            if abs(gain) <= SEARCH_TOLERANCE * start or value > self.cap:
                break
            low, high = (step, high) if gain > 0 else (low, step)
        return step


def guarded(dual: Dual) -> Dual:
    """Return the objective of samples that choose a scale, guarded by eq. (4) where g is odd."""
    return replace(dual, mirrored=PSEUDOCOUNT) if dual.observables.odd else dual


def _fallback(low: float, high: float, ceiling: float) -> float:
    """Bisect a closed bracket, grow an open one."""
    if high < inf:
        return 0.5 * (low + high)
    return ceiling if 0 < ceiling < inf else 1.0
