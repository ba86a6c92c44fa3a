"""Spin models: couplings -> entropy production against temperature, beside the exact value."""

from prefect import flow

from flows.measuring import measure_in_pieces
from flows.runners import threads
from flows.scope import WHOLE, Scope
from flows.steps import RunSummary
from tasks.spins import infer_spins


@flow(name="spins", task_runner=threads())
def spins(config: str = "pipeline.yaml", scope: Scope = WHOLE) -> RunSummary:
    """Measure every system at every temperature."""
    return measure_in_pieces(config, "spins", scope, infer_spins)
