"""Who is at work: a run says so by a lease, which works for folders, S3 and memory alike.

A lease is a branch whose name tells since when, until when, and by which process of which host.
A killed run of this host is recognised by its process, one of another host by its time.
"""

import os
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from storage.backend import lock_of, one_line_errors
from storage.repository import Repository

LEASE = "lease."
LEASE_TIME = timedelta(days=7)  # a run that takes longer asks for more
STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Lease:
    """A run that says it is at work."""

    since: datetime
    until: datetime
    host: str
    pid: int
    branch: str

    def alive(self, now: datetime) -> bool:
        """Say whether the run may still be at work; one of this host is looked up."""
        if self.host == _host():
            return _runs(self.pid)
        return now < self.until


@contextmanager
def at_work(repo: Repository, *, time_limit: timedelta = LEASE_TIME) -> Iterator[None]:
    """Keep the store from being cleaned while the block runs."""
    now = datetime.now(UTC)
    until = now + time_limit
    identity = f"{_host()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    branch = f"{LEASE}{now.strftime(STAMP)}.{until.strftime(STAMP)}.{identity}"
    with one_line_errors(repo.ref), lock_of(repo.ref):
        repo.ic.create_branch(branch, repo.resolve())
    try:
        yield
    finally:
        with one_line_errors(repo.ref), lock_of(repo.ref):
            repo.ic.delete_branch(branch)


def leases(repo: Repository) -> list[Lease]:
    """List the leases of runs at work and of runs that were killed, oldest first."""
    with one_line_errors(repo.ref):
        names = sorted(b for b in repo.ic.list_branches() if b.startswith(LEASE))
    return [_parse(name) for name in names]


def _parse(branch: str) -> Lease:
    _, since, until, host, pid, _ = branch.split(".")
    start, stop = (datetime.strptime(s, STAMP).replace(tzinfo=UTC) for s in (since, until))
    return Lease(start, stop, host, int(pid), branch)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
