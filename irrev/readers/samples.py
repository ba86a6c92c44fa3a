"""Stored samples of a diffusion model, or labelled data to noise: arrays and image folders.

Formats: NPY, NPZ, Zarr written by xarray, and a folder of images with one subfolder a class. Whole
sampling paths come as an array (noise_level, sample, ...) beside their noise levels; the last
level is then the sample. Labels are class indices of the model that shall judge them.

`SampleStream` reads a file in parts of 16 MiB: its memory is a few parts, the labels, and at its
end 24 bytes a sample for the search for repeated ones. `open_samples` joins the parts.
"""

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.errors import InputError
from irrev.readers import OnError
from irrev.readers.arrays import NpyFile
from irrev.readers.raw import Findings
from irrev.readers.sample_rows import NpzArrays, Stored, image_folder, zarr_arrays

VERSION = 1
SAMPLE_NAMES = ("samples", "images", "x", "data", "latents", "arr_0")
LABEL_NAMES = ("labels", "label", "y", "classes")
PATH_NAMES = ("paths", "path", "trajectory", "trajectories")
SIGMA_NAMES = ("sigmas", "sigma", "noise_levels")
BYTE_RANGE = (0.0, 255.0)
PART_BYTES = 2**24  # of single-precision numbers
DIGEST_BYTES = 8  # of a sample, to find repeated ones


def open_samples(
    path: Path,
    *,
    on_error: OnError = "quarantine",
    array: str | None = None,
    labels: str | None = None,
    value_range: tuple[float, float] | None = None,
    image_size: int | None = None,
) -> xr.Dataset:
    """Read samples or paths with their labels, all of them into memory.

    Parameters
    ----------
    path
        NPY, NPZ or Zarr, or a folder of images.
    on_error
        `quarantine` drops samples that cannot be used and lists them; `stop` raises.
    array, labels
        Names of the arrays in NPZ or Zarr; by default the usual ones are looked for.
    value_range
        Stored values that stand for -1 and 1; by default floats are kept as they are and bytes
        run from 0 to 255.
    image_size
        Side, pixels, to which images of a folder are scaled; needed if they differ in size.

    Returns
    -------
        Dataset of kind "samples"; attribute `shape` holds the shape of one sample as JSON.

    Raises
    ------
    FormatError
        If the content is not samples, or labels or noise levels do not belong to them.
    InputError
        If an option does not fit.
    """
    stream = SampleStream(
        path, on_error=on_error, array=array, labels=labels, value_range=value_range,
        image_size=image_size,
    )  # fmt: skip
    parts = list(stream)
    joined = {
        name: xr.Variable.concat([part[name].variable for part in parts], "sample")
        for name in ("x", "path")
        if name in parts[0]
    }
    return stream.head.assign(joined)


