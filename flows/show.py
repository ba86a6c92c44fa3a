"""Stored results as text: tables for people, records for programs."""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr
from rich.table import Table

from flows.blocks import Flows
from flows.config import Pipeline
from flows.estimate import Estimate, costs_of, describe, duration, size
from flows.findings import count_findings, finding_line
from flows.plan import Plan
from flows.specs import SPECS, Column, FlowSpec
from irrev.errors import StoreError
from irrev.verdicts import verdict
from storage.backend import exists
from storage.layout import ALERTS
from storage.leases import leases
from storage.lookup import compare
from storage.pending import Pending
from storage.repository import Repository


def results(repo: Repository, *, at: str | None = None) -> dict[str, xr.Dataset]:
    """Read the result table of every flow that a version holds."""
    return {
        spec.name: repo.read(spec.group, at=at).load()
        for spec in map(SPECS.get, Flows.model_fields)  # in the order of the pipeline file
        if spec is not None and repo.has(spec.group, at=at)
    }


def open_store(pipeline: Pipeline) -> Repository:
    """Open the pipeline's store; a StoreError says that nothing has run yet."""
    return Repository.open(pipeline.store_ref())


def store_if_any(pipeline: Pipeline) -> Repository | None:
    """Open the pipeline's store, or return None before the first run."""
    ref = pipeline.store_ref()
    return Repository.open(ref) if exists(ref) else None


def result_table(spec: FlowSpec, ds: xr.Dataset) -> Table:
    """Return the results of one flow as a table with one row a shard."""
    level = f"{100 * float(ds.attrs.get('level', 0.95)):g} %"
    columns = spec.columns
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("source", no_wrap=True)
    table.add_column("condition", no_wrap=True)
    for column in columns:
        title = f"{level} interval" if column.title == "interval" else column.title
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict")
    ds = ds[[n for n, v in ds.variables.items() if v.dims == ("shard",)]]
    for i in range(ds.sizes["shard"]):
        done = str(ds["status"].to_numpy()[i]) == "done"
        cells = [_cell(ds, i, c) if done else "" for c in columns]
        words = verdict(ds, i) if done else f"{verdict(ds, i)}: {ds['error'].to_numpy()[i]}"
        if done and "notes" in ds and (notes := str(ds["notes"].to_numpy()[i])):
            words += f" ({notes})"
        table.add_row(str(ds["source"].values[i]), str(ds["condition"].values[i]), *cells, words)
    return table


def _cell(ds: xr.Dataset, i: int, column: Column) -> str:
    values = [ds.variables[name].values[i] for name in column.name.split(" … ")]
    if all(isinstance(value, float) and np.isnan(value) for value in values):
        return "none"
    return " … ".join(column.form.format(value) for value in values)


