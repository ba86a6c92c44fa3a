"""What each flow is made of: its method, its results, and which parameters each step reads.

Nothing here starts Prefect, so that `plan` and a run with nothing to do stay quick. A new flow is
a row in `SPECS`, a block in `flows/blocks.py` and a file `flows/<name>.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from flows.blocks import (
    DiffusionBlock,
    ProtocolsBlock,
    SpikesBlock,
    SpinsBlock,
    StudyBlock,
    TimeseriesBlock,
    TrajectoriesBlock,
    TranscriptsBlock,
    TripletsBlock,
)
from flows.catalogue import stamp
from flows.corpus import fitted_topics
from flows.driven_tasks import DrivenTask
from flows.sources import (
    SamplesSource,
    SpikesSource,
    SpinsSource,
    TimeseriesSource,
    TrajectoriesSource,
    TranscriptsSource,
    TripletsSource,
)
from irrev.alignment.records import METHOD_VERSION as ETHICAL_ENTROPY_VERSION
from irrev.control.records import METHOD_VERSION as PROTOCOLS_VERSION
from irrev.diffusion import METHOD_VERSION as DIFFUSION_VERSION
from irrev.ep.currents import METHOD_VERSION as CURRENTS_VERSION
from irrev.ep.maxent import METHOD_VERSION
from irrev.ep.spin_study import METHOD_VERSION as SPINS_VERSION
from irrev.ep.subsets import METHOD_VERSION as STUDY_VERSION
from irrev.ep.witness_solve import METHOD_VERSION as WITNESS_VERSION
from irrev.errors import ConfigError
from irrev.readers import content_hash
from irrev.readers.transcripts import READER_VERSION as TRANSCRIPTS_VERSION
from irrev.semantic.records import METHOD_VERSION as FAITHFULNESS_VERSION
from storage.repository import Repository


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a result table at the command line."""

    title: str
    name: str  # variable of the result, or `low … high` for an interval
    form: str = "{}"


ROW_BYTES = 2e4  # a row of a result table with its identity and draws (measured)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one shard is expected to take."""

    seconds: float
    read_bytes: float
    peak_bytes: float  # memory of the worker
    written_bytes: float = ROW_BYTES
    gpu_seconds: float = 0.0  # part of `seconds` that is spent on a GPU, if there is one


@dataclass(frozen=True, slots=True)
class FlowSpec:
    """One flow: sources of `kinds` -> `method` -> results/<name>/<method>."""

    name: str
    method: str
    version: int  # raise it when the numbers of the method change
    read_config: Callable[[Any], dict[str, Any]]  # source -> what ingestion reads
    stage_config: Callable[[Any, Any], dict[str, Any]]  # block, source -> what measuring reads
    cost: Callable[[Mapping[str, float], Mapping[str, Any]], Cost]  # input size, stage config
    value: str  # the variable that two versions are compared by
    columns: tuple[Column, ...]
    extras: str = ""  # group below results/<name> with one Dataset a shard, for the report
    more: tuple[str, ...] = ()  # further such groups, `<group>\n<shard>` in the report
    # block, source -> condition -> its description, where conditions are parameters, not parts
    # of the data
    pieces: Callable[[Any, Any], dict[str, Any]] | None = None
    files: tuple[tuple[str, str], ...] = ()  # keys of the stage config that name files
    # store, source, stage config -> what the stage also reads from the store, e.g. a fitted model
    fitted: Callable[[Repository | None, str, dict[str, Any]], dict[str, Any]] | None = None

    def config_of(
        self, block: Any, source: Any, name: str, repo: Repository | None, folder: Path
    ) -> dict[str, Any]:
        """Return all that measuring a source reads: parameters, hashes of files, fitted models."""
        config = self.stage_config(block, source)
        hashes = {}
        for outer, inner in self.files:
            if path := (config[outer] or {}).get(inner):
                hashes[path] = _content(folder / path)
        if hashes:
            config["files"] = hashes
        if self.fitted is not None:
            config |= self.fitted(repo, name, config)
        return config

    @property
    def kind(self) -> str:
        """Return the schema kind of the results."""
        return f"{self.name}/{self.method}"

    @property
    def group(self) -> str:
        """Return the group of the results."""
        return f"results/{self.kind}"


