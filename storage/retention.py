"""Forgetting old versions and freeing their space, never under a writer's hands.

`clean` forgets versions that are older than an age and neither tagged nor the tip of a branch,
items that waited too long for publication, and what killed writers left; then it deletes the
files that nothing refers to any more. While a lease (`storage.leases`) is alive it refuses.
Files younger than a day are never deleted, so a writer without a lease is safe for a day.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from irrev.errors import StoreError
from storage import versions
from storage.backend import lock_of, one_line_errors
from storage.leases import leases
from storage.parallel import BRANCH as WRITING
from storage.pending import Pending
from storage.repository import Repository
from storage.versions import Version

GRACE = timedelta(days=1)  # files younger than this may belong to a commit that is being made
PENDING_AGE = timedelta(days=30)
_TEMPORARY = re.compile(r"#\d+$")  # what a killed writer leaves of a file


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What was, or in a dry run would be, forgotten and freed."""

    dry_run: bool
    versions: tuple[Version, ...]  # forgotten, newest first
    kept_by_name: tuple[Version, ...]  # old enough, but tagged or a branch's tip
    pending: int  # items that waited too long
    leftovers: tuple[str, ...]  # branches and files that killed writers left
    n_files: int  # deleted; a dry run counts only what nothing refers to already
    n_bytes: int


def clean(
    repo: Repository,
    *,
    older_than: timedelta,
    pending_older_than: timedelta = PENDING_AGE,
    dry_run: bool = True,
    now: datetime | None = None,
) -> Cleaning:
    """Forget what is old and free its space.

    Parameters
    ----------
    repo
        The store; all its branches are cleaned.
    older_than
        Age from which a version is forgotten, unless it is tagged or the tip of a branch.
    pending_older_than
        Age from which work that was never published is forgotten.
    dry_run
        Only say what would be done.
    now
        The moment from which ages count; the present by default.

    Raises
    ------
    StoreError
        If a run is at work.
    """
    now = now or datetime.now(UTC)
    _refuse_under_writers(repo, now)
    with one_line_errors(repo.ref):
        gone, kept = _old_versions(repo, now - older_than)
        pending = Pending(repo)
        stale = pending.older_than(now - pending_older_than)
        branches, files = _dead_branches(repo, now), _temporary_files(repo, now - GRACE)
        if not dry_run:
            if stale:
                pending.drop(stale)
            _remove(repo, branches, files)
            with lock_of(repo.ref):
                repo.ic.expire_snapshots(older_than=now - older_than)
        swept = repo.ic.garbage_collect(now - GRACE, dry_run=dry_run)
    n_files = (
        swept.chunks_deleted
        + swept.manifests_deleted
        + swept.snapshots_deleted
        + swept.transaction_logs_deleted
        + swept.attributes_deleted
    )
    return Cleaning(
        dry_run=dry_run,
        versions=tuple(gone),
        kept_by_name=tuple(kept),
        pending=len(stale),
        leftovers=(*branches, *(path.name for path in files)),
        n_files=n_files,
        n_bytes=swept.bytes_deleted,
    )


def _refuse_under_writers(repo: Repository, now: datetime) -> None:
    for lease in leases(repo):
        if lease.alive(now):
            raise StoreError(
                f"{repo.ref.url}: process {lease.pid} on {lease.host} is at work since "
                f"{lease.since:%Y-%m-%d %H:%M} UTC; clean when it has ended, or after "
                f"{lease.until:%Y-%m-%d %H:%M}."
            )


def _old_versions(repo: Repository, before: datetime) -> tuple[list[Version], list[Version]]:
    """Separate the old versions into those that nothing names and those that stay."""
    branches = versions.visible_branches(repo.ic)
    old = {
        v.id: v
        for branch in branches
        for v in versions.history(repo.ic, branch)
        if v.written_at < before
    }
    named = {*repo.tags().values(), *(repo.ic.lookup_branch(b) for b in branches)}
    ordered = sorted(old.values(), key=lambda v: v.written_at, reverse=True)
    return [v for v in ordered if v.id not in named], [v for v in ordered if v.id in named]


def _dead_branches(repo: Repository, now: datetime) -> list[str]:
    """Name the branches of writers that were killed."""
    dead = [lease.branch for lease in leases(repo) if not lease.alive(now)]
    for branch in sorted(b for b in repo.ic.list_branches() if b.startswith(WRITING)):
        tip = next(iter(repo.ic.ancestry(branch=branch)))
        if tip.written_at < now - GRACE:
            dead.append(branch)
    return dead


def _temporary_files(repo: Repository, before: datetime) -> list[Path]:
    """Find the half-written files of killed writers in a folder."""
    if not repo.ref.is_folder:
        return []
    found = (p for p in Path(repo.ref.url).rglob("*#*") if _TEMPORARY.search(p.name))
    return sorted(p for p in found if p.is_file() and p.stat().st_mtime < before.timestamp())


def _remove(repo: Repository, branches: list[str], files: list[Path]) -> None:
    with lock_of(repo.ref):
        for branch in branches:
            repo.ic.delete_branch(branch)
    for path in files:
        path.unlink(missing_ok=True)
