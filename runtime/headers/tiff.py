"""TIFF: the first directory (TIFF 6.0, section 2)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import ImageError
from .exif import ORIENTATION, Directory, read_directory
from .jpeg import MAX_SCANNED_PIXELS
from .trimmed import CheckSize, Trimmed

__all__ = ["trim"]

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_INTEGERS = {1: "u1", 3: "u2", 4: "u4"}

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _ROWS, _PLANAR = 256, 257, 258, 259, 277, 278, 284
_STRIP_OFFSETS, _STRIP_BYTES, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 273, 279, 322, 323, 324, 325
_SAMPLE_FORMAT = 339
_PARTS = frozenset({_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES})
_SCALARS = frozenset(
    {
        _WIDTH,
        _HEIGHT,
        _COMPRESSION,
        262,
        266,
        ORIENTATION,
        _SAMPLES,
        _ROWS,
        _PLANAR,
        317,
        _TILE_WIDTH,
        _TILE_HEIGHT,
        332,
    }
)
# Tags that decoding needs, with the most values they may have. The others are dropped, whatever is in them.
_MAX_VALUES = {
    **dict.fromkeys(_SCALARS, 1),
    _BITS: 32,
    292: 1,  # options of fax compression
    293: 1,
    320: 3 * 65_536,  # palette
    338: 32,  # extra samples
    _SAMPLE_FORMAT: 32,
    347: 65_536,  # JPEG tables
    **dict.fromkeys((512, 513, 514, 515), 1),  # JPEG as of TIFF 6.0
    **dict.fromkeys((519, 520, 521), 32),
    529: 3,  # YCbCr
    530: 2,
    531: 1,
    532: 6,
}
_MAX_PARTS = 65_536  # strips or tiles

_RAW, _OLD_JPEG, _JPEG = 1, 6, 7
_SEPARATE, _FLOAT = 2, 3


@dataclass(frozen=True, slots=True)
class _Entry:
    tag: int
    kind: int
    count: int
    packed: bytes  # the last four bytes of the entry: the value, or its offset
    value: bytes

    def integers(self, order: str) -> list[int]:
        if self.kind not in _INTEGERS:
            raise ImageError(f"damaged TIFF: tag {self.tag} is of type {self.kind}, must be an integer")
        return [int(value) for value in np.frombuffer(self.value, order + _INTEGERS[self.kind], self.count)]


def trim(data: bytes, check_size: CheckSize) -> Trimmed:
    """Append a directory that has only what decoding needs, and have the file begin with it.

    Raises
    ------
    ImageError
        The directory is truncated, points outside the file, or holds more than an image of this size needs.
    """
    directory = read_directory(data)
    if directory.end + 4 > len(data):
        raise ImageError("truncated TIFF: truncated header")
    entries = _entries(data, directory)
    part_bytes = _Layout(entries, directory.order).check(data, check_size)
    written = b"".join(
        struct.pack(directory.order + "HHL", entry.tag, entry.kind, entry.count) + entry.packed
        for _, entry in sorted(entries.items())
    )
    padded = data if len(data) % 2 == 0 else data + b"\0"
    start, count = struct.pack(directory.order + "L", len(padded)), struct.pack(directory.order + "H", len(entries))
    return Trimmed(padded[:4] + start + padded[8:] + count + written + bytes(4), data, part_bytes)


def _entries(data: bytes, directory: Directory) -> dict[int, _Entry]:
    """Read the entries that decoding needs, the first of each tag."""
    entries: dict[int, _Entry] = {}
    for tag, kind, count, packed in directory.entries:
        if (tag not in _MAX_VALUES and tag not in _PARTS) or tag in entries or kind not in _SIZES:
            continue
        if tag in _SCALARS and count != 1:
            raise ImageError(f"damaged TIFF: tag {tag} has {count} values, must have 1")
        size = _SIZES[kind] * count
        (offset,) = struct.unpack(directory.order + "L", packed) if size > len(packed) else (0,)
        if offset + size > len(data):
            raise ImageError(f"damaged or truncated TIFF: tag {tag} points outside the file")
        most = _MAX_VALUES.get(tag, _MAX_PARTS)
        if count > most:
            raise ImageError(f"TIFF has {count} values of tag {tag}, must have at most {most}")
        value = data[offset : offset + size] if size > len(packed) else packed
        entries[tag] = _Entry(tag, kind, count, packed, value)
    return entries


class _Layout:
    """How the pixels are cut into strips or tiles."""

    def __init__(self, entries: Mapping[int, _Entry], order: str) -> None:
        self._entries, self._order = entries, order

    def _values(self, tag: int) -> list[int]:
        return self._entries[tag].integers(self._order) if tag in self._entries else []

    def _value(self, tag: int, default: int) -> int:
        return next(iter(self._values(tag)), default)

    def check(self, data: bytes, check_size: CheckSize) -> int:
        """Check size, number and length of the parts; return the bytes that one unpacks to."""
        width, height, samples = self._value(_WIDTH, 0), self._value(_HEIGHT, 0), self._value(_SAMPLES, 1)
        check_size(width, height)
        if _FLOAT in self._values(_SAMPLE_FORMAT)[:1]:
            raise ImageError("floating-point TIFF is not supported: scale to 0..255 and convert to 8 bits first")
        if _TILE_OFFSETS in self._entries:
            part = self._value(_TILE_WIDTH, 0), self._value(_TILE_HEIGHT, 0)
            # libtiff unpacks whole tiles, however little of them lies inside the image.
            check_size(*part)
            across, down = -(-width // part[0]), -(-height // part[1])
            if min(across, down) > 0 and across * down * part[0] * part[1] > 4 * width * height:
                check_size(across * part[0], down * part[1])
            offsets, lengths = _TILE_OFFSETS, _TILE_BYTES
        else:
            part = width, min(height, max(1, self._value(_ROWS, height)))
            across, down, offsets, lengths = 1, -(-height // part[1]), _STRIP_OFFSETS, _STRIP_BYTES
        planes = samples if self._value(_PLANAR, 1) == _SEPARATE else 1
        self._check_parts(across * down * planes, offsets, lengths, len(data))
        self._check_scans(data, part)
        bits = max([*self._values(_BITS), 1]) * (1 if planes > 1 else samples)
        return 0 if self._value(_COMPRESSION, _RAW) == _RAW else part[0] * part[1] * bits // 8

    def _check_parts(self, needed: int, offsets: int, lengths: int, size: int) -> None:
        for tag in (offsets, lengths):
            if tag in self._entries and self._entries[tag].count > needed:
                count = self._entries[tag].count
                raise ImageError(f"damaged TIFF: tag {tag} has {count} values, the image needs {needed}")
        if self._value(_COMPRESSION, _RAW) == _RAW:
            return
        total = sum(self._values(lengths)) if lengths in self._entries else size * needed
        if needed > 1 and total > 2 * size:
            raise ImageError(f"damaged TIFF: its {needed} strips or tiles have {total} bytes, the file has {size}")

    def _check_scans(self, data: bytes, part: tuple[int, int]) -> None:
        if self._value(_COMPRESSION, _RAW) in {_OLD_JPEG, _JPEG}:
            scans = data.count(b"\xff\xda")
            if scans * part[0] * part[1] > MAX_SCANNED_PIXELS:
                raise ImageError(f"TIFF has {scans} JPEG scans in strips or tiles of {part[0]}×{part[1]}, too many")
