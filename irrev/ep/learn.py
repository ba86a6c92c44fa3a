"""Entropy production of trajectories: a force learned on some, its current measured on others.

Trajectories are dealt to folds. For each fold a force is fitted to the others (eq. 1 of
`irrev.ep.currents`), its ridge chosen on one of these by the loss, and on the fold itself

    J = sum f(xm) . dx,   Q = sum f . D f dt,   EPR = sum_i J_i / sum_i T_i,               (1)
    bound = (2 sum J - sum Q) / sum T                                                      (2)

are measured: the force has not seen the data, so (2) is in expectation a lower bound and the mean
of (1) is <f . nu>. Reported beside them:

    train, debiased   b . c / T, and minus tr(G^-1 Cov(b)) / T, Cov(b) from units          (3)
    second order      2 EPR(dt) - EPR(2 dt) with the same forces                           (4)

Intervals: bootstrap over units, whole trajectories or, where trajectories of one film may move
together, blocks of time common to all; the wider is reported. A unit moves the value through the
fit too, so 2 J_i - Q_i is resampled (J_i alone gives intervals up to half as wide). Test:
reversing a unit in time flips the sign of its b and leaves G alone, so with detailed balance every
choice of signs is equally likely; the whole cross-fit is repeated under random signs. Tracks of
one film share flows of the medium, which no resampling removes: for them the test is repeated in
each track's own frame (its mean position subtracted) and the larger p-value counts. One long
trajectory is cut into blocks with a correlation time between two.

Limits: f is sought in a basis, so a null result means no current in this basis, not equilibrium.
All values are of the interval dt; compare `value`, `coarse` and `second_order`. For states far
from steady state the sign-flip test is approximate.

Source: Lyu, Ray, Crutchfield, arXiv:2504.19007; cross-fit, bias term, test and the rules for real
tracks were derived here.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from irrev.ep.currents import METHOD_VERSION, Diffusion
from irrev.ep.features import Basis, FamilyName, InTime, family
from irrev.ep.holdout import (
    N_BLOCKS,
    RIDGES,
    bootstrap,
    by_time,
    by_track,
    check_draws,
    each_track,
    fit,
    flip_test,
    measure,
    rate,
    training_values,
)
from irrev.ep.increments import Increments, measure_increments
from irrev.ep.learned import COARSE, LearnedEp
from irrev.ep.stage import centre_tracks, remove_drift
from irrev.ep.steps import Array, Tracks, cut_blocks, select, step_count, tracks_from
from irrev.errors import InputError
from irrev.stats import check_seed, deal_blocks, integrated_autocorrelation_time

__all__ = ["METHOD_VERSION", "learn_ep"]

SAMPLE = 200_000  # positions that set centre and scale of a basis
MANY_UNITS = 10  # fewer units make intervals and p-values coarse
NOISY_MOMENTS = 0.02  # EPR dt above which second moments bias the value by more than 1 %


def learn_ep(
    x: ArrayLike | xr.Dataset | Tracks,
    *,
    dt: float | None = None,
    features: FamilyName | Basis = "linear",
    n_features: int = 20,
    time_powers: int = 0,
    diffusion: ArrayLike | Diffusion | None = None,
    ridge: float | None = None,
    folds: int = 5,
    remove_stage_drift: bool | None = None,
    centre: bool = False,
    common_time: bool | None = None,
    level: float = 0.95,
    draws: int = 1000,
    null_draws: int = 500,
    seed: int = 0,
) -> LearnedEp:
    """Estimate the entropy production rate of trajectories from learned currents.

    Parameters
    ----------
    x
        Shape (trajectory, time, dim), or (time, dim) for one long record; or a Dataset of kind
        `trajectories`.
    dt
        Time between frames; needed for arrays.
    features
        Family of forces: linear, quadratic, cubic, fourier (angles) or gaussian, or a basis.
    n_features
        Gaussian centres, or Fourier order (at most 4).
    time_powers
        Highest power of time that multiplies the functions; 0 for a steady state.
    diffusion
        Matrix (dim, dim), function of position, or "moments"; default: estimated from increments
        with the correction that they call for.
    ridge
        Relative to the mean eigenvalue of G; default: chosen on validation among 0, 1e-6 ... 1.
        With 0 the value is not shrunk, but with many functions the certified bound may be lost.
    folds
        Parts held out in turn, at least 3.
    remove_stage_drift
        Subtract the mean increment of all tracks present in both frames; default: where the
        tracks were seen together. The mean flow may be the signal: then say False.
    centre
        Subtract each track's mean position; right for a split by track only.
    common_time
        Whether the tracks were seen together: blocks of time common to all are resampled too, and
        a current must survive in each track's own frame. Default: what the Dataset's attribute
        `clock` says ("common"); no for arrays.
    level, draws
        Interval level and bootstrap draws.
    null_draws
        Random sign choices of the test.
    seed
        Of folds, bootstrap and signs.

    Returns
    -------
        Held-out value with interval, p-value, certified bound and diagnostics.

    Raises
    ------
    InputError
        If dt is missing, data are not finite, there are too few trajectories or steps, or an
        option has no meaning.

    Examples
    --------
    >>> from irrev.simulate.chains import simulate
    >>> from irrev.simulate.systems import rotation
    >>> x = simulate(rotation().chain(0.01), n_trajectories=40, n_steps=1000, seed=0)
    >>> est = learn_ep(x, dt=0.01)
    >>> bool(est.low < 7.88 < est.high), est.significant
    (True, True)
    """
    check_draws(level, draws, null_draws)
    rng = np.random.default_rng(check_seed(seed))
    prepared = prepare(
        x,
        dt=dt,
        remove_stage_drift=remove_stage_drift,
        centre=centre,
        common_time=common_time,
        folds=folds,
    )
    tracks, common, unit = prepared.tracks, prepared.common, prepared.unit
    increments = measure_increments(tracks)
    D, rule = resolve_diffusion(diffusion, increments)
    basis = family(features, _sample(tracks, rng), n=n_features, rng=rng)
    if time_powers:
        basis = InTime(basis, time_powers, span=max(float(tracks.frame.max()), 1.0) * tracks.dt)
    fold_of = deal_blocks(tracks.n, folds, rng)
    bookings = {unit: by_track(tracks, fold_of, rng)}
    if common:
        bookings["time block"] = by_time(tracks, fold_of)
    ridges = RIDGES if ridge is None else (float(ridge),)
    fits = {name: fit(tracks, basis, D, b, ridges) for name, b in bookings.items()}
    main = fits[unit]
    totals = {name: measure(tracks, main.forces, D, b) for name, b in bookings.items()}
    coarse = measure(tracks, main.forces, D, bookings[unit], lag=2)
    spread = {n: bootstrap(t, bookings[n], level, draws, rng) for n, t in totals.items()}
    p = {n: flip_test(fits[n], bookings[n], null_draws, ridges, rng) for n in bookings}
    if common and not centre:
        own = fit(centre_tracks(tracks), basis, D, bookings[unit], ridges)
        p["own frame"] = flip_test(own, bookings[unit], null_draws, ridges, rng)
    per_track = measure(tracks, main.forces, D, each_track(tracks, fold_of))
    widest = max(spread, key=lambda n: spread[n].high - spread[n].low)
    value = rate(totals[unit].current, totals[unit].duration)
    twice = rate(coarse.current, coarse.duration)
    train, debiased = training_values(main, D, bookings[unit])
    n_units = min(b.n_units for b in bookings.values())
    return LearnedEp(
        value=value,
        low=spread[widest].low,
        high=spread[widest].high,
        level=level,
        sd=max(s.sd for s in spread.values()),
        p=max(p.values()),
        certified=rate(totals[unit].bound, totals[unit].duration),
        certified_low=spread[widest].bound_low,
        certified_high=spread[widest].bound_high,
        train=train,
        debiased=debiased,
        coarse=twice,
        second_order=2 * value - twice,
        dt=tracks.dt,
        n_trajectories=tracks.n,
        n_steps=int(step_count(tracks).sum()),
        duration=float(totals[unit].duration.sum()),
        n_gaps=tracks.n_gaps,
        unit=widest,
        n_units=n_units,
        unit_sd={n: s.sd for n, s in spread.items()},
        unit_p=p,
        basis=features if isinstance(features, str) else type(features).__name__,
        ridge=main.ridges,
        diffusion=D if isinstance(D, np.ndarray) else None,
        diffusion_rule=rule,
        increments=increments,
        drift_removed=prepared.drift_removed,
        centred=centre,
        forces=main.forces,
        fold_of=fold_of,
        track_current=per_track.current,
        track_duration=per_track.duration,
        notes=notes_for(increments, value, twice, n_units, rule, tracks.dt, spread[widest].sd, p),
    )


@dataclass(frozen=True, slots=True)
class Prepared:
    """Trajectories as they are measured."""

    tracks: Tracks
    common: bool  # whether they were seen together
    unit: str  # what a trajectory is: track, or block of one record
    drift_removed: bool


def prepare(
    x: ArrayLike | xr.Dataset | Tracks,
    *,
    dt: float | None = None,
    remove_stage_drift: bool | None = None,
    centre: bool = False,
    common_time: bool | None = None,
    folds: int = 5,
) -> Prepared:
    """Bring trajectories into the form that `learn_ep` measures; arguments as there."""
    if folds < 3:
        raise InputError(f"folds is {folds}; fitting, choosing and testing need at least 3.")
    tracks = tracks_from(x, dt=dt)
    stated = isinstance(x, xr.Dataset) and x.attrs.get("clock") == "common"
    common = (stated if common_time is None else common_time) and tracks.n > 1
    remove = common if remove_stage_drift is None else remove_stage_drift
    if remove:
        tracks = remove_drift(tracks)
    unit = "track"
    if tracks.n == 1:
        tau = max(integrated_autocorrelation_time(tracks.x[:, j]) for j in range(tracks.dim))
        room = max(1, len(tracks.x) // (4 * N_BLOCKS))
        tracks = cut_blocks(tracks, n_blocks=N_BLOCKS, gap=int(min(np.ceil(tau), room)))
        unit = "block"
    keep = step_count(tracks) > 0
    if keep.sum() < folds:
        raise InputError(
            f"{int(keep.sum())} trajectories have a step, {folds} folds were asked for; give "
            "more trajectories or one long one."
        )
    tracks = tracks if keep.all() else select(tracks, keep)
    return Prepared(centre_tracks(tracks) if centre else tracks, common, unit, remove)


def resolve_diffusion(given: object, increments: Increments) -> tuple[Diffusion, str]:
    """Return the diffusion to use and its origin: given, moments, or a rule of increments."""
    if given is None:
        return increments.diffusion(), increments.rule
    if isinstance(given, str):
        if given != "moments":
            raise InputError(f"diffusion is {given!r}; give a matrix, a function or 'moments'.")
        return "moments", "moments"
    if callable(given):
        return cast(Diffusion, given), "given"
    dim = increments.cov.shape[1]
    D = np.asarray(given, dtype=np.float64)
    if D.ndim == 0:
        D = D * np.eye(dim)
    if D.shape != (dim, dim) or np.linalg.eigvalsh(0.5 * (D + D.T))[0] <= 0:
        raise InputError(f"diffusion {D.tolist()} is no positive matrix of shape ({dim}, {dim}).")
    return D, "given"


def _sample(tracks: Tracks, rng: np.random.Generator) -> Array:
    n = len(tracks.x)
    return tracks.x if n <= SAMPLE else tracks.x[np.sort(rng.choice(n, SAMPLE, replace=False))]


def notes_for(
    increments: Increments,
    value: float,
    twice: float,
    n_units: int,
    rule: str,
    dt: float,
    sd: float,
    p: dict[str, float],
) -> tuple[str, ...]:
    """Say why a value should be trusted less."""
    notes = increments.warnings()
    if p.get("own frame", 0.0) > 0.05 > max(v for n, v in p.items() if n != "own frame"):
        notes.append(
            "the current vanishes in each track's own frame: a flow that carries them all"
        )
    if abs(value) > 3 * sd and abs(value - twice) > COARSE * abs(value):
        notes.append(f"dt is coarse: {value:.3g} at dt, {twice:.3g} at 2 dt")
    if n_units < MANY_UNITS:
        notes.append(f"only {n_units} units to resample: interval and p are coarse")
    if rule == "moments" and value * dt > NOISY_MOMENTS:
        notes.append(f"EPR dt = {value * dt:.2g}: second moments bias the value low")
    return tuple(notes)
