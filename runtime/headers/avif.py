"""AVIF and HEIC: boxes (ISO/IEC 14496-12 and 23008-12)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from ..errors import ImageError
from .trimmed import CheckSize, Trimmed

__all__ = ["stated_pixels", "trim"]

_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{7}|\x03.{9}))Exif", re.DOTALL)
_SIZE = re.compile(rb"ispe\0{4}(.{8})", re.DOTALL)
_SEARCHED = 65_536  # bytes, in which real files have their sizes
_MAX_BOXES = 4_096  # side by side
# libavif and libheif look items, properties and chunks up one by one, so their work grows with the square of these
# sizes. Boxes that hold data are not limited: image data, colour profiles.
_MAX_BYTES = {b"iloc": 65_536, b"iinf": 65_536, b"iref": 65_536, b"ipma": 65_536, b"moov": 1_048_576}
_PARENTS = {b"meta": 4, b"iprp": 0, b"ipco": 0}  # bytes of their own before the first child


def trim(data: bytes, check_size: CheckSize) -> Trimmed:  # noqa: ARG001 (the decoders read the size without decoding)
    """Rename the EXIF item, so that no decoder looks at it; bound the tables of items.

    These files are turned by their own irot and imir properties; the EXIF item counts for nothing, and a broken one
    would fail the image.

    Raises
    ------
    ImageError
        It has more boxes, items or frames than a real file.
    """
    _check(data, 0, len(data))
    return Trimmed(_EXIF_ITEM.sub(rb"\1skip", data))


def stated_pixels(data: bytes) -> int:
    """Return the number of pixels of the largest item; 0 if none is found."""
    sizes = (struct.unpack(">LL", size) for size in _SIZE.findall(data, 0, _SEARCHED))
    return max((width * height for width, height in sizes), default=0)


def _check(data: bytes, start: int, end: int) -> None:
    for kind, body, after in _boxes(data, start, end):
        size = after - body
        if size > _MAX_BYTES.get(kind, size):
            raise ImageError(
                f"the file has a box {kind.decode()!r} of {size} bytes, over the limit of {_MAX_BYTES[kind]}"
            )
        if kind in _PARENTS:
            _check(data, body + _PARENTS[kind], after)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start of the body and end of the boxes between two positions."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        size, kind, body = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], start + 8
        if size == 1:  # a long one
            size, body = int.from_bytes(data[body : body + 8], "big"), body + 8
        after = min(end, start + size) if size else end
        if after < body:
            raise ImageError(f"damaged file: a box of {size} bytes at byte {start}")
        yield kind, body, after
        start = after
    raise ImageError(f"the file has more than {_MAX_BOXES} boxes side by side, too many")