def records(ds: xr.Dataset) -> list[dict[str, Any]]:
    """Return one plain record a shard: every variable along `shard` alone, NaN as null."""
    along = {str(n) for n, v in ds.variables.items() if v.dims == ("shard",)} - {"config"}
    # a store lists variables in no fixed order
    names = sorted(along, key=lambda n: (n not in ("shard", "source", "condition"), n))
    columns = [[_plain(v) for v in ds[name].to_numpy().tolist()] for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def chosen(tables: dict[str, xr.Dataset], result: str | None) -> dict[str, xr.Dataset]:
    """Keep one flow, one source or one shard, or everything.

    Raises
    ------
    StoreError
        If nothing is called `result`; the nearest name is given.
    """
    if result is None or result in tables:
        return {k: v for k, v in tables.items() if result in (None, k)}
    found = {}
    for flow, ds in tables.items():
        match = [
            i
            for i, (shard, source) in enumerate(
                zip(ds["shard"].values, ds["source"].values, strict=True)
            )
            if result in (str(shard), str(source))
        ]
        if match:
            found[flow] = ds.isel(shard=match)
    if not found:
        names = [*tables, *(str(n) for ds in tables.values() for n in ds["shard"].values)]
        near = difflib.get_close_matches(result, names, n=1, cutoff=0.3)
        known = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {known or 'none yet'}."
        raise StoreError(f"no result is called {result!r}; {hint}")
    return found


def comparison_records(repo: Repository, a: str, b: str) -> list[dict[str, Any]]:
    """Compare every result of two versions: what moved, and whether beyond its interval."""
    before, after = results(repo, at=a), results(repo, at=b)
    return [
        {"flow": flow, **asdict(row)}
        for flow in sorted({*before, *after})
        for row in compare(before.get(flow), after.get(flow), SPECS[flow].value)
    ]


def comparison_table(repo: Repository, a: str, b: str) -> Table:
    """Return the comparison as a table."""
    return change_table(comparison_records(repo, a, b), a, b)


def change_table(rows: Iterable[dict[str, Any]], a: str, b: str) -> Table:
    """Return records of a comparison as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("flow", "shard", a, b, "change"):
        table.add_column(
            title, justify="left" if title in ("flow", "shard", "change") else "right"
        )
    for row in rows:
        table.add_row(
            row["flow"], row["shard"], _number(row["old"]), _number(row["new"]), row["change"]
        )
    return table


def _number(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.4g}"


def version_records(repo: Repository) -> list[dict[str, Any]]:
    """List the versions of the branch, newest first, with all their metadata."""
    return [
        {
            "version": v.id,
            "written_at": v.written_at.isoformat(),
            "message": v.message,
            "tags": list(v.tags),
            "metadata": v.metadata,
        }
        for v in repo.log()
    ]


def version_table(repo: Repository) -> Table:
    """List the versions of the branch with where they come from."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("version", "when (UTC)", "what", "took (expected)", "code", "run", "tags"):
        table.add_column(title, no_wrap=title != "what")
    for version in repo.log():
        table.add_row(
            version.short,
            f"{version.written_at:%Y-%m-%d %H:%M:%S}",
            version.message,
            _took(version.metadata.get("cost")),
            str(version.metadata.get("code_version", "")),
            str(version.metadata.get("run_id", "")),
            " ".join(version.tags),
        )
    return table


def _took(cost: Mapping[str, Any] | None) -> str:
    if not cost:
        return ""
    was, expected = (cost[kind]["core_seconds"] for kind in ("actual", "estimate"))
    return f"{duration(was)} ({duration(expected)})"


# --- plan and state ------------------------------------------------------------------------------


def headline(plan: Plan, estimate: Estimate | None = None) -> str:
    """Return the plan of one flow, and what it would cost, in one line."""
    new = len(plan.todo)
    aside = {name for name, _ in plan.quarantined}
    current = sum(1 for p in plan.shards if not p.reason and p.shard.id not in aside)
    parts = [f"{new} to run", f"{current} up to date"]
    if plan.unread:
        parts.insert(0, f"{len(plan.unread)} items to read")
    if plan.quarantined:
        parts.append(f"{len(plan.quarantined)} quarantined")
    line = f"plan    {plan.flow}: {', '.join(parts)}"
    return f"{line:<54}  {estimate}" if estimate and new else line


def plan_record(plan: Plan, estimate: Estimate) -> dict[str, Any]:
    """Return the plan of one flow as data."""
    return {
        "flow": plan.flow,
        "unread": [item.name for item in plan.unread],
        "shards": [{"shard": p.shard.id, "reason": p.reason} for p in plan.shards],
        "quarantined": [{"item": name, "reason": reason} for name, reason in plan.quarantined],
        "gone": plan.gone,
        "estimate": asdict(estimate),
    }


def cost_table(costs: Mapping[str, Estimate]) -> Table:
    """Return what each flow of a plan would take, and all together."""
    workers = next(iter(costs.values())).workers
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("cost")
    titles = ("shards", "core-hours", "GPU-hours", "read", "written", "a worker")
    for title in (*titles, f"time ({workers} workers)"):
        table.add_column(title, justify="right")
    table.add_column("from")
    rows = {flow: [c] for flow, c in costs.items() if c.shards}
    if len(rows) > 1:
        rows["all"] = [c for (c,) in rows.values()]
    for name, parts in rows.items():
        runs = sum(c.from_runs for c in parts)
        table.add_row(
            name,
            f"{sum(c.shards for c in parts):,.0f}",
            f"{sum(c.core_seconds for c in parts) / 3600:.3g}",
            f"{sum(c.gpu_seconds for c in parts) / 3600:.3g}",
            size(sum(c.read_bytes for c in parts)),
            size(sum(c.written_bytes for c in parts)),
            size(max(c.peak_bytes for c in parts)),
            duration(sum(c.seconds for c in parts)),
            f"formulas and {runs:,} timings" if runs else "formulas",
        )
    return table


LISTED = 500  # rows that a terminal shows; longer plans are counted by reason


def plan_table(plans: Sequence[Plan]) -> Table:
    """Say for every shard whether and why it would run; very many are counted by reason."""
    if sum(len(p.unread) + len(p.shards) for p in plans) > LISTED:
        return _reason_table(plans)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("flow", "shard", "would run because"):
        table.add_column(title)
    for plan in plans:
        for item in plan.unread:
            table.add_row(plan.flow, item.name, "to be read: new, or its file changed")
        for planned in plan.shards:
            table.add_row(plan.flow, planned.shard.id, planned.reason or "up to date")
        for name, reason in plan.quarantined:
            table.add_row(plan.flow, name, f"quarantined: {reason}")
        for name in plan.gone:
            table.add_row(plan.flow, name, "leaves the table: no longer planned")
    return table


def _reason_table(plans: Sequence[Plan]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("flow")
    table.add_column("number", justify="right")
    table.add_column("would run because (each shard: --json)")
    for plan in plans:
        reasons = Counter(p.reason or "up to date" for p in plan.shards)
        if plan.unread:
            reasons["to be read: new, or their files changed"] = len(plan.unread)
        if plan.gone:
            reasons["leave the table: no longer planned"] = len(plan.gone)
        if plan.quarantined:
            reasons["quarantined"] = len(plan.quarantined)
        for reason, number in reasons.most_common(LISTED):
            table.add_row(plan.flow, f"{number:,}", reason)
    return table


def state(repo: Repository, flows: Iterable[str]) -> dict[str, Any]:
    """Return the newest version, counts by status, runs at work, checks, quarantine."""
    newest = next(iter(repo.log()), None)
    now = datetime.now(UTC)
    counts = {
        flow: dict(Counter(map(str, ds["status"].values))) for flow, ds in results(repo).items()
    }
    return {
        "store": repo.ref.url,
        "branch": repo.ref.branch,
        "version": newest.short if newest else "",
        "written_at": newest.written_at.isoformat(timespec="seconds") if newest else "",
        "results": counts,
        "running": [
            {"since": lease.since.isoformat(), "host": lease.host, "pid": lease.pid}
            for lease in leases(repo)
            if lease.alive(now)
        ],
        "unpublished": len(Pending(repo).keys()),
        "costs": {flow: costs[0] for flow in flows if (costs := costs_of(repo, flow))},
        "checks": [row for flow in flows for row in count_findings(repo, flow)],
        "quarantine": [row for flow in flows for row in quarantine(repo, flow)],
    }


def quarantine(repo: Repository, flow: str, *, at: str | None = None) -> list[dict[str, str]]:
    """List what the newest run of a flow set aside, with the reason."""
    group = f"quarantine/{flow}"
    if not repo.has(group, at=at):
        return []
    ds = repo.read(group, at=at).load()
    names = ("item", "reason", "when", "run")
    return [
        {"flow": flow, **dict(zip(names, map(str, values), strict=True))}
        for values in zip(*(ds[n].to_numpy() for n in names), strict=True)
    ]


def state_lines(state: dict[str, Any]) -> list[str]:
    """Return the state in words."""
    lines = [f"store      {state['store']}, branch {state['branch']}"]
    lines.append(f"newest     {state['version'] or 'none'}  {state['written_at']}")
    for flow, counts in state["results"].items():
        parts = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
        lines.append(f"results    {flow}: {parts}")
    for run in state["running"]:
        lines.append(f"running    since {run['since']}, process {run['pid']} on {run['host']}")
    for flow, cost in state["costs"].items():
        lines.append(
            f"cost       {flow}: {cost['shards']:,} shards took (expected) {describe(cost)}"
        )
    if state["unpublished"]:
        fate = "the run at work" if state["running"] else "the next run: this one was cut off"
        lines.append(f"unfinished {state['unpublished']} pieces wait to be published by {fate}")
    lines += map(finding_line, state["checks"])
    if not state["quarantine"]:
        parts = any(row["action"] == "set aside" for row in state["checks"])
        lines.append("quarantine empty" + "; the records set aside are above" * parts)
    return lines + [f"quarantine {row['item']}: {row['reason']}" for row in state["quarantine"]]


# --- alerts --------------------------------------------------------------------------------------

ALERT_COLUMNS = ("alert_id", "model", "variant", "stress", "detector", "severity", "status")


def alert_records(repo: Repository, *, every: bool = False) -> list[dict[str, Any]]:
    """List the alerts on record, newest bin last; closed ones only if all are asked for."""
    if not repo.has(ALERTS):
        return []
    ds = repo.read(ALERTS).load()
    names = [str(n) for n in ds.data_vars]
    columns = [ds[n].to_numpy().tolist() for n in names]
    rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    plain = [{k: None if v != v else v for k, v in row.items()} for row in rows]  # NaN
    return [row for row in plain if every or row["status"] != "closed"]


def alert_table(rows: list[dict[str, Any]]) -> Table:
    """Return alerts as a table with the figures that decide whether to look."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in (*ALERT_COLUMNS, "since bin", "S", "intended"):
        table.add_column(title.replace("_", " "))
    for row in rows:
        cells = [str(row[name]) for name in ALERT_COLUMNS]
        cells += [
            str(row["change_point"]),
            f"{row['entropy']:.3f} nat",
            f"{row['p_intended']:.0%}",
        ]
        table.add_row(*cells)
    return table


def acknowledge(repo: Repository, alert_id: str) -> None:
    """Mark an alert as seen.

    Raises
    ------
    StoreError
        If no alert has this identifier.
    """

    def writes(base: str) -> dict[str, xr.Dataset]:
        ds = repo.read(ALERTS, at=base).load() if repo.has(ALERTS, at=base) else None
        if ds is None or alert_id not in ds["alert_id"].values:
            raise StoreError(f"no alert is called {alert_id}; see `python -m flows alerts list`.")
        status = np.where(ds["alert_id"] == alert_id, "ack", ds["status"]).astype(object)
        return {ALERTS: ds.assign(status=("alert", status, ds["status"].attrs))}

    repo.commit(writes, message=f"alerts: {alert_id} acknowledged", metadata={})
