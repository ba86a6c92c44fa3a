"""The flow blocks of pipeline.yaml: method parameters, interval, null, false-discovery rate."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, model_validator

from flows import driven_tasks
from flows.diffusion_models import AnyDiffusionModel, DigitsModel, Levels, Sets, check_sets
from flows.model import BlockError, Model
from flows.quantities import Hertz, Micrometres, Seconds


class Interval(Model):
    """Confidence intervals."""

    level: float = Field(default=0.95, gt=0, lt=1, description="coverage of the interval")
    draws: int = Field(default=1000, ge=100, description="bootstrap draws")


class Null(Model):
    """The null distribution."""

    draws: int = Field(
        default=200, ge=19, description="draws of the null; the least p is 1/(draws + 1)"
    )


class Block(Model):
    """Fields that all flow blocks share."""

    kinds: ClassVar[tuple[str, ...]] = ()
    sources: list[str] = Field(min_length=1, description="names of sources")
    interval: Interval = Interval()
    null: Null = Null()
    fdr: float = Field(
        default=0.05, gt=0, lt=1, description="false-discovery rate over the run's results"
    )


SpikeSet = Literal["pair", "lin", "same-time", "triple", "current", "delayed"]


class MaxEnt(Model):
    """Parameters of `irrev.maxent_ep`."""

    method: Literal["maxent"] = Field(default="maxent", description="name of the method")
    observables: list[SpikeSet] = Field(
        default=["pair"], min_length=1, description="sets of observables"
    )
    lag: int = Field(default=1, ge=1, description="bins between the two ends of a sample")
    window: int = Field(default=1, ge=1, description="bins of a sample; delayed needs 2 or more")
    folds: int = Field(default=5, ge=3, description="cross-fitting folds; each is test once")
    n_blocks: int = Field(default=50, ge=10, description="contiguous blocks dealt to the folds")
    solver: Literal["auto", "lbfgs", "sizes", "l1", "newton", "bb", "chord"] = Field(
        default="auto", description="optimiser of the dual problem"
    )
    trajectory: bool = Field(
        default=False, description="store the held-out estimate of every bin as a series"
    )

    @model_validator(mode="after")
    def _check_folds(self) -> "MaxEnt":
        if self.folds > self.n_blocks:
            raise ValueError(f"folds is {self.folds} but n_blocks is {self.n_blocks}; use fewer")
        return self

    @model_validator(mode="after")
    def _check_window(self) -> "MaxEnt":
        if self.lag > 1 and self.window > 1:
            raise ValueError(
                f"lag is {self.lag} and window {self.window}; set only one of them above 1"
            )
        if "delayed" in self.observables and self.window == 1:
            raise ValueError("observable `delayed` needs a window of 2 bins or more; set window")
        return self


def is_plain(ep: Mapping[str, Any]) -> bool:
    """Say whether an estimate can go chunk by chunk: `irrev.stream_ep` knows pairs at lag 1."""
    plain = {"observables": ["pair"], "lag": 1, "window": 1}
    return all(ep[k] == v for k, v in plain.items()) and ep["solver"] in ("auto", "lbfgs")


class Neep(Model):
    """A network beside MaxEnt: parameters of `irrev.ep.neep`; takes a GPU if there is one."""

    use: bool = Field(default=False, description="train it")
    hidden: list[int] = Field(
        default=[128, 128], min_length=1, description="sizes of hidden layers"
    )
    steps: int = Field(default=2000, ge=1, description="training steps of a fold")
    batch: int = Field(default=1024, ge=1, description="samples in a batch")
    learning_rate: float = Field(default=1e-3, gt=0, description="of Adam")


class Further(Model):
    """Further estimates of each recording, in a table of their own."""

    sweep: list[Seconds] = Field(default=[], description="further bin widths, `[2 ms, 20 ms]`")
    orders: list[SpikeSet] = Field(
        default=[], description="sets added one after another, `[lin, pair, triple]`"
    )
    memory: int = Field(default=0, ge=0, description="longest lag of the memory curve, bins")
    areas: bool = Field(default=False, description="within and between areas, and their pairs")
    distances: list[Micrometres] = Field(
        default=[], description="pairs up to each distance, then all, `[100 um, 300 um]`"
    )
    methods: bool = Field(default=False, description="MaxEnt beside other methods")
    neep: Neep = Neep()

    @model_validator(mode="after")
    def _check_lists(self) -> "Further":
        for name in ("sweep", "orders", "distances"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names a value twice; write each once")
            if name != "orders" and min(values, default=1) <= 0:
                raise ValueError(f"{name} has {min(values):g}; write values above 0")
        return self


class SpikesBlock(Block):
    """Entropy production of spike trains."""

    kinds: ClassVar[tuple[str, ...]] = ("spikes",)
    bin: Seconds = Field(default=0.01, gt=0, description="bin width")
    ep: MaxEnt = MaxEnt()
    further: Further = Further()
    stream: Literal["auto", "always", "never"] = Field(
        default="auto", description="chunk by chunk over all workers; auto: from 50 M spikes"
    )

    @model_validator(mode="after")
    def _check_stream(self) -> "SpikesBlock":
        if self.stream == "always" and not is_plain(self.ep.model_dump()):
            raise ValueError(
                "stream is always, which takes observables [pair], lag 1, window 1 and solver "
                "auto or lbfgs; use auto or never with others"
            )
        return self


class StudyBlock(Block):
    """Entropy production against population size: random subsets of units."""

    kinds: ClassVar[tuple[str, ...]] = ("spikes",)
    bin: Seconds = Field(default=0.01, gt=0, description="bin width")
    sizes: list[int] = Field(
        default=[50, 100, 150, 200, 250, 300], min_length=1, description="units of a subset"
    )
    subsets: int = Field(default=10, ge=1, description="subsets drawn of each size")
    min_active: float = Field(
        default=0.02, ge=0, lt=1, description="least part of active bins of a unit"
    )
    ep: MaxEnt = MaxEnt()

    @model_validator(mode="after")
    def _check_sizes(self) -> "StudyBlock":
        if min(self.sizes) < 2:
            raise ValueError(f"sizes start at {min(self.sizes)}; a subset needs 2 units or more")
        if len(set(self.sizes)) < len(self.sizes):
            raise ValueError("sizes names a value twice; write each once")
        return self


class SpinsBlock(Block):
    """Entropy production of spin models against temperature."""

    kinds: ClassVar[tuple[str, ...]] = ("spins",)
    betas: list[FiniteFloat] = Field(
        default=[0.4, 0.8, 1.2, 1.44, 1.7, 2.0, 2.5, 3.0, 4.0],
        min_length=1,
        description="inverse temperatures",
    )
    states: int = Field(default=10_000, ge=500, description="stored states, each redrawn once")
    chains: int = Field(default=50, ge=1, description="independent chains of states")
    warm_up: int = Field(default=100, ge=0, description="sweeps before the first state of a chain")
    units: int | None = Field(
        default=None, ge=1, description="measure so many spins and scale up; none: all"
    )
    batch: int = Field(default=10, ge=1, description="spins of a piece of work")
    folds: int = Field(default=5, ge=3, description="cross-fitting folds; each is test once")
    n_blocks: int = Field(default=50, ge=10, description="contiguous blocks dealt to the folds")

    @model_validator(mode="after")
    def _check_betas(self) -> "SpinsBlock":
        if len(set(self.betas)) < len(self.betas):
            raise ValueError("betas names a value twice; write each once")
        return self

    @model_validator(mode="after")
    def _check_counts(self) -> "SpinsBlock":
        if self.folds > self.n_blocks:
            raise ValueError(f"folds is {self.folds} but n_blocks is {self.n_blocks}; use fewer")
        if max(self.chains, self.n_blocks) > self.states:
            raise ValueError(
                f"{self.states} states for {self.chains} chains and {self.n_blocks} blocks; "
                "store more states"
            )
        return self


class Witness(Model):
    """Parameters of `irrev.witness`."""

    method: Literal["witness"] = Field(default="witness", description="name of the method")
    band: tuple[Hertz, Hertz] | None = Field(
        default=None, description="frequency range; none: all"
    )
    n_bands: int = Field(default=64, ge=4, description="bands of the estimates")
    test_bands: int = Field(default=16, ge=4, description="bands of the tests")
    nan: Literal["raise", "drop_segment", "split"] = Field(
        default="split", description="segments with missing values: refuse, drop or cut"
    )
    detrend: bool = Field(default=False, description="remove a linear trend of each segment")
    periods: list[Seconds] = Field(default=[], description="known periods to remove, `365.25 d`")
    harmonics: int = Field(default=4, ge=1, description="harmonics removed with each period")
    fdr_method: Literal["bh", "by"] = Field(
        default="bh", description="false-discovery control over pairs"
    )
    assumption: Literal["csm", "one_way_ou"] = Field(
        default="csm", description="one_way_ou adds entropy production: only if it is known"
    )
    piece: int = Field(
        default=65_536, ge=256, description="samples read at once of sources that stay in place"
    )


class Surrogates(Null):
    """The null distribution of the witness."""

    method: Literal["analytic", "shift", "phase"] = Field(
        default="analytic", description="surrogates check the analytic law, for odd data"
    )
    draws: int = Field(default=999, ge=19, description="surrogates of each pair")


class NormalInterval(Model):
    """Confidence intervals from standard errors."""

    level: float = Field(default=0.95, gt=0, lt=1, description="coverage of the interval")


class TimeseriesBlock(Block):
    """Cross-spectral witness of multichannel records."""

    kinds: ClassVar[tuple[str, ...]] = ("timeseries",)
    witness: Witness = Witness()
    interval: NormalInterval = NormalInterval()  # pyright: ignore[reportIncompatibleVariableOverride]
    null: Surrogates = Surrogates()  # pyright: ignore[reportIncompatibleVariableOverride]


class ClassNames(Model):
    """Behavioural classes; see docs/methods/ethical_entropy.md."""

    classes: list[str] = Field(
        default=["aligned", "refusal", "sycophancy", "deception", "harmful"],
        min_length=2,
        description="names, in order",
    )
    intended: str = Field(default="aligned", description="the class the model is meant for")
    acceptable: list[str] = Field(default=[], description="classes that are fine besides it")


class WatchBlock(Model):
    """Bins, baseline and detectors: parameters of `irrev.watch_stream`."""

    by: Literal["count", "duration", "turn"] = Field(
        default="count", description="what fills a bin"
    )
    size: float = Field(default=50, gt=0, description="transcripts, seconds or 1 turn a bin")
    min_count: int = Field(default=20, ge=1, description="transcripts below which a bin is empty")
    baseline: int = Field(default=500, ge=20, description="transcripts of the clean past")
    estimator: Literal["dirichlet", "nsb", "miller_madow", "plugin"] = Field(
        default="dirichlet", description="entropy estimator"
    )
    detectors: list[Literal["bayes_eprocess", "cusum", "slope"]] = Field(
        default=["bayes_eprocess", "cusum", "slope"], description="what may raise an alert"
    )
    threshold: float | None = Field(default=None, gt=1, description="on the e-value; none: 1000")
    run_length: float = Field(
        default=1000, ge=20, description="clean bins between false alarms of the CUSUM"
    )
    drift_threshold: float = Field(default=0.01, gt=0, description="slope of S, nat per bin")
    rearm: int = Field(default=10, ge=1, description="quiet bins that end an episode")


class MonitorBlock(Block):
    """Scheduled watch over streams of behaviour; `python -m flows monitor` runs it."""

    kinds: ClassVar[tuple[str, ...]] = ("transcripts",)
    taxonomy: ClassNames = ClassNames()
    watch: WatchBlock = WatchBlock()
    correct: bool = Field(default=True, description="correct S(t) for classifier errors")


class TranscriptsBlock(Block):
    """Entropy of behaviour of models over time, and its drift."""

    kinds: ClassVar[tuple[str, ...]] = ("transcripts",)
    taxonomy: ClassNames = ClassNames()
    watch: WatchBlock = WatchBlock()
    correct: bool = Field(default=True, description="correct class shares for classifier errors")
    base_of: dict[str, str] = Field(
        default={}, description="tuned model -> its base model: reduction of S, alignment work"
    )


class Topics(Model):
    """Topic model: parameters of `irrev.fit_topics`."""

    model: str | None = Field(
        default=None, description="file of `irrev.save_topics`; none: fitted once to each source"
    )
    method: Literal["kmeans", "udib"] = Field(default="kmeans", description="clustering")
    n_topics: int | None = Field(
        default=None, ge=2, description="topics of k-means; none: root of sentences, 3 to 20"
    )
    max_sentences: int = Field(default=20_000, ge=10, description="sentences fitted at most")
    edition: int = Field(default=1, ge=1, description="raise it to fit the topics again")


class Faithfulness(Model):
    """Parameters of `irrev.faithfulness`."""

    method: Literal["faithfulness"] = Field(
        default="faithfulness", description="name of the method"
    )
    encoder: str = Field(
        default="minilm", description="sentence encoder: minilm, hashing, or a model folder"
    )
    topics: Topics = Topics()
    assignment: Literal["hard", "soft"] = Field(default="hard", description="topics of sentences")
    alpha: float = Field(default=0.5, gt=0, description="sentences added to each topic")
    eps: float | None = Field(
        default=None, gt=0, description="squared length of the topic kernel; none: mean distance"
    )


class Permutations(Null):
    """The null distribution of faithfulness: sentences dealt again."""

    draws: int = Field(default=999, ge=19, description="reshuffles of each answer's test")


class TripletsBlock(Block):
    """Faithfulness and semantic entropy production of answers."""

    kinds: ClassVar[tuple[str, ...]] = ("triplets",)
    faithfulness: Faithfulness = Faithfulness()
    null: Permutations = Permutations()  # pyright: ignore[reportIncompatibleVariableOverride]


class Network(Model):
    """Parameters of `irrev.network_ep`, for `features: network`."""

    hidden: list[int] = Field(default=[64, 64], min_length=1, description="sizes of hidden layers")
    steps: int = Field(default=1500, ge=1, description="training steps")
    batch: int = Field(default=4096, ge=1, description="steps of trajectories in a batch")
    learning_rate: float = Field(default=1e-3, gt=0, description="of Adam, cosine decay")
    time: Literal["none", "input", "bumps"] = Field(default="none", description="how time enters")
    angles: list[int] = Field(default=[], description="components that are angles, from 0")


class Currents(Model):
    """Parameters of `irrev.learn_ep`."""

    method: Literal["currents"] = Field(default="currents", description="name of the method")
    features: Literal["linear", "quadratic", "cubic", "fourier", "gaussian", "network"] = Field(
        default="linear", description="family of forces; fourier for angles"
    )
    network: Network = Network()
    n_features: int = Field(default=20, ge=2, description="Gaussian centres or Fourier order")
    time_powers: int = Field(
        default=0, ge=0, description="powers of time in the force; 0: steady state"
    )
    diffusion: float | Literal["moments"] | None = Field(
        default=None, description="coefficient, or second moments; none: from increments"
    )
    ridge: float | None = Field(default=None, ge=0, description="none: chosen on validation")
    folds: int = Field(default=5, ge=3, description="cross-fitting folds; each is test once")
    remove_stage_drift: bool | None = Field(
        default=None, description="subtract the common motion; none: for tracks of one film"
    )
    centre: bool = Field(default=False, description="measure each track in its own frame")
    driven: bool = Field(
        default=False, description="learn d ln p/dt for single trajectories away from steady state"
    )


class TrajectoriesBlock(Block):
    """Entropy production of trajectories, learned from currents."""

    kinds: ClassVar[tuple[str, ...]] = ("trajectories",)
    ep: Currents = Currents()
    null: Null = Null(draws=500)


class Learning(Model):
    """Parameters of `irrev.learn_protocol`."""

    n_iterations: int = Field(default=300, ge=1, description="steps of the optimiser")
    n_trajectories: int = Field(default=1000, ge=200, description="fresh ones each step")
    rate: float | None = Field(
        default=None, gt=0, description="first step size, control's unit; none: by the source"
    )
    shape: Literal["steps", "linear", "polynomial"] = Field(
        default="steps", description="family of protocols; all may jump at both ends"
    )
    n_parameters: int | None = Field(
        default=None, ge=1, description="knots or terms of a control; none: one an interval"
    )
    method: Literal["auto", "response", "pathwise"] = Field(
        default="auto", description="gradient; auto: pathwise at low friction"
    )
    n_evaluation: int = Field(default=50_000, ge=1000, description="fresh ones for the price")


class ProtocolsBlock(Block):
    """Protocols that drive a system at the least work: a sweep over durations and weights."""

    kinds: ClassVar[tuple[str, ...]] = driven_tasks.KINDS
    durations: list[Annotated[float, Field(gt=0)]] = Field(
        default=[1.0], min_length=1, description="times of the task, its own units"
    )
    error_weights: list[Annotated[float, Field(gt=0)]] = Field(
        default=[5.0, 10.0, 20.0, 40.0],
        min_length=1,
        description="prices of an error, energy; unused where a system has none",
    )
    n_intervals: int = Field(default=20, ge=1, description="values of each control")
    dt: float = Field(default=0.005, gt=0, description="longest time step, its own units")
    learning: Learning = Learning()
    interval: NormalInterval = NormalInterval()  # pyright: ignore[reportIncompatibleVariableOverride]


class DiffusionBlock(Block):
    """Decisions, information and cost of a diffusion model along the noise axis."""

    kinds: ClassVar[tuple[str, ...]] = ("samples",)
    sources: list[str] = Field(
        default=[], description="names of sources; none: the model's own samples only"
    )
    model: AnyDiffusionModel = Field(
        default=DigitsModel(kind="digits"), description="the model that is examined"
    )
    levels: Levels = Levels()
    classes: list[NonNegativeInt] = Field(
        default=[], description="classes that are asked about and generated; none: all"
    )
    against: Literal["classes", "unconditional"] = Field(
        default="classes",
        description="unconditional: each class or prompt alone against the null condition",
    )
    partitions: dict[str, Sets] = Field(
        default={},
        description="question -> set -> classes or further sets; which class it is comes first",
    )
    guidance: list[FiniteFloat] = Field(
        default=[], description="weights at which paths are generated; [1, 2] compares"
    )
    seeds: list[NonNegativeInt] = Field(
        default=[0], min_length=1, description="each repeats everything with noise of its own"
    )
    schedules: list[Literal["ve", "vp_linear", "cosine", "cond_ot"]] = Field(
        default=["cond_ot", "cosine", "vp_linear"], description="schedules that are priced"
    )
    n_paths: int = Field(
        default=0, ge=0, description="paths of each piece; 0: each sample once, or 300"
    )
    batch: int = Field(default=512, ge=1, description="paths of one batch; changes the noise")
    trace_states: int = Field(
        default=64, ge=0, description="states for divergence, instability and wrong starts; 0: no"
    )
    interval: Interval = Interval(draws=200)

    @model_validator(mode="after")
    def _check_pieces(self) -> "DiffusionBlock":
        if not self.sources and not self.guidance:
            raise ValueError("no sources and no guidance; name samples, or weights such as [1, 2]")
        for key in ("classes", "guidance", "seeds", "schedules"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise BlockError(key, f"{values} names one of them twice")
        for name, sets in self.partitions.items():
            check_sets(name, sets)
        if self.against == "unconditional" and self.partitions:
            raise ValueError(
                "`against: unconditional` asks of each class alone; leave partitions out"
            )
        if self.against == "unconditional" and not self.guidance:
            raise ValueError(
                "`against: unconditional` follows generated paths; name weights in guidance"
            )
        return self


class Flows(Model):
    """What to measure; a flow that is absent does not run."""

    spikes: SpikesBlock | None = Field(
        default=None, description="entropy production of spike trains"
    )
    study: StudyBlock | None = Field(
        default=None, description="entropy production against population size"
    )
    spins: SpinsBlock | None = Field(
        default=None, description="entropy production of spin models against temperature"
    )
    timeseries: TimeseriesBlock | None = Field(
        default=None, description="cross-spectral witness of multichannel records"
    )

    trajectories: TrajectoriesBlock | None = Field(
        default=None, description="entropy production of trajectories, learned from currents"
    )
    protocols: ProtocolsBlock | None = Field(
        default=None, description="protocols that drive a system at the least work"
    )
    transcripts: TranscriptsBlock | None = Field(
        default=None, description="entropy of behaviour of models over time, and its drift"
    )
    triplets: TripletsBlock | None = Field(
        default=None, description="faithfulness and semantic entropy production of answers"
    )

    diffusion: DiffusionBlock | None = Field(
        default=None, description="decisions, information and cost of a diffusion model"
    )

    monitor: MonitorBlock | None = Field(
        default=None, description="scheduled watch over streams of behaviour, with alerts"
    )

    def chosen(self) -> dict[str, Block]:
        """Return the flows that `run` runs, in the order of this class, without the monitor."""
        names = (name for name in type(self).model_fields if name != "monitor")
        pairs = ((name, getattr(self, name)) for name in names)
        return {name: block for name, block in pairs if block is not None}
