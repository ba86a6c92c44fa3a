"""Careful access to HDF5 files from strangers.

Nothing outside the opened file is ever read: external links, soft links through them, external
raw storage and virtual data sets of other files are refused. A data set may not be larger than
what its stored bytes can inflate to, so a small file cannot claim the machine's memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from irrev.errors import FormatError, IrrevError
from irrev.readers.heaps import broken_heap

MAX_INFLATION = 1032  # deflate cannot do better: 258 bytes in 2 bits
FREE_BYTES = 1 << 20  # small columns are always read, e.g. constant ones that were never written
# a text of variable length as stored: its length, the address of its heap, its number there
TEXT_REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("number", "<u4")])
MAX_LINKS = 32  # soft links followed in one path
# what h5py raises on damaged content, besides IrrevError
DAMAGE = (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, OverflowError)
DAMAGE += (MemoryError, IndexError)


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a file read-only; whatever breaks inside leaves as a FormatError with the file's name.

    Parameters
    ----------
    path
        Path of the file.

    Raises
    ------
    FormatError
        If the file is not HDF5, is truncated or is damaged.
    """
    try:
        heap = broken_heap(path)
        if heap is not None:
            raise OSError(f"the heap of texts at byte {heap:,} is damaged")
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except IrrevError:
        raise
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise FormatError(
            f"{path.name}: not a readable HDF5 file ({reason}); copy or export it again."
        ) from error


def find(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset | None:
    """Return the member at a relative path, or None; refuse paths that leave the file.

    Parameters
    ----------
    group
        Where the path starts.
    path
        Names separated by `/`.

    Raises
    ------
    FormatError
        If the path runs through an external link or through too many soft links.
    """
    where: h5py.Group | h5py.Dataset = group
    names = [name for name in path.split("/") if name]
    links = 0
    while names:
        name = names.pop(0)
        if not isinstance(where, h5py.Group) or name in (".", ".."):
            return None
        link = where.get(name, getlink=True)
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink):
            raise FormatError(
                f"{_file_name(group)}: {path} is a link to another file ({link.filename}); "
                "copy the data into this file."
            )
        if isinstance(link, h5py.SoftLink):
            links += 1
            if links > MAX_LINKS:
                raise FormatError(f"{_file_name(group)}: {path} is a circle of links; repair it.")
            names = [part for part in link.path.split("/") if part] + names
            where = where.file if link.path.startswith("/") else where
            continue
        member = where[name]
        if isinstance(member, h5py.Datatype):
            return None
        where = member
    return where


def members(group: h5py.Group) -> list[str]:
    """List the names in a group, in the order of the file."""
    return [str(name) for name in group]


def subgroup(group: h5py.Group, path: str) -> h5py.Group | None:
    """Return the group at a path, or None."""
    found = find(group, path)
    return found if isinstance(found, h5py.Group) else None


def column(group: h5py.Group, path: str) -> h5py.Dataset | None:
    """Return the data set at a path, or None; refuse one whose bytes lie elsewhere.

    Parameters
    ----------
    group
        Where the path starts.
    path
        Names separated by `/`.

    Raises
    ------
    FormatError
        If the data set is stored in other files or larger than its stored bytes can be.
    """
    found = find(group, path)
    if not isinstance(found, h5py.Dataset):
        return None
    if found.external is not None:
        raise FormatError(
            f"{_file_name(group)}: {path} keeps its bytes in another file; "
            "copy them into this one."
        )
    if found.is_virtual:
        raise FormatError(
            f"{_file_name(group)}: {path} is a virtual data set; write its values into this file."
        )
    _bound(found, path)
    return found


def _bound(data: h5py.Dataset, path: str) -> None:
    claimed = int(data.size or 0) * data.dtype.itemsize
    stored = data.id.get_storage_size()
    if claimed > FREE_BYTES + MAX_INFLATION * stored:
        raise FormatError(
            f"{_file_name(data)}: {path} claims {claimed:,} bytes but holds {stored:,}; "
            "the file is truncated or forged."
        )


