"""Finished work on its way into the scratch: soon, yet not so often that it slows the work."""

import time
from collections.abc import Mapping
from threading import Lock, Timer
from types import TracebackType
from typing import Self

import xarray as xr

from storage.pending import Pending

FLUSH_S = 2.0  # finished work is at most this long in memory only, unless
FLUSH_SHARE = 0.02  # keeping it would take more than this share of the time;
MOST_S = 30.0  # it is never longer there


class Keeper:
    """Collects finished items and puts many at once; leaving the context puts the rest.

    It puts in a thread of its own: an item need not wait for the next one, nor the work for a
    slow store. What fails there is raised by the next `add`, or at the end.
    """

    def __init__(self, pending: Pending) -> None:
        self._pending = pending
        self._ready: dict[str, Mapping[str, xr.Dataset]] = {}
        self._guard, self._putting = Lock(), Lock()
        self._timer: Timer | None = None
        self._due = time.monotonic() + FLUSH_S
        self._error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._guard:
            timer = self._timer
        if timer is not None:
            timer.cancel()
        self._put()

    def add(self, key: str, item: Mapping[str, xr.Dataset]) -> None:
        """Take a finished item: key and {group: Dataset}."""
        with self._guard:
            if self._error is not None:
                raise self._error
            self._ready[key] = item
            if self._timer is None:
                self._timer = Timer(max(0.0, self._due - time.monotonic()), self._put_aside)
                self._timer.daemon = True
                self._timer.start()

    def _put_aside(self) -> None:
        try:
            self._put()
        except Exception as error:  # raised in the thread that adds
            self._error = error

    def _put(self) -> None:
        """Put what is ready; if that fails it stays ready, for the end."""
        with self._putting:
            with self._guard:
                ready, self._ready, self._timer = self._ready, {}, None
            start = time.monotonic()
            try:
                self._pending.put(ready)
            except BaseException:
                with self._guard:
                    self._ready = ready | self._ready
                raise
            end = time.monotonic()
            self._due = end + min(max(FLUSH_S, (end - start) / FLUSH_SHARE), MOST_S)
