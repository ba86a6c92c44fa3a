"""Names, dimensions, units and meaning of every variable that irrev reads, returns or stores.

Readers promise these names, estimators require them, the store refuses others, the report takes
its labels and units from them. A kind is one Dataset layout;
`validate` checks a Dataset against it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from irrev.errors import InputError

DType = Literal["float", "int", "bool", "text"]
NUMPY_KINDS: dict[DType, str] = {"float": "f", "int": "iu", "bool": "b", "text": "OUT"}


@dataclass(frozen=True, slots=True)
class Variable:
    """One named array of a Dataset."""

    name: str
    dims: tuple[str, ...]
    dtype: DType
    units: str  # UDUNITS style; "1" for pure numbers, "" for text
    long_name: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Kind:
    """One Dataset layout: its variables, and the dimensions that accept columns of any name."""

    name: str
    variables: tuple[Variable, ...]
    open_dims: frozenset[str] = frozenset()  # e.g. any quality column along `unit`


KINDS: dict[str, Kind] = {}


def register(name: str, variables: Iterable[Variable], *, open_dims: Iterable[str] = ()) -> None:
    """Add a kind; called once a kind, in this module only."""
    KINDS[name] = Kind(name, tuple(variables), frozenset(open_dims))


def blank(kind: str, dim: str) -> xr.Dataset:
    """Return one row along `dim` without values: NaN, 0, false, empty text; for failures.

    Parameters
    ----------
    kind
        A key of `KINDS`.
    dim
        Dimension of length 1; all others have length 0.
    """
    fills = {"float": np.nan, "int": 0, "bool": False, "text": ""}
    types = {"float": np.float64, "int": np.int64, "bool": np.bool_, "text": object}
    variables = {}
    for v in KINDS[kind].variables:
        if v.required and dim in v.dims:
            shape = tuple(int(d == dim) for d in v.dims)
            variables[v.name] = (v.dims, np.full(shape, fills[v.dtype], dtype=types[v.dtype]))
    return xr.Dataset(variables)


def validate(ds: xr.Dataset, kind: str, *, partial: bool = False) -> xr.Dataset:
    """Check a Dataset against its kind and complete units and long names.

    Parameters
    ----------
    ds
        Dataset to check; coordinates and data variables are treated alike.
    kind
        A key of `KINDS`.
    partial
        It is some of the kind's variables only: required ones may be missing.

    Returns
    -------
        The same data with `units` and `long_name` on every known variable.

    Raises
    ------
    InputError
        If a required variable is missing, a dimension or type differs, or a name is unknown.
    """
    spec = KINDS[kind]
    known = {v.name: v for v in spec.variables}
    missing = [v.name for v in spec.variables if v.required and v.name not in ds.variables]
    if missing and not partial:
        raise InputError(f"{kind}: {', '.join(missing)} missing; see irrev.schema.KINDS.")
    out = ds.copy()
    for name in map(str, ds.variables):
        array = ds[name]
        variable = known.get(name)
        if variable is None:
            if array.dims and set(map(str, array.dims)) <= spec.open_dims:
                continue
            raise InputError(f"{kind}: {name} is not a variable of this kind; add it to schema.")
        if tuple(map(str, array.dims)) != variable.dims:
            raise InputError(
                f"{kind}: {name} has dims {array.dims}, expected {variable.dims}; transpose it."
            )
        if np.dtype(array.dtype).kind not in NUMPY_KINDS[variable.dtype]:
            raise InputError(
                f"{kind}: {name} has type {array.dtype}, expected {variable.dtype}; convert it."
            )
        attrs = {"long_name": variable.long_name}
        if variable.units:
            attrs["units"] = variable.units
        out[name].attrs = {**array.attrs, **attrs}
    return out


# --- inputs ----------------------------------------------------------------------------------

register(
    "spikes",
    [
        Variable("spike_times", ("spike",), "float", "s", "spike times, unit after unit"),
        Variable("spike_times_index", ("unit",), "int", "1", "end offset of each unit's spikes"),
        Variable("unit", ("unit",), "text", "", "unit identifier"),
        Variable("area", ("unit",), "text", "", "brain area of the unit", required=False),
        Variable("x_um", ("unit",), "float", "um", "position of the unit", required=False),
        Variable("y_um", ("unit",), "float", "um", "position of the unit", required=False),
        Variable("interval_start", ("interval",), "float", "s", "start of a labelled interval"),
        Variable("interval_stop", ("interval",), "float", "s", "end of a labelled interval"),
        Variable("interval_table", ("interval",), "text", "", "table the interval comes from"),
        Variable("interval_label", ("interval",), "text", "", "tag, trial type or stimulus name"),
        Variable("observed_start", ("observed",), "float", "s", "start of a recorded span"),
        Variable("observed_stop", ("observed",), "float", "s", "end of a recorded span"),
        Variable("check", ("check",), "text", "", "name of a data check that found something"),
        Variable("check_count", ("check",), "int", "1", "number of items concerned"),
        Variable("check_action", ("check",), "text", "", "what was done: kept, repaired, removed"),
        Variable("check_detail", ("check",), "text", "", "what was found, with values"),
    ],
    open_dims=("unit", "interval"),
)

# --- transcripts and alignment -------------------------------------------------------------------

register(
    "transcripts",
    [
        Variable("transcript_id", ("answer",), "text", "", "conversation of the turn"),
        Variable("model", ("answer",), "text", "", "model that answered"),
        Variable("variant", ("answer",), "text", "", "base, tuned, ... from the configuration"),
        Variable("stress", ("answer",), "text", "", "condition the model is put under"),
        Variable("t", ("answer",), "float", "s", "time since 1970-01-01 UTC"),
        Variable("t_source", ("answer",), "text", "", "field that the time comes from"),
        Variable("turn", ("answer",), "int", "1", "assistant's turn within the conversation"),
        Variable("question_hash", ("answer",), "text", "", "SHA-256 of the user's text"),
        Variable("answer_hash", ("answer",), "text", "", "SHA-256 of the assistant's text"),
        Variable("answer_bytes", ("answer",), "int", "1", "bytes of the assistant's text"),
        Variable("n_tool_calls", ("answer",), "int", "1", "tools called in the turn"),
        Variable("reported_label", ("answer",), "text", "", "label in the source"),
        Variable("group_hash", ("answer",), "text", "", "SHA-256 of prompt or objective"),
        Variable("line", ("answer",), "int", "1", "record of the file, from 1"),
        Variable("bad_line", ("bad",), "int", "1", "record without a turn, from 1"),
        Variable("bad_reason", ("bad",), "text", "", "why it gives no turn"),
        Variable("bad_hash", ("bad",), "text", "", "SHA-256 of the record"),
        Variable("check", ("check",), "text", "", "name of a data check that found something"),
        Variable("check_count", ("check",), "int", "1", "number of items concerned"),
        Variable("check_action", ("check",), "text", "", "what was done: kept or quarantined"),
        Variable("check_detail", ("check",), "text", "", "what was found, with records"),
        Variable("question_text", ("answer",), "text", "", "user's text", required=False),
        Variable("answer_text", ("answer",), "text", "", "assistant's text", required=False),
    ],
)

# --- bookkeeping of the store ------------------------------------------------------------------

register(
    "catalogue",
    [
        Variable("item", ("item",), "text", "", "item of a source"),
        Variable("source", ("item",), "text", "", "source of pipeline.yaml"),
        Variable("uri", ("item",), "text", "", "where it was read"),
        Variable("stamp", ("item",), "text", "", "sizes and modification times when read"),
        Variable("sha256", ("item",), "text", "", "SHA-256 of the content"),
        Variable("read_hash", ("item",), "text", "", "hash of the reader's parameters"),
        Variable("group", ("item",), "text", "", "group that holds the data"),
        Variable("selections", ("item",), "text", "", "conditions and their parts, JSON"),
        Variable("size", ("item",), "text", "", "what costs depend on, JSON"),
        Variable("checks", ("item",), "text", "", "what the data checks found, JSON"),
        Variable("error", ("item",), "text", "", "why it is in quarantine, empty if it is not"),
    ],
)

register(
    "quarantine",
    [
        Variable("item", ("entry",), "text", "", "item or shard"),
        Variable("reason", ("entry",), "text", "", "what is wrong and how to mend it"),
        Variable("when", ("entry",), "text", "", "time of the run, UTC"),
        Variable("run", ("entry",), "text", "", "run that found it"),
    ],
)

register(
    "run",
    [
        Variable("shard", ("shard",), "text", "", "shard computed in this run"),
        Variable("seconds", ("shard",), "float", "s", "computing time"),
        Variable("reason", ("shard",), "text", "", "why it ran"),
        Variable("status", ("shard",), "text", "", "done, failed or quarantined", required=False),
        Variable("error", ("shard",), "text", "", "what went wrong", required=False),
    ],
)

register(
    "comparison",
    [
        Variable("shard", ("shard",), "text", "", "source:condition"),
        Variable("change", ("shard",), "text", "", "what became of the result"),
        *(
            Variable(f"{when}{end}", ("shard",), "float", "", f"{words}{what}")
            for when, words in (("old", "value in the release"), ("new", "value now"))
            for end, what in (("", ""), ("_low", ", lower end"), ("_high", ", upper end"))
        ),
    ],
)

# --- results of entropy-production inference ----------------------------------------------------
# One Dataset per flow and method, one row per shard (source x condition).


def _estimate(name: str, units: str, long_name: str) -> list[Variable]:
    """Name a value with its interval."""
    return [
        Variable(name, ("shard",), "float", units, long_name),
        Variable(f"{name}_low", ("shard",), "float", units, f"{long_name}, lower end"),
        Variable(f"{name}_high", ("shard",), "float", units, f"{long_name}, upper end"),
    ]


def _over_subsets(name: str, units: str, long_name: str) -> list[Variable]:
    """Name a value of subsets with its interval."""
    dims = ("shard", "subset")
    ends = {"": "", "_low": ", lower end", "_high": ", upper end"}
    return [Variable(f"{name}{e}", dims, "float", units, long_name + t) for e, t in ends.items()]


SHARD = [
    Variable("shard", ("shard",), "text", "", "source:condition"),
    Variable("source", ("shard",), "text", "", "source of pipeline.yaml"),
    Variable("condition", ("shard",), "text", "", "condition within the source"),
    Variable("status", ("shard",), "text", "", "done, failed (tried again) or quarantined"),
    Variable("error", ("shard",), "text", "", "what went wrong, empty if nothing"),
    Variable("input_hash", ("shard",), "text", "", "SHA-256 of the input file"),
    Variable(
        "config_hash", ("shard",), "text", "", "hash of the parameters that this stage reads"
    ),
    Variable("config", ("shard",), "text", "", "these parameters as JSON"),
    Variable("method_version", ("shard",), "int", "1", "version of the method"),
    Variable("seed", ("shard",), "int", "1", "seed of the shard"),
    Variable("seconds", ("shard",), "float", "s", "computing time"),
]

TEST = [
    Variable("p", ("shard",), "float", "1", "p-value against the null"),
    Variable("q", ("shard",), "float", "1", "Benjamini-Hochberg adjusted p-value over the run"),
    Variable("significant", ("shard",), "bool", "1", "q below the level of the run"),
]

register(
    "spikes/maxent",
    [
        *SHARD,
        *_estimate("ep_per_step", "nat", "held-out entropy-production bound per bin"),
        *_estimate("ep_rate", "nat s-1", "held-out entropy-production bound per second"),
        *_estimate("ep_per_spike", "nat", "held-out entropy-production bound per spike"),
        Variable("ep_certified", ("shard",), "float", "nat", "bound unbiased at any sample size"),
        Variable("ep_train", ("shard",), "float", "nat", "value on the training part"),
        Variable("ep_newton1", ("shard",), "float", "nat", "held-out one-step Newton value"),
        Variable("ep_tur", ("shard",), "float", "nat", "held-out uncertainty-relation bound"),
        *TEST,
        Variable("ess", ("shard",), "float", "1", "effective sample size of the reverse average"),
        Variable("saturated", ("shard",), "bool", "1", "value at the finite-sample cap ln T"),
        Variable("n_units", ("shard",), "int", "1", "units used"),
        Variable("units_removed", ("shard",), "text", "", "units removed by each rule, JSON"),
        Variable("n_steps", ("shard",), "int", "1", "transitions used"),
        Variable("n_spikes", ("shard",), "int", "1", "active cells used"),
        Variable("bin_s", ("shard",), "float", "s", "bin width"),
        Variable("lost", ("shard",), "float", "1", "fraction of spikes lost to binarisation"),
        Variable("drift", ("shard",), "float", "1", "relative rate change, first to last third"),
        Variable("solver", ("shard",), "text", "", "optimiser used"),
        Variable("coding", ("shard",), "text", "", "coding of the states"),
        Variable("notes", ("shard",), "text", "", "reasons to trust the value less"),
        Variable("fold_value", ("shard", "fold"), "float", "nat", "held-out value of each fold"),
        Variable(
            "fold_limit", ("shard", "fold"), "float", "nat", "limit on |theta . g| of a sample"
        ),
        Variable("statistic", ("shard",), "float", "nat", "quadratic EP that the test compares"),
        Variable("null_value", ("shard", "draw"), "float", "nat", "it, under random directions"),
        Variable(
            "curve_train", ("shard", "iteration"), "float", "nat", "training value, first fold"
        ),
        Variable(
            "curve_validation",
            ("shard", "iteration"),
            "float",
            "nat",
            "validation value, first fold",
        ),
        Variable("pair_from", ("shard", "rank"), "text", "", "earlier unit of a strong pair"),
        Variable("pair_to", ("shard", "rank"), "text", "", "later unit of a strong pair"),
        Variable("pair_from_area", ("shard", "rank"), "text", "", "area of the earlier unit"),
        Variable("pair_to_area", ("shard", "rank"), "text", "", "area of the later unit"),
        Variable("pair_theta", ("shard", "rank"), "float", "1", "coupling, mean over folds"),
        Variable(
            "pair_share", ("shard", "rank"), "float", "nat", "coupling times mean observable"
        ),
    ],
)

register(
    "spikes/couplings",
    [
        Variable("unit_to", ("unit_to",), "text", "", "later unit"),
        Variable("unit_from", ("unit_from",), "text", "", "earlier unit"),
        Variable("area_to", ("unit_to",), "text", "", "area of the later unit"),
        Variable("area_from", ("unit_from",), "text", "", "area of the earlier unit"),
        Variable("theta", ("unit_to", "unit_from"), "float", "1", "antisymmetric coupling"),
        Variable("share", ("unit_to", "unit_from"), "float", "nat", "coupling x mean observable"),
    ],
)

register(
    "spikes/estimates",
    [
        Variable("family", ("estimate",), "text", "", "question: sweep, orders, memory, ..."),
        Variable("label", ("estimate",), "text", "", "bin width, level, areas or method"),
        Variable("bin_s", ("estimate",), "float", "s", "bin width"),
        Variable("spikes_per_step", ("estimate",), "float", "1", "mean active units a bin"),
        Variable("ep_per_step", ("estimate",), "float", "nat", "bound per bin"),
        Variable("ep_per_step_low", ("estimate",), "float", "nat", "lower end of the interval"),
        Variable("ep_per_step_high", ("estimate",), "float", "nat", "upper end of the interval"),
        Variable("ep_rate", ("estimate",), "float", "nat s-1", "bound per second"),
        Variable("ep_rate_low", ("estimate",), "float", "nat s-1", "lower end of the interval"),
        Variable("ep_rate_high", ("estimate",), "float", "nat s-1", "upper end of the interval"),
        Variable("ep_per_spike", ("estimate",), "float", "nat", "bound per spike"),
        Variable("ep_per_spike_low", ("estimate",), "float", "nat", "lower end of the interval"),
        Variable("ep_per_spike_high", ("estimate",), "float", "nat", "upper end of the interval"),
        Variable("p", ("estimate",), "float", "1", "against blocks read backwards, NaN: untested"),
        Variable("added", ("estimate",), "float", "nat", "per bin, to the level before"),
        Variable("added_low", ("estimate",), "float", "nat", "lower end of the interval"),
        Variable("added_high", ("estimate",), "float", "nat", "upper end of the interval"),
        Variable("n_observables", ("estimate",), "int", "1", "observables fitted"),
        Variable("held_out", ("estimate",), "bool", "1", "false: biased upwards"),
        Variable("note", ("estimate",), "text", "", "why there is no value"),
    ],
)

register(
    "spikes/trajectory",
    [
        Variable("step", ("step",), "int", "1", "first bin of the sample"),
        Variable("ep", ("step",), "float", "nat", "held-out estimate of the sample"),
        Variable("bin_s", (), "float", "s", "bin width"),
    ],
    open_dims=("step",),
)

register(
    "study/subsets",
    [
        *SHARD,
        *_estimate("ep_per_spike", "nat", "bound per spike, mean of the largest subsets"),
        Variable("ep_rate", ("shard",), "float", "nat s-1", "mean of the largest subsets"),
        *TEST,
        Variable("size", ("shard",), "int", "1", "units of the largest subsets"),
        Variable("n_subsets", ("shard",), "int", "1", "subsets measured"),
        Variable("n_candidates", ("shard",), "int", "1", "units active enough"),
        Variable("n_units", ("shard",), "int", "1", "units selected"),
        Variable("n_steps", ("shard",), "int", "1", "transitions of the recording"),
        Variable("bin_s", ("shard",), "float", "s", "bin width"),
        Variable("lost", ("shard",), "float", "1", "fraction of spikes lost to binarisation"),
        Variable("subset_size", ("shard", "subset"), "int", "1", "units of the subset; 0: none"),
        Variable("subset_draw", ("shard", "subset"), "int", "1", "number of the draw"),
        *_over_subsets("subset_ep_per_step", "nat", "held-out bound per bin"),
        *_over_subsets("subset_ep_per_spike", "nat", "held-out bound per spike"),
        Variable("subset_spikes_per_step", ("shard", "subset"), "float", "1", "spikes a bin"),
        Variable("subset_p", ("shard", "subset"), "float", "1", "p-value of the subset"),
        Variable("subset_ess", ("shard", "subset"), "float", "1", "effective sample size"),
    ],
)

# --- spin models ---------------------------------------------------------------------------------

register(
    "spins",
    [
        Variable("coupling", ("spin", "driver"), "float", "1", "J, row driven by column"),
        Variable("field", ("spin",), "float", "1", "field of each spin"),
    ],
)

register(
    "spins/multipartite",
    [
        *SHARD,
        Variable("beta", ("shard",), "float", "1", "inverse temperature"),
        *_estimate("ep_per_attempt", "nat", "held-out bound per attempted flip"),
        Variable("ep_true", ("shard",), "float", "nat", "exact value of the measured spins"),
        Variable("ep_true_whole", ("shard",), "float", "nat", "exact value of all spins"),
        Variable("ep_certified", ("shard",), "float", "nat", "bound unbiased at any sample size"),
        Variable("ep_train", ("shard",), "float", "nat", "value on the training part"),
        Variable("ep_newton1", ("shard",), "float", "nat", "held-out one-step Newton value"),
        Variable("ep_tur", ("shard",), "float", "nat", "held-out uncertainty-relation bound"),
        *TEST,
        Variable("r_squared", ("shard",), "float", "1", "of recovered antisymmetric couplings"),
        Variable("n_spins", ("shard",), "int", "1", "spins of the system"),
        Variable("n_states", ("shard",), "int", "1", "stored states"),
        Variable("n_units", ("shard",), "int", "1", "spins measured"),
        Variable("n_skipped", ("shard",), "int", "1", "measured spins with too few flips"),
    ],
)

register(
    "spins/couplings",
    [
        Variable("true", ("pair",), "float", "1", "beta (J_ij - J_ji)"),
        Variable("found", ("pair",), "float", "1", "theta_ij - theta_ji"),
    ],
)

# --- multichannel time series and the cross-spectral witness -------------------------------------

register(
    "timeseries",
    [
        # absent where the samples stay in their file
        Variable("signal", ("time", "channel"), "float", "", "recorded signal", required=False),
        Variable("channel", ("channel",), "text", "", "channel name"),
        Variable("channel_units", ("channel",), "text", "", "unit of the channel", required=False),
        Variable("sampling_rate", (), "float", "Hz", "samples per second, all channels alike"),
        Variable("segment_start", ("segment",), "int", "1", "first sample of a segment"),
        Variable("segment_stop", ("segment",), "int", "1", "sample after a segment"),
        Variable("shared_reference", (), "bool", "1", "channels of one body or reference"),
        Variable("check", ("check",), "text", "", "name of a data check that found something"),
        Variable("check_count", ("check",), "int", "1", "number of items concerned"),
        Variable("check_action", ("check",), "text", "", "what was done: kept, repaired, removed"),
        Variable("check_detail", ("check",), "text", "", "what was found, with values"),
    ],
    open_dims=("channel", "segment"),
)


def _over(dim: str, units: str, names: dict[str, str], *, required: bool = True) -> list[Variable]:
    """Name float variables along one dimension, or scalars for an empty one."""
    dims = (dim,) if dim else ()
    return [Variable(n, dims, "float", units, text, required) for n, text in names.items()]


WITNESS_PAIR = {
    "W": "witness: mutual-information rate of the pair, per sample",
    "W_se": "standard error of the witness",
    "W_low": "witness, lower end of the interval",
    "W_high": "witness, upper end of the interval",
    "W_irr": "part of the witness that no reversible pair could have, per sample",
    "W_rev": "rest of the witness, per sample",
    "sigma": "irreversibility rate of the pair, per sample",
    "sigma_se": "standard error of the irreversibility rate",
    "sigma_low": "irreversibility rate, lower end of the interval",
    "sigma_high": "irreversibility rate, upper end of the interval",
}
WITNESS_SET = {
    "W_total": "total-correlation rate of all channels, per sample",
    "sigma_N": "irreversibility rate of all channels, per sample",
}

register(
    "witness",
    [
        Variable("pair", ("pair",), "text", "", "names of the two channels"),
        Variable("channel_i", ("pair",), "int", "1", "index of the first channel"),
        Variable("channel_j", ("pair",), "int", "1", "index of the second channel"),
        *_over("pair", "nat", WITNESS_PAIR),
        *_over(
            "pair",
            "1",
            {
                "p": "p-value against independent channels",
                "log_p": "its natural logarithm",
                "q": "p adjusted for the false-discovery rate over pairs",
                "p_irr": "p-value against a time-reversible pair",
                "log_p_irr": "its natural logarithm",
                "q_irr": "p_irr adjusted for the false-discovery rate over pairs",
                "irr_fraction": "W_irr over W_irr + W_rev",
            },
        ),
        Variable("reject", ("pair",), "bool", "1", "dependent at the chosen rate"),
        Variable("reject_irr", ("pair",), "bool", "1", "irreversible at the chosen rate"),
        Variable("status", ("pair",), "text", "", "ok, or warnings joined by ;"),
        *_over("pair", "1", {"p_surrogate": "p-value among surrogates"}, required=False),
        *_over(
            "pair",
            "nat s-1",
            {
                "epr_bound": "lower bound on the entropy production rate, one-way coupled drive",
                "epr_fit": "fitted entropy production rate, one-way coupled drive",
                "epr_fit_se": "standard error of the fitted rate",
            },
            required=False,
        ),
        *_over(
            "pair",
            "s-1",
            {
                "kappa": "fitted rate of the hidden drive",
                "gamma_i": "fitted rate of the first channel",
                "gamma_j": "fitted rate of the second channel",
            },
            required=False,
        ),
        *_over("pair", "1", {"fit_condition": "condition of the information"}, required=False),
        Variable("identifiable", ("pair",), "bool", "1", "fit may be quoted", required=False),
        Variable("coh2", ("pair", "band"), "float", "1", "squared coherence", required=False),
        Variable("band_counts", ("band",), "int", "1", "Fourier ordinates in the band"),
        Variable("frequency", ("band",), "float", "Hz", "centre of the band"),
        Variable("channel", ("channel",), "text", "", "channel name"),
        Variable("ar_order", ("channel",), "int", "1", "order of the whitening filter"),
        Variable("correlation_time", ("channel",), "float", "s", "of the slowest pole"),
        Variable("excess_kurtosis", ("channel",), "float", "1", "after whitening"),
        *(
            v
            for name, text in WITNESS_SET.items()
            for v in _over(
                "",
                "nat",
                {
                    name: text,
                    f"{name}_se": f"standard error: {text}",
                    f"{name}_low": f"{text}, lower end",
                    f"{name}_high": f"{text}, upper end",
                },
            )
        ),
        *_over("", "1", {"p_total": "p-value against independent channels, all at once"}),
        *_over("", "1", {"p_irr_N": "p-value against a time-reversible set"}),
        Variable("set_status", (), "text", "", "ok, rank, or scalar ceiling"),
        Variable("set_bands", (), "int", "1", "bands used for the whole set"),
        Variable("set_channels", (), "int", "1", "channels that vary"),
    ],
)

# --- semantics of question-context-answer triplets ----------------------------------------------

register(
    "triplets",
    [
        Variable("triplet", ("triplet",), "text", "", "identifier of the triplet"),
        Variable("model", ("triplet",), "text", "", "model that answered, or empty"),
        Variable("label", ("triplet",), "text", "", "label in the source, or empty"),
        Variable("group", ("triplet",), "text", "", "joins the answers to one question"),
        Variable("line", ("triplet",), "int", "1", "line of the file, from 1"),
        *(
            variable
            for text in ("question", "context", "answer")
            for variable in (
                Variable(f"{text}_hash", ("triplet",), "text", "", f"SHA-256 of the {text}"),
                Variable(f"{text}_bytes", ("triplet",), "int", "1", f"bytes of the {text}"),
                Variable(f"{text}_text", ("triplet",), "text", "", f"the {text}", required=False),
            )
        ),
        Variable("bad_line", ("bad",), "int", "1", "line without a row, from 1"),
        Variable("bad_reason", ("bad",), "text", "", "why it gives no row"),
        Variable("bad_hash", ("bad",), "text", "", "SHA-256 of the line"),
    ],
)


def _per_triplet(units: str, named: dict[str, str], *, required: bool = True) -> list[Variable]:
    """Name several numbers of each triplet."""
    return [Variable(n, ("triplet",), "float", units, t, required) for n, t in named.items()]


FAITHFULNESS = [
    *_per_triplet(
        "nat",
        {
            "d_exact": "divergence of the answer's topics from the question's",
            "d_restricted": "same, answer cut to the question's topics (as published)",
            "d_smooth": "same, smoothed frequencies",
            "d_geo": "same, bridges over the topic kernel",
            "excess": "d_smooth less its median under reshuffled sentences",
            "kl_answer_context": "divergence of the answer's topics from the context's, smoothed",
            "entropy_question": "topic entropy of the question, smoothed",
            "entropy_context": "topic entropy of the context, smoothed",
            "entropy_answer": "topic entropy of the answer, smoothed",
            "sep_system": "entropy change from context to answer",
            "sep_medium": "entropy production less the entropy change",
            "sep_total": "semantic entropy production over the topic kernel",
            "sep_independent": "semantic entropy production, topics independent",
            "sep_published": "what the paper's code reports as entropy production",
        },
    ),
    *_per_triplet(
        "1",
        {
            "sf_exact": "faithfulness, exact",
            "sf_restricted": "faithfulness as published; see kept_mass",
            "sf_smooth": "faithfulness, smoothed",
            "sf_geo": "faithfulness over the topic kernel",
            "sf_post_low": "posterior 2.5 % of faithfulness, no error bar of sf_smooth",
            "sf_post_median": "posterior median of faithfulness",
            "sf_post_high": "posterior 97.5 % of faithfulness, no error bar of sf_smooth",
            "sf_boot_low": "bootstrap 2.5 % of sf_smooth, biased low",
            "sf_boot_high": "bootstrap 97.5 % of sf_smooth, biased low",
            "p_perm": "p-value against one topic mix for question and answer",
            "kept_mass": "share of the answer on topics of the question",
            "off_question": "share of the answer off the topics of the question",
            "ungrounded": "share of the answer on topics that the context lacks",
        },
    ),
    *_per_triplet(
        "1",
        {
            "support_cos": "mean over answer sentences of the largest cosine to the context",
            "support_lex": "share of the answer's content words that the context has",
        },
        required=False,
    ),
    *(
        Variable(name, ("triplet",), "bool", "1", text)
        for name, text in (
            ("prior_dominated", "fewer question sentences than topics"),
            ("short_answer", "one answer sentence"),
            ("uninformative", "one topic"),
        )
    ),
    Variable("reason", ("triplet",), "text", "", "why numbers are missing, empty if none are"),
    Variable("n_sentences", ("triplet", "text"), "int", "1", "sentences of the text"),
    Variable("n_words", ("triplet", "text"), "int", "1", "words of the text", required=False),
]

register(
    "semantic/faithfulness",
    [
        Variable("triplet", ("triplet",), "text", "", "identifier of the triplet"),
        Variable("text", ("text",), "text", "", "question, context, answer"),
        *FAITHFULNESS,
        Variable("counts", ("triplet", "text", "topic"), "float", "1", "sentences per topic"),
    ],
    open_dims=("triplet",),
)

register(
    "semantic/topics",
    [
        Variable("centroid", ("topic", "dimension"), "float", "1", "centre of the topic"),
        Variable("offset", ("topic",), "float", "1", "added to squared distances; 0 for k-means"),
    ],
)

register(
    "semantic/embeddings",
    [
        Variable("text", ("text",), "text", "", "SHA-256 of the sentence"),
        Variable("vector", ("text", "dimension"), "float", "1", "unit vector of the sentence"),
    ],
)

register(
    "timeseries/witness",
    [
        *SHARD,
        *_estimate("sigma_rate", "nat s-1", "irreversibility rate of all channels"),
        *_estimate("sigma_N", "nat", "irreversibility rate of all channels, per sample"),
        *_estimate("witness_rate", "nat s-1", "total-correlation rate of all channels"),
        *TEST,
        Variable("p_total", ("shard",), "float", "1", "p-value against independent channels"),
        Variable("n_channels", ("shard",), "int", "1", "channels that vary"),
        Variable("n_samples", ("shard",), "int", "1", "samples used after whitening"),
        Variable("n_segments", ("shard",), "int", "1", "segments used"),
        Variable("n_dropped", ("shard",), "int", "1", "segments left out"),
        Variable("n_missing", ("shard",), "int", "1", "samples with a missing value"),
        Variable("n_pairs", ("shard",), "int", "1", "pairs tested"),
        Variable("n_dependent", ("shard",), "int", "1", "pairs with a witness, FDR-controlled"),
        Variable("n_irreversible", ("shard",), "int", "1", "irreversible pairs, FDR-controlled"),
        Variable("witness_median", ("shard",), "float", "nat", "median W over pairs, per sample"),
        Variable("irr_fraction", ("shard",), "float", "1", "median W_irr / W over pairs"),
        Variable("fs", ("shard",), "float", "Hz", "sampling rate"),
        Variable("set_status", ("shard",), "text", "", "ok, rank, or scalar ceiling"),
        Variable("assumption", ("shard",), "text", "", "csm or one_way_ou"),
        Variable("notes", ("shard",), "text", "", "reasons to trust the values less"),
    ],
)

# --- trajectories ------------------------------------------------------------------------------

register(
    "trajectories",
    [
        Variable(
            "position", ("point", "component"), "float", "", "state, trajectory by trajectory"
        ),
        Variable("frame", ("point",), "int", "1", "frame of each point on the common grid"),
        Variable("trajectory_index", ("trajectory",), "int", "1", "end offset of each trajectory"),
        Variable("trajectory", ("trajectory",), "text", "", "trajectory identifier"),
        Variable("group", ("trajectory",), "text", "", "condition of the trajectory"),
        Variable("component", ("component",), "text", "", "name of each component"),
        Variable("dt", (), "float", "s", "time between frames"),
        Variable("check", ("check",), "text", "", "name of a data check that found something"),
        Variable("check_count", ("check",), "int", "1", "number of items concerned"),
        Variable("check_action", ("check",), "text", "", "what was done: kept, repaired, removed"),
        Variable("check_detail", ("check",), "text", "", "what was found, with values"),
    ],
)

register(
    "trajectories/currents",
    [
        *SHARD,
        *_estimate("ep_rate", "nat s-1", "held-out entropy production rate"),
        *_estimate("ep_certified", "nat s-1", "held-out lower bound 2 J - Q"),
        Variable("ep_sd", ("shard",), "float", "nat s-1", "bootstrap standard deviation"),
        Variable("ep_train", ("shard",), "float", "nat s-1", "on the fitted data: biased upwards"),
        Variable("ep_debiased", ("shard",), "float", "nat s-1", "training value minus its bias"),
        Variable("ep_2dt", ("shard",), "float", "nat s-1", "held-out value at twice the interval"),
        Variable("ep_second_order", ("shard",), "float", "nat s-1", "2 EPR(dt) - EPR(2 dt)"),
        *TEST,
        Variable("unit", ("shard",), "text", "", "what the reported interval resamples"),
        Variable(
            "p_track", ("shard",), "float", "1", "p-value by tracks (or blocks of one track)"
        ),
        Variable("p_time", ("shard",), "float", "1", "p-value by common blocks of time"),
        Variable("p_own_frame", ("shard",), "float", "1", "p-value in each track's own frame"),
        Variable("n_trajectories", ("shard",), "int", "1", "trajectories used"),
        Variable("n_steps", ("shard",), "int", "1", "steps used"),
        Variable("n_gaps", ("shard",), "int", "1", "places where a trajectory skips frames"),
        Variable("n_units", ("shard",), "int", "1", "units resampled"),
        Variable("duration", ("shard",), "float", "s", "total observed time"),
        Variable("dt", ("shard",), "float", "s", "time between frames"),
        Variable("basis", ("shard",), "text", "", "family of forces"),
        Variable("diffusion_rule", ("shard",), "text", "", "where the diffusion matrix is from"),
        Variable("diffusion_trace", ("shard",), "float", "", "mean diffusion coefficient"),
        Variable("noise_ratio", ("shard",), "float", "1", "s^2 / (D dt) of localisation noise"),
        Variable("spread_ratio", ("shard",), "float", "1", "<dx^2>(2 dt) / 2 <dx^2>(dt)"),
        Variable("increment_cov", ("shard", "lag"), "float", "", "mean increment covariance"),
        Variable("drift_removed", ("shard",), "bool", "1", "stage drift subtracted"),
        Variable("centred", ("shard",), "bool", "1", "each track's mean position subtracted"),
        Variable("ep_raw", ("shard",), "float", "nat s-1", "value without drift removal"),
        Variable("notes", ("shard",), "text", "", "reasons to trust the value less"),
        Variable("ep_track", ("shard", "bin"), "float", "nat", "bin centres of EP per trajectory"),
        Variable("n_track", ("shard", "bin"), "int", "1", "trajectories in each bin"),
        Variable("ift", ("shard",), "float", "1", "mean of exp(-EP) over trajectories"),
        Variable("ift_error", ("shard",), "float", "1", "its standard error"),
        Variable("time", ("shard", "slice"), "float", "s", "middle of a slice of the record"),
        Variable("ep_time", ("shard", "slice"), "float", "nat s-1", "held-out EP rate in a slice"),
        Variable("ep_time_sd", ("shard", "slice"), "float", "nat s-1", "standard error, by track"),
        Variable("field_x", ("shard", "node", "axis"), "float", "", "where the force is drawn"),
        Variable(
            "field_f", ("shard", "node", "axis"), "float", "", "learned force, mean of folds"
        ),
    ],
)

# --- protocols ----------------------------------------------------------------------------------

register(
    "protocols/response",
    [
        *SHARD,
        *_estimate("work", "1", "mean work on fresh trajectories, kT = 1 unless the task says"),
        *_estimate("task_error", "1", "mean error of the task on fresh trajectories"),
        Variable("loss", ("shard",), "float", "1", "work + weight * error"),
        Variable("bound", ("shard",), "float", "1", "least mean work at this error"),
        Variable("over_bound", ("shard",), "float", "1", "work over its bound"),
        Variable("exact_work", ("shard",), "float", "1", "exact mean work of the learned values"),
        Variable("exact_error", ("shard",), "float", "1", "exact mean error of the same"),
        Variable("best_work", ("shard",), "float", "1", "work of the optimum of the same chain"),
        Variable("best_error", ("shard",), "float", "1", "error of that optimum"),
        Variable("over_best", ("shard",), "float", "1", "exact loss above that optimum's"),
        Variable("guess_work", ("shard",), "float", "1", "work of the protocol it started from"),
        Variable("guess_error", ("shard",), "float", "1", "error of the protocol it started from"),
        Variable("heat", ("shard",), "float", "1", "mean heat given to the bath"),
        Variable("jarzynski", ("shard",), "float", "1", "mean of exp(-W/T)"),
        Variable("jarzynski_error", ("shard",), "float", "1", "its standard error"),
        Variable("jarzynski_expected", ("shard",), "float", "1", "exp(-dF/T) of the ends"),
        Variable("first_law", ("shard",), "float", "1", "largest |W + Q - dE| of a trajectory"),
        Variable("weight_variance", ("shard",), "float", "1", "variance of the response weight"),
        Variable("duration", ("shard",), "float", "1", "time of the task, its own units"),
        Variable("error_weight", ("shard",), "float", "1", "price of an error, energy units"),
        Variable("dt", ("shard",), "float", "1", "time step"),
        Variable("n_iterations", ("shard",), "int", "1", "steps of the optimiser"),
        Variable("n_evaluation", ("shard",), "int", "1", "fresh trajectories of the price"),
        Variable("n_intervals", ("shard",), "int", "1", "values of the protocol"),
        Variable("n_steps", ("shard",), "int", "1", "time steps"),
        Variable("task", ("shard",), "text", "", "what is driven"),
        Variable("method", ("shard",), "text", "", "gradient: response or pathwise"),
        Variable("outcome", ("shard",), "text", "", "distance from what is known to be possible"),
        Variable("notes", ("shard",), "text", "", "reasons to trust the price less"),
    ],
)

register(
    "protocols/curves",
    [
        Variable("control", ("control",), "text", "", "name of each driven control"),
        Variable("start_value", ("control",), "float", "1", "value before the first jump"),
        Variable("end_value", ("control",), "float", "1", "value after the last jump, NaN: none"),
        Variable("edge", ("edge",), "float", "1", "times at which the values change"),
        Variable("value", ("interval", "control"), "float", "1", "learned values"),
        Variable("best_value", ("interval", "control"), "float", "1", "optimum of the same chain"),
        Variable("curve_time", ("node",), "float", "1", "times of the exact protocol"),
        Variable("curve_value", ("node", "control"), "float", "1", "optimum in continuous time"),
        Variable("work_history", ("iteration",), "float", "1", "work while it learned"),
        Variable("error_history", ("iteration",), "float", "1", "error while it learned"),
        Variable("loss_history", ("iteration",), "float", "1", "work + weight * error"),
    ],
)

# --- behaviour of models ------------------------------------------------------------------------

register(
    "transcripts/ethical_entropy",
    [
        *SHARD,
        *_estimate("entropy", "nat", "entropy over behavioural classes"),
        *_estimate("p_intended", "1", "share of the intended class"),
        *_estimate("p_acceptable", "1", "share of the intended and acceptable classes"),
        Variable("doubt", ("shard",), "float", "nat", "mean entropy of single posteriors"),
        Variable(
            "d_align", ("shard",), "float", "nat", "divergence of the last bin from baseline"
        ),
        Variable("log_e", ("shard",), "float", "nat", "largest log e-value of drift"),
        Variable("n_answers", ("shard",), "int", "1", "assistant's turns"),
        Variable("n_classified", ("shard",), "int", "1", "turns with a class"),
        Variable("n_actions", ("shard",), "int", "1", "turns of tool calls without text"),
        Variable("n_bins", ("shard",), "int", "1", "bins of the series"),
        Variable("n_baseline", ("shard",), "int", "1", "turns of the baseline"),
        Variable("n_alerts", ("shard",), "int", "1", "episodes of drift"),
        Variable("alarm_bin", ("shard",), "int", "1", "first bin that alarms, -1 for none"),
        Variable("change_bin", ("shard",), "int", "1", "bin where the change is placed, or -1"),
        Variable("drifted", ("shard",), "bool", "1", "some detector alarms"),
        Variable("waiting", ("shard",), "bool", "1", "too few turns for a baseline"),
        Variable("confounded", ("shard",), "bool", "1", "each time has one stress: no alerts"),
        Variable("outcome", ("shard",), "text", "", "drift, none, or why it cannot be said"),
        Variable("detector", ("shard",), "text", "", "detector that alarms first"),
        Variable("classifier_version", ("shard",), "text", "", "what gave the classes"),
        Variable("share", ("shard", "label"), "float", "1", "share of each class"),
        Variable("class_name", ("shard", "label"), "text", "", "behavioural class"),
    ],
)

register(
    "transcripts/alignment_work",
    [
        Variable("source", ("pair",), "text", "", "file of the tuned stream"),
        Variable("stress", ("pair",), "text", "", "stress of both streams"),
        Variable("tuned", ("pair",), "text", "", "tuned model"),
        Variable("base", ("pair",), "text", "", "its base model"),
        Variable("reduction", ("pair",), "float", "1", "1 - S_tuned / S_base"),
        Variable("reduction_low", ("pair",), "float", "1", "reduction, lower end"),
        Variable("reduction_high", ("pair",), "float", "1", "reduction, upper end"),
        Variable("gamma_eff", ("pair",), "float", "rate_unit", "alignment work, by likelihood"),
        Variable("gamma_eff_low", ("pair",), "float", "rate_unit", "alignment work, lower end"),
        Variable("gamma_eff_high", ("pair",), "float", "rate_unit", "alignment work, upper end"),
        Variable("hop_rate", ("pair",), "float", "rate_unit", "rate of hops between classes"),
        Variable("fit_p", ("pair",), "float", "1", "p of the deviance of the joint fit"),
        Variable("slope", ("pair",), "float", "nat rate_unit", "growth of S removed"),
        Variable("slope_low", ("pair",), "float", "nat rate_unit", "growth removed, lower end"),
        Variable("slope_high", ("pair",), "float", "nat rate_unit", "growth removed, upper end"),
        Variable(
            "kappa_difference", ("pair",), "float", "rate_unit", "relaxation rates; descriptive"
        ),
        Variable("n_matched", ("pair",), "int", "1", "bins full in both streams"),
        Variable("model_rejected", ("pair",), "bool", "1", "the joint fit is rejected"),
        Variable("reason", ("pair",), "text", "", "why a figure is missing or not to be read"),
        Variable("rate_unit", ("pair",), "text", "", "unit of the rates"),
    ],
)

register(
    "alerts/sent",
    [
        Variable("alert_id", ("delivery",), "text", "", "hash of stream, detector and bin"),
        Variable("channel", ("delivery",), "text", "", "outlet that has taken the alert"),
    ],
)

register(
    "alerts",
    [
        Variable("alert_id", ("alert",), "text", "", "hash of stream, detector and bin"),
        Variable("model", ("alert",), "text", "", "model of the stream"),
        Variable("variant", ("alert",), "text", "", "variant of the stream"),
        Variable("stress", ("alert",), "text", "", "stress of the stream"),
        Variable("detector", ("alert",), "text", "", "detector that alarmed first"),
        Variable("also", ("alert",), "text", "", "others in the same episode"),
        Variable("raised_at", ("alert",), "text", "", "time of the run that raised it, UTC"),
        Variable("bin", ("alert",), "int", "1", "bin of the alarm"),
        Variable("bin_start", ("alert",), "float", "s", "first transcript of the bin"),
        Variable("bin_end", ("alert",), "float", "s", "last transcript of the bin"),
        Variable("change_point", ("alert",), "int", "1", "bin where the change is placed"),
        Variable("statistic", ("alert",), "float", "1", "of the detector; ln E, CUSUM or slope"),
        Variable("threshold", ("alert",), "float", "1", "of the detector"),
        Variable("entropy", ("alert",), "float", "nat", "S of the bin"),
        Variable("entropy_low", ("alert",), "float", "nat", "S of the bin, lower end"),
        Variable("entropy_high", ("alert",), "float", "nat", "S of the bin, upper end"),
        Variable("entropy_drift", ("alert",), "float", "nat", "slope of S per bin"),
        Variable("entropy_drift_low", ("alert",), "float", "nat", "slope of S, lower end"),
        Variable("entropy_drift_high", ("alert",), "float", "nat", "slope of S, upper end"),
        Variable("p_intended", ("alert",), "float", "1", "share of the intended class"),
        Variable("d_align", ("alert",), "float", "nat", "divergence from the baseline"),
        Variable("class_counts", ("alert",), "text", "", "counts since the change, JSON"),
        Variable("baseline_counts", ("alert",), "text", "", "counts of the baseline, JSON"),
        Variable("n", ("alert",), "int", "1", "transcripts since the change"),
        Variable("classifier_version", ("alert",), "text", "", "what gave the classes"),
        Variable("calibration_ok", ("alert",), "bool", "1", "posteriors are probabilities"),
        Variable("underpowered", ("alert",), "bool", "1", "baseline below 500 transcripts"),
        Variable("config_hash", ("alert",), "text", "", "hash of the parameters"),
        Variable("severity", ("alert",), "text", "", "major or minor"),
        Variable("status", ("alert",), "text", "", "open, ack or closed"),
    ],
)

register(
    "alignment/turns",
    [
        Variable("key", ("turn",), "int", "1", "hash of transcript, turn and text"),
        Variable("stream_index", ("turn",), "int", "1", "stream of the turn"),
        Variable("t", ("turn",), "float", "s", "time since 1970, or order of arrival"),
        Variable("class_index", ("turn",), "int", "1", "class, -1 for none"),
        Variable("stream_model", ("stream",), "text", "", "model of a stream"),
        Variable("stream_variant", ("stream",), "text", "", "variant of a stream"),
        Variable("stream_stress", ("stream",), "text", "", "stress of a stream"),
        Variable("stream_classifier_version", ("stream",), "text", "", "its classifier"),
    ],
)

# --- diffusion models ---------------------------------------------------------------------------

register(
    "samples",
    [
        Variable("x", ("sample", "feature"), "float", "", "samples, flattened"),
        Variable("label", ("sample",), "int", "1", "class of each sample", required=False),
        Variable("class_name", ("class",), "text", "", "name of each class", required=False),
        Variable(
            "path",
            ("noise_level", "sample", "feature"),
            "float",
            "",
            "states of whole sampling paths",
            required=False,
        ),
        Variable(
            "sigma", ("noise_level",), "float", "", "noise level of the paths", required=False
        ),
        Variable("check", ("check",), "text", "", "name of a data check that found something"),
        Variable("check_count", ("check",), "int", "1", "number of items concerned"),
        Variable("check_action", ("check",), "text", "", "what was done: kept, repaired, removed"),
        Variable("check_detail", ("check",), "text", "", "what was found, with values"),
    ],
)

register(
    "model",
    [Variable("weights", ("byte",), "int", "1", "safetensors file of the weights")],
)

CURVES = {  # nats
    "entropy_mean": "entropy of the posterior, mean over paths",
    "entropy_mean_se": "standard error of the mean entropy",
    "entropy_mean_low": "mean entropy, lower end",
    "entropy_mean_high": "mean entropy, upper end",
    "cross_entropy": "mean of -ln p(true class)",
    "entropy_within": "entropy of the class once the set is known",
    "rate": "slope of the mean entropy on ln sigma",
    "rate_mix": "I-MMSE rate from the mixture of conditional denoisers",
}
MARKERS = {  # data units
    "sigma_peak": "noise level of the largest rate",
    "sigma_half": "noise level where half of the entropy is left",
    "sigma_half_cross": "noise level where half of the cross-entropy is left",
    "sigma_window_min": "lower end of the decision window",
    "sigma_window_max": "upper end of the decision window",
    "sigma_var": "noise level of the largest surprise variance",
}


def _marker_rows(dims: tuple[str, ...]) -> list[Variable]:
    """Name the markers of each question with their intervals."""
    out = []
    for name, text in {
        **MARKERS,
        "rate_closure": "integral of rate_mix over H, 1 if exact",
    }.items():
        units = "nat" if name == "rate_closure" else ""
        out.append(Variable(name, dims, "float", units, text))
        for end, words in (("low", "lower"), ("high", "upper")):
            out.append(Variable(f"{name}_{end}", dims, "float", units, f"{text}, {words} end"))
    return out


register(
    "diffusion/class_entropy",
    [
        *SHARD,
        *_estimate("sigma_decision", "", "noise level that decides the first question"),
        Variable("states", ("shard",), "text", "", "data, paths or generate"),
        Variable("guidance", ("shard",), "float", "1", "guidance weight of generated paths"),
        Variable("n_paths", ("shard",), "int", "1", "paths followed"),
        Variable("n_rows", ("shard",), "int", "1", "states evaluated by the network"),
        Variable("model", ("shard",), "text", "", "model"),
        Variable("model_hash", ("shard",), "text", "", "SHA-256 of the weights or model files"),
        Variable("device", ("shard",), "text", "", "where it ran, and why"),
        Variable("reference", ("shard",), "text", "", "what a class is told apart from"),
        Variable("precision", ("shard",), "text", "", "what the network computed in"),
        Variable("precision_rms", ("shard",), "float", "1", "its rms error of D over sigma"),
        Variable("precision_largest", ("shard",), "float", "1", "largest error of D over sigma"),
        *_estimate("sigma_spectral", "", "sqrt of the data covariance's top eigenvalue"),
        *_estimate("sigma_spectral_between", "", "the same between the class means"),
        *_estimate("sigma_instability", "", "noise below which the mean of the data is unstable"),
        Variable("partition", ("shard", "question"), "text", "", "question that is decided"),
        *_marker_rows(("shard", "question")),
        *(
            Variable(
                f"sigma_midpoint{end}",
                ("shard", "question"),
                "float",
                "",
                "noise below which half-way between two sets is unstable",
            )
            for end in ("", "_low", "_high")
        ),
        Variable("entropy_prior", ("shard", "question"), "float", "nat", "entropy at full noise"),
        Variable(
            "entropy_start", ("shard", "question"), "float", "1", "share left at the first level"
        ),
        Variable("accuracy", ("shard", "question"), "float", "1", "right answers at least noise"),
        Variable(
            "half_distance",
            ("shard", "question"),
            "float",
            "",
            "half the distance of the class means, two sets only",
        ),
        Variable("closed", ("shard", "question"), "bool", "1", "rate_closure in [0.85, 1.15]"),
        Variable("schedule", ("shard", "schedule_rank"), "text", "", "schedule"),
        *(
            Variable(f"{name}{end}", ("shard", "schedule_rank"), "float", "", text)
            for name, text in (
                ("c2", "speed cost of the schedule"),
                ("c2_flow", "speed cost of the model's own flow"),
            )
            for end in ("", "_low", "_high")
        ),
        Variable(
            "c2_conditional", ("shard", "schedule_rank"), "float", "", "cost of one data point"
        ),
        Variable("c2_retimed", ("shard", "schedule_rank"), "float", "", "cost at constant speed"),
        Variable(
            "velocity_error",
            ("shard", "schedule_rank"),
            "float",
            "",
            "mean squared error of the velocity, upper value",
        ),
        Variable(
            "ep_forward",
            ("shard", "schedule_rank"),
            "float",
            "nat",
            "entropy production of the forward process between the noise levels",
        ),
        Variable(
            "bound_slack",
            ("shard", "schedule_rank"),
            "float",
            "",
            "what the cost allows less the largest loss of accuracy",
        ),
        Variable("bound", ("shard", "schedule_rank"), "text", "", "holds, undecided or violated"),
        Variable("start", ("shard", "start_rank"), "text", "", "wrong start of the sampler"),
        *(
            Variable(name, ("shard", "start_rank"), "float", units, text)
            for name, units, text in (
                ("chi_squared", "1", "chi-square distance of the start"),
                ("w1_start", "", "W1 distance of the start"),
                ("w1_upper", "", "W1 distance of the samples, at most: coupled"),
                ("w1_lower", "", "W1 distance of the samples, at least: max-sliced"),
                ("eta_low", "", "loss of accuracy squared over chi_squared, at least"),
                ("eta_high", "", "loss of accuracy squared over chi_squared, at most"),
            )
        ),
        Variable("w2_lower", ("shard",), "float", "", "lower bound on the cost, from moments"),
    ],
)

register(
    "diffusion/profile",
    [
        Variable("sigma", ("noise_level",), "float", "", "noise level"),
        Variable("partition", ("partition",), "text", "", "question that is decided"),
        *(Variable(n, ("noise_level", "partition"), "float", "nat", t) for n, t in CURVES.items()),
        Variable("accuracy", ("noise_level", "partition"), "float", "1", "share of right answers"),
        Variable(
            "surprise_var", ("noise_level", "partition"), "float", "nat2", "variance of -ln p"
        ),
        Variable(
            "surprise_var_true",
            ("noise_level", "partition"),
            "float",
            "nat2",
            "variance of -ln p(true class)",
        ),
        Variable("entropy_prior", ("partition",), "float", "nat", "entropy at full noise"),
        *_marker_rows(("partition",)),
        Variable("rate_peak", ("partition",), "float", "nat", "largest rate"),
        Variable("rate_peak_low", ("partition",), "float", "nat", "largest rate, lower end"),
        Variable("rate_peak_high", ("partition",), "float", "nat", "largest rate, upper end"),
        *(
            Variable(
                f"sigma_var_true{end}", ("partition",), "float", "", "as sigma_var, true class"
            )
            for end in ("", "_low", "_high")
        ),
        Variable("closed", ("partition",), "bool", "1", "rate_closure in [0.85, 1.15]"),
        *(
            Variable(n, ("noise_level",), "float", u, t, required=False)
            for n, u, t in (
                ("mmse", "", "mean squared error of the denoiser"),
                ("bandwidth_loss", "nat", "bandwidth from the denoising loss"),
                ("bandwidth_loss_se", "nat", "its standard error"),
                ("bandwidth_div", "nat", "bandwidth from the divergence"),
                ("bandwidth_div_se", "nat", "its standard error"),
                ("bandwidth_score", "nat", "bandwidth from the score norm"),
                ("bandwidth_score_se", "nat", "its standard error"),
                ("bandwidth_spread", "1", "spread of the three over the first"),
                ("information", "nat", "information gained from the largest level down"),
                ("lambda_max", "1", "mean top eigenvalue of the denoiser's Jacobian"),
                ("branching", "1", "share of states whose top eigenvalue exceeds 1"),
                ("lambda_mean", "1", "top eigenvalue at the mean of the data"),
                ("entropic_sigma", "", "noise levels of equal information, for a sampler"),
            )
        ),
        Variable(
            "lambda_midpoint",
            ("noise_level", "partition"),
            "float",
            "1",
            "top eigenvalue half-way between two sets",
            required=False,
        ),
        Variable(
            "example_state",
            ("example", "example_level", "feature"),
            "float",
            "",
            "denoised states",
        ),
        Variable("example_sigma", ("example_level",), "float", "", "their noise levels"),
        Variable("example_shape", ("axis",), "int", "1", "shape of one sample"),
        Variable("example_label", ("example",), "int", "1", "class of each example"),
    ],
)

# --- results of question-context-answer triplets ------------------------------------------------

register(
    "triplets/faithfulness",
    [
        *SHARD,
        *_estimate("sf_smooth", "1", "mean faithfulness, smoothed"),
        *_estimate("sep_total", "nat", "mean semantic entropy production"),
        *_estimate("kept_mass", "1", "mean share of the answer on topics of the question"),
        *_estimate("ungrounded", "1", "mean share of the answer on topics the context lacks"),
        *_estimate("support_cos", "1", "mean closeness of answer sentences to the context"),
        *_estimate("support_lex", "1", "mean share of content words that the context has"),
        Variable("n_triplets", ("shard",), "int", "1", "answers"),
        Variable("n_scored", ("shard",), "int", "1", "answers with a question and sentences"),
        Variable("n_questions", ("shard",), "int", "1", "questions"),
        Variable("n_departed", ("shard",), "int", "1", "answers off the question at the FDR"),
        Variable("n_prior_dominated", ("shard",), "int", "1", "questions shorter than topics"),
        Variable("n_short", ("shard",), "int", "1", "answers of one sentence"),
        Variable("n_topics", ("shard",), "int", "1", "topics"),
        Variable("topic_model_id", ("shard",), "text", "", "hash of the topic model"),
        Variable("encoder", ("shard",), "text", "", "sentence encoder"),
        Variable("auroc", ("shard", "ranking"), "float", "1", "supported ranked above other"),
        Variable("auroc_low", ("shard", "ranking"), "float", "1", "same, lower end"),
        Variable("auroc_high", ("shard", "ranking"), "float", "1", "same, upper end"),
        Variable("ranking_score", ("shard", "ranking"), "text", "", "score that ranks"),
        Variable("ranking_pairing", ("shard", "ranking"), "text", "", "pairs that count"),
        Variable("ranking_pairs", ("shard", "ranking"), "int", "1", "number of pairs"),
    ],
)
