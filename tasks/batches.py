"""Shards by the batch: a Prefect task carries some seconds of work, however small the shards.

A thousand small tasks cost Prefect's database more than their work costs; so one task measures
several shards one after the other. Each shard is tried, fails and is handed over by itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.cluster import PlaceError, tried


@dataclass(frozen=True, slots=True)
class Step:
    """One call that computes one shard where work runs."""

    call: Callable[..., Any]
    args: tuple[Any, ...]

    def __call__(self) -> Any:
        """Compute; a lost worker is made good."""
        return tried(lambda: self.call(*self.args))


@dataclass(frozen=True)
class Batch:
    """Steps to be taken one after the other until the run stops."""

    steps: Sequence[Step]
    deliver: Callable[[int, Any], None]  # takes the step's place in the batch, result or error
    stop: Event


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="{name}")
def measure_batch(name: str, batch: Batch) -> None:
    """Compute the shards of a batch; a failure is handed over like a result."""
    for place, step in enumerate(batch.steps):
        if batch.stop.is_set():
            return
        try:
            outcome = step()
        except PlaceError:
            raise  # the others would meet the same
        except Exception as error:  # kept as the shard's failure
            outcome = error
        batch.deliver(place, outcome)
