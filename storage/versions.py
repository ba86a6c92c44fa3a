"""Versions of a store: which there are, and which one the user means.

A version is named by nothing (the tip), a tag, a branch, a date, a snapshot id or the start of
one. Names win over ids; a date means its end, a time without zone is UTC.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import icechunk as ic

from irrev.errors import StoreError

JSON: TypeAlias = "str | int | float | bool | Sequence[JSON] | Mapping[str, JSON] | None"

INTERNAL = "irrev"  # metadata key of commits that no user asked for: created, layout, lease
TOKEN = "commit"  # metadata key by which a commit knows itself again when no answer came
SHORT = 5  # characters of an id that the user sees
FULL = 20
HIDDEN_BRANCHES = ("pending", "lease.", "writing.")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_RUN = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}")  # as flows name their runs


@dataclass(frozen=True, slots=True)
class Version:
    """One commit."""

    id: str
    short: str  # start of the id, unique among the versions listed
    message: str
    metadata: dict[str, Any]
    written_at: datetime  # UTC
    tags: tuple[str, ...]


def visible_branches(repo: ic.Repository) -> list[str]:
    """List the branches that hold results."""
    return sorted(b for b in repo.list_branches() if not b.startswith(HIDDEN_BRANCHES))


def history(repo: ic.Repository, branch: str, at: str | None = None) -> list[Version]:
    """List the commits of a branch, newest first, without those that made room for others.

    With `at`, a whole id, those that led to that version.
    """
    walk = repo.ancestry(snapshot_id=at) if at else repo.ancestry(branch=branch)
    infos = [s for s in walk if not is_internal(s)]
    tags: dict[str, list[str]] = {}
    for tag in sorted(repo.list_tags()):
        tags.setdefault(repo.lookup_tag(tag), []).append(tag)
    short = shorten([s.id for s in infos])
    return [
        Version(
            s.id,
            short[s.id],
            s.message,
            {key: value for key, value in s.metadata.items() if key != TOKEN},
            s.written_at,
            tuple(tags.get(s.id, ())),
        )
        for s in infos
    ]


def is_internal(info: ic.SnapshotInfo) -> bool:
    """Say whether a commit was made by the store itself."""
    return info.parent_id is None or INTERNAL in info.metadata


def shorten(ids: Sequence[str]) -> dict[str, str]:
    """Cut each id to the fewest characters, five or more, that no other one starts with."""
    out: dict[str, str] = {}
    ordered = sorted(set(ids))
    for i, one in enumerate(ordered):
        neighbours = ordered[max(0, i - 1) : i] + ordered[i + 1 : i + 2]
        shared = max((_common(one, other) for other in neighbours), default=0)
        out[one] = one[: max(SHORT, shared + 1)]
    return out


def _common(a: str, b: str) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))


def resolve(repo: ic.Repository, branch: str, at: str | None) -> str:
    """Find the full id of the version that the user means."""
    if at is None or at == branch:
        return _tip(repo, branch)
    if (full := _full_id(repo, at)) is not None:
        return full
    if at in repo.list_tags():
        return repo.lookup_tag(at)
    if at in repo.list_branches():
        return repo.lookup_branch(at)
    if _RUN.fullmatch(at):
        return _of_run(repo, at)
    if _DATE.match(at):
        return _as_of(repo, branch, at)
    return _by_prefix(repo, at)


def _full_id(repo: ic.Repository, at: str) -> str | None:
    """Recognise a whole id without walking the history."""
    if not re.fullmatch(rf"[0-9A-Z]{{{FULL}}}", at):
        return None
    try:
        return repo.lookup_snapshot(at).id
    except ic.IcechunkError:
        return None


def _tip(repo: ic.Repository, branch: str) -> str:
    if branch not in repo.list_branches():
        raise StoreError(
            f"there is no branch {branch!r}; choose one of {', '.join(visible_branches(repo))}."
        )
    return repo.lookup_branch(branch)


def _as_of(repo: ic.Repository, branch: str, at: str) -> str:
    """Take the newest version of the branch that is not younger than the moment."""
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise StoreError(f"{at!r} is no date; write 2026-03-01 or 2026-03-01T12:00.") from None
    if len(at) == len("2026-03-01"):
        moment += timedelta(days=1) - timedelta(microseconds=1)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    oldest = None
    _tip(repo, branch)
    for info in repo.ancestry(branch=branch):
        if is_internal(info):
            continue
        if info.written_at <= moment:
            return info.id
        oldest = info.written_at
    since = f"the oldest is of {oldest:%Y-%m-%d %H:%M}" if oldest else "there is none at all"
    raise StoreError(f"no version on {branch} at or before {at}; {since} (UTC).")


def _of_run(repo: ic.Repository, run: str) -> str:
    """Find the version that a run made."""
    made = (info.id for info in _all_versions(repo) if info.metadata.get("run_id") == run)
    if (found := next(made, None)) is None:
        raise StoreError(f"no version was made by run {run}; `log` lists the runs.")
    return found


def _by_prefix(repo: ic.Repository, at: str) -> str:
    prefix = at.upper()
    if not re.fullmatch(rf"[0-9A-Z]{{{SHORT},{FULL}}}", prefix):
        raise StoreError(
            f"{at!r} is no tag, branch, date, run or version id; `log` lists the versions, "
            f"of whose ids the first {SHORT} characters are enough."
        )
    if found := {v.id for v in _all_versions(repo) if v.id.startswith(prefix)}:
        if len(found) == 1:
            return found.pop()
        raise StoreError(f"{at} begins {len(found)} versions: {', '.join(sorted(found))}.")
    raise StoreError(f"there is no version {at}; `log` lists them, expired ones are gone.")


def _all_versions(repo: ic.Repository) -> Iterator[ic.SnapshotInfo]:
    """Walk every version that a visible branch or a tag leads to."""
    seen: set[str] = set()
    starts = [{"branch": b} for b in visible_branches(repo)]
    for start in [*starts, *({"tag": t} for t in sorted(repo.list_tags()))]:
        for info in repo.ancestry(**start):
            if info.id in seen:
                break
            seen.add(info.id)
            yield info