def _content(path: Path) -> str:
    """Hash a file or folder, once a process until its stamp changes: models are gigabytes."""
    return _hashed(path, stamp(path)) if path.exists() else "missing"


@lru_cache
def _hashed(path: Path, stamped: str) -> str:
    return content_hash(path)


def _read_spikes(source: SpikesSource) -> dict[str, Any]:
    return {
        "kind": source.kind,
        "options": {
            "on_error": source.on_error,
            "time_unit": source.time_unit,
            "sample_rate": source.sample_rate,
            "recording": source.recording,
        },
        "split": source.conditions.model_dump(),
    }


def _units(source: SpikesSource, *, counted: bool) -> dict[str, Any]:
    """Return the rules that choose units; where activity is counted only if some rule counts."""
    rules = source.units.model_dump(exclude_none=True)
    if not counted and not rules.keys() & {"min_active", "most_active"}:
        rules.pop("activity")
    return rules


def _measure_spikes(block: SpikesBlock, source: SpikesSource) -> dict[str, Any]:
    further = block.further.model_dump()
    if not further["distances"]:  # younger than many results: these stay valid
        del further["distances"]
    return {
        "bin": block.bin,
        "ep": block.ep.model_dump(exclude={"method"}),
        "further": further,
        "stream": block.stream,
        "interval": block.interval.model_dump(),
        "null": block.null.model_dump(),
        "units": _units(source, counted=False),
    }


PAIR_S = 4e-9  # value and gradient of one pair of active cells, s (measured, one core)
PASSES = 14.0  # value and gradient over all data in one fit (measured)
LEVEL_FITS = 3.0  # estimates that a level of a nested family costs (measured, windows of two bins)
OVERHEAD_S = 1.5  # reading, binning, null and interval of a small recording, s


def _cost_spikes(size: Mapping[str, float], config: Mapping[str, Any]) -> Cost:
    """Estimate by spikes: work grows with the square of the active cells per bin."""
    fits = 1.0 + _further_fits(config.get("further"))
    seconds = sum(stop - start for start, stop in config["selection"])
    n_bins = max(seconds / config["bin"], 1.0)
    n_spikes = size["spike"] * min(seconds / max(size.get("observed_s", seconds), 1e-9), 1.0)
    pairs = n_spikes**2 / n_bins + size["unit"] ** 2
    folds = config["ep"]["folds"]
    theta_bytes = 8.0 * size["unit"] ** 2
    return Cost(
        seconds=fits * (OVERHEAD_S + PAIR_S * PASSES * folds * pairs),
        read_bytes=size["bytes"],
        peak_bytes=3 * size["bytes"] + 8 * n_bins * folds + 60 * theta_bytes,
        written_bytes=ROW_BYTES + 4 * theta_bytes,
    )


def _further_fits(further: Mapping[str, Any] | None) -> float:
    """Return how many estimates of the recording the further ones cost."""
    if further is None:
        return 0.0
    levels = len(further["orders"]) + further["memory"] + len(further.get("distances", ()))
    levels += 2 * further["areas"]
    single = len(further["sweep"]) + further["methods"] + further["areas"]
    return single + LEVEL_FITS * levels


def _measure_study(block: StudyBlock, source: SpikesSource) -> dict[str, Any]:
    return {
        "bin": block.bin,
        "sizes": block.sizes,
        "draws": block.subsets,
        "min_active": block.min_active,
        "ep": block.ep.model_dump(exclude={"method", "trajectory"}),
        "interval": block.interval.model_dump(),
        "null": block.null.model_dump(),
        "units": _units(source, counted=True),
    }


def _cost_study(size: Mapping[str, float], config: Mapping[str, Any]) -> Cost:
    """Estimate by the largest subsets, as if all units were alike."""
    whole = _cost_spikes(size, config)
    units = max(size["unit"], 1.0)
    parts = [(n / units) ** 2 for n in config["sizes"] if n <= units]
    seconds = config["draws"] * sum(OVERHEAD_S + (whole.seconds - OVERHEAD_S) * x for x in parts)
    return Cost(seconds, whole.read_bytes, whole.peak_bytes)


