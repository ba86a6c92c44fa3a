"""What work has taken: time on its core or GPU, memory, bytes read and written."""

import resource
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

R = TypeVar("R")
IO = Path("/proc/self/io")  # Linux only; elsewhere bytes are not counted
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True)
class Used:
    """What one body took, as its worker saw it."""

    seconds: float
    peak_bytes: float  # of the worker since its start
    read_bytes: float  # of the process meanwhile
    written_bytes: float


@dataclass(slots=True)
class Usage:
    """The sum over bodies; safe to add to from many threads."""

    core_seconds: float = 0.0
    gpu_seconds: float = 0.0
    peak_bytes: float = 0.0  # of one worker
    read_bytes: float = 0.0
    written_bytes: float = 0.0
    _guard: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, used: Used, *, gpus: float = 0.0, elsewhere: bool = True) -> None:
        """Count one body; `gpus` devices were its own while it ran.

        Bytes of a body in this process are not added here: they are among those of `now`.
        """
        with self._guard:
            self.core_seconds += used.seconds
            self.gpu_seconds += gpus * used.seconds
            self.peak_bytes = max(self.peak_bytes, used.peak_bytes)
            self.read_bytes += used.read_bytes if elsewhere else 0.0
            self.written_bytes += used.written_bytes if elsewhere else 0.0

    def now(self) -> dict[str, float]:
        """Return the sums; bytes with those of this process, which also publishes."""
        read, written = _io()
        with self._guard:
            return {
                "core_seconds": self.core_seconds,
                "gpu_seconds": self.gpu_seconds,
                "read_bytes": self.read_bytes + read,
                "written_bytes": self.written_bytes + written,
                "peak_bytes": self.peak_bytes,
            }

    def since(self, before: Mapping[str, float]) -> dict[str, float]:
        """Return what was added after `before`; memory is the largest ever."""
        present = self.now()
        return {k: v if k == "peak_bytes" else v - before[k] for k, v in present.items()}


def used_by(
    body: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[R, Used]:
    """Call `body` and say what it took; this runs on the worker."""
    start, before = time.perf_counter(), _io()
    result = body(*args, **kwargs)
    read, written = (b - a for a, b in zip(before, _io(), strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT
    return result, Used(time.perf_counter() - start, float(peak), read, written)


def _io() -> tuple[float, float]:
    """Return the bytes that this process has read and written by calls to the system."""
    try:
        pairs = (line.split(": ") for line in IO.read_text().splitlines())
    except OSError:
        return 0.0, 0.0
    counts = {name: float(value) for name, value in pairs}
    return counts["rchar"], counts["wchar"]
