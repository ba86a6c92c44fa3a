"""What each flow is made of: its method, its results, and which parameters each step reads.

Nothing here starts Prefect, so that `plan` and a run with nothing to do stay quick. A new flow is
a row in `SPECS`, a block in `flows/blocks.py` and a file `flows/<name>.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flows.blocks import SpikesBlock
from flows.sources import SpikesSource
from irrev.ep.maxent import METHOD_VERSION


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a result table at the command line."""

    title: str
    name: str  # variable of the result, or `low … high` for an interval
    form: str = "{}"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one shard is expected to take."""

    seconds: float
    read_bytes: float
    peak_bytes: float  # memory of the worker


@dataclass(frozen=True, slots=True)
class FlowSpec:
    """One flow: sources of `kinds` -> `method` -> results/<name>/<method>."""

    name: str
    method: str
    version: int  # raise it when the numbers of the method change
    read_config: Callable[[Any], dict[str, Any]]  # source -> what ingestion reads
    stage_config: Callable[[Any, Any], dict[str, Any]]  # block, source -> what measuring reads
    cost: Callable[[Mapping[str, float], Mapping[str, Any]], Cost]  # input size, stage config
    value: str  # the variable that two versions are compared by
    columns: tuple[Column, ...]
    extras: str = ""  # group below results/<name> with one Dataset a shard, for the report

    @property
    def kind(self) -> str:
        """Return the schema kind of the results."""
        return f"{self.name}/{self.method}"

    @property
    def group(self) -> str:
        """Return the group of the results."""
        return f"results/{self.kind}"


def _read_spikes(source: SpikesSource) -> dict[str, Any]:
    return {
        "kind": source.kind,
        "options": {
            "on_error": source.on_error,
            "time_unit": source.time_unit,
            "sample_rate": source.sample_rate,
        },
        "split": source.conditions.model_dump(),
    }


def _measure_spikes(block: SpikesBlock, source: SpikesSource) -> dict[str, Any]:
    return {
        "bin": block.bin,
        "ep": block.ep.model_dump(exclude={"method"}),
        "interval": block.interval.model_dump(),
        "null": block.null.model_dump(),
        "units": source.units.model_dump(exclude_none=True),
    }


PAIR_S = 4e-9  # value and gradient of one pair of active cells, s (measured, one core)
PASSES = 14.0  # value and gradient over all data in one fit (measured)
OVERHEAD_S = 1.5  # reading, binning, null and interval of a small recording, s


def _cost_spikes(size: Mapping[str, float], config: Mapping[str, Any]) -> Cost:
    """Estimate by spikes: work grows with the square of the active cells per bin."""
    seconds = sum(stop - start for start, stop in config["selection"])
    n_bins = max(seconds / config["bin"], 1.0)
    n_spikes = size["spike"] * min(seconds / max(size.get("observed_s", seconds), 1e-9), 1.0)
    pairs = n_spikes**2 / n_bins + size["unit"] ** 2
    folds = config["ep"]["folds"]
    theta_bytes = 8.0 * size["unit"] ** 2
    return Cost(
        seconds=OVERHEAD_S + PAIR_S * PASSES * folds * pairs,
        read_bytes=size["bytes"],
        peak_bytes=3 * size["bytes"] + 8 * n_bins * folds + 60 * theta_bytes,
    )


SPECS: dict[str, FlowSpec] = {
    "spikes": FlowSpec(
        name="spikes",
        method="maxent",
        version=METHOD_VERSION,
        read_config=_read_spikes,
        stage_config=_measure_spikes,
        cost=_cost_spikes,
        value="ep_rate",
        columns=(
            Column("units", "n_units"),
            Column("bins", "n_steps", "{:,}"),
            Column("EP bound", "ep_rate", "{:.3g} nat/s"),
            Column("interval", "ep_rate_low … ep_rate_high", "{:.3g}"),
            Column("p", "p", "{:.3g}"),
        ),
        extras="couplings",
    ),
}
