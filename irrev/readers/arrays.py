"""Named arrays of NPY and NPZ files, read without ever unpickling.

A header is compared with the bytes that are there before anything is allocated, so a damaged or
forged file cannot claim the machine's memory.
"""

import math
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from irrev.errors import FormatError

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
                if not info.filename.endswith(".npy"):
                    continue
                if info.file_size > FREE_BYTES + MAX_INFLATION * info.compress_size:
                    raise ValueError(f"{info.filename} claims {info.file_size:,} bytes")
                with archive.open(info) as stream:
                    name = info.filename.removesuffix(".npy")
                    found[name] = _read_array(stream, info.file_size)
            return found
    except BROKEN as error:
        raise unreadable(path, "NPZ", error) from error


def _read_array(stream: IO[bytes], n_bytes: int) -> NDArray[np.generic]:
    """Read one NPY stream of a known length."""
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
    wanted = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or wanted > n_bytes:
        raise ValueError(f"an array of {wanted:,} bytes in {n_bytes:,} bytes")
    content = stream.read(wanted)
    if len(content) != wanted:
        raise ValueError(f"{len(content):,} of {wanted:,} bytes are there")
    values = np.frombuffer(content, dtype=dtype)
    return values.reshape(shape, order="F" if fortran else "C").copy()


def unreadable(path: Path, kind: str, error: Exception) -> FormatError:
    """Return the error of a damaged file: its name, the expected kind, the reason."""
    reason = " ".join(str(error).split())[:200]
    return FormatError(
        f"{path.name}: not a readable {kind} file ({reason}); copy or export it again."
    )
