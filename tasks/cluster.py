"""Where a task's body runs: on a Dask worker when a client is set, else in this thread.

Prefect tasks run in threads of the flow process; only the computing travels. `on_worker` is the
one place that knows whether there is a cluster.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Any, TypeVar

from dask.distributed import Client
from dask.distributed import TimeoutError as DaskTimeoutError

from irrev.errors import IrrevError

R = TypeVar("R")

# errors that come back however often the work is tried
FINAL = (
    IrrevError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    TypeError,
    ValueError,
)

_client: Client | None = None
_slots = BoundedSemaphore(1)


def use_client(client: Client | None, *, slots: int = 1) -> None:
    """Set the Dask client; without one, at most `slots` bodies compute at once in this process."""
    global _client, _slots  # the one switch of this module, set by the runner before the flow
    _client = client
    _slots = BoundedSemaphore(slots)


def on_worker(
    body: Callable[..., R],
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    *,
    resources: dict[str, float] | None = None,
    timeout_s: float | None = None,
) -> R:
    """Run `body` with placement: worker resources and a limit on the wait.

    Raises
    ------
    TimeoutError
        If no result came within `timeout_s`; the work is cancelled.
    """
    if _client is None:
        with _slots:
            return body(*args, **(kwargs or {}))
    future = _client.submit(body, *args, **(kwargs or {}), resources=resources, pure=False)
    try:
        return future.result(timeout_s)
    except DaskTimeoutError:
        future.cancel()
        raise TimeoutError(
            f"no result within {timeout_s:.0f} s; raise compute.timeout or look at the workers."
        ) from None
    finally:
        future.release()  # let the cluster forget it; nothing gets computed twice


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers as a crew (`irrev.ep.streaming.Crew`) for the pieces of one piece of work."""

    client: Client
    addresses: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of workers."""
        return len(self.addresses)

    def map(self, work: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """Do independent pieces anywhere; give results in the order of `args`."""
        futures = [self.client.submit(work, *a, pure=False) for a in args]
        while futures:
            future = futures.pop(0)
            yield future.result()
            future.release()

    def each(self, work: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Do piece k on worker k, or on another one if that has died."""
        futures = [
            self.client.submit(
                work, *a, workers=[address], allow_other_workers=True, pure=False, priority=1
            )
            for address, a in zip(self.addresses, args, strict=False)
        ]
        return [future.result() for future in futures]


def crew() -> Workers | None:
    """Return all workers as one crew; None where there are none."""
    if _client is None:
        return None
    return Workers(_client, tuple(sorted(_client.scheduler_info(n_workers=-1)["workers"])))


def has_workers() -> bool:
    """Say whether work travels to Dask workers."""
    return _client is not None


def worker_resource(name: str) -> float:
    """Return how much of a resource the present workers declare together; 0 without workers."""
    if _client is None:
        return 0.0
    workers = _client.scheduler_info(n_workers=-1)["workers"].values()
    return float(sum(w.get("resources", {}).get(name, 0.0) for w in workers))


def worth_retrying(task: Any, run: Any, state: Any) -> bool:
    """Say whether a failed Prefect task may succeed later: a lost worker, not a wrong value."""
    try:
        state.result()
    except FINAL:
        return False
    except Exception:  # what failed decides, whatever it is
        return True
    return False
