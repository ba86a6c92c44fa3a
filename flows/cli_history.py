"""Commands about what was computed before: name it, explain it, do it over, forget it."""

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
import xarray as xr
from rich.markup import escape
from rich.table import Table

from flows import history, show
from flows.campaign import begin, make_campaign
from flows.config import load
from flows.console import (
    DEFAULT,
    AtOption,
    ConfigOption,
    JsonOption,
    friendly,
    out,
    print_json,
    shown_progress,
)
from flows.launch import quiet_prefect, run_flows
from flows.plan import Plan, plan_flow
from flows.scope import Scope
from flows.server import server
from flows.specs import SPECS
from irrev.errors import ConfigError
from storage.lookup import SAME
from storage.retention import Cleaning, clean

app = typer.Typer()
DAY = ["%Y-%m-%d"]
PlanOption = Annotated[bool, typer.Option("--plan", help="only say what would be computed")]
ItemsOption = Annotated[str, typer.Option("--source", help="glob over items, e.g. `lab/a29*`")]


@app.command()
@friendly
def tag(
    name: str,
    at: Annotated[str | None, typer.Argument(help="version; default: the newest")] = None,
    config: ConfigOption = DEFAULT,
) -> None:
    """Name a version for good: a release, kept whatever is cleaned."""
    repo = show.open_store(load(config))
    repo.tag(name, at)
    out.print(f"tagged  {repo.resolve(name)[:5]} {name}")


