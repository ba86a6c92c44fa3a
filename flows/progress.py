"""Progress of a run, from the flow to whoever shows it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str, int, int], None]  # step, done, total

_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send progress to `listener` while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def report(step: str, done: int, total: int) -> None:
    """Tell the listeners that `done` of `total` pieces of a step are finished."""
    for listener in _listeners:
        listener(step, done, total)
