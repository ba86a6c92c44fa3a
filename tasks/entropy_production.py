"""Entropy-production inference of one shard: read, select, bin, infer; as one piece or many."""

import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.binning import SpikeBins, bin_spikes
from irrev.ep.chunks import MappedBins, Rows
from irrev.ep.estimates import estimates_table, of_methods, without_value
from irrev.ep.further import further_estimates, is_fold, joined_tables
from irrev.ep.maxent import maxent_ep
from irrev.ep.records import couplings, maxent_row, trajectory
from irrev.ep.result import MaxEntEp
from irrev.ep.spike_files import save_spikes
from irrev.ep.streaming import Alone, stream_ep
from irrev.errors import InputError
from irrev.readers.selection import Selection, select_units
from storage.inputs import load_input, open_input
from storage.repository import StoreRef
from tasks.cluster import crew, on_worker
from tasks.pieces import Piece, run_pieces


def read_bins(
    ref: StoreRef, at: str, group: str, config: dict[str, Any]
) -> tuple[Selection, SpikeBins]:
    """Read a recording, select its units and bin it."""
    spans = np.asarray(config["selection"], dtype=np.float64)
    chosen = _selected(load_input(ref, group, at), config, spikes=True)
    return chosen, bin_spikes(chosen.dataset, bin_s=config["bin"], intervals=spans)


def _selected(recording: xr.Dataset, config: dict[str, Any], *, spikes: bool) -> Selection:
    """Apply the rules for units; activity counts over the recording or over the condition."""
    spans = np.asarray(config["selection"], dtype=np.float64)
    rules = dict(config["units"])
    within = spans if rules.pop("activity", "") == "condition" else None
    return select_units(recording, **rules, bin_s=config["bin"], within=within, spikes=spikes)


def measure_maxent(
    ref: StoreRef, at: str, group: str, config: dict[str, Any], seed: int, methods: bool = False
) -> dict[str, xr.Dataset]:
    """Infer the entropy production of one recording under one condition.

    Returns
    -------
        `row` (one shard of kind spikes/maxent without its identity), `couplings` and, on
        request, `trajectory`; with `methods` the `estimates` of that name, from the same fit.
    """
    start = time.perf_counter()
    chosen, bins = read_bins(ref, at, group, config)
    ep = maxent_ep(bins, **config["ep"], **statistics(config), seed=seed)
    table = {"estimates": estimates_table(of_methods(ep, bins))} if methods else {}
    return _results(ep, chosen, start) | table


def statistics(config: dict[str, Any]) -> dict[str, Any]:
    """Return the options of interval and null."""
    return {
        "level": config["interval"]["level"],
        "draws": config["interval"]["draws"],
        "null_draws": config["null"]["draws"],
    }


def _results(ep: MaxEntEp, chosen: Selection, start: float) -> dict[str, xr.Dataset]:
    row = maxent_row(ep, chosen.dataset).assign(
        units_removed=("shard", [json.dumps(chosen.removed)]),
        seconds=("shard", [time.perf_counter() - start]),
    )
    found = {"row": row, "couplings": couplings(ep, chosen.dataset)}
    return found if ep.trajectory is None else found | {"trajectory": trajectory(ep)}


def measure_further(
    ref: StoreRef, at: str, group: str, config: dict[str, Any], seed: int, name: str, device: str
) -> dict[str, xr.Dataset]:
    """Compute one further estimate (`irrev.ep.further`) of a recording.

    What a recording cannot answer (areas that it does not name) is a row with the reason: the
    other estimates stand.
    """
    chosen, bins = read_bins(ref, at, group, config)
    spans = np.asarray(config["selection"], dtype=np.float64)
    options = statistics(config) | {"seed": seed, "device": device}
    try:
        table = further_estimates(name, chosen.dataset, bins, spans, config, **options)
    except InputError as error:
        table = without_value(name, str(error), bins)
    return {"estimates": table}


def infer_maxent(
    name: str,
    ref: StoreRef,
    at: str,
    group: str,
    config: dict[str, Any],
    seed: int,
    timeout_s: float,
) -> dict[str, xr.Dataset]:
    """Infer the entropy production of one shard where work runs."""
    return on_worker(measure_maxent, (ref, at, group, config, seed), timeout_s=timeout_s)


def _shortness(piece: Piece) -> int:
    """Order pieces: whole estimates take longest, then folds; what is short fills the end."""
    return 1 if is_fold(piece.name) else 2 if piece.name.startswith("sweep") else 0