def _read_spins(source: SpinsSource) -> dict[str, Any]:
    return {"kind": source.kind, "options": {"on_error": source.on_error}, "split": {}}


def _measure_spins(block: SpinsBlock, source: SpinsSource) -> dict[str, Any]:
    return {
        "n_states": block.states,
        "n_chains": block.chains,
        "interval": block.interval.model_dump(),
        "null": block.null.model_dump(),
        **block.model_dump(include={"warm_up", "units", "batch", "folds", "n_blocks"}),
    }


def _spins_pieces(block: SpinsBlock, source: Any) -> dict[str, Any]:
    return {f"beta={beta:g}": {"beta": beta} for beta in block.betas}


FLIP_S = 2e-8  # one coupling of one flip in all fits, s (measured, one core)


def _cost_spins(size: Mapping[str, float], config: Mapping[str, Any]) -> Cost:
    """Estimate by flips, a sixth of all attempts, and couplings."""
    n = size["spin"]
    units = min(config["units"] or n, n)
    states = config["n_states"]
    return Cost(
        seconds=1.0 + FLIP_S * units * states * n * config["folds"],
        read_bytes=size["bytes"],
        peak_bytes=3e8 + 12.0 * states * n,
    )


def _read_timeseries(source: TimeseriesSource) -> dict[str, Any]:
    unsaid = set() if source.in_place else {"in_place"}
    options = source.model_dump(exclude={"kind", "uri", *unsaid}, exclude_none=True)
    return {"kind": source.kind, "options": options, "split": {}}


WHOLE_RECORD = {"detrend", "periods", "harmonics", "assumption"}  # options that need all of it


def _measure_timeseries(block: TimeseriesBlock, source: TimeseriesSource) -> dict[str, Any]:
    witness = block.witness
    if source.in_place:
        asked = witness.detrend or witness.periods or witness.assumption != "csm"
        if asked or block.null.method != "analytic":
            raise ConfigError(
                "flows.timeseries: detrend, periods, one_way_ou and surrogates need the whole "
                "record; drop them, or set in_place: false in its sources."
            )
        options = witness.model_dump(mode="python", exclude={"method", *WHOLE_RECORD})
        return {"witness": {**options, "level": block.interval.level, "fdr": block.fdr}}
    null = {"null": block.null.method, "draws": block.null.draws}
    return {
        "witness": {
            **witness.model_dump(mode="python", exclude={"method", "piece"}),
            **(null if block.null.method != "analytic" else {}),
            "level": block.interval.level,
            "fdr": block.fdr,
        }
    }


SAMPLE_S = 4e-8  # whitening, transform and phases of one sample, s (measured, one core)
PRODUCT_S = 2e-10  # one product of two channels at one sample, s (measured)
FIT_S = 3.0  # one-way fit of one pair, s (measured)
SURROGATE_S = 2e-8  # one random phase, s (measured)


def _cost_timeseries(size: Mapping[str, float], config: Mapping[str, Any]) -> Cost:
    """Estimate by samples: transforms grow with channels, products with their square."""
    n, channels = size["time"], size["channel"]
    pairs = channels * (channels - 1) / 2
    options = config["witness"]
    if "piece" in options:  # read piece by piece, products in tiles of channels
        part = min(n, options["piece"]) * channels
        return Cost(
            seconds=2.0 + channels * n * 3 * SAMPLE_S + channels**2 * n * PRODUCT_S,
            read_bytes=size["bytes"],
            peak_bytes=3e8 + 16 * part,
        )
    seconds = 0.5 + channels * n * SAMPLE_S + channels**2 * n * PRODUCT_S
    if options["assumption"] == "one_way_ou":
        seconds += FIT_S * pairs
    if "null" in options:
        seconds += pairs * options["draws"] * n / 2 * SURROGATE_S
    return Cost(
        seconds=seconds,
        read_bytes=size["bytes"],
        peak_bytes=size["bytes"] + 12 * n * channels + 64 * channels**2 * 2 * options["n_bands"],
        written_bytes=ROW_BYTES + 8 * pairs * (options["n_bands"] + 40),  # coherence, statistics
    )


