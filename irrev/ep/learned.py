"""The result of learning entropy production from currents, with its readable forms."""

from dataclasses import dataclass
from html import escape

from irrev.ep.currents import Field
from irrev.ep.increments import Increments
from irrev.ep.steps import Array, Index

COARSE = 0.10  # EPR(dt) and EPR(2 dt) further apart than this: dt is too coarse


@dataclass(frozen=True, slots=True)
class LearnedEp:
    """Entropy production rate from held-out currents; nats per time unit unless said.

    `value` is signed: below zero means that no current was found in this basis.
    """

    value: float  # held-out J estimate, ratio of sums
    low: float  # interval at `level`: the widest over the resampled units
    high: float
    level: float
    sd: float  # bootstrap standard deviation of `value`, the larger over units
    p: float  # sign flips of whole units, the larger over units
    certified: float  # held-out 2 J - Q: in expectation a lower bound
    certified_low: float
    certified_high: float
    train: float  # on the fitted data: biased upwards, never a result
    debiased: float  # train minus its block-form bias
    coarse: float  # `value` at twice the interval, same force
    second_order: float  # 2 EPR(dt) - EPR(2 dt)
    dt: float
    n_trajectories: int
    n_steps: int
    duration: float  # total observed time
    n_gaps: int
    unit: str  # what was resampled: track, block, time block
    n_units: int
    unit_sd: dict[str, float]  # standard deviation by kind of unit
    unit_p: dict[str, float]
    basis: str
    ridge: tuple[float, ...]  # chosen in each fold
    diffusion: Array | None  # (dim, dim); None: second moments of currents were used
    diffusion_rule: str  # given, naive, noise, memory, drift, moments
    increments: Increments
    drift_removed: bool
    centred: bool
    forces: tuple[Field, ...]  # one a fold
    fold_of: Index  # (trajectory,) fold in which it was held out; -1: never
    track_current: Array  # (trajectory,) held-out J of each, nats
    track_duration: Array  # (trajectory,)
    notes: tuple[str, ...]  # reasons to trust the value less, in words

    @property
    def significant(self) -> bool:
        """Whether a current was found at 5 %."""
        return self.p < 0.05 and self.value > 0

    def __str__(self) -> str:
        head = (
            f"EP rate {self.value:.4g} nat/time ({100 * self.level:g} % interval {self.low:.4g} "
            f"to {self.high:.4g}), certified {self.certified:.4g}, p = {self.p:.3g}, "
            f"{self.n_trajectories:,} trajectories, {self.n_steps:,} steps, basis {self.basis}"
        )
        return "; ".join([head, *self.notes])

    def _repr_html_(self) -> str:
        rows = [
            ("EP rate, nat per time", f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"),
            ("certified", f"{self.certified:.4g}"),
            ("second order in dt", f"{self.second_order:.4g}"),
            ("p", f"{self.p:.3g}"),
            ("trajectories, steps", f"{self.n_trajectories:,}, {self.n_steps:,}"),
            ("basis, diffusion", f"{self.basis}, {self.diffusion_rule}"),
            *(("note", note) for note in self.notes),
        ]
        cells = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows
        )
        return f"<table>{cells}</table>"
