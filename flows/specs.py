"""What each flow is made of: its method, its results, and which parameters each step reads.

Nothing here starts Prefect, so that `plan` and a run with nothing to do stay quick. A new flow is
a row in `SPECS`, a block in `flows/blocks.py` and a file `flows/<name>.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flows.blocks import SpikesBlock
from flows.sources import SpikesSource


@dataclass(frozen=True, slots=True)
class FlowSpec:
    """One flow: sources of `kinds` -> `method` -> results/<name>/<method>."""

    name: str
    method: str
    version: int  # raise it when the numbers of the method change
    read_config: Callable[[Any], dict[str, Any]]  # source -> what ingestion reads
    stage_config: Callable[[Any, Any], dict[str, Any]]  # block, source -> what measuring reads

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


SPECS: dict[str, FlowSpec] = {
    "spikes": FlowSpec("spikes", "maxent", 1, _read_spikes, _measure_spikes),
}
