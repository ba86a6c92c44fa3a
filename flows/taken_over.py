"""Work that another branch has done already: its results are copied, not computed again."""

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from flows.plan import Planned
from flows.specs import FlowSpec
from flows.steps import Run
from storage import versions
from storage.layout import node_name
from storage.repository import Repository

AT_ONCE = 64  # results copied in one commit


def take_over(run: Run, todo: Mapping[str, Planned]) -> dict[str, str]:
    """Copy finished results of other branches into the scratch.

    Parameters
    ----------
    run
        The run; results of its own branch are not looked at.
    todo
        Shards by content key.

    Returns
    -------
        The branch of every key that was found: same input, parameters, version and seed.
    """
    found: dict[str, str] = {}
    for branch in versions.visible_branches(run.repo.ic):
        if branch == run.repo.ref.branch or len(found) == len(todo):
            continue
        other = Repository(run.repo.ref.on(branch), run.repo.ic)
        wanted = {key: p for key, p in todo.items() if key not in found}
        ready: dict[str, dict[str, xr.Dataset]] = {}
        for key, result in _results(other, run.spec, wanted):
            ready[key] = result
            found[key] = branch
            if len(ready) == AT_ONCE:
                run.pending.put(ready)
                ready = {}
        run.pending.put(ready)
    return found


def _results(
    repo: Repository, spec: FlowSpec, wanted: Mapping[str, Planned]
) -> Iterator[tuple[str, dict[str, xr.Dataset]]]:
    """Yield the branch's finished results of shards that are wanted, with all their parts."""
    at = repo.resolve()
    if not wanted or not repo.has(spec.group, at=at):
        return
    table = repo.read(spec.group, at=at).load()
    rows = {str(name): i for i, name in enumerate(table["shard"].to_numpy())}
    parts = [part for part in repo.children(f"results/{spec.name}", at=at) if part != spec.method]
    for key, planned in wanted.items():
        i = rows.get(planned.shard.id)
        if i is None or not _same(table, i, planned):
            continue
        place = f"{planned.shard.item}/{node_name(planned.shard.condition)}"
        groups = {part: f"results/{spec.name}/{part}/{place}" for part in parts}
        extras = {
            part: repo.read(group, at=at).load()
            for part, group in groups.items()
            if repo.has(group, at=at)
        }
        yield key, {"row": table.isel(shard=np.array([i])), **extras}


def _same(table: xr.Dataset, i: int, planned: Planned) -> bool:
    """Say whether a stored row is the finished result of the very shard that is planned."""
    identity = planned.shard.row()
    names = ("input_hash", "config", "method_version", "seed")
    return str(table["status"].to_numpy()[i]) == "done" and all(
        str(table[name].to_numpy()[i]) == str(identity[name]) for name in names
    )