def _read_trajectories(source: TrajectoriesSource) -> dict[str, Any]:
    options = source.model_dump(exclude={"kind", "uri"}, exclude_none=True)
    return {"kind": source.kind, "options": options, "split": {}}


def _measure_trajectories(block: TrajectoriesBlock, source: TrajectoriesSource) -> dict[str, Any]:
    unread = {"method"} if block.ep.features == "network" else {"method", "network"}
    return {
        "ep": {
            **block.ep.model_dump(exclude=unread),
            "level": block.interval.level,
            "draws": block.interval.draws,
            "null_draws": block.null.draws,
        }
    }


STEP_S = 3e-5  # one step of a film, raw and corrected, plane, s (measured, busy core)


def _cost_trajectories(size: Mapping[str, float], config: Mapping[str, Any]) -> Cost:
    """Estimate by points: currents are summed a few times, whatever the number of tracks."""
    seconds = 1.0 + STEP_S * size["point"]
    return Cost(
        seconds=seconds,
        read_bytes=size["bytes"],
        peak_bytes=4 * size["bytes"] + 3e8,
        gpu_seconds=seconds if config["ep"]["features"] == "network" else 0.0,
    )


def _read_transcripts(source: TranscriptsSource) -> dict[str, Any]:
    names = ("format", "fields", "model", "variants", "stresses", "store_text", "on_error")
    options = {name: getattr(source, name) for name in names}
    # a classifier does not look at labels
    options["labels"] = {} if source.classifier else source.labels
    return {
        "kind": source.kind,
        "options": options,
        "split": {},
        "reader_version": TRANSCRIPTS_VERSION,
    }


def _measure_transcripts(block: TranscriptsBlock, source: TranscriptsSource) -> dict[str, Any]:
    return {
        "taxonomy": block.taxonomy.model_dump(),
        "watch": {**block.watch.model_dump(), "level": block.interval.level, "fdr": block.fdr},
        "correct": block.correct,
        "labels": source.labels,
        "classifier": source.classifier.model_dump() if source.classifier else None,
        "reading": _read_transcripts(source)["options"],
        "keep_vectors": source.store_vectors,
    }


STREAM_S = 2.0  # one stream: simulating the CUSUM's threshold dominates (measured, one core)


def _cost_transcripts(size: Mapping[str, float], config: Mapping[str, Any]) -> Cost:
    """Estimate by streams and, with a classifier, by answers to encode."""
    encoding = 0.03 * size.get("answer", 0.0) if config["classifier"] else 0.0
    return Cost(STREAM_S + encoding, size["bytes"], 3 * size["bytes"])


def _read_triplets(source: TripletsSource) -> dict[str, Any]:
    names = ("fields", "store_text", "on_error")
    options = {name: getattr(source, name) for name in names} | {"items": source.filing_items}
    return {"kind": source.kind, "options": options, "split": {}}


def _measure_triplets(block: TripletsBlock, source: TripletsSource) -> dict[str, Any]:
    method = block.faithfulness
    return {
        "reading": {"fields": source.fields, "items": source.filing_items},
        "encoder": method.encoder,
        "topics": method.topics.model_dump(),
        "scoring": {
            **method.model_dump(include={"assignment", "alpha", "eps"}),
            "draws": block.interval.draws,
            "permutations": block.null.draws,
        },
        "interval": block.interval.model_dump(),
        "fdr": block.fdr,
        "supported": source.supported,
        "unsupported": source.unsupported,
        "keep_vectors": source.store_vectors,
    }


ANSWER_S = 0.4  # one answer with its context, s (measured, one core: 0.07 short, 0.4 long texts)
ENCODER_S, ENCODER_BYTES = 10.0, 1.2e9  # loading MiniLM (measured)
SENTENCES, VECTOR_BYTES = 20.0, 1536.0  # of one answer with its context; 384 numbers each


