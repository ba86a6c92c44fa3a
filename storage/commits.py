"""One commit against other writers: who was first, what is made again, what is refused.

Committing moves the tip of a branch, if it is still where the session began. When it is not,
a change that depends on nothing in the store is moved onto the new tip; one that was computed
from what it found there is computed again.
"""

import json
import random
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime

import icechunk as ic
import zarr
from icechunk import IcechunkStore

from irrev.errors import StoreError
from storage import versions
from storage.backend import StoreRef, lock_of, within_limit
from storage.versions import JSON

MAX_ATTEMPTS = 50
MAX_CLOCK_LAG_S = 30.0  # clocks of a cluster agree better; a larger step is for a person to mend
CLOCK_MARGIN_S = 0.01
_CLOCKS = re.compile(r"timestamp ordering. parent: `(.+?) UTC`, child: `(.+?) UTC`")


def transact(
    repo: ic.Repository,
    ref: StoreRef,
    change: Callable[[ic.Session], bool],
    *,
    message: str,
    metadata: Mapping[str, JSON],
    owned: Sequence[str] | None,
) -> str:
    """Change a session and commit it to the branch of the address.

    Parameters
    ----------
    repo, ref
        The store.
    change
        Writes into the session; false if there was nothing to write.
    message, metadata
        Of the commit.
    owned
        Groups that nobody else may have replaced meanwhile, if the change depends on nothing
        in the store; it is then moved onto the new tip when another writer was faster.
        None if it depends on what is there: it is then made again from the new tip.

    Returns
    -------
        Id of the new version, or of the present one if there was nothing to write.
    """
    token = uuid.uuid4().hex
    with_token = {**as_json(metadata), versions.TOKEN: token}
    commit = _Commit(repo, ref, lock_of(ref), message, with_token, owned)
    return within_limit(ref, lambda: _try(commit, change))


def _try(commit: "_Commit", change: Callable[[ic.Session], bool]) -> str:
    """Make the change and commit it, again and again while others are faster."""
    repo, ref = commit.repo, commit.ref
    for attempt in range(MAX_ATTEMPTS):
        # after a first defeat the lock is held while the change is made
        held: AbstractContextManager[object] = commit.lock if attempt else nullcontext()
        with held:
            session = writable(repo, ref.branch)
            base = session.snapshot_id
            if not change(session):
                return base
            done = commit.publish(session)
        if done is not None:
            return done
        _wait(attempt)
    raise StoreError(f"{ref.url}: {MAX_ATTEMPTS} other commits came first; run again.")


@dataclass(frozen=True, slots=True)
class _Commit:
    """One commit on its way: it may be tried many times and lands once."""

    repo: ic.Repository
    ref: StoreRef
    lock: AbstractContextManager[object]
    message: str
    metadata: dict[str, JSON]
    owned: Sequence[str] | None

    def publish(self, session: ic.Session) -> str | None:
        """Commit a session; None if the change has to be made again."""
        base = session.snapshot_id
        for attempt in range(MAX_ATTEMPTS):
            try:
                with self.lock:  # only now: two commits to a folder at once can lose one
                    return session.commit(self.message, metadata=self.metadata)
            except (ic.ConflictError, ic.IcechunkError) as error:
                if (done := self._landed(base)) is not None:
                    return done
                if not isinstance(error, ic.ConflictError):
                    _wait_for_clock(error, self.ref)
                    continue
            if self.owned is None or not self._rebase(session):
                return None
            _wait(attempt)
        return None

    def _landed(self, base: str) -> str | None:
        """Find this commit in the history: it may have landed though no answer came."""
        for info in self.repo.ancestry(branch=self.ref.branch):
            if info.metadata.get(versions.TOKEN) == self.metadata[versions.TOKEN]:
                return info.id
            if info.id == base:
                break
        return None

    def _rebase(self, session: ic.Session) -> bool:
        """Move the change onto the new tip; false if another made the same parent group."""
        try:
            session.rebase(ic.ConflictDetector())
        except ic.RebaseFailedError as error:
            if rivals := _overlap([c.path for c in error.conflicts], self.owned or ()):
                raise StoreError(
                    f"{self.ref.url}: {rivals[0]} was written by another run in this moment; "
                    "run again to build upon it."
                ) from None
            return False
        return True


def _wait_for_clock(error: ic.IcechunkError, ref: StoreRef) -> None:
    """Wait until this clock has reached the newest version's time; raise any other error."""
    times = _CLOCKS.search(str(error))
    if times is None:
        raise error
    newest, present = (datetime.fromisoformat(text) for text in times.groups())
    lag = (newest - present).total_seconds()
    if lag > MAX_CLOCK_LAG_S:
        raise StoreError(
            f"{ref.url}: this clock is {lag:,.0f} s behind the newest version; "
            "set it right and run again."
        ) from None
    time.sleep(lag + CLOCK_MARGIN_S)


def _wait(attempt: int) -> None:
    time.sleep(random.random() * 0.02 * (attempt + 1))


def writable(repo: ic.Repository, branch: str) -> ic.Session:
    """Open a session whose changes can be committed to a branch."""
    versions.resolve(repo, branch, None)  # says which branches there are, if not this one
    return repo.writable_session(branch)


def as_json(metadata: Mapping[str, JSON]) -> dict[str, JSON]:
    """Copy metadata, so that what is stored is what `log` gives back."""
    try:
        return json.loads(json.dumps(metadata, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise StoreError(f"commit metadata are no JSON: {error}; convert the value.") from None


def _overlap(paths: Iterable[str], groups: Sequence[str]) -> list[str]:
    """Name the groups that conflicts touch."""
    roots = [f"/{group.strip('/')}" for group in groups]
    hit = {r for p in paths for r in roots if p == r or p.startswith(f"{r}/")}
    return sorted(r.removeprefix("/") for r in hit)


def has_group(store: IcechunkStore, group: str) -> bool:
    """Say whether a session's store holds a group."""
    try:
        zarr.open_group(store, path=group, mode="r")
    except FileNotFoundError:
        return False
    return True