@app.command()
@friendly
def lineage(
    result: Annotated[str, typer.Argument(help="a shard, a source or a flow")],
    config: ConfigOption = DEFAULT,
    at: AtOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say from which input, code, parameters and parents a result comes."""
    records = history.lineage(show.open_store(load(config)), result, at=at)
    if as_json:
        print_json(records)
        return
    for record in records:
        out.print(_lineage_table(record))
        out.print()


@app.command()
@friendly
def why(
    shard: Annotated[str, typer.Argument(help="item:condition, or an item")],
    config: ConfigOption = DEFAULT,
    runs: Annotated[int, typer.Option(min=1, help="past runs to look at")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Say why a shard would run or be skipped, and what past runs did with it."""
    pipeline = load(config)
    records = history.why(pipeline, show.open_store(pipeline), shard, runs=runs)
    if as_json:
        print_json(records)
        return
    for record in records:
        out.print(f"{record['shard']} ({record['flow']})")
        out.print(f"  now      {record['now']}")
        for event in record["past"]:
            out.print(f"  {event['version']:<8} {event['when']}  {event['what']}")


@app.command()
@friendly
def retention(
    config: ConfigOption = DEFAULT,
    older_than: Annotated[
        int, typer.Option("--older-than", min=0, help="days after which a version is forgotten")
    ] = 90,
    pending: Annotated[
        int, typer.Option(min=1, help="days after which unpublished work is forgotten")
    ] = 30,
    apply: Annotated[bool, typer.Option("--apply", help="do it; else only say what")] = False,
    as_json: JsonOption = False,
) -> None:
    """Forget old versions and free their space; tags and tips of branches stay."""
    done = clean(
        show.open_store(load(config)),
        older_than=timedelta(days=older_than),
        pending_older_than=timedelta(days=pending),
        dry_run=not apply,
    )
    if as_json:
        print_json(_cleaning(done))
        return
    verb = "would be " if done.dry_run else ""
    for version in done.versions:
        out.print(f"{verb}forgotten  {version.short}  {version.written_at:%F}  {version.message}")
    for version in done.kept_by_name:
        names = " ".join(version.tags) or "tip of a branch"
        out.print(f"kept  {version.short}  {version.written_at:%F}  {names}")
    out.print(
        f"{len(done.versions)} versions, {done.pending} unpublished items, "
        f"{len(done.leftovers)} leftovers, {done.n_files:,} files, {done.n_bytes / 1e6:,.1f} MB "
        f"{verb}forgotten or freed"
    )
    if done.dry_run:
        out.print("nothing was changed; do it with --apply. Files of versions that are forgotten "
                  "then are freed, too; files younger than a day stay.")  # fmt: skip


def _cleaning(done: Cleaning) -> dict[str, Any]:
    record = asdict(done)
    for name in ("versions", "kept_by_name"):
        record[name] = [{"version": v.id, "tags": list(v.tags)} for v in getattr(done, name)]
    return record | {"leftovers": list(done.leftovers)}


@app.command()
@friendly
def reprocess(
    since: Annotated[str, typer.Option(help="release; default: the newest tag")] = "",
    method: Annotated[str, typer.Option(help="method or flow; default: all")] = "",
    source: ItemsOption = "",
    publish: Annotated[str, typer.Option(help="tag for the outcome, may hold %Y-%m-%d")] = "",
    config: ConfigOption = DEFAULT,
    plan: PlanOption = False,
    as_json: JsonOption = False,
) -> None:
    """Do over what a new method version touches, on a campaign branch; report what moved."""
    pipeline = load(config)
    repo = show.open_store(pipeline)
    campaign = make_campaign(pipeline, repo, since=since, method=method, items=source)
    fresh = campaign.branch not in repo.branches()
    plans = begin(pipeline, repo, campaign)
    if plan:
        if fresh and campaign.branch in repo.branches():
            repo.delete_branch(campaign.branch)
        _print_plans(plans, as_json=as_json)
        return
    if not as_json:
        for one in plans:
            out.print(show.headline(one))
    quiet_prefect()
    with server(), shown_progress(quiet=as_json):
        from flows.reprocess import reprocess as entry  # after the server is up: imports Prefect

        done = entry(config, since, method, source, publish)
    if as_json:
        print_json(asdict(done))
    elif not done.branch:
        out.print(f"the change touches no result of {done.since}: no branch was made")
    else:
        out.print(show.change_table(_changed(done.rows), done.since, done.branch))
        counts = ", ".join(f"{n} {what}" for what, n in sorted(done.changes.items()))
        out.print(f"\n{len(done.rows)} results since {done.since}: {counts}")
        out.print(f"branch  {done.branch}   look: python -m flows show --at {done.branch}")
        if done.published:
            out.print(f"tagged  {done.version[:5]} {done.published}")
    if done.failed:
        raise typer.Exit(1)


@app.command()
@friendly
def backfill(
    since: Annotated[
        datetime | None, typer.Option("--from", formats=DAY, help="first day")
    ] = None,
    until: Annotated[datetime | None, typer.Option("--to", formats=DAY, help="last day")] = None,
    source: ItemsOption = "",
    config: ConfigOption = DEFAULT,
    plan: PlanOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compute what is missing or outdated for some days or items; all else stays as it is.

    An item's day is the date in its name, else that of its last change.
    """
    if not (since or until or source):
        raise ConfigError("backfill: say which days (--from, --to) or items (--source).")
    pipeline = load(config)
    scope = Scope(
        items=source,
        since=since.date() if since else None,
        until=until.date() if until else None,
    )
    repo = show.store_if_any(pipeline)
    plans = [plan_flow(pipeline, SPECS[f], repo, scope) for f in pipeline.flows.chosen()]
    if plan:
        _print_plans(plans, as_json=as_json)
        return
    if not as_json:
        for one in plans:
            out.print(show.headline(one))
    todo = [p.flow for p in plans if not p.idle]
    if todo:
        quiet_prefect()
        with server():
            run_flows(config, pipeline, todo, quiet=as_json, scope=scope)
    repo = show.open_store(pipeline)
    tables = {flow: _taken(ds, scope) for flow, ds in show.results(repo).items()}
    if as_json:
        print_json({flow: show.records(ds) for flow, ds in tables.items()})
        return
    for flow, ds in tables.items():
        if ds.sizes["shard"]:
            out.print(show.result_table(SPECS[flow], ds))


def _taken(ds: xr.Dataset, scope: Scope) -> xr.Dataset:
    return ds.isel(shard=[i for i, s in enumerate(ds["source"].values) if scope.takes(str(s))])


def _changed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["change"] != SAME]


def _print_plans(plans: list[Plan], *, as_json: bool) -> None:
    if as_json:
        shards = [(p.flow, s.shard.id, s.reason) for p in plans for s in p.shards]
        keys = ("flow", "shard", "reason")
        print_json([dict(zip(keys, values, strict=True)) for values in shards])
        return
    for one in plans:
        out.print(show.headline(one))
    out.print()
    out.print(show.plan_table(plans))


def _lineage_table(record: dict[str, Any]) -> Table:
    """Return where one result comes from, one fact a line."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    made, given = record["made"], record["input"]
    packages = ", ".join(f"{name} {v}" for name, v in (made.get("packages") or {}).items())
    facts = {
        "result": f"{record['result']} ({record['flow']}, method {record['method']})",
        "status": record["status"],
        "in version": record["version"],
        "made by": f"version {made['version'][:5]}, run {made.get('run_id', '')}",
        "because": made["because"],
        "when": f"{made.get('started', '')} … {made.get('finished', '')}",
        "code": f"{made.get('code_version', '')}; {packages}",
        "where": made.get("host_class", ""),
        "input": f"{given['item']}  {given['uri']}",
        "sha256": given["sha256"],
        "stored in": given["group"] or "(the file has been read anew since)",
        "seed": str(record["seed"]),
        "parents": "; ".join(f"{p['kind']} {p['name']}" for p in record["parents"]) or "none",
        "parameters": json.dumps(record["parameters"]),
    }
    for name, value in facts.items():
        table.add_row(name, escape(str(value)))
    return table
