"""What would run, and why: items -> shards with content keys, compared with what is stored.

A shard is one source item under one condition. It is up to date if its stored input hash,
parameters and method version are those planned and its status is final.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from storage.lookup import content_key


@dataclass(frozen=True, slots=True)
class Input:
    """One item as it was read: its content, its place in the store, and its conditions."""

    item: str
    source: str
    sha256: str
    group: str  # group of the store that holds the data
    at: str  # snapshot in which to read it
    selections: dict[str, Any]  # condition -> JSON description of its part, e.g. intervals
    size: dict[str, float]  # what costs depend on, e.g. n_spikes, seconds
    error: str = ""  # why it is in quarantine


@dataclass(frozen=True, slots=True)
class Stage:
    """What measuring reads from the configuration; one for all shards that share it."""

    config: dict[str, Any]
    json: str  # canonical: sorted keys, no spaces
    hash: str  # SHA-256 of it


def _stage(config: dict[str, Any]) -> Stage:
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return Stage(config, text, hashlib.sha256(text.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class Shard:
    """One unit of work and of skipping."""

    id: str  # item:condition
    item: str
    source: str
    condition: str
    input: Input
    stage: "Stage"
    method: str
    method_version: int
    seed: int

    @property
    def config(self) -> dict[str, Any]:
        """Return exactly what the stage reads."""
        return self.stage.config

    @property
    def key(self) -> str:
        """Return the content key: same key, same numbers."""
        return content_key(
            {
                "input": self.input.sha256,
                "config": self.config,
                "method": self.method,
                "version": self.method_version,
                "seed": self.seed,
            }
        )

    def row(self) -> dict[str, Any]:
        """Return the identity that is stored beside the values."""
        return {
            "shard": self.id,
            "source": self.item,
            "condition": self.condition,
            "input_hash": self.input.sha256,
            "config_hash": self.stage.hash,
            "config": self.stage.json,
            "method_version": self.method_version,
            "seed": self.seed,
        }


def make_shards(
    inputs: Iterable[Input],
    *,
    configs: Mapping[str, Mapping[str, Any]],
    method: str,
    method_version: int,
    seed: int,
) -> list[Shard]:
    """Make one shard per input and condition.

    Parameters
    ----------
    inputs
        Readable inputs.
    configs
        Per source name, the parameters that the stage reads.
    method, method_version
        Name and version of the method.
    seed
        The run's seed; a shard's own seed depends on it and on the shard's name only, so adding
        a source changes no other result. Shards of one item whose selections name the same
        `stream` share their seed.
    """
    shards = []
    stages: dict[tuple[str, str], Stage] = {}
    for item in inputs:
        for condition, selection in item.selections.items():
            known = item.source, json.dumps(selection)
            if known not in stages:
                stages[known] = _stage({**configs[item.source], "selection": selection})
            name = f"{item.item}:{condition}"
            stream = selection.get("stream") if isinstance(selection, dict) else None
            own = f"{item.item}:{stream or condition}"
            digest = hashlib.sha256(f"{seed}:{method}:{own}".encode()).digest()
            shards.append(
                Shard(
                    id=name,
                    item=item.item,
                    source=item.source,
                    condition=condition,
                    input=item,
                    stage=stages[known],
                    method=method,
                    method_version=method_version,
                    seed=int.from_bytes(digest[:4], "big"),
                )
            )
    return shards