@dataclass
class _Source:
    """Rows of one file: raw numbers, which of them could be read, and what belongs to all."""

    n: int
    read: Callable[[slice], tuple[NDArray[np.generic], NDArray[np.generic] | None]]
    readable: Callable[[slice], NDArray[np.bool_]]
    label: NDArray[np.int64] | None
    sigma: NDArray[np.float64] | None
    reader: str
    shape: tuple[int, ...]  # of one sample
    names: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class SampleStream:
    """Samples of a file in parts; iterate once, then ask for the head.

    Parameters
    ----------
    path, on_error, array, labels, value_range, image_size
        As in `open_samples`.
    part_bytes
        Single-precision numbers of one part, bytes; 16 MiB by default.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_error: OnError = "quarantine",
        array: str | None = None,
        labels: str | None = None,
        value_range: tuple[float, float] | None = None,
        image_size: int | None = None,
        part_bytes: int | None = None,
    ) -> None:
        if value_range is not None and not value_range[0] < value_range[1]:
            raise InputError(f"value_range is {value_range}; give the smaller value first.")
        self._path, self._range, self._part_bytes = path, value_range, part_bytes or PART_BYTES
        self._array, self._labels, self._image_size = array, labels, image_size
        self._findings = Findings(path.name, on_error == "stop")
        self.rows: list[int] = []  # samples of each part so far
        self._head: xr.Dataset | None = None

    @property
    def head(self) -> xr.Dataset:
        """Return what belongs to all samples: labels, class names, noise levels, checks."""
        assert self._head is not None, "read the parts first"
        return self._head

    def __iter__(self) -> Iterator[xr.Dataset]:
        """Read part by part: `x`, and `path` if the file has whole paths; usable samples only."""
        with self._opened() as source:
            counts = {"not_finite": 0, "no_class": 0, "duplicate": 0}
            kept, digests = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
            step = self._rows_of_a_part(source)
            for start in range(0, source.n, step):
                part, good = self._part(source, slice(start, min(start + step, source.n)), counts)
                if part is None:
                    continue
                digests.append(_digests(part["x"].to_numpy()))
                kept.append(np.flatnonzero(good) + start)
                self.rows.append(part.sizes["sample"])
                yield part
            counts["duplicate"] = sum(self.rows) - len(np.unique(np.concatenate(digests)))
            self._finish(source, counts, np.concatenate(kept))

    def _rows_of_a_part(self, source: _Source) -> int:
        states = 1 if source.sigma is None else 1 + len(source.sigma)
        return max(1, self._part_bytes // (4 * states * max(1, math.prod(source.shape))))

    def _part(
        self, source: _Source, rows: slice, counts: dict[str, int]
    ) -> tuple[xr.Dataset | None, NDArray[np.bool_]]:
        """Return the usable samples of some rows, and which rows these are."""
        good = np.ones(rows.stop - rows.start, dtype=bool)
        raw, raw_levels = source.read(rows)
        readable = source.readable(rows)
        if len(raw) == 0:
            return None, readable
        flat = self._scaled(raw).reshape(len(raw), -1)
        finite = np.asarray(np.isfinite(flat).all(axis=1), dtype=bool)
        levels = None
        if raw_levels is not None:
            levels = self._scaled(raw_levels).reshape(len(raw_levels), len(raw), -1)
            finite &= np.asarray(np.isfinite(levels).all(axis=(0, 2)))
        counts["not_finite"] += int((~finite).sum())
        good &= readable
        good[readable] &= finite
        if source.label is not None:
            unlabelled = (source.label[rows] < 0) & readable
            counts["no_class"] += int(unlabelled.sum())
            good &= ~unlabelled
        if not good.any():
            return None, good
        inside = good[readable]
        part = xr.Dataset({"x": (("sample", "feature"), flat[inside])})
        if levels is not None:
            part["path"] = (("noise_level", "sample", "feature"), levels[:, inside])
        return part, good

    def _scaled(self, values: NDArray[np.generic]) -> NDArray[np.float32]:
        """Map the range to [-1, 1]; floats without a range stay."""
        value_range = self._range
        if value_range is None:
            if values.dtype.kind == "f":
                # the checks find what is not finite
                with np.errstate(over="ignore", invalid="ignore"):
                    return values.astype(np.float32)
            value_range = BYTE_RANGE
        low, high = value_range
        return ((values.astype(np.float64) - low) * (2 / (high - low)) - 1).astype(np.float32)

    def _finish(self, source: _Source, counts: dict[str, int], kept: NDArray[np.int64]) -> None:
        findings, n = self._findings, source.n - len(source.broken)
        if source.broken:
            findings.fault(
                "unreadable_image", len(source.broken), "removed", source.broken[0],
                "remove or export it again",
            )  # fmt: skip
        if counts["not_finite"]:
            findings.fault(
                "not_finite", counts["not_finite"], "removed",
                f"{counts['not_finite']} of {n} samples hold NaN or infinity",
                "remove these samples",
            )  # fmt: skip
        if counts["no_class"]:
            findings.fault(
                "no_class", counts["no_class"], "removed",
                f"{counts['no_class']} labels are negative", "label every sample 0, 1, ...",
            )  # fmt: skip
        if not len(kept):
            raise findings.error("no sample can be used", "look at the values and labels")
        if counts["duplicate"]:
            findings.note(
                "duplicate", counts["duplicate"],
                f"{counts['duplicate']} samples occur more than once",
            )  # fmt: skip
        self._head = self._headed(source, kept)

    def _headed(self, source: _Source, kept: NDArray[np.int64]) -> xr.Dataset:
        checks = list(zip(*self._findings.rows, strict=True)) or [(), (), (), ()]
        variables: dict[str, tuple[tuple[str, ...], NDArray[np.generic]]] = {
            "check": (("check",), np.array(checks[0], dtype=object)),
            "check_count": (("check",), np.array(checks[1], dtype=np.int64)),
            "check_action": (("check",), np.array(checks[2], dtype=object)),
            "check_detail": (("check",), np.array(checks[3], dtype=object)),
        }
        if source.label is not None:
            variables["label"] = (("sample",), source.label[kept])
        if source.names:
            variables["class_name"] = (("class",), np.array(source.names, dtype=object))
        if source.sigma is not None:
            variables["sigma"] = (("noise_level",), source.sigma)
        attrs = {
            "shape": json.dumps(list(source.shape)),
            "reader": source.reader,
            "reader_version": VERSION,
        }
        return xr.Dataset(variables, attrs=attrs)

    @contextmanager
    def _opened(self) -> Iterator[_Source]:
        if self._path.is_dir() and not (self._path / "zarr.json").is_file():
            yield self._images()
        elif self._path.is_dir():
            yield self._arrays(zarr_arrays(self._path, self._findings), "zarr")
        elif self._path.suffix.lower() == ".npz":
            with tempfile.TemporaryDirectory(prefix="irrev-samples-") as folder:
                yield self._arrays(NpzArrays(self._path, Path(folder)), "npz")
        else:
            yield self._arrays({"samples": NpyFile(self._path)}, "npy")

    def _images(self) -> _Source:
        folder = image_folder(self._path, self._findings, self._image_size)
        last: dict[str, NDArray[np.bool_]] = {}

        def read(rows: slice) -> tuple[NDArray[np.generic], None]:
            pixels, last["good"] = folder.read(folder.files[rows], self._findings.error)
            return pixels, None

        return _Source(
            len(folder.files), read, lambda _: last["good"], folder.label, None, "images",
            folder.shape, folder.names, folder.broken,
        )  # fmt: skip

    def _arrays(self, found: Mapping[str, Stored], reader: str) -> _Source:
        x, levels, sigma = _samples(found, self._findings, self._array)
        n = x.shape[0] if levels is None else levels.shape[1]
        if n == 0:
            raise self._findings.error("no samples", "write at least one")
        label = _label(found, self._findings, self._labels, n)

        def read(rows: slice) -> tuple[NDArray[np.generic], NDArray[np.generic] | None]:
            if levels is None:
                return x[rows], None
            states = levels[slice(None), rows]
            return states[-1], states

        shape = x.shape[1:] if levels is None else levels.shape[2:]
        return _Source(
            n,
            read,
            lambda rows: np.ones(rows.stop - rows.start, bool),
            label,
            sigma,
            reader,
            shape,
        )


def _digests(flat: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return a digest of each sample; two of ten million others agree once in 400,000 files."""
    normal = np.ascontiguousarray(flat + np.float32(0))  # -0 is 0
    found = (blake2b(row.tobytes(), digest_size=DIGEST_BYTES).digest() for row in normal)
    return np.frombuffer(b"".join(found), dtype=np.uint64)


