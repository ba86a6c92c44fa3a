"""The result of a MaxEnt entropy-production estimate, with its readable forms."""

from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

WEAK_ESS = 100.0  # below this few samples carry the reverse average
WEAK_ESS_FRACTION = 0.01


@dataclass(frozen=True, slots=True)
class MaxEntEp:
    """Held-out lower bound on the entropy production, pooled over folds.

    `value` is signed: below zero means that nothing was found. `significant` results have a small
    `p`; `low` and `high` bound the value at `level`.
    """

    value: float  # nats per step
    low: float
    high: float
    level: float  # of the interval, e.g. 0.95
    bin_s: float  # length of a step, s
    certified: float  # unbiased for a true lower bound at any sample size, nats per step
    train: float  # value on the training parts, biased upwards, nats per step
    newton1: float  # held-out value of one Newton step, nats per step
    tur: float  # held-out uncertainty-relation bound, nats per step
    p: float  # against blocks read backwards; 1 where value <= 0
    statistic: float  # quadratic entropy production that the test compares, nats per step
    null_values: NDArray[np.float64]  # (null_draws,) the same for random directions
    ess: float  # samples that carry the reverse average, smallest fold
    saturated: bool  # a fold shows all that its samples can: at the cap ln n, but for its limit
    fold_values: NDArray[np.float64]  # (folds,) nats per step
    fold_limits: NDArray[np.float64]  # (folds,) largest |theta . g| of a sample, nats; inf: none
    fold_steps: NDArray[np.int64]  # (folds,) test transitions
    curve_train: NDArray[np.float64]  # (iteration,) first fold, nats per step
    curve_validation: NDArray[np.float64]  # (iteration,) rescaled, first fold
    theta: NDArray[np.float64]  # (unit, unit) couplings of the pairs at lag 1, mean over folds
    share: NDArray[np.float64]  # (unit, unit) couplings x mean observables, nats; not unique
    n_units: int
    n_steps: int  # transitions used, over all test folds
    n_spikes: int  # active cells; 0 for states that are no spikes
    lost: float  # fraction of spikes lost to binarisation
    drift: float  # (rate in the last third - first third) / mean rate
    n_blocks: int
    block_steps: float  # mean transitions a block
    solver: str
    coding: str  # "+-1" for spikes and spins, "real" otherwise
    observables: tuple[str, ...]
    lag: int  # steps between neighbouring states of a sample
    window: int  # steps of a sample; all values are divided by lag x window
    coefficients: dict[str, NDArray[np.float64]]  # of each set, mean over folds, nats a sample
    passes: float  # value and gradient over all transitions, summed over folds
    step: NDArray[np.int64] | None = None  # (n_steps,) first bin of each transition
    trajectory: NDArray[np.float64] | None = None  # (n_steps,) held-out estimate of each, nats

    @property
    def rate(self) -> float:
        """Value, nats per second."""
        return self.value / self.bin_s

    @property
    def rate_low(self) -> float:
        """Lower end of the interval, nats per second."""
        return self.low / self.bin_s

    @property
    def rate_high(self) -> float:
        """Upper end of the interval, nats per second."""
        return self.high / self.bin_s

    @property
    def spikes_per_step(self) -> float:
        """Mean number of active units per bin; NaN for states that are no spikes."""
        return self.n_spikes / self.n_steps if self.n_spikes else float("nan")

    @property
    def per_spike(self) -> float:
        """Value, nats per spike."""
        return self.value / self.spikes_per_step

    @property
    def per_spike_low(self) -> float:
        """Lower end of the interval, nats per spike."""
        return self.low / self.spikes_per_step

    @property
    def per_spike_high(self) -> float:
        """Upper end of the interval, nats per spike."""
        return self.high / self.spikes_per_step

    @property
    def notes(self) -> tuple[str, ...]:
        """Reasons to trust the value less, in words; empty if there are none."""
        found = []
        if self.value == self.low == self.high == 0:
            found.append("no direction of time held up in any fold: the value is zero by choice")
        if self.saturated:
            found.append(
                "a fold shows all that its samples can (cap ln n): the true value may be larger"
            )
        if self.ess < max(WEAK_ESS, WEAK_ESS_FRACTION * float(self.fold_steps.min())):
            found.append(f"only {self.ess:.0f} effective samples carry the reverse average")
        if self.value > 0 and self.certified <= 0:
            found.append("the certified value is not positive")
        return tuple(found)

    def __str__(self) -> str:
        head = (
            f"EP bound {self.value:.4g} nat/step "
            f"({100 * self.level:g} % interval {self.low:.4g} to {self.high:.4g}), "
            f"{self.rate:.4g} nat/s, certified {self.certified:.4g}, p = {self.p:.3g}, "
            f"{self.n_units} units, {self.n_steps:,} steps"
        )
        return "; ".join([head, *self.notes])

    def _repr_html_(self) -> str:
        rows = [
            ("EP bound, nat per step", f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"),
            ("EP bound, nat/s", f"{self.rate:.4g} ({self.rate_low:.4g} to {self.rate_high:.4g})"),
            ("certified, nat per step", f"{self.certified:.4g}"),
            ("p", f"{self.p:.3g}"),
            ("units, steps", f"{self.n_units}, {self.n_steps:,}"),
            *(("note", note) for note in self.notes),
        ]
        if self.n_spikes:
            ends = f"({self.per_spike_low:.4g} to {self.per_spike_high:.4g})"
            rows.insert(2, ("EP bound, nat per spike", f"{self.per_spike:.4g} {ends}"))
        cells = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows
        )
        return f"<table>{cells}</table>"
