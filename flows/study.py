"""Subsets of units: ingestion -> entropy production against population size -> store."""

from prefect import flow

from flows.measuring import measure_in_pieces
from flows.runners import threads
from flows.scope import WHOLE, Scope
from flows.steps import RunSummary
from tasks.study import infer_subsets


@flow(name="study", task_runner=threads())
def study(config: str = "pipeline.yaml", scope: Scope = WHOLE) -> RunSummary:
    """Measure random subsets of every recording under every condition."""
    return measure_in_pieces(config, "study", scope, infer_subsets)
