"""The source blocks of pipeline.yaml: what is read, which part of it, and how strictly."""

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from flows.model import Model
from flows.quantities import Hertz
from irrev.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Item:
    """One file or folder of a source."""

    name: str  # the source's name, or name/stem where a source has several items
    source: str
    path: Path


class BaseSource(Model):
    """Fields that all kinds share."""

    uri: str | list[str] = Field(description="path, glob, or list of these")
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
        patterns = [self.uri] if isinstance(self.uri, str) else self.uri
        paths: list[Path] = []
        for pattern in patterns:
            matches = sorted(glob.glob(str(folder / pattern), recursive=True))
            if not matches:
                raise ConfigError(f"sources.{name}.uri: nothing at {pattern}; check the path.")
            paths += [Path(m) for m in matches]
        if len(paths) == 1 and isinstance(self.uri, str) and not glob.has_magic(self.uri):
            return [Item(name, name, paths[0])]
        stems = [p.stem if p.is_file() else p.name for p in paths]
        if len(set(stems)) < len(stems):  # same file name in several folders
            stems = [f"{p.parent.name}_{stem}" for p, stem in zip(paths, stems, strict=True)]
        if len(set(stems)) < len(stems):
            raise ConfigError(f"sources.{name}.uri: two items share a name; name them apart.")
        return [Item(f"{name}/{s}", name, p) for s, p in zip(stems, paths, strict=True)]


class Units(Model):
    """Which units of a recording are used; rules apply in this order."""

    where: str | None = Field(
        default=None, description="expression on unit columns, e.g. `snr > 1`"
    )
    areas: list[str] | None = Field(default=None, description="brain areas to keep")
    min_active: float | None = Field(
        default=None, ge=0, lt=1, description="least fraction of active bins, e.g. 0.02"
    )
    most_active: int | None = Field(default=None, ge=2, description="keep the N most active units")
    draw: int | None = Field(default=None, ge=2, description="draw N units at random")


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
    time_unit: Literal["s", "ms", "samples"] = Field(
        default="s", description="unit of times in the file"
    )
    sample_rate: Hertz | None = Field(default=None, description="needed for `time_unit: samples`")


Source = Annotated[SpikesSource, Field(discriminator=None)]
