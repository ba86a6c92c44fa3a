"""Named arrays of NPY and NPZ files, read without ever unpickling.

A header is compared with the bytes that are there before anything is allocated, so a damaged or
forged file cannot claim the machine's memory.
"""

import math
import shutil
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from irrev.errors import FormatError

NPY = ".npy"
MAX_INFLATION = 1032  # deflate cannot do better
FREE_BYTES = 1 << 20
BROKEN = (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, NotImplementedError)
BROKEN += (
    SyntaxError,
    tokenize.TokenError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    MemoryError,
    OverflowError,
    IndexError,
)


def read_npy(path: Path) -> NDArray[np.generic]:
    """Read a NPY file of plain numbers or texts.

    Parameters
    ----------
    path
        Path of the file.

    Raises
    ------
    FormatError
        If it is not NPY, is truncated or holds Python objects.
    """
    try:
        with path.open("rb") as stream:
            return _read_array(stream, path.stat().st_size)
    except BROKEN as error:
        raise unreadable(path, "NPY", error) from error


def map_npy(path: Path) -> NDArray[np.generic]:
    """Map a NPY file of plain numbers into memory; reading a part costs that part.

    Raises
    ------
    FormatError
        As `read_npy`.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except BROKEN as error:
        raise unreadable(path, "NPY", error) from error


def read_npz(path: Path) -> dict[str, NDArray[np.generic]]:
    """Read the arrays of an NPZ archive; members that are not NPY are left out.

    Parameters
    ----------
    path
        Path of the file.

    Raises
    ------
    FormatError
        If it is not an archive, is truncated or holds Python objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = {}
            for info in archive.infolist():
                if not info.filename.endswith(NPY):
                    continue
                _check_inflation(info)
                with archive.open(info) as stream:
                    found[info.filename.removesuffix(NPY)] = _read_array(stream, info.file_size)
            return found
    except BROKEN as error:
        raise unreadable(path, "NPZ", error) from error


def npz_members(path: Path) -> list[str]:
    """Name the arrays of an NPZ archive without reading them.

    Raises
    ------
    FormatError
        If it is not an archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [n.removesuffix(NPY) for n in archive.namelist() if n.endswith(NPY)]
    except BROKEN as error:
        raise unreadable(path, "NPZ", error) from error


def unpack_member(path: Path, name: str, to: Path) -> None:
    """Unpack one array of an NPZ archive into a NPY file, block by block.

    Raises
    ------
    FormatError
        If the archive is damaged, or claims more than it can hold.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(name + NPY)
            _check_inflation(info)
            with archive.open(info) as stream, to.open("wb") as file:
                shutil.copyfileobj(stream, file, FREE_BYTES)
    except BROKEN as error:
        raise unreadable(path, "NPZ", error) from error


def _check_inflation(info: zipfile.ZipInfo) -> None:
    if info.file_size > FREE_BYTES + MAX_INFLATION * info.compress_size:
        raise ValueError(f"{info.filename} claims {info.file_size:,} bytes")


class NpyFile:
    """An array in a NPY file; indexing reads what is asked for and keeps nothing.

    Parameters
    ----------
    path
        The file.
    name
        What errors call it.

    Raises
    ------
    FormatError
        If it is not NPY, is truncated or holds Python objects.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        self._path = path
        try:
            with path.open("rb") as stream:
                self.shape, self._fortran, self.dtype = _read_header(stream)
                self._offset = stream.tell()
                _check_length(self.shape, self.dtype, path.stat().st_size - self._offset)
        except BROKEN as error:
            raise unreadable(Path(name or path), "NPY", error) from error

    def __getitem__(self, index: int | slice | tuple[slice, ...]) -> NDArray[np.generic]:
        if 0 in self.shape:  # no file of no bytes can be mapped
            return np.empty(self.shape, self.dtype)[index]
        mapped = np.memmap(
            self._path, self.dtype, "r", self._offset, self.shape, "F" if self._fortran else "C"
        )
        return np.array(mapped[index])  # a copy: pages of a map that stays open count as memory


def _read_array(stream: IO[bytes], n_bytes: int) -> NDArray[np.generic]:
    """Read one NPY stream of a known length."""
    shape, fortran, dtype = _read_header(stream)
    wanted = _check_length(shape, dtype, n_bytes)
    content = stream.read(wanted)
    if len(content) != wanted:
        raise ValueError(f"{len(content):,} of {wanted:,} bytes are there")
    values = np.frombuffer(content, dtype=dtype)
    return values.reshape(shape, order="F" if fortran else "C").copy()


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Return shape, order and type of the array that follows."""
    version = np.lib.format.read_magic(stream)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"NPY version {version} is not known")
    shape, fortran, dtype = readers[version](stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded")
    return shape, fortran, dtype


def _check_length(shape: tuple[int, ...], dtype: np.dtype[np.generic], n_bytes: int) -> int:
    """Return the bytes that an array takes, if they can be there."""
    wanted = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or wanted > n_bytes:
        raise ValueError(f"an array of {wanted:,} bytes in {n_bytes:,} bytes")
    return wanted


def unreadable(path: Path, kind: str, error: Exception) -> FormatError:
    """Return the error of a damaged file: its name, the expected kind, the reason."""
    reason = " ".join(str(error).split())[:200]
    return FormatError(
        f"{path.name}: not a readable {kind} file ({reason}); copy or export it again."
    )
