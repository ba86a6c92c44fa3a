"""The source blocks of pipeline.yaml: what is read, which part of it, and how strictly."""

import glob
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from flows.driven_tasks import AnyDrivenTask
from flows.model import Model
from flows.quantities import Hertz, Seconds
from irrev.errors import ConfigError
from irrev.readers.expressions import check_expression


@dataclass(frozen=True, slots=True)
class Item:
    """One file or folder of a source."""

    name: str  # the source's name, or name/stem where a source has several items
    source: str
    path: Path


class BaseSource(Model):
    """Fields that all kinds share."""

    uri: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(min_length=1)] = Field(
        description="path, glob, or list of these"
    )
    on_error: Literal["quarantine", "stop"] = Field(
        default="quarantine", description="set bad input aside with its reason, or stop the run"
    )

    def items(self, name: str, folder: Path) -> list[Item]:
        """Expand paths and globs, sorted; relative paths start at `folder`.

        Raises
        ------
        ConfigError
            If a path does not exist or a glob matches nothing.
        """
        uris = [self.uri] if isinstance(self.uri, str) else self.uri
        patterns = [from_environment(uri) for uri in uris]
        paths: list[Path] = []
        for pattern in patterns:
            matches = _matches(folder, pattern)
            if not matches:
                mend = "copy the file here" if "://" in pattern else "check the path"
                raise ConfigError(f"sources.{name}.uri: nothing at {pattern}; {mend}.")
            paths += [Path(m) for m in matches]
        for path in paths:
            if not _is_utf8(path.name):  # written on a system with another encoding
                raise ConfigError(f"sources.{name}.uri: {path.name!a} is no UTF-8; rename it.")
        if len(paths) == 1 and isinstance(self.uri, str) and _is_plain(folder, patterns[0]):
            return [Item(name, name, paths[0])]
        stems = [p.stem if p.is_file() else p.name for p in paths]
        if len(set(stems)) < len(stems):  # log.eval beside log.json
            stems = [
                p.name if stems.count(s) > 1 else s for p, s in zip(paths, stems, strict=True)
            ]
        if len(set(stems)) < len(stems):  # same file name in several folders
            stems = [f"{p.parent.name}_{stem}" for p, stem in zip(paths, stems, strict=True)]
        twice = next((s for s in stems if stems.count(s) > 1), None)
        if twice is not None:
            raise ConfigError(
                f"sources.{name}.uri: two files would be called {name}/{twice}; rename one, or "
                "list each file once."
            )
        return [Item(f"{name}/{s}", name, p) for s, p in zip(stems, paths, strict=True)]


def _matches(folder: Path, pattern: str) -> list[str]:
    """Expand a glob; the folder's own name, and one that exists as it is written, are plain."""
    if os.path.lexists(folder / pattern):
        return [str(folder / pattern)]
    start = folder if Path(pattern).is_absolute() else Path(glob.escape(str(folder)))
    return sorted(glob.glob(str(start / pattern), recursive=True))


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_plain(folder: Path, pattern: str) -> bool:
    """Say whether a pattern names one item."""
    return not glob.has_magic(pattern) or os.path.lexists(folder / pattern)


def from_environment(text: str, key: str = "sources") -> str:
    """Fill in `${NAME}` from the environment, so that one file serves several machines.

    Raises
    ------
    ConfigError
        If a variable is not set.
    """
    filled = os.path.expandvars(text)
    if "${" in filled:
        raise ConfigError(f"{key}: {text}: set the environment variable that it names.")
    return filled


def _expression(text: str) -> str:
    check_expression(text)
    return text


class Units(Model):
    """Which units of a recording are used; rules apply in this order."""

    where: Annotated[str, AfterValidator(_expression)] | None = Field(
        default=None, description="expression on unit columns, e.g. `snr > 1`"
    )
    areas: list[str] | None = Field(default=None, description="brain areas to keep")
    min_active: float | None = Field(
        default=None, ge=0, lt=1, description="least fraction of active bins, e.g. 0.02"
    )
    most_active: int | None = Field(default=None, ge=2, description="keep the N most active units")
    draw: int | None = Field(default=None, ge=2, description="draw N units at random")
    seed: int | None = Field(
        default=None, ge=0, description="of the draw: the same units in all conditions; none: 0"
    )
    activity: Literal["recording", "condition"] = Field(
        default="recording",
        description="where active units are counted; condition: each has units of its own",
    )


class Conditions(Model):
    """How a recording is split into conditions."""

    table: str | None = Field(
        default=None, description="interval table: epochs, trials, ...; none: all"
    )
    by: str = Field(default="tags", description="column whose values name the conditions")


class SpikesSource(BaseSource):
    """Spike trains: NWB, Kilosort/Phy folders, multi-electrode HDF5, NPZ, CSV."""

    kind: Literal["spikes"] = Field(description="kind of the source")
    units: Units = Units()
    conditions: Conditions = Conditions()
    recording: tuple[Seconds, Seconds] | None = Field(
        default=None, description="start and stop, for files that do not state their range"
    )
    time_unit: Literal["s", "ms", "samples"] = Field(
        default="s", description="unit of times in the file"
    )
    sample_rate: Hertz | None = Field(default=None, description="needed for `time_unit: samples`")

    @model_validator(mode="after")
    def _check_recording(self) -> "SpikesSource":
        if self.recording and self.recording[0] >= self.recording[1]:
            raise ValueError("recording starts at or after its stop; write [start, stop]")
        return self


