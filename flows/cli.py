"""The command line: one command answers one question.

Exit status: 0 done, 1 some shards failed or are in quarantine, 2 the user's mistake.
"""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from flows import cli_history, service, show
from flows.ahead import read_ahead
from flows.config import Pipeline, load
from flows.console import (
    DEFAULT,
    AtOption,
    ConfigOption,
    JsonOption,
    friendly,
    out,
    print_json,
)
from flows.estimate import Estimate, estimate_plan, misfits
from flows.explain import full_text
from flows.launch import quiet_prefect, run_flows
from flows.places import page_path
from flows.plan import Plan, plan_flow
from flows.server import server
from flows.specs import SPECS
from flows.standing import find_server

app = typer.Typer(
    help="Measure irreversibility and entropy production in real data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
alerts = typer.Typer(help="List and acknowledge alerts of the monitor.", no_args_is_help=True)
app.add_typer(alerts, name="alerts")
app.add_typer(cli_history.app)
LOOK_AHEAD = 16  # unread items that `run` looks into before it starts; `plan` looks into all


@app.command()
@friendly
def plan(
    config: ConfigOption = DEFAULT,
    profile: Annotated[str, typer.Option(help="cost it with another profile")] = "",
    as_json: JsonOption = False,
) -> None:
    """Say what would run, why, and at what cost."""
    pipeline = load(config).with_profile(profile)
    plans = _looked(pipeline, _plans(pipeline))
    costs = [_estimate(pipeline, p) for p in plans]
    if as_json:
        print_json([show.plan_record(p, c) for p, c in zip(plans, costs, strict=True)])
        return
    for one, cost in zip(plans, costs, strict=True):
        out.print(show.headline(one, cost))
    out.print()
    out.print(show.plan_table(plans))
    if any(p.todo for p in plans):
        out.print()
        out.print(show.cost_table(dict(zip((p.flow for p in plans), costs, strict=True))))
        for cost in costs:
            for line in misfits(cost, pipeline.compute):
                out.print(line)


@app.command()
@friendly
def run(
    config: ConfigOption = DEFAULT,
    as_json: JsonOption = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="show Prefect's log")] = False,
) -> None:
    """Do it; again: nothing to do."""
    pipeline = load(config)
    plans = _plans(pipeline)
    if not as_json:
        few = sum(len(p.unread) for p in plans) <= LOOK_AHEAD
        for one in _looked(pipeline, plans) if few else plans:
            out.print(show.headline(one, _estimate(pipeline, one)))
    page_path(pipeline)  # an unwritable page is found before the work, not after it
    todo = [p.flow for p in plans if not p.idle]
    if todo:
        quiet_prefect(verbose=verbose)
        with server():
            changed = run_flows(config, pipeline, todo, quiet=as_json)
    else:
        changed = False
    _conclude(pipeline, changed=changed, as_json=as_json)


def _conclude(pipeline: Pipeline, *, changed: bool, as_json: bool) -> None:
    """Print the results, where they are, and how to look further."""
    from flows.page import write_page  # half a second that the start of a run does not pay

    repo = show.open_store(pipeline)
    tables = show.results(repo)
    page = page_path(pipeline)
    if changed or not page.exists():
        write_page(pipeline, repo)
    if as_json:
        print_json({flow: show.records(ds) for flow, ds in tables.items()})
    else:
        _print_tables(tables)
        newest = repo.log()[0].short
        note = "saved  " if changed else "newest "
        out.print(
            f"{note} {newest} on {repo.ref.branch}   "
            f"compare it later: python -m flows compare {newest} {repo.ref.branch}"
        )
        out.print(f"report  {os.path.relpath(page)}")
    if any(show.quarantine(repo, flow) for flow in pipeline.flows.chosen()):
        if not as_json:
            out.print("some items failed or are in quarantine: python -m flows status")
        raise typer.Exit(1)


def _print_tables(tables: dict[str, Any]) -> None:
    for flow, ds in tables.items():
        out.print()
        out.print(show.result_table(SPECS[flow], ds))
    out.print()


