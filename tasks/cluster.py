"""Where a task's body runs: on a Dask worker when a client is set, else in this process.

Prefect tasks run in threads of the flow process; only the computing travels. `on_worker` is the
one place that knows whether there is a cluster. Every wait ends: after its limit a body is given
up, and its worker, which may hang, is started anew.
"""

import logging
import math
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Event, Thread
from typing import Any, TypeVar

from dask.distributed import Client, KilledWorker, get_worker

from irrev.errors import IrrevError
from tasks.usage import Usage, Used, used_by

K = TypeVar("K")
R = TypeVar("R")
log = logging.getLogger(__name__)


class PlaceError(IrrevError):
    """The place where work runs is gone; what was under way there is no fault of its input."""


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
    TimeoutError,  # it had its time; the next run tries it again
)
RETRY_DELAYS_S = (5.0, 30.0)  # between attempts at work whose worker was lost
POLL_S = 0.2
FETCH_S = 600.0  # for a result that is ready to reach this process
RESTART_S = 30.0  # a worker that takes longer to start again is left to its nanny

LIMIT_S = 21600.0  # no wait is longer, unless its caller says so
COUNT_S = 5.0  # workers are counted this often
LOOK_S = 1.0  # a body that waits in a queue is looked at this often
QUEUES = 20  # limits after which one that never began is given up
BEGUN = "irrev-begun"
MOST_DESKS = 4  # workers that may die of one question

_client: Client | None = None
_least = 1
_slots = 1
_counted = 0.0
_begun: dict[str, float] = {}  # token of a body on a worker -> when it began
_free = BoundedSemaphore(1)
usage = Usage()  # of this process's bodies; a run reads the difference


def use_client(client: Client | None, *, slots: int = 1) -> None:
    """Set the Dask client; without one, at most `slots` bodies compute at once in this process.

    With one, `slots` workers are counted even if they are still to come.
    """
    global _client, _least, _slots, _free, _counted  # the switch of this module, for the runner
    _client, _counted = client, -math.inf
    _least = _slots = slots
    _free = BoundedSemaphore(slots)
    if client is not None:
        client.subscribe_topic(BEGUN, _note)


def slots() -> int:
    """Count the bodies that can compute at once; workers may come and go within seconds."""
    global _slots, _counted
    client = _client
    if client is not None and time.monotonic() - _counted > COUNT_S:
        _counted = time.monotonic()
        with suppress(OSError):  # a scheduler that is gone ends the run elsewhere
            threads: Any = client.nthreads()  # a plain dict: the client is synchronous
            _slots = max(_least, sum(threads.values()))
    return _slots


def on_worker(
    body: Callable[..., R],
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    *,
    resources: dict[str, float] | None = None,
    timeout_s: float = LIMIT_S,
) -> R:
    """Run `body` with placement: worker resources and a limit on the wait.

    Raises
    ------
    TimeoutError
        If no result came within `timeout_s`; the work is given up.
    PlaceError
        If the scheduler is gone and none came in its place.
    """
    client = _client
    if client is None:
        result, used = _here(body, args, kwargs or {}, timeout_s)
    else:
        result, used = _there(client, body, args, kwargs or {}, resources, timeout_s)
    gpus = (resources or {}).get("GPU", 0.0)
    usage.add(used, gpus=gpus, elsewhere=client is not None)
    return result


def _here(
    body: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any], timeout_s: float
) -> tuple[R, Used]:
    """Compute in a thread of its own, which can be given up though not stopped."""
    with _free:
        done: Future[tuple[R, Used]] = Future()

        def work() -> None:
            try:
                done.set_result(used_by(body, args, kwargs))
            except BaseException as error:  # raised below, in the caller's thread
                done.set_exception(error)

        Thread(target=work, daemon=True, name="body").start()
        try:
            return done.result(timeout_s)
        except TimeoutError:
            if done.done():
                return done.result()  # in this moment, or the body's own error
            raise _too_long(timeout_s) from None


def _there(
    client: Client,
    body: Callable[..., R],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    resources: dict[str, float] | None,
    timeout_s: float,
) -> tuple[R, Used]:
    _await_scheduler(client)
    token = uuid.uuid4().hex
    future = client.submit(_begin, token, body, args, kwargs, resources=resources, pure=False)
    start, ended = time.monotonic(), Event()
    # not `future.result(timeout)`: one that comes as its wait ends is lost in Dask, not returned
    future.add_done_callback(lambda _: ended.set())
    try:
        while not ended.wait(max(0.0, _wait_s(token, start, timeout_s))):
            if _wait_s(token, start, timeout_s) <= 0:
                _give_up(client, future)
                raise _too_long(timeout_s)
        return future.result(FETCH_S)
    except CancelledError:
        _await_scheduler(client)
        raise
    finally:
        _begun.pop(token, None)
        future.release()  # let the cluster forget it; nothing gets computed twice


