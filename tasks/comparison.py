"""Tuned models beside their base models, from the series that the store holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from prefect import task
from prefect.cache_policies import NO_CACHE

from irrev.alignment.comparison import compare_variants
from irrev.alignment.taxonomy import Taxonomy
from irrev.schema import validate
from storage.layout import COMPARISON
from storage.repository import Repository, StoreRef
from tasks.alignment import frozen
from tasks.cluster import on_worker, worth_retrying


@dataclass(frozen=True, slots=True)
class Pair:
    """A tuned stream and the base stream it is compared with."""

    source: str
    stress: str
    tuned: str  # model
    base: str  # model
    tuned_at: str  # group of the series
    base_at: str  # empty if there is none
    seed: int


def compare_pair(ref: StoreRef, pair: Pair, config: dict[str, Any]) -> xr.Dataset:
    """Compare one pair; its names stand beside the figures."""
    repo = Repository.open(ref)
    watch = config["watch"]
    taxonomy = Taxonomy(**{k: frozen(v) for k, v in config["taxonomy"].items()})
    tuned, base = (
        repo.read(group).load() if group and repo.has(group) else None
        for group in (pair.tuned_at, pair.base_at)
    )
    assert tuned is not None  # it was published just now
    row = compare_variants(
        base,
        tuned,
        taxonomy=taxonomy,
        **{k: watch[k] for k in ("by", "size", "min_count", "level")},
        n_draws=config["draws"],
        rng=np.random.default_rng(pair.seed),
    )
    names = {n: getattr(pair, n) for n in ("source", "stress", "tuned", "base")}
    return row.assign({n: ("pair", np.array([v], dtype=object)) for n, v in names.items()})


def compare_and_commit(
    ref: StoreRef, pairs: Sequence[Pair], config: dict[str, Any], key: str, run_id: str
) -> str:
    """Compare all pairs and commit the table under the key of what it was made from."""
    table = xr.concat([compare_pair(ref, p, config) for p in pairs], dim="pair")
    table = validate(table, "transcripts/alignment_work").assign_attrs(key=key)
    return Repository.open(ref).commit(
        {COMPARISON: table},
        message=f"transcripts: {len(pairs)} pairs of base and tuned",
        metadata={"run_id": run_id},
    )


@task(
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def infer_alignment_work(
    ref: StoreRef, pairs: Sequence[Pair], config: dict[str, Any], key: str, run_id: str
) -> str:
    """Compare all pairs where work runs."""
    return on_worker(compare_and_commit, (ref, pairs, config, key, run_id))
