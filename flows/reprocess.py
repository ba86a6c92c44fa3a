"""Recompute what changed: a new version of a method over the data of a release."""

from importlib import import_module

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.campaign import Reprocessed, begin, conclude, make_campaign
from flows.config import load
from flows.runners import cluster, threads
from storage.repository import Repository

SHOWN = 100  # rows of the artifact


@flow(name="reprocess", task_runner=threads())
def reprocess(
    config: str = "pipeline.yaml",
    since: str = "",
    method: str = "",
    items: str = "",
    publish: str = "",
) -> Reprocessed:
    """Do over what a change touches, on a branch of its own; compare, and publish if asked.

    Parameters
    ----------
    config
        The pipeline file.
    since
        Release to begin at; the newest tag by default.
    method
        Method or flow; all by default.
    items
        Glob over names of items; all by default.
    publish
        Tag for the outcome, may hold %Y-%m-%d; nothing is published by default.
    """
    pipeline = load(config)
    repo = Repository.open(pipeline.store_ref())
    campaign = make_campaign(pipeline, repo, since=since, method=method, items=items)
    work = [plan.flow for plan in begin(pipeline, repo, campaign) if not plan.idle]
    if campaign.branch not in repo.branches():
        return Reprocessed("", campaign.since, repo.resolve(campaign.since), "", 0, 0, {}, [])
    done = failed = 0
    with cluster(pipeline.place()):
        for name in work:
            summary = getattr(import_module(f"flows.{name}"), name)(config, campaign.scope)
            done, failed = done + summary.done, failed + summary.failed
    outcome = conclude(repo, campaign, done=done, failed=failed, publish=publish)
    create_table_artifact(
        [{k: row[k] for k in ("shard", "old", "new", "change")} for row in outcome.moved[:SHOWN]],
        key="reprocess-moved",
        description=f"{outcome.branch}: {len(outcome.moved)} of {len(outcome.rows)} results "
        f"moved beyond their intervals since {outcome.since}",
    )
    return outcome
