"""WebP: chunks (RFC 9649, section 2)."""

from __future__ import annotations

import struct

from ..errors import ImageError
from .trimmed import CheckSize, Trimmed

__all__ = ["trim"]

_MAX_CHUNKS = 16_384  # an animation has one for each frame
_CANVASES = 12  # bytes per pixel: libwebp's two, and Pillow's copy
_ONCE = frozenset({b"VP8X", b"ANIM", b"ALPH"})
_IMAGES = frozenset({b"VP8 ", b"VP8L", b"ANMF"})


def trim(data: bytes, check_size: CheckSize) -> Trimmed:
    """Keep the headers and the first image, still or frame, alone.

    Raises
    ------
    ImageError
        It has more chunks than a real file, or is truncated.
    """
    width, height = _canvas(data)
    check_size(width, height)
    kept: dict[bytes, bytes] = {}
    image = exif = b""
    start = 12
    for _ in range(_MAX_CHUNKS):
        kind = data[start : start + 4]
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        end = start + 8 + size + size % 2
        if start + 8 + size > len(data):
            raise ImageError(f"truncated WebP: chunk {kind!r} ends after the file")
        if kind in _IMAGES:
            image = image or data[start:end]
        elif kind in _ONCE and not image:
            kept.setdefault(kind, data[start:end])
        elif kind == b"EXIF":
            exif = exif or data[start + 8 : start + 8 + size]
        if len(data) - end < 8:
            chunks = b"".join(kept.values()) + image
            return Trimmed(
                b"RIFF" + struct.pack("<L", len(chunks) + 4) + b"WEBP" + chunks, exif, _CANVASES * width * height
            )
        start = end
    raise ImageError(f"WebP has more than {_MAX_CHUNKS} chunks, too many")


def _canvas(data: bytes) -> tuple[int, int]:
    """Return width and height of the canvas."""
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF
