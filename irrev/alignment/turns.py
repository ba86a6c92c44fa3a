"""Classified turns, each once: the state from which all monitoring is recomputed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.alignment.alerts import StreamKey

METHOD_VERSION = 1


@dataclass(frozen=True, slots=True)
class TurnTable:
    """Classified turns, each once, in order of time and key."""

    key: NDArray[np.int64]  # (turn,) hash of transcript, turn and text
    stream: NDArray[np.int64]  # (turn,) index into `streams`
    t: NDArray[np.float64]  # (turn,) s since 1970, or order of arrival
    label: NDArray[np.int64]  # (turn,) class, -1 for none
    streams: tuple[StreamKey, ...]

    @classmethod
    def empty(cls) -> "TurnTable":
        """Return a table without turns."""
        none = np.empty(0, dtype=np.int64)
        return cls(none, none, np.empty(0), none, ())

    def add(
        self,
        keys: Sequence[int],
        streams: Sequence[StreamKey],
        t: Sequence[float],
        labels: Sequence[int],
    ) -> "TurnTable":
        """Add turns that are not there yet; known keys are left as they are."""
        known = {name: i for i, name in enumerate(self.streams)}
        index = np.array([known.setdefault(s, len(known)) for s in streams], dtype=np.int64)
        key = np.concatenate([self.key, np.asarray(keys, dtype=np.int64)])
        _, first = np.unique(key, return_index=True)
        t_all = np.concatenate([self.t, np.asarray(t, dtype=np.float64)])[first]
        order = np.lexsort((key[first], t_all))
        kept = first[order]
        return TurnTable(
            key[kept],
            np.concatenate([self.stream, index])[kept],
            t_all[order],
            np.concatenate([self.label, np.asarray(labels, dtype=np.int64)])[kept],
            tuple(known),
        )

    def to_dataset(self) -> xr.Dataset:
        """Return the kind `alignment/turns`."""
        names = {
            f"stream_{f}": (
                "stream",
                np.array([getattr(s, f) for s in self.streams], dtype=object),
            )
            for f in StreamKey._fields
        }
        turns = {
            "key": ("turn", self.key),
            "stream_index": ("turn", self.stream),
            "t": ("turn", self.t),
            "class_index": ("turn", self.label),
        }
        return xr.Dataset(names | turns)

    @classmethod
    def from_dataset(cls, ds: xr.Dataset) -> "TurnTable":
        """Read what `to_dataset` wrote."""
        columns = (ds[f"stream_{f}"].to_numpy().tolist() for f in StreamKey._fields)
        streams = tuple(StreamKey(*row) for row in zip(*columns, strict=True))
        return cls(
            key=ds["key"].to_numpy(),
            stream=ds["stream_index"].to_numpy(),
            t=ds["t"].to_numpy(),
            label=ds["class_index"].to_numpy(),
            streams=streams,
        )