def _cost_triplets(size: Mapping[str, float], config: Mapping[str, Any]) -> Cost:
    """Estimate by answers; contexts that repeat are embedded once, which is not known yet."""
    small = config["encoder"] == "hashing"
    seconds = (0.05 if small else ANSWER_S) * size["triplet"] + (0.0 if small else ENCODER_S)
    vectors = SENTENCES * VECTOR_BYTES * size["triplet"] if config["keep_vectors"] else 0.0
    return Cost(
        seconds=seconds,
        read_bytes=size["bytes"],
        peak_bytes=3 * size["bytes"] + (0.0 if small else ENCODER_BYTES),
        written_bytes=ROW_BYTES + 200 * size["triplet"] + vectors,
        gpu_seconds=0.0 if small else seconds,
    )


def _read_samples(source: SamplesSource) -> dict[str, Any]:
    options = source.model_dump(include={"array", "labels", "value_range", "image_size"})
    return {
        "kind": source.kind,
        "options": {"on_error": source.on_error, **options},
        "split": {},
    }


def _measure_diffusion(block: DiffusionBlock, source: SamplesSource | None) -> dict[str, Any]:
    return {
        "model": block.model.model_dump(),
        "levels": block.levels.model_dump(),
        "interval": block.interval.model_dump(),
        **block.model_dump(
            include={
                "partitions", "classes", "against", "schedules", "n_paths", "batch",
                "trace_states",
            }
        ),
    }  # fmt: skip


def _diffusion_pieces(block: DiffusionBlock, source: SamplesSource | None) -> dict[str, Any]:
    """Name the paths to follow: noised data or stored paths, then one guidance weight each.

    Pieces of one seed share their noise, so that differences between weights are paired.
    """
    out = {}
    for seed in block.seeds:
        tag, stream = f" seed={seed}" if seed else "", {"stream": f"seed {seed}"}
        if block.sources and block.against == "classes":
            out[f"data{tag}"] = {"states": "data", "guidance": 1.0, **stream}
        for w in block.guidance:
            out[f"w={w:g}{tag}"] = {"states": "generate", "guidance": w, **stream}
    return out


STATE_S = 2.5e-6  # one state of the digit model, s (measured, one core)
TRACE_S = 1.5e-3  # divergence, eigenvalue and instability of one state at one level, s (measured)
ROWS_STATE_S = 2.3e-11  # the same of the empirical model, for each number that it learns from
ROWS_TRACE_S = 3e-7
START_S = 6.0  # importing torch and reading
HELD_BYTES = 2.0**26  # of the samples, which lie in parts: two of them, and a batch


def _cost_diffusion(size: Mapping[str, float], config: Mapping[str, Any]) -> Cost:
    """Estimate by states evaluated, (classes + 1) x levels x paths, at the digit model's speed.

    The empirical model's speed goes with its rows.
    """
    paths = config["n_paths"] or size.get("sample", 300)
    asked = len(config["classes"]) or 10
    conditions = 2 * asked if config["against"] == "unconditional" else asked + 1
    states = conditions * config["levels"]["n"] * paths
    traced = config["trace_states"] * config["levels"]["n"]
    data = config["selection"]["states"] == "data"
    state_s, trace_s = STATE_S, TRACE_S
    if config["model"]["kind"] == "empirical":  # its rows are its weights
        numbers = size.get("bytes", 0.0) / 4 * config["model"]["reference_share"]
        state_s, trace_s = state_s + ROWS_STATE_S * numbers, trace_s + ROWS_TRACE_S * numbers
    seconds = START_S + state_s * states + (trace_s * traced if data else 0.0)
    learns = config["model"]["kind"] == "empirical" and not config["model"]["reference_rows"]
    held = min(size.get("bytes", 0.0), float("inf") if learns else HELD_BYTES)
    return Cost(
        seconds=seconds,
        read_bytes=size.get("bytes", 0.0),
        peak_bytes=3e8 + 3 * held,
        written_bytes=ROW_BYTES + 400 * config["levels"]["n"] * (2 + len(config["partitions"])),
        gpu_seconds=seconds,
    )


