"""Where a result comes from, and why a shard ran or was skipped, now and in past runs."""

import difflib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from flows import catalogue, show
from flows.ahead import read_ahead
from flows.config import Pipeline
from flows.plan import plan_flow
from flows.specs import SPECS, FlowSpec
from irrev.errors import StoreError
from storage.repository import Repository
from storage.versions import Version

SKIPPED = "skipped: up to date"
MADE_BY = ("run_id", "code_version", "host_class", "started", "finished", "packages")
# variables of result tables that name what else the numbers come from
PARENTS = ("model", "model_hash", "encoder", "topic_model_id", "classifier_version")


def lineage(repo: Repository, result: str, *, at: str | None = None) -> list[dict[str, Any]]:
    """Say from which input, code, parameters and parents results come.

    Parameters
    ----------
    repo
        The store.
    result
        A flow, a source, or a shard.
    at
        Version whose results are meant; the newest by default.

    Returns
    -------
        One record a result.
    """
    tables = show.chosen(show.results(repo, at=at), result)
    records = []
    for flow, ds in tables.items():
        spec = SPECS[flow]
        past = _past(repo, flow, at=at)
        entries = catalogue.load(repo, flow, at=at)
        for i in range(ds.sizes["shard"]):
            row = {str(n): v.values[i] for n, v in ds.variables.items() if v.dims == ("shard",)}
            records.append(_lineage(repo, spec, row, past, entries.get(str(row["source"])), at))
    return records


@dataclass(frozen=True, slots=True)
class Past:
    """One run on record: the version that it made, and what it did with each shard."""

    version: Version
    did: dict[str, dict[str, Any]]  # shard -> seconds, reason, status, error


def _past(
    repo: Repository, flow: str, *, at: str | None = None, runs: int | None = None
) -> list[Past]:
    """List the runs of a flow that led to a version, newest first."""
    here = repo.resolve(at)
    made = [v for v in repo.log(at=at) if v.metadata.get("flow") == flow]
    return [Past(v, _did(repo, v.metadata["run_id"], here)) for v in made[:runs]]


def _did(repo: Repository, run_id: str, at: str) -> dict[str, dict[str, Any]]:
    if not repo.has(f"runs/{run_id}", at=at):
        return {}
    ds = repo.read(f"runs/{run_id}", at=at).load()
    names = [str(n) for n in ds.variables if n != "shard"]
    columns = [ds[n].to_numpy().tolist() for n in names]
    rows = zip(map(str, ds["shard"].to_numpy()), *columns, strict=True)
    return {shard: dict(zip(names, values, strict=True)) for shard, *values in rows}


def _lineage(
    repo: Repository,
    spec: FlowSpec,
    row: dict[str, Any],
    past: list[Past],
    entry: catalogue.Entry | None,
    at: str | None,
) -> dict[str, Any]:
    shard = str(row["shard"])
    made = next((p for p in past if shard in p.did), None)
    same_input = entry is not None and entry.sha256 == str(row["input_hash"])
    return {
        "result": shard,
        "flow": spec.name,
        "method": f"{spec.method} {int(row['method_version'])}",
        "status": str(row["status"]),
        "version": repo.resolve(at),
        "made": {
            "version": made.version.id if made else "",
            "because": str(made.did[shard]["reason"]) if made else "",
            "seconds": _number(row["seconds"]),
            **{k: made.version.metadata.get(k, "") for k in MADE_BY if made},
        },
        "input": {
            "item": str(row["source"]),
            "sha256": str(row["input_hash"]),
            "uri": entry.uri if entry else "",
            # the file may have been read anew since
            "group": entry.group if entry and same_input else "",
        },
        "parameters": json.loads(str(row["config"])),
        "config_hash": str(row["config_hash"]),
        "seed": int(row["seed"]),
        "parents": list(_parents(repo, row, at)),
    }


