"""Lower bound on entropy production by nonequilibrium maximum entropy, on held-out data.

    ep_bound = max_theta  theta . <g> - ln <exp(theta . g~)>  <=  ep             (1)

g are observables of one step or window (`irrev.ep.sets`), g~ the same read
backwards: the samples themselves with their two ends exchanged. The bound is exact when the
log-ratio of forward and reversed probabilities is linear in g, and is the value found by theta
otherwise.

(1) fitted and evaluated on the same n samples is too high by about
(number of observables) / n at equilibrium, times two. So theta is fitted on some blocks of the
recording, chosen on others and evaluated on a third part, in turn until every block has been
tested (`irrev.ep.validation`).

Limits: on a recording that is not stationary this measures time-irreversibility, which contains
relaxation and drift; call it entropy production for stationary stretches only. The bin width
decides what can be seen; memory beyond one step is not used.

Source: Aguilera, Ito, Kolchinsky, Phys. Rev. Lett. 136, 077101 (2026). Folds, intervals, the
certified value and the null are derived here (`irrev.ep.validation`).
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irrev.binning import SpikeBins
from irrev.ep.choose import Solver, check_solver
from irrev.ep.crossfit import FoldFit, block_sums, cross_fit
from irrev.ep.explicit import AntisymmetricTable, ExplicitObservables
from irrev.ep.metric import pair_matrix
from irrev.ep.observables import Observables
from irrev.ep.result import MaxEntEp
from irrev.ep.samples import DEGREE, Samples, build_samples
from irrev.ep.validation import (
    bootstrap,
    check_options,
    cut_blocks,
    noise_fraction,
    pooled,
    reversal_test,
)
from irrev.errors import InputError, MissingExtraError
from irrev.stats import deal_blocks, generators

METHOD_VERSION = 3  # 2: no limit on theta . g, one metric
Device = Literal["auto", "cuda", "cpu"]


def maxent_ep(
    bins: SpikeBins | ArrayLike | ExplicitObservables | AntisymmetricTable,
    *,
    bin_s: float | None = None,
    observables: Sequence[str] = ("pair",),
    lag: int = 1,
    window: int = 1,
    folds: int = 5,
    n_blocks: int = 50,
    solver: Solver = "auto",
    level: float = 0.95,
    draws: int = 1000,
    null_draws: int = 200,
    seed: int = 0,
    trajectory: bool = False,
    device: Device = "cpu",
) -> MaxEntEp:
    """Estimate a held-out lower bound on the entropy production of a recording.

    Parameters
    ----------
    bins
        Binned spikes, or states at equal steps, shape (time, unit): 0/1 values are spikes, others
        (spins -1/+1, real signals, angles in rad) are taken as they are; centre real signals
        first, or pairs carry their offset instead of what they share. Or the values of your
        own observables on each sample and on its reversal (`irrev.ep.explicit`), in order of time.
    bin_s
        Length of a step, s; read from `bins` where it knows, otherwise 1 if not given.
    observables
        Sets of observables: "lin", "pair", "same-time", "triple", "current", "delayed" with a
        window, or "angles" (`irrev.ep.sets`).
    lag
        Steps between neighbouring states of a sample.
    window
        Steps of a sample: sets of one step are summed over them, "delayed" adds pairs at lags 2
        to `window`. All values are divided by lag x window, so they stay bounds per step.
    folds
        Folds of the cross-fit, at least 3.
    n_blocks
        Contiguous blocks dealt to the folds at random.
    solver
        "lbfgs", "sizes", "l1", "newton", "bb", "chord", or "auto" to choose (`irrev.ep.choose`).
    level
        Level of the interval.
    draws
        Bootstrap draws behind the interval.
    null_draws
        Random directions behind the p-value.
    seed
        Seed of dealing, bootstrap and null: the same seed gives the same numbers.
    trajectory
        Keep the held-out estimate of every sample.
    device
        Where the matrix products of pairs run: "cpu" in numpy and compiled loops, "cuda" by torch
        on a GPU with the same numbers within float32 rounding, "auto" on a GPU where there is one.

    Returns
    -------
        Value, interval, p-value and diagnostics.

    Raises
    ------
    InputError
        If there are fewer than two units, too few transitions for the blocks, or an argument
        leaves its range.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noise = rng.random((4000, 4)) < 0.2
    >>> est = maxent_ep(noise, bin_s=0.01)
    >>> est.low < 0.001 and est.p > 0.05
    True
    """
    check_options(folds=folds, n_blocks=n_blocks, level=level, draws=draws, null_draws=null_draws)
    check_solver(solver)
    if device not in get_args(Device):
        raise InputError(f"device is {device!r}; use one of {', '.join(get_args(Device))}.")
    return estimate(
        build_samples(bins, bin_s=bin_s, observables=observables, lag=lag, window=window),
        folds=folds,
        n_blocks=n_blocks,
        solver=solver,
        level=level,
        draws=draws,
        null_draws=null_draws,
        seed=seed,
        trajectory=trajectory,
        device=device,
    )


def estimate(
    samples: Samples,
    *,
    folds: int,
    n_blocks: int,
    solver: Solver,
    level: float,
    draws: int,
    null_draws: int,
    seed: int,
    trajectory: bool,
    device: Device,
) -> MaxEntEp:
    """Estimate from samples; parameters as in `maxent_ep`."""
    dealing, bootstrapping, null = generators(seed, 3)
    kept, block = cut_blocks(samples.starts, n_blocks, lag=samples.span)
    fold_of_block = deal_blocks(n_blocks, folds, dealing)
    samples = samples.take(kept)
    joint = _placed(samples.observables, device)
    sums = block_sums(joint, block, n_blocks)
    fits = cross_fit(joint, block, sums, fold_of_block, solver=solver)
    tests = [f.test for f in fits]
    n_steps = np.array([t.n_steps for t in tests])
    train = np.array([f.fit.value_train for f in fits])
    value = pooled(np.array([t.value for t in tests]), n_steps)
    deviations = bootstrap(
        tests, [block[f.rows] for f in fits], bootstrapping, bin_s=samples.bin_s, draws=draws
    )
    widening = np.sqrt(1.0 + noise_fraction(train, tests, n_steps))
    low, high = value + widening * np.quantile(deviations, [(1 - level) / 2, (1 + level) / 2])
    test = reversal_test(sums.odd, np.bincount(block), joint.metric().size, null, draws=null_draws)
    coefficients = np.mean([f.fit.theta for f in fits], axis=0)
    theta, share = _couplings(samples, coefficients, sums.odd.sum(axis=0, dtype=np.float64))
    step, path = _trajectory(samples, fits) if trajectory else (None, None)
    per_step = 1.0 / samples.span
    return MaxEntEp(
        value=value * per_step,
        low=float(low) * per_step,
        high=float(high) * per_step,
        level=level,
        bin_s=samples.bin_s,
        certified=pooled(np.array([t.certified for t in tests]), n_steps) * per_step,
        train=pooled(train, n_steps) * per_step,
        newton1=pooled(np.array([f.newton1 for f in fits]), n_steps) * per_step,
        tur=pooled(np.array([f.tur for f in fits]), n_steps) * per_step,
        p=test.p if value > 0 else 1.0,
        statistic=test.statistic * per_step,
        null_values=test.null * per_step,
        ess=min(t.ess for t in tests),
        saturated=any(t.saturated or f.fit.saturated for t, f in zip(tests, fits, strict=True)),
        fold_values=np.array([t.value for t in tests]) * per_step,
        fold_limits=np.array([f.fit.limit for f in fits]),
        fold_steps=n_steps,
        curve_train=fits[0].fit.train * per_step,
        curve_validation=fits[0].fit.validation * per_step,
        theta=theta,
        share=share,
        n_units=samples.n_units,
        n_steps=int(n_steps.sum()),
        n_spikes=int(samples.active.sum()),
        lost=samples.lost,
        drift=samples.drift,
        n_blocks=n_blocks,
        block_steps=float(np.bincount(block).mean()),
        solver=solver,
        coding=samples.coding,
        observables=tuple(dict.fromkeys(part.name for part in samples.parts)),
        lag=samples.span // samples.window,
        window=samples.window,
        coefficients={
            name: x / samples.unit ** DEGREE[name]
            for name, x in _by_set(samples, coefficients).items()
        },
        passes=sum(f.fit.passes * f.train_fraction for f in fits),
        step=step,
        trajectory=path,
    )


def _placed(observables: Observables, device: Device) -> Observables:
    """Put the products of pairs on a GPU if asked to."""
    if device == "cpu":
        return observables
    try:
        from irrev.ep.networks import choose_device
        from irrev.ep.torch_pairs import on_device
    except ImportError as error:
        if device == "auto":
            return observables
        raise MissingExtraError("device cuda needs torch; install irrev[torch].") from error
    place = choose_device(device)
    return observables if place == "cpu" else on_device(observables, place)


def _by_set(samples: Samples, coefficients: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Split coefficients by name of the set; those of "delayed" follow each other lag by lag."""
    out: dict[str, NDArray[np.float64]] = {}
    at = 0
    for part in samples.parts:
        piece = coefficients[at : at + part.observables.n_observables]
        at += piece.size
        out[part.name] = np.concatenate([out[part.name], piece]) if part.name in out else piece
    return out


def _couplings(
    samples: Samples, coefficients: NDArray[np.float64], total: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the matrix of pair couplings and couplings x mean observables; 0 without pairs."""
    by_set, means = _by_set(samples, coefficients), _by_set(samples, total / samples.starts.size)
    if "pair" not in by_set:
        nothing = np.zeros((samples.n_units, samples.n_units))
        return nothing, nothing
    theta = pair_matrix(by_set["pair"], samples.n_units)
    share = theta * pair_matrix(means["pair"], samples.n_units) / samples.span
    return theta / samples.unit ** DEGREE["pair"], share


def _trajectory(
    samples: Samples, folds: list[FoldFit]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return theta . g - ln Z of every sample per step, from the fold that tested it."""
    ep = np.empty(samples.starts.size)
    for f in folds:
        ep[f.rows] = f.test.forward - f.test.log_normaliser
    return samples.starts, ep / samples.span
