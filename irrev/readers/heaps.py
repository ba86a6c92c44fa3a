"""Global heaps of an HDF5 file: the place of texts of variable length.

The HDF5 library (2.0) walks the objects of a heap by their stated sizes; a stretch of zeros in
it, as a broken copy leaves, makes the size 0 and the walk endless. Heaps are therefore walked
here before the library sees them. One pass over the bytes, as cheap as hashing them.

Source: HDF5 File Format Specification 3.0, section III.E.
"""

import mmap
import struct
from pathlib import Path

SIGNATURE, VERSION = b"GCOL", b"\x01\0\0\0"
HEADER, OBJECT = 16, 16  # bytes before the first object, and before the content of each
FILE_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def broken_heap(path: Path) -> int | None:
    """Return the offset of the first heap whose objects do not fill it, or None.

    Parameters
    ----------
    path
        HDF5 file that is not empty; files with other than 8-byte lengths are not checked.
    """
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        if not _has_long_lengths(view):
            return None
        at = view.find(SIGNATURE + VERSION)
        while at >= 0:
            if not _is_whole(view, at):
                return at
            at = view.find(SIGNATURE + VERSION, at + 4)
    return None


def _has_long_lengths(view: mmap.mmap) -> bool:
    """Say whether the superblock states 8-byte lengths, as every current writer does."""
    start = next((at for at in (0, 512, 1024, 2048) if view[at : at + 8] == FILE_SIGNATURE), None)
    if start is None or len(view) < start + 16:
        return False
    return view[start + (14 if view[start + 8] < 2 else 10)] == 8


def _is_whole(view: mmap.mmap, start: int) -> bool:
    """Walk the objects of one heap; number 0 is the free rest and counts its own header."""
    if start + HEADER > len(view):
        return False
    end = start + struct.unpack_from("<Q", view, start + 8)[0]
    if end > len(view):
        return False
    at = start + HEADER
    while at + OBJECT <= end:
        number, size = struct.unpack_from("<H6xQ", view, at)
        need = size if number == 0 else OBJECT + size + (-size) % 8
        if need < OBJECT or at + need > end:
            return False
        at += need
    return True