def numbers(group: h5py.Group, path: str) -> NDArray[np.generic] | None:
    """Read a numeric data set whole, or return None where there is none."""
    data = column(group, path)
    if data is None or data.dtype.kind not in "fiub":
        return None
    return np.asarray(data[()])


def texts(data: h5py.Dataset) -> NDArray[np.object_]:
    """Read a text data set as Python strings; bytes that are not UTF-8 are shown escaped.

    Parameters
    ----------
    data
        Data set of strings of fixed or variable length.

    Raises
    ------
    FormatError
        If a text claims to be longer than the file.
    """
    _bound_texts(data)
    values = np.asarray(data[()], dtype=object)
    decoded = [
        v.decode("utf-8", "backslashreplace") if isinstance(v, bytes) else str(v)
        for v in values.ravel()
    ]
    out = np.empty(len(decoded), dtype=object)
    out[:] = [text.rstrip("\0").strip() for text in decoded]
    return out


def _bound_texts(data: h5py.Dataset) -> None:
    """Compare the stated lengths of texts with the file: the library allocates them unseen."""
    info = h5py.check_string_dtype(data.dtype)
    if info is None or info.length is not None:
        return
    limit = Path(data.file.filename).stat().st_size
    for raw in _stored_references(data, limit):
        lengths = np.frombuffer(
            raw[: len(raw) - len(raw) % TEXT_REFERENCE.itemsize], TEXT_REFERENCE
        )
        longest = int(lengths["length"].max(initial=0))
        if longest > limit:
            raise FormatError(
                f"{_file_name(data)}: {data.name} has a text of {longest:,} bytes; "
                "the file is damaged, copy or export it again."
            )


def _stored_references(data: h5py.Dataset, limit: int) -> Iterator[bytes]:
    """Yield the references of a text data set as stored; nothing for filters we cannot undo."""
    offset = data.id.get_offset()
    if offset is not None:
        with open(data.file.filename, "rb") as stream:
            stream.seek(offset)
            yield stream.read(int(data.size or 0) * TEXT_REFERENCE.itemsize)
    if data.chunks is None or data.id.get_create_plist().get_nfilters():
        return
    for number in range(data.id.get_num_chunks()):
        chunk = data.id.get_chunk_info(number)
        if chunk.size > limit:
            raise FormatError(
                f"{_file_name(data)}: {data.name} has a chunk of {chunk.size:,} bytes; "
                "the file is damaged, copy or export it again."
            )
        yield bytes(data.id.read_direct_chunk(chunk.chunk_offset)[1])


def is_text(data: h5py.Dataset) -> bool:
    """Say whether a data set holds strings."""
    return h5py.check_string_dtype(data.dtype) is not None


def _file_name(thing: h5py.Group | h5py.Dataset) -> str:
    return Path(thing.file.filename).name


def attribute_names(file: h5py.File, name: str) -> list[str]:
    """List the attributes of a member of the file's root; none for a broken or foreign link."""
    found = find(file, name)
    return [] if found is None else list(found.attrs)


def matlab_arrays(file: h5py.File) -> dict[str, NDArray[np.generic]]:
    """Read the numeric arrays and cell arrays of a MATLAB 7.3 file.

    Parameters
    ----------
    file
        Opened file.

    Returns
    -------
        By name; a cell array becomes an array of arrays.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    for name in members(file):
        data = column(file, name)
        if data is None:
            continue
        if data.dtype.kind in "fiu":
            arrays[name] = _matlab_values(data)
        elif h5py.check_ref_dtype(data.dtype) is h5py.Reference:
            cells = [file[reference] for reference in data[()].ravel() if reference]
            arrays[name] = np.empty(len(cells), dtype=object)
            for i, cell in enumerate(cells):
                if isinstance(cell, h5py.Dataset):
                    _bound(cell, name)
                    arrays[name][i] = _matlab_values(cell)
    return arrays


def _matlab_values(data: h5py.Dataset) -> NDArray[np.generic]:
    """Read an array; MATLAB writes the shape of an empty one in the place of its values."""
    return np.empty(0) if "MATLAB_empty" in data.attrs else np.asarray(data[()])