def _parents(repo: Repository, row: dict[str, Any], at: str | None) -> Iterator[dict[str, str]]:
    """Name the version that was built upon, and models, encoders and classifiers."""
    for name in PARENTS:
        if value := str(row.get(name, "")):
            yield {"kind": name, "name": value}
    parameters = json.loads(str(row["config"]))
    classifier = parameters.get("classifier") if isinstance(parameters, dict) else None
    if classifier:
        yield {"kind": "classifier", "name": str(classifier["path"])}
    if wanted := str(row.get("model_hash", "")):
        for group in (f"models/{name}" for name in repo.children("models", at=at)):
            weights = repo.read(group, at=at)["weights"].to_numpy().tobytes()
            if hashlib.sha256(weights).hexdigest() == wanted:
                yield {"kind": "weights", "name": group}


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


# --- why -----------------------------------------------------------------------------------------


def why(
    pipeline: Pipeline, repo: Repository, shard: str, *, runs: int = 20
) -> list[dict[str, Any]]:
    """Say why a shard would run or be skipped now, and what the latest runs did with it.

    Parameters
    ----------
    pipeline, repo
        What is planned, and what is on record.
    shard
        `item:condition`, or an item for all its shards and its reading.
    runs
        Number of runs of each flow to look back.

    Returns
    -------
        One record a shard: `now` and `past`, newest first.

    Raises
    ------
    StoreError
        If neither the plan nor the record knows it.
    """
    records, known = [], set[str]()
    for flow in pipeline.flows.chosen():
        spec = SPECS[flow]
        now = _now(pipeline, spec, repo)
        past = _past(repo, flow, runs=runs)
        stories = {p.version.id: _story(repo, spec, p) for p in past}
        names = {*now, *(name for s in stories.values() for name in s)}
        known |= names
        for name in sorted(n for n in names if shard in (n, n.rpartition(":")[0])):
            records.append(
                {
                    "flow": flow,
                    "shard": name,
                    "now": now.get(name, "not planned: its item or condition is not there"),
                    "past": [
                        _event(p.version, stories[p.version.id].get(name, "not there"))
                        for p in past
                    ],
                }
            )
    if not records:
        near = difflib.get_close_matches(shard, known, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}?" if near else "see `plan` for those there are."
        raise StoreError(f"no shard or item is called {shard!r}; {hint}")
    return records


def _event(version: Version, what: str) -> dict[str, str]:
    return {
        "version": version.short,
        "when": version.written_at.isoformat(timespec="seconds"),
        "run": str(version.metadata.get("run_id", "")),
        "what": what,
    }


def _now(pipeline: Pipeline, spec: FlowSpec, repo: Repository) -> dict[str, str]:
    plan = plan_flow(pipeline, spec, repo)
    plan = read_ahead(pipeline, plan, repo) if plan.unread else plan
    now = {
        p.shard.id: f"runs: {p.reason}" if p.reason else "skipped: up to date" for p in plan.shards
    }
    now |= dict.fromkeys(plan.gone, "leaves the table: no longer planned")
    return now | {name: f"set aside: {reason}" for name, reason in plan.quarantined}


def _story(repo: Repository, spec: FlowSpec, past: Past) -> dict[str, str]:
    """Say what one run did with every shard that its version knows."""
    at = past.version.id
    story: dict[str, str] = {}
    if repo.has(spec.group, at=at):
        for name in repo.read(spec.group, at=at)["shard"].to_numpy():
            story[str(name)] = "skipped: up to date"
    story |= {
        r["item"]: f"set aside: {r['reason']}" for r in show.quarantine(repo, spec.name, at=at)
    }
    for name, did in past.did.items():
        words = f"ran: {did['reason']}"
        if did.get("status", "done") != "done":
            words += f"; {did['status']}: {did['error']}"
        elif _number(did["seconds"]) is not None:
            words += f" ({did['seconds']:.3g} s)"
        story[name] = words
    return story