def _read_nothing(source: DrivenTask) -> dict[str, Any]:
    return {}


def _measure_protocols(block: ProtocolsBlock, source: DrivenTask) -> dict[str, Any]:
    return {
        "task": source.definition(),
        **block.model_dump(include={"n_intervals", "dt"}),
        **block.learning.model_dump(),
        "level": block.interval.level,
    }


def _protocol_points(block: ProtocolsBlock, source: DrivenTask) -> dict[str, Any]:
    """Name the points of the sweep; without an error there is nothing to weigh."""
    weights = block.error_weights if source.has_error else [0.0]
    return {
        f"duration={duration:g}" + (f" weight={weight:g}" if source.has_error else ""): {
            "duration": duration,
            "error_weight": weight,
        }
        for duration in block.durations
        for weight in weights
    }


PATH_STEP_S = 9e-8  # one trajectory and step of a gradient, s (measured, one busy core)
EVALUATION_STEP_S = 4e-8  # one trajectory and step of the price, twice: learned and guess


def _cost_protocols(size: Mapping[str, float], config: Mapping[str, Any]) -> Cost:
    """Estimate by trajectories and steps; memory holds weights of one block a control value."""
    values = config["n_intervals"]
    duration = (config.get("selection") or {"duration": 1.0})["duration"]
    steps = max(values, duration / config["dt"])
    learning = PATH_STEP_S * config["n_iterations"] * config["n_trajectories"]
    pricing = 2 * EVALUATION_STEP_S * config["n_evaluation"]
    block = min(config["n_trajectories"], 4096)
    return Cost((learning + pricing) * steps, 0.0, 3e8 + 64.0 * values * block)


