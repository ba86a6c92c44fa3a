"""The flow blocks of pipeline.yaml: method parameters, interval, null, false-discovery rate."""

from typing import ClassVar, Literal

from pydantic import Field

from flows.model import Model
from flows.quantities import Seconds


class Interval(Model):
    """Confidence intervals."""

    level: float = Field(default=0.95, gt=0, lt=1, description="coverage of the interval")
    draws: int = Field(default=1000, ge=100, description="bootstrap draws")


class Null(Model):
    """The null distribution."""

    draws: int = Field(
        default=200, ge=19, description="draws of the null; the least p is 1/(draws + 1)"
    )


class Block(Model):
    """Fields that all flow blocks share."""

    kinds: ClassVar[tuple[str, ...]] = ()
    sources: list[str] = Field(min_length=1, description="names of sources")
    interval: Interval = Interval()
    null: Null = Null()
    fdr: float = Field(
        default=0.05, gt=0, lt=1, description="false-discovery rate over the run's results"
    )


class MaxEnt(Model):
    """Parameters of `irrev.maxent_ep`."""

    method: Literal["maxent"] = Field(default="maxent", description="name of the method")
    observables: list[Literal["pair"]] = Field(
        default=["pair"], description="antisymmetric observables"
    )
    folds: int = Field(default=5, ge=3, description="cross-fitting folds; each is test once")
    n_blocks: int = Field(default=50, ge=10, description="contiguous blocks dealt to the folds")
    solver: str = Field(default="auto", description="optimiser of the dual problem")


class SpikesBlock(Block):
    """Entropy production of spike trains."""

    kinds: ClassVar[tuple[str, ...]] = ("spikes",)
    bin: Seconds = Field(default=0.01, gt=0, description="bin width")
    ep: MaxEnt = MaxEnt()


class Flows(Model):
    """What to measure; a flow that is absent does not run."""

    spikes: SpikesBlock | None = Field(
        default=None, description="entropy production of spike trains"
    )

    def chosen(self) -> dict[str, Block]:
        """Return the flows present in the file, in the order of this class."""
        pairs = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: block for name, block in pairs if block is not None}