@app.command(name="show")
@friendly
def show_command(
    result: Annotated[str | None, typer.Argument(help="a flow, or a shard's name")] = None,
    config: ConfigOption = DEFAULT,
    at: AtOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the numbers."""
    repo = show.open_store(load(config))
    tables = show.chosen(show.results(repo, at=at), result)
    if as_json:
        print_json({flow: show.records(ds) for flow, ds in tables.items()})
    else:
        _print_tables(tables)


@app.command()
@friendly
def status(config: ConfigOption = DEFAULT, as_json: JsonOption = False) -> None:
    """Say what runs now, what failed, and what is in quarantine and why."""
    pipeline = load(config)
    state = show.state(show.open_store(pipeline), list(pipeline.flows.chosen()))
    if as_json:
        print_json(state)
        return
    for line in show.state_lines(state):
        out.print(line)
    if server := find_server():
        out.print(f"up         UI {server.url.removesuffix('/api')}")


@app.command()
@friendly
def compare(a: str, b: str, config: ConfigOption = DEFAULT, as_json: JsonOption = False) -> None:
    """Say what changed between two versions, and whether by more than its interval."""
    repo = show.open_store(load(config))
    if as_json:
        print_json(show.comparison_records(repo, a, b))
    else:
        out.print(show.comparison_table(repo, a, b))


@app.command()
@friendly
def log(config: ConfigOption = DEFAULT, as_json: JsonOption = False) -> None:
    """List the versions and from which code and inputs they came."""
    repo = show.open_store(load(config))
    if as_json:
        print_json(show.version_records(repo))
    else:
        out.print(show.version_table(repo))


@app.command()
@friendly
def report(config: ConfigOption = DEFAULT, at: AtOption = None) -> None:
    """Write the page."""
    from flows.page import write_page

    pipeline = load(config)
    page = write_page(pipeline, show.open_store(pipeline), at=at)
    out.print(f"report  {os.path.relpath(page)}")


@app.command()
@friendly
def monitor(config: ConfigOption = DEFAULT, as_json: JsonOption = False) -> None:
    """Watch new transcripts once and send the alerts they raise."""
    load(config)  # mistakes are told before a server starts
    quiet_prefect()
    with server():
        from flows.monitor import monitor as watch  # after the server is up: imports Prefect

        done = watch(config)
    if as_json:
        print_json(asdict(done))
        return
    out.print(
        f"monitor {done.n_files} files, {done.n_turns:,} new turns, {done.n_streams} streams, "
        f"{done.n_bad} bad records"
    )
    if done.n_streams:
        rate = "unknown" if done.false_alarms is None else f"{done.false_alarms:.2g}"
        out.print(f"expect  {rate} false alarms per 100 new bins of each of these streams")
        out.print(f"e-BH    selects {', '.join(done.selected) or 'none of them'}")
    out.print(f"alerts  {done.n_alerts} new, {done.n_sent} sent: python -m flows alerts list")


@alerts.command(name="list")
@friendly
def alerts_list(
    config: ConfigOption = DEFAULT,
    every: Annotated[bool, typer.Option("--all", help="closed ones too")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the alerts on record."""
    rows = show.alert_records(show.open_store(load(config)), every=every)
    if as_json:
        print_json(rows)
    else:
        out.print(show.alert_table(rows))


@alerts.command(name="ack")
@friendly
def alerts_ack(alert_id: str, config: ConfigOption = DEFAULT) -> None:
    """Mark an alert as seen."""
    show.acknowledge(show.open_store(load(config)), alert_id)
    out.print(f"acknowledged {alert_id}")


@app.command()
@friendly
def config(
    path: Annotated[str, typer.Argument(help="pipeline file")] = DEFAULT,
    full: Annotated[bool, typer.Option("--full", help="print all defaults")] = False,
) -> None:
    """Check the pipeline file; with --full print it with every default, its unit and meaning."""
    pipeline = load(path)
    if full:
        sys.stdout.write(full_text(pipeline))
    else:
        names = ", ".join(pipeline.flows.chosen())
        out.print(f"{Path(path).name} is valid: flows {names}; {len(pipeline.sources)} sources")


for _command in (service.up, service.down, service.deploy, service.certs):
    app.command()(_command)


def _plans(pipeline: Pipeline) -> list[Plan]:
    repo = show.store_if_any(pipeline)
    return [plan_flow(pipeline, SPECS[name], repo) for name in pipeline.flows.chosen()]


def _looked(pipeline: Pipeline, plans: list[Plan]) -> list[Plan]:
    """Look into unread items, so that the plans name their shards."""
    repo = show.store_if_any(pipeline)
    return [read_ahead(pipeline, p, repo) if p.unread else p for p in plans]


def _estimate(pipeline: Pipeline, plan: Plan) -> Estimate:
    return estimate_plan(plan, show.store_if_any(pipeline), pipeline.compute)
