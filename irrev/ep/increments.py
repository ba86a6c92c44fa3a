"""What the increments say about the data before any force is learned.

With C_l = <dx_n dx_{n+l}^T> over unbroken runs of frames:

    naive diffusion              D = C_0 / (2 dt)                                          (1)
    corrected for localisation   D = (C_0 + C_1 + C_1^T) / (2 dt),  s^2 = -tr C_1 / dim    (2)
    summed to lag L              D = (C_0 + sum_{l<=L} (C_l + C_l^T)) / (2 dt)             (3)
    drift taken off              D = <r r^T> / (2 dt),  r = dx - (a + B x_n) by least squares  (5)
    spread ratio                 <|dx|^2>(2 dt) / (2 <|dx|^2>(dt))                         (4)

Position noise makes C_1 negative and (4) tend to 1/2; motion blur, temporal filtering and
persistence make C_1 positive; inertia makes the paths smooth and (4) tend to 2, where the
overdamped losses do not apply. On an Ornstein-Uhlenbeck process with rate k the relative bias of
(1) is -k dt / 2 and that of (2) is -1.5 k dt, so (2) is used only where noise calls for it. A
steady rotation at rate w adds w^2 <|x|^2> dt^2 to the trace of every C_l, and (3) would take it
for memory. So memory is what is left when the position has said what it can: if the r of (5) do
not correlate, (5) is used, whose relative bias is -k dt.

Source: A. Berglund, Phys. Rev. E 82, 011917 (2010), C. Vestergaard et al., Phys. Rev. E 89,
022726 (2014) for (2); limits checked here.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from irrev.ep.steps import Array, Index, Tracks, steps_of
from irrev.errors import InputError

DiffusionRule = Literal["naive", "noise", "memory", "drift"]

MAX_LAG = 5
MIN_CORRELATION = 0.02  # smaller correlations of increments change D by less than 4 %
WARN_NOISE = 0.1  # s^2 / (D dt): a naive D makes the entropy production 10 % too small
INERTIA_RATIO = 1.5  # eq. (4): half-way between diffusive (1) and ballistic (2)
NOISE_RATIO = 0.75  # eq. (4): half-way between diffusive (1) and pure noise (1/2)


@dataclass(frozen=True, slots=True)
class Increments:
    """Second moments of increments and what follows from them."""

    cov: Array  # (lag, dim, dim) C_l, lags 0 to 5
    left: Array  # (2, dim, dim) <r_n r_{n+l}^T> of eq. (5), lags 0 and 1
    error: Array  # (lag,) standard error of tr C_l for white increments
    spread_ratio: float  # eq. (4)
    dt: float

    @property
    def traces(self) -> Array:
        """Tr C_l / dim, (lag,)."""
        return np.trace(self.cov, axis1=1, axis2=2) / self.cov.shape[1]

    @property
    def correlation(self) -> float:
        """Tr C_1 / tr C_0."""
        return float(self.traces[1] / self.traces[0])

    @property
    def rule(self) -> DiffusionRule:
        """Which of eqs. (1-3, 5) the data call for."""
        clear = abs(self.traces[1]) > 3 * self.error[1]
        if not clear or abs(self.correlation) < MIN_CORRELATION:
            return "naive"
        if self.correlation < 0:
            return "noise"
        still = np.trace(self.left[1]) / np.trace(self.left[0])
        return "memory" if still > MIN_CORRELATION else "drift"

    def diffusion(self, rule: DiffusionRule | None = None) -> Array:
        """Diffusion matrix by one of eqs. (1-3, 5), default the one called for, (dim, dim).

        Raises
        ------
        InputError
            If the estimate is not positive definite: the noise hides the diffusion.
        """
        rule = self.rule if rule is None else rule
        total = (self.left if rule == "drift" else self.cov)[0].copy()
        for lag in range(1, self._last_lag(rule) + 1):
            total += self.cov[lag] + self.cov[lag].T
        D = 0.5 * (total + total.T) / (2 * self.dt)
        if not np.isfinite(D).all():
            raise InputError("positions are too large to be squared; use another unit of length.")
        if np.linalg.eigvalsh(D)[0] <= 0:
            raise InputError(
                f"the diffusion matrix has eigenvalues {np.linalg.eigvalsh(D)}: noise hides the "
                "diffusion at this frame rate, or components do not move independently; thin the "
                "record, leave such components out, or give `diffusion`."
            )
        return D

    @property
    def noise_var(self) -> float:
        """Variance of position noise by eq. (2), mean over components; negative: not noise."""
        return float(-self.traces[1])

    @property
    def noise_ratio(self) -> float:
        """s^2 / (D dt); 0 where increments are not anticorrelated."""
        if self.rule != "noise":
            return 0.0
        return self.noise_var / float(np.trace(self.diffusion()) / len(self.cov[0]) * self.dt)

    def warnings(self) -> list[str]:
        """Say what a reader of the result has to know."""
        out = []
        if self.spread_ratio > INERTIA_RATIO:
            out.append(
                f"inertia: <dx^2>(2dt)/2<dx^2>(dt) = {self.spread_ratio:.2f}; the paths are "
                "smooth at this rate and overdamped losses do not apply"
            )
        if self.spread_ratio < NOISE_RATIO:
            out.append(
                f"noise: <dx^2>(2dt)/2<dx^2>(dt) = {self.spread_ratio:.2f}; position noise or "
                "bounded jitter dominates the increments"
            )
        if self.noise_ratio > WARN_NOISE:
            out.append(f"localisation noise: s^2/(D dt) = {self.noise_ratio:.2f}, above 0.1")
        if self.rule == "memory":
            out.append(
                f"memory: neighbouring increments correlate by {self.correlation:+.2f} (blur, "
                "filtering or persistence); D is summed over lags"
            )
        return out

    def _last_lag(self, rule: DiffusionRule) -> int:
        if rule in ("naive", "drift"):
            return 0
        if rule == "noise":
            return 1
        # Sum on while the covariance is clearly positive.
        small = self.traces[1:] < 2 * self.error[1:]
        return int(np.argmax(small)) if small.any() else len(small)


def measure_increments(tracks: Tracks) -> Increments:
    """Measure the second moments of increments over unbroken runs of frames.

    Raises
    ------
    InputError
        If no trajectory has three consecutive frames, or nothing moves.
    """
    d = tracks.dim
    sums, counts = np.zeros((MAX_LAG + 1, d, d)), np.zeros(MAX_LAG + 1)
    left = np.zeros((2, d, d))
    dx, where = _increments(tracks)
    rest = _without_drift(dx, tracks.x[where])
    for lag in range(MAX_LAG + 1):
        # Steps n and n + lag of one unbroken run start `lag` points apart.
        pair = np.searchsorted(where, where + lag)
        ok = pair < len(where)
        ok[ok] = where[pair[ok]] == where[ok] + lag
        ok &= _unbroken(tracks, where, lag)
        if ok.any():
            sums[lag] = dx[ok].T @ dx[pair[ok]]
            counts[lag] = ok.sum()
            if lag < len(left):
                left[lag] = rest[ok].T @ rest[pair[ok]] / counts[lag]
    if counts[1] == 0:
        raise InputError("no trajectory has three consecutive frames; nothing can be measured.")
    cov = sums / np.maximum(counts, 1)[:, None, None]
    if not np.trace(cov[0]) > 0:
        raise InputError("nothing moves: all increments are 0; check the columns and the unit.")
    error = np.sqrt((cov[0] ** 2).sum() / np.maximum(counts, 1)) / d
    error[counts == 0] = np.inf
    return Increments(cov, left, error, _spread_ratio(tracks, cov[0]), tracks.dt)


def _increments(tracks: Tracks) -> tuple[Array, Index]:
    inside = (np.diff(tracks.owner) == 0) & (np.diff(tracks.frame) == 1)
    where = np.flatnonzero(inside)
    return tracks.x[where + 1] - tracks.x[where], where


def _without_drift(dx: Array, x: Array) -> Array:
    """Increments less what a line in the position says of them, eq. (5)."""
    if not len(dx):
        return dx
    known = np.column_stack([np.ones(len(x)), x - x.mean(axis=0)])
    return dx - known @ np.linalg.lstsq(known, dx, rcond=None)[0]


def _unbroken(tracks: Tracks, where: Index, lag: int) -> NDArray[np.bool_]:
    """Whether points n to n + lag + 1 are consecutive frames of one trajectory."""
    last = where + lag + 1
    ok = last < len(tracks.x)
    owner = tracks.owner
    ok[ok] = (owner[last[ok]] == owner[where[ok]]) & (
        tracks.frame[last[ok]] - tracks.frame[where[ok]] == lag + 1
    )
    return ok


def _spread_ratio(tracks: Tracks, cov: Array) -> float:
    total, n = 0.0, 0
    for steps in steps_of(tracks, lag=2):
        total += float((steps.dx**2).sum())
        n += steps.size
    return total / max(n, 1) / (2 * float(np.trace(cov)))