def _samples(
    found: Mapping[str, Stored], findings: Findings, array: str | None
) -> tuple[Stored, Stored | None, NDArray[np.float64] | None]:
    """Return samples, and whole paths with their noise levels if the file has them."""
    levels = None if array in found else _pick(found, PATH_NAMES)
    if levels is None:
        x = found.get(array) if array else _pick(found, SAMPLE_NAMES)
        if x is None:
            raise findings.error(
                f"it holds the arrays {', '.join(found) or 'none'}",
                "name the one of the samples: `array: ...`",
            )
        _check_numbers(x, findings, least=2)
        return x, None, None
    stored = _pick(found, SIGMA_NAMES)
    if stored is None or stored.shape != levels.shape[:1]:
        shape = None if stored is None else stored.shape
        raise findings.error(
            f"paths of shape {levels.shape} but noise levels of shape {shape}",
            "store one noise level for each row of `paths`, as `sigmas`",
        )
    sigma = stored[:].astype(np.float64)
    if len(sigma) < 2 or np.any(np.diff(sigma) >= 0) or not sigma[-1] > 0:
        raise findings.error(
            f"noise levels from {sigma[0]:g} to {sigma[-1]:g} are not positive and falling",
            "store paths from large noise to small",
        )
    _check_numbers(levels, findings, least=3)
    return levels, levels, sigma


def _check_numbers(values: Stored, findings: Findings, *, least: int) -> None:
    if values.dtype.kind not in "fiu" or len(values.shape) < least:
        raise findings.error(
            f"samples of type {values.dtype} and shape {values.shape}",
            "store numbers, one sample a row",
        )


def _pick(found: Mapping[str, Stored], names: tuple[str, ...]) -> Stored | None:
    return next((found[name] for name in names if name in found), None)


def _label(
    found: Mapping[str, Stored], findings: Findings, name: str | None, n: int
) -> NDArray[np.int64] | None:
    label = found.get(name) if name else _pick(found, LABEL_NAMES)
    if name and label is None:
        raise findings.error(f"no array {name} among {', '.join(found)}", "name the labels' array")
    if label is None:
        return None
    if label.shape != (n,) or label.dtype.kind not in "iu":
        raise findings.error(
            f"{n} samples but labels of shape {label.shape} and type {label.dtype}",
            "store one whole number a sample",
        )
    return label[:].astype(np.int64)
