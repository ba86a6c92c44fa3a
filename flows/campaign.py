"""A campaign: what a new version of a method changes, on a branch that begins at a release.

The inputs are those of the release, as they were read then; only the results that the change
touches are computed. The release and the main branch stay as they are. Later runs on any branch
take finished results of the campaign over.
"""

import difflib
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr

from flows import show
from flows.config import Pipeline
from flows.plan import Plan, plan_flow
from flows.scope import Scope
from flows.specs import SPECS
from irrev.errors import StoreError
from irrev.schema import validate
from storage.lookup import MOVED
from storage.repository import Repository

PREFIX = "reprocess-"


@dataclass(frozen=True, slots=True)
class Campaign:
    """What to do over, on which branch, from which release."""

    since: str
    flows: tuple[str, ...]
    scope: Scope

    @property
    def branch(self) -> str:
        """Return the branch of the campaign."""
        return self.scope.branch


@dataclass(frozen=True, slots=True)
class Reprocessed:
    """What a campaign found."""

    branch: str  # empty if the change touches nothing
    since: str
    version: str  # tip of the branch
    published: str  # tag, if asked for
    done: int
    failed: int
    changes: dict[str, int]  # number of results by what became of them
    rows: list[dict[str, Any]]  # each result of the flows that were done over

    @property
    def moved(self) -> list[dict[str, Any]]:
        """Return the results that moved beyond their intervals."""
        return [row for row in self.rows if row["change"] == MOVED]


def make_campaign(
    pipeline: Pipeline, repo: Repository, *, since: str = "", method: str = "", items: str = ""
) -> Campaign:
    """Name a campaign; nothing is written yet.

    Parameters
    ----------
    pipeline, repo
        What is planned now, and the store.
    since
        Release to begin at; the newest tag by default.
    method
        Method or flow to do over; all by default.
    items
        Glob over names of items; all by default.

    Raises
    ------
    StoreError
        If there is no release or no such method.
    """
    since = since or newest_tag(repo)
    repo.resolve(since)
    names = re.sub(r"[^A-Za-z0-9.-]+", "-", "-".join(filter(None, [since, method, items])))
    branch = f"{PREFIX}{names.strip('-')}"
    return Campaign(
        since,
        tuple(_flows(pipeline, method)),
        Scope(branch=branch, items=items, release=since),
    )


def newest_tag(repo: Repository) -> str:
    """Return the tag of the newest version that has one."""
    tags = repo.tags()
    times = {name: repo.log(at=version)[0].written_at for name, version in tags.items()}
    if not times:
        raise StoreError(
            f"{repo.ref.url}: no release to begin at; name one: `python -m flows tag v1`."
        )
    return max(times, key=lambda name: times[name])


def _flows(pipeline: Pipeline, method: str) -> list[str]:
    chosen = {flow: SPECS[flow].method for flow in pipeline.flows.chosen()}
    found = [flow for flow, name in chosen.items() if method in ("", flow, name)]
    if not found:
        names = sorted({*chosen, *chosen.values()})
        near = difflib.get_close_matches(method, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names)}."
        raise StoreError(f"no flow of the pipeline uses the method {method!r}; {hint}")
    return found


def begin(pipeline: Pipeline, repo: Repository, campaign: Campaign) -> list[Plan]:
    """Make the branch, unless an earlier attempt did, and plan; without work it is taken back."""
    made = campaign.branch not in repo.branches()
    if made:
        repo.create_branch(campaign.branch, campaign.since)
    side = Repository(repo.ref.on(campaign.branch), repo.ic)
    plans = [plan_flow(pipeline, SPECS[flow], side, campaign.scope) for flow in campaign.flows]
    if made and all(plan.idle for plan in plans):
        repo.delete_branch(campaign.branch)
    return plans


def differences(repo: Repository, campaign: Campaign) -> list[dict[str, Any]]:
    """Compare every result of the campaign's flows with the release."""
    rows = show.comparison_records(repo, campaign.since, campaign.branch)
    return [
        row
        for row in rows
        if row["flow"] in campaign.flows and campaign.scope.takes(row["shard"].rpartition(":")[0])
    ]


def conclude(
    repo: Repository, campaign: Campaign, *, done: int, failed: int, publish: str = ""
) -> Reprocessed:
    """Compare with the release, keep the comparison on the branch, and publish if asked.

    Raises
    ------
    StoreError
        If results failed: what is incomplete is not published.
    """
    side = Repository(repo.ref.on(campaign.branch), repo.ic)
    rows = differences(repo, campaign)
    changes = dict(Counter(row["change"] for row in rows))
    version = side.resolve()
    if done:
        version = _keep(side, campaign, rows, changes)
    tag = datetime.now(UTC).strftime(publish)
    if tag and failed:
        raise StoreError(f"{failed} shards failed: {tag!r} is not published; run again.")
    if tag:
        side.tag(tag)
    return Reprocessed(campaign.branch, campaign.since, version, tag, done, failed, changes, rows)


def _keep(
    side: Repository, campaign: Campaign, rows: list[dict[str, Any]], changes: dict[str, int]
) -> str:
    """Store the comparison beside the results, one table a flow."""
    tables = {}
    for flow in campaign.flows:
        mine = [row for row in rows if row["flow"] == flow]
        text = {n: np.array([r[n] for r in mine], dtype=object) for n in ("shard", "change")}
        names = ("old", "old_low", "old_high", "new", "new_low", "new_high")
        numbers = {n: np.array([r[n] for r in mine], dtype=np.float64) for n in names}
        ds = xr.Dataset({n: ("shard", values) for n, values in {**text, **numbers}.items()})
        attrs = {"since": campaign.since, "value": SPECS[flow].value}
        tables[f"comparisons/{flow}"] = validate(ds.assign_attrs(attrs), "comparison")
    moved = changes.get(MOVED, 0)
    return side.commit(
        tables,
        message=f"reprocess: {len(rows)} results compared with {campaign.since}, {moved} moved",
        metadata={"campaign": {"since": campaign.since, "flows": list(campaign.flows)}},
    )