class TimeseriesSource(BaseSource):
    """Multichannel records: NPY, NPZ, CSV, Zarr, EEGLAB, EDF, BDF, NWB series, spike counts."""

    kind: Literal["timeseries"] = Field(description="kind of the source")
    sampling_rate: Hertz | None = Field(default=None, description="where the file has none")
    array: str | None = Field(default=None, description="array in NPZ or Zarr, series in NWB")
    transpose: bool = Field(default=False, description="rows of the array are channels")
    resample: bool = Field(default=False, description="interpolate irregular sampling")
    epoch_length: int | None = Field(
        default=None, ge=1, description="samples of epochs that were joined end to end"
    )
    first_join: int = Field(default=0, ge=0, description="sample before which the first join is")
    shared_reference: bool | None = Field(
        default=None, description="channels of one body or reference; default true for EEG files"
    )
    spike_bin: Seconds | None = Field(
        default=None, gt=0, description="count spikes in bins of this width"
    )
    in_place: bool = Field(
        default=False, description="leave samples in their file (Zarr, NPY); for long records"
    )


class TrajectoriesSource(BaseSource):
    """Trajectories: tables of tracks (CSV, TSV, TXT), NPY, NPZ, HDF5."""

    kind: Literal["trajectories"] = Field(description="kind of the source")
    dt: Seconds | None = Field(default=None, gt=0, description="time between frames")
    frame_rate: Hertz | None = Field(default=None, gt=0, description="frames per second")
    columns: str | None = Field(
        default=None, description="names of columns of a table without header; `_` skips one"
    )
    group: str | None = Field(default=None, description="column whose values are conditions")
    unit: str = Field(default="", description="unit of positions; none: from column names")
    clock: Literal["common", "own"] | None = Field(
        default=None, description="common: seen together; none: tables common, arrays own"
    )


class Classifier(Model):
    """A trained classifier of answers; without one the labels of the source are used."""

    path: str = Field(description="file written by `irrev.save_classifier`")
    encoder: str = Field(default="minilm", description="sentence encoder: minilm or a folder")


class TranscriptsSource(BaseSource):
    """Chat logs: chat JSON lines, parquet, evaluation logs; see docs/data/transcripts.md."""

    kind: Literal["transcripts"] = Field(description="kind of the source")
    format: str = Field(default="auto", description="auto, or the name of a format")
    fields: dict[str, str] | None = Field(
        default=None, description="text, prompt, id, model, stress, t, label, group -> field"
    )
    model: str = Field(default="", description="model of records that name none")
    variants: dict[str, str] = Field(default={}, description="model -> base, tuned, ...")
    stresses: dict[str, str] = Field(default={}, description="stress or task -> its name here")
    labels: dict[str, str] = Field(default={}, description="label in the source -> class")
    store_text: bool = Field(
        default=False, description="keep questions and answers in the store, not hashes only"
    )
    store_vectors: bool = Field(
        default=True, description="keep the classifier's text vectors: no text is embedded twice"
    )
    classifier: Classifier | None = None


class TripletsSource(BaseSource):
    """Questions, contexts and answers, or 10-K items: JSON lines; see docs/data/triplets.md."""

    kind: Literal["triplets"] = Field(description="kind of the source")
    fields: dict[str, str] | None = Field(
        default=None, description="id, question, context, answer, model, label, group -> field"
    )
    filing_items: list[str] = Field(
        default=["item_1A", "item_7"], description="items of 10-K filings that are compared"
    )
    store_text: bool = Field(
        default=False, description="keep the texts in the store, not hashes only"
    )
    store_vectors: bool = Field(
        default=True, description="keep sentence vectors, so that no sentence is embedded twice"
    )
    supported: list[str] = Field(
        default=[], description="labels of supported answers; none: nothing is ranked"
    )
    unsupported: list[str] = Field(
        default=[], description="labels of the others; none: all labels but the supported"
    )


class SamplesSource(BaseSource):
    """Samples of a diffusion model or labelled data: NPY, NPZ, Zarr, image folders."""

    kind: Literal["samples"] = Field(description="kind of the source")
    array: str | None = Field(default=None, description="array of the samples in NPZ or Zarr")
    labels: str | None = Field(default=None, description="array of the labels in NPZ or Zarr")
    value_range: tuple[float, float] | None = Field(
        default=None, description="stored values that stand for -1 and 1"
    )
    image_size: int | None = Field(
        default=None, ge=1, description="side to which images of a folder are scaled, pixels"
    )


class SpinsSource(BaseSource):
    """Spin systems: couplings (NPZ, CSV), or the numbers of a random model (JSON)."""

    kind: Literal["spins"] = Field(description="kind of the source")


Source = Annotated[
    SamplesSource
    | SpikesSource
    | SpinsSource
    | TimeseriesSource
    | TrajectoriesSource
    | TranscriptsSource
    | TripletsSource
    | AnyDrivenTask,
    Field(discriminator="kind"),
]
