"""Rows of stored samples, some at a time: NPY, members of NPZ, Zarr arrays, image folders.

Nothing here holds more than the rows that are asked for. A member of an NPZ archive is first
unpacked into a temporary file, block by block, because a compressed stream has no middle; that
takes disk space of its size. A Zarr array is read by its chunks, so one chunk is in memory whole.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.errors import MissingExtraError
from irrev.readers.arrays import NpyFile, npz_members, unpack_member
from irrev.readers.raw import Findings
from irrev.readers.zarr_groups import open_group

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
MAX_IMAGE_PIXELS = 64_000_000  # of one image; more is a mistake or an attack
Index = int | slice | tuple[slice, ...]


class Stored(Protocol):
    """An array in a file: it knows its shape, and indexing it reads what is asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the lengths."""
        ...

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Return the type of one number."""
        ...

    def __getitem__(self, index: Index) -> NDArray[np.generic]: ...


class NpzArrays(Mapping[str, Stored]):
    """The arrays of an archive by name; each is unpacked into `folder` when it is asked for."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path, self._folder = path, folder
        self._names = npz_members(path)
        self._files: dict[str, NpyFile] = {}

    def __getitem__(self, name: str) -> NpyFile:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._files:
            file = self._folder / f"{len(self._files)}.npy"
            unpack_member(self._path, name, file)
            self._files[name] = NpyFile(file, self._path.name)
        return self._files[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True)
class ZarrArray:
    """One array of a Zarr group that xarray opened."""

    variable: xr.Variable

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the lengths."""
        return self.variable.shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Return the type of one number."""
        return self.variable.dtype

    def __getitem__(self, index: Index) -> NDArray[np.generic]:
        return np.asarray(self.variable[index])


def zarr_arrays(path: Path, findings: Findings) -> dict[str, Stored]:
    """Open the arrays of a Zarr group without reading them.

    Raises
    ------
    FormatError
        If it is no group that xarray opens.
    MissingExtraError
        If zarr is not installed.
    """
    return {str(name): ZarrArray(v) for name, v in open_group(path, findings).variables.items()}


@dataclass
class ImageFolder:
    """Images of a folder; a subfolder is a class, in alphabetical order."""

    path: Path
    size: int | None  # side to which images are scaled, pixels
    files: Sequence[Path]
    names: list[str]  # of the classes
    shape: tuple[int, ...]  # of the first image that can be read
    broken: list[str] = field(default_factory=list)  # what could not be read

    @property
    def label(self) -> NDArray[np.int64] | None:
        """Return the class of each file; None if some lie in no subfolder."""
        if not self.names or any(f.parent == self.path for f in self.files):
            return None
        return np.array([self.names.index(f.parent.name) for f in self.files], dtype=np.int64)

    def read(
        self, files: Sequence[Path], fault: Callable[[str, str], Exception]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return the pixels of the images that can be read, and which files these are."""
        pixels, good = [], np.ones(len(files), dtype=bool)
        for i, file in enumerate(files):
            try:
                pixels.append(_pixels(file, self.size))
            except UnreadableImageError as error:
                self.broken.append(str(error))
                good[i] = False
                continue
            if pixels[-1].shape != self.shape:
                raise fault(
                    f"images of 2 shapes: {sorted({self.shape, pixels[-1].shape})}",
                    "set image_size, or one mode",
                )
        blank = np.empty((0, *self.shape), dtype=np.uint8)
        return (np.stack(pixels) if pixels else blank), good


def image_folder(path: Path, findings: Findings, image_size: int | None) -> ImageFolder:
    """List the images of a folder.

    Raises
    ------
    FormatError
        If there is none.
    MissingExtraError
        Without Pillow.
    """
    if find_spec("PIL") is None:
        raise MissingExtraError("images need Pillow: `pip install 'irrev[report]'`.")
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise findings.error("no images in this folder", f"name a folder of {IMAGE_SUFFIXES}")
    names = sorted({p.parent.name for p in files if p.parent != path})
    return ImageFolder(path, image_size, files, names, _first_shape(files, image_size))


def _first_shape(files: Sequence[Path], image_size: int | None) -> tuple[int, ...]:
    for file in files:
        try:
            return _pixels(file, image_size).shape
        except UnreadableImageError:  # it is counted when its part is read
            continue
    return ()


class UnreadableImageError(Exception):
    """A file that is no image: its name and why."""


def _pixels(file: Path, image_size: int | None) -> NDArray[np.uint8]:
    """Return one image, (1 or 3, height, width)."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            too_large = image.width * image.height > MAX_IMAGE_PIXELS
            gray = image.mode in ("1", "L", "I", "I;16", "F")
            picture = None if too_large else image.convert("L" if gray else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(f"{file.name}: {error}") from error
    if picture is None:
        raise UnreadableImageError(f"{file.name}: {image.width} x {image.height} pixels")
    if image_size:
        picture = picture.resize((image_size, image_size))
    pixels = np.asarray(picture, dtype=np.uint8)
    return pixels[None] if gray else pixels.transpose(2, 0, 1)
