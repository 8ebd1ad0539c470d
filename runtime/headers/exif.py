"""EXIF blocks, and the TIFF directories that they consist of."""

from __future__ import annotations

import contextlib
import struct
from typing import NamedTuple

__all__ = ["ORIENTATION", "Directory", "orientation", "read_directory"]

ORIENTATION = 274
"""The tag, in TIFF and EXIF."""

_INTEGERS = {1: "B", 3: "H", 4: "L"}


class Directory(NamedTuple):
    """The first directory of a TIFF block.

    Attributes
    ----------
    order
        ``<`` or ``>``, as `struct` takes it.
    end
        Where the directory ends; beyond the block where it is truncated.
    entries
        Tag, type, count and value (or its offset) of the complete entries.
    """

    order: str
    end: int
    entries: list[tuple[int, int, int, bytes]]


def read_directory(block: bytes) -> Directory:
    """Read the first directory; raises `struct.error` where there is none."""
    order = "<" if block[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "L", block, 4)
    (count,) = struct.unpack_from(order + "H", block, start)
    start, end = start + 2, start + 2 + 12 * count
    complete = max(0, min(end, len(block)) - start) // 12 * 12
    return Directory(order, end, list(struct.iter_unpack(order + "HHL4s", block[start : start + complete])))


def orientation(exif: bytes) -> int:
    """Return the orientation (1..8) in a raw EXIF block; 1 where it has none that can be read."""
    block = exif.removeprefix(b"Exif\0\0")
    with contextlib.suppress(struct.error, KeyError):
        order, _, entries = read_directory(block)
        for tag, kind, _, value in entries:
            if tag == ORIENTATION:
                return int(struct.unpack_from(order + _INTEGERS[kind], value)[0])
    return 1
