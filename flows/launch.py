"""Run flows one after the other where work runs; used by every command that computes."""

import os
from importlib import import_module

from flows.config import Pipeline
from flows.console import shown_progress
from flows.scope import WHOLE, Scope


def quiet_prefect(*, verbose: bool = False) -> None:
    """Keep tracebacks of tasks, which are stored as failures, from the terminal."""
    os.environ["PREFECT_LOGGING_LEVEL"] = "INFO" if verbose else "CRITICAL"


def run_flows(
    config: str, pipeline: Pipeline, flows: list[str], *, quiet: bool, scope: Scope = WHOLE
) -> bool:
    """Run flows; say whether a version was made. Enter a server first."""
    from flows.runners import cluster  # after the server is up: this imports Prefect

    changed = False
    with cluster(pipeline.place()), shown_progress(quiet=quiet):
        for name in flows:
            entry = getattr(import_module(f"flows.{name}"), name)
            changed |= entry(config, scope).changed
    return changed
