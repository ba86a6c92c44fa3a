"""Which streams of a run are a tuned model and its base model under one stress."""

from collections.abc import Sequence
from typing import Any

from flows.blocks import TranscriptsBlock
from flows.shards import Shard
from irrev.alignment.comparison import METHOD_VERSION
from storage.layout import COMPARISON, node_name
from storage.lookup import content_key
from storage.repository import Repository
from tasks.comparison import Pair

MOST_DRAWS = 200  # each is a fit of the joint likelihood, twice


def find_pairs(shards: Sequence[Shard], base_of: dict[str, str]) -> list[tuple[Pair, list[str]]]:
    """Match every tuned stream with its base stream; give each pair with its shards' keys.

    A base stream of the same file comes first, else that of another file of the source. Where
    several files hold one, none is taken: which of them is meant cannot be told.
    """
    out = []
    for shard in shards:
        model, _, stress = shard.config["selection"]
        if model not in base_of:
            continue
        like = [
            s
            for s in shards
            if s.source == shard.source
            and (s.config["selection"][0], s.config["selection"][2]) == (base_of[model], stress)
        ]
        here = [s for s in like if s.item == shard.item] or like
        found = here[0] if len(here) == 1 else None
        pair = Pair(
            source=shard.item,
            stress=stress,
            tuned=model,
            base=base_of[model],
            tuned_at=_series(shard),
            base_at=_series(found) if found else "",
            seed=shard.seed,
        )
        out.append((pair, [shard.key, found.key if found else ""]))
    return out


def _series(shard: Shard) -> str:
    return f"results/transcripts/series/{shard.item}/{node_name(shard.condition)}"


def comparison_config(block: TranscriptsBlock) -> dict[str, Any]:
    """Return the parameters of the comparison."""
    return {
        "taxonomy": block.taxonomy.model_dump(),
        "watch": {**block.watch.model_dump(), "level": block.interval.level},
        "draws": min(block.interval.draws, MOST_DRAWS),
    }


def comparison_key(pairs: Sequence[tuple[Pair, list[str]]], config: dict[str, Any]) -> str:
    """Return the content key of the whole table."""
    return content_key(
        {"pairs": [k for _, keys in pairs for k in keys], "config": config, "v": METHOD_VERSION}
    )


def known_key(repo: Repository) -> str:
    """Return the key of the table on record; empty if there is none."""
    return str(repo.read(COMPARISON).attrs["key"]) if repo.has(COMPARISON) else ""
