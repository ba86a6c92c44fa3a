"""Prefect tasks under way: as many as the workers can take, so memory does not grow with more."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from prefect.futures import PrefectFuture

from tasks.cluster import slots

J = TypeVar("J")
SPARE = 2  # jobs that wait beside those under way, so that no worker idles
TICK_S = 1.0
Tell = Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class News(Generic[J]):
    """What a job told on its way, or how it ended; without a job a sign that time goes by."""

    job: J | None
    what: Any = None
    ended: bool = False


def in_flight(
    jobs: Iterable[J], start: Callable[[J, Tell], PrefectFuture[Any]]
) -> Iterator[News[J]]:
    """Start jobs one after the other as workers get free, and yield what they tell.

    Parameters
    ----------
    jobs
        Taken one by one.
    start
        Submits one job; what it passes to `tell`, from any thread, is yielded before its end.

    Yields
    ------
        For a job that ended its result or its error; at least every second something.
    """
    told: SimpleQueue[tuple[int, Any, bool]] = SimpleQueue()
    under_way: dict[int, J] = {}
    waiting = enumerate(jobs)
    while True:
        for number, job in islice(waiting, max(0, slots() + SPARE - len(under_way))):
            under_way[number] = job
            _begin(number, job, start, told)
        if not under_way:
            return
        try:
            number, what, ended = told.get(timeout=TICK_S)
        except Empty:
            yield News(None)
            continue
        if ended:
            yield News(under_way.pop(number), what.result(raise_on_failure=False), ended=True)
        else:
            yield News(under_way[number], what)


def _begin(
    number: int,
    job: J,
    start: Callable[[J, Tell], PrefectFuture[Any]],
    told: "SimpleQueue[tuple[int, Any, bool]]",
) -> None:
    future = start(job, lambda what: told.put((number, what, False)))
    future.add_done_callback(lambda future: told.put((number, future, True)))