SPECS: dict[str, FlowSpec] = {
    "diffusion": FlowSpec(
        name="diffusion",
        method="class_entropy",
        version=DIFFUSION_VERSION,
        read_config=_read_samples,
        stage_config=_measure_diffusion,
        cost=_cost_diffusion,
        value="sigma_decision",
        columns=(
            Column("states", "states"),
            Column("guidance", "guidance", "{:g}"),
            Column("paths", "n_paths", "{:,}"),
            Column("decided at noise", "sigma_decision", "{:.3g}"),
            Column("interval", "sigma_decision_low … sigma_decision_high", "{:.3g}"),
        ),
        extras="profile",
        pieces=_diffusion_pieces,
        files=(("model", "path"), ("model", "reference"), ("model", "reference_rows")),
    ),
    "protocols": FlowSpec(
        name="protocols",
        method="response",
        version=PROTOCOLS_VERSION,
        read_config=_read_nothing,
        stage_config=_measure_protocols,
        cost=_cost_protocols,
        value="work",
        columns=(
            Column("work", "work", "{:.4g}"),
            Column("interval", "work_low … work_high", "{:.4g}"),
            Column("error", "task_error", "{:.3g}"),
            Column("bound", "bound", "{:.4g}"),
            Column("guess", "guess_work", "{:.4g}"),
            Column("price", "outcome"),
        ),
        extras="curves",
        pieces=_protocol_points,
    ),
    "spikes": FlowSpec(
        name="spikes",
        method="maxent",
        version=METHOD_VERSION,
        read_config=_read_spikes,
        stage_config=_measure_spikes,
        cost=_cost_spikes,
        value="ep_rate",
        columns=(
            Column("units", "n_units"),
            Column("bins", "n_steps", "{:,}"),
            Column("EP bound", "ep_rate", "{:.3g} nat/s"),
            Column("interval", "ep_rate_low … ep_rate_high", "{:.3g}"),
            Column("p", "p", "{:.3g}"),
        ),
        extras="couplings",
        more=("estimates", "trajectory"),
    ),
    "study": FlowSpec(
        name="study",
        method="subsets",
        version=STUDY_VERSION,
        read_config=_read_spikes,
        stage_config=_measure_study,
        cost=_cost_study,
        value="ep_per_spike",
        columns=(
            Column("active units", "n_candidates"),
            Column("bins", "n_steps", "{:,}"),
            Column("subsets", "n_subsets", "{:,}"),
            Column("largest", "size"),
            Column("EP bound", "ep_per_spike", "{:.3g} nat/spike"),
            Column("one sd of draws", "ep_per_spike_low … ep_per_spike_high", "{:.3g}"),
            Column("p", "p", "{:.3g}"),
        ),
    ),
    "spins": FlowSpec(
        name="spins",
        method="multipartite",
        version=SPINS_VERSION,
        read_config=_read_spins,
        stage_config=_measure_spins,
        cost=_cost_spins,
        value="ep_per_attempt",
        columns=(
            Column("spins", "n_spins", "{:,}"),
            Column("states", "n_states", "{:,}"),
            Column("beta", "beta", "{:g}"),
            Column("exact", "ep_true", "{:.4f}"),
            Column("EP bound", "ep_per_attempt", "{:.4f} nat"),
            Column("interval", "ep_per_attempt_low … ep_per_attempt_high", "{:.4f}"),
            Column("R2", "r_squared", "{:.3f}"),
        ),
        extras="couplings",
        pieces=_spins_pieces,
    ),
    "transcripts": FlowSpec(
        name="transcripts",
        method="ethical_entropy",
        version=ETHICAL_ENTROPY_VERSION,
        read_config=_read_transcripts,
        stage_config=_measure_transcripts,
        cost=_cost_transcripts,
        value="entropy",
        columns=(
            Column("answers", "n_classified", "{:,}"),
            Column("S", "entropy", "{:.3f} nat"),
            Column("interval", "entropy_low … entropy_high", "{:.3f}"),
            Column("intended", "p_intended", "{:.1%}"),
            Column("ln E", "log_e", "{:.1f}"),
            Column("drift", "outcome"),
        ),
        extras="series",
        files=(("classifier", "path"),),
    ),
    "timeseries": FlowSpec(
        name="timeseries",
        method="witness",
        version=WITNESS_VERSION,
        read_config=_read_timeseries,
        stage_config=_measure_timeseries,
        cost=_cost_timeseries,
        value="sigma_rate",
        columns=(
            Column("channels", "n_channels"),
            Column("pairs", "n_pairs", "{:,}"),
            Column("driven", "n_dependent", "{:,}"),
            Column("irreversible", "n_irreversible", "{:,}"),
            Column("sigma", "sigma_rate", "{:.3g} nat/s"),
            Column("interval", "sigma_rate_low … sigma_rate_high", "{:.3g}"),
            Column("p", "p", "{:.3g}"),
        ),
        extras="pairs",
    ),
    "trajectories": FlowSpec(
        name="trajectories",
        method="currents",
        version=CURRENTS_VERSION,
        read_config=_read_trajectories,
        stage_config=_measure_trajectories,
        cost=_cost_trajectories,
        value="ep_rate",
        columns=(
            Column("tracks", "n_trajectories", "{:,}"),
            Column("steps", "n_steps", "{:,}"),
            Column("EP", "ep_rate", "{:.3g} nat/s"),
            Column("interval", "ep_rate_low … ep_rate_high", "{:.3g}"),
            Column("certified", "ep_certified", "{:.3g}"),
            Column("p", "p", "{:.3g}"),
        ),
    ),
    "triplets": FlowSpec(
        name="triplets",
        method="faithfulness",
        version=FAITHFULNESS_VERSION,
        read_config=_read_triplets,
        stage_config=_measure_triplets,
        cost=_cost_triplets,
        value="sf_smooth",
        columns=(
            Column("answers", "n_triplets", "{:,}"),
            Column("scored", "n_scored", "{:,}"),
            Column("SF", "sf_smooth", "{:.3f}"),
            Column("interval", "sf_smooth_low … sf_smooth_high", "{:.3f}"),
            Column("kept", "kept_mass", "{:.2f}"),
            Column("EP", "sep_total", "{:.3f} nat"),
            Column("lexical support", "support_lex", "{:.2f}"),
            Column("off question", "n_departed", "{:,}"),
        ),
        extras="answers",
        files=(("topics", "model"),),
        fitted=fitted_topics,
    ),
}