def infer_many(
    name: str,
    key: str,
    ref: StoreRef,
    at: str,
    group: str,
    config: dict[str, Any],
    seed: int,
    further: Sequence[str],
    streamed: bool,
    device: str,
    resources: dict[str, float] | None,
    timeout_s: float,
) -> dict[str, xr.Dataset]:
    """Infer one shard and its further estimates, each a piece; only the network asks for a GPU.

    `further` names the estimates, or folds of them (`irrev.ep.further.in_folds`). With `streamed`
    the main estimate goes chunk by chunk on all workers together.
    """
    place = (ref, at, group, config, seed)
    both = "methods" in further and not streamed  # of one fit
    main = "row with methods" if both else "row"
    pieces = [] if streamed else [Piece(main, measure_maxent, (*place, both))]
    for one in further:
        if one == "methods" and both:
            continue
        wants = resources if one == "neep" else None
        pieces.append(Piece(one, measure_further, (*place, one, device), wants))
    pieces.sort(key=_shortness)
    found = run_pieces(ref, key, pieces, timeout_s=timeout_s)
    row = stream_maxent(*place, timeout_s) if streamed else found.pop(main)
    if both:
        found["methods"] = {"estimates": row.pop("estimates")}
    tables = [found[one]["estimates"] for one in further]
    if not tables:
        return row
    options = {k: v for k, v in statistics(config).items() if k != "null_draws"}
    return row | {"estimates": joined_tables(tables, **options, seed=seed)}


# --- one recording over all workers ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BinnedInput:
    """A recording of the store as chunks; every machine bins it once into a folder of its own.

    Binning reads it a group of units at a time (`irrev.ep.spike_files`): in memory are about 300
    MB, whatever the length of the recording, as long as no unit has more than a million spikes.
    """

    ref: StoreRef
    at: str
    group: str
    config: str  # JSON

    @property
    def mapped(self) -> MappedBins:
        """The binned recording on this machine."""
        return _mapped(self)

    @property
    def folder(self) -> Path:
        """Where it lies: a temporary folder, the same for all processes of a machine."""
        return Path(tempfile.gettempdir()) / f"irrev-{sha256(repr(self).encode()).hexdigest()}"

    @property
    def n_units(self) -> int:
        """Number of units."""
        return self.mapped.n_units

    @property
    def bin_s(self) -> float:
        """Width of a bin, s."""
        return self.mapped.bin_s

    @property
    def segments(self) -> NDArray[np.int64]:
        """Half-open bin ranges without a gap."""
        return self.mapped.segments

    @property
    def lost(self) -> float:
        """Fraction of spikes lost to binarisation."""
        return self.mapped.lost

    def rows(self, first: int, last: int) -> Rows:
        """Return the active units of some bins."""
        return self.mapped.rows(first, last)


@lru_cache(maxsize=4)
def _mapped(recording: BinnedInput) -> MappedBins:
    """Bin the recording unless another process of this machine has done so."""
    target = recording.folder
    if not target.exists():
        place = (recording.ref, recording.at, recording.group)
        config = json.loads(recording.config)
        keep = label_units(*place, config).keep
        spans = np.asarray(config["selection"], dtype=np.float64)
        partial = tempfile.mkdtemp(prefix="irrev-", dir=target.parent)
        save_spikes(
            open_input(recording.ref, recording.group, recording.at),
            partial,
            bin_s=config["bin"],
            intervals=spans,
            keep=keep,
        )
        try:
            Path(partial).rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(partial)
    return MappedBins(str(target))


def forget_bins(recording: BinnedInput) -> None:
    """Remove the folder of this machine."""
    _mapped.cache_clear()
    shutil.rmtree(recording.folder, ignore_errors=True)


def label_units(ref: StoreRef, at: str, group: str, config: dict[str, Any]) -> Selection:
    """Select the units of a recording; give their labels, reading spikes group by group."""
    return _selected(open_input(ref, group, at), config, spikes=False)


def stream_maxent(
    ref: StoreRef, at: str, group: str, config: dict[str, Any], seed: int, timeout_s: float
) -> dict[str, xr.Dataset]:
    """Infer one long recording chunk by chunk on all workers together."""
    start = time.perf_counter()
    everyone = crew() or Alone()
    recording = BinnedInput(ref, at, group, json.dumps(config, sort_keys=True))
    labels = on_worker(label_units, (ref, at, group, config), timeout_s=timeout_s)
    names = ("folds", "n_blocks", "trajectory")
    options = {k: v for k, v in config["ep"].items() if k in names}
    try:
        ep = stream_ep(recording, **options, **statistics(config), seed=seed, crew=everyone)
    finally:
        everyone.each(forget_bins, [(recording,)] * everyone.size)
        forget_bins(recording)
    return _results(ep, labels, start)