def as_finished(
    calls: Sequence[tuple[K, Callable[..., R], tuple[Any, ...], dict[str, float] | None]],
    *,
    timeout_s: float = LIMIT_S,
) -> Iterator[tuple[K, R]]:
    """Run many bodies and yield (name, result) as they finish; twice as many wait as compute.

    Parameters
    ----------
    calls
        Name, body, arguments and worker resources of each.
    timeout_s
        Limit of each, as for `on_worker`.
    """

    def call(
        body: Callable[..., R], args: tuple[Any, ...], resources: dict[str, float] | None
    ) -> R:
        return tried(lambda: on_worker(body, args, resources=resources, timeout_s=timeout_s))

    with ThreadPoolExecutor(2 * slots(), thread_name_prefix="piece") as pool:
        names = {pool.submit(call, body, args, res): name for name, body, args, res in calls}
        try:
            for future in as_completed(list(names)):
                if future.exception() is not None:
                    # what finished beside the one that failed is handed over first
                    for other in [f for f in names if _succeeded(f)]:
                        yield names.pop(other), other.result()
                yield names.pop(future), future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _succeeded(future: Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _begin(
    token: str, body: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[R, Used]:
    """Say that a body has begun, then call it; this runs on the worker."""
    get_worker().log_event(BEGUN, token)
    return used_by(body, args, kwargs)


def _note(event: tuple[float, str]) -> None:
    _begun[event[1]] = time.monotonic()


def _wait_s(token: str, start: float, timeout_s: float) -> float:
    """Return how long to wait before looking again; nothing is left if the limit is reached.

    The limit counts from the moment in which the body began: what waits in a queue, behind a
    worker that hangs, is not given up with it. Those ahead of it have a limit each.
    """
    begun = _begun.get(token)
    if begun is not None:
        return begun + timeout_s - time.monotonic()
    return min(LOOK_S, start + QUEUES * timeout_s - time.monotonic())


def _await_scheduler(client: Client) -> None:
    """Wait while the client looks for a scheduler that it has lost; it gives up by itself."""
    while client.status == "connecting":
        time.sleep(POLL_S)
    if client.status != "running":
        raise PlaceError(
            "the Dask scheduler is gone; finished work is kept: start one and run again."
        )


def _too_long(timeout_s: float) -> TimeoutError:
    return TimeoutError(
        f"no result within {timeout_s:g} s; raise compute.timeout or look at the workers."
    )


def _give_up(client: Client, future: Any) -> None:
    """Start the worker anew that has computed for too long: a thread cannot be stopped."""
    try:
        processing: Any = client.processing()
        stuck = [worker for worker, keys in processing.items() if future.key in keys]
        future.cancel()  # first, or another worker would take it up
        if stuck:
            client.restart_workers(stuck, timeout=RESTART_S, raise_for_error=False)
    except Exception as error:  # the wait has ended, whatever becomes of the worker
        log.warning("a worker that hangs could not be started anew: %s", error)


class Desk:
    """An actor on a worker: answers in a thread of its own, past the queue of bodies."""

    def call(
        self, work: Callable[..., Any], args: tuple[Any, ...]
    ) -> tuple[Any, Used | None, Exception | None]:
        """Call, and return what was raised: what fails otherwise is the way here."""
        try:
            result, used = used_by(work, args, {})
        except Exception as error:  # raised again by the asker
            return None, None, error
        return result, used, None


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers as a crew (`irrev.ep.streaming.Crew`) for the pieces of one piece of work."""

    client: Client
    addresses: tuple[str, ...]
    _desks: dict[int, Any] = field(default_factory=dict, repr=False)  # worker -> its future

    @property
    def size(self) -> int:
        """Number of workers."""
        return len(self.addresses)

    def map(self, work: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """Do independent pieces anywhere; give results in the order of `args`."""
        futures = [self.client.submit(work, *a, pure=False) for a in args]
        while futures:
            future = futures.pop(0)
            yield future.result(LIMIT_S)
            future.release()

    def each(self, work: Callable[..., Any], args: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Do piece k on worker k, or on another one if that has died.

        A question costs a message there and back, not a task: it neither passes through the
        scheduler's books nor waits behind bodies that compute.
        """
        calls = [self._ask(k, work, a) for k, a in enumerate(args)]
        return [self._answer(k, call, work, args[k]) for k, call in enumerate(calls)]

    def _ask(self, k: int, work: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if k not in self._desks:
            _await_scheduler(self.client)
            self._desks[k] = self.client.submit(
                Desk, actor=True, pure=False, workers=[self.addresses[k]], allow_other_workers=True
            )
        try:
            return self._desks[k].result(FETCH_S).call(work, args)
        except (OSError, RuntimeError, CancelledError) as error:  # its worker has died
            return error

    def _answer(self, k: int, call: Any, work: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        for attempt in range(MOST_DESKS):
            try:
                if isinstance(call, Exception):
                    raise call
                result, used, error = self._wait(k, call)
            except (OSError, RuntimeError, CancelledError):
                if attempt == MOST_DESKS - 1:
                    raise
                log.info("worker %s is gone: its part is done elsewhere", self.addresses[k])
                self._desks.pop(k, None)
                call = self._ask(k, work, args)
                continue
            if error is not None:
                raise error
            usage.add(used)
            return result
        raise AssertionError  # the last attempt returned or raised

    def _wait(self, k: int, call: Any) -> tuple[Any, Used, Exception | None]:
        """Wait for an answer while its worker is there."""
        end = time.monotonic() + LIMIT_S
        while True:
            try:
                return call.result(LOOK_S)
            except TimeoutError:
                if call.done():
                    return call.result()
                if self._desks[k].status != "finished" or time.monotonic() > end:
                    raise OSError(f"no answer from {self.addresses[k]}.") from None


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


def tried(call: Callable[[], R]) -> R:
    """Call again, after a while, what failed for a reason that may pass: a lost worker."""
    for attempt, delay in enumerate(RETRY_DELAYS_S):
        try:
            return call()
        except FINAL:
            raise
        except KilledWorker:
            if attempt:
                raise
            # three workers died of it, or of its neighbours' work: tried once more at once
        except Exception as error:  # what failed decides, whatever it is
            log.info("tried again in %.0f s: %s", delay, error)
            time.sleep(delay)
    return call()


def worth_retrying(task: Any, run: Any, state: Any) -> bool:
    """Say whether a failed Prefect task may succeed later: a lost worker, not a wrong value."""
    try:
        state.result()
    except FINAL:
        return False
    except Exception:  # what failed decides, whatever it is
        return True
    return False
