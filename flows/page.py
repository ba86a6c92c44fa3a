"""The report of a store's version: collects what the page needs and writes the file."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from flows import catalogue, show
from flows.config import Pipeline
from flows.explain import full_text
from flows.places import page_path
from flows.specs import SPECS, FlowSpec
from irrev.report.build import make_sections, render
from irrev.report.page import Page, TableBlock, part_key
from storage.layout import COMPARISON, node_name
from storage.repository import Repository


def write_page(pipeline: Pipeline, repo: Repository, *, at: str | None = None) -> Path:
    """Write the report of a version; by default the newest. The file appears whole or not."""
    tables = {SPECS[flow].kind: ds for flow, ds in show.results(repo, at=at).items()}
    block = pipeline.flows.transcripts
    if block and block.base_of and repo.has(COMPARISON, at=at):
        tables["transcripts/alignment_work"] = repo.read(COMPARISON, at=at).load()
    extras = {
        SPECS[flow].kind: Extras(repo, ds, SPECS[flow], at)
        for flow, ds in show.results(repo, at=at).items()
    }
    path = page_path(pipeline)
    html = render(_page(pipeline, repo, tables, extras, at))
    partial = path.with_suffix(f".{os.getpid()}.part")
    partial.write_text(html, encoding="utf-8")
    partial.replace(path)
    return path


class Extras(Mapping[str, xr.Dataset]):
    """What belongs to single shards, e.g. coupling maps; read when the page asks for it."""

    def __init__(self, repo: Repository, ds: xr.Dataset, spec: FlowSpec, at: str | None) -> None:
        self._repo, self._at = repo, at
        columns = [ds[n].to_numpy() for n in ("shard", "source", "condition")]
        named = {part_key(part, ""): part for part in spec.more}
        named |= {"": spec.extras} if spec.extras else {}
        self._groups = {
            f"{prefix}{shard}": f"results/{spec.name}/{part}/{source}/{node_name(str(condition))}"
            for prefix, part in named.items()
            for shard, source, condition in zip(*columns, strict=True)
        }

    def __getitem__(self, shard: str) -> xr.Dataset:
        group = self._groups[shard]
        if not self._repo.has(group, at=self._at):
            raise KeyError(shard)
        return self._repo.read(group, at=self._at).load()

    def __iter__(self) -> Iterator[str]:
        return iter(self._groups)

    def __len__(self) -> int:
        return len(self._groups)


def _page(
    pipeline: Pipeline,
    repo: Repository,
    tables: dict[str, xr.Dataset],
    extras: dict[str, Extras],
    at: str | None,
) -> Page:
    versions = {v.id: v for v in repo.log()}
    version = versions.get(repo.resolve(at)) or next(iter(versions.values()), None)
    metadata: dict[str, Any] = dict(version.metadata) if version else {}
    flows = list(pipeline.flows.chosen())
    entries = [e for flow in flows for e in catalogue.load(repo, flow, at=at).values()]
    bad = [row for flow in flows for row in show.quarantine(repo, flow, at=at)]
    return Page(
        project=pipeline.project,
        measured=_measured(tables, len(entries)),
        sections=make_sections(tables, extras),
        quality=_quality(entries),
        quarantine=TableBlock(
            "Quarantine", ["item", "reason"], [[r["item"], r["reason"]] for r in bad]
        )
        if bad
        else None,
        provenance=[
            ("Version", version.id if version else "none"),
            ("Written", version.written_at.isoformat(timespec="seconds") if version else ""),
            ("Run", str(metadata.get("run_id", ""))),
            ("Code", str(metadata.get("code_version", ""))),
            ("Seed", str(pipeline.seed)),
            ("Store", f"{pipeline.masked().store.url}, branch {repo.ref.branch}"),
            ("Host", str(metadata.get("host_class", ""))),
        ],
        inputs=TableBlock(
            "Inputs", ["item", "file", "SHA-256"], [[e.item, e.uri, e.sha256] for e in entries]
        ),
        config=full_text(pipeline.masked()),
        repeat=f"python -m flows run      # seed {pipeline.seed}; nothing to do if unchanged\n"
        f"python -m flows show --at {version.short if version else 'VERSION'}",
    )


def _measured(tables: dict[str, xr.Dataset], n_items: int) -> str:
    n_results = sum(
        int((ds["status"] == "done").sum()) for ds in tables.values() if "status" in ds
    )
    results = f"{n_results} result{'s' * (n_results != 1)}"
    inputs = f"{n_items} input{'s' * (n_items != 1)}"
    return f"Irreversibility and entropy production: {results} from {inputs}."


def _quality(entries: list[catalogue.Entry]) -> list[TableBlock]:
    """List what the checks found in every input."""
    rows = [[e.item, *check] for e in entries for check in json.loads(e.checks)]
    if not rows:
        return []
    return [TableBlock("Checks", ["item", "check", "count", "action", "what was found"], rows)]
